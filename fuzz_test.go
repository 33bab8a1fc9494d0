package oidcgate_test

import (
	"context"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/internal/returnto"
	"github.com/oidcgate/oidcgate/oidcgatetest"
	"github.com/oidcgate/oidcgate/store"
)

// forgetful is a store that keeps nothing, however many attempts are claimed.
type forgetful struct{ store.Memory }

func (*forgetful) Create(context.Context, string, []byte, time.Duration) error { return nil }

// strangers is a shop that only strangers visit, made once for all inputs of a fuzz target.
type strangers struct {
	op   *oidcgatetest.Provider
	shop http.Handler
}

func newStrangers(f *testing.F, request ...oidcgate.RequestOptions) *strangers {
	f.Helper()
	op := oidcgatetest.NewProvider(f)
	op.AddClient(oidcgatetest.Client{ID: "shop", Secret: secret, RedirectURLs: []string{shopURL + "/auth/callback"}})
	keys, err := oidcgate.ParseKeys(worldKey)
	if err != nil {
		f.Fatal(err)
	}
	w := &world{op: op}
	gate, err := oidcgate.New(oidcgate.Config{
		BaseURL: shopURL, Store: &forgetful{}, Keys: keys, HTTP: oidcgate.HTTPOptions{Transport: op.Transport()},
		Logger: slog.New(slog.DiscardHandler),
	}, oidcgate.Provider{
		Issuer: op.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret),
		Request: append(request, oidcgate.RequestOptions{})[0],
	})
	if err != nil {
		f.Fatal(err)
	}
	w.gate = gate
	return &strangers{op: op, shop: gate.Wrap(w.shop())}
}

// visit sends a request of a browser that sends the cookies.
func (s *strangers) visit(path, query string, cookies ...string) *http.Response {
	r := httptest.NewRequest(http.MethodGet, shopURL+path, nil)
	r.URL.RawQuery = query
	r.Header.Set("Accept", "text/html")
	if len(cookies) > 0 {
		r.Header["Cookie"] = cookies
	}
	rec := httptest.NewRecorder()
	s.shop.ServeHTTP(rec, r)
	return rec.Result()
}

// post sends a form of a browser that sends the cookies.
func (s *strangers) post(path, form string, cookies ...string) *http.Response {
	r := httptest.NewRequest(http.MethodPost, shopURL+path, strings.NewReader(form))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "text/html")
	if len(cookies) > 0 {
		r.Header["Cookie"] = cookies
	}
	rec := httptest.NewRecorder()
	s.shop.ServeHTTP(rec, r)
	return rec.Result()
}

// begin starts a login and returns its state and the attempt's cookie.
func (s *strangers) begin(t *testing.T, query string) (state, cookie string) {
	t.Helper()
	a := s.visit("/auth/login", query)
	u, err := url.Parse(a.Header.Get("Location"))
	if err != nil || len(a.Cookies()) != 1 {
		t.Fatalf("the login: %d to %q with %v", a.StatusCode, a.Header.Get("Location"), a.Cookies())
	}
	return u.Query().Get("state"), a.Cookies()[0].Name + "=" + a.Cookies()[0].Value
}

// harmless fails when an answer to a stranger opens a session, leaves the site, or is a fault of ours.
func harmless(t *testing.T, input string, a *http.Response) {
	t.Helper()
	for _, c := range a.Cookies() {
		if c.Name == "__Host-Http-oidcgate" && c.MaxAge >= 0 {
			t.Errorf("%q opens a session: %v", input, c)
		}
	}
	if to := a.Header.Get("Location"); to != "" && !strings.HasPrefix(to, shopURL+"/") {
		t.Errorf("%q leads to %q", input, to)
	}
	if a.StatusCode == http.StatusInternalServerError {
		t.Errorf("%q is answered with %d", input, a.StatusCode)
	}
}

// FuzzCallback sends responses that no provider sent to a browser that waits for one. STATE stands for the
// state it waits for, so that the input gets past the first check.
func FuzzCallback(f *testing.F) {
	for _, query := range []string{
		"", "state=STATE", "state=x&code=y", "code=x&state=STATE&iss=https://id.test", "code=x&state=STATE", "code=x&code=y&state=STATE",
		"error=access_denied&state=STATE&iss=https://id.test", "error=%3Cscript%3E&state=STATE&iss=https%3A%2F%2Fid.test", "state=STATE&state=STATE",
		"response=e30.e30.&state=STATE", "id_token=x&access_token=y&state=STATE", "error=login_required&state=STATE&iss=https://id.test",
		"state=%00&code=%ff", "&&;=&%zz", "state=STATE#x", "error=temporarily_unavailable&state=STATE&iss=https://id.test",
	} {
		f.Add(query)
	}
	s := newStrangers(f)
	f.Fuzz(func(t *testing.T, query string) {
		known := strings.Contains(query, "STATE")
		state, cookie := s.begin(t, "")
		a := s.visit("/auth/callback", strings.ReplaceAll(query, "STATE", state), cookie)
		harmless(t, query, a)
		if a.StatusCode < 400 || !known && a.StatusCode != http.StatusBadRequest {
			t.Errorf("%q is answered with %d", query, a.StatusCode)
		}
	})
}

// FuzzCallbackModes is FuzzCallback for every other way through the browser.
func FuzzCallbackModes(f *testing.F) {
	for mode, form := range []string{
		"code=x&state=STATE&iss=https://id.test", "id_token=eyJhbGciOiJSUzI1NiJ9.e30.e30&code=x&state=STATE", "response=eyJhbGciOiJSUzI1NiJ9.e30.e30",
		"response=eyJhbGciOiJub25lIn0.eyJzdGF0ZSI6InMifQ.&state=STATE", "response=..&response=..", "error=access_denied&state=STATE&iss=https://id.test",
		"oidcgate_relayed=1&state=STATE&id_token=x", "response=a.b.c.d.e", "&&;=&%zz", "state=%00&code=%ff",
	} {
		for i := range 6 {
			f.Add(uint8(mode+i), form)
		}
	}
	var all []*strangers
	for _, request := range []oidcgate.RequestOptions{
		{ResponseMode: "form_post"}, {ResponseMode: "fragment"}, {ResponseMode: "form_post.jwt"},
		{ResponseType: "code id_token", ResponseMode: "form_post"}, {ResponseType: "id_token"},
		{ResponseType: "code id_token", ResponseMode: "jwt"},
	} {
		all = append(all, newStrangers(f, request))
	}
	f.Fuzz(func(t *testing.T, mode uint8, form string) {
		s := all[int(mode)%len(all)]
		state, cookie := s.begin(t, "")
		form = strings.ReplaceAll(form, "STATE", state)
		harmless(t, form, s.post("/auth/callback", form, cookie))
		if a := s.post("/auth/callback", form); a.StatusCode < 400 && a.StatusCode != http.StatusOK || len(a.Cookies()) > 0 {
			t.Errorf("%q of a stranger is answered with %d", form, a.StatusCode)
		}
		if a := s.visit("/auth/callback", form, cookie); a.StatusCode < 400 && a.StatusCode != http.StatusOK {
			t.Errorf("%q in the query is answered with %d", form, a.StatusCode)
		}
	})
}

// FuzzCookies sends cookies that the gate did not make, to each of its routes and to a guard.
func FuzzCookies(f *testing.F) {
	session := "__Host-Http-oidcgate="
	for _, header := range []string{
		"", "a=b", session, session + strings.Repeat("A", 43), session + strings.Repeat("A", 43) + ".; " + session + strings.Repeat("B", 43) + ".",
		session + `"` + strings.Repeat("A", 43) + `."`, "__Host-oidcgate=" + strings.Repeat("A", 43), "__Host-Http-oidcgate-a-AAAAAAAAAAA=AQID", "__Host-Http-oidcgate-logout=AQID", ";;;=;", "=\x00", "\xff\xfe",
		strings.Repeat("a=b; ", 50), session + "%00", session + strings.Repeat("\u00e9", 20), "COOKIE", "COOKIE; COOKIE", "COOKIEx",
	} {
		f.Add(header)
	}
	s := newStrangers(f)
	f.Fuzz(func(t *testing.T, header string) {
		state, cookie := s.begin(t, "")
		header = strings.ReplaceAll(header, "COOKIE", cookie)
		for _, visit := range [][2]string{
			{"/app", ""}, {"/public", ""}, {"/auth/callback", "code=x&iss=https://id.test&state=" + state},
			{"/auth/logout", ""}, {"/auth/logout/done", "state=" + state},
		} {
			a := s.visit(visit[0], visit[1], header)
			harmless(t, visit[0]+" "+header, a)
			if visit[0] != "/auth/callback" && a.StatusCode >= http.StatusInternalServerError {
				t.Errorf("%s with %q is answered with %d", visit[0], header, a.StatusCode)
			}
		}
	})
}

// FuzzReturnPath begins a login with a query from whoever wrote the link, and cancels it. The page says where the
// login would have led: to this site, and to a path that may be returned to.
func FuzzReturnPath(f *testing.F) {
	for _, e := range corpus(f) {
		f.Add("return_to=" + url.QueryEscape(e.In))
	}
	s := newStrangers(f)
	f.Fuzz(func(t *testing.T, query string) {
		state, cookie := s.begin(t, query)
		a := s.visit("/auth/callback", "error=access_denied&iss=https://id.test&state="+state, cookie)
		harmless(t, query, a)
		link := retryLink(t, a)
		path := link.Query().Get("return_to")
		if _, err := returnto.Check(path, "/auth"); err != nil || !strings.HasPrefix(link.String(), shopURL+"/auth/login?") {
			t.Errorf("%q leads back to %q: %v", query, path, err)
		}
	})
}

var firstLink = regexp.MustCompile(`<a href="([^"]*)">`)

// retryLink is where a page that refuses a login leads to for another one.
func retryLink(t *testing.T, a *http.Response) *url.URL {
	t.Helper()
	body, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	m := firstLink.FindSubmatch(body)
	if m == nil {
		t.Fatalf("no link in\n%s", body)
	}
	u, err := url.Parse(html.UnescapeString(string(m[1])))
	if err != nil {
		t.Fatal(err)
	}
	return u
}
