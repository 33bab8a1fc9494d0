//go:build unix && !linux

package process

import "syscall"

// attributes put a program into a group of its own, so that its children end with it.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
