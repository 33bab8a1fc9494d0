package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"

	"github.com/oidcgate/oidcgate/internal/redistest"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// world is a running relying party, a running provider, and a browser.
type world struct {
	*testing.T
	base    string
	browser *http.Client
	op      *oidcgatetest.Provider
	output  output
	stop    func()

	environment map[string]string
}

// output is a buffer that is safe for concurrent use.
type output struct {
	mu   sync.Mutex
	text strings.Builder
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// start runs the relying party, with options from env, until the test ends.
func start(t *testing.T, env map[string]string) *world {
	t.Helper()
	w := &world{T: t, op: oidcgatetest.NewProvider(t), browser: new(http.Client)}
	w.op.Server()
	w.open("http", env)
	return w
}

// startTLS is like start, but with TLS everywhere, and therefore with HTTP/2.
func startTLS(t *testing.T, env map[string]string) *world {
	t.Helper()
	w := &world{T: t, op: oidcgatetest.NewProvider(t)}
	server := w.op.TLSServer()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	w.browser = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}}
	pair := server.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	env["TLS_CERT"] = pemFile(t, "CERTIFICATE", pair.Certificate[0])
	env["TLS_KEY"] = pemFile(t, "PRIVATE KEY", key)
	env["CA_FILE"] = env["TLS_CERT"]
	w.open("https", env)
	return w
}

func pemFile(t *testing.T, kind string, bytes []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file.pem")
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes}), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// open registers the relying party at the provider and starts it.
func (w *world) open(scheme string, env map[string]string) {
	w.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.Fatal(err)
	}
	w.base = scheme + "://" + listener.Addr().String()
	all := map[string]string{
		"BASE_URL": w.base, "OIDC_ISSUER": w.op.Issuer(), "OIDC_CLIENT_ID": "rp",
		"OIDC_CLIENT_SECRET": "a secret", "OIDC_SCOPES": "profile email",
		"REDIS_TIMEOUT": "10s", // on a busy machine Redis may be late
	}
	maps.Copy(all, env)
	w.op.AddClient(oidcgatetest.Client{
		ID: "rp", Secret: "a secret",
		RedirectURLs:           []string{w.base + "/auth/callback"},
		PostLogoutRedirectURLs: []string{w.base + "/auth/logout/done"},
	})
	w.op.SetUser(oidcgatetest.User{Subject: "ann", Claims: map[string]any{
		"name": "Ann <b>", "email": "ann@example.com", "email_verified": true, "groups": []string{"admin", "staff"},
	}})
	w.browser.Jar, _ = cookiejar.New(nil) // without options it cannot fail
	w.environment = all
	w.serve(listener, all)
}

func (w *world) serve(listener net.Listener, env map[string]string) {
	w.Helper()
	o, err := readOptions(nil, func(name string) string { return env[name] }, io.Discard)
	if err != nil {
		w.Fatal(err)
	}
	s, err := newService(o, slog.New(slog.DiscardHandler), &w.output)
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, s, listener) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			w.Errorf("serve: %v", err)
		}
		s.close()
	})
	w.Cleanup(w.stop)
}

// answer is a response with its body.
type answer struct {
	*http.Response
	body string
}

func (w *world) do(r *http.Request) answer {
	w.Helper()
	resp, err := w.browser.Do(r)
	if err != nil {
		w.Fatalf("%s %s: %v", r.Method, r.URL, err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.Fatalf("%s %s: %v", r.Method, r.URL, err)
	}
	return answer{resp, string(body)}
}

func (w *world) request(method, path string) *http.Request {
	w.Helper()
	r, err := http.NewRequest(method, w.base+path, nil)
	if err != nil {
		w.Fatal(err)
	}
	return r
}

func (w *world) get(path string) answer {
	w.Helper()
	return w.do(w.request(http.MethodGet, path))
}

// wants checks an answer.
func (w *world) wants(a answer, status int, part string) {
	w.Helper()
	if a.StatusCode != status || !strings.Contains(a.body, part) {
		w.Errorf("%s: got %d %q, want %d and a body with %q", a.Request.URL, a.StatusCode, a.body, status, part)
	}
}

func eachRouter(t *testing.T, test func(t *testing.T, router string)) {
	for _, router := range []string{"mux", "chi", "gin"} {
		t.Run("with the router "+router, func(t *testing.T) { test(t, router) })
	}
}

func TestLoginLeadsBackToThePageThatWasAskedFor(t *testing.T) {
	eachRouter(t, func(t *testing.T, router string) {
		for _, path := range []string{"/app", "/admin?a=1&b=2", "/domain", "/mounted/app?x=%2F"} {
			t.Run(path, func(t *testing.T) {
				w := start(t, map[string]string{"ROUTER": router})
				a := w.get(path)
				w.wants(a, http.StatusOK, "hello Ann &lt;b&gt;")
				if got, want := a.Request.URL.String(), w.base+path; got != want {
					t.Errorf("the login of %s ended at %s, want %s", path, got, want)
				}
			})
		}
	})
}

func TestLoginPageLeadsToThePageThatWasAskedFor(t *testing.T) {
	w := start(t, map[string]string{"LOGIN_PAGE": "/sign-in"})
	a := w.get("/app")
	w.wants(a, http.StatusOK, "/auth/login?return_to=%2Fapp")
	if a.Request.URL.Path != "/sign-in" {
		t.Errorf("the visitor is at %s", a.Request.URL)
	}
}

func TestPagesOfAVisitorWhoIsNotSignedIn(t *testing.T) {
	eachRouter(t, func(t *testing.T, router string) {
		w := start(t, map[string]string{"ROUTER": router, "SESSION_VALUES": "true"})
		for _, row := range []struct {
			path   string
			status int
			part   string
		}{
			{"/", 200, "/public"},
			{"/public", 200, "not signed in"},
			{"/me", 401, "not signed in"},
			{"/whoami", 401, "not signed in"},
			{"/mounted/whoami", 401, "not signed in"},
			{"/token", 401, "no session"},
			{"/slow?ms=1&k=a&v=b", 200, "not signed in"},
			{"/slow", 400, "MILLISECONDS"},
			{"/hint103", 200, "not signed in"},
			{"/flushfirst?k=a&v=b", 200, "not signed in\ndone"},
			{"/hijack", 200, "not signed in"},
			{"/sse", 200, "id: 5\ndata: not signed in"},
			{"/file", 200, "line 100"},
			{"/healthz", 200, "ok"},
			{"/readyz", 200, "ready"},
			{"/nowhere", 404, ""},
		} {
			w.wants(w.get(row.path), row.status, row.part)
		}
		script := w.request(http.MethodGet, "/app")
		script.Header.Set("Accept", "application/json")
		w.wants(w.do(script), http.StatusUnauthorized, "login_url")
	})
}

func TestIdentityInJSON(t *testing.T) {
	eachRouter(t, func(t *testing.T, router string) {
		w := start(t, map[string]string{"ROUTER": router, "GROUPS_PREFIX": "ad"})
		w.get("/app")
		for _, path := range []string{"/me", "/whoami"} {
			var got map[string]any
			a := w.get(path)
			if err := json.Unmarshal([]byte(a.body), &got); err != nil {
				t.Fatalf("%s: %q: %v", path, a.body, err)
			}
			for _, name := range []string{"iss", "sub", "sid", "auth_time", "acr", "email", "email_verified", "groups", "name", "provider", "created", "expires", "idle_expires"} {
				if _, ok := got[name]; !ok {
					t.Errorf("%s has no member %q: %s", path, name, a.body)
				}
			}
			w.wants(a, http.StatusOK, `"email":"ann@example.com","email_verified":true,"groups":["admin"]`)
		}
		w.wants(w.get("/token"), http.StatusOK, `{"sha256":"`)
	})
}

func TestGuardsRefuse(t *testing.T) {
	eachRouter(t, func(t *testing.T, router string) {
		w := start(t, map[string]string{"ROUTER": router, "ADMIN_GROUP": "board", "EMAIL_DOMAIN": "shop.example"})
		w.get("/app")
		w.wants(w.get("/admin"), http.StatusForbidden, "not for your account")
		w.wants(w.get("/domain"), http.StatusForbidden, "not for your account")
		w.wants(w.get("/put?k=a&v=b"), http.StatusNotImplemented, "SESSION_VALUES is off")
		w.wants(w.get("/get?k=a"), http.StatusNotImplemented, "SESSION_VALUES is off")
	})
}

func TestValues(t *testing.T) {
	eachRouter(t, func(t *testing.T, router string) {
		w := start(t, map[string]string{"ROUTER": router, "SESSION_VALUES": "true"})
		w.get("/app")
		w.wants(w.get("/get?k=none"), http.StatusNotFound, "")
		w.wants(w.get("/put?v=x"), http.StatusBadRequest, "k=KEY")
		for _, row := range []struct{ path, part string }{
			{"/put?k=key&v=put", "saved"},
			{"/slow?ms=1&k=key&v=slow", "signed in as ann"},
			{"/hint103?k=key&v=hint", "signed in as ann"},
			{"/flushfirst?k=key&v=flush", "signed in as ann\nsaved\ndone"},
			{"/hijack?k=key&v=hijack", "signed in as ann"},
		} {
			w.wants(w.get(row.path), http.StatusOK, row.part)
			_, want, _ := strings.Cut(row.path, "&v=")
			w.wants(w.get("/get?k=key"), http.StatusOK, want)
		}
		if _, err := w.browser.Get(w.base + "/panic?k=key&v=panic"); err == nil {
			t.Error("/panic: got an answer, want the connection closed")
		}
		w.wants(w.get("/get?k=key"), http.StatusOK, "hijack")
	})
}

func TestEarlyHintsComeBeforeTheAnswer(t *testing.T) {
	eachRouter(t, func(t *testing.T, router string) {
		w := start(t, map[string]string{"ROUTER": router, "SESSION_VALUES": "true"})
		hints := 0
		trace := &httptrace.ClientTrace{Got1xxResponse: func(status int, header textproto.MIMEHeader) error {
			if status == http.StatusEarlyHints && header.Get("Link") != "" {
				hints++
			}
			return nil
		}}
		r := w.request(http.MethodGet, "/hint103")
		w.wants(w.do(r.WithContext(httptrace.WithClientTrace(r.Context(), trace))), http.StatusOK, "not signed in")
		if hints != 1 {
			t.Errorf("got %d early hints with a link, want 1", hints)
		}
	})
}

func TestWebsocketEchoes(t *testing.T) {
	eachRouter(t, func(t *testing.T, router string) {
		w := start(t, map[string]string{"ROUTER": router, "SESSION_VALUES": "true"})
		w.get("/app")
		ctx := t.Context()
		conn, _, err := websocket.Dial(ctx, w.base+"/hijack?k=key&v=ws", &websocket.DialOptions{HTTPClient: w.browser})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.CloseNow() }()
		if err := conn.Write(ctx, websocket.MessageText, []byte("ping")); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"signed in as ann", "ping"} {
			if _, got, err := conn.Read(ctx); err != nil || string(got) != want {
				t.Errorf("got message %q and error %v, want %q", got, err, want)
			}
		}
		w.wants(w.get("/get?k=key"), http.StatusOK, "ws")
	})
}

func TestFileAnswersConditionsAndRanges(t *testing.T) {
	eachRouter(t, func(t *testing.T, router string) {
		w := start(t, map[string]string{"ROUTER": router, "SESSION_VALUES": "true"})
		w.get("/app")
		modified := w.get("/file").Header.Get("Last-Modified")
		for _, row := range []struct {
			method, header, value string
			status                int
			body                  string
		}{
			{"HEAD", "Accept", "*/*", 200, ""},
			{"GET", "Range", "bytes=0-8", 206, "This file"},
			{"GET", "If-Modified-Since", modified, 304, ""},
		} {
			r := w.request(row.method, "/file")
			r.Header.Set(row.header, row.value)
			if a := w.do(r); a.StatusCode != row.status || a.body != row.body {
				t.Errorf("%s with %s: %s: got %d %q, want %d %q", row.method, row.header, row.value, a.StatusCode, a.body, row.status, row.body)
			}
		}
	})
}

func TestHTTP2(t *testing.T) {
	eachRouter(t, func(t *testing.T, router string) {
		w := startTLS(t, map[string]string{"ROUTER": router, "SESSION_VALUES": "true"})
		w.wants(w.get("/app"), http.StatusOK, "hello Ann")
		for _, row := range []struct {
			path   string
			status int
			part   string
		}{
			{"/slow?ms=1&k=key&v=slow", 200, "signed in as ann"},
			{"/hint103?k=key&v=hint", 200, "signed in as ann"},
			{"/flushfirst?k=key&v=flush", 200, "signed in as ann\nsaved\ndone"},
			{"/sse", 200, "id: 5\ndata: signed in as ann"},
			{"/file", 200, "line 100"},
			{"/hijack?k=key&v=hijack", 505, "cannot be taken over"},
			{"/get?k=key", 200, "hijack"},
		} {
			a := w.get(row.path)
			w.wants(a, row.status, row.part)
			if a.ProtoMajor != 2 {
				t.Errorf("%s: got %s, want HTTP/2", row.path, a.Proto)
			}
		}
	})
}

func TestShutdownEndsStreams(t *testing.T) {
	w := start(t, map[string]string{})
	stream, err := w.browser.Get(w.base + "/sse?n=1000")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stream.Body.Close() }()
	w.stop()
	events, err := io.ReadAll(stream.Body)
	if err != nil || strings.Contains(string(events), "id: 1000") {
		t.Errorf("got events %q and error %v, want a stream that ended early and cleanly", events, err)
	}
}

func TestRawTargetsStayOnThisSite(t *testing.T) {
	eachRouter(t, func(t *testing.T, router string) {
		w := start(t, map[string]string{"ROUTER": router})
		for _, target := range []string{"//evil.example/app", `/\evil.example/app`, "http://evil.example/app", "/%2F/evil.example/app"} {
			conn, err := net.Dial("tcp", strings.TrimPrefix(w.base, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(conn, "GET "+target+" HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
			head, err := io.ReadAll(conn)
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.Close()
			_, rest, found := strings.Cut(string(head), "Location: ")
			location, _, _ := strings.Cut(rest, "\r\n")
			u, err := url.Parse(location)
			onSite := strings.HasPrefix(location, w.base+"/") || err == nil && u.Host == "" && !strings.HasPrefix(location, "//")
			if found && !onSite {
				t.Errorf("%s leads to %s", target, location)
			}
		}
	})
}

func TestLogoutEndsAtThePublicPage(t *testing.T) {
	w := start(t, map[string]string{})
	w.get("/app")
	a := w.do(w.request(http.MethodPost, "/auth/logout?return_to=/public"))
	w.wants(a, http.StatusOK, "not signed in")
	if got := a.Request.URL.Path; got != "/public" {
		t.Errorf("the logout ended at %s, want /public", got)
	}
	if n := w.op.Count(oidcgatetest.EndSession); n != 1 {
		t.Errorf("the provider was asked to log out %d times, want once", n)
	}
}

func TestEventsAreJSONLinesWithEventAndReason(t *testing.T) {
	w := start(t, map[string]string{})
	w.get("/app")
	w.get("/auth/callback?state=unknown&code=x")
	w.stop() // delivers the queued events
	seen := map[string]string{}
	for line := range strings.Lines(w.output.String()) {
		var event map[string]any
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		reason, ok := event["reason"].(string)
		if !ok {
			t.Errorf("the event has no reason: %s", line)
		}
		name, _ := event["event"].(string)
		seen[name] = reason
	}
	if _, ok := seen["login.succeeded"]; !ok || seen["login.failed"] != "unknown_state" {
		t.Errorf("got events %v, want a login that succeeded and one that failed as unknown_state", seen)
	}
}

const sessionKeys = "cKDdY1k9L3Gd0W0gKHCSFGJQnQxaBYVtLUgZAv2m3vY="

func TestASessionOutlivesItsProcessInRedis(t *testing.T) {
	env := map[string]string{"REDIS_URL": "redis://" + redistest.Start(t).Addr, "SESSION_KEYS": sessionKeys}
	w := start(t, env)
	w.get("/app")
	w.stop()
	listener, err := net.Listen("tcp", strings.TrimPrefix(w.base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	w.serve(listener, w.environment)
	w.wants(w.get("/me"), http.StatusOK, `"sub":"ann"`)
}

func TestStoreThatIsGone(t *testing.T) {
	server := redistest.Start(t)
	w := start(t, map[string]string{"REDIS_URL": "redis://" + server.Addr, "REDIS_TIMEOUT": "500ms", "SESSION_VALUES": "true"})
	w.get("/app")
	server.Stop()
	for _, path := range []string{"/me", "/whoami", "/token", "/app", "/put?k=a&v=b"} {
		a := w.get(path)
		w.wants(a, http.StatusServiceUnavailable, "")
		if a.Header.Get("Retry-After") == "" {
			t.Errorf("%s: 503 without Retry-After", path)
		}
	}
	w.wants(w.get("/readyz"), http.StatusServiceUnavailable, "")
	w.wants(w.get("/healthz"), http.StatusOK, "ok")
	w.wants(w.get("/public"), http.StatusOK, "Public")
	w.wants(w.get("/flushfirst?k=a&v=b"), http.StatusOK, "cannot tell at the moment whether you are signed in\nerror\n")
}

func TestStoreThatRefusesWrites(t *testing.T) {
	eachRouter(t, func(t *testing.T, router string) {
		server := redistest.Start(t)
		w := start(t, map[string]string{"ROUTER": router, "REDIS_URL": "redis://" + server.Addr, "SESSION_VALUES": "true"})
		w.get("/app")
		if err := server.Client(nil).Do(t.Context(), "replicaof", "127.0.0.1", "1").Err(); err != nil {
			t.Fatal(err)
		}
		w.wants(w.get("/me"), http.StatusOK, `"sub":"ann"`)
		w.wants(w.get("/flushfirst?k=a&v=b"), http.StatusOK, "signed in as ann\nerror\n")
		for _, path := range []string{"/put?k=a&v=b", "/slow?ms=1&k=a&v=b", "/hint103?k=a&v=b", "/hijack?k=a&v=b"} {
			w.wants(w.get(path), http.StatusServiceUnavailable, "")
		}
		w.wants(w.get("/me"), http.StatusOK, `"sub":"ann"`)
	})
}

func TestOptionsThatAreWrongAreReportedTogether(t *testing.T) {
	env := map[string]string{
		"ROUTER": "echo", "OIDC_CLIENT_AUTH": "jwt", "OIDC_USERINFO": "maybe", "IDLE_TIMEOUT": "1 hour",
		"SESSION_VALUES": "perhaps", "MAX_SESSION_BYTES": "many", "SESSION_KEYS": "c2hvcnQ=", "LOG_LEVEL": "loud",
		"REDIS_URL": "http://user:hunter2@localhost", "EMAIL_DOMAIN": "a@b", "OIDC_AUTH_PARAMS": "a=1&a=2",
		"TLS_CERT": "cert.pem", "CA_FILE": "/nowhere/ca.pem", "ADDR": "8080", "OIDC_ISSUER": "ftp://id.example",
	}
	err := run(t.Context(), nil, func(name string) string { return env[name] }, io.Discard, io.Discard)
	if err == nil {
		t.Fatal("run served with wrong options")
	}
	for name := range env {
		want := "rp: " + name
		if name == "OIDC_ISSUER" {
			want = "Provider.Issuer"
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name %s:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the error shows a password:\n%v", err)
	}
}

func TestFlagsWinOverTheEnvironment(t *testing.T) {
	env := map[string]string{"ROUTER": "chi", "IDLE_TIMEOUT": "5m", "SESSION_VALUES": "false"}
	o, err := readOptions([]string{"-router", "gin", "-session-values", "true"}, func(name string) string { return env[name] }, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if o.router != "gin" || !o.config.EnableValues || o.config.IdleTimeout.Minutes() != 5 || o.config.SessionLifetime != 0 {
		t.Errorf("got router %s, values %t, idle timeout %v, lifetime %v; want gin, true, 5m0s, 0s",
			o.router, o.config.EnableValues, o.config.IdleTimeout, o.config.SessionLifetime)
	}
}

func TestHelpListsEveryOption(t *testing.T) {
	var help strings.Builder
	err := run(t.Context(), []string{"-help"}, func(string) string { return "" }, &help, io.Discard)
	if !errors.Is(err, flag.ErrHelp) {
		t.Errorf("got error %v, want flag.ErrHelp", err)
	}
	for _, opt := range new(options).all() {
		if !strings.Contains(help.String(), "-"+opt.flag()+", "+opt.env+"\n") {
			t.Errorf("the help lacks -%s, %s", opt.flag(), opt.env)
		}
	}
}

// TestEveryFieldHasAnOption gives each option a value that is not zero. Every field of Config and
// Provider must then have one, except those that hold code.
func TestEveryFieldHasAnOption(t *testing.T) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	values := []string{"2", "true", "1h", "required", "a=b", "debug", "gin", "post", "dpop", "fapi2-security", "cognito", "signed", "id_token,userinfo,authorization", "unidy", `{"de":{"back":"Zum Laden"}}`,
		base64.StdEncoding.EncodeToString(private.Seed()), pemFile(t, "PRIVATE KEY", pkcs8)}
	o := new(options)
	for _, opt := range o.all() {
		taken := slices.ContainsFunc(values, func(value string) bool { return opt.set(value) == nil })
		if !taken {
			t.Fatalf("%s took no value", opt.env)
		}
	}
	o.provider.Auth, _ = o.auth()
	if err := o.bind(); err != nil {
		t.Fatal(err)
	}
	code := map[string]bool{
		"Config.Store": true, "Config.OnLogin": true, "Config.OnEvent": true, "Config.OnLogout": true, "Config.Logger": true,
		"Config.Page": true, "Config.WithoutSession": true, "Provider.Claims.Further": true, "Provider.Claims.FurtherOrigins": true, "Config.HomeRealm": true, "Config.OnLink": true, "Config.LoginOptions": true, "Config.HTTP.Transport": true, "Config.HTTP.ResourceTransport": true, "Config.HTTP.Wrap": true, "Config.HTTP.RootCAs": true, // CA_FILE
	}
	code["Provider.Request.Login.Provider"] = true // of Config.LoginOptions, LoginURL and LoginWith alone
	var unset []string
	var look func(name string, v reflect.Value)
	look = func(name string, v reflect.Value) {
		for i := range v.NumField() {
			field, path := v.Field(i), name+"."+v.Type().Field(i).Name
			switch isStruct := field.Kind() == reflect.Struct; {
			case isStruct && field.NumField() > 0 && field.Type().Field(0).IsExported():
				look(path, field)
			case field.IsZero() && !code[path]:
				unset = append(unset, path)
			}
		}
	}
	look("Config", reflect.ValueOf(o.config))
	look("Provider", reflect.ValueOf(o.provider))
	if len(unset) != 0 {
		t.Errorf("no option sets %v", unset)
	}
}

func TestPortThatIsTaken(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	args := []string{"-addr", listener.Addr().String(), "-oidc-issuer", "https://id.test", "-oidc-client-id", "rp", "-oidc-client-auth", "none"}
	err = run(t.Context(), args, func(string) string { return "" }, io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), listener.Addr().String()+" is in use") {
		t.Errorf("got error %v, want one that names the address", err)
	}
}

func TestEncrypted(t *testing.T) {
	none := func(string) string { return "" }
	o, err := readOptions([]string{"-oidc-encrypted", "id_token,authorization"}, none, io.Discard)
	if v := o.provider.Verification; err != nil || !v.EncryptedIDTokens || v.EncryptedUserinfo || !v.EncryptedResponses {
		t.Errorf("got %+v, %v", v, err)
	}
	o, err = readOptions([]string{"-oidc-encrypted", "userinfo"}, none, io.Discard)
	if v := o.provider.Verification; err != nil || v.EncryptedIDTokens || !v.EncryptedUserinfo || v.EncryptedResponses {
		t.Errorf("got %+v, %v", v, err)
	}
	if _, err := readOptions([]string{"-oidc-encrypted", "tokens"}, none, io.Discard); err == nil || !strings.Contains(err.Error(), "OIDC_ENCRYPTED") {
		t.Errorf("got error %v, want one that names OIDC_ENCRYPTED", err)
	}
}
