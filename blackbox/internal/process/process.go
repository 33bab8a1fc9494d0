// Package process runs programs for tests. It waits until they are ready, records their output, and
// ends them by process id, together with the processes they started.
package process

import (
	"bytes"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	readyTime = 6 * time.Minute // generous: a Java server on a busy machine is slow
	stopTime  = 15 * time.Second
	shownTail = 8 << 10 // bytes of output in the log of a failed test
)

// A Process is a running program. Its methods may be called concurrently.
type Process struct {
	name   string
	cmd    *exec.Cmd
	exited chan struct{}

	stdout, stderr output
}

// Start starts cmd, waits until ready returns true, and ends the program with the test. The test
// fails at once if the program ends before it is ready. If the test fails later, its log shows the
// output of the program.
func Start(t testing.TB, cmd *exec.Cmd, ready func(*Process) bool) *Process {
	t.Helper()
	p, err := launch(t, cmd, readyTime, ready)
	if err != nil {
		t.Fatalf("starting %s: %v", p.name, err)
	}
	return p
}

// StartAgain is like Start, for a program that is usually ready soon and rarely never becomes
// ready. If it is not ready within the time, it is ended and started again, at most twice.
func StartAgain(t testing.TB, within time.Duration, command func() *exec.Cmd, ready func(*Process) bool) *Process {
	t.Helper()
	for range 2 {
		p, err := launch(t, command(), within, ready)
		if err == nil {
			return p
		}
		t.Logf("starting %s: %v; it printed:\n%s%s", p.name, err, p.stdout.tail(), p.stderr.tail())
		p.Kill()
	}
	return Start(t, command(), ready)
}

func launch(t testing.TB, cmd *exec.Cmd, within time.Duration, ready func(*Process) bool) (*Process, error) {
	t.Helper()
	p := &Process{name: filepath.Base(cmd.Path), cmd: cmd, exited: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.stdout, &p.stderr
	cmd.SysProcAttr = attributes()
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting %s: %v", p.name, err)
	}
	go func() {
		defer close(p.exited)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		p.Stop()
		if t.Failed() {
			t.Logf("%s printed:\n%s%s", p.name, p.stdout.tail(), p.stderr.tail())
		}
	})
	return p, p.await(within, ready)
}

func (p *Process) await(within time.Duration, ready func(*Process) bool) error {
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		select {
		case <-p.exited:
			return fmt.Errorf("it ended with %v", p.cmd.ProcessState)
		default:
		}
		if ready(p) {
			return nil
		}
	}
	return fmt.Errorf("not ready within %v", within)
}

// Stop asks the program to end, waits for it, and kills it if it does not end. Further calls do
// nothing.
func (p *Process) Stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // an error says that it has ended
	select {
	case <-p.exited:
	case <-time.After(stopTime):
	}
	p.Kill()
}

// Kill kills the program and all processes it started.
func (p *Process) Kill() {
	// Other processes of the group may still run when its leader has ended; until then the id of
	// the group is not reused.
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.exited
}

// Stdout returns what the program has printed on standard output.
func (p *Process) Stdout() string { return p.stdout.String() }

// Stderr returns what the program has printed on standard error.
func (p *Process) Stderr() string { return p.stderr.String() }

// FreePort returns a loopback port on which no process listens.
func FreePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("looking for a free port: %v", err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// ModuleDir returns the directory of the module under test, the parent of the package's or further
// up.
func ModuleDir(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatalf("go env GOMOD: %v", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out)))
}

// output is a buffer that is written and read concurrently.
type output struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

// Write implements [io.Writer].
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buffer.Write(b)
}

// String returns everything that was written.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buffer.String()
}

func (o *output) tail() string {
	s := o.String()
	return s[max(0, len(s)-shownTail):]
}
