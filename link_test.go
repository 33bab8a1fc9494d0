package oidcgate_test

import (
	"context"
	"crypto/rand"
	"errors"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
	"github.com/oidcgate/oidcgate/store"
)

// linked is a world with two providers, in which users may link accounts.
type linked struct {
	*world
	staff  *oidcgatetest.Provider
	asked  []*oidcgate.Linking
	decide func() error // nil: OnLink agrees

	options []oidcgate.LoginOptions // of the addresses
}

func newLinked(t *testing.T, changes ...func(*oidcgate.Config)) *linked {
	t.Helper()
	l := &linked{}
	l.world, l.staff = severalProviders(t, append(changes, func(c *oidcgate.Config) {
		c.OnLink = func(_ context.Context, linking *oidcgate.Linking) error {
			l.asked = append(l.asked, linking)
			if l.decide != nil {
				return l.decide()
			}
			return nil
		}
	})...)
	l.serve()
	return l
}

// visitAndLeave visits an address with a request that ends when *leave is called, which it sets.
func (l *linked) visitAndLeave(address string, leave *func()) context.Context {
	ctx, cancel := context.WithCancel(l.Context())
	l.Cleanup(cancel)
	*leave = cancel
	r := httptest.NewRequest(http.MethodGet, address, nil).WithContext(ctx)
	for _, c := range l.browser.Jar.Cookies(&url.URL{Scheme: "https", Host: "shop.test", Path: "/"}) {
		r.AddCookie(c)
	}
	l.handler.ServeHTTP(httptest.NewRecorder(), r)
	return ctx
}

// serve puts before the gate's handler what gives out addresses of linkings.
func (l *linked) serve() {
	inner := l.handler
	l.handler = l.gate.Wrap(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/link" {
			inner.ServeHTTP(rw, r)
			return
		}
		address, err := l.gate.LinkURL(r.Context(), r.FormValue("provider"), "/settings", l.options...)
		if err != nil {
			http.Error(rw, err.Error(), http.StatusConflict)
			return
		}
		http.Redirect(rw, r, address, http.StatusSeeOther)
	}))
}

// leavingStore ends the browser's request when a tombstone is read, and then fails as Redis does.
type leavingStore struct {
	store.Store
	leave func()
}

func (s *leavingStore) Get(ctx context.Context, key string) ([]byte, error) {
	if strings.HasPrefix(key, "E:") && s.leave != nil {
		s.leave()
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return s.Store.Get(ctx, key)
}

// leavingTransport ends the browser's request when an answer of the token endpoint has been read.
type leavingTransport struct {
	http.RoundTripper
	leave func()
}

func (l *leavingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	a, err := l.RoundTripper.RoundTrip(r)
	if err == nil && r.Method == http.MethodPost {
		a.Body = &leavingBody{a.Body, l.leave}
	}
	return a, err
}

type leavingBody struct {
	io.ReadCloser
	leave func()
}

func (b *leavingBody) Close() error { b.leave(); return b.ReadCloser.Close() }

// signIn logs alice in at the first provider.
func (l *linked) signIn() { l.get(l.get(l.get("/auth/login?provider=.").location()).location()) }

// address returns the address at which the visitor's session links an account.
func (l *linked) address() string { return l.get("/link?provider=staff").location() }

// anotherBrowser goes on in a browser without cookies.
func (l *linked) anotherBrowser() {
	transport := l.browser.Transport
	l.browser = l.newBrowser()
	l.browser.Transport = transport
}

// cookie returns the value of the session's cookie.
func (l *linked) cookie() string {
	for _, c := range l.browser.Jar.Cookies(&url.URL{Scheme: "https", Host: "shop.test", Path: "/"}) {
		if c.Name == "__Host-Http-oidcgate" {
			return c.Value
		}
	}
	return ""
}

// wantAlone checks that the application was not asked, or refused, and that alice stays.
func (l *linked) wantAlone(asked int) {
	l.Helper()
	if got := l.subject(); got != "alice" || len(l.asked) != asked {
		l.Errorf("signed in: %q, OnLink asked %d times; want alice and %d", got, len(l.asked), asked)
	}
}

func TestLinking(t *testing.T) {
	t.Run("C047 a signed-in user attaches an identity, and the session stays the first's", func(t *testing.T) {
		l := newLinked(t)
		l.signIn()
		before := l.cookie()
		end := l.get(l.get(l.get(l.address()).location()).location())
		if end.location() != shopURL+"/settings" {
			t.Fatalf("the linking ends with %d at %q\n%s", end.StatusCode, end.location(), end.body)
		}
		l.wantAlone(1)
		linking := l.asked[0]
		if linking.First().Issuer() != l.op.Issuer() || linking.First().Subject() != "alice" ||
			linking.Second().Issuer() != l.staff.Issuer() || linking.Second().Subject() != "bob" {
			t.Errorf("OnLink got %v and %v", linking.First(), linking.Second())
		}
		if l.cookie() != before || before == "" {
			t.Error("the session has another cookie")
		}
		events := l.eventsOf(oidcgate.EventAccountLinked)
		first, second := l.gate.SubjectHash(linking.First()), l.gate.SubjectHash(linking.Second())
		if len(events) != 1 {
			t.Fatalf("events %+v", events)
		}
		e := events[0]
		if e.Provider != "staff" || e.Issuer != l.staff.Issuer() || e.SubjectHash != second || e.LinkedTo != first || first == second {
			t.Errorf("%+v, want bob %s at the provider staff, linked to alice %s", e, second, first)
		}
		if log := l.logged(); !strings.Contains(log, `"sub_hash":"`+second+`"`) || !strings.Contains(log, `"linked_to":"`+first+`"`) {
			t.Errorf("the log says %s", log)
		}
		if n := len(l.eventsOf(oidcgate.EventSessionCreated)); n != 1 {
			t.Errorf("%d sessions began", n)
		}
		if body := l.get("/auth/login").body; strings.Index(body, ">id.test<") > strings.Index(body, ">staff<") || !strings.Contains(body, "used last time") {
			t.Errorf("the provider of the linking counts as used last:\n%s", body)
		}
	})
	t.Run("C047 a link of another site begins no linking, though the service redirects to the address", func(t *testing.T) {
		l := newLinked(t)
		l.signIn()
		a := l.get(l.address(), "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate")
		if a.StatusCode != http.StatusSeeOther || a.location() != shopURL+"/settings" {
			t.Errorf("status %d, to %q", a.StatusCode, a.location())
		}
	})
	t.Run("C030 C047 the response is opened twice: the second time says that the visitor stays signed in", func(t *testing.T) {
		l := newLinked(t)
		l.signIn()
		back := l.get(l.get(l.address()).location()).location()
		l.get(back)
		a := l.get(back)
		l.denied(a, http.StatusBadRequest, oidcgate.ReasonUnknownState)
		if !strings.Contains(a.body, "You are still signed in as before") || strings.Contains(a.body, "Log in again") {
			t.Errorf("the page says\n%s", a.body)
		}
		l.wantAlone(1)
	})
	t.Run("F33 a browser that leaves meanwhile is no fault of the store", func(t *testing.T) {
		leaves := &leavingStore{}
		l := newLinked(t, func(c *oidcgate.Config) { leaves.Store, c.Store = c.Store, leaves })
		l.signIn()
		back := l.get(l.get(l.address()).location()).location()
		l.visitAndLeave(back, &leaves.leave)
		if failed, ill := l.eventsOf(oidcgate.EventLoginFailed), l.eventsOf(oidcgate.EventStoreUnavailable); len(failed)+len(ill) != 0 || len(l.asked) != 1 {
			t.Errorf("events %+v and %+v, OnLink was asked %d times", failed, ill, len(l.asked))
		}
	})
	t.Run("F33 a browser that leaves before the application is asked links nothing", func(t *testing.T) {
		leaves := &leavingTransport{leave: func() {}}
		l := newLinked(t, func(c *oidcgate.Config) { leaves.RoundTripper, c.HTTP.Transport = c.HTTP.Transport, leaves })
		l.signIn()
		l.get(l.get(l.get(l.address()).location()).location()) // from here on the keys are known
		asked := len(l.asked)
		back := l.get(l.get(l.address()).location()).location()
		ctx := l.visitAndLeave(back, &leaves.leave)
		if ctx.Err() == nil || len(l.asked) != asked {
			t.Errorf("OnLink was asked %d times, %v", len(l.asked)-asked, ctx.Err())
		}
	})
	t.Run("C022 linkings that are over leave room for logins", func(t *testing.T) {
		for _, denies := range []bool{false, true} {
			l := newLinked(t)
			l.signIn()
			if denies {
				l.decide = func() error { return oidcgate.Deny("no") }
			}
			for range 9 {
				l.get(l.get(l.get(l.address()).location()).location())
			}
			l.send(l.browser, "POST", "/auth/logout", "", "Sec-Fetch-Site: same-origin")
			elsewhere := []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"}
			l.get(l.get(l.get("/auth/login?provider=.", elsewhere...).location(), elsewhere...).location(), elsewhere...)
			if got := l.subject(); got != "alice" {
				t.Errorf("denied: %v: signed in is %q", denies, got)
			}
		}
	})
	t.Run("C104 a linking goes on at a replica with another first key", func(t *testing.T) {
		const another = "aaaaY1k9L3Gd0W0gKHCSFGJQnQxaBYVtLUgZAv2m3vY="
		l := newLinked(t, func(c *oidcgate.Config) { c.Keys = mustKeys(t, worldKey+","+another) })
		l.signIn()
		back := l.get(l.get(l.address()).location()).location()
		l.config.Keys = mustKeys(t, another+","+worldKey)
		l.open(
			oidcgate.Provider{Issuer: l.op.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)},
			oidcgate.Provider{Name: "staff", Issuer: l.staff.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)},
		)
		l.serve()
		if end := l.get(back); end.location() != shopURL+"/settings" {
			t.Errorf("status %d at %q: %+v", end.StatusCode, end.location(), l.eventsOf(oidcgate.EventLoginFailed))
		}
	})
	t.Run("C047 the session that began it ends while the provider answers", func(t *testing.T) {
		l := newLinked(t)
		l.signIn()
		back := l.get(l.get(l.address()).location()).location()
		l.staff.Always(oidcgatetest.Token, func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if n, err := l.gate.Sessions().EndUser(context.Background(), l.op.Issuer(), "alice"); n != 1 || err != nil {
					t.Errorf("ended %d, %v", n, err)
				}
				next.ServeHTTP(rw, r)
			})
		})
		l.denied(l.get(back), http.StatusForbidden, "link_session")
		if len(l.asked) != 0 {
			t.Errorf("OnLink was asked %d times", len(l.asked))
		}
	})
	t.Run("C047 the application refuses", func(t *testing.T) {
		l := newLinked(t)
		l.signIn()
		l.decide = func() error { return oidcgate.Deny("That account belongs to somebody else.") }
		a := l.get(l.get(l.get(l.address()).location()).location())
		l.denied(a, http.StatusForbidden, oidcgate.ReasonPolicyDenied)
		if !strings.Contains(a.body, "That account belongs to somebody else.") || strings.Contains(a.body, "Log in again") {
			t.Error(a.body)
		}
		l.wantAlone(1)
		second, err := oidcgate.NewIdentity(l.staff.Issuer(), "bob", nil)
		if got := l.eventsOf(oidcgate.EventLoginFailed)[0].SubjectHash; err != nil || got != l.gate.SubjectHash(second) {
			t.Errorf("the event's user is %q, want that of the second identity (%v)", got, err)
		}
	})
	t.Run("OnLink sees the request, without its query", func(t *testing.T) {
		l := newLinked(t)
		l.signIn()
		response := l.get(l.get(l.address()).location()).location()
		l.get(response, "Accept-Language: de")
		l.wantAlone(1)
		r := l.asked[0].Request()
		if r == nil || r.Header.Get("Accept-Language") != "de" || r.URL.RawQuery != "" || len(r.Form) != 0 {
			t.Errorf("%+v", r)
		}
		if r := oidcgate.NewLinking(l.asked[0].First(), l.asked[0].Second()).Request(); r != nil {
			t.Errorf("of NewLinking: %+v", r)
		}
	})
	t.Run("C047 OnLink panics", func(t *testing.T) {
		l := newLinked(t)
		l.signIn()
		l.decide = func() error { panic("no database") }
		l.denied(l.get(l.get(l.get(l.address()).location()).location()), http.StatusInternalServerError, oidcgate.ReasonHookError)
		l.wantAlone(1)
	})
	for name, row := range map[string]struct {
		decide func() error
		detail string
		hint   string
	}{
		"a refusal": {func() error { return oidcgate.Deny("No.") }, "OnLink: denied: No.", ""},
		"an error":  {func() error { return errors.New("no database") }, "OnLink: no database", "correct OnLink, or what it asks"},
		"a panic":   {func() error { panic("no database") }, "OnLink panicked", "correct OnLink, or what it asks"},
	} {
		t.Run("the log says that "+name+" is OnLink's", func(t *testing.T) {
			l := newLinked(t)
			l.signIn()
			l.decide = row.decide
			l.get(l.get(l.get(l.address()).location()).location())
			failed := l.eventsOf(oidcgate.EventLoginFailed)
			if len(failed) != 1 || failed[0].Detail != row.detail || failed[0].Hint != row.hint {
				t.Errorf("%+v, want the detail %q and the hint %q", failed, row.detail, row.hint)
			}
		})
	}
	t.Run("C047 the same identity again attaches nothing", func(t *testing.T) {
		l := newLinked(t)
		l.signIn()
		address := l.get("/link?provider=").location()
		if end := l.get(l.get(l.get(address).location()).location()); end.location() != shopURL+"/settings" {
			t.Errorf("%d to %q", end.StatusCode, end.location())
		}
		l.wantAlone(0)
	})
	for name, between := range map[string]func(l *linked){
		"the visitor has logged out":     func(l *linked) { l.send(l.browser, "POST", "/auth/logout", "", "Sec-Fetch-Site: same-origin") },
		"the visitor has logged in anew": func(l *linked) { l.signIn() },
	} {
		t.Run("C047 "+name+" before the response", func(t *testing.T) {
			l := newLinked(t)
			l.signIn()
			back := l.get(l.get(l.address()).location()).location()
			between(l)
			l.denied(l.get(back), http.StatusForbidden, "link_session")
			if len(l.asked) != 0 || len(l.eventsOf(oidcgate.EventAccountLinked)) != 0 {
				t.Error("OnLink was asked")
			}
		})
		t.Run("C047 "+name+" before the link was opened", func(t *testing.T) {
			l := newLinked(t)
			l.signIn()
			address := l.address()
			between(l)
			l.denied(l.get(address), http.StatusForbidden, "link_session")
		})
	}
	t.Run("C047 the link of another session", func(t *testing.T) {
		l := newLinked(t)
		l.signIn()
		theirs := l.address()
		l.anotherBrowser()
		l.denied(l.get(theirs), http.StatusForbidden, "link_session")
		l.signIn()
		for _, link := range []string{theirs, "/auth/login?link=", "/auth/login?link=x"} {
			if a := l.get(link); a.StatusCode != http.StatusForbidden || a.location() != "" {
				t.Errorf("%s: %d to %q", link, a.StatusCode, a.location())
			}
		}
		l.wantAlone(0)
	})
	t.Run("C047 a linking response in another browser", func(t *testing.T) {
		l := newLinked(t)
		l.signIn()
		back := l.get(l.get(l.address()).location()).location()
		l.anotherBrowser()
		l.signIn()
		l.denied(l.get(back), http.StatusBadRequest, oidcgate.ReasonUnknownState)
		l.wantAlone(0)
	})
	t.Run("C047 the refresh token of the second identity is revoked", func(t *testing.T) {
		l := newLinked(t)
		for _, p := range []*oidcgatetest.Provider{l.op, l.staff} {
			p.Always(oidcgatetest.Discovery, oidcgatetest.EditJSON(func(m map[string]any) { m["revocation_endpoint"] = p.Issuer() + "/revoke" }))
		}
		l.signIn()
		l.get(l.get(l.get(l.address()).location()).location())
		if first, second := l.op.Count(oidcgatetest.Other), l.staff.Count(oidcgatetest.Other); first != 0 || second != 1 {
			t.Errorf("%d revocations at the first provider and %d at the second, want none and one", first, second)
		}
	})
	t.Run("C047 the provider of a link was taken away", func(t *testing.T) {
		l := newLinked(t)
		l.signIn()
		address := l.address()
		first := oidcgate.Provider{Issuer: l.op.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)}
		if err := l.gate.SetProviders(first); err != nil {
			t.Fatal(err)
		}
		a := l.get(address)
		l.denied(a, http.StatusForbidden, "link_expired")
		wantLinks(t, a, "Back to the site "+shopURL+"/settings")
		l.wantAlone(0)
	})
	t.Run("options of Config.LoginOptions that cannot be sent", func(t *testing.T) {
		l := newLinked(t, func(c *oidcgate.Config) {
			c.LoginOptions = func(r *http.Request) oidcgate.LoginOptions {
				if r.URL.Query().Has("link") {
					return oidcgate.LoginOptions{Prompt: "none login"}
				}
				return oidcgate.LoginOptions{}
			}
		})
		l.signIn()
		a := l.get(l.address())
		l.denied(a, http.StatusInternalServerError, "login_options")
		if strings.Contains(a.body, "Log in again") {
			t.Error(a.body)
		}
		l.wantAlone(0)
	})
	t.Run("the login of a linking asks for what LinkURL was given, at the provider that it was given", func(t *testing.T) {
		l := newLinked(t, func(c *oidcgate.Config) {
			c.LoginOptions = func(*http.Request) oidcgate.LoginOptions { return oidcgate.LoginOptions{UILocales: []string{"de"}} }
		})
		l.signIn()
		l.options = []oidcgate.LoginOptions{
			{Prompt: "select_account", Provider: "staff"}, {Prompt: "login", LoginHint: "bob"},
		}
		l.op.SetUser(oidcgatetest.User{Subject: "carol"})
		q := l.authorization(l.get("/link?provider=.").location()).Query()
		if q.Get("prompt") != "select_account" || q.Get("login_hint") != "bob" || q.Get("ui_locales") != "de" {
			t.Errorf("%v", q)
		}
		if end := l.get(l.get(l.get(l.get("/link?provider=.").location()).location()).location()); end.location() != shopURL+"/settings" {
			t.Errorf("%d to %q", end.StatusCode, end.location())
		}
		l.wantAlone(1)
	})
	t.Run("F42 without randomness there is no address", func(t *testing.T) {
		l := newLinked(t)
		l.signIn()
		working := rand.Reader
		rand.Reader = noRandom{}
		a := l.get("/link?provider=staff")
		rand.Reader = working
		if a.StatusCode != http.StatusConflict || !strings.Contains(a.body, "no entropy") {
			t.Errorf("%d %s", a.StatusCode, a.body)
		}
	})
	t.Run("a replica without OnLink says so in the log", func(t *testing.T) {
		l := newLinked(t)
		l.signIn()
		back := l.get(l.get(l.address()).location()).location()
		l.config.OnLink = nil
		l.open(
			oidcgate.Provider{Issuer: l.op.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)},
			oidcgate.Provider{Name: "staff", Issuer: l.staff.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)})
		l.denied(l.get(back), http.StatusInternalServerError, oidcgate.ReasonHookError)
		if !strings.Contains(l.logged(), "Config.OnLink is nil") {
			t.Errorf("the log says\n%s", l.logged())
		}
	})
	t.Run("a provider that is not there, and nobody signed in", func(t *testing.T) {
		l := newLinked(t)
		if a := l.get("/link?provider=staff"); a.StatusCode != http.StatusConflict {
			t.Errorf("nobody signed in: %d", a.StatusCode)
		}
		l.signIn()
		if a := l.get("/link?provider=nowhere"); a.StatusCode != http.StatusConflict || !strings.Contains(a.body, `no provider has the name "nowhere"`) {
			t.Errorf("no such provider: %d %s", a.StatusCode, a.body)
		}
	})
	t.Run("the provider without a name is a dot too, as in LoginOptions", func(t *testing.T) {
		l := newLinked(t)
		l.get(l.get(l.get("/auth/login?provider=staff").location()).location())
		for _, link := range []string{"/link?provider=", "/link?provider=."} {
			if a := l.get(l.get(link).location()); !strings.HasPrefix(a.location(), l.op.Issuer()) {
				t.Errorf("%s: %d to %q", link, a.StatusCode, a.location())
			}
		}
	})
	t.Run("without OnLink there are no addresses", func(t *testing.T) {
		w := newWorld(t)
		defer func() {
			if text, _ := recover().(string); !strings.Contains(text, "Config.OnLink") {
				t.Errorf("panic %q", text)
			}
		}()
		_, _ = w.gate.LinkURL(t.Context(), "", "/")
	})
}

// The claims of the first identity are as guards see them.
func TestLinkingWithClaimsThatAreDue(t *testing.T) {
	for name, left := range map[string]bool{"C047 C113 OnLink sees the claims of today": false, "C047 C113 whoever OnLogin refuses by now links nothing": true} {
		inBubble(t, name, func(t *testing.T) {
			gone := false
			l := newLinked(t, func(c *oidcgate.Config) {
				c.Tokens.ClaimsMaxAge = 5 * time.Minute
				c.OnLogin = func(context.Context, *oidcgate.Login) error {
					if gone {
						return oidcgate.Deny("You have left the company.")
					}
					return nil
				}
			})
			l.op.SetUser(inGroups("admin"))
			l.signIn()
			address := l.address()
			l.op.SetUser(inGroups("staff"))
			gone = left
			time.Sleep(20 * time.Minute)
			end := l.get(l.get(l.get(address).location()).location())
			if left {
				l.denied(end, http.StatusForbidden, "link_session")
				if len(l.asked) != 0 {
					t.Errorf("OnLink was asked %d times", len(l.asked))
				}
				return
			}
			l.wantAlone(1)
			if groups, _ := l.asked[0].First().ClaimStrings("groups"); !slices.Equal(groups, []string{"staff"}) {
				t.Errorf("OnLink sees the groups %q", groups)
			}
		})
	}
}

func TestLinkOfYesterday(t *testing.T) {
	for age, good := range map[time.Duration]bool{11 * time.Hour: true, 13 * time.Hour: false} {
		inBubble(t, "C047 a link works for twelve hours: "+age.String(), func(t *testing.T) {
			l := newLinked(t, func(c *oidcgate.Config) { c.IdleTimeout, c.SessionLifetime = 20*time.Hour, 24*time.Hour })
			l.signIn()
			address := l.address()
			time.Sleep(age)
			a := l.get(address)
			if strings.HasPrefix(a.location(), l.staff.Issuer()) != good {
				t.Errorf("%d to %q", a.StatusCode, a.location())
			}
			if !good {
				l.denied(a, http.StatusForbidden, "link_expired")
				wantLinks(t, a, "Back to the site "+shopURL+"/settings")
				wantWords(t, a, "Not linked", "You are still signed in as before.")
			}
			l.wantAlone(0)
		})
	}
}

// While the store cannot say whose session it is, nothing is linked, and the visitor may try again.
func TestLinkingWhileTheStoreIsIll(t *testing.T) {
	for name, row := range map[string]struct {
		fails string
		after time.Duration // the login
	}{
		"C047 F16 the session cannot be read again":                 {"get s:", 0},
		"C047 C113 F16 claims that are due cannot be saved":         {"swap s:", 20 * time.Minute},
		"C047 C113 F16 claims that are due cannot be read: no lock": {"create l:", 20 * time.Minute},
	} {
		inBubble(t, name, func(t *testing.T) {
			ill := &drill{Store: &store.Memory{}}
			l := newLinked(t, func(c *oidcgate.Config) { c.Store, c.Tokens.ClaimsMaxAge = ill, 5*time.Minute })
			l.signIn()
			address := l.address()
			time.Sleep(row.after)
			back := l.get(l.get(address).location()).location()
			l.staff.Always(oidcgatetest.Token, func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					ill.fail(on(row.fails, errIll), nil)
					next.ServeHTTP(rw, r)
				})
			})
			l.denied(l.get(back), http.StatusServiceUnavailable, oidcgate.ReasonStoreError)
			if len(l.asked) != 0 {
				t.Errorf("OnLink was asked %d times", len(l.asked))
			}
		})
	}
}

// A login in place of a linking would replace the visitor's session by one of the other identity.
func TestNoLoginInPlaceOfALinking(t *testing.T) {
	for _, row := range []struct {
		name   string
		spoil  func(l *linked, ill *drill, back string) (response string)
		status int
		reason oidcgate.Reason
		back   string
	}{
		{"the store is ill", func(_ *linked, ill *drill, back string) string {
			ill.fail(func(string, string) error { return errIll }, nil)
			return back
		}, http.StatusServiceUnavailable, oidcgate.ReasonStoreError, "/settings"},
		{"the store is ill, and the attempt is gone", func(_ *linked, ill *drill, back string) string {
			ill.fail(func(string, string) error { return errIll }, nil)
			return strings.Replace(back, "state=", "state=x", 1)
		}, http.StatusServiceUnavailable, oidcgate.ReasonStoreError, "/"},
		{"the visitor took too long", func(_ *linked, _ *drill, back string) string {
			time.Sleep(11 * time.Minute)
			return back
		}, http.StatusBadRequest, oidcgate.ReasonUnknownState, "/"},
		{"the browser dropped the attempt", func(l *linked, _ *drill, back string) string {
			u, _ := url.Parse(shopURL)
			var gone []*http.Cookie
			for _, name := range l.cookieNames("__Host-Http-oidcgate-a-") {
				gone = append(gone, &http.Cookie{Name: name, Path: "/", Secure: true, MaxAge: -1})
			}
			l.browser.Jar.SetCookies(u, gone)
			return back
		}, http.StatusBadRequest, oidcgate.ReasonUnknownState, "/"},
		{"the response cannot be read", func(_ *linked, _ *drill, back string) string {
			return back + "&state=x"
		}, http.StatusBadRequest, "duplicate_parameter", "/"},
		{"the provider is down", func(l *linked, _ *drill, back string) string {
			l.staff.Always(oidcgatetest.Token, oidcgatetest.Hang())
			return back
		}, http.StatusGatewayTimeout, oidcgate.ReasonTokenEndpointUnreachable, "/settings"},
	} {
		inBubble(t, "C047 "+row.name, func(t *testing.T) {
			ill := &drill{Store: &store.Memory{}}
			l := newLinked(t, func(c *oidcgate.Config) { c.Store = ill })
			l.signIn()
			response := row.spoil(l, ill, l.get(l.get(l.address()).location()).location())
			a := l.get(response)
			l.denied(a, row.status, row.reason)
			wantLinks(t, a, "Back to the site "+shopURL+row.back)
			ill.fail(nil, nil)
			l.wantAlone(0)
		})
	}
	inBubble(t, "C047 F16 the address is opened while the store is ill", func(t *testing.T) {
		ill := &drill{Store: &store.Memory{}}
		l := newLinked(t, func(c *oidcgate.Config) { c.Store = ill })
		l.signIn()
		address := l.address()
		ill.fail(func(string, string) error { return errIll }, nil)
		a := l.get(address)
		l.denied(a, http.StatusServiceUnavailable, oidcgate.ReasonStoreError)
		wantLinks(t, a, "Back to the site "+shopURL+"/settings")
		if a.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		ill.fail(nil, nil)
		l.wantAlone(0)
		if a := l.get(address); !strings.HasPrefix(a.location(), l.staff.Issuer()) {
			t.Errorf("later it leads to %q", a.location())
		}
	})
	t.Run("a login whose response comes while the store is ill can begin again", func(t *testing.T) {
		ill := &drill{Store: &store.Memory{}}
		l := newLinked(t, func(c *oidcgate.Config) { c.Store = ill })
		l.signIn()
		response := l.get(l.get("/auth/login?provider=staff&return_to=/app").location()).location()
		ill.fail(func(string, string) error { return errIll }, nil)
		a := l.get(response)
		l.denied(a, http.StatusServiceUnavailable, oidcgate.ReasonStoreError)
		wantLinks(t, a, "Log in again "+shopURL+"/auth/login?provider=staff&return_to=%2Fapp", "Back to the site "+shopURL+"/")
	})
}

// Who is not signed in as when the linking began can log in so.
func TestPageOfALinkingOfAnotherSession(t *testing.T) {
	login := "Log in " + shopURL + "/auth/login?return_to=%2Fsettings"
	another := "Use another account " + shopURL + "/auth/login?another=1&return_to=%2Fsettings"
	back := "Back to the site " + shopURL + "/settings"
	t.Run("C047 nobody is signed in where the address is opened", func(t *testing.T) {
		l := newLinked(t)
		l.signIn()
		address := l.address()
		l.anotherBrowser()
		wantLinks(t, l.get(address), login)
	})
	t.Run("C047 somebody else is signed in where the address is opened", func(t *testing.T) {
		l := newLinked(t)
		l.signIn()
		address := l.address()
		l.anotherBrowser()
		l.op.SetUser(oidcgatetest.User{Subject: "carol"})
		l.signIn()
		wantLinks(t, l.get(address), back, another)
	})
	t.Run("C047 the session has ended when the response comes", func(t *testing.T) {
		l := newLinked(t)
		l.signIn()
		response := l.get(l.get(l.address()).location()).location()
		l.send(l.browser, "POST", "/auth/logout", "", "Sec-Fetch-Site: same-origin")
		wantLinks(t, l.get(response), login)
	})
	t.Run("C047 the session ends while the provider answers", func(t *testing.T) {
		l := newLinked(t)
		l.signIn()
		response := l.get(l.get(l.address()).location()).location()
		l.staff.Always(oidcgatetest.Token, func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				_, _ = l.gate.Sessions().EndUser(context.Background(), l.op.Issuer(), "alice")
				next.ServeHTTP(rw, r)
			})
		})
		wantLinks(t, l.get(response), login)
	})
	t.Run("C047 somebody else is signed in when the response comes", func(t *testing.T) {
		l := newLinked(t)
		l.signIn()
		response := l.get(l.get(l.address()).location()).location()
		l.op.SetUser(oidcgatetest.User{Subject: "carol"})
		l.signIn()
		wantLinks(t, l.get(response), back, another)
	})
}

// The page of a linking that failed speaks of the linking and not of a login.
func TestWordsOfAFailedLinking(t *testing.T) {
	general := map[string][3]string{
		"en": {"Not linked", "You are still signed in as before.", "Try again shortly."},
		"de": {"Nicht verknüpft", "Sie sind noch angemeldet wie zuvor.", "Versuchen Sie es in Kürze noch einmal."},
		"fr": {"Comptes non associés", "Vous êtes toujours connecté comme avant.", "Réessayez dans quelques instants."},
	}
	passes := []string{"the store is ill", "the provider is down", "the second user was logged out"}
	for language, words := range general {
		for name, spoil := range map[string]func(l *linked, ill *drill, back string) string{
			"OnLink fails": func(l *linked, _ *drill, back string) string {
				l.decide = func() error { return errIll }
				return back
			},
			"the secret is wrong": func(l *linked, _ *drill, back string) string {
				l.staff.Always(oidcgatetest.Token, oidcgatetest.Answer(401, "application/json", `{"error":"invalid_client"}`))
				return back
			},
			"the store is ill": func(_ *linked, ill *drill, back string) string {
				ill.fail(func(string, string) error { return errIll }, nil)
				return back
			},
			"the provider is down": func(l *linked, _ *drill, back string) string {
				l.staff.Always(oidcgatetest.Token, oidcgatetest.Answer(503, "", ""))
				return back
			},
			"the second user was logged out": func(l *linked, _ *drill, back string) string {
				_, _ = l.gate.Sessions().EndUser(l.Context(), l.staff.Issuer(), "bob")
				return back
			},
		} {
			t.Run(name+", in "+language, func(t *testing.T) {
				ill := &drill{Store: &store.Memory{}}
				l := newLinked(t, func(c *oidcgate.Config) { c.Store = ill })
				l.signIn()
				response := spoil(l, ill, l.get(l.get(l.address()).location()).location())
				a := l.get(response, "Accept-Language: "+language)
				wantWords(t, a, words[0], words[1])
				if again := slices.Contains(passes, name); strings.Contains(a.body, words[2]) != again {
					t.Errorf("the page should say %q: %v\n%s", words[2], again, a.body)
				}
			})
		}
	}
	for name, row := range map[string]struct {
		spoil func(l *linked, response string) string
		title string
		text  string
	}{
		"the visitor cancels": {func(_ *linked, response string) string {
			return edited(t, response, failed("error", "access_denied"))
		}, "Login cancelled", "The login was cancelled"},
		"the application refuses": {func(l *linked, response string) string {
			l.decide = func() error { return oidcgate.Deny("That account belongs to somebody else.") }
			return response
		}, "Not linked", "That account belongs to somebody else."},
		"somebody else is signed in by now": {func(l *linked, response string) string {
			l.signIn()
			return response
		}, "Not linked", "You are not signed in as when you began."},
		"the session has ended, and the provider says no": {func(l *linked, response string) string {
			l.send(l.browser, "POST", "/auth/logout", "", "Sec-Fetch-Site: same-origin")
			return edited(t, response, failed("error", "server_error"))
		}, "Not linked", "You are not signed in as when you began."},
		"it is not known that it is a linking": {func(_ *linked, response string) string {
			return response + "&state=x"
		}, "Login failed", "You are still signed in as before."},
		"the attempt is not there": {func(_ *linked, response string) string {
			return edited(t, response, failed("state", strings.Repeat("x", 43)))
		}, "Login failed", "You are still signed in as before."},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLinked(t)
			l.signIn()
			response := row.spoil(l, l.get(l.get(l.address()).location()).location())
			wantWords(t, l.get(response), row.title, row.text)
		})
	}
}

// wantWords checks the title of a page, and a part of its text.
func wantWords(t *testing.T, a answer, title, text string) {
	t.Helper()
	if !strings.Contains(a.body, "<h1>"+title+"</h1>") || !strings.Contains(a.body, text) {
		t.Errorf("status %d, want %q and %q\n%s", a.StatusCode, title, text, a.body[strings.Index(a.body, "<h1>"):])
	}
}

// An operator sees who wanted a linking that failed, and that it was no login.
func TestEventOfAFailedLinking(t *testing.T) {
	const nobody = ""
	for _, row := range []struct {
		name    string
		between func(l *linked)
		user    string // whom linked_to is
		session int    // which of those that were created has session_ref
	}{
		{"the application refuses", func(l *linked) { l.decide = func() error { return oidcgate.Deny("No.") } }, "alice", 0},
		{"the provider says no", func(l *linked) {
			l.staff.Always(oidcgatetest.Token, oidcgatetest.Answer(400, "application/json", `{"error":"invalid_grant"}`))
		}, "alice", 0},
		{"the session has ended", func(l *linked) { l.send(l.browser, "POST", "/auth/logout", "", "Sec-Fetch-Site: same-origin") }, nobody, 0},
		{"somebody else is signed in by now", func(l *linked) {
			l.op.SetUser(oidcgatetest.User{Subject: "carol"})
			l.signIn()
		}, "carol", 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			l := newLinked(t)
			l.signIn()
			back := l.get(l.get(l.address()).location()).location()
			row.between(l)
			l.get(back)
			failed, created := l.eventsOf(oidcgate.EventLoginFailed), l.eventsOf(oidcgate.EventSessionCreated)
			if len(failed) != 1 {
				t.Fatalf("%+v", failed)
			}
			user := nobody
			if row.user != nobody {
				id, _ := oidcgate.NewIdentity(l.op.Issuer(), row.user, nil)
				user = l.gate.SubjectHash(id)
			}
			if e := failed[0]; e.LinkedTo != user || e.SessionRef != created[row.session].SessionRef {
				t.Errorf("%+v, want linked_to %q and the session_ref of %+v", e, user, created[row.session])
			}
		})
	}
}

// Session_ref marks a linking that failed. While the store is ill, who is signed in is not known.
func TestEventOfALinkingWhileTheStoreIsIll(t *testing.T) {
	for name, open := range map[string]func(l *linked) (address string){
		"the address is opened": func(l *linked) string { return l.address() },
		"the response comes":    func(l *linked) string { return l.get(l.get(l.address()).location()).location() },
	} {
		t.Run("C047 "+name, func(t *testing.T) {
			ill := &drill{Store: &store.Memory{}}
			l := newLinked(t, func(c *oidcgate.Config) { c.Store = ill })
			l.signIn()
			address := open(l)
			ill.fail(func(string, string) error { return errIll }, nil)
			l.get(address)
			failed, created := l.eventsOf(oidcgate.EventLoginFailed), l.eventsOf(oidcgate.EventSessionCreated)
			if len(failed) != 1 || failed[0].SessionRef != created[0].SessionRef || failed[0].LinkedTo != "" {
				t.Errorf("%+v, want the session_ref of %+v", failed, created)
			}
		})
	}
}

// wantLinks checks which links a page has, each as its text and its address.
func wantLinks(t *testing.T, a answer, want ...string) {
	t.Helper()
	var got []string
	for _, m := range linkOnPage.FindAllStringSubmatch(a.body, -1) {
		got = append(got, m[2]+" "+html.UnescapeString(m[1]))
	}
	if !slices.Equal(got, want) {
		t.Errorf("the page has the links %q, want %q", got, want)
	}
}

var linkOnPage = regexp.MustCompile(`<a[^>]* href="([^"]*)"[^>]*>([^<]*)`)

// A linking is a login of the second user.
func TestLinkingAfterALogout(t *testing.T) {
	for name, logOut := range map[string]func(*linked) error{
		"C047 C128 an administrator ended the sessions of the second user": func(l *linked) error {
			_, err := l.gate.Sessions().EndUser(context.Background(), l.staff.Issuer(), "bob")
			return err
		},
		"C047 the name passed to another issuer": func(l *linked) error {
			return l.gate.SetProviders(
				oidcgate.Provider{Issuer: l.op.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)},
				oidcgate.Provider{Name: "staff", Issuer: "https://evil.test", ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)})
		},
	} {
		inBubble(t, name, func(t *testing.T) {
			l := newLinked(t)
			l.signIn()
			address := l.address()
			back := l.get(l.get(address).location()).location()
			time.Sleep(2 * time.Second)
			if err := logOut(l); err != nil {
				t.Fatal(err)
			}
			if a := l.get(back); a.StatusCode < 400 || len(l.asked) != 0 {
				t.Errorf("the linking ends with %d, OnLink asked %d times", a.StatusCode, len(l.asked))
			}
			if strings.Contains(name, "issuer") {
				if a := l.get(address); a.StatusCode != http.StatusForbidden {
					t.Errorf("the address leads to %q", a.location())
				}
			}
		})
	}
}

func TestLinkingWithoutTheValues(t *testing.T) {
	t.Run("C107 a session that lost its values at the provider is none, and OnLink is not asked", func(t *testing.T) {
		records := &tap{Store: &store.Memory{}}
		l := newLinked(t, func(c *oidcgate.Config) { c.EnableValues, c.Store = true, records })
		l.signIn()
		l.putValue()
		callback := l.get(l.get(l.address()).location()).location()
		if err := records.Store.Delete(t.Context(), records.record(t, "v:"), nil); err != nil {
			t.Fatal(err)
		}
		l.denied(l.get(callback), http.StatusForbidden, oidcgate.Reason("link_session"))
		if len(l.asked) > 0 {
			t.Error("OnLink was asked")
		}
	})
}
