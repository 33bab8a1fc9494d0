package oidcgate_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/oidcgatetest"
	"github.com/oidcgate/oidcgate/store"
	"github.com/oidcgate/oidcgate/store/redisstore"
)

const (
	shopURL = "https://shop.test"
	secret  = "the client's secret"

	worldKey = "cKDdY1k9L3Gd0W0gKHCSFGJQnQxaBYVtLUgZAv2m3vY="
)

// world is a browser's view of a shop behind a gate, and of its provider, all in this process.
type world struct {
	*testing.T
	op      *oidcgatetest.Provider
	gate    *oidcgate.Gate
	store   *store.Memory
	config  oidcgate.Config
	handler http.Handler // the shop
	browser *http.Client

	mu     sync.Mutex
	events []oidcgate.Event
	log    strings.Builder
}

// newWorld opens a shop. Each change edits its configuration before the gate is made.
func newWorld(t *testing.T, changes ...func(*oidcgate.Config, *oidcgate.Provider)) *world {
	t.Helper()
	return newWorldOf(t, oidcgatetest.NewProvider(t), changes...)
}

// newWorldOf is newWorld at a provider that the test made.
func newWorldOf(t *testing.T, op *oidcgatetest.Provider, changes ...func(*oidcgate.Config, *oidcgate.Provider)) *world {
	t.Helper()
	w := &world{T: t, op: op, store: &store.Memory{}}
	t.Cleanup(w.wantTabledFields)
	w.op.AddClient(oidcgatetest.Client{
		ID: "shop", Secret: secret,
		RedirectURLs:           []string{shopURL + "/auth/callback"},
		PostLogoutRedirectURLs: []string{shopURL + "/auth/logout/done"},
	})
	w.config = oidcgate.Config{
		BaseURL: shopURL,
		Store:   w.store,
		Keys:    mustKeys(t, worldKey),
		HTTP:    oidcgate.HTTPOptions{Transport: w.op.Transport()},
		Logger:  slog.New(slog.NewJSONHandler(w.logWriter(), &slog.HandlerOptions{Level: slog.LevelDebug})),
		OnEvent: w.collect,
	}
	provider := oidcgate.Provider{Issuer: w.op.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret), Scopes: []string{"profile", "email"}}
	for _, change := range changes {
		change(&w.config, &provider)
	}
	w.open(provider)
	w.browser = w.newBrowser()
	return w
}

// open makes the gate and the shop behind it.
func (w *world) open(providers ...oidcgate.Provider) {
	w.Helper()
	gate, err := oidcgate.New(w.config, providers...)
	if err != nil {
		w.Fatalf("New: %v", err)
	}
	w.gate = gate
	w.handler = gate.Wrap(w.shop())
}

// shop is an application: a public page, one for customers, one for administrators.
func (w *world) shop() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/public", func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "welcome") })
	mux.HandleFunc("/whoami", w.whoami)
	mux.Handle("/app/", w.gate.Require()(http.HandlerFunc(w.whoami)))
	mux.Handle("/app", w.gate.Require()(http.HandlerFunc(w.whoami)))
	mux.Handle("/admin", w.gate.Require(oidcgate.Claim("groups", "admin"))(http.HandlerFunc(w.whoami)))
	mux.HandleFunc("/", func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "home") })
	return mux
}

// whoami tells who is signed in, as JSON.
func (w *world) whoami(rw http.ResponseWriter, r *http.Request) {
	id, ok := oidcgate.FromContext(r.Context())
	if !ok {
		rw.WriteHeader(http.StatusUnauthorized)
		return
	}
	email, verified := id.Email()
	_ = json.NewEncoder(rw).Encode(map[string]any{"iss": id.Issuer(), "sub": id.Subject(), "name": id.Name(), "email": email, "verified": verified})
}

func mustKeys(t *testing.T, text string) oidcgate.Keys {
	t.Helper()
	keys, err := oidcgate.ParseKeys(text)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// newBrowser returns a browser with an empty cookie jar. It follows no redirect by itself.
func (w *world) newBrowser() *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.Fatal(err)
	}
	shop := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.handler.ServeHTTP(rw, r) })
	return &http.Client{
		Jar:           jar,
		Transport:     oidcgatetest.NewTransport(map[string]http.Handler{"shop.test": shop, "id.test": w.op}),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// answer is a response whose body was read.
type answer struct {
	*http.Response
	body string
}

func (a answer) location() string { return a.Header.Get("Location") }

// get navigates to a URL or to a path of the shop, with headers given as "Name: value".
func (w *world) get(target string, headers ...string) answer {
	w.Helper()
	return w.send(w.browser, http.MethodGet, target, "", headers...)
}

// send sends what a browser sends: it takes HTML, and a body is a form. Headers replace these two.
func (w *world) send(browser *http.Client, method, target, form string, headers ...string) answer {
	w.Helper()
	usual := []string{"Accept: text/html"}
	if form != "" {
		usual = append(usual, "Content-Type: application/x-www-form-urlencoded")
	}
	return w.sendOnly(browser, method, target, form, append(usual, headers...)...)
}

// sendOnly sends these headers and no others.
func (w *world) sendOnly(browser *http.Client, method, target, form string, headers ...string) answer {
	w.Helper()
	if strings.HasPrefix(target, "/") {
		target = shopURL + target
	}
	r, err := http.NewRequest(method, target, strings.NewReader(form))
	if err != nil {
		w.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	resp, err := browser.Do(r)
	if err != nil {
		w.Fatalf("%s %s: %v", method, target, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.Fatalf("%s %s: %v", method, target, err)
	}
	return answer{resp, string(body)}
}

// callbackURL begins a login for a page and returns the address the provider sends the browser back to.
func (w *world) callbackURL(page string) string {
	w.Helper()
	a := w.get(page)
	for range 3 {
		if a.StatusCode != http.StatusSeeOther && a.StatusCode != http.StatusFound {
			w.Fatalf("on the way to the provider: status %d\n%s", a.StatusCode, a.body)
		}
		if strings.HasPrefix(a.location(), shopURL+"/auth/callback") {
			return a.location()
		}
		a = w.get(a.location())
	}
	if !strings.HasPrefix(a.location(), shopURL+"/auth/callback") {
		w.Fatalf("the provider sent the browser to %q", a.location())
	}
	return a.location()
}

// login signs the browser in and fails the test if that does not work.
func (w *world) login() {
	w.Helper()
	a := w.get(w.callbackURL("/app"))
	if a.StatusCode != http.StatusSeeOther {
		w.Fatalf("login: status %d\n%s\n%s", a.StatusCode, a.body, w.logged())
	}
}

// subject is who /whoami says is signed in, "" for nobody.
func (w *world) subject() string {
	w.Helper()
	a := w.get("/whoami")
	if a.StatusCode == http.StatusUnauthorized {
		return ""
	}
	var who struct{ Sub string }
	if err := json.Unmarshal([]byte(a.body), &who); err != nil {
		w.Fatalf("/whoami: status %d: %v: %s", a.StatusCode, err, a.body)
	}
	return who.Sub
}

// cookie returns the value of a cookie of the shop, "" if there is none.
func (w *world) cookie(name string) string {
	u, _ := url.Parse(shopURL)
	for _, c := range w.browser.Jar.Cookies(u) {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

func (w *world) cookieNames(prefix string) []string {
	u, _ := url.Parse(shopURL)
	var names []string
	for _, c := range w.browser.Jar.Cookies(u) {
		if strings.HasPrefix(c.Name, prefix) {
			names = append(names, c.Name)
		}
	}
	return names
}

func (w *world) collect(e oidcgate.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
}

// wantTabledFields checks that each field of each event is in the table of fields of docs/events.md.
func (w *world) wantTabledFields() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		text, err := json.Marshal(e)
		if err != nil {
			w.Fatal(err)
		}
		for _, f := range event.Fields {
			has := func(name string) bool { return bytes.Contains(text, []byte(`,"`+name+`":`)) }
			if f.Of != nil && !slices.Contains(f.Of, event.Type(e.Type)) && slices.ContainsFunc(f.Names, has) {
				w.Errorf("the table of fields does not have %q for %s", f.Names, text)
			}
		}
	}
}

// eventsOf returns the events of a type, after all so far were delivered.
func (w *world) eventsOf(kind oidcgate.EventType) []oidcgate.Event {
	w.Helper()
	if err := w.gate.Wait(w.Context()); err != nil {
		w.Fatalf("Close: %v", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var found []oidcgate.Event
	for _, e := range w.events {
		if e.Type == kind {
			found = append(found, e)
		}
	}
	return found
}

type logWriter struct{ w *world }

func (l logWriter) Write(b []byte) (int, error) {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	return l.w.log.Write(b)
}

func (w *world) logWriter() io.Writer { return logWriter{w} }

func (w *world) logged() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.String()
}

// denied checks a refused login whole: the status, no session and no cookie of one, one event with the
// reason, a page that stays out of caches, names its reference and leads nowhere by itself.
func (w *world) denied(a answer, status int, reason oidcgate.Reason) {
	w.Helper()
	if a.StatusCode != status {
		w.Errorf("status %d, want %d\n%s", a.StatusCode, status, a.body)
	}
	if got := a.Header.Get("Cache-Control"); got != "no-store" {
		w.Errorf("Cache-Control %q, want no-store", got)
	}
	if a.location() != "" {
		w.Errorf("it redirects to %q", a.location())
	}
	for _, c := range a.Cookies() {
		if c.Name == "__Host-Http-oidcgate" && c.MaxAge >= 0 {
			w.Errorf("it sets the session cookie: %v", c)
		}
	}
	failed := w.eventsOf(oidcgate.EventLoginFailed)
	if len(failed) != 1 || failed[0].Reason != reason {
		w.Errorf("events %+v, want one with the reason %q", failed, reason)
		return
	}
	if !strings.Contains(a.body, failed[0].Reference) {
		w.Errorf("the page does not show the reference %q:\n%s", failed[0].Reference, a.body)
	}
}

// patience is how long tests wait for Redis where it is not the one that is ill: machines that test are busy.
const patience = 10 * time.Second

func patient(rdb redis.UniversalClient) *redisstore.Store {
	return redisstore.NewWith(rdb, redisstore.Config{Timeout: patience})
}
