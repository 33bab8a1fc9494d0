package oidcgatetest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
)

// NewTransport returns a transport that carries requests to handlers in this process.
// hosts has them by host, or by host and port where the port is not the scheme's. Other
// hosts cannot be reached.
//
// Both sides speak HTTP over a pipe, so that contexts, deadlines, flushing, hijacking and
// lost connections are what they are on a network; but nothing listens, https has no TLS,
// and no goroutine outlives its request. That makes it fit for testing/synctest: a
// browser, a service and a provider run on the bubble's clock.
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
		if host, port, err := net.SplitHostPort(address); err == nil && (port == "80" || port == "443") {
			return hosts[host]
		}
		return nil
	})
}

// Transport returns a [NewTransport] that reaches the issuer's host and nothing else.
func (p *Provider) Transport() *http.Transport {
	return newTransport(func(address string) http.Handler {
		if u, err := url.Parse(p.Issuer()); err == nil && address == hostPort(u) {
			return p
		}
		return nil
	})
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
			return nil, fmt.Errorf("oidcgatetest: nobody is at %s", address)
		}
		return connect(h), nil
	}
	return &http.Transport{
		DialContext:       dial,
		DialTLSContext:    dial,
		DisableKeepAlives: true, // a kept connection has goroutines, and would hold a bubble open
	}
}

// connect returns the client's end of a connection that h serves.
func connect(h http.Handler) net.Conn {
	client, server := net.Pipe()
	l := oneConn{conn: make(chan net.Conn, 1)}
	l.conn <- server
	close(l.conn)
	_ = (&http.Server{Handler: h}).Serve(l) // returns at once: there is no second connection
	return client
}

// oneConn is a listener that accepts one connection and then says it is closed.
type oneConn struct{ conn chan net.Conn }

func (l oneConn) Accept() (net.Conn, error) {
	if c, ok := <-l.conn; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (l oneConn) Close() error   { return nil }
func (l oneConn) Addr() net.Addr { return &net.UnixAddr{Name: "oidcgatetest", Net: "pipe"} }
