package oidcgatetest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
)

// NewTransport returns a transport that sends requests to handlers in this process. The keys of
// hosts are host names, with the port if it is not the default port of the scheme. Requests to
// other hosts fail.
//
// Client and handler use HTTP over an in-memory pipe, so contexts, deadlines, flushing, hijacking
// and broken connections work as on a network. But no port is opened, https uses no TLS, and every
// goroutine ends with its request. So a browser, a service and a provider can run in a
// testing/synctest bubble and use its clock.
//
//	browser := &http.Client{Transport: oidcgatetest.NewTransport(map[string]http.Handler{
//		"shop.test": shop,
//		"id.test":   provider,
//	})}
func NewTransport(hosts map[string]http.Handler) *http.Transport {
	return newTransport(func(address string) http.Handler {
		if h := hosts[address]; h != nil {
			return h
		}
		host, port, err := net.SplitHostPort(address)
		if err == nil && (port == "80" || port == "443") {
			return hosts[host]
		}
		return nil
	})
}

// Transport returns a transport like that of [NewTransport] that connects only to the issuer's
// host.
func (p *Provider) Transport() *http.Transport {
	return newTransport(func(address string) http.Handler {
		if address == p.address() {
			return p
		}
		return nil
	})
}

// address returns host and port of the issuer.
func (p *Provider) address() string {
	issuer, _ := url.Parse(p.Issuer()) // New has checked it
	return hostPort(issuer)
}

func hostPort(u *url.URL) string {
	if u.Port() != "" {
		return u.Host
	}
	if u.Scheme == "http" {
		return net.JoinHostPort(u.Hostname(), "80")
	}
	return net.JoinHostPort(u.Hostname(), "443")
}

func newTransport(find func(address string) http.Handler) *http.Transport {
	dial := func(_ context.Context, _, address string) (net.Conn, error) {
		h := find(address)
		if h == nil {
			return nil, fmt.Errorf("oidcgatetest: no handler for host %s", address)
		}
		return connect(h), nil
	}
	return &http.Transport{
		DialContext:       dial,
		DialTLSContext:    dial,
		DisableKeepAlives: true, // an idle connection has goroutines, and a bubble waits for them
	}
}

// connect returns the client's end of a new connection that h serves.
func connect(h http.Handler) net.Conn {
	client, server := net.Pipe()
	l := oneConn{conn: make(chan net.Conn, 1)}
	l.conn <- server
	close(l.conn)
	// Serve returns at once, because l accepts only one connection.
	_ = (&http.Server{Handler: h}).Serve(l)
	return client
}

// oneConn is a listener that accepts one connection and then returns net.ErrClosed.
type oneConn struct{ conn chan net.Conn }

func (l oneConn) Accept() (net.Conn, error) {
	if c, ok := <-l.conn; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (l oneConn) Close() error   { return nil }
func (l oneConn) Addr() net.Addr { return &net.UnixAddr{Name: "oidcgatetest", Net: "pipe"} }
