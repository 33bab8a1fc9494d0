package interleave

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// Fault is something that goes wrong.
type Fault int

// The faults.
const (
	none      Fault = iota
	Crash           // an actor is killed before its next step (SIGKILL)
	Resend          // a step happens, its reply is lost, and it is sent again, perhaps much later
	LostReply       // a step happens, and the actor is told that it failed
	Refused         // a step does not happen, and the actor is told that it failed
	Stall           // everybody stands still for [Pause], and something in the store runs out
	Failover        // the store loses its last write
	tick            // no fault: time goes on while somebody could move
)

// String returns the fault's name in a trace.
func (f Fault) String() string {
	return [...]string{
		"", "KILLED", "SENT TWICE", "REPLY LOST", "REFUSED", "ALL STAND STILL", "LAST WRITE LOST",
		"time goes on",
	}[f]
}

// Scenario is a few actors and what must hold whatever the order of their steps.
type Scenario struct {
	// Begin sets up one execution: it adds the actors and returns what must hold. It runs in a
	// testing/synctest bubble and must do the same every time.
	Begin func(t *testing.T, r *Run) World

	// Faults are what may go wrong.
	Faults []Fault

	// MaxFaults is how often something goes wrong in one execution. If zero, it is once.
	MaxFaults int

	// Ticks is how often time may go on by [Tick] while all that waits is outside the store. The
	// store itself answers faster than that, but for a [Stall].
	Ticks int

	// Full tries all orders, also those that differ only in steps that do not touch each other.
	Full bool
}

// World is the part of an execution that is not the store.
type World struct {
	// Check looks at the end of an execution whether the promises were kept. The store is free
	// then.
	Check func() error

	// State names the state of what steps outside the store change. If nil, there is none.
	State func() string
}

// Report says how much was explored.
type Report struct {
	Executions int // how often the scenario was run
	States     int
	Ends       map[string]int // the outcomes of the actors, and in how many states they ended so
}

// Violation is an order of steps after which a promise is broken.
type Violation struct {
	Err   error
	Steps []string
}

// Error lists the steps.
func (v *Violation) Error() string {
	return fmt.Sprintf("%v, after:\n  %s", v.Err, strings.Join(v.Steps, "\n  "))
}

// move is one way to go on.
type move struct {
	actor, what, key string
	member           string // that leaves a set: several may at the same time
	write            bool
	fault            Fault
}

// outside is the key of steps that are not the store's.
const outside = "the provider"

func (m move) String() string {
	key := strings.TrimSpace(m.key + " " + m.member)
	return strings.TrimSpace(fmt.Sprintf("%-10s %s %s %v", m.actor, m.what, key, m.fault))
}

// id is the move as text, for a digest.
func (m move) id() string {
	return strings.Join([]string{m.actor, m.what, m.key, m.member, m.fault.String()}, "\x00")
}

func (m move) compare(o move) int {
	return cmp.Or(
		cmp.Compare(m.actor, o.actor), cmp.Compare(m.what, o.what),
		cmp.Compare(m.key, o.key), cmp.Compare(m.member, o.member), cmp.Compare(m.fault, o.fault),
	)
}

// about reports whether both are about the same step, whatever goes wrong with it.
func (m move) about(o move) bool {
	return m.actor == o.actor && m.what == o.what && m.key == o.key && m.member == o.member
}

// everywhere reports whether the move touches everything.
func (m move) everywhere() bool {
	return m.fault == Stall || m.fault == Failover || m.fault == tick
}

// independent reports whether two moves that are possible at the same time come to the same in
// either order. Steps that one actor makes at the same time do.
func independent(a, b move) bool {
	switch {
	case a.everywhere(), b.everywhere(), a.fault != none && b.fault != none:
		return false
	case a.actor == b.actor && (a.fault == Crash || b.fault == Crash || a.about(b)):
		return false
	}
	return a.key != b.key || !a.write && !b.write
}

// node is an execution that is still to be followed.
type node struct {
	plan  []move // how it begins
	sleep []move // what need not be tried after that: it was, before the plan's last move
}

type explorer struct {
	t        *testing.T
	scenario Scenario
	common   map[string]bool
	todo     []node
	seen     map[string][]move // states, and what was not tried there
	report   Report
	found    *Violation
}

// Explore executes the scenario in every order, until one breaks a promise or none is left. It
// returns nil if all promises hold.
func Explore(t *testing.T, s Scenario) (Report, *Violation) {
	t.Helper()
	e := &explorer{t: t, scenario: s, seen: map[string][]move{}, todo: []node{{}}}
	e.report.Ends = map[string]int{}
	e.common = e.calibrate()
	for len(e.todo) > 0 && e.found == nil {
		last := len(e.todo) - 1
		next := e.todo[last]
		e.todo = e.todo[:last]
		e.report.Executions++
		synctest.Test(t, func(t *testing.T) { e.execute(t, next) })
	}
	e.report.States = len(e.seen)
	return e.report, e.found
}

// calibrate executes the scenario twice in the same order. Keys that occur in both are not random.
func (e *explorer) calibrate() map[string]bool {
	var keys [2]map[string]bool
	for i := range keys {
		synctest.Test(e.t, func(t *testing.T) {
			r := newRun(nil)
			e.scenario.Begin(t, r)
			r.start()
			for waiting := r.settle(); len(waiting) > 0; waiting = r.settle() {
				r.apply(waiting[0].move)
			}
			r.end()
			keys[i] = r.asked
		})
	}
	for k := range keys[0] {
		if !keys[1][k] {
			delete(keys[0], k)
		}
	}
	return keys[0]
}

// execute follows one plan, and then the first way on at every turn; the other ways it leaves for
// later.
func (e *explorer) execute(t *testing.T, n node) {
	r := newRun(e.common)
	world := e.scenario.Begin(t, r)
	defer r.end()
	r.start()
	var path []move
	sleep := n.sleep
	for waiting := r.settle(); len(waiting) > 0 && r.violation == nil; waiting = r.settle() {
		ways := e.ways(r, waiting)
		var next move
		if len(path) < len(n.plan) {
			next = n.plan[len(path)]
			if !slices.Contains(ways, next) {
				t.Fatalf("%v\nafter %v\nwant %v\ngot  %v", errNondeterministic, path, next, ways)
			}
		} else {
			var try []move
			if try, sleep = e.visit(r.state(world.state()), ways, sleep); len(try) == 0 {
				return
			}
			next = try[0]
			e.postpone(path, try, sleep)
			sleep = stillAsleep(sleep, next)
		}
		r.apply(next)
		path = append(path, next)
	}
	e.finish(r, world)
}

func (w World) state() string {
	if w.State == nil {
		return ""
	}
	return w.State()
}

// finish checks the promises at the end of an execution.
func (e *explorer) finish(r *Run, world World) {
	var ends []string
	for _, a := range r.actors {
		if a.started {
			ends = append(ends, a.name+"="+a.outcome)
		}
	}
	e.report.Ends[strings.Join(ends, " ")]++
	r.release()
	if r.violation == nil {
		if err := world.Check(); err != nil {
			r.Fail("%w", err)
		}
	}
	if r.violation != nil {
		e.found = &Violation{Err: r.violation}
		for _, entry := range r.trace {
			e.found.Steps = append(e.found.Steps, entry.String())
		}
	}
}

// ways returns all moves that are possible now.
func (e *explorer) ways(r *Run, waiting []*step) []move {
	var ways []move
	for _, s := range waiting {
		ways = append(ways, s.move)
	}
	inStore := func(s *step) bool { return s.move.key != outside }
	if r.ticks < e.scenario.Ticks && !slices.ContainsFunc(waiting, inStore) {
		ways = append(ways, move{fault: tick})
	}
	if len(r.faults) >= max(1, e.scenario.MaxFaults) {
		return ways
	}
	for _, f := range e.scenario.Faults {
		ways = append(ways, faulty(r, f, waiting)...)
	}
	return ways
}

// faulty returns the moves in which a fault happens.
func faulty(r *Run, f Fault, waiting []*step) []move {
	var ways []move
	switch f {
	case Stall:
		if !r.shelf.expires(Pause) {
			return nil
		}
		return []move{{fault: Stall}}
	case Failover:
		if r.shelf.undo == nil {
			return nil
		}
		return []move{{fault: Failover}}
	}
	for _, s := range waiting {
		m := s.move
		m.fault = f
		switch f {
		case Crash:
			m = move{actor: m.actor, key: outside, write: true, fault: Crash}
		case Resend:
			if m.key == outside {
				continue // nothing that is sent to a provider is sent twice
			}
		}
		if !slices.Contains(ways, m) {
			ways = append(ways, m)
		}
	}
	return ways
}

// visit returns the moves to try in a state, and those that sleep there.
func (e *explorer) visit(state string, ways, sleep []move) (try, asleep []move) {
	if e.scenario.Full {
		sleep = nil
	}
	before, visited := e.seen[state]
	if !visited {
		e.seen[state] = sleep
		return without(ways, sleep), sleep
	}
	asleep = slices.DeleteFunc(slices.Clone(before), func(m move) bool {
		return !slices.Contains(sleep, m)
	})
	e.seen[state] = asleep
	return without(before, sleep), asleep
}

func without(moves, those []move) []move {
	return slices.DeleteFunc(slices.Clone(moves), func(m move) bool {
		return slices.Contains(those, m)
	})
}

// postpone leaves all ways but the first for later.
func (e *explorer) postpone(path, try, sleep []move) {
	for i := len(try) - 1; i > 0; i-- {
		tried := append(slices.Clone(sleep), try[:i]...)
		e.todo = append(e.todo, node{
			plan:  append(slices.Clone(path), try[i]),
			sleep: stillAsleep(tried, try[i]),
		})
	}
}

// stillAsleep keeps of the sleeping moves those that made has nothing to do with.
func stillAsleep(sleep []move, made move) []move {
	return slices.DeleteFunc(slices.Clone(sleep), func(m move) bool {
		return !independent(m, made)
	})
}
