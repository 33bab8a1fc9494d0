//go:build !unix

package process

import (
	"os"
	"syscall"
)

// attributes are the usual ones: this system has no process groups that a signal reaches.
func attributes() *syscall.SysProcAttr { return nil }

// askToEnd kills the program, since no signal asks it to end on this system.
func askToEnd(p *os.Process) { _ = p.Kill() }

// killGroup kills the program. What the program started goes on.
func killGroup(p *os.Process) { _ = p.Kill() }
