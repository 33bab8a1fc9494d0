// Package visitor simulates a person with a browser over HTTP: it stores cookies, follows
// redirects, and fills in the forms of pages.
package visitor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// Visitor is a client with one cookie jar, like a browser. Its methods may be called concurrently.
// Methods with a testing.TB end that test if there is no response at all, so they must be called in
// the goroutine of that test.
type Visitor struct {
	client    *http.Client
	transport *http.Transport

	mu     sync.Mutex
	routes map[string]string // host:port of a URL -> host:port to connect to
	held   string
}

// New returns a visitor without cookies.
func New() *Visitor {
	jar, _ := cookiejar.New(nil) // never fails
	v := &Visitor{routes: make(map[string]string)}
	v.transport = &http.Transport{
		DialContext:       v.dial,
		DisableKeepAlives: true, // otherwise Route would affect only new connections
		ForceAttemptHTTP2: true,
	}
	v.client = &http.Client{Jar: jar, Timeout: time.Minute, Transport: v.transport, CheckRedirect: v.checkRedirect}
	return v
}

// Trust makes the visitor trust certificate authorities. It is called before the first request.
func (v *Visitor) Trust(roots *x509.CertPool) {
	v.transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}

// Client returns the visitor as an http.Client.
func (v *Visitor) Client() *http.Client { return v.client }

// Route sends connections for the host of baseURL to addr from now on, like a load balancer.
func (v *Visitor) Route(baseURL, addr string) {
	u, err := url.Parse(baseURL)
	if err != nil {
		panic(err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.routes[u.Host] = addr
}

// HoldAt makes the visitor stop at a redirect to an address that begins with prefix. Page.Location
// then returns the address. HoldAt("") removes the prefix.
func (v *Visitor) HoldAt(prefix string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.held = prefix
}

func (v *Visitor) checkRedirect(r *http.Request, via []*http.Request) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.held != "" && strings.HasPrefix(r.URL.String(), v.held) {
		return http.ErrUseLastResponse
	}
	if len(via) > maxSteps {
		return errors.New("redirected without end")
	}
	return nil
}

func (v *Visitor) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	v.mu.Lock()
	if other, ok := v.routes[addr]; ok {
		addr = other
	}
	v.mu.Unlock()
	return (&net.Dialer{}).DialContext(ctx, network, addr)
}

// Get opens an address, as if it were typed into the address bar, and follows redirects.
func (v *Visitor) Get(t testing.TB, address string) *Page {
	t.Helper()
	return v.navigate(t, v.client, http.MethodGet, address, nil)
}

// Peek opens an address and follows no redirect.
func (v *Visitor) Peek(t testing.TB, address string) *Page {
	t.Helper()
	client := *v.client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return v.navigate(t, &client, http.MethodGet, address, nil)
}

// Submit sends a form and follows redirects.
func (v *Visitor) Submit(t testing.TB, f *Form) *Page {
	t.Helper()
	if f.Method != http.MethodPost {
		t.Fatalf("the form at %s has the method %q; this visitor knows POST", f.Action, f.Method)
	}
	return v.navigate(t, v.client, http.MethodPost, f.Action.String(), f)
}

// navigate sends a request with the headers that browsers send with a navigation.
func (v *Visitor) navigate(t testing.TB, client *http.Client, method, address string, f *Form) *Page {
	t.Helper()
	var body io.Reader
	if f != nil {
		body = strings.NewReader(f.Fields.Encode())
	}
	r, err := http.NewRequestWithContext(t.Context(), method, address, body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, address, err)
	}
	r.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("Sec-Fetch-Dest", "document")
	if f != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		r.Header.Set("Origin", f.Action.Scheme+"://"+f.Action.Host)
	}
	if f != nil && f.foreign {
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		r.Header.Del("Origin")
		withoutCookies := *client // no cookie of ours has SameSite=None
		withoutCookies.Jar = nil
		client = &withoutCookies
	}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatalf("%s %s: %v", method, address, err)
	}
	p := newPage(t, resp)
	if posted := p.posted(); posted != nil {
		return v.Submit(t, posted)
	}
	return p
}

// Cookies returns the cookies a request to an address would carry.
func (v *Visitor) Cookies(address string) []*http.Cookie {
	u, err := url.Parse(address)
	if err != nil {
		panic(err)
	}
	return v.client.Jar.Cookies(u)
}

// SetCookies adds cookies that an answer from an address could have set.
func (v *Visitor) SetCookies(address string, cookies []*http.Cookie) {
	u, err := url.Parse(address)
	if err != nil {
		panic(err)
	}
	v.client.Jar.SetCookies(u, cookies)
}

// Clear forgets the cookies of an address.
func (v *Visitor) Clear(address string) {
	var gone []*http.Cookie
	for _, c := range v.Cookies(address) {
		gone = append(gone, &http.Cookie{Name: c.Name, Path: "/", MaxAge: -1})
	}
	v.SetCookies(address, gone)
}

// maxSteps is the greatest number of provider pages in a login, and of redirects in a chain.
const maxSteps = 10

// LogIn fills in the login page p and confirms the following pages, until a page has no form to
// fill in.
func (v *Visitor) LogIn(t testing.TB, p *Page, login, password string) *Page {
	t.Helper()
	sent := false
	return v.walk(t, p, func(p *Page) *Form {
		f := p.FormWith("password")
		if f == nil {
			return p.Form("consent")
		}
		if sent {
			t.Fatalf("the provider did not take the password of %s:\n%s", login, p.Body)
		}
		sent = true
		for _, name := range []string{"login", "username", "user"} {
			if f.Fields.Has(name) {
				f.Fields.Set(name, login)
			}
		}
		f.Fields.Set("password", password)
		return f
	})
}

// ConfirmLogout confirms the logout if the provider asks.
func (v *Visitor) ConfirmLogout(t testing.TB, p *Page) *Page {
	t.Helper()
	return v.walk(t, p, func(p *Page) *Form {
		f := p.Form("op.logoutForm")
		if f != nil {
			f.Fields.Set("logout", "yes")
		}
		return f
	})
}

// walk submits the form that next returns for each page, until next returns nil.
func (v *Visitor) walk(t testing.TB, p *Page, next func(*Page) *Form) *Page {
	t.Helper()
	for range maxSteps {
		f := next(p)
		if f == nil {
			return p
		}
		p = v.Submit(t, f)
	}
	t.Fatalf("still asked after %d pages, at %s:\n%s", maxSteps, p.URL, p.Body)
	return nil
}
