package interleave_test

import (
	"errors"
	"flag"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/internal/interleave"
)

// The ages of a session at which something is due. Access tokens live for a minute and are refreshed in the
// last seconds of it; use is noted after three minutes.
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
	config func(*oidcgate.Config)
	begin  func(w *shop)
	check  func(w *shop) error
}

var (
	loginAndSid = protocol{
		name:  "C128 a login meets a back-channel logout of its sid",
		begin: func(w *shop) { a := w.attempt(); w.logsIn("login", a); w.backchannel("logout", "sid", sid) },
		check: func(w *shop) error { return w.loggedOut("logout") },
	}
	loginAndSub = protocol{
		name:  "C128 a login meets a back-channel logout of its sub",
		begin: func(w *shop) { a := w.attempt(); w.logsIn("login", a); w.backchannel("logout", "sub", subject) },
		check: func(w *shop) error { return w.loggedOut("logout") },
	}
	laterLogin = protocol{
		name: "C128 a login meets an older logout of its sub, and stays",
		begin: func(w *shop) {
			w.backchannel("logout", "sub", subject)
			time.Sleep(2 * time.Second)
			w.logsIn("login", w.attempt())
		},
		check: func(w *shop) error { return w.signedIn("login") },
	}
	secondLogin = protocol{
		name:  "C114 a second login meets the end of all the user's sessions",
		begin: func(w *shop) { w.signIn(isYoung); w.logsIn("login", w.attempt()); w.endsUser("logout") },
		check: func(w *shop) error { return w.loggedOut("logout") },
	}
	callbackTwice = protocol{
		name:  "C033 a callback arrives twice",
		begin: func(w *shop) { a := w.attempt(); w.logsIn("first", a); w.logsIn("second", a) },
		check: func(w *shop) error { return w.onceSignedIn("first", "second") },
	}
	refreshAndLogout = protocol{
		name:  "C082 two replicas refresh tokens that still serve, and the visitor logs out",
		begin: func(w *shop) { w.signIn(isDue); w.asksToken("A"); w.asksToken("B"); w.logsOut("logout") },
		check: func(w *shop) error { return w.loggedOut("logout") },
	}
	refreshExpired = protocol{
		name:  "C082 two replicas refresh tokens that are over, at a provider slower than the lease",
		ticks: int(lockLease/interleave.Tick) + 1,
		begin: func(w *shop) { w.signIn(isExpired); w.asksToken("A"); w.asksToken("B") },
		check: func(w *shop) error { return w.refreshed("A", "B") },
	}
	refreshDue = protocol{
		name:  "C082 two replicas refresh tokens that still serve",
		begin: func(w *shop) { w.signIn(isDue); w.asksToken("A"); w.asksToken("B") },
		check: func(w *shop) error { return w.refreshed("A", "B") },
	}
	refreshThrice = protocol{
		name:  "C082 three replicas refresh tokens that still serve",
		begin: func(w *shop) { w.signIn(isDue); w.asksToken("A"); w.asksToken("B"); w.asksToken("C") },
		check: func(w *shop) error { return w.refreshed("A", "B", "C") },
	}
	valuesAndLogout = protocol{
		name:  "F27 two replicas save values while the visitor logs out",
		begin: func(w *shop) { w.signIn(isYoung); w.saves("A"); w.saves("B"); w.logsOut("logout") },
		check: func(w *shop) error { return w.loggedOut("logout") },
	}
	valuesTwice = protocol{
		name:  "F26 three replicas save values at the same time",
		begin: func(w *shop) { w.signIn(isYoung); w.saves("A"); w.saves("B"); w.saves("C") },
		check: func(w *shop) error { return w.saved("A", "B", "C") },
	}
	touchAndLogout = protocol{
		name: "C107 two replicas note the use of a session that a back-channel logout ends",
		begin: func(w *shop) {
			w.signIn(isUnused)
			w.reads("A")
			w.reads("B")
			w.backchannel("logout", "sid", sid)
		},
		check: func(w *shop) error { return w.loggedOut("logout") },
	}
	rereadAndLogout = protocol{
		name:   "C113 the claims are read again while a back-channel logout ends the session",
		config: func(c *oidcgate.Config) { c.RereadClaims = time.Minute },
		begin:  func(w *shop) { w.signIn(isExpired); w.reads("A"); w.backchannel("logout", "sid", sid) },
		check:  func(w *shop) error { return w.loggedOut("logout") },
	}
	logoutsMeet = protocol{
		name:  "C122 the visitor and the provider log out at the same time",
		begin: func(w *shop) { w.signIn(isYoung); w.logsOut("logout"); w.backchannel("provider", "sub", subject) },
		check: func(w *shop) error { return w.loggedOut("logout", "provider") },
	}
	logoutAlone = protocol{
		name:  "C122 a back-channel logout fails, and is made again",
		begin: func(w *shop) { w.signIn(isYoung); w.backchannel("logout", "sid", sid) },
		check: func(w *shop) error { return w.loggedOut("logout") },
	}
	rereadTwice = protocol{
		name:   "C113 two replicas read the claims again and note the use of the session",
		config: func(c *oidcgate.Config) { c.RereadClaims, c.IdleTimeout = time.Minute, 4*time.Minute },
		begin:  func(w *shop) { w.signIn(isExpired); w.reads("A"); w.saves("B") },
		check:  func(w *shop) error { return w.refreshed() },
	}
)

func (w *shop) backchannel(name, claim, value string) {
	w.does(name, http.MethodPost, "/auth/backchannel-logout", w.logoutToken(claim, value))
}

func (w *shop) logsOut(name string) {
	w.does(name, http.MethodPost, "/auth/logout", "return_to=/", w.session)
}

func (w *shop) endsUser(name string)  { w.does(name, http.MethodPost, "/end-user", "") }
func (w *shop) asksToken(name string) { w.does(name, http.MethodGet, "/token", "", w.session) }
func (w *shop) reads(name string)     { w.does(name, http.MethodGet, "/whoami", "", w.session) }
func (w *shop) saves(name string) {
	w.does(name, http.MethodGet, "/put?key="+strings.ReplaceAll(name, " ", ""), "", w.session)
}

// acknowledged reports whether a logout was told to have worked.
func (w *shop) acknowledged(logout string) bool {
	outcome := w.run.Outcome(logout)
	return outcome == "200" || outcome == "303"
}

// loggedOut is the promise of a logout: when any was acknowledged, no cookie that was given out lets anybody
// in, and nothing of a session is left in the store. One that failed can be made again.
func (w *shop) loggedOut(logouts ...string) error {
	if !slices.ContainsFunc(logouts, w.acknowledged) {
		if !w.somethingFailed() {
			return errors.New("no logout was acknowledged")
		}
		if resp := send(w.probe, http.MethodPost, "/end-user", ""); resp.StatusCode != http.StatusOK {
			return fmt.Errorf("ending all sessions after that: status %d", resp.StatusCode)
		}
	}
	if w.admits() {
		return errors.New("the session lives on after its logout was acknowledged")
	}
	return w.nothingLeft()
}

// nothingLeft looks for records of sessions. When something failed there may be some that are of use to nobody:
// a login that a logout overtook and that dies before it cleans up leaves what only its cookie opens, and the
// cookie was never sent.
func (w *shop) nothingLeft() error {
	if w.somethingFailed() {
		return nil
	}
	for _, key := range w.run.Keys() {
		switch prefix, _, _ := strings.Cut(key, ":"); prefix {
		case "s", "t", "v", "d", "u", "i":
			return fmt.Errorf("the store holds %s after the logout was acknowledged", key)
		}
	}
	return nil
}

// admits reports whether the session's cookie lets its visitor in.
func (w *shop) admits() bool {
	return w.session != nil && send(w.probe, http.MethodGet, "/whoami", "", w.session).StatusCode == http.StatusOK
}

// signedIn is the promise of a login whose answer was a session.
func (w *shop) signedIn(login string) error {
	if w.run.Outcome(login) != "303" && !w.somethingFailed() {
		return fmt.Errorf("the login was answered %q", w.run.Outcome(login))
	}
	if w.run.Outcome(login) == "303" && !w.admits() {
		return errors.New("the login began a session that does not live")
	}
	return nil
}

// onceSignedIn is the promise of a single-use code.
func (w *shop) onceSignedIn(a, b string) error {
	n := 0
	for _, name := range []string{a, b} {
		if w.run.Outcome(name) == "303" {
			n++
		}
	}
	if n > 1 || n == 0 && !w.somethingFailed() {
		return fmt.Errorf("one code began %d sessions", n)
	}
	return nil
}

// refreshed is the promise of a refresh: nobody is logged out, every answer is a token that serves, the
// provider was asked once, and what it gave is there for the next time.
func (w *shop) refreshed(names ...string) error {
	if w.rotationMayBeLost() {
		return w.endsCleanly()
	}
	for _, n := range names {
		outcome := w.run.Outcome(n)
		if !strings.HasPrefix(outcome, "200 access-") && !w.somethingFailed() {
			return fmt.Errorf("%s was answered %q", n, outcome)
		}
	}
	if w.refreshes > 1 || w.refreshes == 0 && !w.somethingFailed() {
		return fmt.Errorf("the provider was asked %d times", w.refreshes)
	}
	if !w.admits() {
		return errors.New("the session is over, and nobody logged out")
	}
	return w.nextRefresh()
}

// nextRefresh refreshes once more: that only works with the refresh token that the provider gave last.
func (w *shop) nextRefresh() error {
	time.Sleep(tokenLife + lockLease)
	want := fmt.Sprint("access-", w.refreshes+1)
	if got := text(send(w.probe, http.MethodGet, "/token", "", w.session)); got != want {
		return fmt.Errorf("the next refresh gives %q in the place of %q: a rotation was lost", got, want)
	}
	return nil
}

// rotationMayBeLost reports whether something came between the provider's answer and the store that nobody
// can make good.
func (w *shop) rotationMayBeLost() bool {
	return w.unheard || w.run.Happened(interleave.Crash, interleave.Stall, interleave.Failover)
}

// endsCleanly is what is left to promise then: the session goes on, or it is over, and there is no third.
func (w *shop) endsCleanly() error {
	time.Sleep(tokenLife + lockLease)
	resp := send(w.probe, http.MethodGet, "/token", "", w.session)
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	if resp.StatusCode != http.StatusUnauthorized || w.admits() {
		return fmt.Errorf("after a lost rotation the session lives without tokens: status %d", resp.StatusCode)
	}
	return w.nothingLeft()
}

// saved is the promise of values: what each request put is there.
func (w *shop) saved(names ...string) error {
	got := strings.Fields(text(send(w.probe, http.MethodGet, "/values", "", w.session)))
	for _, n := range names {
		if w.run.Outcome(n) == "200" && !slices.Contains(got, n) {
			return fmt.Errorf("the values of %s were not saved: there are %q", n, got)
		}
	}
	return nil
}

// somethingFailed reports whether an actor may have had a reason to fail.
func (w *shop) somethingFailed() bool {
	return w.unheard || w.run.Happened(interleave.Crash, interleave.LostReply, interleave.Refused, interleave.Stall, interleave.Failover)
}

// explore explores a scenario, with a replica bent if bend is not nil.
func (p protocol) explore(t *testing.T, bend bend, faults ...interleave.Fault) (interleave.Report, *interleave.Violation) {
	return interleave.Explore(t, interleave.Scenario{
		Ticks: p.ticks, Faults: faults,
		Begin: func(t *testing.T, r *interleave.Run) interleave.World {
			w := newShop(t, r, p.config, bend)
			p.begin(w)
			return interleave.World{State: w.state, Check: func() error { return p.check(w) }}
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
		t.Run(p.name, func(t *testing.T) { p.holds(t) })
	}
}

// all adds every fault to every scenario, which takes ten minutes.
var all = flag.Bool("all", false, "try every scenario with every fault")

// faulty is a scenario in which something goes wrong.
type faulty struct {
	protocol protocol
	faults   []interleave.Fault
}

// TestProtocolWithFaults tries every order, with one fault at every place where there can be one.
func TestProtocolWithFaults(t *testing.T) {
	const crash, resend, lost, refused = interleave.Crash, interleave.Resend, interleave.LostReply, interleave.Refused
	tests := []faulty{
		{loginAndSid, []interleave.Fault{crash}},
		{laterLogin, []interleave.Fault{resend}},
		{laterLogin, []interleave.Fault{lost}},
		{callbackTwice, []interleave.Fault{crash, resend, lost, refused}},
		{refreshDue, []interleave.Fault{crash}},
		{refreshDue, []interleave.Fault{resend}},
		{refreshDue, []interleave.Fault{lost}},
		{refreshDue, []interleave.Fault{refused}},
		{logoutAlone, []interleave.Fault{crash, resend, lost, refused}},
	}
	if *all {
		tests = allFaults()
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.protocol.name, " ", tt.faults), func(t *testing.T) { tt.protocol.holds(t, tt.faults...) })
	}
}

// allFaults are all faults in all scenarios, but for two. A lease runs out in a refresh alone. And of a write
// that the store acknowledged and lost only a refresh can make good: with a tombstone, a claim or a deletion
// goes what it promised.
func allFaults() []faulty {
	var tests []faulty
	for _, p := range []protocol{
		loginAndSid, loginAndSub, laterLogin, secondLogin, callbackTwice, refreshDue, refreshExpired,
		valuesTwice, touchAndLogout, rereadAndLogout, logoutsMeet, logoutAlone,
	} {
		for _, f := range []interleave.Fault{interleave.Crash, interleave.Resend, interleave.LostReply, interleave.Refused} {
			tests = append(tests, faulty{p, []interleave.Fault{f}})
		}
	}
	return append(tests,
		faulty{refreshDue, []interleave.Fault{interleave.Stall}},
		faulty{refreshDue, []interleave.Fault{interleave.Failover}},
	)
}

func (p protocol) holds(t *testing.T, faults ...interleave.Fault) {
	t.Parallel()
	report, violation := p.explore(t, nil, faults...)
	if violation != nil {
		t.Error(violation)
	}
	t.Logf("%d executions, %d states, ends: %v", report.Executions, report.States, report.Ends)
}
