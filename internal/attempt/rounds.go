package attempt

import (
	"context"
	"net/http"
	"time"

	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/seal"
)

// Sessions that vanish at once send a browser round and round between guard, login and provider:
// the guard finds no session, the provider knows the user and asks nothing, the login succeeds, and
// the session is gone again. A round is a login that begins without a session soon after another
// has succeeded in this browser. Rounds are counted in a cookie, so that they cost the store
// nothing. However many tabs begin a login at the same time, that is one round: it takes a success
// in between to count the next.

const (
	maxRounds = 3           // so many are a loop
	roundTime = time.Minute // in which they are a loop
)

// rounds is kept sealed in a cookie after a login.
type rounds struct {
	Count int       `json:"n,omitempty"`
	First time.Time `json:"f,omitzero"`  // when the first of them was counted
	Login time.Time `json:"t"`           // when the last login succeeded
	Begun bool      `json:"b,omitempty"` // a round was counted since then
	Marks []string  `json:"m,omitempty"` // of that login: session.LogoutMarks
}

func (k *Keeper) roundsCookie() string { return k.Name + "-rounds" }

func (k *Keeper) roundsBinding() seal.Binding {
	return seal.Binding{Purpose: "rounds", Name: k.roundsCookie()}
}

// openRounds returns the rounds of this browser, and false if no login has succeeded lately.
func (k *Keeper) openRounds(r *http.Request) (rounds, bool) {
	c, err := r.Cookie(k.roundsCookie())
	if err != nil {
		return rounds{}, false
	}
	var n rounds
	_ = k.Ring.OpenText(k.roundsBinding(), c.Value, &n) // with an error, no login has succeeded
	return n, time.Since(n.Login) < roundTime
}

func (k *Keeper) keepRounds(w http.ResponseWriter, n rounds) {
	if text, err := k.Ring.SealText(k.roundsBinding(), n); err == nil {
		k.Cookies.Set(w, k.roundsCookie(), text, roundTime)
	}
}

// LoggedIn notes that a login has succeeded. If the next round may be one too many, it keeps the
// marks of the login: otherwise they make the cookie longer for nothing.
func (k *Keeper) LoggedIn(w http.ResponseWriter, r *http.Request, marks func() []string) {
	n, _ := k.openRounds(r)
	n.Login, n.Begun, n.Marks = time.Now(), false, nil
	if n.Count == maxRounds-1 {
		n.Marks = marks()
	}
	k.keepRounds(w, n)
}

// IsLoop counts a login that begins without a session, and reports whether it is one round too
// many. It is none when the user was logged out since the last login, as loggedOut finds by its
// marks. Either way it then counts from zero again.
func (k *Keeper) IsLoop(
	w http.ResponseWriter, r *http.Request,
	loggedOut func(ctx context.Context, marks []string, since time.Time) bool,
) bool {
	n, ok := k.openRounds(r)
	if !ok || n.Begun {
		return false
	}
	if time.Since(n.First) >= roundTime {
		n.Count, n.First = 0, time.Now()
	}
	n.Count, n.Begun = n.Count+1, true
	if n.Count >= maxRounds {
		k.Cookies.Clear(w, k.roundsCookie())
		return !loggedOut(r.Context(), n.Marks, n.Login)
	}
	k.keepRounds(w, n)
	return false
}

// ForgetRounds is called at a logout: the next login is none that goes round.
func (k *Keeper) ForgetRounds(w http.ResponseWriter, r *http.Request) {
	if _, err := r.Cookie(k.roundsCookie()); err == nil {
		k.Cookies.Clear(w, k.roundsCookie())
	}
}

// Gone says why a request had no session, though it had a session cookie. A guard that sends the
// browser to the login says so in the login's address, because it deletes the cookie.
type Gone string

// The reasons. "" means that there was no cookie, or a session.
const (
	GoneSession  Gone = "session"  // the store has no such session
	GoneKey      Gone = "key"      // this replica cannot read it
	GoneProvider Gone = "provider" // this replica does not know its provider
	GoneCookie   Gone = "cookie"   // the cookie is malformed, or there twice
)

// Elsewhere reports whether another replica may know the session.
func (g Gone) Elsewhere() bool { return g == GoneKey || g == GoneProvider }

// Loop is why a browser goes round, and what is answered.
type Loop struct {
	Status int
	Reason event.Reason
	Detail string
	Hint   string
}

// LoopOf returns why a browser goes round, by what the guard said.
func LoopOf(gone Gone) Loop {
	switch gone {
	case "", GoneCookie:
		l := Loop{
			http.StatusBadRequest, event.ReasonLoopNoCookie,
			"after the logins before, the browser sent no session cookie",
			"the browser keeps the cookies of logins but not that of the session; if many do, look for " +
				"what drops, deletes or sets it: a proxy, another application on this host",
		}
		if gone == GoneCookie {
			l.Detail = "after the logins before, the session cookie was malformed, or there twice"
		}
		return l
	case GoneKey:
		return Loop{
			http.StatusInternalServerError, event.ReasonLoopKeyUnknown,
			"a replica could not read the sessions of the logins before",
			"give all replicas the same Keys, and the same version of this service",
		}
	case GoneProvider:
		return Loop{
			http.StatusInternalServerError, event.ReasonLoopSessionLost,
			"a replica does not know the provider of the sessions of the logins before",
			"give all replicas the same providers; call SetProviders in each",
		}
	}
	return Loop{
		http.StatusInternalServerError, event.ReasonLoopSessionLost,
		"the sessions of the logins before were gone at once",
		"look at the store: does it evict keys (Redis: use noeviction), lose writes at a failover, or " +
			"is it another one for each replica?",
	}
}
