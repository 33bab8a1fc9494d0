// Command rp is a relying party whose every option is a flag or an environment variable: for trying
// oidcgate with any provider, and for testing it from outside. Any number of processes with the same
// options, Redis and keys are one service.
//
//	OIDC_ISSUER=https://id.example OIDC_CLIENT_ID=shop OIDC_CLIENT_SECRET=... go run ./rp
//
// -help lists the options. Events are JSON lines on standard output, everything else goes to standard
// error. It ends on SIGINT and SIGTERM, after the requests under way.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/oidcgate/oidcgate"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// shutdownTimeout is what requests under way get to finish in.
const shutdownTimeout = 10 * time.Second

// run serves until ctx ends. All that is wrong with the options is in the one error it returns.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	o, err := readOptions(args, getenv, stdout)
	if o == nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: o.logLevel}))
	s, newErr := newService(o, logger, stdout)
	if err := errors.Join(err, newErr); err != nil {
		return err
	}
	defer s.close()

	listener, err := net.Listen("tcp", o.addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("rp: ADDR: %s is in use by another program; stop that, or set another address", o.addr)
	}
	if err != nil {
		return fmt.Errorf("rp: ADDR: %w", err)
	}
	fmt.Fprintf(stderr, "rp: listening on %s, reached as %s\n", listener.Addr(), o.config.BaseURL)
	return serve(ctx, s, listener)
}

// serve ends in order: first the requests, then the events they caused.
func serve(ctx context.Context, s *service, listener net.Listener) error {
	server := &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(s.logger.Handler(), slog.LevelWarn),
	}
	server.RegisterOnShutdown(s.endStreams)
	served := make(chan error, 1)
	go func() {
		if s.options.tlsCert != "" {
			served <- server.ServeTLS(listener, s.options.tlsCert, s.options.tlsKey)
			return
		}
		served <- server.Serve(listener)
	}()
	select {
	case err := <-served:
		return fmt.Errorf("rp: serving: %w", err)
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return fmt.Errorf("rp: requests under way were cut off: %w", err)
	}
	return s.gate.Close(ctx)
}

// eventLine is an event as it is printed: with its reason even where that is empty.
type eventLine struct {
	oidcgate.Event
	Reason oidcgate.Reason `json:"reason"`
}
