package oidcgate_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// frontchannel loads the logout frame with a query, in a browser.
func (f *fleet) frontchannel(browser *http.Client, query string, headers ...string) answer {
	f.Helper()
	return f.send(browser, http.MethodGet, "/auth/frontchannel-logout?"+query, "", headers...)
}

func TestFrontchannelWithoutTheIndex(t *testing.T) {
	for name, fails := range map[string]bool{"has lost the sid's set": false, "cannot read the sid's set": true} {
		inBubble(t, "C120 F18 the session of the browser ends where the store "+name, func(t *testing.T) {
			f := newFleet(t, 1)
			f.login()
			query := "iss=https://id.test&sid=" + f.sid(f.browser)
			cookies := f.sentCookies()
			f.drill.fail(func(op, key string) error {
				if op != "members" || !strings.HasPrefix(key, "i:") {
					return nil
				}
				if fails {
					return errReadOnly
				}
				return f.drill.Store.Remove(t.Context(), key, f.handle())
			}, nil)
			a := f.frontchannel(f.browser, query, "Sec-Fetch-Dest: iframe", "Sec-Fetch-Site: same-site")
			want := map[bool]int{false: http.StatusOK, true: http.StatusServiceUnavailable}[fails]
			if a.StatusCode != want {
				t.Errorf("status %d, want %d", a.StatusCode, want)
			}
			f.drill.fail(nil, nil)
			if again := f.send(f.newBrowser(), http.MethodGet, "/whoami", "", "Cookie: "+cookies); again.StatusCode != http.StatusUnauthorized {
				t.Errorf("the session goes on: %d", again.StatusCode)
			}
		})
	}
}

func TestFrontchannelLogout(t *testing.T) {
	const iss = "https://id.test"
	for _, row := range []struct {
		name  string
		query func(sid string) string
		ends  bool
	}{
		{"iss and sid of this session", func(sid string) string { return "iss=" + iss + "&sid=" + sid }, true},
		{"nothing", func(string) string { return "" }, false},
		{"R-OUT-3 sid alone", func(sid string) string { return "sid=" + sid }, false},
		{"iss alone", func(string) string { return "iss=" + iss }, false},
		{"an empty sid", func(string) string { return "iss=" + iss + "&sid=" }, false},
		{"another sid", func(sid string) string { return "iss=" + iss + "&sid=" + sid + "x" }, false},
		{"sid in other letters", func(sid string) string { return "iss=" + iss + "&sid=" + strings.ToLower(sid) }, false},
		{"another iss", func(sid string) string { return "iss=https://evil.test&sid=" + sid }, false},
		{"iss with a slash more", func(sid string) string { return "iss=" + iss + "/&sid=" + sid }, false},
		{"two sids", func(sid string) string { return "iss=" + iss + "&sid=" + sid + "&sid=" + sid }, false},
		{"two issuers", func(sid string) string { return "iss=" + iss + "&iss=https://evil.test&sid=" + sid }, false},
	} {
		inBubble(t, "C120 "+row.name, func(t *testing.T) {
			f := newFleet(t, 2)
			f.login()
			sid := f.sid(f.browser)
			cookies := f.sentCookies()
			calls := f.providerCalls()
			a := f.frontchannel(f.browser, row.query(sid), "Sec-Fetch-Dest: iframe", "Sec-Fetch-Site: cross-site")
			if a.StatusCode != http.StatusOK || a.Header.Get("Cache-Control") != "no-store" || a.location() != "" {
				t.Errorf("status %d, Cache-Control %q, to %q", a.StatusCode, a.Header.Get("Cache-Control"), a.location())
			}
			again := f.send(f.newBrowser(), http.MethodGet, "/whoami", "", "Cookie: "+cookies)
			if ended := again.StatusCode == http.StatusUnauthorized; ended != row.ends {
				t.Errorf("the session is over: %v", ended)
			}
			if deleted := f.cookie("__Host-Http-oidcgate") == ""; deleted != row.ends {
				t.Errorf("the cookie is deleted: %v", deleted)
			}
			if got := f.providerCalls(); got != calls {
				t.Errorf("R-OUT-3 %d requests to the provider", got-calls)
			}
		})
	}
	inBubble(t, "C120 only the provider's pages may frame it", func(t *testing.T) {
		f := newFleet(t, 1)
		f.op.Always(oidcgatetest.Discovery, oidcgatetest.EditJSON(func(m map[string]any) {
			m["end_session_endpoint"] = "https://logout.id.test/bye"
		}))
		f.login()
		for _, query := range []string{"", "iss=" + url.QueryEscape(f.op.Issuer()) + "&sid=" + f.sid(f.browser)} {
			a := f.frontchannel(f.browser, query)
			csp := a.Header.Get("Content-Security-Policy")
			if !strings.HasSuffix(csp, "frame-ancestors https://id.test https://logout.id.test") || a.Header.Get("X-Frame-Options") != "" {
				t.Errorf("CSP %q, X-Frame-Options %q", csp, a.Header.Get("X-Frame-Options"))
			}
			if got := a.Header.Get("Content-Type"); got != "text/plain; charset=utf-8" {
				t.Errorf("Content-Type %q", got)
			}
		}
	})
	inBubble(t, "C120 only the issuer's pages may, where no other's logout is announced", func(t *testing.T) {
		for _, endpoint := range []any{nil, "https://id.test/bye"} {
			f := newFleet(t, 1)
			f.op.Always(oidcgatetest.Discovery, oidcgatetest.EditJSON(func(m map[string]any) { m["end_session_endpoint"] = endpoint }))
			f.login()
			if csp := f.frontchannel(f.browser, "").Header.Get("Content-Security-Policy"); !strings.HasSuffix(csp, "frame-ancestors https://id.test") {
				t.Errorf("end_session_endpoint %v: CSP %q", endpoint, csp)
			}
		}
	})
	inBubble(t, "C120 across sites the cookie does not arrive: 200, without effect", func(t *testing.T) {
		f := newFleet(t, 1)
		f.login()
		a := f.frontchannel(f.newBrowser(), "iss="+f.op.Issuer()+"&sid="+f.sid(f.browser))
		if a.StatusCode != http.StatusOK || len(a.Cookies()) != 0 || f.subject() != "alice" {
			t.Errorf("status %d, cookies %v, signed in as %q", a.StatusCode, a.Cookies(), f.subject())
		}
	})
	inBubble(t, "C120 C125 the sid of a refreshed ID Token ends the session, that of another does not", func(t *testing.T) {
		f := newFleet(t, 2)
		f.login()
		f.op.EveryIDToken(func(t *oidcgatetest.JWT) { t.Claims["sid"] = "S2" })
		time.Sleep(11 * time.Minute)
		f.mustToken()
		query := "iss=" + f.op.Issuer() + "&sid="
		if a := f.frontchannel(f.browser, query+"S3", "Sec-Fetch-Dest: iframe"); a.StatusCode != http.StatusOK || f.subject() != "alice" {
			t.Errorf("the sid of another: status %d, signed in as %q", a.StatusCode, f.subject())
		}
		f.drill.fail(on("get d:", errIll), nil)
		if a := f.frontchannel(f.browser, query+"S2", "Sec-Fetch-Dest: iframe"); a.StatusCode != http.StatusServiceUnavailable || len(a.Cookies()) != 0 {
			t.Errorf("the store is ill: status %d, cookies %v", a.StatusCode, a.Cookies())
		}
		f.drill.fail(nil, nil)
		if a := f.frontchannel(f.browser, query+"S2", "Sec-Fetch-Dest: iframe"); a.StatusCode != http.StatusOK || f.subject() != "" {
			t.Errorf("status %d, signed in as %q", a.StatusCode, f.subject())
		}
	})
	inBubble(t, "C120 a session without a sid is not ended by a frame", func(t *testing.T) {
		f := newFleet(t, 1)
		f.op.NextIDToken(func(t *oidcgatetest.JWT) { delete(t.Claims, "sid") })
		f.login()
		for _, query := range []string{"", "iss=" + f.op.Issuer() + "&sid=", "iss=" + f.op.Issuer()} {
			f.frontchannel(f.browser, query)
		}
		if f.subject() != "alice" {
			t.Error("it was ended")
		}
	})
	inBubble(t, "C120 the session of another browser with the same sid ends, too", func(t *testing.T) {
		f := newFleet(t, 2)
		f.op.EveryIDToken(func(t *oidcgatetest.JWT) { t.Claims["sid"] = "S" })
		one, two := f.signInAs("alice"), f.signInAs("alice")
		f.frontchannel(one, "iss="+f.op.Issuer()+"&sid=S")
		if f.who(one) != "" || f.who(two) != "" {
			t.Errorf("signed in: %q and %q", f.who(one), f.who(two))
		}
	})
	inBubble(t, "C113 R-OUT-3 claims that are due to be read again are not, by a frame or a logout", func(t *testing.T) {
		f := newFleet(t, 1, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Tokens.ClaimsMaxAge = time.Minute })
		f.login()
		sid := f.sid(f.browser)
		time.Sleep(5 * time.Minute)
		calls := f.providerCalls()
		f.frontchannel(f.browser, "iss="+f.op.Issuer()+"&sid="+sid)
		if got := f.providerCalls(); got != calls {
			t.Errorf("%d requests to the provider", got-calls)
		}
	})
	for _, method := range []string{http.MethodPost, http.MethodHead, http.MethodDelete} {
		inBubble(t, "C120 "+method+" is refused", func(t *testing.T) {
			f := newFleet(t, 1)
			f.login()
			a := f.send(f.browser, method, "/auth/frontchannel-logout?iss="+f.op.Issuer()+"&sid="+f.sid(f.browser), "")
			if a.StatusCode != http.StatusMethodNotAllowed || f.subject() != "alice" {
				t.Errorf("status %d, signed in as %q", a.StatusCode, f.subject())
			}
		})
	}
	inBubble(t, "C120 the store is ill: 503, the cookie stays, and the next try ends the session", func(t *testing.T) {
		f := newFleet(t, 1)
		f.login()
		query := "iss=" + f.op.Issuer() + "&sid=" + f.sid(f.browser)
		for _, command := range []string{"get s:", "delete s:", "members i:"} {
			f.drill.fail(on(command, errIll), nil)
			if a := f.frontchannel(f.browser, query); a.StatusCode != http.StatusServiceUnavailable || len(a.Cookies()) != 0 {
				t.Errorf("%s fails: status %d, cookies %v", command, a.StatusCode, a.Cookies())
			}
		}
		f.drill.fail(nil, nil)
		if a := f.frontchannel(f.browser, query); a.StatusCode != http.StatusOK || f.subject() != "" {
			t.Errorf("status %d, signed in as %q", a.StatusCode, f.subject())
		}
	})
}

// providerCalls counts all requests to the provider.
func (w *world) providerCalls() (n int) {
	for _, e := range []oidcgatetest.Endpoint{
		oidcgatetest.Discovery, oidcgatetest.JWKS, oidcgatetest.Authorization, oidcgatetest.Token,
		oidcgatetest.Userinfo, oidcgatetest.EndSession, oidcgatetest.Other,
	} {
		n += w.op.Count(e)
	}
	return n
}
