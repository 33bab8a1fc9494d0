package browser_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/internal/browser"
)

// A header in tests: "Name: value" lines.
func request(method string, lines ...string) *http.Request {
	r := httptest.NewRequest(method, "/page?x=1", nil)
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	return r
}

const (
	navigates = "Sec-Fetch-Mode: navigate"
	fetches   = "Sec-Fetch-Mode: cors"
	html      = "Accept: text/html,*/*;q=0.8"
	ajax      = "X-Requested-With: XMLHttpRequest"
	upgrade   = "Upgrade: websocket"
	form      = "Content-Type: application/x-www-form-urlencoded; charset=utf-8"
	upload    = "Content-Type: multipart/form-data; boundary=x"
)

func TestKindsOfRequests(t *testing.T) {
	tests := []struct {
		name                     string
		r                        *http.Request
		navigation, post, script bool
	}{
		{"a page in a tab", request("GET", navigates, "Sec-Fetch-Dest: document", html), true, false, false},
		{"a page, destination unknown", request("GET", navigates), true, false, false},
		{"a page in a frame", request("GET", navigates, "Sec-Fetch-Dest: iframe", html), false, false, false},
		{"a fetch", request("GET", fetches, "Sec-Fetch-Dest: empty", html), false, false, true},
		{"a fetch, destination unknown", request("GET", fetches, html), false, false, true},
		{"an old browser", request("GET", html), true, false, false},
		{"an old browser that takes XHTML", request("GET", "Accept: application/XHTML+xml,*/*"), true, false, false},
		{"anything", request("GET", "Accept: */*"), true, false, false},
		{"anything, with a weight", request("GET", "Accept:  */* ;q=0.5"), true, false, false},
		{"no Accept", request("GET"), true, false, false},
		{"JSON", request("GET", "Accept: application/json"), false, false, true},
		{"JSON or anything", request("GET", "Accept: application/json, */*"), false, false, true},
		{"anything but JSON first", request("GET", "Accept: */*", "Accept: application/json"), false, false, true},
		{"a script that takes HTML", request("GET", html, ajax), false, false, true},
		{"HEAD", request("HEAD", navigates, html), false, false, false},
		{"a websocket", request("GET", navigates, "Upgrade: websocket", html), false, false, false},
		{"a prefetch", request("GET", navigates, "Sec-Purpose: prefetch;prerender"), false, false, false},
		{"a prefetch of an old browser", request("GET", html, "Purpose: Prefetch"), false, false, false},
		{"another purpose", request("GET", html, "Purpose: view"), true, false, false},

		{"a form", request("POST", navigates, form, html), false, true, false},
		{"a form that is fetched", request("POST", fetches, form, html), false, false, true},
		{"a form of an old browser", request("POST", form, html), false, true, false},
		{"an upload of an old browser", request("POST", upload, html), false, true, false},
		{"JSON of a script", request("POST", "Content-Type: application/json", html), false, false, true},
		{"JSON of a kind", request("GET", "Content-Type: Application/LD+JSON; charset=utf-8", html), false, false, true},
		{"what only looks like JSON", request("GET", "Content-Type: application/jsonl", html), true, false, false},
		{"an access token", request("GET", "Authorization: Bearer x", html), false, false, true},
		{"a DPoP token with a navigation", request("GET", navigates, "Authorization: DPoP x"), false, false, false},
		{"a password of a client", request("GET", "Authorization: Basic YTpi", html), false, false, true},
		{"a password for the proxy, with a navigation", request("GET", navigates, "Authorization: Negotiate x"), true, false, false},
		{"a form of a script that takes JSON", request("POST", form, "Accept: application/json"), false, false, true},
		{"a form of a script", request("POST", form, html, ajax), false, false, true},
		{"a form of a script that navigates", request("POST", navigates, form, html, ajax), false, false, false},
		{"PUT", request("PUT", navigates, form, html), false, false, false},
	}
	for _, tt := range tests {
		t.Run("C110 "+tt.name, func(t *testing.T) {
			if got := browser.IsNavigation(tt.r); got != tt.navigation {
				t.Errorf("IsNavigation is %v", got)
			}
			if got := browser.IsFormPost(tt.r); got != tt.post {
				t.Errorf("IsFormPost is %v", got)
			}
			if got := browser.IsScript(tt.r); got != tt.script {
				t.Errorf("IsScript is %v", got)
			}
		})
	}
}

func TestWhereARequestComesFrom(t *testing.T) {
	for site, want := range map[string]bool{
		"cross-site": true, "same-site": false, "same-origin": false, "none": false, "": false,
	} {
		if got := browser.IsCrossSite(request("GET", "Sec-Fetch-Site: "+site)); got != want {
			t.Errorf("C028 Sec-Fetch-Site %q is another site: %v", site, got)
		}
	}
	for dest, want := range map[string]bool{
		"": true, "iframe": true, "frame": true, "document": false, "image": false,
	} {
		if got := browser.IsFrame(request("GET", "Sec-Fetch-Dest: "+dest)); got != want {
			t.Errorf("C120 Sec-Fetch-Dest %q is a frame: %v", dest, got)
		}
	}
}

func TestWithoutQuery(t *testing.T) {
	for _, query := range []string{"?code=x", "?", ""} {
		r := httptest.NewRequest("POST", "/a%2Fb"+query, nil)
		r.Form = map[string][]string{"code": {"x"}}
		got := browser.WithoutQuery(r)
		if got.RequestURI != "/a%2Fb" || got.URL.String() != "/a%2Fb" || got.Form != nil {
			t.Errorf("C055 %q, %q, form %v", got.RequestURI, got.URL, got.Form)
		}
		if r.URL.String() != "/a%2Fb"+query || r.Form == nil {
			t.Errorf("the request itself has become %q", r.URL)
		}
	}
}

func TestOnly(t *testing.T) {
	valid := func(value string) bool { return value == "a" || value == "b" }
	tests := []struct {
		name   string
		header []string
		want   string
		err    error
	}{
		{"no cookies", nil, "", nil},
		{"another cookie", []string{"x=a"}, "", nil},
		{"one", []string{"id=a"}, "a", nil},
		{"beside another", []string{"x=1; id=a"}, "a", nil},
		{"F24 the same twice", []string{"id=a; id=a"}, "a", nil},
		{"F24 two", []string{"id=a; id=b"}, "", browser.ErrDuplicate},
		{"F24 two, in two headers", []string{"id=a", "id=b"}, "", browser.ErrDuplicate},
		{"F24 two of three", []string{"id=a; id=a; id=b"}, "", browser.ErrDuplicate},
		{"F23 not valid", []string{"id=c"}, "", browser.ErrMalformed},
		{"F23 empty", []string{"id="}, "", browser.ErrMalformed},
		{"F23 in quotes", []string{`id="a"`}, "", browser.ErrMalformed},
		{"F23 the second is not valid", []string{"id=a; id=c"}, "", browser.ErrMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			if tt.header != nil {
				r.Header["Cookie"] = tt.header
			}
			got, err := browser.Only(r, "id", valid)
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("%q, %v, want %q, %v", got, err, tt.want, tt.err)
			}
		})
	}
}

func TestCookies(t *testing.T) {
	tests := []struct {
		name    string
		cookies browser.Cookies
		maxAge  time.Duration
		want    string
	}{
		{
			"C104 https", browser.Cookies{Secure: true}, 90 * time.Second,
			"a=b; Path=/; Max-Age=90; HttpOnly; Secure; SameSite=Lax",
		},
		{
			"C104 http", browser.Cookies{}, time.Second, "a=b; Path=/; Max-Age=1; HttpOnly; SameSite=Lax",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			tt.cookies.Set(w, "a", "b", tt.maxAge)
			if got := w.Header().Get("Set-Cookie"); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
	t.Run("deleted", func(t *testing.T) {
		w := httptest.NewRecorder()
		browser.Cookies{Secure: true}.Clear(w, "a")
		const want = "a=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax"
		if got := w.Header().Get("Set-Cookie"); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	})
}

func TestOwnRequests(t *testing.T) {
	for _, row := range []struct {
		name string
		r    *http.Request
		want bool
	}{
		{"C172 a page of this origin", request("GET", "Sec-Fetch-Site: same-origin"), true},
		{"C172 the address bar", request("GET", "Sec-Fetch-Site: none", navigates), true},
		{"C172 a navigation, which another site may have begun", request("GET", "Sec-Fetch-Site: same-origin", navigates), false},
		{"C172 a navigation with HEAD", request("HEAD", "Sec-Fetch-Site: same-origin", navigates), false},
		{"C172 a form of a page of this origin", request("POST", "Sec-Fetch-Site: same-origin", navigates, form), true},
		{"C172 another origin of the site", request("GET", "Sec-Fetch-Site: same-site"), false},
		{"C172 another site, whatever else it says", request("GET", "Sec-Fetch-Site: cross-site", ajax), false},
		{"C172 a client that does not say", request("GET"), false},
		{"C172 a client with the header", request("GET", "X-Requested-With: shop"), true},
		{"C172 an empty header", request("GET", "X-Requested-With: "), false},
		{"C172 a WebSocket of a page of this origin, as Chromium sends it", request("GET", upgrade, "Origin: https://shop.test"), true},
		{"C172 a WebSocket of a page of another origin", request("GET", upgrade, "Origin: https://shop.test.evil.example"), false},
		{"C172 a WebSocket of a page that another site opened, whatever its origin", request("GET", upgrade, "Origin: https://shop.test", "Sec-Fetch-Site: cross-site"), false},
		{"C172 a WebSocket of a program", request("GET", upgrade), false},
		{"C172 no WebSocket", request("GET", "Upgrade: h2c", "Origin: https://shop.test"), false},
		{"C172 a form of an old browser", request("POST", form, "Origin: https://shop.test"), false},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := browser.IsOwn(row.r, "https://shop.test"); got != row.want {
				t.Errorf("got %v", got)
			}
		})
	}
	t.Run("C172 a request as a script would send it", func(t *testing.T) {
		r := request("GET", navigates, "Sec-Fetch-Dest: document", html)
		script := browser.AsScript(r)
		if browser.IsNavigation(script) || !browser.IsScript(script) || browser.IsFormPost(browser.AsScript(request("POST", navigates, form))) {
			t.Error("it is none of a script")
		}
		if !browser.IsNavigation(r) || script.Header.Get("Accept") != r.Header.Get("Accept") {
			t.Errorf("the request changed: %v, %v", r.Header, script.Header)
		}
	})
}
