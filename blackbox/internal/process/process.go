// Package process runs programs for tests: it waits until they are ready, keeps what they print and ends them
// by process id, with all that they started.
package process

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
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

// Start starts cmd, waits until ready reports true and ends it with the test. The test fails at once where the
// program ends before it is ready; where it fails later, its log shows what the program printed.
func Start(t testing.TB, cmd *exec.Cmd, ready func(*Process) bool) *Process {
	t.Helper()
	p, err := launch(t, cmd, readyTime, ready)
	if err != nil {
		t.Fatalf("starting %s: %v", p.name, err)
	}
	return p
}

// StartAgain is Start for a program that is ready in a moment or, once in a thousand, never: one that is not ready
// within the time is ended and started again, twice at the most.
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

// Stop asks the program to end, waits for it, and kills it if it does not. Stopping it again does nothing.
func (p *Process) Stop() {
	askToEnd(p.cmd.Process)
	select {
	case <-p.exited:
	case <-time.After(stopTime):
	}
	p.Kill()
}

// Kill ends the program and all that it started at once.
func (p *Process) Kill() {
	killGroup(p.cmd.Process)
	<-p.exited
}

// Stdout returns what the program has printed on standard output.
func (p *Process) Stdout() string { return p.stdout.String() }

// Stderr returns what the program has printed on standard error.
func (p *Process) Stderr() string { return p.stderr.String() }

// FreePort returns a port of 127.0.0.1 on which nobody listens. It lies below the ports that the
// system gives to clients and to servers which ask for any port, so that none of them takes it before
// it is used.
func FreePort(t testing.TB) int {
	t.Helper()
	for range 100 {
		port := 25000 + rand.IntN(7000)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = l.Close()
			return port
		}
	}
	t.Fatal("no free port of 127.0.0.1 from 25000 to 31999")
	return 0
}

// ModuleDir returns the directory of the module under test, the parent of the package's or further up.
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

// String returns all that was written.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buffer.String()
}

func (o *output) tail() string {
	s := o.String()
	return s[max(0, len(s)-shownTail):]
}
