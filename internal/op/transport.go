package op

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"time"
)

// How much of an answer is read. The limit for tokens lies below the 1 MiB at
// which golang.org/x/oauth2 cuts an answer short without an error.
const (
	metadataLimit = 256 << 10
	tokenLimit    = 1<<20 - 1
)

// newTransport returns the hardened transport: no proxy from the environment,
// TLS 1.2 or newer, every phase with its own limit, and no connection to an
// address that only an attacker would name (see forbiddenAddress).
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
		MaxConnsPerHost:        bulkhead,
		MaxIdleConnsPerHost:    8,
		IdleConnTimeout:        30 * time.Second, // below what load balancers allow, so that few requests meet a closing connection
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
	}
}

// refuseForbidden looks at an address after the name was resolved, so that a
// name which resolves to something else the second time gains nothing.
func refuseForbidden(_ context.Context, _, address string, _ syscall.RawConn) error {
	host, err := netip.ParseAddrPort(address)
	if err != nil {
		return &fault{status: http.StatusBadGateway, text: "the address is not an IP address"}
	}
	if forbiddenAddress(host.Addr()) {
		return &fault{status: http.StatusBadGateway, text: "the address is link-local, multicast, unspecified or a cloud metadata service"}
	}
	return nil
}

// metadataServices are the cloud metadata services outside the link-local
// ranges. They give credentials to whoever can make a request from this host.
var metadataServices = [...]netip.Addr{
	netip.MustParseAddr("100.100.100.200"), // Alibaba Cloud
	netip.MustParseAddr("168.63.129.16"),   // Azure
	netip.MustParseAddr("192.0.0.192"),     // Oracle Cloud
	netip.MustParseAddr("fd00:ec2::254"),   // AWS
	netip.MustParseAddr("fd20:ce::254"),    // Google Cloud
}

// forbiddenAddress reports whether no provider can be at ip. Private ranges are
// allowed: providers within a company live there.
func forbiddenAddress(ip netip.Addr) bool {
	ip = embedded(ip.Unmap().WithZone(""))
	for _, service := range metadataServices {
		if ip == service {
			return true
		}
	}
	return ip.IsUnspecified() || ip.IsMulticast() || ip.IsLinkLocalUnicast() ||
		ip == netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// nat64 is the prefix of IPv4 addresses written as IPv6 (RFC 6052, 2.1), which a
// gateway on the network turns back.
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

func embedded(ip netip.Addr) netip.Addr {
	if !nat64.Contains(ip) {
		return ip
	}
	b := ip.As16()
	return netip.AddrFrom4([4]byte(b[12:]))
}

// answer is what a provider answered, read to its end.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// checkFunc reads an answer and returns what a library may see of it.
type checkFunc func(answer) ([]byte, error)

// guard stands between the libraries and the wire. It reads the whole answer
// within its limit and has it checked before a library sees any of it: the
// libraries read without limit, follow redirects, take form bodies for tokens
// and put bodies into their errors. What check returns is all they get, as an
// application/json answer with status 200. So no http.Client ever sees a
// redirect, which would carry the code, the verifier and the client's secret to
// wherever it says (RFC 9700, 4.12).
type guard struct {
	base  http.RoundTripper
	limit int64
	check checkFunc
}

// RoundTrip fails with a *fault, or with what check failed with.
func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	if req.Header.Get("Accept") == "" {
		req.Header.Set("Accept", "application/json")
	}
	// Asking for it by hand keeps any transport from inflating by itself.
	req.Header.Set("Accept-Encoding", "identity")
	resp, err := g.base.RoundTrip(req)
	if err != nil {
		return nil, networkFault(err)
	}
	a, err := g.read(resp)
	if err != nil {
		return nil, err
	}
	body, err := g.check(a)
	if err != nil {
		return nil, err
	}
	return jsonResponse(req, body), nil
}

func (g *guard) read(resp *http.Response) (answer, error) {
	defer resp.Body.Close()
	if e := resp.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return answer{}, refused("the answer is compressed, which was not asked for")
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, g.limit+1))
	if err != nil {
		return answer{}, networkFault(err)
	}
	if int64(len(body)) > g.limit {
		return answer{}, refused(fmt.Sprintf("the answer is longer than %d bytes", g.limit))
	}
	return answer{resp.StatusCode, resp.Header, body}, nil
}

func jsonResponse(req *http.Request, body []byte) *http.Response {
	return &http.Response{
		Status:        "200 OK",
		StatusCode:    http.StatusOK,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        http.Header{"Content-Type": {"application/json"}},
		Body:          io.NopCloser(bytes.NewReader(body)),
		ContentLength: int64(len(body)),
		Request:       req,
	}
}

// client returns an http.Client for one call: no cookies, and every answer
// checked.
func (c *Client) client(limit int64, check checkFunc) *http.Client {
	return &http.Client{Transport: &guard{c.transport, limit, check}}
}

// fault is why a call brought nothing usable. Its text is ours: that of
// net/http quotes the answer it could not read, and that of a *url.Error the
// URL.
type fault struct {
	status   int  // for the browser
	answered bool // the provider answered, and the answer was no good
	text     string
}

func (f *fault) Error() string { return f.text }

// refused is the fault of an answer that is no good.
func refused(text string) *fault {
	return &fault{status: http.StatusBadGateway, answered: true, text: text}
}

// statusFault is the fault of an answer with an unexpected status. A provider
// that says it is overloaded or broken is down, not wrong.
func statusFault(status int) *fault {
	f := refused(fmt.Sprintf("the endpoint answers with status %d", status))
	if status >= 500 || status == http.StatusTooManyRequests {
		f.status, f.answered = http.StatusServiceUnavailable, false
	}
	return f
}

// networkFault says what went wrong on the way.
func networkFault(err error) *fault {
	if f, ok := errors.AsType[*fault](err); ok {
		return f
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		return &fault{status: http.StatusGatewayTimeout, text: "no answer in time"}
	}
	if errors.Is(err, context.Canceled) {
		return &fault{status: http.StatusServiceUnavailable, text: "the caller gave up"}
	}
	if text, ok := tlsText(err); ok {
		return &fault{status: http.StatusBadGateway, text: text}
	}
	if e, ok := errors.AsType[*net.DNSError](err); ok && e.IsNotFound {
		return &fault{status: http.StatusServiceUnavailable, text: "the host name does not exist"}
	}
	if e, ok := errors.AsType[*net.OpError](err); ok && e.Op == "dial" {
		return &fault{status: http.StatusServiceUnavailable, text: "cannot connect"}
	}
	return &fault{status: http.StatusBadGateway, text: "the connection broke"}
}

// tlsText says what is wrong with the provider's TLS, if that is what err is.
func tlsText(err error) (string, bool) {
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "TLS: " + e.Error(), true
	}
	if e, ok := errors.AsType[*net.OpError](err); ok && (e.Op == "remote error" || e.Op == "local error") {
		return "TLS: " + e.Err.Error(), true // an alert, whose texts are crypto/tls's own
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "TLS: the endpoint does not speak TLS", true
	}
	return "", false
}
