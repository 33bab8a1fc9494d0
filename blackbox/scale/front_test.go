package scale_test

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/blackbox/internal/process"
)

// A front is a proxy in front of the provider, at the address of its issuer. It disturbs token
// requests of one grant type. All other requests pass unchanged.
type front struct {
	issuer string
	port   int // the port on which the provider must listen

	mu    sync.Mutex
	grant string // grant_type of the requests to disturb
	spoil func(w http.ResponseWriter, r *http.Request, pass http.Handler)
}

func newFront(t *testing.T) *front {
	t.Helper()
	f := &front{port: process.FreePort(t)}
	target := &url.URL{Scheme: "http", Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(f.port))}
	pass := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // the provider builds its addresses from the Host header
		},
		ErrorLog: nil,
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if spoil := f.spoiling(r); spoil != nil {
			spoil(w, r, pass)
			return
		}
		pass.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	f.issuer = server.URL
	return f
}

// spoiling returns the function that disturbs a request, or nil if the request passes.
func (f *front) spoiling(r *http.Request) func(http.ResponseWriter, *http.Request, http.Handler) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.spoil == nil || grantOf(r) != f.grant {
		return nil
	}
	return f.spoil
}

// grantOf returns the grant_type of a token request. The body can be read again afterwards.
func grantOf(r *http.Request) string {
	if r.Method != http.MethodPost || r.URL.Path != "/token" {
		return ""
	}
	body, err := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	form, formErr := url.ParseQuery(string(body))
	if err != nil || formErr != nil {
		return ""
	}
	return form.Get("grant_type")
}

// The grant types of token requests.
const (
	refreshGrant = "refresh_token"
	codeGrant    = "authorization_code"
)

// set disturbs token requests of a grant type from now on.
func (f *front) set(grant string, spoil func(http.ResponseWriter, *http.Request, http.Handler)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.grant, f.spoil = grant, spoil
}

// clear lets all requests pass again.
func (f *front) clear() { f.set("", nil) }

// fail answers 500. The provider does not get the request.
func fail(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
	http.Error(w, "out of order", http.StatusInternalServerError)
}

// reset breaks the connection. The provider does not get the request.
func reset(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	_ = conn.(*net.TCPConn).SetLinger(0) // closing then sends RST instead of FIN
	_ = conn.Close()
}

// hang waits until the client closes the connection. The provider does not get the request.
func hang(_ http.ResponseWriter, r *http.Request, _ http.Handler) { <-r.Context().Done() }

// A gatehouse holds requests back until it is opened.
type gatehouse struct {
	before bool // it holds requests; if false, it holds the responses to them
	held   chan struct{}
	open   chan struct{}
}

func newGatehouse(before bool) *gatehouse {
	return &gatehouse{before: before, held: make(chan struct{}, 1000), open: make(chan struct{})}
}

// hold holds one request or the answer to it. If the client leaves in the meantime, it gets no
// response, and a held request does not reach the provider.
func (g *gatehouse) hold(w http.ResponseWriter, r *http.Request, pass http.Handler) {
	if g.before {
		if g.wait(r) {
			pass.ServeHTTP(w, r)
		}
		return
	}
	answer := httptest.NewRecorder()
	pass.ServeHTTP(answer, r)
	if !g.wait(r) {
		return
	}
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
}

// wait waits until the gatehouse is opened. It returns false if the client leaves first.
func (g *gatehouse) wait(r *http.Request) bool {
	g.held <- struct{}{}
	select {
	case <-g.open:
		return true
	case <-r.Context().Done():
		return false
	}
}

// awaitHeld waits until n more requests or responses are held.
func (g *gatehouse) awaitHeld(t *testing.T, n int) {
	t.Helper()
	for range n {
		select {
		case <-g.held:
		case <-time.After(patience):
			t.Fatal("the provider was not asked for everybody's tokens")
		}
	}
}
