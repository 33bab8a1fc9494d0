package oidcgate_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
	"github.com/oidcgate/oidcgate/store"
)

func TestEdgesOfConfiguration(t *testing.T) {
	type C = *oidcgate.Config
	type P = *oidcgate.Provider
	for _, row := range []struct {
		name   string
		change func(C, P)
		field  string // of the one fault; "": none
	}{
		{"a lease of three seconds", func(c C, _ P) { c.Tokens.LockLease = 3 * time.Second }, ""},
		{"a lease just below three seconds", func(c C, _ P) { c.Tokens.LockLease = 3*time.Second - 1 }, "Tokens.LockLease"},
		{"a lease of a millisecond", func(c C, _ P) { c.Tokens.LockLease = time.Millisecond }, "Tokens.LockLease"},
		{"a lease of nanoseconds is one fault", func(c C, _ P) { c.Tokens.LockLease = 15 }, "Tokens.LockLease"},
		{"watching every second", func(c C, _ P) { c.Limits.WatchInterval = time.Second }, ""},
		{"watching too often", func(c C, _ P) { c.Limits.WatchInterval = time.Second - 1 }, "Limits.WatchInterval"},
		{"watching every millisecond", func(c C, _ P) { c.Limits.WatchInterval = time.Millisecond }, "Limits.WatchInterval"},
		{"watching without a unit is one fault", func(c C, _ P) { c.Limits.WatchInterval = 15 }, "Limits.WatchInterval"},
		{"a scope with every sign that may be there", func(_ C, p P) { p.Scopes = []string{"!#[]~a:/.b"} }, ""},
		{"a scope with a quote", func(_ C, p P) { p.Scopes = []string{`a"b`} }, "Provider.Scopes"},
		{"a scope with a backslash", func(_ C, p P) { p.Scopes = []string{`a\b`} }, "Provider.Scopes"},
		{"a scope with a tab", func(_ C, p P) { p.Scopes = []string{"a\tb"} }, "Provider.Scopes"},
		{"a scope with DEL", func(_ C, p P) { p.Scopes = []string{"a\x7f"} }, "Provider.Scopes"},
		{"an empty scope", func(_ C, p P) { p.Scopes = []string{""} }, "Provider.Scopes"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, p := goodConfig(t)
			row.change(&c, &p)
			_, err := oidcgate.New(c, p)
			if (err == nil) != (row.field == "") || err != nil && strings.Contains(err.Error(), "\n") {
				t.Fatalf("New: %v", err)
			}
			if fault, ok := errors.AsType[*oidcgate.ConfigError](err); ok && fault.Field != row.field {
				t.Errorf("the fault is %v, want one of %s", err, row.field)
			}
		})
	}
	t.Run("of several providers, the fault of one without a name has its number", func(t *testing.T) {
		c, p := goodConfig(t)
		nameless, named := p, p
		nameless.ClientID, named.Name, named.ClientID = "", "staff", ""
		_, err := oidcgate.New(c, nameless, named)
		for _, field := range []string{"Provider[0].ClientID", "Provider[staff].ClientID"} {
			if err == nil || !strings.Contains(err.Error(), "oidcgate: "+field+": ") {
				t.Errorf("%s is not reported in\n%v", field, err)
			}
		}
	})
	t.Run("C117 that nothing ends the provider's session is logged where nothing is discovered", func(t *testing.T) {
		for _, end := range []string{"", "https://id.test/logout"} {
			w := newWorld(t, func(_ *oidcgate.Config, p *oidcgate.Provider) {
				p.Endpoints = oidcgate.Endpoints{
					Authorization: "https://id.test/a", Token: "https://id.test/t", JWKS: "https://id.test/j",
					Userinfo: "https://id.test/u", EndSession: end,
				}
			})
			if logged := strings.Contains(w.logged(), "Endpoints.EndSession is not set"); logged != (end == "") {
				t.Errorf("with %q the log is\n%s", end, w.logged())
			}
		}
		if w := newWorld(t); strings.Contains(w.logged(), "Endpoints.EndSession is not set") {
			t.Errorf("before discovery the log is\n%s", w.logged())
		}
		if w := newPlain(t, gitHubLike(), "/id"); strings.Contains(w.logged(), "Endpoints.EndSession is not set") {
			t.Errorf("at a provider that has no logout the log is\n%s", w.logged())
		}
	})
}

func TestErrorTexts(t *testing.T) {
	cause := errors.New("the cause")
	for _, row := range []struct {
		err  error
		want string
	}{
		{&oidcgate.LoginError{Reason: "nonce"}, "oidcgate: login refused: nonce"},
		{&oidcgate.LoginError{Reason: "nonce", Err: cause}, "oidcgate: login refused: nonce: the cause"},
	} {
		if got := row.err.Error(); got != row.want {
			t.Errorf("%q, want %q", got, row.want)
		}
	}
}

func TestEdgesOfAnIdentity(t *testing.T) {
	for _, row := range []struct{ issuer, subject string }{{"", "alice"}, {"https://id.test", ""}, {"", ""}} {
		if id, err := oidcgate.NewIdentity(row.issuer, row.subject, nil); err == nil {
			t.Errorf("C066 %q and %q make the identity %v", row.issuer, row.subject, id)
		}
	}
	for address, want := range map[string]bool{
		"a@corp.example": true, "!~@corp.example": true, "a b@corp.example": false, "a\t@corp.example": false,
		" a@corp.example": false, "a@corp.example ": false, "a\x7f@corp.example": false, "é@corp.example": false,
		"@corp.example": false, "a@": false, "a": false, "a@b@corp.example": false, "": false,
	} {
		id, err := oidcgate.NewIdentity("https://id.test", "alice", map[string]any{"email": address, "email_verified": true})
		if err != nil {
			t.Fatal(err)
		}
		if _, verified := id.Email(); verified != want {
			t.Errorf("C073 %q is verified: %v", address, verified)
		}
	}
}

func TestSetReplacesAClaimOfTheProvider(t *testing.T) {
	var groups []string
	for range 3000 {
		groups = append(groups, "a group with a long name")
	}
	const all = "all"
	inBubble(t, "F38 three thousand groups are replaced by one", func(t *testing.T) {
		w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.OnLogin = func(_ context.Context, l *oidcgate.Login) error { return l.Set("groups", all) }
		})
		w.op.EveryIDToken(func(j *oidcgatetest.JWT) { j.Claims["groups"] = groups })
		w.login()
		if w.subject() != "alice" {
			t.Errorf("signed in as %q", w.subject())
		}
	})
	t.Run("C079 what the application set is not from userinfo", func(t *testing.T) {
		id, err := oidcgate.NewIdentity("https://id.test", "alice", map[string]any{"groups": groups})
		if err != nil {
			t.Fatal(err)
		}
		l := oidcgate.NewLogin(id, "/")
		if err := l.Set("groups", all); err != nil {
			t.Fatal(err)
		}
		got, _ := l.Identity().ClaimString("groups")
		if got != all || l.Identity().FromUserinfo("groups") {
			t.Errorf("groups %q, from userinfo: %v", got, l.Identity().FromUserinfo("groups"))
		}
	})
}

// deaf is a browser that has left: nothing can be sent to it.
type deaf struct{ http.ResponseWriter }

func (deaf) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestAnswersThatCannotBeSent(t *testing.T) {
	a := newAPI(t)
	for _, path := range []string{"/auth/logout", "/api"} {
		if a.get(path); strings.Contains(a.logged(), "writing an answer") {
			t.Errorf("%s is answered, and the log says\n%s", path, a.logged())
		}
	}
	for name, r := range map[string]*http.Request{
		"a page":                httptest.NewRequest("GET", "/auth/logout", nil),
		"a refusal of a guard":  httptest.NewRequest("POST", "/app", nil),
		"a refusal of a token":  httptest.NewRequest("GET", "/api", nil),
		"a problem for scripts": httptest.NewRequest("PUT", "/auth/logout", nil),
	} {
		t.Run("F34 "+name+" is noted in the log", func(t *testing.T) {
			before := strings.Count(a.logged(), "broken pipe")
			a.handler.ServeHTTP(deaf{httptest.NewRecorder()}, r)
			if n := strings.Count(a.logged(), "broken pipe") - before; n != 1 {
				t.Errorf("the log says so %d times", n)
			}
		})
	}
}

func TestLogoutPageWhileTheStoreIsDown(t *testing.T) {
	t.Run("C116 F15 it asks, because the visitor may be signed in", func(t *testing.T) {
		w := newWorld(t)
		w.login()
		w.config.Store = downStore{w.store}
		w.open(oidcgate.Provider{Issuer: w.op.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)})
		if a := w.get("/auth/logout"); !strings.Contains(a.body, "Do you want to log out?") || len(a.Cookies()) != 0 {
			t.Errorf("%d, cookies %v\n%s", a.StatusCode, a.Cookies(), a.body)
		}
	})
}

func TestPagesForVisitors(t *testing.T) {
	inBubble(t, "C116 the logout page of a visitor asks nothing, and forgets a cookie without a session", func(t *testing.T) {
		w := newWorld(t)
		w.login()
		for range 2 { // with a session, and when it was ended elsewhere
			a := w.get("/auth/logout")
			asks := strings.Contains(a.body, "Do you want to log out?")
			signedIn := w.subject() == "alice"
			if a.StatusCode != http.StatusOK || asks != signedIn {
				t.Errorf("signed in: %v, status %d\n%s", signedIn, a.StatusCode, a.body)
			}
			if !signedIn {
				continue
			}
			if _, err := w.gate.Sessions().EndUser(t.Context(), w.op.Issuer(), "alice"); err != nil {
				t.Fatal(err)
			}
		}
	})
	inBubble(t, "C116 the logout page deletes a cookie whose session is gone", func(t *testing.T) {
		w := newWorld(t)
		w.login()
		if _, err := w.gate.Sessions().EndUser(t.Context(), w.op.Issuer(), "alice"); err != nil {
			t.Fatal(err)
		}
		a := w.get("/auth/logout")
		deleted := slices.ContainsFunc(a.Cookies(), func(c *http.Cookie) bool {
			return c.Name == "__Host-Http-oidcgate" && c.MaxAge < 0
		})
		if !deleted || strings.Contains(a.body, "Do you want to log out?") {
			t.Errorf("cookies %v\n%s", a.Cookies(), a.body)
		}
	})
	t.Run("C110 a script without a session is asked to log in, and not for a stronger login", func(t *testing.T) {
		w := newWorld(t)
		a := w.get("/app", "Sec-Fetch-Mode: cors", "Accept: application/json")
		if a.StatusCode != http.StatusUnauthorized || !strings.Contains(a.body, `"Login required"`) ||
			strings.Contains(a.body, "stronger") {
			t.Errorf("status %d\n%s", a.StatusCode, a.body)
		}
	})
	t.Run("a Page that sets no type is HTML, whatever it writes", func(t *testing.T) {
		w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.Page = func(rw http.ResponseWriter, _ *http.Request, p oidcgate.Page) bool {
				rw.WriteHeader(p.Status)
				_, _ = io.WriteString(rw, "sorry")
				return true
			}
		})
		a := w.get("/auth/callback?state=x&code=y", "Sec-Fetch-Mode: navigate")
		if got := a.Header.Get("Content-Type"); a.body != "sorry" || got != "text/html; charset=utf-8" {
			t.Errorf("the page %q has the type %q", a.body, got)
		}
	})
	inBubble(t, "C120 the provider's origin stands once in the policy of its frame", func(t *testing.T) {
		w := newWorld(t)
		w.login()
		a := w.get("/auth/frontchannel-logout?iss="+url.QueryEscape(w.op.Issuer())+"&sid=x", "Sec-Fetch-Dest: iframe")
		if csp := a.Header.Get("Content-Security-Policy"); !strings.HasSuffix(csp, "frame-ancestors "+w.op.Issuer()) {
			t.Errorf("the policy is %q", csp)
		}
	})
}

// deadlines is a ResponseWriter that notes the deadlines that are set for reading.
type deadlines struct {
	*httptest.ResponseRecorder
	set []time.Time
}

// SetReadDeadline is what [http.ResponseController] calls.
func (d *deadlines) SetReadDeadline(at time.Time) error {
	d.set = append(d.set, at)
	return nil
}

func TestDeadlineOfAForm(t *testing.T) {
	w := newWorld(t)
	for _, target := range []string{"/auth/logout", "/auth/backchannel-logout"} {
		r := httptest.NewRequest("POST", shopURL+target, strings.NewReader("logout_token=x&return_to=%2F"))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		d := &deadlines{ResponseRecorder: httptest.NewRecorder()}
		w.handler.ServeHTTP(d, r)
		if len(d.set) != 2 || d.set[0].IsZero() || !d.set[1].IsZero() {
			t.Errorf("F35 %s: the deadlines are %v, want one and none", target, d.set)
		}
	}
}

// downStore fails all reads.
type downStore struct{ store.Store }

// Get implements [store.Store].
func (downStore) Get(context.Context, string) ([]byte, error) { return nil, errors.New("down") }

func TestEventsOfEdges(t *testing.T) {
	inBubble(t, "F16 an outage of the store is told once a second", func(t *testing.T) {
		w := newWorld(t)
		w.login()
		w.config.Store = downStore{w.store}
		w.open(oidcgate.Provider{Issuer: w.op.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)})
		time.Sleep(time.Second)
		for range 3 {
			w.get("/whoami")
		}
		time.Sleep(time.Second)
		w.get("/whoami")
		told := w.eventsOf(oidcgate.EventStoreUnavailable)
		if len(told) != 2 || told[0].Hint == "" || !strings.Contains(told[0].Detail, "down") {
			t.Errorf("told %+v", told)
		}
	})
	for name, row := range map[string]struct{ contentType, form, detail string }{
		"C121 no form":         {"text/plain", "logout_token=x", "not a form"},
		"C121 a broken form":   {"application/x-www-form-urlencoded", "logout_token=%zz", "cannot be read"},
		"C121 no logout token": {"application/x-www-form-urlencoded", "x=y", "0 logout tokens"},
		"C121 two":             {"application/x-www-form-urlencoded", "logout_token=x&logout_token=x", "2 logout tokens"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a := w.send(w.newBrowser(), http.MethodPost, "/auth/backchannel-logout", row.form, "Content-Type: "+row.contentType)
			told := w.eventsOf(oidcgate.EventBackchannelRejected)
			if a.StatusCode != http.StatusBadRequest || len(told) != 1 || !strings.Contains(told[0].Detail, row.detail) {
				t.Errorf("status %d, told %+v", a.StatusCode, told)
			}
		})
	}
}
