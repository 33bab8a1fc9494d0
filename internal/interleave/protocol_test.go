package interleave_test

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/internal/interleave"
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

// withValues is a service whose sessions have values.
func withValues(w *service) { w.limits.Values = true }

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
	heldBack = protocol{
		name: "C128 a login that began before a logout of its sub, and whose code comes after it",
		begin: func(w *service) {
			a := w.attempt()
			w.endsSub("logout")
			time.Sleep(2 * time.Second)
			w.logsIn("login", a)
		},
		check: func(w *service) error { return w.loggedOut("logout") },
	}
	laterLogin = protocol{
		name: "C128 a login meets an older logout of its sub, and stays",
		begin: func(w *service) {
			w.endsSub("logout")
			time.Sleep(2 * time.Minute) // the clocks may differ by a minute
			w.logsIn("login", w.attempt())
		},
		check: func(w *service) error { return w.signedIn("login") },
	}
	twoSubs = protocol{
		name: "C128 two logouts of a sub meet, and a login that is not later than both is refused",
		begin: func(w *service) {
			w.endsSub("older")
			time.Sleep(time.Second)
			w.authenticated = time.Now()
			time.Sleep(time.Second)
			w.endsSub("logout")
		},
		check: func(w *service) error {
			if got := w.probe.logIn(w.Context(), w.attempt()); got != overtaken {
				return fmt.Errorf("the login was answered %q", got)
			}
			return w.nothingLeft()
		},
	}
	laterThanEndUser = protocol{
		name: "C114 a login that begins after EndUser meets it, and the index leads to its session",
		begin: func(w *service) {
			w.endsUser("logout")
			a := w.attempt()
			a.start = a.start.Add(time.Second)
			w.logsIn("login", a)
		},
		check: func(w *service) error {
			if got := w.run.Outcome("login"); got != done {
				return fmt.Errorf("the login was answered %q", got)
			}
			return w.listed()
		},
	}
	frameAndLogin = protocol{
		name: "C120 a login meets a logout in a frame, and the index leads to its session",
		begin: func(w *service) {
			w.logsIn("login", w.attempt())
			w.endsInFrame("frame")
		},
		check: func(w *service) error { return w.listed() },
	}
	limitOfOne = protocol{
		name:   "C114 two logins of a user who may have one session: one stays",
		change: func(w *service) { w.limits.UserSessions = 1 },
		begin: func(w *service) {
			w.logsIn("A", w.attempt())
			w.logsIn("B", w.attempt())
		},
		check: func(w *service) error { return errors.Join(w.oneStays("A", "B"), w.listed()) },
	}
	logoutTokenTwice = protocol{
		name: "C124 a logout token arrives at two replicas, and one of them says that it was first",
		begin: func(w *service) {
			w.signIn(isYoung)
			token := w.logoutToken("token", "", sid)
			w.backchannel("first", token)
			w.backchannel("second", token)
		},
		check: func(w *service) error {
			return errors.Join(w.loggedOut("first", "second"), w.onceDone("first", "second"))
		},
	}
	subAndSid = protocol{
		name:   "C125 a login without a sid meets a logout of sub and sid",
		change: func(w *service) { w.sidless = true },
		begin: func(w *service) {
			w.logsIn("login", w.attempt())
			w.backchannel("logout", w.logoutToken("token", subject, sid))
		},
		check: func(w *service) error { return w.loggedOut("logout") },
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
		check: func(w *service) error { return errors.Join(w.loggedOut("logout"), w.newestRevoked()) },
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
		name:   "F27 two replicas save values while the visitor logs out",
		change: withValues,
		begin: func(w *service) {
			w.signIn(isYoung)
			w.saves("A")
			w.saves("B")
			w.logsOut("logout")
		},
		check: func(w *service) error { return w.loggedOut("logout") },
	}
	valuesTwice = protocol{
		name:   "F26 three replicas save values at the same time",
		change: withValues,
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
		check: func(w *service) error { return w.clearedAgain("logout") },
	}
	logoutBySubAlone = protocol{
		name:  "C122 a back-channel logout by sub fails, is made again, and leaves nothing",
		begin: func(w *service) { w.signIn(isYoung); w.endsSub("logout") },
		check: func(w *service) error { return w.clearedAgain("logout") },
	}
	rereadTwice = protocol{
		name: "C113 two replicas read the claims again and note the use of the session",
		change: func(w *service) {
			w.limits.Reread, w.limits.Touch = time.Minute, time.Minute
			w.limits.Values = true
		},
		begin: func(w *service) { w.signIn(isExpired); w.reads("A"); w.saves("B") },
		check: func(w *service) error { return errors.Join(w.claimsRead(), w.refreshed()) },
	}
	rereadAndTouch = protocol{
		name: "C113 one replica reads the claims again, and another notes the use of the session",
		change: func(w *service) {
			w.limits.Reread, w.limits.Touch = time.Minute, time.Minute
		},
		begin: func(w *service) { w.signIn(isExpired); w.reads("A"); w.visits("B") },
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
		name:   "C107 a refresh, a note of use and values meet a logout by the visitor",
		change: withValues,
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
			w.limits.Values = true
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
		loginAndSid, loginAndSub, heldBack, laterLogin, secondLogin, callbackTwice,
		refreshAndLogout, refreshExpired, refreshThrice, valuesAndLogout, valuesTwice,
		touchAndLogout, rereadAndLogout, logoutsMeet, rereadTwice, rereadAndTouch, twoSubs,
		logoutTokenTwice,
		subAndSid, laterThanEndUser, frameAndLogin, limitOfOne,
	} {
		t.Run(p.name, func(t *testing.T) { trial{protocol: p}.holds(t) })
	}
}

// TestProtocolOfMany does the same with more actors.
func TestProtocolOfMany(t *testing.T) {
	scenarios := []protocol{
		callbackThrice, loginAgain, refreshedAndLoggedOut, refreshWithoutKeys, rereadRefused,
	}
	if *all {
		scenarios = append(scenarios, loginAndTwoSubs, refreshLoginLogout, everythingAndLogout,
			loginAgainAndLogout, loginAndLogouts, rereadThrice)
	}
	for _, p := range scenarios {
		t.Run(p.name, func(t *testing.T) { trial{protocol: p}.holds(t) })
	}
}

// all adds larger scenarios, and every fault to every scenario.
var all = flag.Bool("all", false, "try every scenario with every fault")

// Faults of one actor. The others, Stall and Failover, are for refreshes alone: a lease runs out
// there. And of a write that the store acknowledged and lost only a refresh can make good: with a
// tombstone, a claim or a deletion goes what it promised.
const (
	crash, resend = interleave.Crash, interleave.Resend
	lost, refused = interleave.LostReply, interleave.Refused
)

// TestProtocolWithFaults tries every order, with one fault or two at every place where there can be
// one.
func TestProtocolWithFaults(t *testing.T) {
	trials := []trial{
		{loginAndSid, []interleave.Fault{crash}, 1},
		{loginAndSid, []interleave.Fault{refused}, 1},
		{laterLogin, []interleave.Fault{resend}, 1},
		{laterLogin, []interleave.Fault{lost}, 1},
		{callbackTwice, []interleave.Fault{crash, resend, lost, refused}, 1},
		{refreshDue, []interleave.Fault{crash}, 1},
		{refreshDue, []interleave.Fault{resend}, 1},
		{refreshDue, []interleave.Fault{lost}, 1},
		{refreshDue, []interleave.Fault{refused}, 1},
		{loginAlone, []interleave.Fault{crash, resend, lost, refused}, 2},
		{logoutAlone, []interleave.Fault{crash, resend, lost, refused}, 2},
		{logoutBySubAlone, []interleave.Fault{crash, resend, lost, refused}, 2},
	}
	if *all {
		trials = slices.Concat(allFaults(), twoFaults(), faultsOfMany())
	}
	for _, tr := range trials {
		name := fmt.Sprint(tr.protocol.name, ", ", tr.max, " of ", tr.faults)
		t.Run(name, func(t *testing.T) { tr.holds(t) })
	}
}

// allFaults are all faults in all small scenarios, one at a time.
func allFaults() []trial {
	var trials []trial
	for _, p := range []protocol{
		loginAndSid, loginAndSub, heldBack, laterLogin, secondLogin, callbackTwice, refreshDue,
		refreshExpired, valuesTwice, touchAndLogout, rereadAndLogout, logoutsMeet, logoutAlone,
	} {
		for _, f := range []interleave.Fault{crash, resend, lost, refused} {
			trials = append(trials, trial{p, []interleave.Fault{f}, 1})
		}
	}
	return append(trials,
		trial{refreshDue, []interleave.Fault{interleave.Stall}, 1},
		trial{refreshDue, []interleave.Fault{interleave.Failover}, 1},
	)
}

// twoFaults are any two faults in one execution.
func twoFaults() []trial {
	var trials []trial
	for _, p := range []protocol{
		loginAndSid, loginAndSub, heldBack, laterLogin, callbackTwice, refreshDue,
		logoutsMeet,
	} {
		trials = append(trials, trial{p, []interleave.Fault{crash, resend, lost, refused}, 2})
	}
	return trials
}

// faultsOfMany are faults in scenarios of three actors. One of refreshLoginLogout would take hours.
func faultsOfMany() []trial {
	var trials []trial
	for _, p := range []protocol{
		refreshAndLogout, loginAgain, refreshedAndLoggedOut,
		refreshWithoutKeys, rereadRefused, callbackThrice,
	} {
		for _, f := range []interleave.Fault{crash, lost} {
			trials = append(trials, trial{p, []interleave.Fault{f}, 1})
		}
	}
	return trials
}

func (tr trial) holds(t *testing.T) {
	t.Parallel()
	report, violation := tr.explore(t, nil)
	if violation != nil {
		t.Error(violation)
	}
	t.Logf("%d executions, %d states, ends: %v", report.Executions, report.States, report.Ends)
}
