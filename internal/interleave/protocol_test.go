package interleave_test

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/internal/interleave"
	"github.com/oidcgate/oidcgate/internal/session"
)

// The ages of a session at which something is due. Access tokens live for a minute and are
// refreshed in the last seconds of it; use is noted after three minutes.
const (
	isYoung   = time.Second
	isDue     = 55 * time.Second
	isExpired = 70 * time.Second
	isUnused  = 4 * time.Minute
)

// protocol is a scenario: who meets whom, and what holds after it.
type protocol struct {
	name   string
	ticks  int
	change func(w *service) // before the replicas are made
	begin  func(w *service)
	check  func(w *service) error
}

var (
	loginAndSid = protocol{
		name:  "C128 a login meets a back-channel logout of its sid",
		begin: func(w *service) { w.logsIn("login", w.attempt()); w.endsSid("logout") },
		check: func(w *service) error { return w.loggedOut("logout") },
	}
	loginAndSub = protocol{
		name:  "C128 a login meets a back-channel logout of its sub",
		begin: func(w *service) { w.logsIn("login", w.attempt()); w.endsSub("logout") },
		check: func(w *service) error { return w.loggedOut("logout") },
	}
	laterLogin = protocol{
		name: "C128 a login meets an older logout of its sub, and stays",
		begin: func(w *service) {
			w.endsSub("logout")
			time.Sleep(2 * time.Second)
			w.logsIn("login", w.attempt())
		},
		check: func(w *service) error { return w.signedIn("login") },
	}
	secondLogin = protocol{
		name: "C114 a second login meets the end of all the user's sessions",
		begin: func(w *service) {
			w.signIn(isYoung)
			w.logsIn("login", w.attempt())
			w.endsUser("logout")
		},
		check: func(w *service) error { return w.loggedOut("logout") },
	}
	callbackTwice = protocol{
		name:  "C033 a callback arrives twice",
		begin: func(w *service) { a := w.attempt(); w.logsIn("first", a); w.logsIn("second", a) },
		check: func(w *service) error { return w.onceSignedIn("first", "second") },
	}
	refreshAndLogout = protocol{
		name: "C082 two replicas refresh tokens that still serve, and the visitor logs out",
		begin: func(w *service) {
			w.signIn(isDue)
			w.asksToken("A")
			w.asksToken("B")
			w.logsOut("logout")
		},
		check: func(w *service) error { return w.loggedOut("logout") },
	}
	refreshExpired = protocol{
		name: "C082 two replicas refresh tokens that are over, " +
			"at a provider slower than the lease",
		ticks: int(lockLease/interleave.Tick) + 1,
		begin: func(w *service) { w.signIn(isExpired); w.asksToken("A"); w.asksToken("B") },
		check: func(w *service) error { return w.refreshed("A", "B") },
	}
	refreshDue = protocol{
		name:  "C082 two replicas refresh tokens that still serve",
		begin: func(w *service) { w.signIn(isDue); w.asksToken("A"); w.asksToken("B") },
		check: func(w *service) error { return w.refreshed("A", "B") },
	}
	refreshThrice = protocol{
		name: "C082 three replicas refresh tokens that still serve",
		begin: func(w *service) {
			w.signIn(isDue)
			w.asksToken("A")
			w.asksToken("B")
			w.asksToken("C")
		},
		check: func(w *service) error { return w.refreshed("A", "B", "C") },
	}
	valuesAndLogout = protocol{
		name: "F27 two replicas save values while the visitor logs out",
		begin: func(w *service) {
			w.signIn(isYoung)
			w.saves("A")
			w.saves("B")
			w.logsOut("logout")
		},
		check: func(w *service) error { return w.loggedOut("logout") },
	}
	valuesTwice = protocol{
		name: "F26 three replicas save values at the same time",
		begin: func(w *service) {
			w.signIn(isYoung)
			w.saves("A")
			w.saves("B")
			w.saves("C")
		},
		check: func(w *service) error { return w.saved("A", "B", "C") },
	}
	touchAndLogout = protocol{
		name: "C107 two replicas note the use of a session that a back-channel logout ends",
		begin: func(w *service) {
			w.signIn(isUnused)
			w.reads("A")
			w.reads("B")
			w.endsSid("logout")
		},
		check: func(w *service) error { return w.loggedOut("logout") },
	}
	rereadAndLogout = protocol{
		name:   "C113 the claims are read again while a back-channel logout ends the session",
		change: func(w *service) { w.limits.Reread = time.Minute },
		begin:  func(w *service) { w.signIn(isExpired); w.reads("A"); w.endsSid("logout") },
		check:  func(w *service) error { return w.loggedOut("logout") },
	}
	logoutsMeet = protocol{
		name: "C122 the visitor and the provider log out at the same time",
		begin: func(w *service) {
			w.signIn(isYoung)
			w.logsOut("logout")
			w.endsSub("provider")
		},
		check: func(w *service) error { return w.loggedOut("logout", "provider") },
	}
	loginAlone = protocol{
		name:  "C114 a login fails, and the index leads to what is left of it",
		begin: func(w *service) { w.logsIn("login", w.attempt()) },
		check: func(w *service) error { return w.reachable() },
	}
	logoutAlone = protocol{
		name:  "C122 a back-channel logout fails, and is made again",
		begin: func(w *service) { w.signIn(isYoung); w.endsSid("logout") },
		check: func(w *service) error { return w.loggedOut("logout") },
	}
	rereadTwice = protocol{
		name: "C113 two replicas read the claims again and note the use of the session",
		change: func(w *service) {
			w.limits.Reread, w.limits.Touch = time.Minute, time.Minute
		},
		begin: func(w *service) { w.signIn(isExpired); w.reads("A"); w.saves("B") },
		check: func(w *service) error { return errors.Join(w.claimsRead(), w.refreshed()) },
	}
)

// What follows are scenarios of more actors.
var (
	callbackThrice = protocol{
		name: "C033 a callback arrives three times",
		begin: func(w *service) {
			a := w.attempt()
			w.logsIn("first", a)
			w.logsIn("second", a)
			w.logsIn("third", a)
		},
		check: func(w *service) error { return w.onceSignedIn("first", "second", "third") },
	}
	loginAndLogouts = protocol{
		name: "C128 a login meets a logout of its sid and one of its sub",
		begin: func(w *service) {
			w.logsIn("login", w.attempt())
			w.endsSid("logout")
			w.endsSub("provider")
		},
		check: func(w *service) error { return w.loggedOut("logout", "provider") },
	}
	loginAndTwoSubs = protocol{
		name: "C128 a login meets a logout of its sub and an older one, and does not stay",
		begin: func(w *service) {
			w.endsSub("older")
			time.Sleep(2 * time.Second)
			w.endsSub("logout")
			w.logsIn("login", w.attempt())
		},
		check: func(w *service) error { return w.loggedOut("logout") },
	}
	refreshLoginLogout = protocol{
		name: "C114 a refresh and a second login meet a back-channel logout of both sessions",
		begin: func(w *service) {
			w.signIn(isDue)
			w.asksToken("A")
			w.logsIn("login", w.attempt())
			w.endsSid("logout")
		},
		check: func(w *service) error { return w.loggedOut("logout") },
	}
	loginAgain = protocol{
		name: "C109 a login again ends the session before, while that is refreshed",
		begin: func(w *service) {
			w.signIn(isDue)
			w.asksToken("A")
			w.logsIn("login", w.attemptAgain())
		},
		check: func(w *service) error { return w.replaced("login") },
	}
	loginAgainAndLogout = protocol{
		name: "C109 a login again meets the note of a use and the end of all the user's sessions",
		begin: func(w *service) {
			w.signIn(isUnused)
			w.reads("A")
			w.logsIn("login", w.attemptAgain())
			w.endsUser("logout")
		},
		check: func(w *service) error {
			return errors.Join(w.replaced("login"), w.loggedOut("logout"))
		},
	}
	everythingAndLogout = protocol{
		name: "C107 a refresh, a note of use and values meet a logout by the visitor",
		begin: func(w *service) {
			w.signIn(isUnused)
			w.asksToken("A")
			w.saves("B")
			w.logsOut("logout")
		},
		check: func(w *service) error { return w.loggedOut("logout") },
	}
	refreshedAndLoggedOut = protocol{
		name: "C082 two replicas refresh tokens that are over, and a back-channel logout comes",
		begin: func(w *service) {
			w.signIn(isExpired)
			w.asksToken("A")
			w.asksToken("B")
			w.endsSid("logout")
		},
		check: func(w *service) error { return w.loggedOut("logout") },
	}
	refreshWithoutKeys = protocol{
		name:   "C084 two replicas refresh while the ID Token cannot be verified for want of keys",
		change: func(w *service) { w.idTokens, w.keysLost = true, true },
		begin:  func(w *service) { w.signIn(isDue); w.asksToken("A"); w.asksToken("B") },
		check:  func(w *service) error { return w.refreshed("A", "B") },
	}
	rereadRefused = protocol{
		name: "C113 the application refuses the new claims while two replicas read them",
		change: func(w *service) {
			w.refuses, w.limits.Reread = true, time.Minute
		},
		begin: func(w *service) { w.signIn(isExpired); w.reads("A"); w.asksToken("B") },
		check: func(w *service) error { return w.ended() },
	}
	rereadThrice = protocol{
		name: "C113 claims are read again, the use is noted and the tokens are refreshed",
		change: func(w *service) {
			w.idTokens = true
			w.limits.Reread, w.limits.Touch = time.Minute, time.Minute
		},
		begin: func(w *service) {
			w.signIn(isExpired)
			w.reads("A")
			w.saves("B")
			w.asksToken("C")
		},
		check: func(w *service) error { return errors.Join(w.claimsRead(), w.refreshed("C")) },
	}
)

// signIn begins a session whose age is as given when the actors start.
func (w *service) signIn(age time.Duration) {
	w.Helper()
	setup := w.replica("setup")
	if got := setup.logIn(w.Context(), w.attempt()); got != done {
		w.Fatalf("the login of the setup: %s", got)
	}
	time.Sleep(age)
}

// visitor is the session that [service.signIn] began.
func (w *service) visitor() session.ID { return w.sessions["setup"] }

// attemptAgain begins a login in the browser that is signed in.
func (w *service) attemptAgain() attempt {
	a := w.attempt()
	a.before = w.visitor()
	return a
}

// does adds a replica that serves one request.
func (w *service) does(name string, request func(r *replica) string) {
	r := w.replica(name)
	w.run.Go(name, func() string { return request(r) })
}

func (w *service) logsIn(name string, a attempt) {
	w.does(name, func(r *replica) string { return r.logIn(w.Context(), a) })
}

func (w *service) asksToken(name string) {
	id := w.visitor()
	w.does(name, func(r *replica) string { return r.token(w.Context(), id) })
}

func (w *service) reads(name string) {
	id := w.visitor()
	w.does(name, func(r *replica) string { return r.read(w.Context(), id) })
}

func (w *service) saves(name string) {
	id := w.visitor()
	w.does(name, func(r *replica) string { return r.save(w.Context(), id) })
}

// logout adds a replica that serves a logout.
func (w *service) logout(name string, request func(r *replica) string) {
	w.logouts[name] = request
	w.does(name, request)
}

func (w *service) logsOut(name string) {
	id := w.visitor()
	w.logout(name, func(r *replica) string { return r.logOut(w.Context(), id) })
}

func (w *service) endsSid(name string) {
	w.backchannel(name, logoutToken{id: name, sid: sid, issued: time.Now()})
}

func (w *service) endsSub(name string) {
	w.backchannel(name, logoutToken{id: name, issued: time.Now()})
}

func (w *service) backchannel(name string, t logoutToken) {
	w.logout(name, func(r *replica) string { return r.backchannel(w.Context(), t) })
}

func (w *service) endsUser(name string) {
	w.logout(name, func(r *replica) string { return r.endUser(w.Context()) })
}

// What follows are promises.

// acknowledged reports whether a logout was told to have worked.
func (w *service) acknowledged(logout string) bool { return w.run.Outcome(logout) == done }

// loggedOut is the promise of a logout: when any was acknowledged, no session that was given out
// lets anybody in, and nothing of a session is left in the store. One that failed is made again.
func (w *service) loggedOut(logouts ...string) error {
	if !slices.ContainsFunc(logouts, w.acknowledged) {
		if !w.somethingFailed() {
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

// nothingLeft looks for records of sessions. When something failed there may be some that are of
// use to nobody: a login that a logout overtook and that dies before it cleans up leaves what only
// its cookie opens, and the cookie was never sent.
func (w *service) nothingLeft() error {
	if w.somethingFailed() {
		return nil
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
	if w.admits(w.visitor()) {
		return errors.New("the session lives on after the application refused its claims")
	}
	return w.nothingLeft()
}

// saved is the promise of values: what each request put is there.
func (w *service) saved(names ...string) error {
	v, err := w.probe.ReadValues(w.Context(), w.visitor())
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
	if !w.somethingFailed() && slices.Contains(w.run.Outcomes(), failed) {
		return errors.New("a request failed, and nothing went wrong")
	}
	return nil
}

// somethingFailed reports whether an actor may have had a reason to fail.
func (w *service) somethingFailed() bool {
	return w.unheard || w.run.Happened(interleave.Crash, interleave.LostReply, interleave.Refused,
		interleave.Stall, interleave.Failover)
}

// trial is a scenario, and what may go wrong in it.
type trial struct {
	protocol protocol
	faults   []interleave.Fault
	max      int // of them in one execution; 0 is 1
}

// explore explores a scenario, with a replica bent if bend is not nil.
func (tr trial) explore(t *testing.T, b bend) (interleave.Report, *interleave.Violation) {
	return interleave.Explore(t, interleave.Scenario{
		Ticks: tr.protocol.ticks, Faults: tr.faults, MaxFaults: tr.max,
		Begin: func(t *testing.T, r *interleave.Run) interleave.World {
			w := newService(t, r, tr.protocol, b)
			tr.protocol.begin(w)
			return interleave.World{State: w.state, Check: func() error {
				return errors.Join(w.nobodyFailed(), tr.protocol.check(w))
			}}
		},
	})
}

// TestProtocol tries every order of what the replicas do, with nothing going wrong.
func TestProtocol(t *testing.T) {
	for _, p := range []protocol{
		loginAndSid, loginAndSub, laterLogin, secondLogin, callbackTwice,
		refreshAndLogout, refreshExpired, refreshThrice, valuesAndLogout, valuesTwice,
		touchAndLogout, rereadAndLogout, logoutsMeet, rereadTwice,
	} {
		t.Run(p.name, func(t *testing.T) { trial{protocol: p}.holds(t) })
	}
}

// TestProtocolOfMany does the same with more actors.
func TestProtocolOfMany(t *testing.T) {
	for _, p := range []protocol{
		callbackThrice, loginAndLogouts, loginAndTwoSubs, refreshLoginLogout, loginAgain,
		loginAgainAndLogout, everythingAndLogout, refreshedAndLoggedOut, refreshWithoutKeys,
		rereadRefused, rereadThrice,
	} {
		t.Run(p.name, func(t *testing.T) { trial{protocol: p}.holds(t) })
	}
}

// all adds every fault to every scenario, which takes minutes.
var all = flag.Bool("all", false, "try every scenario with every fault")

// TestProtocolWithFaults tries every order, with one fault or two at every place where there can be
// one.
func TestProtocolWithFaults(t *testing.T) {
	const (
		crash, resend = interleave.Crash, interleave.Resend
		lost, refused = interleave.LostReply, interleave.Refused
	)
	tests := []trial{
		{loginAndSid, []interleave.Fault{crash}, 1},
		{laterLogin, []interleave.Fault{resend}, 1},
		{laterLogin, []interleave.Fault{lost}, 1},
		{callbackTwice, []interleave.Fault{crash, resend, lost, refused}, 1},
		{refreshDue, []interleave.Fault{crash}, 1},
		{refreshDue, []interleave.Fault{resend}, 1},
		{refreshDue, []interleave.Fault{lost}, 1},
		{refreshDue, []interleave.Fault{refused}, 1},
		{loginAlone, []interleave.Fault{crash, resend, lost, refused}, 2},
		{logoutAlone, []interleave.Fault{crash, resend, lost, refused}, 2},
	}
	if *all {
		tests = allFaults()
	}
	for _, tr := range tests {
		name := fmt.Sprint(tr.protocol.name, ", ", tr.max, " of ", tr.faults)
		t.Run(name, func(t *testing.T) { tr.holds(t) })
	}
}

// allFaults are all faults in all scenarios, but for two. A lease runs out in a refresh alone. And
// of a write that the store acknowledged and lost only a refresh can make good: with a tombstone, a
// claim or a deletion goes what it promised.
func allFaults() []trial {
	var tests []trial
	for _, p := range []protocol{
		loginAndSid, loginAndSub, laterLogin, secondLogin, callbackTwice, refreshDue,
		refreshExpired, valuesTwice, touchAndLogout, rereadAndLogout, logoutsMeet, logoutAlone,
	} {
		for _, f := range []interleave.Fault{
			interleave.Crash, interleave.Resend, interleave.LostReply, interleave.Refused,
		} {
			tests = append(tests, trial{p, []interleave.Fault{f}, 1})
		}
	}
	return append(tests,
		trial{refreshDue, []interleave.Fault{interleave.Stall}, 1},
		trial{refreshDue, []interleave.Fault{interleave.Failover}, 1},
	)
}

func (tr trial) holds(t *testing.T) {
	t.Parallel()
	report, violation := tr.explore(t, nil)
	if violation != nil {
		t.Error(violation)
	}
	t.Logf("%d executions, %d states, ends: %v", report.Executions, report.States, report.Ends)
}
