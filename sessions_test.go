package oidcgate_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// list returns the sessions that a browser's visitor sees.
func (f *fleet) list(browser *http.Client) (list []oidcgate.SessionInfo) {
	f.Helper()
	a := f.send(browser, http.MethodGet, "/sessions", "")
	if err := json.Unmarshal([]byte(a.body), &list); err != nil {
		f.Fatalf("/sessions: status %d: %s", a.StatusCode, a.body)
	}
	return list
}

// current is the id of a browser's own session.
func (f *fleet) current(browser *http.Client) string {
	f.Helper()
	for _, s := range f.list(browser) {
		if s.Current {
			return s.ID
		}
	}
	f.Fatal("no session is the current one")
	return ""
}

// left tells who is signed in with each browser, "-" for nobody.
func (f *fleet) left(browsers ...*http.Client) string {
	f.Helper()
	var left []string
	for _, b := range browsers {
		who := f.who(b)
		if who == "" {
			who = "-"
		}
		left = append(left, who)
	}
	return strings.Join(left, ",")
}

func (f *fleet) end(browser *http.Client, id string) int {
	f.Helper()
	return f.send(browser, http.MethodGet, "/sessions/end?id="+id, "").StatusCode
}

func TestSessionsOfAUser(t *testing.T) {
	onMemoryAndRedis(t, "C114 R-OUT-2 three sessions, the oldest ended, then a logout by sub ends the others", func(t *testing.T, on change) {
		f := newFleet(t, 3, on)
		var browsers []*http.Client
		for range 3 {
			browsers = append(browsers, f.signInAs("alice"))
		}
		bob := f.signInAs("bob")
		if status := f.end(browsers[2], f.current(browsers[0])); status != http.StatusOK {
			t.Errorf("status %d", status)
		}
		if got := f.left(append(browsers, bob)...); got != "-,alice,alice,bob" {
			t.Errorf("left after the first: %s", got)
		}
		if a := f.logoutToken(f.logoutClaims("sub", "alice")); a.StatusCode != http.StatusOK {
			t.Errorf("status %d", a.StatusCode)
		}
		if got := f.left(append(browsers, bob)...); got != "-,-,-,bob" {
			t.Errorf("left after the logout: %s", got)
		}
	})
	onMemoryAndRedis(t, "C114 an administrator lists the sessions of any user", func(t *testing.T, on change) {
		f := newFleet(t, 2, on)
		alice := f.signInAs("alice")
		time.Sleep(10 * time.Millisecond) // the newer one has a later time
		f.signInAs("alice")
		f.signInAs("bob")
		own := f.list(alice)
		list, err := f.gates[1].Sessions().ListUser(t.Context(), f.op.Issuer(), "alice")
		if err != nil || len(list) != 2 || list[0].ID != own[0].ID || list[1].ID != own[1].ID || list[0].Current || list[1].Current {
			t.Errorf("%+v, %v; her own list is %+v", list, err, own)
		}
		if a := f.send(alice, http.MethodGet, "/sessions/of?user=alice", ""); strings.Count(a.body, `"Current":true`) != 1 {
			t.Errorf("for a request of hers: %s", a.body)
		}
		if a := f.send(alice, http.MethodGet, "/sessions/of?user=bob", ""); strings.Contains(a.body, `"Current":true`) {
			t.Errorf("bob's, for a request of hers: %s", a.body)
		}
		if list, err := f.gates[0].Sessions().ListUser(t.Context(), f.op.Issuer(), "nobody"); err != nil || len(list) != 0 {
			t.Errorf("of nobody: %+v, %v", list, err)
		}
	})
	onMemoryAndRedis(t, "C114 an administrator ends one session of any user", func(t *testing.T, on change) {
		f := newFleet(t, 2, on)
		one, two, bob := f.signInAs("alice"), f.signInAs("alice"), f.signInAs("bob")
		sessions, id := f.gates[1].Sessions(), f.current(one)
		for user, want := range map[string]error{"bob": oidcgate.ErrNoSession, "": oidcgate.ErrNoSession, "alice": nil} {
			if user == "alice" && f.left(one) != "alice" {
				t.Error("one was ended as somebody else's")
			}
			if err := sessions.EndUserSession(t.Context(), f.op.Issuer(), user, id); !errors.Is(err, want) {
				t.Errorf("of %q: error %v, want %v", user, err, want)
			}
		}
		if got := f.left(one, two, bob); got != "-,alice,bob" {
			t.Errorf("left: %s", got)
		}
		if err := f.gates[1].Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if list := f.eventsOf(oidcgate.EventSessionRevoked); len(list) != 1 || list[0].Reason != oidcgate.ReasonByAdmin {
			t.Errorf("events %+v", list)
		}
	})
	onMemoryAndRedis(t, "C114 the list has the user's own living sessions, the newest first, with their labels", func(t *testing.T, on change) {
		label := ""
		f := newFleet(t, 2, on, func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.OnLogin = func(_ context.Context, l *oidcgate.Login) error { l.SetLabel(label); return nil }
		})
		var browsers []*http.Client
		for _, label = range []string{"Firefox", "Téléphone", strings.Repeat("é", 200)} {
			browsers = append(browsers, f.signInAs("alice"))
			time.Sleep(10 * time.Millisecond)
		}
		f.signInAs("bob")
		list := f.list(browsers[1])
		var labels []string
		for _, s := range list {
			labels = append(labels, fmt.Sprint(s.Label, s.Current))
		}
		want := []string{strings.Repeat("é", 100) + "false", "Téléphonetrue", "Firefoxfalse"}
		if !slices.Equal(labels, want) {
			t.Errorf("%q, want %q", labels, want)
		}
		for _, s := range list {
			if s.ID == "" || s.Created.IsZero() || strings.Contains(f.cookieOf(browsers[1]), s.ID) {
				t.Errorf("%+v", s)
			}
			a := f.send(f.newBrowser(), http.MethodGet, "/whoami", "", "Cookie: __Host-Http-oidcgate="+s.ID)
			if a.StatusCode != http.StatusUnauthorized {
				t.Error("the id in the list opens a session")
			}
		}
	})
	inBubble(t, "C114 a session that is over is not in the list, however it ended", func(t *testing.T) {
		f := newFleet(t, 2, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.IdleTimeout = 20 * time.Minute })
		f.signInAs("alice") // and never used
		gone, here := f.signInAs("alice"), f.signInAs("alice")
		time.Sleep(15 * time.Minute)
		f.who(here)
		f.send(gone, http.MethodPost, "/auth/logout", "", "Sec-Fetch-Site: same-origin")
		time.Sleep(10 * time.Minute)
		if list := f.list(here); len(list) != 1 || !list[0].Current {
			t.Errorf("%+v, want the current one", list)
		}
		a := f.send(here, http.MethodGet, "/sessions/end-others", "")
		if strings.TrimSpace(a.body) != "0" {
			t.Errorf("ended %s others, of which there are none", a.body)
		}
	})
	inBubble(t, "C114 nobody ends a session that is not theirs", func(t *testing.T) {
		f := newFleet(t, 2)
		alice, bob := f.signInAs("alice"), f.signInAs("bob")
		for _, id := range []string{f.current(bob), "", "x", "../" + f.current(bob), f.cookieOf(alice), strings.Repeat("A", 43)} {
			if status := f.end(alice, id); status != http.StatusUnauthorized {
				t.Errorf("ending %q: status %d, want ErrNoSession", id, status)
			}
		}
		if got := f.left(alice, bob); got != "alice,bob" {
			t.Errorf("left %s", got)
		}
	})
	inBubble(t, "C114 who is not signed in lists and ends nothing", func(t *testing.T) {
		f := newFleet(t, 1)
		id := f.current(f.signInAs("alice"))
		for _, page := range []string{"/sessions", "/sessions/end?id=" + id, "/sessions/end-others"} {
			if a := f.send(f.newBrowser(), http.MethodGet, page, ""); a.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s: status %d", page, a.StatusCode)
			}
		}
	})
	inBubble(t, "C114 EndOthers ends the user's others and leaves this one", func(t *testing.T) {
		f := newFleet(t, 2)
		one, two, three, bob := f.signInAs("alice"), f.signInAs("alice"), f.signInAs("alice"), f.signInAs("bob")
		if a := f.send(two, http.MethodGet, "/sessions/end-others", ""); strings.TrimSpace(a.body) != "2" {
			t.Errorf("ended %s, want 2", a.body)
		}
		if got := f.left(one, two, three, bob); got != "-,alice,-,bob" {
			t.Errorf("left %s", got)
		}
	})
	inBubble(t, "C114 ending one's own session signs out", func(t *testing.T) {
		f := newFleet(t, 2)
		alice := f.signInAs("alice")
		if status := f.end(alice, f.current(alice)); status != http.StatusOK || f.who(alice) != "" {
			t.Errorf("status %d, signed in as %q", status, f.who(alice))
		}
	})
	inBubble(t, "C114 C126 EndUser and EndProviderSession end what issuer and name say together", func(t *testing.T) {
		f := newFleet(t, 2)
		one, two, bob := f.signInAs("alice"), f.signInAs("alice"), f.signInAs("bob")
		iss, sessions := f.op.Issuer(), f.gate.Sessions()
		for _, row := range []struct {
			end         func(context.Context, string, string) (int, error)
			issuer, key string
			n           int
			left        string
		}{
			{sessions.EndUser, "https://evil.test", "alice", 0, "alice,alice,bob"},
			{sessions.EndUser, "", "alice", -1, "alice,alice,bob"},
			{sessions.EndUser, iss, "", -1, "alice,alice,bob"},
			{sessions.EndProviderSession, "", f.sid(one), -1, "alice,alice,bob"},
			{sessions.EndProviderSession, iss, "", -1, "alice,alice,bob"},
			{sessions.EndUser, iss, f.sid(one), 0, "alice,alice,bob"},
			{sessions.EndProviderSession, iss, "alice", 0, "alice,alice,bob"},
			{sessions.EndProviderSession, "https://evil.test", f.sid(one), 0, "alice,alice,bob"},
			{sessions.EndProviderSession, iss, f.sid(one), 1, "-,alice,bob"},
			{sessions.EndUser, iss, "alice", 1, "-,-,bob"},
			{sessions.EndUser, iss, "alice", 0, "-,-,bob"},
		} {
			n, err := row.end(t.Context(), row.issuer, row.key)
			if row.n < 0 && err != nil && strings.Contains(err.Error(), "need") {
				n, err = -1, nil
			}
			if n != row.n || err != nil || f.left(one, two, bob) != row.left {
				t.Errorf("(%q, %q): %d, %v, left %s; want %d, left %s", row.issuer, row.key, n, err, f.left(one, two, bob), row.n, row.left)
			}
		}
	})
	inBubble(t, "C114 EndUser ends a session whose provider's clock is ahead", func(t *testing.T) {
		f := newFleet(t, 1)
		f.op.EveryIDToken(func(t *oidcgatetest.JWT) { t.Claims["iat"] = time.Now().Add(45 * time.Second).Unix() })
		alice := f.signInAs("alice")
		n, err := f.gate.Sessions().EndUser(t.Context(), f.op.Issuer(), "alice")
		if n != 1 || err != nil || f.who(alice) != "" {
			t.Errorf("%d, %v, signed in as %q", n, err, f.who(alice))
		}
	})
	inBubble(t, "C114 a list of nobody's sessions is an error", func(t *testing.T) {
		f := newFleet(t, 1)
		f.signInAs("alice")
		for _, u := range [][2]string{{"", "alice"}, {f.op.Issuer(), ""}} {
			if list, err := f.gate.Sessions().ListUser(t.Context(), u[0], u[1]); err == nil || len(list) > 0 {
				t.Errorf("%q: %v, %v", u, list, err)
			}
		}
	})
	inBubble(t, "C107 C114 a request that outlives its session neither lists nor ends the user's others", func(t *testing.T) {
		f := newFleet(t, 1)
		f.login()
		ctx, sessions := f.longRequest(), f.gate.Sessions()
		if _, err := sessions.List(ctx); err != nil {
			t.Fatal(err)
		}
		if n, err := sessions.EndUser(t.Context(), f.op.Issuer(), "alice"); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		time.Sleep(time.Second)
		alice := f.signInAs("alice")
		list, listErr := sessions.List(ctx)
		n, othersErr := sessions.EndOthers(ctx)
		var one string
		f.as(alice, func() { one = f.current(alice) })
		endErr := sessions.End(ctx, one)
		for what, err := range map[string]error{"List": listErr, "EndOthers": othersErr, "End": endErr} {
			if !errors.Is(err, oidcgate.ErrNoSession) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if len(list) != 0 || n != 0 || f.who(alice) != "alice" {
			t.Errorf("listed %d, ended %d, signed in as %q", len(list), n, f.who(alice))
		}
	})
	inBubble(t, "C114 after EndUser the user may log in again", func(t *testing.T) {
		f := newFleet(t, 1)
		f.signInAs("alice")
		if _, err := f.gate.Sessions().EndUser(t.Context(), f.op.Issuer(), "alice"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if alice := f.signInAs("alice"); f.who(alice) != "alice" {
			t.Error("the user is shut out")
		}
	})
}

// cookieOf is the session cookie of a browser.
func (f *fleet) cookieOf(browser *http.Client) (value string) {
	f.as(browser, func() { value = f.cookie("__Host-Http-oidcgate") })
	return value
}

func TestSessionsCost(t *testing.T) {
	cost := func(f *fleet, alice *http.Client) (list, end []string) {
		list = f.drill.during(func() { f.list(alice) })
		end = f.drill.during(func() {
			if n, err := f.gate.Sessions().EndUser(f.Context(), f.op.Issuer(), "alice"); n != 2 || err != nil {
				f.Errorf("EndUser: %d, %v", n, err)
			}
		})
		return list, end
	}
	inBubble(t, "C114 a list and a logout cost what the user's own sessions cost, whoever else is there", func(t *testing.T) {
		alone := newFleet(t, 1)
		alone.signInAs("alice")
		aloneList, aloneEnd := cost(alone, alone.signInAs("alice"))
		crowd := newFleet(t, 1)
		for i := range 100 {
			crowd.signInAs(fmt.Sprint("user", i))
		}
		crowd.signInAs("alice")
		crowdList, crowdEnd := cost(crowd, crowd.signInAs("alice"))
		if len(aloneList) != len(crowdList) || len(aloneEnd) != len(crowdEnd) {
			t.Errorf("a list: %d commands alone, %d in a crowd; a logout: %d and %d", len(aloneList), len(crowdList), len(aloneEnd), len(crowdEnd))
		}
		if len(crowdList) > 7 || len(crowdEnd) > 20 {
			t.Errorf("two sessions: listed in %d commands, ended in %d:\n%q\n%q", len(crowdList), len(crowdEnd), crowdList, crowdEnd)
		}
	})
}

func TestSessionsStoreFails(t *testing.T) {
	for _, page := range []string{"/sessions", "/sessions/end?id=", "/sessions/end-others"} {
		inBubble(t, "C114 each command fails in turn: "+page+" says that the store is ill, and works afterwards", func(t *testing.T) {
			f := newFleet(t, 2)
			mine, other := f.signInAs("alice"), f.signInAs("alice")
			target := page
			if strings.HasSuffix(page, "id=") {
				target += f.current(other)
			}
			for n := 2; ; n++ { // the first reads the visitor's own session
				var count atomic.Int64 // some commands come at the same time
				f.drill.fail(func(string, string) error {
					if count.Add(1) == int64(n) {
						return errIll
					}
					return nil
				}, nil)
				a := f.send(mine, http.MethodGet, target, "")
				f.drill.fail(nil, nil)
				if count.Load() < int64(n) {
					break
				}
				// A command about the visitor's own session may fail: end-others leaves that alone.
				done := page == "/sessions/end-others" && f.who(other) == ""
				if a.StatusCode != http.StatusServiceUnavailable && !done {
					t.Errorf("command %d fails: status %d %s", n, a.StatusCode, a.body)
				}
				if page != "/sessions" { // it may be half done; put another in its place
					f.send(mine, http.MethodGet, "/sessions/end-others", "")
					time.Sleep(time.Second) // a login of the same second would be refused
					other = f.signInAs("alice")
					if strings.HasSuffix(page, "id=") {
						target = page + f.current(other)
					}
				}
			}
			if f.who(mine) != "alice" {
				t.Error("the visitor was signed out")
			}
			if page != "/sessions" && f.who(other) != "" {
				t.Error("the other session was not ended")
			}
		})
	}
	for _, command := range []string{"create E:", "members u:", "get d:", "get s:", "delete s:", "delete t:", "remove i:", "remove u:", "delete d:"} {
		inBubble(t, "C114 an administrator is told that the store is ill, and may try again: "+command, func(t *testing.T) {
			f := newFleet(t, 1)
			alice := f.signInAs("alice")
			f.drill.fail(on(command, errIll), nil)
			if _, err := f.gate.Sessions().EndUser(t.Context(), f.op.Issuer(), "alice"); !errors.Is(err, oidcgate.ErrStoreUnavailable) {
				t.Errorf("%v, want ErrStoreUnavailable", err)
			}
			f.drill.fail(nil, nil)
			if _, err := f.gate.Sessions().EndUser(t.Context(), f.op.Issuer(), "alice"); err != nil || f.who(alice) != "" {
				t.Errorf("%v, signed in as %q", err, f.who(alice))
			}
		})
	}
}

func TestEndThatLeavesSomethingBehind(t *testing.T) {
	t.Run("C126 F18 the error says so, the session is over, and its end is told once", func(t *testing.T) {
		l := &logouts{}
		f := newFleet(t, 1, l.set)
		other := f.signInAs("alice")
		f.login()
		id := f.current(other)
		f.drill.fail(func(op, key string) error {
			if op == "delete" && strings.HasPrefix(key, "d:") {
				return errors.New("stumbles")
			}
			return nil
		}, nil)
		if err := f.gate.Sessions().End(f.longRequest(), id); err == nil {
			t.Error("what was left behind is not said")
		}
		f.drill.fail(nil, nil)
		if got := f.who(other); got != "" {
			t.Fatalf("the other session lives: %q", got)
		}
		// Only a summary is left, which nobody reads and which expires.
		if err := f.gate.Sessions().End(f.longRequest(), id); !errors.Is(err, oidcgate.ErrNoSession) {
			t.Errorf("again: %v", err)
		}
		if got := l.all(f.world); len(got) != 1 {
			t.Errorf("OnLogout got %+v, want one; %d events", got, len(f.eventsOf(oidcgate.EventSessionRevoked)))
		}
	})
}
