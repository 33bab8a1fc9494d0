package oidcgate_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// rereads has claims read again every five minutes.
func rereads(c *oidcgate.Config, _ *oidcgate.Provider) { c.Tokens.ClaimsMaxAge = 5 * time.Minute }

// inGroups is alice in some groups, as the ID Token tells, or userinfo alone.
func inGroups(groups ...string) oidcgatetest.User {
	return oidcgatetest.User{Subject: "alice", Claims: map[string]any{"groups": groups}}
}

func inUserinfoGroups(groups ...string) oidcgatetest.User {
	return oidcgatetest.User{Subject: "alice", UserinfoClaims: map[string]any{"groups": groups}}
}

// admin is what the page for administrators answers.
func (f *fleet) admin() int {
	f.Helper()
	return f.get("/admin").StatusCode
}

func TestClaimsAreReadAgain(t *testing.T) {
	for _, row := range []struct {
		name string
		user func(groups ...string) oidcgatetest.User
		more change
	}{
		{"from the ID Token", inGroups, func(*oidcgate.Config, *oidcgate.Provider) {}},
		{"from userinfo", inUserinfoGroups, asksUserinfo},
	} {
		inBubble(t, "C113 a group that is taken away is gone after the interval, "+row.name, func(t *testing.T) {
			f := newFleet(t, 3, rereads, row.more)
			f.op.SetUser(row.user("admin", "staff"))
			f.login()
			if f.admin() != http.StatusOK {
				t.Fatalf("status %d", f.admin())
			}
			f.op.SetUser(row.user("staff"))
			time.Sleep(5*time.Minute - time.Second)
			if status := f.admin(); status != http.StatusOK {
				t.Errorf("status %d before the interval is over", status)
			}
			time.Sleep(2 * time.Second)
			if status := f.admin(); status != http.StatusForbidden {
				t.Errorf("status %d after the interval", status)
			}
			f.op.SetUser(row.user("admin"))
			time.Sleep(5 * time.Minute)
			if status := f.admin(); status != http.StatusOK {
				t.Errorf("status %d after the group was given back", status)
			}
		})
		inBubble(t, "C113 C082 a hundred requests over three replicas read once, "+row.name, func(t *testing.T) {
			f := newFleet(t, 3, rereads, row.more)
			f.op.SetUser(row.user("admin"))
			f.login()
			f.op.SetUser(row.user())
			time.Sleep(6 * time.Minute)
			var wg sync.WaitGroup
			for range 100 {
				wg.Go(func() { f.admin() })
			}
			wg.Wait()
			f.refreshed(1)
			if status := f.admin(); status != http.StatusForbidden {
				t.Errorf("status %d", status)
			}
		})
	}
	inBubble(t, "C113 without RereadClaims claims stay as they were at login", func(t *testing.T) {
		f := newFleet(t, 1)
		f.op.SetUser(inGroups("admin"))
		f.login()
		f.op.SetUser(inGroups())
		time.Sleep(11 * time.Minute)
		f.mustToken()
		if status := f.admin(); status != http.StatusOK {
			t.Errorf("status %d", status)
		}
	})
	inBubble(t, "C113 a name that makes OnLogin fail keeps nobody in a group", func(t *testing.T) {
		f := newFleet(t, 2, func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.Tokens.ClaimsMaxAge = 5 * time.Minute
			c.OnLogin = func(_ context.Context, l *oidcgate.Login) error {
				if name := l.Identity().Name(); len(name) > 40 {
					return errors.New("value too long for type character varying(40)")
				}
				return nil
			}
		}, asksUserinfo)
		say := func(name string, groups ...string) {
			f.op.SetUser(oidcgatetest.User{Subject: "alice", UserinfoClaims: map[string]any{"name": name, "groups": groups}})
		}
		say("Alice", "admin")
		f.login()
		say(strings.Repeat("A", 41))
		var answers []int
		for range 12 {
			time.Sleep(time.Minute)
			answers = append(answers, f.admin())
		}
		if answers[0] != http.StatusOK || answers[11] != http.StatusServiceUnavailable {
			t.Errorf("one a minute: %v", answers)
		}
		say("Alice")
		time.Sleep(time.Minute)
		if status := f.admin(); status != http.StatusForbidden {
			t.Errorf("with a name that fits: %d", status)
		}
	})
	inBubble(t, "C113 a refresh of the tokens reads the claims, too", func(t *testing.T) {
		f := newFleet(t, 1, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Tokens.ClaimsMaxAge = time.Hour })
		f.op.SetUser(inGroups("admin"))
		f.login()
		f.op.SetUser(inGroups())
		time.Sleep(11 * time.Minute)
		f.mustToken()
		if status := f.admin(); status != http.StatusForbidden {
			t.Errorf("status %d", status)
		}
	})
	inBubble(t, "C113 C024 the application sees again which details the provider has granted", func(t *testing.T) {
		const details = `[{"type":"payment"}]`
		var seen []string
		f := newFleet(t, 1, rereads, func(c *oidcgate.Config, p *oidcgate.Provider) {
			p.Request.Login.AuthorizationDetails = details
			c.OnLogin = func(_ context.Context, l *oidcgate.Login) error {
				seen = append(seen, fmt.Sprint(l.IsReread(), l.AuthorizationDetails()))
				return nil
			}
		})
		f.login()
		for range 2 { // the provider does not name them with every token
			time.Sleep(6 * time.Minute)
			f.op.Inject(oidcgatetest.Token, oidcgatetest.EditJSON(func(m map[string]any) { delete(m, "authorization_details") }))
			f.admin()
		}
		if want := []string{"false" + details, "true" + details, "true" + details}; !slices.Equal(seen, want) {
			t.Errorf("OnLogin sees %q, want %q", seen, want)
		}
	})
	inBubble(t, "C113 so it does where ClaimsMaxAge is set later", func(t *testing.T) {
		var provider oidcgate.Provider
		seen := ""
		f := newFleet(t, 1, func(c *oidcgate.Config, p *oidcgate.Provider) {
			p.Request.Login.AuthorizationDetails = `[{"type":"payment"}]`
			c.OnLogin = func(_ context.Context, l *oidcgate.Login) error { seen = l.AuthorizationDetails(); return nil }
			provider = *p
		})
		f.login()
		rereads(&f.config, nil)
		f.openReplicas(1, provider)
		f.op.Always(oidcgatetest.Token, oidcgatetest.EditJSON(func(m map[string]any) { delete(m, "authorization_details") }))
		time.Sleep(6 * time.Minute)
		if seen = "none"; f.admin() == 0 || seen != `[{"type":"payment"}]` {
			t.Errorf("OnLogin sees %s", seen)
		}
	})
	inBubble(t, "C113 claims of userinfo that is asked no more are gone", func(t *testing.T) {
		var provider oidcgate.Provider
		f := newFleet(t, 1, rereads, asksUserinfo, func(_ *oidcgate.Config, p *oidcgate.Provider) { provider = *p })
		f.op.SetUser(inUserinfoGroups("admin"))
		f.login()
		if status := f.admin(); status != http.StatusOK {
			t.Fatalf("status %d", status)
		}
		provider.Userinfo = oidcgate.UserinfoOff
		f.openReplicas(1, provider)
		time.Sleep(6 * time.Minute)
		if status := f.admin(); status != http.StatusForbidden {
			t.Errorf("status %d", status)
		}
	})
	inBubble(t, "C113 without a refresh token userinfo is asked, as long as the access token lives", func(t *testing.T) {
		f := newFleet(t, 1, rereads, asksUserinfo)
		f.op.SetUser(inUserinfoGroups("admin"))
		f.op.Inject(oidcgatetest.Token, oidcgatetest.EditJSON(func(m map[string]any) { delete(m, "refresh_token") }))
		f.login()
		f.op.SetUser(inUserinfoGroups())
		time.Sleep(6 * time.Minute)
		if status := f.admin(); status != http.StatusForbidden {
			t.Errorf("status %d", status)
		}
	})
	inBubble(t, "C081 C086 who the user is, and how and when they logged in, stays", func(t *testing.T) {
		f := newFleet(t, 1, rereads, asksUserinfo)
		f.op.NextIDToken(func(t *oidcgatetest.JWT) { t.Claims["acr"], t.Claims["amr"] = "bronze", []string{"pwd"} })
		f.login()
		before := f.times()
		f.op.EveryIDToken(func(t *oidcgatetest.JWT) {
			t.Claims["acr"], t.Claims["amr"], t.Claims["sid"] = "gold", []string{"mfa"}, "another"
			t.Claims["name"] = "Alice Again"
		})
		f.op.Always(oidcgatetest.Userinfo, oidcgatetest.EditJSON(func(m map[string]any) {
			m["iss"], m["sid"], m["acr"], m["auth_time"] = "https://evil.test", "evil", "evil", 1
		}))
		time.Sleep(6 * time.Minute)
		var name string
		var amr []string
		f.inspect(func(id *oidcgate.Identity) { name, amr = id.Name(), id.AMR() })
		if name != "Alice Again" {
			t.Errorf("name %q: the claims were not read again", name)
		}
		if after := f.times(); after != before || strings.Join(amr, " ") != "pwd" {
			t.Errorf("%s with amr %q, before %s", after, amr, before)
		}
	})
}

func TestOnLoginDecidesAgain(t *testing.T) {
	answer := func(on func(l *oidcgate.Login) error) change {
		return func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.Tokens.ClaimsMaxAge = 5 * time.Minute
			c.OnLogin = func(_ context.Context, l *oidcgate.Login) error {
				if !l.IsReread() {
					return nil
				}
				return on(l)
			}
		}
	}
	for name, on := range map[string]func(l *oidcgate.Login) error{
		"a denial": func(*oidcgate.Login) error { return oidcgate.Deny("You have left the company.") },
		"claims that are too large": func(l *oidcgate.Login) error {
			return l.Set("groups", strings.Repeat("x", 20<<10))
		},
	} {
		inBubble(t, "C113 "+name+" ends the session", func(t *testing.T) {
			f := newFleet(t, 2, answer(on))
			f.login()
			time.Sleep(6 * time.Minute)
			cookies := f.sentCookies()
			if got := f.subject(); got != "" {
				t.Errorf("signed in as %q", got)
			}
			if a := f.send(f.newBrowser(), http.MethodGet, "/token", "", "Cookie: "+cookies); a.StatusCode != http.StatusUnauthorized {
				t.Errorf("the old cookie: status %d", a.StatusCode)
			}
			f.reportedOnce(oidcgate.EventSessionRevoked, "token")
		})
	}
	inBubble(t, "C113 what OnLogin sets and drops holds, and what it no longer sets is gone", func(t *testing.T) {
		f := newFleet(t, 2, func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.Tokens.ClaimsMaxAge = 5 * time.Minute
			c.OnLogin = func(_ context.Context, l *oidcgate.Login) error {
				var claims struct {
					Groups []string `json:"groups"`
				}
				if err := l.Identity().Decode(&claims); err != nil {
					return err
				}
				l.Drop("groups")
				if len(claims.Groups) > 0 {
					return l.Set("groups", "admin")
				}
				return nil
			}
		})
		f.op.SetUser(inGroups("some"))
		f.login()
		if f.admin() != http.StatusOK {
			t.Errorf("status %d", f.admin())
		}
		f.op.SetUser(inGroups())
		time.Sleep(6 * time.Minute)
		if f.admin() != http.StatusForbidden {
			t.Errorf("status %d", f.admin())
		}
	})
}

func TestClaimsCannotBeReadAgain(t *testing.T) {
	for _, row := range []struct {
		name string
		at   oidcgatetest.Endpoint
		with oidcgatetest.Fault
		told oidcgate.EventType
	}{
		{"the token endpoint hangs", oidcgatetest.Token, oidcgatetest.Hang(), oidcgate.EventRefreshFailed},
		{"userinfo answers 500", oidcgatetest.Userinfo, oidcgatetest.Answer(500, "", ""), oidcgate.EventUserinfoFailed},
		{"userinfo answers 429", oidcgatetest.Userinfo, oidcgatetest.Answer(429, "", ""), oidcgate.EventUserinfoFailed},
		{"userinfo answers 404", oidcgatetest.Userinfo, oidcgatetest.Answer(404, "", ""), oidcgate.EventUserinfoFailed},
		{"userinfo hangs", oidcgatetest.Userinfo, oidcgatetest.Hang(), oidcgate.EventUserinfoFailed},
		{"userinfo is reset", oidcgatetest.Userinfo, oidcgatetest.Reset(), oidcgate.EventUserinfoFailed},
		{"userinfo is junk", oidcgatetest.Userinfo, oidcgatetest.Answer(200, "application/json", "junk"), oidcgate.EventUserinfoFailed},
	} {
		inBubble(t, "C113 the old claims stay, an event tells, and the new ones come later: "+row.name, func(t *testing.T) {
			f := newFleetThatKeepsRefreshTokens(t, 2, rereads, asksUserinfo)
			f.op.SetUser(inUserinfoGroups("admin"))
			f.login()
			f.op.SetUser(inUserinfoGroups())
			f.op.Always(row.at, row.with)
			time.Sleep(6 * time.Minute)
			before := f.op.Count(row.at)
			for range 20 {
				if status := f.admin(); status != http.StatusOK {
					t.Errorf("status %d", status)
				}
			}
			if n := f.op.Count(row.at) - before; n != 1 {
				t.Errorf("the provider was asked %d times by 20 requests in a row", n)
			}
			f.op.Clear(row.at)
			time.Sleep(time.Minute)
			if status := f.admin(); status != http.StatusForbidden {
				t.Errorf("status %d when the provider is back", status)
			}
			if len(f.reported(row.told)) == 0 {
				t.Errorf("no event %s", row.told)
			}
		})
	}
	inBubble(t, "userinfo is about somebody else: the session ends", func(t *testing.T) {
		f := newFleet(t, 2, rereads, asksUserinfo)
		f.login()
		f.op.Always(oidcgatetest.Userinfo, oidcgatetest.EditJSON(func(m map[string]any) { m["sub"] = "mallory" }))
		time.Sleep(6 * time.Minute)
		if got := f.subject(); got != "" {
			t.Errorf("signed in as %q", got)
		}
	})
	inBubble(t, "the refresh token was withdrawn: the session ends, and the browser forgets it", func(t *testing.T) {
		f := newFleet(t, 2, rereads)
		f.login()
		f.op.Always(oidcgatetest.Token, oidcgatetest.Answer(400, "application/json", `{"error":"invalid_grant"}`))
		time.Sleep(6 * time.Minute)
		if got := f.subject(); got != "" {
			t.Errorf("signed in as %q", got)
		}
		f.get("/app", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document")
		if f.cookie("__Host-Http-oidcgate") != "" {
			t.Error("the cookie stays")
		}
	})
	inBubble(t, "the tokens are lost: nobody can be asked, and the visitor is anonymous", func(t *testing.T) {
		f := newFleet(t, 2, rereads)
		f.login()
		if err := f.drill.Delete(t.Context(), "t:"+f.handle(), nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(6 * time.Minute)
		if got := f.subject(); got != "" {
			t.Errorf("signed in as %q with claims that cannot be read again", got)
		}
	})
	inBubble(t, "the store is ill: the guard says so, and nobody is logged out", func(t *testing.T) {
		f := newFleet(t, 2, rereads)
		f.op.SetUser(inGroups("admin"))
		f.login()
		time.Sleep(6 * time.Minute)
		f.drill.fail(on("get ", errIll), nil)
		if status := f.admin(); status != http.StatusServiceUnavailable {
			t.Errorf("status %d", status)
		}
		f.drill.fail(nil, nil)
		if status := f.admin(); status != http.StatusOK {
			t.Errorf("status %d", status)
		}
	})
	inBubble(t, "C128 a logout while the claims are read wins", func(t *testing.T) {
		f := newFleet(t, 2, rereads, asksUserinfo)
		f.login()
		f.op.Always(oidcgatetest.Userinfo, func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				next.ServeHTTP(rw, r)
				f.logoutToken(f.logoutClaims("sub", "alice"))
			})
		})
		time.Sleep(6 * time.Minute)
		for range 2 {
			if got := f.subject(); got != "" {
				t.Errorf("signed in as %q", got)
			}
		}
	})
	inBubble(t, "two requests that note the session's use and read its claims do not undo each other", func(t *testing.T) {
		f := newFleet(t, 2, rereads)
		f.op.SetUser(inGroups("admin"))
		f.login()
		f.op.SetUser(inGroups())
		f.op.Always(oidcgatetest.Token, oidcgatetest.Delay(time.Second))
		time.Sleep(6 * time.Minute)
		touched := make(chan int, 1)
		f.drill.fail(func(op, key string) error {
			if op == "swap" && strings.HasPrefix(key, "s:") {
				f.drill.fail(nil, nil)
				go func() { touched <- f.admin() }()
				time.Sleep(10 * time.Second)
			}
			return nil
		}, nil)
		f.admin()
		<-touched
		if status := f.admin(); status != http.StatusForbidden {
			t.Errorf("status %d", status)
		}
	})
}

func TestRereadSeesTheSessionsTimes(t *testing.T) {
	inBubble(t, "C113 OnLogin sees when the session ends", func(t *testing.T) {
		var expires, idle time.Time
		f := newFleet(t, 1, func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.Tokens.ClaimsMaxAge = 5 * time.Minute
			c.OnLogin = func(_ context.Context, l *oidcgate.Login) error {
				if l.IsReread() {
					expires, idle = l.Identity().Expires(), l.Identity().IdleExpires()
				}
				return nil
			}
		}, func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Userinfo = oidcgate.UserinfoRequired })
		f.op.SetUser(inGroups("admin"))
		f.login()
		time.Sleep(6 * time.Minute)
		f.admin()
		if !expires.After(time.Now()) || !idle.After(time.Now()) {
			t.Errorf("OnLogin sees a session that ends at %v, or idle at %v", expires, idle)
		}
	})
}

func TestRefreshWithoutASecret(t *testing.T) {
	for name, cause := range map[string]error{
		"no session":           oidcgate.ErrNoSession,
		"an unavailable store": oidcgate.ErrStoreUnavailable,
	} {
		inBubble(t, "C084 the secret's function fails with an error that says "+name, func(t *testing.T) {
			var fails atomic.Bool
			f := newFleet(t, 1, func(c *oidcgate.Config, p *oidcgate.Provider) {
				c.Tokens.ClaimsMaxAge = 5 * time.Minute
				p.Auth = oidcgate.ClientSecretBasic(func(context.Context) (string, error) {
					if fails.Load() {
						return "", fmt.Errorf("vault: %w", cause)
					}
					return secret, nil
				})
			})
			f.op.SetUser(inGroups("admin"))
			f.login()
			fails.Store(true)
			time.Sleep(6 * time.Minute)
			if status := f.admin(); status != http.StatusOK {
				t.Errorf("status %d: the visitor is still signed in", status)
			}
			if n := len(f.eventsOf(oidcgate.EventRefreshFailed)); n != 1 {
				t.Errorf("%d events refresh.failed", n)
			}
		})
	}
}

// whileHers answers the requests that come while hers is true.
func whileHers(hers *atomic.Bool, answer oidcgatetest.Fault) oidcgatetest.Fault {
	return func(next http.Handler) http.Handler {
		bad := answer(next)
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if hers.Load() {
				bad.ServeHTTP(rw, r)
				return
			}
			next.ServeHTTP(rw, r)
		})
	}
}

// TestProviderFailsForOneUser has the token endpoint fail at the refreshes of alice, and of nobody else: so GitLab and Dex
// do with users who are blocked or deleted (500), and Dex and others with refresh tokens that are withdrawn (invalid_request).
func TestProviderFailsForOneUser(t *testing.T) {
	plain := func(*oidcgate.Config, *oidcgate.Provider) {}
	for name, row := range map[string]struct {
		answer oidcgatetest.Fault
		change change
		others bool // come back, and their tokens are refreshed
		after  time.Duration
		want   int
	}{
		"500":                                {oidcgatetest.Answer(500, "text/html", "oops"), plain, true, 24 * time.Minute, 303},
		"500 and server_error":               {oidcgatetest.Answer(500, "application/json", `{"error":"server_error"}`), plain, true, 24 * time.Minute, 303},
		"invalid_request":                    {oidcgatetest.Answer(400, "application/json", `{"error":"invalid_request"}`), plain, true, 24 * time.Minute, 303},
		"400 without a word":                 {oidcgatetest.Answer(400, "text/html", "no"), plain, true, 24 * time.Minute, 303},
		"a page with status 200":             {oidcgatetest.Answer(200, "text/html", "<h1>Log in"), plain, true, 24 * time.Minute, 303},
		"no tokens":                          {oidcgatetest.Answer(200, "application/json", "{}"), plain, true, 24 * time.Minute, 303},
		"the client is refused":              {oidcgatetest.Answer(401, "application/json", `{"error":"invalid_client"}`), plain, true, 4 * time.Hour, 200},
		"500, not for long":                  {oidcgatetest.Answer(500, "", ""), plain, true, 19 * time.Minute, 200},
		"500, and nobody else is there":      {oidcgatetest.Answer(500, "", ""), plain, false, 4 * time.Hour, 200},
		"502 of a proxy":                     {oidcgatetest.Answer(502, "", ""), plain, true, 4 * time.Hour, 200},
		"it is overloaded":                   {oidcgatetest.Answer(429, "", ""), plain, true, 4 * time.Hour, 200},
		"no answer":                          {oidcgatetest.Reset(), plain, true, 4 * time.Hour, 200},
		"500, and KeepRefused":               {oidcgatetest.Answer(500, "", ""), func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Tokens.KeepRefused = true }, true, 4 * time.Hour, 200},
		"500, and claims are not read again": {oidcgatetest.Answer(500, "", ""), func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Tokens.ClaimsMaxAge = 0 }, true, 4 * time.Hour, 200},
		"500, and EndWithAccessToken alone": {oidcgatetest.Answer(500, "", ""), func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.Tokens.ClaimsMaxAge, c.Tokens.EndWithAccessToken = 0, true
		}, true, 60 * time.Minute, 303},
	} {
		inBubble(t, "C084 C113 "+name, func(t *testing.T) {
			f := newFleet(t, 1, rereads, row.change, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.IdleTimeout = 12 * time.Hour })
			f.op.SetUser(inGroups("admin"))
			f.login()
			bob := f.signInAs("bob")
			var hers atomic.Bool
			f.op.Always(oidcgatetest.Token, whileHers(&hers, row.answer))
			for range int(row.after / time.Minute) {
				time.Sleep(time.Minute)
				hers.Store(true)
				f.get("/admin")
				hers.Store(false)
				if row.others {
					if f.as(bob, func() { f.mustToken() }); f.who(bob) != "bob" {
						t.Fatal("bob is signed out")
					}
				}
			}
			if status := f.admin(); status != row.want {
				t.Errorf("status %d, want %d\n%s", status, row.want, f.logged())
			}
		})
	}
}

// TestProviderFailsForEverybody has the provider fail for all, and not for long, or come back node by node.
func TestProviderFailsForEverybody(t *testing.T) {
	broken := oidcgatetest.Answer(500, "text/html", "oops")
	inBubble(t, "C084 C113 short failures with the visitor away in between end no session", func(t *testing.T) {
		f := newFleet(t, 1, rereads)
		f.login()
		bob := f.signInAs("bob")
		var down atomic.Bool
		f.op.Always(oidcgatetest.Token, whileHers(&down, broken))
		for range 3 {
			down.Store(true)
			if f.subject() != "alice" {
				t.Fatal("alice is signed out")
			}
			down.Store(false)
			for range 40 {
				time.Sleep(time.Minute)
				f.as(bob, func() { f.mustToken() })
			}
		}
		if f.subject() != "alice" {
			t.Error("alice is signed out")
		}
	})
	inBubble(t, "C084 C113 the outage of a part of the users signs none of them out", func(t *testing.T) {
		f := newFleet(t, 2, rereads)
		var staff, partners []*http.Client
		for i := range 10 {
			staff = append(staff, f.signInAs(fmt.Sprint("staff", i)))
			partners = append(partners, f.signInAs(fmt.Sprint("partner", i)))
		}
		var theirs atomic.Bool
		f.op.Always(oidcgatetest.Token, whileHers(&theirs, broken))
		click := func(users []*http.Client) {
			for i, u := range users {
				if f.who(u) == "" {
					t.Fatalf("user %d is signed out\n%s", i, f.logged())
				}
				time.Sleep(3 * time.Second)
			}
		}
		for range 40 {
			time.Sleep(20 * time.Second)
			theirs.Store(true)
			click(staff)
			theirs.Store(false)
			click(partners)
		}
	})
	inBubble(t, "C084 C113 half of the answers are bad for hours: nobody is signed out who clicks seldom", func(t *testing.T) {
		f := newFleet(t, 1, rereads)
		var users []*http.Client
		for i := range 20 {
			users = append(users, f.signInAs(fmt.Sprint("user", i)))
		}
		var bad atomic.Int64
		dice := rand.New(rand.NewPCG(1, 2))
		f.op.Always(oidcgatetest.Token, func(next http.Handler) http.Handler {
			worse := broken(next)
			return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if dice.IntN(2) == 0 {
					bad.Add(1)
					worse.ServeHTTP(rw, r)
					return
				}
				next.ServeHTTP(rw, r)
			})
		})
		for range 20 {
			for i, u := range users {
				time.Sleep(18 * time.Second)
				if f.who(u) == "" {
					t.Fatalf("user %d is signed out, after %d bad answers", i, bad.Load())
				}
			}
		}
	})
	inBubble(t, "C084 C113 after an outage every second answer is bad for a while: nobody is signed out", func(t *testing.T) {
		f := newFleet(t, 1, rereads)
		var users []*http.Client
		for i := range 20 {
			users = append(users, f.signInAs(fmt.Sprint("user", i)))
		}
		var down, half atomic.Bool
		var n atomic.Int64
		f.op.Always(oidcgatetest.Token, whileHers(&down, broken), func(next http.Handler) http.Handler {
			bad := broken(next)
			return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if half.Load() && n.Add(1)%2 == 0 {
					bad.ServeHTTP(rw, r)
					return
				}
				next.ServeHTTP(rw, r)
			})
		})
		click := func(minutes int) {
			for range minutes {
				for _, u := range users {
					if f.who(u) == "" {
						t.Fatal("somebody is signed out")
					}
					time.Sleep(3 * time.Second)
				}
			}
		}
		click(15)
		down.Store(true)
		click(17)
		half.Store(true)
		down.Store(false)
		click(6)
		half.Store(false)
		click(6)
	})
}

// TestUserinfoFailsForOneUser has userinfo fail for alice, and for nobody else.
func TestUserinfoFailsForOneUser(t *testing.T) {
	limitBesideARefusal := func(http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("X-RateLimit-Remaining", "0")
			rw.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			rw.WriteHeader(http.StatusUnauthorized)
		})
	}
	limit := func(http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("X-RateLimit-Remaining", "0")
			rw.WriteHeader(http.StatusForbidden)
		})
	}
	for name, row := range map[string]struct {
		answer oidcgatetest.Fault
		others bool // come back, and their userinfo is read
		keep   bool
		after  time.Duration
		want   int
	}{
		"500":                           {oidcgatetest.Answer(500, "text/html", "oops"), true, false, 30 * time.Minute, 403},
		"404":                           {oidcgatetest.Answer(404, "application/json", `{"error":"user_not_found"}`), true, false, 30 * time.Minute, 403},
		"400":                           {oidcgatetest.Answer(400, "application/json", `{"error":"invalid_request"}`), true, false, 30 * time.Minute, 403},
		"no content":                    {oidcgatetest.Answer(204, "", ""), true, false, 30 * time.Minute, 403},
		"500, not for long":             {oidcgatetest.Answer(500, "text/html", "oops"), true, false, 14 * time.Minute, 200},
		"500, and nobody else is there": {oidcgatetest.Answer(500, "text/html", "oops"), false, false, 4 * time.Hour, 200},
		"503":                           {oidcgatetest.Answer(503, "", ""), true, false, 30 * time.Minute, 403},
		"429":                           {oidcgatetest.Answer(429, "", ""), true, false, 30 * time.Minute, 403},
		"no answer":                     {oidcgatetest.Reset(), true, false, 30 * time.Minute, 403},
		"no answer in time":             {oidcgatetest.Delay(time.Minute), true, false, 30 * time.Minute, 403},
		"a limit, as GitHub says it":    {limit, true, false, 30 * time.Minute, 403},
		"a limit, not for long":         {limit, true, false, 14 * time.Minute, 200},
		"a limit, and nobody else":      {limit, false, false, 4 * time.Hour, 200},
		"500, and Tokens.KeepRefused":   {oidcgatetest.Answer(500, "text/html", "oops"), true, true, 4 * time.Hour, 200},
	} {
		inBubble(t, "C113 F38 "+name, func(t *testing.T) {
			f := newFleet(t, 1, rereads, asksUserinfo, func(c *oidcgate.Config, _ *oidcgate.Provider) {
				c.IdleTimeout, c.Tokens.KeepRefused = 12*time.Hour, row.keep
			})
			bob := f.signInAs("bob")
			f.op.SetUser(inUserinfoGroups("admin"))
			f.login()
			var hers atomic.Bool
			f.op.Always(oidcgatetest.Userinfo, whileHers(&hers, row.answer))
			for range int(row.after / time.Minute) {
				time.Sleep(time.Minute)
				hers.Store(true)
				f.admin()
				hers.Store(false)
				if row.others && f.who(bob) != "bob" {
					t.Fatal("bob is signed out")
				}
			}
			hers.Store(true)
			if status := f.admin(); status != row.want || f.subject() != "alice" {
				t.Errorf("status %d, want %d, signed in as %q\n%s", status, row.want, f.subject(), f.logged())
			}
			hers.Store(false)
			f.op.SetUser(inUserinfoGroups("admin"))
			time.Sleep(6 * time.Minute)
			if status := f.admin(); status != 200 {
				t.Errorf("status %d when userinfo is well again", status)
			}
		})
	}
	inBubble(t, "C113 a refusal for sure is one, whatever is left of a limit", func(t *testing.T) {
		f := newFleet(t, 1, rereads, asksUserinfo)
		f.login()
		f.op.Always(oidcgatetest.Userinfo, limitBesideARefusal)
		time.Sleep(6 * time.Minute)
		if got := f.subject(); got != "" {
			t.Errorf("signed in as %q", got)
		}
	})
}

// TestUserinfoLimitsOneUserWithoutIDTokens has userinfo, which says whose the refreshed tokens are, refuse to say it for one user.
func TestUserinfoLimitsOneUserWithoutIDTokens(t *testing.T) {
	for name, answer := range map[string]oidcgatetest.Fault{
		"429": oidcgatetest.Answer(429, "", ""), "503": oidcgatetest.Answer(503, "", ""), "no answer in time": oidcgatetest.Delay(time.Minute),
	} {
		inBubble(t, "C081 C113 the session goes on: "+name, func(t *testing.T) {
			op := oidcgatetest.NewProvider(t, oidcgatetest.Config{WithoutIDTokens: true, RotateRefreshTokens: true})
			f := newFleetOf(t, op, 1, rereads, func(_ *oidcgate.Config, p *oidcgate.Provider) {
				*p = oidcgate.OAuth2(oidcgate.OAuth2Options{
					Issuer: op.Issuer(), ClientID: p.ClientID, Auth: p.Auth,
					Authorization: op.URL(oidcgatetest.Authorization), Token: op.URL(oidcgatetest.Token), Userinfo: op.URL(oidcgatetest.Userinfo),
				})
			})
			bob := f.signInAs("bob")
			f.op.SetUser(inUserinfoGroups("admin"))
			f.login()
			var hers atomic.Bool
			f.op.Always(oidcgatetest.Userinfo, whileHers(&hers, answer))
			for range 55 {
				time.Sleep(time.Minute)
				hers.Store(true)
				f.admin()
				hers.Store(false)
				f.as(bob, func() { f.token() })
				f.who(bob)
			}
			hers.Store(true)
			if got := f.subject(); got != "alice" {
				t.Errorf("signed in as %q", got)
			}
		})
	}
}

// TestSignedUserinfoAndClocks has userinfo signed by a clock that is off for a while.
func TestSignedUserinfoAndClocks(t *testing.T) {
	for _, off := range []time.Duration{-5 * time.Minute, 5 * time.Minute} {
		inBubble(t, "C113 F14 nobody loses its claims, "+off.String(), func(t *testing.T) {
			f := newFleet(t, 1, rereads, asksUserinfo)
			var isOff atomic.Bool
			f.op.Always(oidcgatetest.Userinfo, func(http.Handler) http.Handler {
				return http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
					now := time.Now()
					if isOff.Load() {
						now = now.Add(off)
					}
					rw.Header().Set("Content-Type", "application/jwt")
					_, _ = io.WriteString(rw, f.op.NewJWT(map[string]any{
						"iss": f.op.Issuer(), "aud": "shop", "sub": "alice", "groups": []string{"admin"},
						"iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
					}).Compact())
				})
			})
			f.login()
			f.op.Always(oidcgatetest.Token, withoutMember("id_token"))
			for m := range 40 {
				isOff.Store(m > 1 && m < 22)
				if status := f.admin(); status != http.StatusOK {
					t.Fatalf("minute %d: /admin is %d", m, status)
				}
				time.Sleep(time.Minute)
			}
		})
	}
}

// TestUserinfoCannotBeReadByAnybody has a proxy, or a provider that says so of its broken database, answer in place of userinfo.
func TestUserinfoCannotBeReadByAnybody(t *testing.T) {
	for name, answer := range map[string]oidcgatetest.Fault{
		"a bare 403": oidcgatetest.Answer(403, "application/json", `{"error":"server_error"}`),
		"a page":     oidcgatetest.Answer(200, "text/html", "<p>We are back soon"),
	} {
		for users, want := range map[int]int{10: http.StatusOK, 2: http.StatusOK, 1: http.StatusForbidden} {
			inBubble(t, fmt.Sprintf("C113 %s for %d users", name, users), func(t *testing.T) {
				f := newFleet(t, 1, rereads, asksUserinfo)
				time.Sleep(time.Hour) // so long has the process heard of nobody else
				f.op.SetUser(inUserinfoGroups("admin"))
				var all []*http.Client
				for i := range users {
					u := inUserinfoGroups("admin")
					u.Subject = fmt.Sprint("user", i)
					f.op.SetUser(u)
					f.browser = f.newBrowser()
					f.login()
					all = append(all, f.browser)
				}
				f.op.Always(oidcgatetest.Userinfo, answer)
				for range 25 {
					time.Sleep(time.Minute)
					for _, u := range all {
						f.as(u, func() { f.admin() })
					}
				}
				for i, u := range all {
					f.as(u, func() {
						if status := f.admin(); status != want {
							t.Errorf("user %d: /admin is %d, want %d", i, status, want)
						}
					})
				}
			})
		}
	}
}

// TestProviderDeniesUsers has the token endpoint say access_denied: of one user, or of all while an Action of Auth0's fails.
func TestProviderDeniesUsers(t *testing.T) {
	denies := oidcgatetest.Answer(403, "application/json", `{"error":"access_denied","error_description":"Cannot read properties of undefined"}`)
	for name, change := range map[string]change{"ClaimsMaxAge": rereads, "tokens alone": func(*oidcgate.Config, *oidcgate.Provider) {}} {
		inBubble(t, "C084 of all, for an hour: nobody is signed out, "+name, func(t *testing.T) {
			f := newFleet(t, 2, change)
			var users []*http.Client
			for i := range 20 {
				users = append(users, f.signInAs(fmt.Sprint("user", i)))
			}
			time.Sleep(9*time.Minute + 55*time.Second)
			f.op.Always(oidcgatetest.Token, denies)
			for range 60 {
				for _, u := range users {
					f.as(u, func() { f.token() })
				}
				time.Sleep(time.Minute)
			}
			f.op.Clear(oidcgatetest.Token)
			time.Sleep(2 * time.Minute)
			for i, u := range users {
				f.as(u, func() {
					if _, status := f.token(); status != http.StatusOK {
						t.Errorf("user %d has no token: %d", i, status)
					}
				})
			}
		})
		inBubble(t, "C084 of one: the session ends within minutes, "+name, func(t *testing.T) {
			f := newFleet(t, 2, change)
			time.Sleep(time.Hour) // so long has the process heard of nobody else
			f.login()
			time.Sleep(9*time.Minute + 55*time.Second)
			f.op.Always(oidcgatetest.Token, denies)
			f.token()
			if f.subject() != "alice" {
				t.Error("signed out at the first answer")
			}
			for range 8 {
				time.Sleep(time.Minute)
				f.token()
			}
			if got := f.subject(); got != "" {
				t.Errorf("signed in as %q", got)
			}
			f.reportedOnce(oidcgate.EventSessionRevoked, oidcgate.ReasonByToken)
		})
	}
	for name, row := range map[string]struct {
		change   change
		userinfo oidcgatetest.Fault
	}{
		"with EndWithAccessToken":             {func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Tokens.EndWithAccessToken = true }, nil},
		"and userinfo refuses the tokens too": {asksUserinfo, invalidToken},
	} {
		inBubble(t, "C084 C113 of five users, "+name+": their sessions end", func(t *testing.T) {
			f := newFleet(t, 1, rereads, row.change)
			var users []*http.Client
			for i := range 5 {
				users = append(users, f.signInAs(fmt.Sprint("user", i)))
			}
			time.Sleep(6 * time.Minute)
			f.op.Always(oidcgatetest.Token, denies)
			if row.userinfo != nil {
				f.op.Always(oidcgatetest.Userinfo, row.userinfo)
			}
			for range 8 {
				for _, u := range users {
					f.who(u)
				}
				time.Sleep(time.Minute)
			}
			for i, u := range users {
				if f.who(u) != "" {
					t.Errorf("user %d is signed in", i)
				}
			}
		})
	}
	for _, all := range []int{60, 10} {
		inBubble(t, fmt.Sprintf("C084 of 5 in %d users, and the others are served: theirs end", all), func(t *testing.T) {
			f := newFleet(t, 1, rereads)
			var users []*http.Client
			for i := range all {
				users = append(users, f.signInAs(fmt.Sprint("user", i)))
			}
			var theirs atomic.Bool
			f.op.Always(oidcgatetest.Token, whileHers(&theirs, denies))
			for range 20 {
				time.Sleep(time.Minute)
				for i, u := range users {
					theirs.Store(i < 5)
					f.who(u)
				}
			}
			for i, u := range users {
				theirs.Store(i < 5)
				if who := f.who(u); (who == "") != (i < 5) {
					t.Errorf("user %d is signed in as %q", i, who)
				}
			}
		})
	}
	inBubble(t, "C084 of all, at ten replicas that visitors are kept at: nobody is signed out", func(t *testing.T) {
		f := newFleet(t, 10, rereads)
		var users []*http.Client
		for i := range 30 {
			f.next.Store(uint32(i%10 + 9))
			users = append(users, f.signInAs(fmt.Sprint("user", i)))
		}
		come := func() (out int) {
			for i, u := range users {
				f.next.Store(uint32(i%10 + 9))
				if f.who(u) == "" {
					out++
				}
			}
			return out
		}
		for range 6 {
			time.Sleep(time.Minute)
			come()
		}
		f.op.Always(oidcgatetest.Token, denies)
		for range 20 {
			time.Sleep(time.Minute)
			if out := come(); out > 0 {
				t.Fatalf("%d are signed out", out)
			}
		}
	})
	inBubble(t, "C084 of all, who come one after another: nobody is signed out", func(t *testing.T) {
		f := newFleet(t, 1, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Tokens.ClaimsMaxAge = 30 * time.Second })
		var users []*http.Client
		for i := range 12 {
			users = append(users, f.signInAs(fmt.Sprint("user", i)))
		}
		f.op.Always(oidcgatetest.Token, denies)
		out := 0
		for i := range 48 {
			time.Sleep(75 * time.Second)
			if f.who(users[i%12]) == "" {
				out++
			}
		}
		if out > 0 {
			t.Errorf("signed out %d times", out)
		}
	})
	inBubble(t, "C083 C084 of one, and then it refuses the refresh token: no reuse is suspected", func(t *testing.T) {
		f := newFleet(t, 2, rereads)
		f.login()
		time.Sleep(9*time.Minute + 55*time.Second)
		f.op.Always(oidcgatetest.Token, denies)
		f.token()
		time.Sleep(time.Minute)
		f.op.Clear(oidcgatetest.Token)
		f.op.Always(oidcgatetest.Token, oidcgatetest.Answer(400, "application/json", `{"error":"invalid_grant"}`))
		f.token()
		if e := f.reported(oidcgate.EventRefreshReuseSuspected); len(e) > 0 || f.subject() != "" {
			t.Errorf("signed in as %q, events %+v", f.subject(), e)
		}
	})
}

// TestUserinfoRefusesWhileNothingIsRefreshed has the token endpoint fail for all, and userinfo refuse a user for sure.
func TestUserinfoRefusesWhileNothingIsRefreshed(t *testing.T) {
	challenge := func(http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			rw.WriteHeader(http.StatusUnauthorized)
		})
	}
	for name, row := range map[string]struct {
		answer oidcgatetest.Fault
		keep   bool
		want   int // of the page for administrators
		in     string
	}{
		"429: nothing was issued":           {oidcgatetest.Answer(429, "", ""), false, 303, ""},
		"503: the answer may be lost":       {oidcgatetest.Answer(503, "", ""), false, 403, "alice"},
		"no answer: it may be lost":         {oidcgatetest.Reset(), false, 403, "alice"},
		"no answer, and Tokens.KeepRefused": {oidcgatetest.Reset(), true, 200, "alice"},
	} {
		inBubble(t, "C113 "+name, func(t *testing.T) {
			op := oidcgatetest.NewProvider(t, oidcgatetest.Config{RotateRefreshTokens: true, AccessTokenLifetime: 20 * time.Hour})
			f := newFleetOf(t, op, 1, rereads, asksUserinfo, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Tokens.KeepRefused = row.keep })
			f.op.SetUser(inUserinfoGroups("admin"))
			f.login()
			f.op.Always(oidcgatetest.Token, row.answer)
			f.op.Always(oidcgatetest.Userinfo, challenge)
			for range 30 {
				time.Sleep(time.Minute)
				f.admin()
			}
			if status := f.admin(); status != row.want || f.subject() != row.in {
				t.Errorf("status %d, signed in as %q", status, f.subject())
			}
		})
	}
}

// TestNoteWhoseAnswerIsLost has the store carry out a note of a failure, and lose its answer.
func TestNoteWhoseAnswerIsLost(t *testing.T) {
	inBubble(t, "C113 F32 a group that userinfo took away then stays away while userinfo is down", func(t *testing.T) {
		f := newFleet(t, 1, rereads, asksUserinfo)
		f.op.SetUser(inUserinfoGroups("admin"))
		f.login()
		f.op.SetUser(inUserinfoGroups("staff"))
		f.op.Always(oidcgatetest.Token, oidcgatetest.Answer(400, "application/json", `{"error":"invalid_request"}`))
		time.Sleep(6 * time.Minute)
		var lost atomic.Bool
		f.drill.fail(nil, func(op, key string) error {
			if strings.HasPrefix(op+" "+key, "swap t:") && lost.CompareAndSwap(false, true) {
				return errReadOnly
			}
			return nil
		})
		if status := f.admin(); status != http.StatusForbidden || !lost.Load() {
			t.Fatalf("status %d, lost %v", status, lost.Load())
		}
		f.op.Always(oidcgatetest.Userinfo, oidcgatetest.Answer(503, "", ""))
		for range 12 {
			time.Sleep(time.Minute)
			if status := f.admin(); status != http.StatusForbidden {
				t.Fatalf("status %d", status)
			}
		}
	})
}

// TestUserWhoTakesAllHerPlaces has a user keep the places of one user full with other sessions of hers, so that one
// session of hers comes to none.
func TestUserWhoTakesAllHerPlaces(t *testing.T) {
	inBubble(t, "C113 she keeps no group by that", func(t *testing.T) {
		f := newFleet(t, 1, rereads, asksUserinfo)
		f.op.SetUser(inUserinfoGroups("admin"))
		var users []*http.Client
		for range 41 {
			f.browser = f.newBrowser()
			f.login()
			users = append(users, f.browser)
		}
		f.op.SetUser(inUserinfoGroups("staff"))
		f.op.Always(oidcgatetest.Userinfo, oidcgatetest.Delay(1500*time.Millisecond))
		hers := func() (status int) {
			f.as(users[40], func() { status = f.admin() })
			return status
		}
		bob := f.signInAs("bob")
		f.op.SetUser(inUserinfoGroups("staff"))
		for range 6 {
			time.Sleep(5*time.Minute + time.Second)
			f.who(bob)
			var crowd sync.WaitGroup
			for _, u := range users[:40] {
				crowd.Go(func() { f.sendOnly(u, http.MethodGet, "/admin", "") })
			}
			time.Sleep(50 * time.Millisecond)
			for range 8 {
				hers()
				time.Sleep(time.Second)
			}
			crowd.Wait()
		}
		if status := hers(); status == http.StatusOK {
			t.Error("she has the group half an hour after it was taken away")
		}
	})
}

// TestRestartWhileAllAreDenied has a replica begin while the provider denies everybody.
func TestRestartWhileAllAreDenied(t *testing.T) {
	inBubble(t, "C084 it signs nobody out", func(t *testing.T) {
		f := newFleet(t, 1, rereads)
		var users []*http.Client
		for i := range 5 {
			users = append(users, f.signInAs(fmt.Sprint("user", i)))
		}
		f.op.Always(oidcgatetest.Token, oidcgatetest.Answer(403, "application/json", `{"error":"access_denied"}`))
		for range 10 {
			time.Sleep(2 * time.Minute)
			f.openReplicas(1, f.provider)
			for i, u := range users {
				if f.who(u) == "" {
					t.Errorf("user %d is signed out", i)
				}
			}
		}
	})
}

func TestProviderDeniesAllWithAShortClaimsMaxAge(t *testing.T) {
	inBubble(t, "C084 nobody is forgotten between two tries of a session: nobody is signed out", func(t *testing.T) {
		f := newFleet(t, 1, asksUserinfo, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Tokens.ClaimsMaxAge = 3 * time.Second })
		var users []*http.Client
		for i := range 4 {
			users = append(users, f.signInAs(fmt.Sprint("user", i)))
		}
		f.op.Always(oidcgatetest.Token, oidcgatetest.Answer(403, "application/json", `{"error":"access_denied"}`))
		for range 12 * 60 {
			for _, u := range users {
				f.who(u)
			}
			time.Sleep(time.Second)
		}
		for i, u := range users {
			if f.who(u) == "" {
				t.Errorf("user %d is signed out", i)
			}
		}
	})
}
