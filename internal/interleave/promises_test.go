package interleave_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oidcgate/oidcgate/internal/interleave"
	"github.com/oidcgate/oidcgate/internal/session"
)

// acknowledged reports whether a logout was told to have worked.
func (w *service) acknowledged(logout string) bool {
	got := w.run.Outcome(logout)
	return got == done || got == second
}

// loggedOut is the promise of a logout: when any was acknowledged, no session that was given out
// lets anybody in, and nothing of a session is left in the store. One that failed is made again.
func (w *service) loggedOut(logouts ...string) error {
	if !slices.ContainsFunc(logouts, w.acknowledged) {
		if !w.somethingFailed() && !w.mayBeBack() {
			return errors.New("no logout was acknowledged")
		}
		for _, name := range logouts {
			if got := w.logouts[name](w.probe); got != done && got != used {
				return fmt.Errorf("%s again after that: %s", name, got)
			}
		}
	}
	for name, id := range w.sessions {
		if w.admits(id) {
			return fmt.Errorf("the session of %s lives on after its logout was acknowledged", name)
		}
	}
	return w.nothingLeft()
}

// newestRevoked is the promise of a logout by the visitor: the refresh token that the provider gave
// last is revoked, also when it came while the logout was under way.
func (w *service) newestRevoked() error {
	if !w.somethingFailed() && !w.grants[0].newest {
		return errors.New("the newest refresh token is not revoked")
	}
	return nil
}

// clearedAgain is the promise of a logout that is made again, wherever it failed before: no index
// entry and no record is left, but for a summary to which nothing leads.
func (w *service) clearedAgain(logout string) error {
	if err := w.loggedOut(logout); err != nil {
		return err
	}
	if got := w.logouts[logout](w.probe); got != done && got != used {
		return fmt.Errorf("%s again: %s", logout, got)
	}
	return w.holdsNone("s", "t", "v", "u", "i")
}

// nothingLeft looks for records of sessions. When something failed there may be some that are of
// use to nobody: a login that a logout overtook and that dies before it cleans up leaves what only
// its cookie opens, and the cookie was never sent. A logout that has found a session again leaves
// the index that leads to it.
func (w *service) nothingLeft() error {
	switch {
	case w.somethingFailed():
		return nil
	case w.mayBeBack():
		return w.holdsNone("s", "t", "v")
	}
	return w.holdsNone("s", "t", "v", "d", "u", "i")
}

// holdsNone looks for keys with these prefixes in the store.
func (w *service) holdsNone(prefixes ...string) error {
	for _, key := range w.run.Keys() {
		if prefix, _, _ := strings.Cut(key, ":"); slices.Contains(prefixes, prefix) {
			return fmt.Errorf("the store holds %s of a session that is over", key)
		}
	}
	return nil
}

// reachable is the promise of the index: it leads to every session that a login leaves behind,
// wherever it fails.
func (w *service) reachable() error {
	if got := w.probe.endUser(w.Context()); got != done {
		return fmt.Errorf("ending all sessions after that: %s", got)
	}
	return w.holdsNone("s", "t")
}

// listed is the promise of the index about a session that lives: ending all of the user's ends it.
func (w *service) listed() error {
	time.Sleep(2 * time.Second) // the logins under way began before that
	if got := w.probe.endUser(w.Context()); got != done {
		return fmt.Errorf("ending all sessions after that: %s", got)
	}
	return w.holdsNone("s")
}

// oneStays is the promise of a limit of one session. Two logins at the same time may both stay, but
// never none, and the next login ends those.
func (w *service) oneStays(names ...string) error {
	living := func() (n int) {
		for _, name := range names {
			if w.admits(w.sessions[name]) {
				n++
			}
		}
		return n
	}
	if living() == 0 {
		return errors.New("no session lives")
	}
	time.Sleep(2 * time.Minute)
	if got := w.probe.logIn(w.Context(), w.attempt()); got != done {
		return fmt.Errorf("the next login was answered %q", got)
	}
	if n := living(); n != 0 || !w.admits(w.sessions["probe"]) {
		return fmt.Errorf("%d sessions live after the next login", n)
	}
	return nil
}

// admits reports whether a session lets its visitor in.
func (w *service) admits(id session.ID) bool { return w.probe.read(w.Context(), id) == done }

// signedIn is the promise of a login whose answer was a session.
func (w *service) signedIn(login string) error {
	if got := w.run.Outcome(login); got != done && !w.somethingFailed() {
		return fmt.Errorf("the login was answered %q", got)
	}
	if w.run.Outcome(login) == done && !w.admits(w.sessions[login]) {
		return errors.New("the login began a session that does not live")
	}
	return nil
}

// replaced is the promise of a login in a browser that has a session: the old one is over.
func (w *service) replaced(login string) error {
	got := w.run.Outcome(login)
	if got == done && !w.somethingFailed() && w.admits(w.visitor()) {
		return errors.New("the session from before the login lives on")
	}
	return nil
}

// onceSignedIn is the promise of a single-use code.
func (w *service) onceSignedIn(names ...string) error {
	n := 0
	for _, name := range names {
		if w.run.Outcome(name) == done {
			n++
		}
	}
	if n > 1 || n == 0 && !w.somethingFailed() {
		return fmt.Errorf("one code began %d sessions", n)
	}
	return nil
}

// onceDone is the promise of a logout token: one of the requests that bring it is told to be first.
func (w *service) onceDone(names ...string) error {
	n := 0
	for _, name := range names {
		if w.run.Outcome(name) == done {
			n++
		}
	}
	if n > 1 || n == 0 && !w.somethingFailed() {
		return fmt.Errorf("%d requests with one logout token were the first", n)
	}
	return nil
}

// refreshed is the promise of a refresh: nobody is logged out, every answer is a token that serves,
// the provider was asked once, and what it gave is there for the next time.
func (w *service) refreshed(names ...string) error {
	if w.rotationMayBeLost() {
		return w.endsCleanly()
	}
	for _, n := range names {
		got := w.run.Outcome(n)
		if !strings.HasPrefix(got, "access-0.") && !w.somethingFailed() {
			return fmt.Errorf("%s was answered %q", n, got)
		}
	}
	rotations := w.grants[0].rotations
	if rotations > 1 || rotations == 0 && !w.somethingFailed() {
		return fmt.Errorf("the provider was asked %d times", rotations)
	}
	if !w.admits(w.visitor()) {
		return errors.New("the session is over, and nobody logged out")
	}
	return w.nextRefresh()
}

// nextRefresh refreshes once more: that only works with the refresh token that the provider gave
// last.
func (w *service) nextRefresh() error {
	w.keysLost = false
	want := fmt.Sprint("access-0.", w.grants[0].rotations+1)
	time.Sleep(tokenLife + lockLease)
	if got := w.probe.token(w.Context(), w.visitor()); got != want {
		return fmt.Errorf("the next refresh: %q, want %q: a rotation was lost", got, want)
	}
	return nil
}

// rotationMayBeLost reports whether something came between the provider's answer and the store that
// nobody can make good.
func (w *service) rotationMayBeLost() bool {
	return w.unheard ||
		w.run.Happened(interleave.Crash, interleave.Stall, interleave.Failover)
}

// endsCleanly is what is left to promise then: the session goes on, or it is over, and there is no
// third.
func (w *service) endsCleanly() error {
	w.keysLost = false
	time.Sleep(tokenLife + lockLease)
	got := w.probe.token(w.Context(), w.visitor())
	if strings.HasPrefix(got, "access-0.") || got == over && !w.admits(w.visitor()) {
		return nil
	}
	return fmt.Errorf("after a lost rotation the session lives without tokens: %s", got)
}

// claimsRead is the promise of claims that are read again: they stay, and so does the note of the
// session's use.
func (w *service) claimsRead() error {
	if w.somethingFailed() {
		return nil
	}
	s, err := w.probe.Load(w.Context(), w.visitor())
	if err != nil {
		return err
	}
	if _, ok := s.Identity.Userinfo.Get("group"); !ok {
		return errors.New("the claims that were read again are lost")
	}
	if time.Since(time.UnixMilli(s.Times.Seen)) >= time.Minute {
		return errors.New("the note of the session's use is lost")
	}
	return nil
}

// ended is the promise of claims that the application refuses: the session is over for everybody.
func (w *service) ended() error {
	if w.somethingFailed() {
		time.Sleep(time.Minute) // the next request reads them again after a pause
	}
	if w.admits(w.visitor()) {
		return errors.New("the session lives on after the application refused its claims")
	}
	return w.nothingLeft()
}

// saved is the promise of values: what each request put is there.
func (w *service) saved(names ...string) error {
	s, err := w.probe.Peek(w.Context(), w.visitor())
	if err != nil {
		return err
	}
	v, err := w.probe.ReadValues(w.Context(), s)
	if err != nil {
		return err
	}
	for _, n := range names {
		if _, ok := v.Current.Get(n); !ok && w.run.Outcome(n) == done {
			return fmt.Errorf("the values of %s were not saved", n)
		}
	}
	return nil
}

// nobodyFailed is the promise of every scenario in which nothing goes wrong.
func (w *service) nobodyFailed() error {
	if w.somethingFailed() {
		return nil
	}
	for name, outcome := range w.run.Outcomes() {
		if outcome == failed && !(name == "logout" && w.mayBeBack()) {
			return errors.New("a request failed, and nothing went wrong")
		}
	}
	return nil
}

// mayBeBack reports whether a logout may have found again what it had just deleted, which it says: a
// write arrived twice.
func (w *service) mayBeBack() bool { return w.run.Happened(interleave.Resend) }

// somethingFailed reports whether an actor may have had a reason to fail.
func (w *service) somethingFailed() bool {
	return w.unheard || w.run.Happened(interleave.Crash, interleave.LostReply, interleave.Refused,
		interleave.Stall, interleave.Failover)
}
