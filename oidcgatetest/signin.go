package oidcgatetest

import (
	"cmp"
	"context"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/oidcgate/oidcgate"
)

// ProviderFor registers a client of the provider for a service at baseURL (its Config.BaseURL), and
// returns what [oidcgate.New] takes: a Provider whose scopes are profile and email, by
// [oidcgate.OAuth2] where the provider has no ID Tokens. name, if given, is its Name, for a gate
// with several providers. Without a name the client is "test": a second call takes the place of the
// first. The other fields may be changed before it is used; the callback of another Name is not
// registered. HTTP.Transport must be [Provider.Transport], or [NewTransport] with all providers,
// unless [Provider.Server] or [Provider.TLSServer] runs.
func (p *Provider) ProviderFor(baseURL string, name ...string) oidcgate.Provider {
	if len(name) > 1 {
		panic(fmt.Sprintf("oidcgatetest: ProviderFor takes one name, not %d", len(name)))
	}
	const secret = "a secret of the test"
	base := strings.TrimSuffix(baseURL, "/")
	named, id, callback := strings.Join(name, ""), "test", base+"/auth/callback"
	if named != "" {
		id, callback = "test-"+named, callback+"/"+named
	}
	p.AddClient(Client{
		ID: id, Secret: secret, RedirectURLs: []string{callback},
		PostLogoutRedirectURLs: []string{base + "/auth/logout/done"},
	})
	p.addName(named)
	auth, scopes := oidcgate.ClientSecretBasic(secret), []string{"profile", "email"}
	if p.config.WithoutIDTokens {
		provider := oidcgate.OAuth2(oidcgate.OAuth2Options{
			Issuer: p.Issuer(), ClientID: id, Auth: auth, Scopes: scopes,
			Authorization: p.URL(Authorization), Token: p.URL(Token), Userinfo: p.URL(Userinfo),
		})
		provider.Name = named
		return provider
	}
	return oidcgate.Provider{
		Name: named, Issuer: p.Issuer(), ClientID: id, Auth: auth, Scopes: scopes,
	}
}

func (p *Provider) addName(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.names = append(p.names, name)
}

// SignIn returns the browser of a user who has logged in at handler, which must be gate.Wrap(...).
// The login is a real one, in memory: no port is opened. So everything works for this visitor that
// works for others: tokens, values, lists of sessions, refreshes, logouts, also by the provider.
// The test fails if the login does. At a gate with several providers the login is at the one whose
// issuer is p's. The browser reaches the service, p and the others, for a linking; their hosts must
// differ, and SetUser says who logs in at the others.
//
//	p := oidcgatetest.NewProvider(t)
//	gate, err := oidcgate.New(oidcgate.Config{
//		BaseURL: "http://localhost", HTTP: oidcgate.HTTPOptions{Transport: p.Transport()},
//	}, p.ProviderFor("http://localhost"))
//	browser := p.SignIn(t, gate, gate.Wrap(router), oidcgatetest.User{Subject: "bob"})
//	resp, err := browser.Get("http://localhost/account")
//
// Each call returns a new browser, which is that of [NewBrowser]; SetUser and LoginPage of p do not
// count for it. Its jar has the session's cookie; see [NewRequest] for tests without a client.
func (p *Provider) SignIn(
	t TB, gate *oidcgate.Gate, handler http.Handler, u User, others ...*Provider,
) *http.Client {
	t.Helper()
	login := gate.LoginURL("")
	own, err := url.Parse(login)
	if err != nil {
		t.Fatalf("oidcgatetest: the login is at %q: %v", login, err)
	}
	browser := p.browserOf(hostPort(own), handler, u, others)
	landed, here, toCallback := false, false, 2
	browser.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		here = here || hostPort(r.URL) == p.address()
		if landed = r.URL.Host == own.Host && len(via) > toCallback; landed {
			return http.ErrUseLastResponse // the page after the login may be anything
		}
		return nil
	}
	resp, page, err := visit(browser, login)
	if !here {
		if request := p.requestOf(browser, gate, page); request != "" {
			toCallback = 1
			resp, page, err = visit(browser, request)
		}
	}
	if err != nil {
		t.Fatalf("oidcgatetest: logging in: %v", err)
		return nil
	}
	if !landed {
		t.Fatalf("oidcgatetest: logging in ended at %s with %s%s\n%s",
			resp.Request.URL.Path, resp.Status, p.cure(resp, own.Path, page), textOf(page))
	}
	browser.CheckRedirect = nil
	return browser
}

// NewBrowser returns a browser in memory that nobody has logged in with: it keeps cookies, follows
// redirects, and reaches hosts as [NewTransport] does. Whoever logs in is the user of
// [Provider.SetUser].
//
//	browser := oidcgatetest.NewBrowser(map[string]http.Handler{
//		"localhost": gate.Wrap(router), "id.test": p,
//	})
//	resp, err := browser.Get(gate.LoginURL("/welcome"))
//
// The browser says that its requests come from the site's own pages (Sec-Fetch-Site), unless a
// request says something else. With another Transport it would not.
func NewBrowser(hosts map[string]http.Handler) *http.Client {
	jar, _ := cookiejar.New(nil) // without options it cannot fail
	return &http.Client{Jar: jar, Transport: ownPages{NewTransport(hosts)}}
}

// visit opens a page.
func visit(browser *http.Client, address string) (resp *http.Response, page string, err error) {
	resp, err = browser.Get(address)
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	return resp, string(text), err
}

// choice is a link of the page on which a visitor chooses a provider.
var choice = regexp.MustCompile(`<a\b[^>]*\shref=["']?([^"'\s>]*[?&;]provider=[^"'\s>]*)`)

// requestOf returns the authorization request to p at which a login by one of its names begins, or
// by a link of the page on which visitors choose, or "" if none does.
func (p *Provider) requestOf(browser *http.Client, gate *oidcgate.Gate, page string) string {
	p.mu.Lock()
	names := slices.Clone(p.names)
	p.mu.Unlock()
	var logins []string
	for _, name := range names {
		options := oidcgate.LoginOptions{Provider: cmp.Or(name, ".")}
		logins = append(logins, gate.LoginURL("", options))
	}
	for _, m := range choice.FindAllStringSubmatch(page, -1) {
		logins = append(logins, html.UnescapeString(m[1]))
	}
	once := *browser
	once.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for _, login := range logins {
		resp, _, err := visit(&once, login)
		if err != nil {
			continue
		}
		request := resp.Header.Get("Location")
		if endpoint, _, _ := strings.Cut(request, "?"); endpoint == p.URL(Authorization) {
			return request
		}
	}
	return ""
}

// cure returns what to do about a login that ended with a page, or "". login is its path.
func (p *Provider) cure(resp *http.Response, login, page string) string {
	asked := p.Count(Discovery) + p.Count(PushedRequest) + p.Count(Token)
	switch {
	case resp.Request.URL.Path == login && resp.StatusCode == http.StatusNotFound:
		return ": the gate does not serve that path; is the handler gate.Wrap(...), behind " +
			"http.StripPrefix where BaseURL has a path?"
	case asked == 0 && resp.StatusCode == http.StatusServiceUnavailable:
		return ": the gate does not reach this provider; set Config.HTTP.Transport to p.Transport()"
	case choice.MatchString(page):
		return ": none of the gate's providers has the issuer " + p.Issuer()
	}
	return ""
}

// texts are the parts of a page that say what has happened.
var texts = regexp.MustCompile(`(?s)<(?:h1|p|small)\b[^>]*>(.*?)</(?:h1|p|small)>`)

// textOf returns the text of a page, a paragraph on each line, or what else was answered.
func textOf(page string) string {
	var lines []string
	for _, m := range texts.FindAllStringSubmatch(page, -1) {
		lines = append(lines, html.UnescapeString(m[1]))
	}
	if len(lines) == 0 {
		return page
	}
	return strings.Join(lines, "\n")
}

// NewRequest returns a request of a browser of [Provider.SignIn] or [NewBrowser] for httptest: the
// same cookies, and the same Sec-Fetch-Site. Pass it to gate.Wrap(handler), also around a single
// handler. address begins with Config.BaseURL; NewRequest panics when it has no host, which has no
// cookies.
//
//	rec := httptest.NewRecorder()
//	r := oidcgatetest.NewRequest(browser, "GET", "http://localhost/cart", nil)
//	gate.Wrap(http.HandlerFunc(cart)).ServeHTTP(rec, r)
func NewRequest(browser *http.Client, method, address string, body io.Reader) *http.Request {
	r := httptest.NewRequest(method, address, body)
	if r.URL.Host == "" {
		panic("oidcgatetest: NewRequest needs an address that begins with Config.BaseURL, not " + address)
	}
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	for _, c := range browser.Jar.Cookies(r.URL) {
		r.AddCookie(c)
	}
	return r
}

// visitorKey is the key under which a request to the provider has its user in the context.
type visitorKey struct{}

// browserOf returns the browser of one user: it reaches the service, p and the others.
func (p *Provider) browserOf(
	service string, handler http.Handler, u User, others []*Provider,
) *http.Client {
	hosts := map[string]http.Handler{}
	for _, other := range others {
		hosts[other.address()] = other
	}
	hosts[p.address()] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), visitorKey{}, u)))
	})
	hosts[service] = handler
	return NewBrowser(hosts)
}

// ownPages sends what a page of the same site would send.
type ownPages struct{ next http.RoundTripper }

func (o ownPages) RoundTrip(r *http.Request) (*http.Response, error) {
	name, value := "Sec-Fetch-Site", "same-origin"
	if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") { // as Chromium does
		name, value = "Origin", r.URL.Scheme+"://"+r.URL.Host
	}
	if r.Header.Get("Sec-Fetch-Site") == "" && r.Header.Get(name) == "" {
		r = r.Clone(r.Context())
		r.Header.Set(name, value)
	}
	return o.next.RoundTrip(r)
}
