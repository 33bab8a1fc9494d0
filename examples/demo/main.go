// Command demo is a tea shop that uses oidcgate, and two OpenID Providers in the same process. It
// needs only Go:
//
//	go run ./demo
//
// Sessions are stored in memory, or in Redis if REDIS_URL is set. Set OIDC_ISSUER, OIDC_CLIENT_ID
// and OIDC_CLIENT_SECRET to use your own provider instead of the built-in ones.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Getenv, os.Stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// options are the values of the command line and of the environment.
type options struct {
	addr         string
	providerAddr string
	getenv       func(string) string
}

func readOptions(args []string, getenv func(string) string, help io.Writer) (options, error) {
	o := options{getenv: getenv}
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.SetOutput(help)
	flags.StringVar(&o.addr, "addr", cmp.Or(getenv("ADDR"), "127.0.0.1:8080"), "loopback address of the shop (ADDR)")
	flags.StringVar(&o.providerAddr, "provider-addr", cmp.Or(getenv("PROVIDER_ADDR"), "127.0.0.1:8081"), "loopback address of the providers (PROVIDER_ADDR)")
	return o, flags.Parse(args)
}

// run serves until ctx ends.
func run(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	o, err := readOptions(args, getenv, stdout)
	if err != nil {
		return err
	}
	shopListener, err := listen(o.addr, "-addr", "ADDR")
	if err != nil {
		return err
	}
	defer func() { _ = shopListener.Close() }()
	shopURL := localURL(shopListener)

	upstream, err := openProvider(o, shopURL)
	if err != nil {
		return err
	}
	defer upstream.close()
	shop, err := newShop(o, shopURL, upstream)
	if err != nil {
		return err
	}
	defer shop.close()
	fmt.Fprint(stdout, welcome(shopURL, upstream))
	return serve(ctx, shop, shopListener, upstream)
}

// listen refuses addresses that other machines can reach, because anybody can log in as any user at
// the built-in providers.
func listen(addr, flagName, env string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("demo: %s: %q is not an address; write one such as 127.0.0.1:8080", flagName, addr)
	}
	if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("demo: %s: other machines can reach %q; write 127.0.0.1:%s", flagName, addr, port)
	}
	listener, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("demo: port %s is in use by another program; stop that program, or choose another port with %s or %s, as in %s=127.0.0.1:8180",
			port, flagName, env, env)
	}
	if err != nil {
		return nil, fmt.Errorf("demo: %s: %w", flagName, err)
	}
	return listener, nil
}

// localURL uses localhost instead of an IP address, because many providers accept localhost for
// development.
func localURL(l net.Listener) string {
	return fmt.Sprintf("http://localhost:%d", l.Addr().(*net.TCPAddr).Port)
}

func welcome(shopURL string, upstream *upstream) string {
	if upstream.handler == nil {
		return fmt.Sprintf(`
  The tea shop is open:  %s

  Log in at %s. Register these addresses there:
    %s/auth/callback      redirect URL after a login
    %[1]s/auth/logout/done   redirect URL after a logout

  Ctrl-C closes the shop.

`, shopURL, upstream.providers[0].Issuer, shopURL)
	}
	return fmt.Sprintf(`
  The tea shop is open:  %s

  What to click:
    1. Log in with Teahouse ID. This provider, %s, asks who you are.
    2. As Ada you may enter "Back office"; as Ben you may not.
    3. Open "Account" to see your claims and when your session ends. Log in with a second browser and
       log it out from the first.
    4. As Ben, link Harbour Pass there. Log out, log in with it, and you are Ben again (with the groups of that login).
    5. Log out, and log in as another user; or choose "None of these" and the login is refused.
    6. At the foot of each page, "what the gate knows" shows developers your session, claims and the last events.

  Ctrl-C closes the shop.

`, shopURL, upstream.providers[0].Issuer)
}

// serve serves until ctx ends. Then it finishes the running requests, and after that delivers the
// remaining events.
func serve(ctx context.Context, shop *shop, listener net.Listener, upstream *upstream) error {
	failed := make(chan error, 2)
	servers := []*http.Server{start(shop.handler(), listener, failed)}
	if upstream.handler != nil {
		servers = append(servers, start(upstream.handler, upstream.listener, failed))
	}
	select {
	case err := <-failed:
		return fmt.Errorf("demo: serving: %w", err)
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	var errs []error
	for _, server := range servers {
		errs = append(errs, server.Shutdown(ctx))
	}
	return errors.Join(append(errs, shop.gate.Wait(ctx))...)
}

func start(h http.Handler, listener net.Listener, failed chan<- error) *http.Server {
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			failed <- err
		}
	}()
	return server
}
