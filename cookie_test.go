package oidcgate_test

import (
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

func TestCookies(t *testing.T) {
	t.Run("C104 each is exactly so", func(t *testing.T) {
		w := newWorld(t)
		match := func(a answer, patterns ...string) {
			t.Helper()
			got := a.Header["Set-Cookie"]
			if len(got) != len(patterns) {
				t.Fatalf("cookies %q, want %d", got, len(patterns))
			}
			for i, p := range patterns {
				if !regexp.MustCompile("^" + p + "$").MatchString(got[i]) {
					t.Errorf("%q, want %s", got[i], p)
				}
			}
		}
		const attempt = `__Host-Http-oidcgate-a-[A-Za-z0-9_-]{11}`
		a := w.get("/auth/login")
		match(a, attempt+`=[A-Za-z0-9_-]+; Path=/; Max-Age=600; HttpOnly; Secure; SameSite=Lax`)
		match(w.finishLogin(a.location()),
			attempt+`=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax`,
			`__Host-Http-oidcgate=[A-Za-z0-9_-]{43}\.; Path=/; HttpOnly; Secure; SameSite=Lax`,
			`__Host-Http-oidcgate-rounds=[A-Za-z0-9_-]+; Path=/; Max-Age=60; HttpOnly; Secure; SameSite=Lax`)
		a = w.logout(sameOrigin)
		match(a,
			`__Host-Http-oidcgate=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax`,
			`__Host-Http-oidcgate-rounds=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax`,
			`__Host-Http-oidcgate-logout=[A-Za-z0-9_-]+; Path=/; Max-Age=600; HttpOnly; Secure; SameSite=Lax`)
		match(w.get(w.get(a.location()).location()),
			`__Host-Http-oidcgate-logout=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax`)
	})

	t.Run("C104 on loopback over http they have neither prefix nor Secure", func(t *testing.T) {
		w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.BaseURL = "http://localhost:8080" })
		w.op.AddClient(oidcgatetest.Client{ID: "shop", Secret: secret, RedirectURLs: []string{"http://localhost:8080/auth/callback"}})
		w.browser.Transport = oidcgatetest.NewTransport(map[string]http.Handler{"localhost:8080": w.handler, "id.test": w.op})
		a := w.get("http://localhost:8080/auth/login?return_to=/app")
		cookies := a.Cookies()
		a = w.get(w.get(a.location()).location())
		cookies = append(cookies, a.Cookies()...)
		if a.location() != "http://localhost:8080/app" {
			t.Fatalf("%d to %q\n%s", a.StatusCode, a.location(), a.body)
		}
		if a = w.get(a.location()); a.StatusCode != http.StatusOK {
			t.Errorf("/app: %d", a.StatusCode)
		}
		for _, c := range cookies {
			if !strings.HasPrefix(c.Name, "oidcgate") || c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" {
				t.Errorf("%v", c)
			}
		}
	})

	t.Run("C104 the name can be chosen, and names the others", func(t *testing.T) {
		w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Site.CookieName = "__Host-shop" })
		w.login()
		if names := w.cookieNames(""); !slices.Equal(names, []string{"__Host-shop", "__Host-shop-rounds"}) {
			t.Errorf("cookies %v", names)
		}
	})

	for _, name := range []string{"oidcgate", "__Secure-oidcgate", "__host-oidcgate", "__Host-Oidcgate", "\u2000__Host-Http-oidcgate", "__Host-Http-oidcgate-a"} {
		t.Run(fmt.Sprintf("C104 a session under the name %q is none", name), func(t *testing.T) {
			w := newWorld(t)
			w.login()
			token := w.cookie("__Host-Http-oidcgate")
			w.browser.Jar, _ = cookiejar.New(nil)
			if a := w.get("/whoami", "Cookie: "+name+"="+token); a.StatusCode != http.StatusUnauthorized {
				t.Errorf("%d %s", a.StatusCode, a.body)
			}
		})
	}

	t.Run("an attempt takes at most 1 KB", func(t *testing.T) {
		w := newWorld(t)
		for length := 0; length <= 2000; length += 100 {
			a := w.get("/auth/login?return_to=/app?" + strings.Repeat("x", length))
			for _, c := range a.Cookies() {
				if n := len(c.Name) + len(c.Value); n > 1<<10 {
					t.Errorf("a return path of %d bytes makes a cookie of %d", length, n)
				}
			}
		}
	})
}

// ownRoutes are the gate's own addresses, and the methods that each answers.
var ownRoutes = map[string][]string{
	"/auth/login":       {"GET"},
	"/auth/callback":    {"GET"},
	"/auth/logout":      {"GET", "HEAD", "POST"},
	"/auth/logout/done": {"GET"},
}

func TestOwnRoutes(t *testing.T) {
	methods := []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"}
	for path, answers := range ownRoutes {
		for _, method := range methods {
			t.Run("R-FLOW-6 4.2 "+method+" "+path, func(t *testing.T) {
				w := newWorld(t)
				w.login()
				a := w.send(w.browser, method, path, "", sameOrigin)
				if got := a.StatusCode != http.StatusMethodNotAllowed; got != slices.Contains(answers, method) {
					t.Errorf("%d, want an answer: %v", a.StatusCode, !got)
				}
				if a.StatusCode == http.StatusMethodNotAllowed && a.Header.Get("Allow") == "" {
					t.Error("405 without Allow")
				}
				ownHeaders(t, a)
			})
		}
	}

	outcomes := map[string]func(*world) answer{
		"the way to the provider":  func(w *world) answer { return w.get("/auth/login") },
		"a callback that succeeds": func(w *world) answer { return w.finishLogin(w.authorization("/auth/login").String()) },
		"a callback that fails":    func(w *world) answer { return w.get("/auth/callback?state=x") },
		"a callback that fails for a script": func(w *world) answer {
			return w.get("/auth/callback?state=x", "Accept: application/json")
		},
		"a provider that is down": func(w *world) answer {
			w.op.Always(oidcgatetest.Discovery, oidcgatetest.Reset())
			return w.get("/auth/login")
		},
		"the question before a logout": func(w *world) answer { w.login(); return w.get("/auth/logout") },
		"a logout":                     func(w *world) answer { w.login(); return w.logout(sameOrigin) },
		"a logout from elsewhere":      func(w *world) answer { w.login(); return w.logout("Sec-Fetch-Site: cross-site") },
		"a guard's way to the login":   func(w *world) answer { return w.get("/app") },
		"a guard's refusal":            func(w *world) answer { w.login(); return w.get("/admin") },
		"a guard's answer to a script": func(w *world) answer { return w.get("/app", "Accept: application/json") },
	}
	for name, visit := range outcomes {
		t.Run("4.2 "+name+" has the headers of the gate's own", func(t *testing.T) {
			ownHeaders(t, visit(newWorld(t)))
		})
	}

	for _, path := range []string{"/auth", "/auth/", "/auth/login/", "/auth/callback/x", "/auth/logins", "/Auth/login", "/auth/session"} {
		t.Run(path+" is the application's", func(t *testing.T) {
			w := newWorld(t)
			if a := w.get(path); a.body != "home" {
				t.Errorf("%d %s", a.StatusCode, a.body)
			}
		})
	}

	t.Run("the prefix can be chosen", func(t *testing.T) {
		w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Site.Prefix = "/sso/oidc" })
		if a := w.get("/auth/login"); a.body != "home" {
			t.Errorf("/auth/login: %d %s", a.StatusCode, a.body)
		}
		u, _ := url.Parse(w.get("/sso/oidc/login").location())
		if got := u.Query().Get("redirect_uri"); got != shopURL+"/sso/oidc/callback" {
			t.Errorf("redirect_uri %q", got)
		}
	})
}

// ownHeaders fails unless an answer has what every answer of the gate's own has.
func ownHeaders(t *testing.T, a answer) {
	t.Helper()
	want := map[string]string{
		"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
	}
	if strings.HasPrefix(a.Header.Get("Content-Type"), "text/html") {
		want["Content-Type"] = "text/html; charset=utf-8"
		want["Cross-Origin-Opener-Policy"] = "same-origin"
		want["Cross-Origin-Resource-Policy"] = "same-origin"
		csp := a.Header.Get("Content-Security-Policy")
		if !strings.Contains(csp, "form-action 'none'") { // only the page with a form
			want["Referrer-Policy"] = "same-origin" // for the Origin of its form, which no-referrer makes "null"
			if a.body != "" && !strings.Contains(a.body, "<form") {
				t.Errorf("Content-Security-Policy %q of a page without a form lacks form-action", csp)
			}
		}
		for _, directive := range []string{"default-src 'none'", "style-src 'sha256-", "base-uri 'none'"} {
			if !strings.Contains(csp, directive) {
				t.Errorf("Content-Security-Policy %q lacks %s", csp, directive)
			}
		}
	}
	if a.body != "" && a.Header.Get("Content-Type") == "" {
		t.Error("a body without a Content-Type")
	}
	for name, value := range want {
		if got := a.Header[name]; len(got) != 1 || got[0] != value {
			t.Errorf("%s: %q, want %q", name, got, value)
		}
	}
	if got := a.Header.Get("Content-Security-Policy"); !strings.Contains(got, "frame-ancestors 'none'") {
		t.Errorf("Content-Security-Policy %q lets itself be framed", got)
	}
	for name := range a.Header {
		if strings.HasPrefix(name, "Access-Control-") {
			t.Errorf("%s: %q", name, a.Header[name])
		}
	}
}
