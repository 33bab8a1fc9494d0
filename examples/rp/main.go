// Command rp is a relying party (a service that lets users log in at an OpenID Provider). Each of
// its options is a flag or an environment variable. Use it to try oidcgate with any provider, or to
// test oidcgate from outside. Several processes with the same options, Redis and keys form one
// service.
//
//	OIDC_ISSUER=https://id.example OIDC_CLIENT_ID=shop OIDC_CLIENT_SECRET=... go run ./rp
//
// -help lists the options. It writes events as JSON lines to standard output, and everything else
// to standard error. After SIGINT or SIGTERM it finishes the running requests and ends.
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

// shutdownTimeout is the time in which running requests must finish after a signal.
const shutdownTimeout = 10 * time.Second

// run serves until ctx ends. If options are wrong, the error names all of them.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	o, err := readOptions(args, getenv, stdout)
	if o == nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: o.logLevel}))
	if err != nil {
		logger = slog.New(slog.DiscardHandler) // what New warns of is not the first thing to say
	}
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

// serve serves until ctx ends. Then it finishes the running requests, and after that delivers the
// remaining events.
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
		return fmt.Errorf("rp: running requests were aborted: %w", err)
	}
	return s.gate.Wait(ctx)
}

// eventLine is an event as it is printed. It always has a reason, which may be empty.
type eventLine struct {
	oidcgate.Event
	Reason oidcgate.Reason `json:"reason"`
}
