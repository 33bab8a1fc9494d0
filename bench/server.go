//go:build unix

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// hello is the line that a server prints on its standard output when it listens.
type hello struct{ Addr, Cookie string }

// serve is the code of the server process. It serves until its standard input ends, and answers
// each line of the input with the processor time it has used so far.
func serve(ctx context.Context, name, redisAddr string) error {
	s, err := findSubject(name)
	if err != nil {
		return err
	}
	rdb := newClient(redisAddr)
	defer func() { _ = rdb.Close() }()
	site, err := s.open(ctx, rdb)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: site.handler}
	defer func() { _ = server.Close() }()
	go func() { _ = server.Serve(l) }()

	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(hello{l.Addr().String(), site.cookie}); err != nil {
		return err
	}
	for asks := bufio.NewScanner(os.Stdin); asks.Scan(); {
		used, err := processorTime()
		if err != nil {
			return err
		}
		if err := out.Encode(used); err != nil {
			return err
		}
	}
	return nil
}

// processorTime returns the processor time of this process, in user mode and in the kernel.
func processorTime() (time.Duration, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, err
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}

// A server is a running server process of a subject, seen from the load generator.
type server struct {
	hello
	process *exec.Cmd
	ask     io.WriteCloser
	answers *json.Decoder
}

func startServer(ctx context.Context, of subject, redisAddr string) (*server, error) {
	program := of.program
	if program == "" {
		var err error
		if program, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	var err error
	s := &server{process: exec.CommandContext(ctx, program, "-serve", of.name, "-redis", redisAddr)}
	s.process.Stderr = os.Stderr
	if s.ask, err = s.process.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	s.answers = json.NewDecoder(out)
	if err := s.process.Start(); err != nil {
		return nil, err
	}
	if err := s.answers.Decode(&s.hello); err != nil {
		return nil, fmt.Errorf("the server %q did not start: %w", of.title(), errors.Join(err, s.stop()))
	}
	return s, nil
}

// used returns the processor time of the server so far.
func (s *server) used() (time.Duration, error) {
	if _, err := io.WriteString(s.ask, "\n"); err != nil {
		return 0, err
	}
	var used time.Duration
	err := s.answers.Decode(&used)
	return used, err
}

func (s *server) stop() error {
	_ = s.ask.Close() // the server ends when its input ends
	return s.process.Wait()
}
