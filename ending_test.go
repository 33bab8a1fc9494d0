package oidcgate_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/internal/redistest"
	"github.com/oidcgate/oidcgate/oidcgatetest"
	"github.com/oidcgate/oidcgate/store"
)

// TestEndUserAndLoginsUnderWay has a login whose code is redeemed after the user's sessions were ended, so that its
// ID Token is later than that.
func TestEndUserAndLoginsUnderWay(t *testing.T) {
	ends := map[string]func(f *fleet) error{
		"EndUser": func(f *fleet) error {
			_, err := f.gate.Sessions().EndUser(f.Context(), f.op.Issuer(), "alice")
			return err
		},
		"EndOthers": func(f *fleet) error {
			a := f.send(f.signInAs("alice"), http.MethodGet, "/sessions/end-others", "")
			if a.StatusCode != http.StatusOK {
				return errors.New(a.Status)
			}
			return nil
		},
	}
	for name, end := range ends {
		for _, skew := range []time.Duration{0, 45 * time.Second, -45 * time.Second} {
			inBubble(t, fmt.Sprintf("C114 %s refuses a login that began before, whatever the provider's clock says: %v", name, skew), func(t *testing.T) {
				f := newFleet(t, 2)
				f.op.EveryIDToken(func(j *oidcgatetest.JWT) { j.Claims["iat"] = time.Now().Add(skew).Unix() })
				callback := f.callbackURL("/app")
				time.Sleep(time.Second)
				if err := end(f); err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * time.Second)
				a := f.get(callback)
				f.reported(oidcgate.EventLoginFailed) // by whichever replica
				f.denied(a, http.StatusForbidden, oidcgate.ReasonLogoutWon)
			})
			inBubble(t, fmt.Sprintf("C114 after %s a login that begins then is let in, whatever the provider's clock says: %v", name, skew), func(t *testing.T) {
				f := newFleet(t, 2)
				f.op.EveryIDToken(func(j *oidcgatetest.JWT) { j.Claims["iat"] = time.Now().Add(skew).Unix() })
				if err := end(f); err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * time.Second)
				f.login()
				if got := f.subject(); got != "alice" {
					t.Errorf("signed in as %q", got)
				}
			})
		}
	}
}

// strangersFill has visitors without an account begin logins, each with a code that the provider refuses, until the
// store is full. It returns how many there were.
func strangersFill(w *world, most int) (n int) {
	w.Helper()
	for n = range most {
		b := w.newBrowser()
		a := w.send(b, http.MethodGet, "/auth/login", "")
		u, err := url.Parse(a.location())
		if err != nil {
			w.Fatal(err)
		}
		q := url.Values{"code": {"junk"}, "iss": {w.op.Issuer()}, "state": {u.Query().Get("state")}}
		a = w.send(b, http.MethodGet, "/auth/callback?"+q.Encode(), "")
		if a.StatusCode == http.StatusServiceUnavailable {
			break
		}
	}
	return n
}

// fill fills a store to its bound.
func fill(w *world, m *store.Memory) {
	w.Helper()
	for i := range 10_000 {
		err := m.Create(w.Context(), fmt.Sprintf("filler:%d", i), []byte("x"), time.Hour)
		if errors.Is(err, store.ErrFull) {
			return
		}
	}
	w.Fatal("the store does not get full")
}

// TestLogoutInAFullStore has a store that takes nothing new, but deletes.
func TestLogoutInAFullStore(t *testing.T) {
	withSID := func(j *oidcgatetest.JWT) { j.Claims["sid"] = "S" }
	full := map[string]func(t *testing.T) *world{
		"memory at its bound": func(t *testing.T) *world {
			m := &store.Memory{MaxEntries: 60}
			w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Store = m })
			w.op.EveryIDToken(withSID)
			w.login()
			fill(w, m)
			return w
		},
		"redis at maxmemory with noeviction": func(t *testing.T) *world {
			rdb := redistest.Start(t).Client(func(o *redis.Options) { o.ContextTimeoutEnabled = true })
			w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Store = patient(rdb) })
			w.op.EveryIDToken(withSID)
			w.login()
			if err := rdb.ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
				t.Fatal(err)
			}
			return w
		},
	}
	for name, open := range full {
		t.Run("C114 "+name+": EndUser ends the session, and says that logins under way may go on", func(t *testing.T) {
			w := open(t)
			n, err := w.gate.Sessions().EndUser(t.Context(), w.op.Issuer(), "alice")
			if n != 1 || !errors.Is(err, oidcgate.ErrStoreUnavailable) || w.subject() != "" {
				t.Errorf("%d ended, %v, signed in as %q", n, err, w.subject())
			}
		})
		for by, value := range map[string]string{"sub": "alice", "sid": "S"} {
			t.Run("C125 "+name+": a logout token with "+by+" ends the session, and the provider is told to try again", func(t *testing.T) {
				w := open(t)
				form := url.Values{"logout_token": {w.op.NewJWT(w.logoutClaims(by, value)).Compact()}}
				a := w.send(w.newBrowser(), http.MethodPost, "/auth/backchannel-logout", form.Encode())
				if a.StatusCode != http.StatusServiceUnavailable || w.subject() != "" {
					t.Errorf("status %d, signed in as %q", a.StatusCode, w.subject())
				}
			})
		}
	}
}

func TestStrangersDoNotFillTheStore(t *testing.T) {
	t.Run("C030 the claim of an attempt whose code the provider refused is deleted", func(t *testing.T) {
		w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Store = &store.Memory{MaxEntries: 60} })
		n := strangersFill(w, 100)
		if a := w.get(w.callbackURL("/app")); a.StatusCode != http.StatusSeeOther {
			t.Errorf("after %d strangers a customer's login is answered %d", n, a.StatusCode)
		}
	})
	for name, row := range map[string]struct {
		answer oidcgatetest.Fault
		stays  bool
	}{
		"400 and a code of its own": {oidcgatetest.Answer(400, "application/json", `{"error":"bad_verification_code"}`), false},
		"400 and invalid_request":   {oidcgatetest.Answer(400, "application/json", `{"error":"invalid_request"}`), false},
		"400 and nothing":           {oidcgatetest.Answer(400, "", ""), false},
		"429":                       {oidcgatetest.Answer(429, "", ""), false},
		"200 and an error":          {oidcgatetest.Answer(200, "application/json", `{"error":"bad_verification_code"}`), false},
		"500":                       {oidcgatetest.Answer(500, "application/json", `{"error":"server_error"}`), true},
		"200 and junk":              {oidcgatetest.Answer(200, "text/html", "<html>"), true},
		"a reset":                   {oidcgatetest.Reset(), true},
	} {
		inBubble(t, "C030 the claim of a code that the token endpoint answers with "+name, func(t *testing.T) {
			f := newFleet(t, 1)
			f.op.Always(oidcgatetest.Token, row.answer)
			callback := f.callbackURL("/app")
			calls := f.drill.during(func() { f.get(callback) })
			about := func(op string) func(string) bool {
				return func(call string) bool { return strings.HasPrefix(call, op+" a:") }
			}
			stays := !slices.ContainsFunc(calls, about("delete"))
			if stays != row.stays || !slices.ContainsFunc(calls, about("create")) {
				t.Errorf("the claim stays: %v, want %v: %q", stays, row.stays, calls)
			}
		})
	}
	t.Run("C114 one account does not fill the store: its oldest session ends", func(t *testing.T) {
		w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.Store, c.Limits.UserSessions = &store.Memory{MaxEntries: 300}, 20
		})
		for n := range 100 {
			w.browser = w.newBrowser()
			if a := w.get(w.callbackURL("/app")); a.StatusCode != http.StatusSeeOther {
				t.Fatalf("login %d of one account is answered %d", n+1, a.StatusCode)
			}
		}
		if n := len(w.eventsOf(oidcgate.EventSessionRevoked)); n != 80 {
			t.Errorf("%d sessions ended, want 80", n)
		}
	})
	t.Run("C114 a user has as many sessions by default as docs/sessions.md says", func(t *testing.T) {
		page, err := os.ReadFile("docs/sessions.md")
		if err != nil {
			t.Fatal(err)
		}
		most := 0
		_, row, _ := strings.Cut(string(page), "| `Limits.UserSessions` | ")
		if _, err := fmt.Sscanf(row, "%d |", &most); err != nil {
			t.Fatalf("%v: %.40q", err, row)
		}
		w := newWorld(t)
		for range most + 1 {
			if n := len(w.eventsOf(oidcgate.EventSessionRevoked)); n != 0 {
				t.Fatalf("%d sessions ended", n)
			}
			w.browser = w.newBrowser()
			w.get(w.callbackURL("/app"))
		}
		if n := len(w.eventsOf(oidcgate.EventSessionRevoked)); n != 1 {
			t.Errorf("%d of %d sessions ended, want one", n, most+1)
		}
	})
}

// TestLogoutBySubAndSid has logout tokens with both (OpenID Connect Back-Channel Logout, 2.7).
func TestLogoutBySubAndSid(t *testing.T) {
	for _, row := range []struct {
		name string
		sid  any // in the ID Token; nil: none
		ends bool
	}{
		{"no sid in the ID Token", nil, true},
		{"a numeric sid in the ID Token", 12345, true},
		{"the sid in the ID Token", "12345", true},
		{"another sid in the ID Token", "54321", false},
	} {
		inBubble(t, fmt.Sprintf("C125 %s: the session ends: %v", row.name, row.ends), func(t *testing.T) {
			f := newFleet(t, 2)
			f.op.EveryIDToken(func(j *oidcgatetest.JWT) {
				delete(j.Claims, "sid")
				if row.sid != nil {
					j.Claims["sid"] = row.sid
				}
			})
			alice, bob := f.signInAs("alice"), f.signInAs("bob")
			f.op.SetUser(oidcgatetest.User{Subject: "alice"})
			callback := f.callbackURL("/app")
			time.Sleep(2 * time.Second)
			f.op.Inject(oidcgatetest.Token, func(next http.Handler) http.Handler { // a logout during a login
				return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					next.ServeHTTP(rw, r)
					if a := f.logoutToken(f.logoutClaims("sub", "alice", "sid", "12345")); a.StatusCode != http.StatusOK {
						t.Errorf("status %d", a.StatusCode)
					}
				})
			})
			f.get(callback)
			if ended := f.who(alice) == ""; ended != row.ends {
				t.Errorf("the session ended: %v", ended)
			}
			if ended := f.subject() == ""; ended != row.ends {
				t.Errorf("the login under way was refused: %v", ended)
			}
			if row.sid != "12345" && f.who(bob) == "" {
				t.Error("another user's session ended")
			}
		})
	}
	inBubble(t, "C128 a token that arrives late keeps the session without a sid that began after it", func(t *testing.T) {
		f := newFleet(t, 2)
		f.op.EveryIDToken(func(j *oidcgatetest.JWT) { delete(j.Claims, "sid") })
		claims := f.logoutClaims("sub", "alice", "sid", "12345")
		time.Sleep(2 * time.Second)
		alice := f.signInAs("alice")
		if a := f.logoutToken(claims); a.StatusCode != http.StatusOK || f.who(alice) != "alice" {
			t.Errorf("status %d, signed in as %q", a.StatusCode, f.who(alice))
		}
	})
}

// TestFrontchannelBySibling has another client of the provider, which knows the sid: providers give one to all clients
// of a visitor's session.
func TestFrontchannelBySibling(t *testing.T) {
	for _, row := range []struct {
		dest string
		ends bool
	}{{"document", false}, {"empty", false}, {"image", false}, {"script", false}, {"iframe", true}, {"frame", true}, {"", true}} {
		inBubble(t, fmt.Sprintf("C120 a request for %q ends the session: %v", row.dest, row.ends), func(t *testing.T) {
			f := newFleet(t, 1)
			f.op.EveryIDToken(func(j *oidcgatetest.JWT) { j.Claims["sid"] = "S" })
			f.login()
			headers := []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: " + row.dest}
			if row.dest == "" { // an old browser
				headers = nil
			}
			a := f.frontchannel(f.browser, "iss="+f.op.Issuer()+"&sid=S", headers...)
			if ended := f.subject() == ""; a.StatusCode != http.StatusOK || ended != row.ends {
				t.Errorf("status %d, ended: %v", a.StatusCode, ended)
			}
			if cleared := f.cookie(sessionCookie) == ""; cleared != row.ends {
				t.Errorf("the cookie is cleared: %v", cleared)
			}
		})
	}
	inBubble(t, "C120 the next login out of the provider's session, which lives on, is let in", func(t *testing.T) {
		f := newFleet(t, 1)
		f.op.EveryIDToken(func(j *oidcgatetest.JWT) { j.Claims["sid"] = "S" })
		f.login()
		f.frontchannel(f.browser, "iss="+f.op.Issuer()+"&sid=S")
		if f.subject() != "" {
			t.Error("the session is not over")
		}
		f.browser = f.newBrowser()
		f.login()
	})
}

func TestFrontchannelOfAnotherSid(t *testing.T) {
	for _, row := range []struct {
		name, sid string // of the ID Token
		query     string
		want      int
	}{
		{"ID Tokens without a sid", "", "iss=https://id.test&sid=S", 1},
		{"another sid", "S", "iss=https://id.test&sid=T", 1},
		{"the session's sid", "S", "iss=https://id.test&sid=S", 0},
		{"another issuer", "S", "iss=https://evil.test&sid=T", 0},
		{"no sid", "S", "iss=https://id.test", 0},
		{"two sids", "S", "iss=https://id.test&sid=T&sid=T", 0},
	} {
		inBubble(t, fmt.Sprintf("C120 %s: %d events say that a frame named no session", row.name, row.want), func(t *testing.T) {
			f := newFleet(t, 1)
			f.op.EveryIDToken(func(j *oidcgatetest.JWT) {
				delete(j.Claims, "sid")
				if row.sid != "" {
					j.Claims["sid"] = row.sid
				}
			})
			f.login()
			f.frontchannel(f.browser, row.query, "Sec-Fetch-Dest: iframe")
			f.frontchannel(f.newBrowser(), row.query, "Sec-Fetch-Dest: iframe") // nobody is signed in there
			got := f.reported(oidcgate.EventFrontchannelIgnored)
			if len(got) != row.want || len(got) == 1 && (got[0].Reason != "sid_mismatch" || got[0].SubjectHash == "") {
				t.Errorf("%+v", got)
			}
		})
	}
}

// TestRevocationAtLogin has refresh tokens that nobody will use.
func TestRevocationAtLogin(t *testing.T) {
	for name, row := range map[string]struct {
		refuse error
		logout bool // the provider logs the user out during the login
	}{
		"OnLogin denies it":    {refuse: oidcgate.Deny("no")},
		"OnLogin fails":        {refuse: errors.New("the database is down")},
		"a logout comes first": {logout: true},
	} {
		inBubble(t, "C087 the refresh token of a login is revoked when "+name, func(t *testing.T) {
			f := newFleet(t, 1, func(c *oidcgate.Config, _ *oidcgate.Provider) {
				c.OnLogin = func(context.Context, *oidcgate.Login) error { return row.refuse }
			})
			revoked := f.revocations()
			callback := f.callbackURL("/app")
			if row.logout {
				time.Sleep(time.Second)
				if _, err := f.gate.Sessions().EndUser(t.Context(), f.op.Issuer(), "alice"); err != nil {
					t.Fatal(err)
				}
			}
			if a := f.get(callback); a.StatusCode == http.StatusSeeOther {
				t.Errorf("status %d", a.StatusCode)
			}
			if got := revoked(); len(got) != 1 || got[0] == "" {
				t.Errorf("revoked %q, want one refresh token", got)
			}
		})
	}
	for _, row := range []struct {
		name        string
		sid         any // of both ID Tokens; nil: a new one each
		user        string
		denies      bool // OnLogin denies the second login
		wantRevoked int
	}{
		{"another session of the provider's", nil, "alice", false, 1},
		{"another user", "S", "bob", false, 1},
		{"the same session of the provider's, whose grant lives on", "S", "alice", false, 0},
		{"a login without a sid, whose grant may live on", 0, "alice", false, 0},
		{"a denied login of another user", "S", "bob", true, 1},
		{"a denied login out of the provider's session that the visitor is in", "S", "alice", true, 0},
	} {
		inBubble(t, fmt.Sprintf("C087 a login in a browser that is signed in revokes %d refresh tokens: %s", row.wantRevoked, row.name), func(t *testing.T) {
			denies := false
			f := newFleet(t, 1, func(c *oidcgate.Config, _ *oidcgate.Provider) {
				c.OnLogin = func(context.Context, *oidcgate.Login) error {
					if denies {
						return oidcgate.Deny("no")
					}
					return nil
				}
			})
			f.op.EveryIDToken(func(j *oidcgatetest.JWT) {
				if row.sid != nil {
					j.Claims["sid"] = row.sid
				}
			})
			revoked := f.revocations()
			f.login()
			f.op.SetUser(oidcgatetest.User{Subject: row.user})
			denies = row.denies
			a := f.get(f.callbackURL("/auth/login?return_to=/app"))
			if ok := a.StatusCode == http.StatusSeeOther; ok == row.denies {
				t.Errorf("status %d", a.StatusCode)
			}
			if got := revoked(); len(got) != row.wantRevoked {
				t.Errorf("revoked %q", got)
			}
			want := row.user
			if row.denies {
				want = "alice"
			}
			if got := f.subject(); got != want {
				t.Errorf("signed in as %q, want %q", got, want)
			}
		})
	}
	inBubble(t, "C124 one logout token at two replicas at the same time: one event", func(t *testing.T) {
		f := newFleet(t, 2)
		f.login()
		token := f.op.NewJWT(f.logoutClaims("sub", "alice")).Compact()
		f.drill.fail(func(op, key string) error {
			if op == "members" && strings.HasPrefix(key, "u:") { // both have seen that the token is new
				f.drill.fail(nil, nil)
				if a := f.sendLogout(token); a.StatusCode != http.StatusOK {
					t.Errorf("the other: status %d", a.StatusCode)
				}
			}
			return nil
		}, nil)
		if a := f.sendLogout(token); a.StatusCode != http.StatusOK || f.subject() != "" {
			t.Errorf("status %d, signed in as %q", a.StatusCode, f.subject())
		}
		if n := len(f.reported(oidcgate.EventBackchannelAccepted)); n != 1 {
			t.Errorf("%d events", n)
		}
		if a := f.sendLogout(token); a.StatusCode != http.StatusBadRequest {
			t.Errorf("afterwards: status %d", a.StatusCode)
		}
	})
}

func TestLoginInThePlaceOfASessionThatCannotBeEnded(t *testing.T) {
	inBubble(t, "C109 F16 the login is refused with 503, and the visitor stays signed in as before", func(t *testing.T) {
		f := newFleet(t, 1)
		f.login()
		old, callback := f.cookie(sessionCookie), f.callbackURL("/auth/login")
		f.drill.fail(on("delete s:"+f.handle(), errReadOnly), nil)
		a := f.get(callback)
		f.drill.fail(nil, nil)
		f.denied(a, http.StatusServiceUnavailable, oidcgate.ReasonStoreError)
		if got := f.cookie(sessionCookie); got != old || f.subject() != "alice" {
			t.Errorf("the cookie is the old one: %v; signed in as %q", got == old, f.subject())
		}
	})
}
