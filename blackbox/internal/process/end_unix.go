//go:build unix

package process

import (
	"os"
	"syscall"
)

// askToEnd asks a program to end. An error says that it has ended.
func askToEnd(p *os.Process) { _ = p.Signal(syscall.SIGTERM) }

// killGroup kills a program and all that it started. The group may outlive its leader, and its id is not given away
// while it does.
func killGroup(p *os.Process) { _ = syscall.Kill(-p.Pid, syscall.SIGKILL) }
