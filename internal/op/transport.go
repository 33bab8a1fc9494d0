package op

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"time"
)

// newTransport returns the hardened transport: no proxy from the environment, TLS 1.2 or newer,
// every phase with its own limit, and no connection to an address that only an attacker would
// name (see forbiddenAddress). Of the connections, one third is for logins that send a code, one
// for logins that push their request, and one for the rest: anybody can make a slow login, and over
// HTTP/1.1 each takes a connection, which a refresh or a load of keys would wait for.
func newTransport(timeout time.Duration, roots *x509.CertPool) *http.Transport {
	dialer := &net.Dialer{
		Timeout:        timeout,
		ControlContext: refuseForbidden,
	}
	return &http.Transport{
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout:    timeout,
		ResponseHeaderTimeout:  timeout,
		MaxResponseHeaderBytes: 64 << 10,
		MaxConnsPerHost:        3 * bulkhead,
		MaxIdleConnsPerHost:    8,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,

		// Shorter than the timeout of load balancers, which would otherwise close a connection
		// just when a request is sent over it.
		IdleConnTimeout: 30 * time.Second,

		// Over HTTP/2 all requests share one connection. If it dies without a word, each would fail
		// until the kernel gives up, after a quarter of an hour.
		HTTP2: &http.HTTP2Config{SendPingTimeout: timeout / 2, PingTimeout: timeout / 2},
	}
}
