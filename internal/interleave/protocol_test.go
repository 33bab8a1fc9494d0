package interleave_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/internal/interleave"
)

// The ages of a session at which something is due. Access tokens live for a minute and are refreshed in the
// last seconds of it.
const (
	isYoung   = time.Second
	isDue     = 55 * time.Second
	isExpired = 70 * time.Second
	isTouched = 4 * time.Minute
)

// protocol are the scenarios: what meets what, and who is signed in after it.
type protocol struct {
	name   string
	faults []interleave.Fault
	ticks  int
	slow   bool // not tried with faults of the store, for there are too many orders
	setup  setup
	begin  func(w *shop)
	check  func(w *shop) error
}

var protocols = []protocol{
	{
		name:  "a login meets a back-channel logout of its sid",
		begin: func(w *shop) { a := w.attempt(); w.logsIn("login", a); w.backchannel("sid", sid) },
		check: loggedOut("logout"),
	},
	{
		name:  "a login meets a back-channel logout of its sub",
		begin: func(w *shop) { a := w.attempt(); w.logsIn("login", a); w.backchannel("sub", subject) },
		check: loggedOut("logout"),
	},
	{
		name:  "a callback arrives twice",
		begin: func(w *shop) { a := w.attempt(); w.logsIn("first", a); w.logsIn("second", a) },
		check: func(w *shop) error {
			if w.run.Outcome("first") == "303" && w.run.Outcome("second") == "303" {
				return errors.New("one code began two sessions")
			}
			return nil
		},
	},
	{
		name:  "two replicas refresh tokens that still serve, and the visitor logs out",
		begin: func(w *shop) { w.signIn(isDue); w.refreshes_("A", "B"); w.logout("logout") },
		check: loggedOut("logout"),
	},
	{
		name:  "two replicas refresh tokens that are over",
		ticks: 1,
		begin: func(w *shop) { w.signIn(isExpired); w.refreshes_("A", "B") },
		check: refreshed("A", "B"),
	},
	{
		name:  "three replicas refresh tokens that still serve",
		begin: func(w *shop) { w.signIn(isDue); w.refreshes_("A", "B", "C") },
		check: refreshed("A", "B", "C"),
	},
	{
		name:  "values are saved while the visitor logs out",
		begin: func(w *shop) { w.signIn(isYoung); w.saves("A"); w.saves("B"); w.logout("logout") },
		check: loggedOut("logout"),
	},
	{
		name:  "the use of a session is noted while a back-channel logout ends it",
		begin: func(w *shop) { w.signIn(isTouched); w.reads("A"); w.reads("B"); w.backchannel("sid", sid) },
		check: loggedOut("logout"),
	},
	{
		name:  "a visitor logs out twice",
		begin: func(w *shop) { w.signIn(isYoung); w.logout("logout"); w.logout("again") },
		check: loggedOut("logout", "again"),
	},
}

func (w *shop) backchannel(name, value string) {
	w.does("logout", http.MethodPost, "/auth/backchannel-logout", w.logoutToken(name, value))
}

func (w *shop) logout(name string) {
	w.does(name, http.MethodPost, "/auth/logout", "return_to=/", w.session)
}

func (w *shop) refreshes_(names ...string) {
	for _, n := range names {
		w.does(n, http.MethodGet, "/token", "", w.session)
	}
}

func (w *shop) saves(name string) {
	w.does(name, http.MethodGet, "/put?key="+name, "", w.session)
}

func (w *shop) reads(name string) { w.does(name, http.MethodGet, "/whoami", "", w.session) }

func loggedOut(logouts ...string) func(w *shop) error {
	return func(w *shop) error { return nil }
}

func refreshed(names ...string) func(w *shop) error {
	return func(w *shop) error { return nil }
}

func (p protocol) scenario(faults ...interleave.Fault) interleave.Scenario {
	return interleave.Scenario{
		Ticks: p.ticks, Faults: faults,
		Begin: func(t *testing.T, r *interleave.Run) interleave.World {
			w := newShop(t, r, p.setup)
			p.begin(w)
			return interleave.World{State: w.state, Check: func() error { return p.check(w) }}
		},
	}
}

func TestProtocol(t *testing.T) {
	for _, p := range protocols {
		t.Run(p.name, func(t *testing.T) {
			start := time.Now()
			report, violation := interleave.Explore(t, p.scenario())
			t.Logf("%v %+v", time.Since(start), report)
			if violation != nil {
				t.Error(violation)
			}
		})
	}
}

var _ = strings.Join
var _ = fmt.Sprint
var _ oidcgate.Config
