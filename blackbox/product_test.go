package blackbox_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/blackbox/internal/rp"
	"github.com/oidcgate/oidcgate/blackbox/internal/visitor"
	"github.com/oidcgate/oidcgate/blackbox/internal/walk"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// product is a provider of oidcgatetest that has the paths of a product in place of its own, a
// login page, and a session with the browser. Its fields are set before it starts.
type product struct {
	*oidcgatetest.Provider
	config    oidcgatetest.Config
	path      string                           // of the issuer
	endpoints map[string]oidcgatetest.Endpoint // by their paths
	users     map[string]oidcgatetest.User     // by login name; the passwords are the names
	first     http.HandlerFunc                 // if set, sees requests first, and answers or not
	loginPage http.HandlerFunc                 // if set, in place of a form
	front     func(http.Handler) http.Handler  // if set, stands in front of the provider

	url   string
	mu    sync.Mutex
	seen  []seenRequest
	pages int // login pages that were shown
}

// seenRequest is a request that a product has got.
type seenRequest struct {
	path   string
	header http.Header
	query  url.Values
	body   string
}

// start starts the provider on a loopback address until the test ends.
func (p *product) start(t *testing.T) {
	t.Helper()
	server := httptest.NewUnstartedServer(inFront(p.front, p))
	p.url = "http://" + server.Listener.Addr().String()
	p.config.Issuer, p.config.LoginPage = p.url+p.path, p.logIn
	p.Provider = oidcgatetest.NewProvider(t, p.config)
	p.Always(oidcgatetest.Discovery, oidcgatetest.EditJSON(func(metadata map[string]any) {
		for path, e := range p.endpoints {
			metadata[metadataName[e]] = p.url + path
		}
	}))
	server.Start()
	t.Cleanup(server.Close)
}

// inFront puts something in front of a provider, if there is something.
func inFront(front func(http.Handler) http.Handler, p http.Handler) http.Handler {
	if front == nil {
		return p
	}
	return front(p)
}

var metadataName = map[oidcgatetest.Endpoint]string{
	oidcgatetest.Authorization: "authorization_endpoint", oidcgatetest.Token: "token_endpoint", oidcgatetest.Userinfo: "userinfo_endpoint",
	oidcgatetest.JWKS: "jwks_uri", oidcgatetest.EndSession: "end_session_endpoint",
}

// requests returns the requests to an endpoint so far.
func (p *product) requests(e oidcgatetest.Endpoint) []seenRequest {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(p.seen), func(r seenRequest) bool { return p.endpoints[r.path] != e })
}

// shown returns how many login pages were shown.
func (p *product) shown() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pages
}

func (p *product) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	p.mu.Lock()
	p.seen = append(p.seen, seenRequest{r.URL.Path, r.Header.Clone(), r.URL.Query(), string(body)})
	p.mu.Unlock()
	e, known := p.endpoints[r.URL.Path]
	if !known && p.url+r.URL.Path != p.DiscoveryURL() {
		http.NotFound(w, r)
		return
	}
	answered := &answered{ResponseWriter: w}
	if p.first != nil {
		p.first(answered, r)
	}
	if answered.done {
		return
	}
	if e == oidcgatetest.EndSession {
		http.SetCookie(w, &http.Cookie{Name: p.cookie(), Path: "/", MaxAge: -1})
	}
	if known {
		own, _ := url.Parse(p.URL(e)) // cannot fail
		r.URL.Path = own.Path
	}
	p.Provider.ServeHTTP(w, r)
}

// cookie is the name of the cookie of the provider's session. Providers at other ports share cookies.
func (p *product) cookie() string { return "sso-" + p.url[strings.LastIndex(p.url, ":")+1:] }

// answered notes whether there was an answer.
type answered struct {
	http.ResponseWriter
	done bool
}

func (a *answered) WriteHeader(status int) {
	a.done = true
	a.ResponseWriter.WriteHeader(status)
}

// logIn shows a login page to a browser without a session.
func (p *product) logIn(w http.ResponseWriter, r *http.Request, login *oidcgatetest.Login) {
	name := ""
	if c, err := r.Cookie(p.cookie()); err == nil {
		name = c.Value
	}
	if r.Method == http.MethodPost && r.PostForm.Get("password") == r.PostForm.Get("username") {
		name = r.PostForm.Get("username")
	}
	if user, known := p.users[name]; known {
		http.SetCookie(w, &http.Cookie{Name: p.cookie(), Path: "/", Value: name})
		login.Proceed(user)
		return
	}
	p.mu.Lock()
	p.pages++
	p.mu.Unlock()
	w.Header().Set("Content-Type", "text/html")
	if p.loginPage != nil {
		p.loginPage(w, r)
		return
	}
	_, _ = fmt.Fprint(w, `<form method="post"><input name="username"><input name="password"></form>`)
}

// options registers a service at the provider, and returns its options.
func (p *product) options(t *testing.T, c oidcgatetest.Client, more ...string) rp.Options {
	t.Helper()
	base := rp.NewBaseURL(t)
	c.ID, c.RedirectURLs, c.PostLogoutRedirectURLs = "shop", []string{base + "/auth/callback"}, []string{base + "/auth/logout/done"}
	p.AddClient(c)
	return rp.Options{
		"BASE_URL": base, "SESSION_KEYS": rp.NewKey(), "OIDC_ISSUER": p.Issuer(), "OIDC_CLIENT_ID": "shop", "OIDC_CLIENT_SECRET": c.Secret,
	}.With(more...)
}

// parseForm parses the body of a request.
func parseForm(t testing.TB, body string) url.Values {
	t.Helper()
	form, err := url.ParseQuery(body)
	if err != nil {
		t.Fatalf("the body %q is no form: %v", body, err)
	}
	return form
}

// logIn logs in at a provider whose passwords are the names.
func logIn(t testing.TB, v *visitor.Visitor, page, name string) {
	t.Helper()
	if p := v.LogIn(t, v.Get(t, page), name, name); p.URL.String() != page || p.Status != http.StatusOK {
		t.Fatalf("logging in as %s at %s ends at %s with %d:\n%s", name, page, p.URL, p.Status, p.Body)
	}
}

// wantWhoami compares what a service knows of a user with what it should know.
func wantWhoami(t testing.TB, v *visitor.Visitor, base string, want walk.Identity) {
	t.Helper()
	if got := walk.Whoami(t, v, base); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("/whoami answers %+v, want %+v", got, want)
	}
}

// eventually waits until done returns true.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after a minute: %s", what)
		}
	}
}

// awaitNewToken waits until a service has refreshed the access token of a user, which needs no page
// of the provider.
func awaitNewToken(t testing.TB, v *visitor.Visitor, base string) {
	t.Helper()
	token := func() string {
		p := v.Get(t, base+"/token")
		if p.Status != http.StatusOK {
			t.Fatalf("/token answers %d %s", p.Status, p.Body)
		}
		return p.Body
	}
	before := token()
	eventually(t, "the token is not refreshed", func() bool { return token() != before })
}

// wantSignedOut checks that a visitor has no session, and that copies of the cookies open none.
func wantSignedOut(t testing.TB, v *visitor.Visitor, base string, cookies []*http.Cookie) {
	t.Helper()
	walk.Status(t, v, base+"/whoami", http.StatusUnauthorized)
	thief := visitor.New()
	thief.SetCookies(base, cookies)
	walk.Status(t, thief, base+"/whoami", http.StatusUnauthorized)
}

// logOut logs out, comes back to the public page, and finds that the provider asks for a password.
func (p *product) logOut(t *testing.T, v *visitor.Visitor, base string) {
	t.Helper()
	p.logOutAt(t, v, base)
	if again := v.Get(t, base+"/app"); again.FormWith("password") == nil || !strings.HasPrefix(again.URL.String(), p.url) {
		t.Errorf("after the logout /app leads to %s", again.URL)
	}
}

// logOutAt logs out and comes back to the public page.
func (p *product) logOutAt(t *testing.T, v *visitor.Visitor, base string) {
	t.Helper()
	cookies, ended := v.Cookies(base), len(p.requests(oidcgatetest.EndSession))
	if end := walk.LogOut(t, v, base); end.URL.String() != base+"/public" || !strings.Contains(end.Body, "You are not signed in") {
		t.Fatalf("logging out ends at %s with %d:\n%s", end.URL, end.Status, end.Body)
	}
	wantSignedOut(t, v, base, cookies)
	if n := len(p.requests(oidcgatetest.EndSession)); n != ended+1 {
		t.Errorf("the provider was asked to log out %d times", n-ended)
	}
}
