package main

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/internal/redistest"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// logIn opens another browser, with its name as User-Agent, and logs in with it.
func (w *world) logIn(subject, name string) *http.Client {
	w.Helper()
	w.op.SetUser(oidcgatetest.User{Subject: subject})
	jar, _ := cookiejar.New(nil) // without options it cannot fail
	w.browser = &http.Client{Transport: w.browser.Transport, Jar: jar}
	r := w.request(http.MethodGet, "/app")
	r.Header.Set("User-Agent", name)
	w.wants(w.do(r), http.StatusOK, "hello")
	return w.browser
}

func (w *world) post(path string) answer {
	w.Helper()
	return w.do(w.request(http.MethodPost, path))
}

// read decodes an answer in JSON.
func read[T any](w *world, a answer) (v T) {
	w.Helper()
	if err := json.Unmarshal([]byte(a.body), &v); err != nil || a.StatusCode != http.StatusOK {
		w.Fatalf("%s: got %d %q, want 200 and JSON: %v", a.Request.URL, a.StatusCode, a.body, err)
	}
	return v
}

// list returns the sessions of the browser's user by label.
func (w *world) list() map[string]sessionAnswer {
	w.Helper()
	sessions := map[string]sessionAnswer{}
	for _, s := range read[[]sessionAnswer](w, w.get("/sessions")) {
		sessions[s.Label] = s
	}
	return sessions
}

// wantSignedIn checks for each browser whether it still has a session.
func (w *world) wantSignedIn(want map[*http.Client]bool) {
	w.Helper()
	for browser, signedIn := range want {
		w.browser = browser
		if a := w.get("/me"); (a.StatusCode == http.StatusOK) != signedIn {
			w.Errorf("/me: got %d %s, want a session: %t", a.StatusCode, a.body, signedIn)
		}
	}
}

func TestC114AVisitorListsAndEndsHisSessions(t *testing.T) {
	eachRouter(t, func(t *testing.T, router string) {
		w := start(t, map[string]string{"ROUTER": router, "OIDC_NAME": "house"})
		w.op.AddClient(oidcgatetest.Client{ID: "rp", Secret: "a secret", RedirectURLs: []string{w.base + "/auth/callback/house"}})
		bob := w.logIn("bob", "Bob's phone")
		bobs := w.list()["Bob's phone"]
		phone, desk, tablet := w.logIn("ann", "phone"), w.logIn("ann", "desk"), w.logIn("ann", "tablet")

		sessions := w.list()
		if len(sessions) != 3 {
			t.Fatalf("got sessions %v, want phone, desk and tablet", sessions)
		}
		for label, s := range sessions {
			if s.Current != (label == "tablet") || s.Provider != "house" || s.ID == "" || time.Since(s.Created).Abs() > time.Hour {
				t.Errorf("got session %+v for %s", s, label)
			}
		}
		w.wants(w.post("/sessions/end?id="+url.QueryEscape(bobs.ID)), http.StatusNotFound, "no session of yours")
		w.wants(w.post("/sessions/end?id=unknown"), http.StatusNotFound, "no session of yours")
		w.wants(w.post("/sessions/end?id="+url.QueryEscape(sessions["desk"].ID)), http.StatusNoContent, "")
		w.wantSignedIn(map[*http.Client]bool{bob: true, phone: true, desk: false, tablet: true})

		w.browser = tablet
		w.wants(w.post("/sessions/end-others"), http.StatusOK, `{"ended":1}`)
		w.wantSignedIn(map[*http.Client]bool{bob: true, phone: false, tablet: true})
		w.browser = tablet
		w.wants(w.post("/sessions/end?id="+url.QueryEscape(sessions["tablet"].ID)), http.StatusNoContent, "")
		w.wantSignedIn(map[*http.Client]bool{bob: true, tablet: false})
	})
}

func TestC114AllSessionsOfAUserAreEnded(t *testing.T) {
	eachRouter(t, func(t *testing.T, router string) {
		w := start(t, map[string]string{"ROUTER": router})
		bob, phone, desk := w.logIn("bob", "Bob's phone"), w.logIn("ann", "phone"), w.logIn("ann", "desk")
		sid := read[whoamiAnswer](w, w.get("/me")).SessionID

		w.browser = new(http.Client)
		of := func(name, value string) string {
			return "/sessions/end-user?" + url.Values{"iss": {w.op.Issuer()}, name: {value}}.Encode()
		}
		w.wants(w.post(of("sid", sid)), http.StatusOK, `{"ended":1}`)
		w.wantSignedIn(map[*http.Client]bool{bob: true, phone: true, desk: false})
		w.wants(w.post(of("sub", "ann")), http.StatusOK, `{"ended":1}`)
		w.wantSignedIn(map[*http.Client]bool{bob: true, phone: false})
		w.wants(w.post(of("sub", "nobody")), http.StatusOK, `{"ended":0}`)
		w.wants(w.post(of("name", "ann")), http.StatusBadRequest, "sub=SUBJECT or sid=SESSION")
		w.wants(w.post(of("sub", "ann")+"&sid="+sid), http.StatusBadRequest, "sub=SUBJECT or sid=SESSION")
		w.wants(w.post("/sessions/end-user?sub=ann"), http.StatusBadRequest, "iss=ISSUER")
	})
}

func TestOnlyThisMachineEndsTheSessionsOfAUser(t *testing.T) {
	for _, row := range []struct {
		remote string
		want   bool
	}{
		{"127.0.0.1:4711", true},
		{"[::1]:4711", true},
		{"[::ffff:127.0.0.1]:4711", true},
		{"192.0.2.1:4711", false},
		{"[2001:db8::1]:4711", false},
		{"@", false},
		{"", false},
	} {
		if got := fromThisMachine(&http.Request{RemoteAddr: row.remote}); got != row.want {
			t.Errorf("a request from %q: got %t, want %t", row.remote, got, row.want)
		}
	}
}

func TestWhoMayNotEndSessions(t *testing.T) {
	eachRouter(t, func(t *testing.T, router string) {
		w := start(t, map[string]string{"ROUTER": router})
		w.wants(w.get("/sessions"), http.StatusUnauthorized, "no session")
		w.wants(w.post("/sessions/end?id=x"), http.StatusUnauthorized, "not signed in")
		w.wants(w.post("/sessions/end-others"), http.StatusUnauthorized, "no session")
		ann := w.logIn("ann", "phone")
		for _, path := range []string{"/sessions/end?id=" + url.QueryEscape(w.list()["phone"].ID), "/sessions/end-others", "/sessions/end-user?iss=" + w.op.Issuer() + "&sub=ann"} {
			get := w.get(path)
			w.wants(get, http.StatusMethodNotAllowed, "POST")
			if got := get.Header.Get("Allow"); got != "POST" {
				t.Errorf("%s: got Allow %q, want POST", path, got)
			}
			foreign := w.request(http.MethodPost, path)
			foreign.Header.Set("Sec-Fetch-Site", "cross-site")
			w.wants(w.do(foreign), http.StatusForbidden, "")
		}
		w.wantSignedIn(map[*http.Client]bool{ann: true})
	})
}

func TestSessionsWhenTheStoreIsIll(t *testing.T) {
	server := redistest.Start(t)
	w := start(t, map[string]string{"REDIS_URL": "redis://" + server.Addr})
	w.logIn("ann", "phone")
	server.Stop()
	for _, a := range []answer{
		w.get("/sessions"), w.post("/sessions/end?id=x"), w.post("/sessions/end-others"),
		w.post("/sessions/end-user?iss=" + w.op.Issuer() + "&sub=ann"),
	} {
		w.wants(a, http.StatusServiceUnavailable, "unavailable")
		if a.Header.Get("Retry-After") == "" {
			t.Errorf("%s: 503 without Retry-After", a.Request.URL)
		}
	}
}

// tokensThat is a fault that changes the provider's token responses.
func tokensThat(have map[string]any, without ...string) oidcgatetest.Fault {
	return oidcgatetest.EditJSON(func(members map[string]any) {
		maps.Copy(members, have)
		for _, name := range without {
			delete(members, name)
		}
	})
}

// atOnce is a duration so short that it is over after awhile.
const atOnce = "1ms"

func awhile() { time.Sleep(10 * time.Millisecond) }

func TestTokenIsRefreshedWhenItsTimeIsOver(t *testing.T) {
	w := start(t, map[string]string{"TOKEN_LIFETIME": atOnce})
	w.op.Always(oidcgatetest.Token, tokensThat(nil, "expires_in"))
	w.get("/app")
	awhile()
	first := w.get("/token")
	awhile()
	second := w.get("/token")
	w.wants(first, http.StatusOK, `{"sha256":"`)
	w.wants(second, http.StatusOK, `{"sha256":"`)
	if first.body != second.body {
		t.Errorf("a token that is new was refreshed again: %s, %s", first.body, second.body)
	}
	if n := w.op.Count(oidcgatetest.Token); n != 2 {
		t.Errorf("the provider was asked for tokens %d times, want once at login and once for /token", n)
	}
}

func TestTokenThatCannotBeRefreshed(t *testing.T) {
	const refused = `{"error":"invalid_grant"}`
	for _, row := range []struct {
		name    string
		without string // of the tokens at login
		fault   oidcgatetest.Fault
		status  int
		part    string
		me      int // status of /me afterwards
	}{
		{"without a refresh token", "refresh_token", nil, 401, "expired", 200},
		{"refused by the provider", "", oidcgatetest.Answer(400, "application/json", refused), 401, "no session", 401},
		{"with the provider down", "", oidcgatetest.Answer(500, "", ""), 503, "provider", 200},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := start(t, map[string]string{"TOKEN_LIFETIME": atOnce})
			w.op.Inject(oidcgatetest.Token, tokensThat(nil, "expires_in", row.without))
			w.get("/app")
			awhile()
			if row.fault != nil {
				w.op.Always(oidcgatetest.Token, row.fault)
			}
			a := w.get("/token")
			w.wants(a, row.status, row.part)
			if got := a.Header.Get("Retry-After") != ""; got != (row.status == http.StatusServiceUnavailable) {
				t.Errorf("%d with Retry-After: %t", a.StatusCode, got)
			}
			w.wants(w.get("/me"), row.me, "")
		})
	}
}

func TestC085TheSessionEndsWithItsTokenWhereThatIsWanted(t *testing.T) {
	for end, status := range map[string]int{"true": http.StatusUnauthorized, "false": http.StatusOK} {
		w := start(t, map[string]string{"END_WITH_TOKEN": end, "TOKEN_LIFETIME": atOnce})
		w.op.Always(oidcgatetest.Token, tokensThat(nil, "expires_in", "refresh_token"))
		w.get("/auth/login?return_to=/public")
		awhile()
		w.wants(w.get("/me"), status, "")
	}
}

func TestC113AGroupThatIsTakenAwayIsMissedAtTheNextRequest(t *testing.T) {
	w := start(t, map[string]string{"REREAD_CLAIMS": atOnce, "OIDC_USERINFO": "on", "GROUPS_PREFIX": "ad"})
	w.wants(w.get("/admin"), http.StatusOK, "hello Ann")
	label := read[[]sessionAnswer](w, w.get("/sessions"))[0].Label
	w.op.SetUser(oidcgatetest.User{Subject: "ann", Claims: map[string]any{"groups": []string{"staff"}}})
	awhile()
	w.wants(w.get("/admin"), http.StatusForbidden, "not for your account")
	if got := read[[]sessionAnswer](w, w.get("/sessions"))[0].Label; got != label || got == "" {
		t.Errorf("got label %q after the claims were read again, want %q", got, label)
	}
}

func TestOptionsOfTokens(t *testing.T) {
	o, err := readOptions([]string{"-refresh-margin", "2s", "-lock-lease", "3s", "-reread-claims", "4s", "-token-lifetime", "5s", "-end-with-token", "true"},
		func(string) string { return "" }, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	c := o.config
	got := []time.Duration{c.Tokens.RefreshMargin, c.Tokens.LockLease, c.Tokens.ClaimsMaxAge, c.Tokens.Lifetime}
	for i, want := range []time.Duration{2, 3, 4, 5} {
		if got[i] != want*time.Second {
			t.Errorf("got %v, want 2s, 3s, 4s and 5s", got)
		}
	}
	if !c.Tokens.EndWithAccessToken {
		t.Error("END_WITH_TOKEN is true, but Tokens.EndWithAccessToken is not set")
	}
}
