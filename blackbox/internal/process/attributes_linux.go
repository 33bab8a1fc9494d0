package process

import "syscall"

// attributes put a program into a group of its own, so that its children end with it. That group hears neither of
// an interrupt at the keyboard nor of a test binary that was killed; Linux tells it of both.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
