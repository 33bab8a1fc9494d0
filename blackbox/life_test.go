package blackbox_test

import (
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/oidcgate/oidcgate/blackbox/internal/idp"
	"github.com/oidcgate/oidcgate/blackbox/internal/process"
	"github.com/oidcgate/oidcgate/blackbox/internal/rp"
	"github.com/oidcgate/oidcgate/blackbox/internal/visitor"
	"github.com/oidcgate/oidcgate/blackbox/internal/walk"
	"github.com/oidcgate/oidcgate/internal/redistest"
)

// guest is a visitor of a service, and what the handlers should answer to that visitor.
type guest struct {
	*visitor.Visitor
	base     string
	who      string // "signed in as ..." or "not signed in"
	values   bool   // the service stores values for this visitor
	protocol string // "HTTP/1.1" or "HTTP/2.0"
}

// habits are things that handlers do and a middleware can easily break. Each must work as it does
// without a gate.
var habits = []struct {
	name  string
	show  func(*testing.T, *guest)
	http1 bool // HTTP/2 requests share a connection, so it cannot be taken over
}{
	{name: "a stream sends each event by itself", show: showEvents},
	{name: "a 103 goes out before the answer", show: showEarlyHints},
	{name: "a flush sends the headers before there is anything to say", show: showFlush},
	{name: "a connection that is taken over belongs to the handler", show: showHijack, http1: true},
	{name: "a websocket echoes", show: showWebsocket, http1: true},
	{name: "a file is served whole, in part, and not again", show: showFile},
	{name: "HEAD has the headers of GET and no body", show: showHead},
	{name: "a panic ends its own request only", show: showPanic},
	{name: "a slow answer comes", show: showSlow},
}

func TestLifeOfHandlers(t *testing.T) {
	options, client := newShop(t)
	overTLS := strings.Replace(options["BASE_URL"], "http://", "https://", 1)
	secure := idp.NewClient("shop-tls", clientSecret, "client_secret_basic", overTLS)
	op := idp.Start(t, idp.Config{Clients: []idp.Client{client, secure}})
	options = options.With("OIDC_ISSUER", op.Issuer, "REDIS_URL", "redis://"+redistest.Start(t).Addr)
	cert, key, roots := rp.WriteCertificate(t, "localhost")

	for _, router := range []string{"mux", "chi", "gin"} {
		for _, values := range []string{"false", "true"} {
			here := options.With("ROUTER", router, "SESSION_VALUES", values)
			t.Run(fmt.Sprintf("%s, HTTP/1.1, values %s", router, values), func(t *testing.T) {
				live(t, here, nil, "HTTP/1.1")
			})
			here = here.With("BASE_URL", overTLS, "OIDC_CLIENT_ID", "shop-tls", "TLS_CERT", cert, "TLS_KEY", key)
			t.Run(fmt.Sprintf("%s, HTTP/2, values %s", router, values), func(t *testing.T) {
				live(t, here, roots, "HTTP/2.0")
			})
		}
	}
}

func live(t *testing.T, options rp.Options, roots *x509.CertPool, protocol string) {
	shop := rp.Start(t, options)
	guests := []*guest{
		{Visitor: visitor.New(), base: shop.URL, who: "not signed in", protocol: protocol},
		{Visitor: visitor.New(), base: shop.URL, who: "signed in as alice-0001", protocol: protocol, values: options["SESSION_VALUES"] == "true"},
	}
	for _, g := range guests {
		g.Trust(roots)
	}
	walk.LogIn(t, guests[1].Visitor, shop.URL+"/app", idp.Alice)
	for _, g := range guests {
		for _, habit := range habits {
			if habit.http1 && protocol != "HTTP/1.1" {
				continue
			}
			t.Run(g.who+": "+habit.name, func(t *testing.T) {
				t.Parallel() // so that several requests store values at the same time
				habit.show(t, g)
			})
		}
	}
}

// request sends a request as a script does. header is "Name: value", or empty.
func (g *guest) request(t *testing.T, method, path, header string) *http.Response {
	t.Helper()
	resp, err := g.try(t, method, path, header, nil)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	if resp.Proto != g.protocol {
		t.Errorf("%s %s is answered in %s, want %s", method, path, resp.Proto, g.protocol)
	}
	return resp
}

func (g *guest) try(t *testing.T, method, path, header string, trace *httptrace.ClientTrace) (*http.Response, error) {
	t.Helper()
	ctx := t.Context()
	if trace != nil {
		ctx = httptrace.WithClientTrace(ctx, trace)
	}
	r, err := http.NewRequestWithContext(ctx, method, g.base+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if name, value, ok := strings.Cut(header, ": "); ok {
		r.Header.Set(name, value)
	}
	resp, err := g.Client().Do(r)
	if err == nil {
		t.Cleanup(func() { _ = resp.Body.Close() })
	}
	return resp, err
}

// wantBody checks status and body.
func wantBody(t *testing.T, resp *http.Response, status int, want string) {
	t.Helper()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != status || string(body) != want {
		t.Errorf("%s answers %d %q (%v), want %d %q", resp.Request.URL.Path, resp.StatusCode, body, err, status, want)
	}
}

// wantValue checks that a value which a handler stored is there in a later request.
func (g *guest) wantValue(t *testing.T, key, want string) {
	t.Helper()
	if g.values {
		wantBody(t, g.request(t, http.MethodGet, "/get?k="+key, ""), http.StatusOK, want)
	}
}

func showEvents(t *testing.T, g *guest) {
	var events string
	for i := range 5 {
		events += fmt.Sprintf("id: %d\ndata: %s\n\n", i+1, g.who)
	}
	wantBody(t, g.request(t, http.MethodGet, "/sse", ""), http.StatusOK, events)
	if g.protocol == "HTTP/1.1" {
		g.wantChunks(t)
	}
}

// wantChunks checks the bytes of the stream. Data that is flushed separately is a separate chunk,
// however slow reader and writer are (RFC 9112, section 7.1).
func (g *guest) wantChunks(t *testing.T) {
	t.Helper()
	_, got, _ := strings.Cut(string(exchange(t, g.base, "/sse", g.Cookies(g.base))), "\r\n\r\n")
	var want string
	for i := range 5 {
		event := fmt.Sprintf("id: %d\ndata: %s\n\n", i+1, g.who)
		want += fmt.Sprintf("%x\r\n%s\r\n", len(event), event)
	}
	if want += "0\r\n\r\n"; got != want {
		t.Errorf("the body on the wire is\n%q\nwant each event in a chunk:\n%q", got, want)
	}
}

func showEarlyHints(t *testing.T, g *guest) {
	var early []string
	resp, err := g.try(t, http.MethodGet, "/hint103?k=hint&v=early", "", &httptrace.ClientTrace{
		Got1xxResponse: func(status int, header textproto.MIMEHeader) error {
			early = append(early, fmt.Sprint(status, " ", header.Get("Link")))
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(early) != 1 || early[0] != "103 </file>; rel=preload; as=fetch" {
		t.Errorf("before the answer came %q, want one 103 with the link", early)
	}
	wantBody(t, resp, http.StatusOK, g.who+"\n")
	g.wantValue(t, "hint", "early")
}

func showFlush(t *testing.T, g *guest) {
	saved := ""
	if g.values {
		saved = "saved\n"
	}
	wantBody(t, g.request(t, http.MethodGet, "/flushfirst?k=flush&v=late", ""), http.StatusOK, g.who+"\n"+saved+"done\n")
	g.wantValue(t, "flush", "late")
}

func showHijack(t *testing.T, g *guest) {
	resp := g.request(t, http.MethodGet, "/hijack?k=hijack&v=before", "")
	wantBody(t, resp, http.StatusOK, g.who+"\n")
	g.wantValue(t, "hijack", "before")
}

func showWebsocket(t *testing.T, g *guest) {
	conn, resp, err := websocket.Dial(t.Context(), g.base+"/hijack?k=socket&v=open", &websocket.DialOptions{HTTPClient: g.Client()})
	if err != nil {
		t.Fatalf("opening a websocket: %v (%+v)", err, resp)
	}
	defer func() { _ = conn.CloseNow() }()
	if _, hello, err := conn.Read(t.Context()); err != nil || string(hello) != g.who {
		t.Fatalf("the first message is %q (%v), want %q", hello, err, g.who)
	}
	for _, message := range []string{"one", strings.Repeat("two ", 5_000)} {
		if err := conn.Write(t.Context(), websocket.MessageText, []byte(message)); err != nil {
			t.Fatal(err)
		}
		if _, echo, err := conn.Read(t.Context()); err != nil || string(echo) != message {
			t.Fatalf("%.20q comes back as %.20q (%v)", message, echo, err)
		}
	}
	g.wantValue(t, "socket", "open")
}

func showFile(t *testing.T, g *guest) {
	text, err := os.ReadFile(filepath.Join(process.ModuleDir(t), "..", "examples", "rp", "file.txt"))
	if err != nil {
		t.Fatal(err)
	}
	whole := g.request(t, http.MethodGet, "/file", "")
	if got := whole.Header.Get("X-Signed-In"); got != g.who {
		t.Errorf("X-Signed-In is %q, want %q", got, g.who)
	}
	wantBody(t, whole, http.StatusOK, string(text))
	part := g.request(t, http.MethodGet, "/file", "Range: bytes=10-19")
	if got, want := part.Header.Get("Content-Range"), fmt.Sprintf("bytes 10-19/%d", len(text)); got != want {
		t.Errorf("Content-Range is %q, want %q", got, want)
	}
	wantBody(t, part, http.StatusPartialContent, string(text[10:20]))
	wantBody(t, g.request(t, http.MethodGet, "/file", "If-Modified-Since: "+whole.Header.Get("Last-Modified")), http.StatusNotModified, "")
}

func showHead(t *testing.T, g *guest) {
	get, head := g.request(t, http.MethodGet, "/file", ""), g.request(t, http.MethodHead, "/file", "")
	wantBody(t, head, http.StatusOK, "")
	if head.ContentLength != get.ContentLength || head.ContentLength <= 0 {
		t.Errorf("HEAD announces %d bytes, GET %d", head.ContentLength, get.ContentLength)
	}
	for _, name := range []string{"Content-Type", "Last-Modified", "Accept-Ranges", "Vary", "Cache-Control", "X-Signed-In"} {
		if got, want := head.Header.Get(name), get.Header.Get(name); got != want {
			t.Errorf("HEAD has %s %q, GET %q", name, got, want)
		}
	}
}

func showPanic(t *testing.T, g *guest) {
	if resp, err := g.try(t, http.MethodGet, "/panic?k=panic&v=lost", "", nil); err == nil {
		t.Errorf("a handler that panics answers %d, want the connection cut", resp.StatusCode)
	}
	wantBody(t, g.request(t, http.MethodGet, "/slow?ms=0", ""), http.StatusOK, g.who+"\n")
	if g.values {
		wantBody(t, g.request(t, http.MethodGet, "/get?k=panic", ""), http.StatusNotFound, "404 page not found\n")
	}
}

func showSlow(t *testing.T, g *guest) {
	wantBody(t, g.request(t, http.MethodGet, "/slow?ms=50&k=slow&v=after", ""), http.StatusOK, g.who+"\n")
	g.wantValue(t, "slow", "after")
}
