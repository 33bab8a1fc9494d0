package process

import "syscall"

// attributes put a program into a group of its own, so that its children end with it. Such a group
// gets no signal from Ctrl-C, and none when the test binary is killed. Linux can send it a signal
// when the test binary ends, whatever the cause.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
