package oidcgate_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// tokenCalls fails unless so many codes were sent to the provider.
func (w *world) tokenCalls(want int) {
	w.Helper()
	if got := w.op.Count(oidcgatetest.Token); got != want {
		w.Errorf("%d token calls, want %d", got, want)
	}
}

// forgetEvents makes the next refusal the first.
func (w *world) forgetEvents() {
	w.Helper()
	w.eventsOf("")
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = nil
}

// edited returns a callback's address with other parameters.
func edited(t *testing.T, callback string, change func(url.Values)) string {
	t.Helper()
	u, err := url.Parse(callback)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	change(q)
	u.RawQuery = q.Encode()
	return u.String()
}

func set(pairs ...string) func(url.Values) {
	return func(q url.Values) {
		for i := 0; i < len(pairs); i += 2 {
			q.Set(pairs[i], pairs[i+1])
		}
	}
}

func without(names ...string) func(url.Values) {
	return func(q url.Values) {
		for _, name := range names {
			q.Del(name)
		}
	}
}

// failed turns a response with a code into one with an error.
func failed(pairs ...string) func(url.Values) {
	return func(q url.Values) {
		q.Del("code")
		set(pairs...)(q)
	}
}

// different adds a parameter a second time, with another value.
func different(name string) func(url.Values) {
	return func(q url.Values) { q.Add(name, q.Get(name)+"x") }
}

const markup = `<script>alert("markup")</script>`

func TestCallbackRefusals(t *testing.T) {
	tests := []struct {
		name   string
		change func(url.Values)
		status int
		reason oidcgate.Reason
		used   bool // the attempt is used up
	}{
		{"C029 no state", without("state"), 400, oidcgate.ReasonUnknownState, false},
		{"C029 an empty state", set("state", ""), 400, oidcgate.ReasonUnknownState, false},
		{"C029 a short state", set("state", "x"), 400, oidcgate.ReasonUnknownState, false},
		{"C029 a random state", set("state", strings.Repeat("x", 43)), 400, oidcgate.ReasonUnknownState, false},
		{"C029 a long state", func(q url.Values) { q.Set("state", q.Get("state")+"x") }, 400, oidcgate.ReasonUnknownState, false},
		{"C029 R-FLOW-5 R-ERR-1 an error without a state", failed("state", "", "error", markup, "error_description", markup), 400, oidcgate.ReasonUnknownState, false},
		{"C029 an error with another state", failed("state", strings.Repeat("x", 43), "error", "access_denied"), 400, oidcgate.ReasonUnknownState, false},
		{"C029 R-ERR-1 markup for a state", set("state", markup), 400, oidcgate.ReasonUnknownState, false},
		{"C031 iss of another provider", set("iss", "https://evil.example"), 400, oidcgate.ReasonIssMismatch, true},
		{"C031 iss with a slash more", set("iss", "https://id.test/"), 400, oidcgate.ReasonIssMismatch, true},
		{"C031 an empty iss", set("iss", ""), 400, oidcgate.ReasonIssMismatch, true},
		{"C031 no iss from a provider that sends it", without("iss"), 400, "iss_missing", true},
		{"C031 iss of another provider with an error", failed("error", "access_denied", "iss", "https://evil.example"), 400, oidcgate.ReasonIssMismatch, true},
		{"C031 no iss with an error", func(q url.Values) { failed("error", "access_denied")(q); q.Del("iss") }, 400, "iss_missing", true},
		{"C033 R-FLOW-4 two states", different("state"), 400, "duplicate_parameter", false},
		{"C033 R-FLOW-4 two codes", different("code"), 400, "duplicate_parameter", false},
		{"C033 R-FLOW-4 two issuers", different("iss"), 400, "duplicate_parameter", false},
		{"C033 R-FLOW-4 two different codes", func(q url.Values) { q.Add("code", "another") }, 400, "duplicate_parameter", false},
		{"C033 R-FLOW-4 two errors", func(q url.Values) { q["error"] = []string{"access_denied", "server_error"} }, 400, "duplicate_parameter", false},
		{"C033 an empty second code", func(q url.Values) { q.Add("code", "") }, 400, "duplicate_parameter", false},
		{"C035 a code longer than 4 KB", set("code", strings.Repeat("c", 4<<10+1)), 400, "response_invalid", false},
		{"C035 a response longer than 16 KB", set("x", strings.Repeat("c", 16<<10)), 400, "response_invalid", false},
		{"C037 a code and an error", set("error", "access_denied"), 400, "response_invalid", true},
		{"C037 a code and a response object", set("response", "e30.e30."), 400, "response_invalid", true},
		{"C037 a code and an access token", set("access_token", "x"), 400, "response_invalid", true},
		{"C037 a code and an ID Token", set("id_token", "e30.e30."), 400, "response_invalid", true},
		{"C037 an ID Token in place of a code", failed("id_token", "e30.e30."), 400, "response_invalid", true},
		{"C037 an access token in place of a code", failed("access_token", "x"), 400, "response_invalid", true},
		{"C037 neither a code nor an error", without("code"), 400, "response_invalid", true},
		{"C037 an empty code", set("code", ""), 400, "response_invalid", true},
		{"C036 access_denied", failed("error", "access_denied"), 403, "op_error:access_denied", true},
		{"C036 login_required", failed("error", "login_required"), 403, "op_error:login_required", true},
		{"C036 interaction_required", failed("error", "interaction_required"), 403, "op_error:interaction_required", true},
		{"C036 consent_required", failed("error", "consent_required"), 403, "op_error:consent_required", true},
		{"C036 account_selection_required", failed("error", "account_selection_required"), 403, "op_error:account_selection_required", true},
		{"C036 temporarily_unavailable", failed("error", "temporarily_unavailable"), 503, "op_error:temporarily_unavailable", true},
		{"C036 server_error", failed("error", "server_error"), 502, "op_error:server_error", true},
		{"C036 invalid_request", failed("error", "invalid_request"), 502, "op_error:invalid_request", true},
		{"C036 unauthorized_client", failed("error", "unauthorized_client"), 502, "op_error:unauthorized_client", true},
		{"C036 unsupported_response_type", failed("error", "unsupported_response_type"), 502, "op_error:unsupported_response_type", true},
		{"C036 invalid_scope", failed("error", "invalid_scope"), 502, "op_error:invalid_scope", true},
		{"C036 an error nobody registered", failed("error", "the_sky_is_falling"), 502, "op_error:other", true},
		{"C036 R-ERR-1 markup for an error", failed("error", markup, "error_description", markup, "error_uri", "javascript:alert(1)"), 502, "op_error:other", true},
	}
	for _, tt := range tests {
		t.Run(tt.name+" is refused", func(t *testing.T) {
			w := newWorld(t)
			callback := w.callbackURL("/app")
			a := w.get(edited(t, callback, tt.change))
			w.denied(a, tt.status, tt.reason)
			w.tokenCalls(0)
			if got := w.subject(); got != "" {
				t.Errorf("signed in: %q", got)
			}
			for _, text := range []string{"markup", "javascript", "sky_is", "evil"} {
				if strings.Contains(a.body, text) || strings.Contains(fmt.Sprint(a.Header), text) {
					t.Errorf("the answer repeats %q\n%v\n%s", text, a.Header, a.body)
				}
			}
			a = w.get(callback)
			if got := a.location() == shopURL+"/app"; got == tt.used {
				t.Errorf("the right response afterwards: %d to %q, want the login to work: %v", a.StatusCode, a.location(), !tt.used)
			}
		})
	}

	t.Run("C029 an undecodable query is refused", func(t *testing.T) {
		w := newWorld(t)
		callback := w.callbackURL("/app")
		for _, junk := range []string{"&x=%zz", "&a;b", "&%"} {
			w.forgetEvents()
			w.denied(w.get(callback+junk), 400, "response_invalid")
		}
		w.tokenCalls(0)
	})

	t.Run("C029 the other attempts of the browser are left alone", func(t *testing.T) {
		w := newWorld(t)
		other := w.authorization("/auth/login?return_to=/other").String()
		callback := w.callbackURL("/app")
		w.denied(w.get(edited(t, callback, set("state", strings.Repeat("x", 43)))), 400, oidcgate.ReasonUnknownState)
		w.get(edited(t, callback, failed("error", "access_denied")))
		if a := w.finishLogin(other); a.location() != shopURL+"/other" {
			t.Errorf("the other login: %d to %q", a.StatusCode, a.location())
		}
	})
}

func TestCallbackAccepts(t *testing.T) {
	tests := []struct {
		name   string
		change func(url.Values)
	}{
		{"C035 parameters that nobody knows", set("session_state", "x", "foo", "bar", "scope", "openid", "code2", "y")},
		{"C035 a response of many parameters", func(q url.Values) {
			for i := range 500 {
				q.Set(fmt.Sprint("p", i), "x")
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name+" are ignored", func(t *testing.T) {
			w := newWorld(t)
			if a := w.get(edited(t, w.callbackURL("/app"), tt.change)); a.location() != shopURL+"/app" {
				t.Errorf("%d to %q\n%s", a.StatusCode, a.location(), a.body)
			}
		})
	}

	t.Run("C031 no iss from a provider that does not announce it is accepted", func(t *testing.T) {
		w := newWorld(t)
		w.op.Always(oidcgatetest.Discovery, oidcgatetest.EditJSON(func(m map[string]any) {
			delete(m, "authorization_response_iss_parameter_supported")
		}))
		if a := w.get(edited(t, w.callbackURL("/app"), without("iss"))); a.location() != shopURL+"/app" {
			t.Errorf("%d to %q\n%s", a.StatusCode, a.location(), a.body)
		}
	})

	t.Run("C031 another iss is refused though the provider does not announce it", func(t *testing.T) {
		w := newWorld(t)
		w.op.Always(oidcgatetest.Discovery, oidcgatetest.EditJSON(func(m map[string]any) {
			delete(m, "authorization_response_iss_parameter_supported")
		}))
		w.denied(w.get(edited(t, w.callbackURL("/app"), set("iss", "https://evil.example"))), 400, oidcgate.ReasonIssMismatch)
		w.tokenCalls(0)
	})
}

func TestCallbackReadsTheQueryOfAGetOnly(t *testing.T) {
	tests := []struct{ name, method, contentType string }{
		{"a form post", http.MethodPost, "application/x-www-form-urlencoded"},
		{"a multipart post", http.MethodPost, "multipart/form-data; boundary=x"},
		{"a post of plain text", http.MethodPost, "text/plain"},
		{"a PUT", http.MethodPut, "application/x-www-form-urlencoded"},
	}
	for _, tt := range tests {
		for _, place := range []string{"body", "query", "body and query"} {
			t.Run("C034 R-FLOW-4 "+tt.name+" with the response in "+place+" is refused", func(t *testing.T) {
				w := newWorld(t)
				callback := w.callbackURL("/app")
				_, query, _ := strings.Cut(callback, "?")
				target, body := callback, query
				if place == "body" {
					target = "/auth/callback"
				}
				if place == "query" {
					body = ""
				}
				a := w.send(w.browser, tt.method, target, body, "Content-Type: "+tt.contentType)
				w.denied(a, http.StatusMethodNotAllowed, "wrong_response_mode")
				w.tokenCalls(0)
				if a := w.get(callback); a.location() != shopURL+"/app" {
					t.Errorf("the right response afterwards: %d", a.StatusCode)
				}
			})
		}
	}

	t.Run("C034 a HEAD redeems no code", func(t *testing.T) {
		w := newWorld(t)
		callback := w.callbackURL("/app")
		if a := w.send(w.browser, http.MethodHead, callback, ""); a.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%d", a.StatusCode)
		}
		w.tokenCalls(0)
	})

	t.Run("C034 parameters in the body of a GET are not read", func(t *testing.T) {
		w := newWorld(t)
		_, query, _ := strings.Cut(w.callbackURL("/app"), "?")
		a := w.send(w.browser, http.MethodGet, "/auth/callback", query)
		w.denied(a, http.StatusBadRequest, oidcgate.ReasonUnknownState)
	})
}

func TestLoginWithoutInteraction(t *testing.T) {
	silent := func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Request.Params = map[string]string{"prompt": "none"} }
	restarted := func(w *world, a answer) string {
		w.Helper()
		if a.StatusCode != http.StatusSeeOther || !strings.HasPrefix(a.location(), w.op.Issuer()) || strings.Contains(a.location(), "prompt=none") {
			w.Fatalf("%d to %q, want a login that may ask\n%s", a.StatusCode, a.location(), a.body)
		}
		return a.location()
	}

	t.Run("C036 login_required begins one login that may ask", func(t *testing.T) {
		w := newWorld(t, silent)
		w.op.SetNobody()
		again := restarted(w, w.get(w.callbackURL("/app/1")))
		w.op.SetUser(oidcgatetest.User{Subject: "bob"})
		if a := w.finishLogin(again); a.location() != shopURL+"/app/1" {
			t.Errorf("%d to %q\n%s", a.StatusCode, a.location(), a.body)
		}
	})

	t.Run("C036 R-DOS-3 login_required twice is refused", func(t *testing.T) {
		w := newWorld(t, silent)
		w.op.Always(oidcgatetest.Authorization, oidcgatetest.EditRedirect(failed("error", "login_required")))
		again := restarted(w, w.get(w.callbackURL("/app")))
		w.denied(w.finishLogin(again), http.StatusForbidden, "op_error:login_required")
		w.tokenCalls(0)
	})

	t.Run("C037 an error beside a code begins nothing", func(t *testing.T) {
		w := newWorld(t, silent)
		a := w.get(edited(t, w.callbackURL("/app"), set("error", "login_required")))
		w.denied(a, http.StatusBadRequest, "response_invalid")
		w.tokenCalls(0)
	})

	t.Run("C031 an error of another provider begins nothing", func(t *testing.T) {
		w := newWorld(t, silent)
		a := w.get(edited(t, w.callbackURL("/app"), failed("error", "login_required", "iss", "https://evil.example")))
		w.denied(a, http.StatusBadRequest, oidcgate.ReasonIssMismatch)
	})
}

func TestCallbackSuccess(t *testing.T) {
	t.Run("C044 it leads to the page with a clean address and leaves no trace", func(t *testing.T) {
		w := newWorld(t)
		a := w.get(w.callbackURL("/app/orders?page=2"))
		if a.StatusCode != http.StatusSeeOther || a.location() != shopURL+"/app/orders?page=2" {
			t.Errorf("%d to %q", a.StatusCode, a.location())
		}
		for name, want := range map[string]string{"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"} {
			if got := a.Header[name]; len(got) != 1 || got[0] != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		if a.body != "" {
			t.Errorf("body %q", a.body)
		}
		if left := w.cookieNames("__Host-Http-oidcgate-a-"); len(left) != 0 {
			t.Errorf("the attempt is left: %v", left)
		}
	})

	t.Run("C045 visited again, it leads on and keeps the session", func(t *testing.T) {
		w := newWorld(t)
		callback := w.callbackURL("/app")
		w.get(callback)
		session := w.cookie("__Host-Http-oidcgate")
		for range 3 {
			a := w.get(callback)
			if a.StatusCode != http.StatusSeeOther || a.location() != shopURL+"/" || len(a.Cookies()) != 0 {
				t.Errorf("%d to %q with %v", a.StatusCode, a.location(), a.Cookies())
			}
		}
		w.tokenCalls(1)
		if w.subject() != "alice" || w.cookie("__Host-Http-oidcgate") != session {
			t.Error("the session is another one")
		}
	})

	t.Run("C045 visited again after another login, it says so and keeps that session", func(t *testing.T) {
		w := newWorld(t)
		first := w.callbackURL("/app")
		w.get(first)
		w.op.SetUser(oidcgatetest.User{Subject: "bob"})
		w.finishLogin(w.authorization("/auth/login").String())
		w.denied(w.get(first), http.StatusBadRequest, oidcgate.ReasonUnknownState)
		if got := w.subject(); got != "bob" {
			t.Errorf("signed in: %q, want bob", got)
		}
		w.tokenCalls(2)
	})

	t.Run("C030 the page of a refused login is reloaded: page and log do not blame the cookies alone", func(t *testing.T) {
		w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.OnLogin = func(context.Context, *oidcgate.Login) error { return oidcgate.Deny("No.") }
		})
		callback := w.callbackURL("/app")
		w.denied(w.get(callback), http.StatusForbidden, oidcgate.ReasonPolicyDenied)
		wantWords(t, w.get(callback), "Login not found", "This login is over, or it did not begin in this browser.")
		e := w.eventsOf(oidcgate.EventLoginFailed)[1]
		if e.Reason != oidcgate.ReasonUnknownState || !strings.Contains(e.Detail, "came again") || !strings.Contains(e.Hint, "a reload") {
			t.Errorf("%+v", e)
		}
	})

	t.Run("C030 R-FLOW-5 a response sent again with its attempt is refused", func(t *testing.T) {
		w := newWorld(t)
		callback := w.callbackURL("/app")
		copied := w.sentCookies()
		w.get(callback)
		w.browser = w.newBrowser()
		a := w.get(callback, "Cookie: "+copied)
		w.denied(a, http.StatusBadRequest, oidcgate.ReasonStateReplayed)
		wantWords(t, a, "Already used", "This login was used already") // whether or not it succeeded
		w.tokenCalls(1)
	})

	t.Run("C046 C109 a session id from before the login carries no identity", func(t *testing.T) {
		w := newWorld(t)
		planted := strings.Repeat("p", 43) + "."
		callback := w.callbackURL("/app")
		w.setCookie("__Host-Http-oidcgate", planted)
		w.get(callback)
		if got := w.cookie("__Host-Http-oidcgate"); got == planted || !secret256.MatchString(strings.TrimSuffix(got, ".")) {
			t.Errorf("the session id is %q", got)
		}
		w.setCookie("__Host-Http-oidcgate", planted)
		if got := w.subject(); got != "" {
			t.Errorf("the planted id signs %q in", got)
		}
	})

	t.Run("C046 C109 a new login ends the session before", func(t *testing.T) {
		w := newWorld(t)
		w.login()
		old := w.cookie("__Host-Http-oidcgate")
		w.finishLogin(w.authorization("/auth/login").String())
		if w.cookie("__Host-Http-oidcgate") == old || w.subject() != "alice" {
			t.Error("the id is the old one, or nobody is signed in")
		}
		w.setCookie("__Host-Http-oidcgate", old)
		if got := w.subject(); got != "" {
			t.Errorf("the old id signs %q in", got)
		}
	})
}

func TestCallbackInAnotherBrowser(t *testing.T) {
	t.Run("C047 C020 R-FLOW-5 a login does not end in another browser", func(t *testing.T) {
		w := newWorld(t)
		callback := w.callbackURL("/app")
		a := w.send(w.newBrowser(), http.MethodGet, callback, "")
		w.denied(a, http.StatusBadRequest, oidcgate.ReasonUnknownState)
		w.tokenCalls(0)
		if a := w.get(callback); a.location() != shopURL+"/app" {
			t.Errorf("in its own browser afterwards: %d", a.StatusCode)
		}
	})

	t.Run("C047 a login of one browser does not end in another that has begun its own", func(t *testing.T) {
		w := newWorld(t)
		attacker := w.callbackURL("/app")
		w.browser = w.newBrowser()
		own := w.callbackURL("/app")
		w.denied(w.get(attacker), http.StatusBadRequest, oidcgate.ReasonUnknownState)
		stolen, _ := url.Parse(attacker)
		mixed := edited(t, own, set("code", stolen.Query().Get("code")))
		w.forgetEvents()
		w.denied(w.get(mixed), http.StatusBadGateway, oidcgate.ReasonTokenEndpointError)
		if got := w.subject(); got != "" {
			t.Errorf("signed in: %q", got)
		}
	})

	t.Run("C020 R-FLOW-5 a made-up attempt is none", func(t *testing.T) {
		w := newWorld(t)
		callback := w.callbackURL("/app")
		name := w.cookieNames("__Host-Http-oidcgate-a-")[0]
		for _, value := range []string{"", "x", strings.Repeat("A", 300), strings.Repeat("A", 3000), "%%%", w.cookie(name)[1:] + "A"} {
			w.browser = w.newBrowser()
			w.setCookie(name, value)
			w.forgetEvents()
			w.denied(w.get(callback), http.StatusBadRequest, oidcgate.ReasonStateBrowserMismatch)
		}
		w.tokenCalls(0)
	})

	changes := map[string]func(*oidcgate.Config, *oidcgate.Provider){
		"with another key":         func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Keys = mustKeys(t, otherKey) },
		"at another address":       func(c *oidcgate.Config, _ *oidcgate.Provider) { c.BaseURL += "/other" },
		"with another cookie name": func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Site.CookieName = "__Host-other" },
	}
	for name, change := range changes {
		t.Run("C020 an attempt of a gate "+name+" is none", func(t *testing.T) {
			theirs, ours := newWorld(t), newWorld(t, change)
			callback := theirs.callbackURL("/app")
			attempt := theirs.cookieNames("__Host-Http-oidcgate-a-")[0]
			ours.setCookie(attempt, theirs.cookie(attempt))
			ours.setCookie(strings.Replace(attempt, "__Host-Http-oidcgate", "__Host-other", 1), theirs.cookie(attempt))
			status, reason := http.StatusBadRequest, oidcgate.ReasonStateBrowserMismatch
			if name == "with another key" { // it may be a replica of the same gate
				status, reason = http.StatusInternalServerError, "state_key_unknown"
			}
			ours.denied(ours.get(callback), status, reason)
			if hint := ours.eventsOf(oidcgate.EventLoginFailed)[0].Hint; name == "at another address" && !strings.Contains(hint, "BaseURL") {
				t.Errorf("the hint %q does not name the cause", hint)
			}
			ours.tokenCalls(0)
		})
	}
}

const otherKey = "xv9dWlD0m1o4R4yq3S8kTt1q0C2b6p7uJ5hN8eG4aYs="

func TestAttemptsExpire(t *testing.T) {
	for _, tt := range []struct {
		after  time.Duration
		status int
	}{{10*time.Minute - 2*time.Second, 303}, {10 * time.Minute, 400}, {time.Hour, 400}} {
		t.Run(fmt.Sprintf("C022 C029 R-FLOW-5 a login that took %v ends with %d", tt.after, tt.status), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				login := w.authorization("/auth/login").String()
				kept := w.sentCookies() // the server holds the deadline, whatever the browser keeps
				time.Sleep(tt.after)
				a := w.get(w.get(login).location(), "Cookie: "+kept)
				if a.StatusCode != tt.status {
					t.Fatalf("%d\n%s", a.StatusCode, a.body)
				}
				if tt.status == http.StatusBadRequest {
					w.denied(a, tt.status, oidcgate.ReasonStateExpired)
					w.tokenCalls(0)
				}
			})
		})
	}

	t.Run("C022 the browser is told to forget an attempt after ten minutes", func(t *testing.T) {
		w := newWorld(t)
		a := w.get("/auth/login")
		if c := a.Cookies(); len(c) != 1 || c[0].MaxAge != 600 {
			t.Errorf("cookies %v", c)
		}
	})
}

func TestManyCallbacksAtOnce(t *testing.T) {
	for _, before := range []string{"nobody", "somebody"} {
		t.Run("F28 C030 with "+before+" signed in before, 50 on two replicas make one login", func(t *testing.T) {
			w := newWorld(t)
			second := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) {
				c.Store, c.HTTP.Transport, c.OnEvent = w.store, w.op.Transport(), w.collect
			})
			if before == "somebody" {
				w.login()
			}
			callback := w.callbackURL("/auth/login?return_to=/app")
			tokenCalls := w.op.Count(oidcgatetest.Token)
			cookies := w.sentCookies()
			answers := make([]*http.Response, 50)
			var all sync.WaitGroup
			for i := range answers {
				handler := w.handler
				if i%2 == 1 {
					handler = second.handler
				}
				all.Go(func() {
					r := httptest.NewRequest(http.MethodGet, callback, nil)
					r.Header.Set("Cookie", cookies)
					r.Header.Set("Accept", "text/html")
					rec := httptest.NewRecorder()
					handler.ServeHTTP(rec, r)
					answers[i] = rec.Result()
				})
			}
			all.Wait()
			w.tokenCalls(tokenCalls + 1)
			winners := 0
			for _, a := range answers {
				switch {
				case a.StatusCode == http.StatusSeeOther:
					winners++
				case a.StatusCode != http.StatusBadRequest:
					t.Errorf("a loser gets %d", a.StatusCode)
				}
				u, _ := url.Parse(shopURL)
				w.browser.Jar.SetCookies(u, nonDeleting(t, a))
			}
			if winners != 1 {
				t.Errorf("%d winners, want 1", winners)
			}
			if got := w.subject(); got != "alice" {
				t.Errorf("signed in afterwards: %q, want alice", got)
			}
		})
	}

	t.Run("F28 a late loser does not sign the winner out", func(t *testing.T) {
		w := newWorld(t)
		w.login()
		callback := w.callbackURL("/auth/login")
		before := w.sentCookies()
		w.get(callback)
		late := w.send(w.newBrowser(), http.MethodGet, callback, "", "Cookie: "+before)
		w.denied(late, http.StatusBadRequest, oidcgate.ReasonStateReplayed)
		nonDeleting(t, late.Response)
	})
}

// nonDeleting returns the cookies of an answer, and fails when it takes the session's away: it may arrive after
// the winner's and would sign the visitor out.
func nonDeleting(t *testing.T, a *http.Response) []*http.Cookie {
	t.Helper()
	for _, c := range a.Cookies() {
		if c.Name == "__Host-Http-oidcgate" && c.MaxAge < 0 {
			t.Errorf("an answer with %d takes the session's cookie away", a.StatusCode)
		}
	}
	return a.Cookies()
}

func TestParallelTabs(t *testing.T) {
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		t.Run(fmt.Sprintf("F29 C022 three tabs finish in the order %v, each at its own page", order), func(t *testing.T) {
			w := newWorld(t)
			var logins []string
			for tab := range 3 {
				logins = append(logins, w.authorization(fmt.Sprintf("/auth/login?return_to=/app/%d", tab)).String())
			}
			for _, tab := range order {
				a := w.finishLogin(logins[tab])
				if want := fmt.Sprintf("%s/app/%d", shopURL, tab); a.location() != want {
					t.Errorf("tab %d: %d to %q, want %q", tab, a.StatusCode, a.location(), want)
				}
				for page := range 3 {
					if a := w.get(fmt.Sprintf("/app/%d", page)); a.StatusCode != http.StatusOK {
						t.Errorf("after tab %d, page %d: %d", tab, page, a.StatusCode)
					}
				}
			}
		})
	}
}

func TestBrowserLeavesDuringTheCallback(t *testing.T) {
	t.Run("F33 nothing is left but the claim on the attempt", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tally := new(tallyStore)
			w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { tally.Store, c.Store = c.Store, tally })
			callback := w.callbackURL("/app")
			w.op.Inject(oidcgatetest.Token, oidcgatetest.Delay(5*time.Second))
			ctx, leave := context.WithTimeout(t.Context(), time.Second)
			defer leave()
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, callback, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Accept", "text/html")
			if _, err := w.browser.Do(r); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("the browser: %v", err)
			}
			time.Sleep(time.Minute)
			if n := tally.writes.Load(); n != 1 {
				t.Errorf("%d writes, want the claim alone", n)
			}
			if got := w.subject(); got != "" {
				t.Errorf("signed in: %q", got)
			}
			if n := len(w.eventsOf(oidcgate.EventLoginFailed)); n != 1 {
				t.Errorf("%d events, want 1", n)
			}
		})
	})
}

// One list says which claims are the ID Token's own: for userinfo, for OnLogin, and for a re-read.
func TestProtocolClaims(t *testing.T) {
	names := []string{
		"iss", "sub", "aud", "exp", "iat", "nbf", "jti", "azp", "nonce", "auth_time", "acr", "amr", "sid",
		"at_hash", "c_hash", "session_expiry", "events",
	}
	t.Run("C079 OnLogin sets and drops none of the claims that userinfo cannot state", func(t *testing.T) {
		w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.OnLogin = func(_ context.Context, l *oidcgate.Login) error {
				for _, name := range names {
					if l.Set(name, "x") == nil {
						t.Errorf("%s was set", name)
					}
				}
				l.Drop(names...)
				if jti, _ := l.Identity().ClaimString("jti"); jti != "the-login" {
					t.Errorf("jti %q after Drop", jti)
				}
				return l.Set("plan", "gold")
			}
		})
		w.op.EveryIDToken(func(t *oidcgatetest.JWT) { t.Claims["jti"] = "the-login" })
		w.login()
		if got := w.subject(); got != "alice" {
			t.Errorf("signed in as %q", got)
		}
	})
}

func TestOnLoginSeesTheRequest(t *testing.T) {
	var seen *http.Request
	w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) {
		c.OnLogin = func(_ context.Context, l *oidcgate.Login) error {
			seen = l.Request()
			l.SetLabel(seen.UserAgent())
			return nil
		}
	})
	callback := w.callbackURL("/app")
	w.send(w.browser, http.MethodGet, callback, "", "User-Agent: Firefox")
	if seen == nil || seen.URL.Path != "/auth/callback" || seen.RemoteAddr == "" || seen.UserAgent() != "Firefox" {
		t.Fatalf("the request is %v", seen)
	}
	if text := fmt.Sprintf("%+v", *seen); strings.Contains(text, "code=") || seen.Form != nil || seen.URL.RawQuery != "" {
		t.Errorf("C101 the request has the code: %s", text)
	}
	id, err := oidcgate.NewIdentity(w.op.Issuer(), "alice", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := w.gate.SubjectHash(id), w.eventsOf(oidcgate.EventLoginSucceeded)[0].SubjectHash; got != want || got == "" {
		t.Errorf("SubjectHash %q, the event has %q", got, want)
	}
	if l := oidcgate.NewLogin(&oidcgate.Identity{}, "/"); l.Request() != nil {
		t.Error("a login of a test has a request")
	}
}

func TestOnLoginRefuses(t *testing.T) {
	tests := []struct {
		name   string
		hook   func() error
		status int
		reason oidcgate.Reason
		text   string
	}{
		{"C110 Deny", func() error { return oidcgate.Deny("Ask the office for an account.") }, 403, oidcgate.ReasonPolicyDenied, "Ask the office for an account."},
		{"a wrapped Deny", func() error { return fmt.Errorf("policy: %w", oidcgate.Deny("Ask the office.")) }, 403, oidcgate.ReasonPolicyDenied, "Ask the office."},
		{"R-ERR-1 a Deny with markup", func() error { return oidcgate.Deny(markup) }, 403, oidcgate.ReasonPolicyDenied, "&lt;script&gt;"},
		{"an error", func() error { return errors.New("the database is down") }, 500, oidcgate.ReasonHookError, ""},
		{"F34 a panic", func() error { panic("the hook's own") }, 500, oidcgate.ReasonHookError, ""},
		{"F34 a panic with an error", func() error { panic(errors.New("x")) }, 500, oidcgate.ReasonHookError, ""},
		{"F34 a panic with http.ErrAbortHandler", func() error { panic(http.ErrAbortHandler) }, 500, oidcgate.ReasonHookError, ""},
		{"F34 a panic with nil", func() error { panic(nil) }, 500, oidcgate.ReasonHookError, ""}, //nolint:all // what an application may do
	}
	for _, tt := range tests {
		t.Run(tt.name+" of OnLogin refuses the login", func(t *testing.T) {
			tally := new(tallyStore)
			w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) {
				tally.Store, c.Store = c.Store, tally
				c.OnLogin = func(context.Context, *oidcgate.Login) error { return tt.hook() }
			})
			a := w.get(w.callbackURL("/app"))
			w.denied(a, tt.status, tt.reason)
			if !strings.Contains(a.body, tt.text) || strings.Contains(a.body, "database") || strings.Contains(a.body, "<script") {
				t.Errorf("the page:\n%s", a.body)
			}
			if n := tally.writes.Load(); n != 1 {
				t.Errorf("%d writes, want the claim alone", n)
			}
			if got := w.subject(); got != "" {
				t.Errorf("signed in: %q", got)
			}
		})
	}
}

// TestRefusedLoginNamesTheUser holds that an operator who is told a reference finds the account.
func TestRefusedLoginNamesTheUser(t *testing.T) {
	refused := func(hook func(*oidcgate.Login) error) change {
		return func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.OnLogin = func(_ context.Context, l *oidcgate.Login) error { return hook(l) }
		}
	}
	for _, row := range []struct {
		name   string
		with   change
		breaks func(w *world)
		status int
		reason oidcgate.Reason
		named  bool
	}{
		{"OnLogin refuses", refused(func(*oidcgate.Login) error { return oidcgate.Deny("no") }), nil, 403, oidcgate.ReasonPolicyDenied, true},
		{"the session is too large", refused(func(l *oidcgate.Login) error { return l.Set("x", strings.Repeat("x", 64<<10)) }),
			nil, 502, oidcgate.ReasonSessionTooLarge, true},
		{"a claim is missing", func(_ *oidcgate.Config, p *oidcgate.Provider) {
			p.Verification.RequireClaims = map[string][]string{"hd": {"shop.test"}}
		}, nil, 403, "claim_required", true},
		{"userinfo is of another user", func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Userinfo = oidcgate.UserinfoRequired }, func(w *world) {
			w.op.Inject(oidcgatetest.Userinfo, oidcgatetest.EditJSON(func(m map[string]any) { m["sub"] = "mallory" }))
		}, 502, "userinfo_sub", true},
		{"an administrator ends the user's sessions meanwhile", nil, func(w *world) {
			w.op.Inject(oidcgatetest.Token, func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					next.ServeHTTP(rw, r)
					if _, err := w.gate.Sessions().EndUser(context.Background(), w.op.Issuer(), "alice"); err != nil {
						w.Error(err)
					}
				})
			})
		}, 403, oidcgate.ReasonLogoutWon, true},
		{"the ID Token is not the provider's", nil, func(w *world) {
			w.op.NextIDToken((*oidcgatetest.JWT).CorruptSignature)
		}, 502, oidcgate.ReasonSignature, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, func(c *oidcgate.Config, p *oidcgate.Provider) {
				if row.with != nil {
					row.with(c, p)
				}
			})
			callback := w.callbackURL("/app")
			if row.breaks != nil {
				row.breaks(w)
			}
			w.denied(w.get(callback), row.status, row.reason)
			id, err := oidcgate.NewIdentity(w.op.Issuer(), "alice", nil)
			if err != nil {
				t.Fatal(err)
			}
			want := ""
			if row.named {
				want = w.gate.SubjectHash(id)
			}
			if got := w.eventsOf(oidcgate.EventLoginFailed)[0].SubjectHash; got != want {
				t.Errorf("the event's user is %q, want %q", got, want)
			}
		})
	}
}

func TestOwnPage(t *testing.T) {
	ownPage := func(c *oidcgate.Config, _ *oidcgate.Provider) {
		c.Page = func(rw http.ResponseWriter, _ *http.Request, p oidcgate.Page) bool {
			rw.WriteHeader(p.Status)
			_, _ = fmt.Fprintf(rw, "our own page: %s %s %d", p.Reason, p.Reference, len(p.Links))
			return true
		}
	}

	t.Run("it replaces the page of a refused login", func(t *testing.T) {
		w := newWorld(t, ownPage)
		a := w.get("/auth/callback?state=x")
		w.denied(a, http.StatusBadRequest, oidcgate.ReasonUnknownState)
		if !strings.HasPrefix(a.body, "our own page: unknown_state ") || !strings.HasSuffix(a.body, " 2") {
			t.Errorf("the page: %s", a.body)
		}
	})

	t.Run("C044 C055 it does not get the code and the state of a refused login", func(t *testing.T) {
		var got string
		w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.Page = func(rw http.ResponseWriter, r *http.Request, p oidcgate.Page) bool {
				_ = r.ParseForm()
				got = fmt.Sprint(r.URL, r.RequestURI, r.Form, r.FormValue("code"))
				rw.WriteHeader(p.Status)
				_, _ = fmt.Fprint(rw, p.Reference)
				return true
			}
		})
		w.op.NextIDToken((*oidcgatetest.JWT).CorruptSignature)
		callback := w.callbackURL("/app")
		w.denied(w.get(callback), http.StatusBadGateway, oidcgate.ReasonSignature)
		u, err := url.Parse(callback)
		if err != nil || u.Query().Get("code") == "" {
			t.Fatal(callback, err)
		}
		for _, secret := range []string{u.Query().Get("code"), u.Query().Get("state")} {
			if strings.Contains(got, secret) {
				t.Errorf("it gets %s", got)
			}
		}
		if !strings.HasPrefix(got, "/auth/callback") {
			t.Errorf("it gets %s, want the path", got)
		}
	})

	t.Run("it replaces the page of a guard", func(t *testing.T) {
		w := newWorld(t, ownPage)
		w.login()
		if a := w.get("/admin"); a.StatusCode != http.StatusForbidden || !strings.HasPrefix(a.body, "our own page: ") {
			t.Errorf("%d %s", a.StatusCode, a.body)
		}
	})

	t.Run("a script gets no page", func(t *testing.T) {
		w := newWorld(t, ownPage)
		a := w.get("/auth/callback?state=x", "Accept: application/json")
		if got := a.Header.Get("Content-Type"); got != "application/problem+json" {
			t.Errorf("%s: %s", got, a.body)
		}
	})
}

// TestLateTab has a visitor log in with one of two tabs. Keycloak then answers to the other that it is late.
func TestLateTab(t *testing.T) {
	for name, row := range map[string]struct {
		begun, code, description string
		before, meanwhile        bool // the visitor has logged in
		status                   int
	}{
		"the visitor is signed in":          {"/app", "temporarily_unavailable", "authentication_expired", false, true, 303},
		"nobody is signed in":               {"/app", "temporarily_unavailable", "authentication_expired", false, false, 503},
		"another description":               {"/app", "temporarily_unavailable", "down", false, true, 503},
		"another code":                      {"/app", "server_error", "authentication_expired", false, true, 502},
		"it was to confirm who it was":      {"/fresh", "temporarily_unavailable", "authentication_expired", true, true, 503},
		"it was to log in as somebody else": {"/auth/login?another=1", "temporarily_unavailable", "authentication_expired", true, false, 503},
	} {
		inBubble(t, "C036 "+name, func(t *testing.T) {
			w := newWorld(t)
			if row.before {
				w.login()
				time.Sleep(time.Minute)
			}
			if row.begun == "/fresh" {
				shop := w.handler
				w.handler = w.gate.Wrap(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					if r.URL.Path != "/fresh" || w.gate.Admit(rw, r, oidcgate.ACR("gold")) {
						shop.ServeHTTP(rw, r)
					}
				}))
			}
			late := w.callbackURL(row.begun)
			if row.meanwhile {
				w.get(w.callbackURL("/auth/login"))
			}
			a := w.get(edited(t, late, failed("error", row.code, "error_description", row.description)))
			if a.StatusCode != row.status || row.status == 303 && a.location() != shopURL+"/app" || (w.subject() == "alice") != (row.before || row.meanwhile) {
				t.Errorf("%d to %q, signed in as %q", a.StatusCode, a.location(), w.subject())
			}
		})
	}
}
