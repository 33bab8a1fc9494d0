package interleave

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// Fault is an event that can go wrong in an execution.
type Fault int

// The faults.
const (
	none      Fault = iota
	Crash           // an actor is killed before its next step (SIGKILL)
	Resend          // a step happens, its reply is lost, and the client sends it again later
	LostReply       // a step happens, and the actor is told that it failed
	Refused         // a step does not happen, and the actor is told that it failed
	Stall           // all actors stand still for [Pause], and a value in the store expires
	Failover        // the store loses its last write
	tick            // not a fault: time passes although an actor could continue
)

// String returns the fault's name in a trace.
func (f Fault) String() string {
	return [...]string{
		"", "KILLED", "SENT TWICE", "REPLY LOST", "REFUSED", "ALL STAND STILL", "LAST WRITE LOST",
		"time goes on",
	}[f]
}

// Scenario describes a few actors and the promises that must hold in every order of their steps.
type Scenario struct {
	// Begin sets up one execution: it adds the actors and returns the checks. It runs in a
	// testing/synctest bubble and must do the same in every execution.
	Begin func(t *testing.T, r *Run) World

	// Faults are the faults to try. At most one fault happens in each execution.
	Faults []Fault

	// Ticks is how often time may pass by [Tick] while only steps outside the store are waiting.
	// Store operations are assumed to take less time than that, except during a [Stall].
	Ticks int

	// Full makes Explore try all orders, including those that differ only in the order of
	// independent steps.
	Full bool
}

// World is the part of an execution outside the store.
type World struct {
	// Check returns an error if a promise is broken at the end of an execution. Store operations no
	// longer wait then.
	Check func() error

	// State returns a text that identifies the state that steps outside the store have changed. If
	// State is nil, there is no such state.
	State func() string
}

// Report says how many executions and states were explored.
type Report struct {
	Executions int // how often the scenario was executed
	States     int
	Ends       map[string]int // for each combination of outcomes, the number of executions with it
}

// Violation is an order of steps after which a promise is broken.
type Violation struct {
	Err   error
	Steps []string
}

// Error returns the broken promise and the steps, one per line.
func (v *Violation) Error() string {
	return fmt.Sprintf("%v, after:\n  %s", v.Err, strings.Join(v.Steps, "\n  "))
}

// move is one possible continuation: a step, with or without a fault.
type move struct {
	actor, what, key string
	write            bool
	fault            Fault
}

// outside is the key of steps outside the store.
const outside = "the provider"

func (m move) String() string {
	return strings.TrimSpace(fmt.Sprintf("%-10s %s %s %v", m.actor, m.what, m.key, m.fault))
}

func (m move) compare(o move) int {
	return cmp.Or(
		cmp.Compare(m.actor, o.actor),
		cmp.Compare(m.what, o.what),
		cmp.Compare(m.key, o.key),
		cmp.Compare(m.fault, o.fault),
	)
}

// about reports whether m and o belong to the same step, ignoring the fault.
func (m move) about(o move) bool { return m.actor == o.actor && m.what == o.what && m.key == o.key }

// everywhere reports whether the move affects all actors and keys.
func (m move) everywhere() bool {
	return m.fault == Stall || m.fault == Failover || m.fault == tick
}

// independent reports whether two moves have the same result in either order.
func independent(a, b move) bool {
	switch {
	case a.actor == b.actor, a.everywhere(), b.everywhere(), a.fault != none && b.fault != none:
		return false
	}
	return a.key != b.key || !a.write && !b.write
}

// node is an execution that has not been explored yet.
type node struct {
	plan  []move // its first moves
	sleep []move // moves that need not be tried after the plan, because they were tried before
}

type explorer struct {
	t        *testing.T
	scenario Scenario
	common   map[string]bool
	todo     []node
	seen     map[string][]move // for each state visited, the moves that were not tried there
	report   Report
	found    *Violation
}

// Explore executes the scenario in every order, until one breaks a promise or all have been tried.
// The Violation is nil if all promises hold.
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

// calibrate executes the scenario twice in the same order and returns the keys that occur both
// times. These are not random.
func (e *explorer) calibrate() map[string]bool {
	var keys [2]map[string]bool
	for i := range keys {
		keys[i] = map[string]bool{}
		synctest.Test(e.t, func(t *testing.T) {
			r := newRun(nil)
			e.scenario.Begin(t, r)
			r.start()
			for waiting := r.settle(); len(waiting) > 0; waiting = r.settle() {
				r.apply(waiting[0].move)
				for _, k := range r.Keys() {
					keys[i][k] = true
				}
			}
			r.end()
		})
	}
	for k := range keys[0] {
		if !keys[1][k] {
			delete(keys[0], k)
		}
	}
	return keys[0]
}

// execute makes the moves of one plan, and then always the first move to try. It postpones the
// other moves.
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

// finish records the outcomes and checks the promises at the end of an execution.
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
		e.found = &Violation{Err: r.violation, Steps: r.trace}
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
	if len(r.faults) > 0 {
		return ways
	}
	for _, f := range e.scenario.Faults {
		ways = append(ways, faulty(r, f, waiting)...)
	}
	return ways
}

// faulty returns the possible moves with the fault f.
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
				continue // requests to a provider are never sent twice
			}
		}
		if !slices.Contains(ways, m) {
			ways = append(ways, m)
		}
	}
	return ways
}

// visit returns the moves to try in a state, and the sleep set there.
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

// postpone adds all moves of try except the first to the executions to explore.
func (e *explorer) postpone(path, try, sleep []move) {
	for i := len(try) - 1; i > 0; i-- {
		tried := append(slices.Clone(sleep), try[:i]...)
		e.todo = append(e.todo, node{
			plan:  append(slices.Clone(path), try[i]),
			sleep: stillAsleep(tried, try[i]),
		})
	}
}

// stillAsleep returns the moves of the sleep set that are independent of the move made.
func stillAsleep(sleep []move, made move) []move {
	return slices.DeleteFunc(slices.Clone(sleep), func(m move) bool {
		return !independent(m, made)
	})
}
