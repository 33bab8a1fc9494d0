package attempt_test

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/internal/attempt"
	"github.com/oidcgate/oidcgate/internal/event"
)

// loggedIn notes a login that succeeded.
func (p *person) loggedIn() {
	p.visit(func(w http.ResponseWriter, r *http.Request) {
		p.LoggedIn(w, r, func() []string { return []string{"a", "b"} })
	})
}

// notLoggedOut is a store where no logout has left a mark.
func notLoggedOut(context.Context, []string, time.Time) bool { return false }

// wantLoop begins a login without a session, and checks whether that is one round too many.
func (p *person) wantLoop(want bool) {
	p.Helper()
	p.visit(func(w http.ResponseWriter, r *http.Request) {
		if got := p.IsLoop(w, r, notLoggedOut); got != want {
			p.Errorf("a loop: %v, want %v", got, want)
		}
	})
}

func TestRounds(t *testing.T) {
	inTime(t, "the third round is a loop, and the next counts from zero", func(p *person) {
		p.wantLoop(false) // nobody has logged in yet
		for range 2 {
			for _, want := range []bool{false, false, true} {
				p.loggedIn()
				p.wantLoop(want)
			}
			if len(p.cookies) != 0 {
				t.Errorf("cookies %q after a loop", p.names(""))
			}
		}
	})
	inTime(t, "many logins after one success are one round", func(p *person) {
		p.loggedIn()
		for range 5 {
			p.wantLoop(false)
		}
		p.loggedIn()
		p.wantLoop(false)
		p.loggedIn()
		p.wantLoop(true)
	})
	inTime(t, "a login a minute after the last success is no round, though the cookie comes",
		func(p *person) {
			for range 5 {
				p.loggedIn()
				time.Sleep(time.Minute)
				p.wantLoop(false)
			}
			for _, want := range []bool{false, false, true} {
				p.loggedIn()
				p.wantLoop(want)
			}
		})
	inTime(t, "a login just within the minute is a round", func(p *person) {
		p.loggedIn()
		p.wantLoop(false)
		p.loggedIn()
		p.wantLoop(false)
		p.loggedIn()
		time.Sleep(time.Minute - time.Millisecond)
		p.wantLoop(true)
	})
	inTime(t, "rounds that take more than a minute together are no loop", func(p *person) {
		for range 9 {
			p.loggedIn()
			time.Sleep(30 * time.Second)
			p.wantLoop(false)
		}
	})
	inTime(t, "the first round counts for less than a minute", func(p *person) {
		for _, wait := range []time.Duration{0, 30 * time.Second, 30 * time.Second} {
			time.Sleep(wait)
			p.loggedIn()
			p.wantLoop(false) // the third is a minute after the first
		}
	})
	inTime(t, "a cookie that cannot be opened counts nothing", func(p *person) {
		for _, value := range []string{"", "junk"} {
			p.cookies["gate-rounds"] = value
			if set := p.visit(func(w http.ResponseWriter, r *http.Request) { p.IsLoop(w, r, notLoggedOut) }); len(set) != 0 {
				t.Errorf("the cookie %q: the answer sets %q", value, set)
			}
		}
	})
	inTime(t, "the third round after a logout from elsewhere is none, and the next counts from zero", func(p *person) {
		var login time.Time
		for range 3 {
			for range 2 {
				p.loggedIn()
				p.wantLoop(false)
			}
			p.loggedIn()
			login = time.Now()
			time.Sleep(time.Second)
			p.visit(func(w http.ResponseWriter, r *http.Request) {
				asked := false
				if p.IsLoop(w, r, func(_ context.Context, marks []string, since time.Time) bool {
					asked = slices.Equal(marks, []string{"a", "b"}) && since.Equal(login)
					return true
				}) || !asked {
					p.Errorf("a loop, or it was not asked about the last login: %v", asked)
				}
			})
		}
	})
	inTime(t, "a logout forgets the rounds", func(p *person) {
		if set := p.visit(p.ForgetRounds); len(set) != 0 {
			t.Errorf("nothing to forget, and the answer sets %q", set)
		}
		p.loggedIn()
		if set := p.visit(p.ForgetRounds); !slices.Equal(set, []string{"gate-rounds"}) || len(p.cookies) != 0 {
			t.Errorf("the answer sets %q, cookies %q", set, p.names(""))
		}
	})
}

func TestLoop(t *testing.T) {
	tests := map[attempt.Gone]struct {
		status int
		reason event.Reason
		says   string
	}{
		"":                   {400, event.ReasonLoopNoCookie, "sent no session cookie"},
		attempt.GoneCookie:   {400, event.ReasonLoopNoCookie, "malformed, or there twice"},
		attempt.GoneKey:      {500, event.ReasonLoopKeyUnknown, "could not read"},
		attempt.GoneProvider: {500, event.ReasonLoopSessionLost, "does not know the provider"},
		attempt.GoneSession:  {500, event.ReasonLoopSessionLost, "gone at once"},
		"anything":           {500, event.ReasonLoopSessionLost, "gone at once"},
	}
	for gone, want := range tests {
		t.Run("the guard said "+strconv.Quote(string(gone)), func(t *testing.T) {
			l := attempt.LoopOf(gone)
			if l.Status != want.status || l.Reason != want.reason || !strings.Contains(l.Detail, want.says) || l.Hint == "" {
				t.Errorf("%+v, want %+v", l, want)
			}
		})
	}
}

func TestLogout(t *testing.T) {
	// end ends the logout with a state, and returns where it leads.
	end := func(p *person, state string) (back string, err error) {
		p.visit(func(w http.ResponseWriter, r *http.Request) { back, err = p.EndLogout(w, r, state) })
		return back, err
	}
	begin := func(p *person) string {
		state := attempt.NewLogoutState()
		p.visit(func(w http.ResponseWriter, r *http.Request) {
			if err := p.KeepLogout(w, state, "/bye"); err != nil {
				t.Error(err)
			}
		})
		return state
	}
	inTime(t, "C118 the browser that began a logout comes back once", func(p *person) {
		state := begin(p)
		if back, err := end(p, state); back != "/bye" || err != nil {
			t.Errorf("it leads to %q, %v", back, err)
		}
		if back, err := end(p, state); back != "" || err == nil {
			t.Errorf("a second time it leads to %q, %v", back, err)
		}
	})
	inTime(t, "C118 another state, and a cookie that cannot be opened", func(p *person) {
		state := begin(p)
		for _, other := range []string{"", state[1:], attempt.NewLogoutState()} {
			if back, err := end(p, other); back != "" || err == nil {
				t.Errorf("the state %q leads to %q, %v", other, back, err)
			}
		}
		if len(p.cookies) != 1 {
			t.Error("the logout is forgotten")
		}
		p.cookies["gate-logout"] = "junk"
		if back, err := end(p, ""); back != "" || err == nil {
			t.Errorf("junk leads to %q, %v", back, err)
		}
	})
}
