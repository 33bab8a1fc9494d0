package oidcgate_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/store"
)

func (w *world) guardedAsAPI(rules ...oidcgate.Rule) {
	w.handler = w.gate.Wrap(w.gate.RequireAPI(rules...)(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(rw, guarded)
	})))
}

var ownFetch = []string{"Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty", "Sec-Fetch-Site: same-origin"}

// problem reads an answer that must be problem+json and no redirect.
func (w *world) problem(a answer, status int) (p struct {
	Title    string
	Status   int
	LoginURL string `json:"login_url"`
}) {
	w.Helper()
	if a.StatusCode != status || a.Header.Get("Content-Type") != "application/problem+json" || a.location() != "" || len(a.Cookies()) != 0 {
		w.Fatalf("%d %s to %q, cookies %v, want %d and problem+json\n%s", a.StatusCode, a.Header.Get("Content-Type"), a.location(), a.Cookies(), status, a.body)
	}
	if err := json.Unmarshal([]byte(a.body), &p); err != nil || p.Status != status {
		w.Fatalf("%v: %s", err, a.body)
	}
	return p
}

func TestAdmitAPIStrangers(t *testing.T) {
	for _, tt := range visits {
		own := "Sec-Fetch-Site: same-origin"
		if slices.Contains(tt.headers, "Sec-Fetch-Mode: navigate") {
			own = "Sec-Fetch-Site: none" // the address bar
		}
		t.Run("C172 C110 "+tt.name+" gets 401 and no redirect", func(t *testing.T) {
			w := newWorld(t)
			w.guardedAsAPI()
			a := w.sendOnly(w.browser, tt.method, "/orders?page=2", tt.body, append([]string{own, "Referer: " + shopURL + "/basket?a=b"}, tt.headers...)...)
			if got := a.Header.Get("WWW-Authenticate"); got != "Session" {
				t.Errorf("the challenge is %q", got)
			}
			if tt.method == http.MethodHead {
				if a.StatusCode != http.StatusUnauthorized {
					t.Errorf("%d", a.StatusCode)
				}
				return
			}
			want := shopURL + "/auth/login?return_to=" + url.QueryEscape("/basket?a=b")
			if p := w.problem(a, http.StatusUnauthorized); p.LoginURL != want {
				t.Errorf("the login is %q, want %q", p.LoginURL, want)
			}
		})
	}
}

func TestAdmitAPIFromWhere(t *testing.T) {
	for _, row := range []struct {
		name    string
		headers []string
		want    int
	}{
		{"a page of this origin", []string{"Sec-Fetch-Site: same-origin"}, 200},
		{"the visitor alone", []string{"Sec-Fetch-Site: none"}, 200},
		{"another origin of the site", []string{"Sec-Fetch-Site: same-site"}, 403},
		{"another site", []string{"Sec-Fetch-Site: cross-site"}, 403},
		{"another site, with the header", []string{"Sec-Fetch-Site: cross-site", "X-Requested-With: x"}, 403},
		{"a link on a page of this origin", []string{"Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: navigate"}, 403},
		{"a value nobody knows", []string{"Sec-Fetch-Site: near"}, 403},
		{"a client that does not say", nil, 403},
		{"a client with the header", []string{"X-Requested-With: shop"}, 200},
		{"a WebSocket of a page of this origin", []string{"Upgrade: websocket", "Origin: " + shopURL}, 200},
		{"a WebSocket of another site", []string{"Upgrade: websocket", "Origin: https://evil.example"}, 403},
	} {
		for _, method := range []string{"GET", "POST", "DELETE"} {
			t.Run("C172 "+method+" from "+row.name, func(t *testing.T) {
				w := newWorld(t)
				w.login()
				w.guardedAsAPI()
				if method == http.MethodPost && strings.HasPrefix(row.name, "a link") {
					return // that is a form, and gets in
				}
				a := w.send(w.browser, method, "/orders", "", row.headers...)
				if row.want == 403 {
					says := len(row.headers) == 0 || strings.HasPrefix(row.headers[0], "Upgrade")
					if p := w.problem(a, row.want); p.Title != "Not from here" || strings.Contains(a.body, "X-Requested-With") != says {
						t.Errorf("it says %+v", p)
					}
					if err := w.gate.Wait(t.Context()); err != nil || !strings.Contains(w.logged(), `"base_url":"`+shopURL+`"`) {
						t.Errorf("the log says\n%s", w.logged())
					}
					return
				}
				if a.StatusCode != row.want || a.body != guarded || a.Header.Get("Cache-Control") != "private, no-store" {
					t.Errorf("%d, want %d\n%s", a.StatusCode, row.want, a.body)
				}
			})
		}
	}
}

func TestAdmitAPIOfAProgram(t *testing.T) {
	t.Run("C172 a program without a session gets 401, whatever its cookie", func(t *testing.T) {
		w := newWorld(t)
		w.guardedAsAPI()
		for _, header := range []string{"Accept: */*", "Cookie: __Host-Http-oidcgate=junk"} {
			w.problem(w.send(w.browser, http.MethodGet, "/orders", "", header), http.StatusUnauthorized)
		}
	})
	t.Run("C172 one of another site gets 403 all the same", func(t *testing.T) {
		w := newWorld(t)
		w.guardedAsAPI()
		w.problem(w.send(w.browser, http.MethodGet, "/orders", "", "Sec-Fetch-Site: cross-site"), http.StatusForbidden)
	})
}

func TestAdmitAPIRefuses(t *testing.T) {
	navigation := []string{"Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Sec-Fetch-Site: none", "Accept: text/html"}
	t.Run("C172 a rule refuses: 403 as problem+json, for a navigation too", func(t *testing.T) {
		w := newWorld(t)
		w.login()
		w.guardedAsAPI(oidcgate.Claim("groups", "nobody is in it"))
		w.problem(w.send(w.browser, "GET", "/orders", "", navigation...), http.StatusForbidden)
	})
	t.Run("C172 the login is too old: 401 with what is needed, for a navigation too", func(t *testing.T) {
		w := newWorld(t)
		w.login()
		w.guardedAsAPI(oidcgate.ACR("gold"), oidcgate.MaxAge(time.Hour))
		a := w.send(w.browser, "GET", "/orders", "", navigation...)
		if p := w.problem(a, http.StatusUnauthorized); p.Title != "insufficient_user_authentication" || !strings.Contains(p.LoginURL, "step=") {
			t.Errorf("%+v", p)
		}
		if got := a.Header.Get("WWW-Authenticate"); !strings.Contains(got, `acr_values="gold"`) {
			t.Errorf("the challenge is %q", got)
		}
	})
	t.Run("C172 F20 the store is ill: 503 as problem+json", func(t *testing.T) {
		tally := &tallyStore{Store: &store.Memory{}}
		w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Store = tally })
		w.login()
		w.guardedAsAPI()
		tally.ill.Store(true)
		a := w.send(w.browser, "GET", "/orders", "", navigation...)
		w.problem(a, http.StatusServiceUnavailable)
		if a.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	})
	t.Run("C172 outside Wrap: 500 as problem+json", func(t *testing.T) {
		w := newWorld(t)
		w.handler = w.gate.RequireAPI()(http.HandlerFunc(w.whoami))
		w.problem(w.send(w.browser, "GET", "/orders", "", navigation...), http.StatusInternalServerError)
	})
}

func TestLoginURLOfAFetch(t *testing.T) {
	for name, row := range map[string]struct{ referer, want string }{
		"a page of this site":    {shopURL + "/basket?a=b", "?return_to=%2Fbasket%3Fa%3Db"},
		"the front page":         {shopURL + "/", "?return_to=%2F"},
		"the origin alone":       {shopURL, ""},
		"another site":           {"https://evil.example/basket", ""},
		"a site that begins so":  {shopURL + ".evil.example/basket", ""},
		"a page of the gate":     {shopURL + "/auth/login", ""},
		"a path that leads away": {shopURL + "//evil.example/", ""},
		"none":                   {"", ""},
	} {
		t.Run("C110 the login of a fetch leads back to where it was made: "+name, func(t *testing.T) {
			w := newWorld(t)
			w.guardedBy()
			a := w.send(w.browser, "GET", "/orders.json", "", append([]string{"Referer: " + row.referer}, ownFetch...)...)
			if p := w.problem(a, http.StatusUnauthorized); p.LoginURL != shopURL+"/auth/login"+row.want {
				t.Errorf("the login is %q, want %q at its end", p.LoginURL, row.want)
			}
		})
	}
}

func TestRequireAPIWithoutWrap(t *testing.T) {
	t.Run("C112 a request that did not pass through Wrap is 500, whoever sends it", func(t *testing.T) {
		w := newWorld(t)
		for _, header := range []string{"", "same-origin", "cross-site"} {
			r, rec := httptest.NewRequest("GET", "/api", nil), httptest.NewRecorder()
			r.Header.Set("Sec-Fetch-Site", header)
			if w.gate.AdmitAPI(rec, r) || rec.Code != http.StatusInternalServerError {
				t.Errorf("Sec-Fetch-Site %q: status %d", header, rec.Code)
			}
		}
	})
}
