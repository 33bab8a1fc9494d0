// Package redistest runs a real Redis for tests, and makes it ill: stopped, hung,
// slow, or cut off in mid-answer. For a read-only or a full Redis send REPLICAOF or
// CONFIG SET maxmemory through [Server.Client].
package redistest

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// startTime is how long a server may take until it answers, on a machine that is busy.
const startTime = time.Minute

// A Server is a redis-server without persistence on a loopback port. Its methods
// fail the test where they cannot do their work; call them from the test's own
// goroutine.
type Server struct {
	Addr string // host:port; stays the same over Restart

	t       testing.TB
	file    string // configuration, or ""
	args    []string
	process *exec.Cmd // nil while stopped
	exited  chan struct{}
}

// Start starts a server that ends with the test. Options are those of
// redis-server's command line, such as "--maxmemory", "2mb".
func Start(t testing.TB, options ...string) *Server {
	t.Helper()
	s := &Server{t: t, args: append([]string{
		"--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", t.TempDir(),
	}, options...)}
	t.Cleanup(s.Stop)
	s.startSomewhere()
	return s
}

// startSomewhere chooses a port. It is free when it is chosen, but another process may be faster.
func (s *Server) startSomewhere() {
	s.t.Helper()
	var err error
	for range 5 {
		s.Addr = freeAddr(s.t)
		if err = s.start(); err == nil {
			return
		}
	}
	s.t.Fatalf("starting redis-server: %v", err)
}

// Client returns a client of the server that is closed with the test. configure,
// if not nil, may change its options.
func (s *Server) Client(configure func(*redis.Options)) *redis.Client {
	options := &redis.Options{Addr: s.Addr}
	if configure != nil {
		configure(options)
	}
	rdb := redis.NewClient(options)
	s.t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// Stop kills the server and what it remembers. Stopping it again does nothing.
func (s *Server) Stop() {
	s.t.Helper()
	if s.process == nil {
		return
	}
	if err := s.process.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Errorf("killing redis-server: %v", err)
	}
	<-s.exited
	s.process = nil
}

// Restart stops the server if it runs and starts an empty one at the same address.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	if err := s.start(); err != nil {
		s.t.Fatalf("restarting redis-server: %v", err)
	}
}

// start starts the process and waits until it answers.
func (s *Server) start() error {
	s.t.Helper()
	_, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		return err
	}
	args := append([]string{"--port", port}, s.args...)
	if s.file != "" {
		args = append([]string{s.file}, args...)
	}
	process := exec.Command("redis-server", args...)
	if err := process.Start(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			s.t.Fatal("redis-server is not installed; `make test` installs what the tests need")
		}
		return err
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = process.Wait()
	}()
	s.process, s.exited = process, exited
	if err := s.awaitAnswer(); err != nil {
		s.Stop()
		return err
	}
	return nil
}

// awaitAnswer waits until the server answers. A process that ended in the meantime
// lost its port to another, whose answer is not meant.
func (s *Server) awaitAnswer() error {
	for end := time.Now().Add(startTime); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		answered := ping(s.Addr)
		select {
		case <-s.exited:
			return errors.New("it ended at once")
		default:
		}
		if answered {
			return nil
		}
	}
	return fmt.Errorf("no answer within %v", startTime)
}

// ping asks for a PONG without a client, which would log each refused connection.
// A server that wants a password answers with an error, and that will do.
func ping(addr string) bool {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := io.WriteString(conn, "PING\r\n"); err != nil {
		return false
	}
	n, err := conn.Read(make([]byte, 64))
	return n > 0 && err == nil
}

// freeAddr chooses a port that leaves room for the cluster bus, which listens on the port 10,000
// higher. Both lie below the ports that the system gives to clients, and to servers that ask for
// any port: none of them takes it while the server is stopped.
func freeAddr(t testing.TB) string {
	t.Helper()
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 10000+rand.IntN(5000))
		l, err := net.Listen("tcp", addr)
		if err == nil {
			_ = l.Close()
			return addr
		}
	}
	t.Fatal("no free port of 127.0.0.1 from 10000 to 14999")
	return ""
}
