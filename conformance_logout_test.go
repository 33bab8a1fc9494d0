package oidcgate_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

const (
	logoutEvent = "http://schemas.openid.net/event/backchannel-logout"
	suiteSID    = "session-of-the-provider"
)

// logoutSuite is a suite with a session in two browsers, as if a user had copied the provider's
// cookie: the logout in one of them must end the other.
type logoutSuite struct {
	*suite
	other  *http.Client
	issued []string // ID Tokens
}

func newLogoutSuite(t *testing.T, responseType string) *logoutSuite {
	t.Helper()
	s := &logoutSuite{suite: newSuite(t, oidcgatetest.Config{}, answering(responseType, ""))}
	s.op.SetUser(suiteAccount(responseType))
	s.op.EveryIDToken(func(t *oidcgatetest.JWT) {
		delete(t.Header, "typ")
		t.Claims["sid"] = suiteSID
		t.Finish = func(compact string) string { s.issued = append(s.issued, compact); return compact }
	})
	s.accepted(s.arrive(s.response("/app")))
	s.other, s.browser = s.browser, s.newSuiteBrowser()
	s.accepted(s.arrive(s.response("/app")))
	s.forget()
	return s
}

// endSession logs out. The provider does something before it sends the browser back to the address
// that is returned.
func (s *logoutSuite) endSession(before func()) (back *url.URL) {
	s.Helper()
	a := s.send(s.browser, http.MethodPost, "/auth/logout", "return_to=%2Fbye", sameOrigin)
	if !strings.HasPrefix(a.location(), suiteIssuer+"logout?") || s.cookie("__Host-Http-oidcgate") != "" || s.subject() != "" {
		s.Fatalf("the logout: %d to %q, signed in %q", a.StatusCode, a.location(), s.subject())
	}
	s.op.Inject(oidcgatetest.EndSession, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { before(); next.ServeHTTP(rw, r) })
	})
	a = s.get(a.location())
	form := s.op.LastRequest(oidcgatetest.EndSession).Form
	if !slices.Contains(s.issued, form.Get("id_token_hint")) || form.Get("post_logout_redirect_uri") != shopURL+"/auth/logout/done" || len(form.Get("state")) < 22 {
		s.Errorf("end_session was asked with %v", form)
	}
	back, err := url.Parse(a.location())
	if err != nil || back.Path != "/auth/logout/done" {
		s.Fatalf("end_session: %d to %q", a.StatusCode, a.location())
	}
	return back
}

// whoIs is who is signed in with a browser, "" for nobody.
func (s *suite) whoIs(browser *http.Client) string {
	s.Helper()
	a := s.send(browser, http.MethodGet, "/whoami", "")
	if a.StatusCode == http.StatusUnauthorized {
		return ""
	}
	return a.body
}

// notice sends a logout token that has everything the Foundation's have, but for one change.
func (s *logoutSuite) notice(change func(*oidcgatetest.JWT)) *httptest.ResponseRecorder {
	token := s.op.NewJWT(logoutClaimsOf(s.op, "aud", suiteClient, "sub", suiteUser, "sid", suiteSID, "foo", "bar"))
	delete(token.Header, "typ")
	if change != nil {
		change(token)
	}
	return s.backchannel(token.Compact())
}

// frame loads the front-channel logout in a frame of the provider's page.
func (s *logoutSuite) frame(query string) answer {
	s.Helper()
	a := s.get("/auth/frontchannel-logout"+query, "Sec-Fetch-Dest: iframe", "Sec-Fetch-Site: cross-site")
	csp := a.Header.Get("Content-Security-Policy")
	if a.StatusCode != http.StatusOK || a.Header.Get("X-Frame-Options") != "" || !strings.HasSuffix(csp, "frame-ancestors https://id.test") {
		s.Errorf("the frame: status %d, X-Frame-Options %q, CSP %q", a.StatusCode, a.Header.Get("X-Frame-Options"), csp)
	}
	return a
}

// forEachType is a module that is run with each response type.
func forEachType(name, provider, gate string, run func(s *logoutSuite)) conformanceModule {
	return conformanceModule{name, "", provider, gate, func(t *testing.T) {
		for _, responseType := range []string{"code", "code id_token", "id_token"} {
			t.Run(responseType, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { run(newLogoutSuite(t, responseType)) })
			})
		}
	}}
}

func logoutPlans() []conformancePlan {
	const types = "With each of the response types `code`, `code id_token` and `id_token`."
	return []conformancePlan{
		{"RP-Initiated Logout", types, "", rpInitiatedModules()},
		{"Back-Channel Logout", types + " The logout token comes while the provider answers the browser's logout. " +
			"Another browser, with the same session at the provider, shows whether it counts.", "", backChannelModules()},
		{"Front-Channel Logout", types, "", frontChannelModules()},
		{"Refresh Token", "`Tokens.ClaimsMaxAge` is set: the gate refreshes the tokens and asks userinfo again.", "", refreshModules()},
	}
}

func rpInitiatedModules() (modules []conformanceModule) {
	for _, row := range []struct {
		name, provider, gate string
		state                func(url.Values)
		to                   string // "" is the page that says "signed out"
	}{
		{"oidcc-client-test-rp-init-logout", "sends the browser back with the `state`", "leads to the page that the application wanted",
			func(url.Values) {}, shopURL + "/bye"},
		{"oidcc-client-test-rp-init-logout-other-state", "sends the browser back with another `state`", "shows that the visitor is signed out; follows nothing",
			func(q url.Values) { q.Set("state", "x"+q.Get("state")) }, ""},
		{"oidcc-client-test-rp-init-logout-no-state", "sends the browser back without `state`", "shows that the visitor is signed out; follows nothing",
			func(q url.Values) { q.Del("state") }, ""},
	} {
		modules = append(modules, forEachType(row.name, row.provider, row.gate, func(s *logoutSuite) {
			back := s.endSession(func() {
				if rec := s.notice(nil); rec.Code != http.StatusOK {
					s.Errorf("the logout token: status %d", rec.Code)
				}
			})
			s.frame("")
			q := back.Query()
			row.state(q)
			back.RawQuery = q.Encode()
			a := s.get(back.String())
			if a.location() != row.to || (row.to == "") != strings.Contains(a.body, "Signed out") {
				s.Errorf("%d to %q\n%s", a.StatusCode, a.location(), a.body)
			}
			if got := s.whoIs(s.browser) + s.whoIs(s.other); got != "" {
				s.Errorf("signed in: %q", got)
			}
			s.asked("logout")
		}))
	}
	return modules
}

func backChannelModules() (modules []conformanceModule) {
	const (
		name    = "oidcc-client-test-rp-backchannel-rpinitlogout"
		refuses = "answers 400, ends nothing"
	)
	put := func(claim string, value any) func(*oidcgatetest.JWT) {
		return func(t *oidcgatetest.JWT) { t.Claims[claim] = value }
	}
	more := func(claim string) func(*oidcgatetest.JWT) {
		return func(t *oidcgatetest.JWT) { t.Claims[claim] = fmt.Sprint(t.Claims[claim], "INVALID") }
	}
	for _, row := range []struct {
		name, provider string
		change         func(*logoutSuite) func(*oidcgatetest.JWT)
		reason         oidcgate.Reason
	}{
		{name + "-alg-none", "no signature", always((*oidcgatetest.JWT).Unsigned), "alg"},
		{name + "-no-event", "no `events`", always(func(t *oidcgatetest.JWT) { delete(t.Claims, "events") }), "events"},
		{name + "-with-nonce", "a `nonce`", always(put("nonce", "n")), "typ"},
		{name + "-wrong-alg", "ES256, with a key that is published, from a client of RS256", func(s *logoutSuite) func(*oidcgatetest.JWT) {
			s.op.AddKey("ES256")
			signed := s.op.NewJWT(nil)
			return func(t *oidcgatetest.JWT) {
				t.Header["alg"], t.Header["kid"], t.Key = "ES256", signed.Header["kid"], signed.Key
			}
		}, "alg"},
		{name + "-wrong-aud", "another `aud`", always(more("aud")), "aud"},
		{name + "-wrong-event", "another event", always(put("events", map[string]any{logoutEvent + "INVALID": map[string]any{}})), "events"},
		{name + "-wrong-iss", "another `iss`", always(more("iss")), "iss_claim"},
	} {
		modules = append(modules, forEachType(row.name, row.provider, refuses, func(s *logoutSuite) {
			change := row.change(s)
			s.endSession(func() { s.answered(s.notice(change), http.StatusBadRequest) })
			if s.whoIs(s.other) == "" {
				s.Error("the other browser is signed out")
			}
			rejected := s.eventsOf(oidcgate.EventBackchannelRejected)
			if len(rejected) != 1 || rejected[0].Reason != row.reason {
				s.Errorf("events %+v, want one with the reason %q", rejected, row.reason)
			}
		}))
	}
	return slices.Insert(modules, 0, forEachType(name, "a valid logout token, without `typ`, with an unknown claim and an unknown parameter beside it",
		"answers 200 with `Cache-Control: no-store`, and ends every session of that `sid`", func(s *logoutSuite) {
			s.endSession(func() {
				s.answered(s.notice(nil), http.StatusOK)
				s.answered(s.notice(nil), http.StatusOK) // nobody is left
			})
			if got := s.whoIs(s.other); got != "" {
				s.Errorf("the other browser is signed in: %q", got)
			}
			s.asked("logout")
		}))
}

func always(change func(*oidcgatetest.JWT)) func(*logoutSuite) func(*oidcgatetest.JWT) {
	return func(*logoutSuite) func(*oidcgatetest.JWT) { return change }
}

// answered checks the answer to a logout token.
func (s *logoutSuite) answered(rec *httptest.ResponseRecorder, want int) {
	s.Helper()
	if rec.Code != want || rec.Header().Get("Cache-Control") != "no-store" {
		s.Errorf("the logout token: status %d, Cache-Control %q; want %d\n%s", rec.Code, rec.Header().Get("Cache-Control"), want, s.logged())
	}
}

func frontChannelModules() []conformanceModule {
	named := "?" + url.Values{"iss": {suiteIssuer}, "sid": {suiteSID}}.Encode()
	atProvider := forEachType("oidcc-client-test-rp-frontchannel-opinitlogout", "a page, after a logout there, that loads the front-channel logout with `iss` and `sid` in a frame",
		"ends every session of that `sid`, where the browser sends its cookie; without the cookie it answers 200", func(s *logoutSuite) {
			signedIn := s.browser
			s.browser = s.newSuiteBrowser() // without cookies
			s.frame(named)
			if s.whoIs(signedIn) == "" {
				s.Error("signed out without a cookie")
			}
			s.browser = signedIn
			s.frame(named)
			if got := s.whoIs(s.browser) + s.whoIs(s.other); got != "" || s.cookie("__Host-Http-oidcgate") != "" {
				s.Errorf("signed in: %q", got)
			}
			s.asked("")
		})
	atProvider.holds = "on one site"
	return []conformanceModule{
		forEachType("oidcc-client-test-rp-frontchannel-rpinitlogout", "a page that loads the front-channel logout in a frame, then leads back",
			"lets that page frame it, and answers 200; the session is over already", func(s *logoutSuite) {
				back := s.endSession(func() {})
				for _, query := range []string{"", named} {
					s.frame(query)
				}
				if a := s.get(back.String()); a.location() != shopURL+"/bye" || s.whoIs(s.browser) != "" {
					s.Errorf("%d to %q, signed in: %q", a.StatusCode, a.location(), s.whoIs(s.browser))
				}
				s.asked("logout")
			}),
		atProvider,
	}
}

func refreshModules() []conformanceModule {
	open := func(t *testing.T) *suite {
		s := newSuite(t, oidcgatetest.Config{RotateRefreshTokens: true}, func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.Tokens.ClaimsMaxAge = 10 * time.Minute
		})
		s.op.Clear(oidcgatetest.Token)
		s.accepted(s.arrive(s.response("/app")))
		s.forget()
		time.Sleep(11 * time.Minute)
		return s
	}
	module := func(name, provider, gate string, run func(s *suite)) conformanceModule {
		return conformanceModule{name, "", provider, gate, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { run(open(t)) })
		}}
	}
	modules := []conformanceModule{
		module("oidcc-client-test-refresh-token", "a refresh token that is replaced at each use", "asks userinfo with the new access token",
			func(s *suite) {
				var spent, used []string
				for range 2 {
					if got := s.get("/app"); got.StatusCode != http.StatusOK || !strings.Contains(got.body, suiteUser) {
						s.Errorf("/app: status %d, %s", got.StatusCode, got.body)
					}
					spent = append(spent, s.op.LastRequest(oidcgatetest.Token).Form.Get("refresh_token"))
					used = append(used, s.op.LastRequest(oidcgatetest.Userinfo).Header.Get("Authorization"))
					s.asked("token userinfo")
					s.forget()
					time.Sleep(11 * time.Minute)
				}
				if distinct(spent) != 2 || distinct(used) != 2 {
					s.Errorf("spent %q, used %q", spent, used)
				}
			}),
	}
	for _, row := range []struct {
		name, claim string
		reason      oidcgate.Reason
	}{
		{"oidcc-client-test-refresh-token-invalid-issuer", "iss", "iss_claim"},
		{"oidcc-client-test-refresh-token-invalid-sub", "sub", "sub"},
	} {
		modules = append(modules, module(row.name, "an ID Token with another `"+row.claim+"` after the refresh",
			"refuses the tokens, ends the session, and does not ask userinfo", func(s *suite) {
				s.op.NextIDToken(func(t *oidcgatetest.JWT) { t.Claims[row.claim] = fmt.Sprint(t.Claims[row.claim], "1") })
				if got := s.whoIs(s.browser); got != "" {
					s.Errorf("signed in: %q", got)
				}
				failed := s.eventsOf(oidcgate.EventRefreshFailed)
				if len(failed) != 1 || failed[0].Reason != row.reason || s.get("/public").body != "welcome" {
					s.Errorf("events %+v, want one with the reason %q", failed, row.reason)
				}
				s.asked("token")
				if got := s.get("/app").location(); !strings.HasPrefix(got, shopURL+"/auth/login?") {
					s.Errorf("a page for users leads to %q", got)
				}
			}))
	}
	return modules
}
