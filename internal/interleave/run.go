package interleave

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"github.com/oidcgate/oidcgate/store"
)

const (
	// Tick is how far the clock goes when it goes by itself: longer than what an actor sleeps
	// between two looks, so that who sleeps has woken after it.
	Tick = 60 * time.Millisecond

	// Pause is how long everybody stands still in a [Stall].
	Pause = 200 * time.Millisecond

	// patience is after how many ticks without a step an actor is taken to wait for ever.
	patience = 1000
)

// Run is one execution of a scenario. [Scenario.Begin] adds actors to it.
type Run struct {
	common map[string]bool // names that are the same in every execution
	begun  time.Time
	shelf  shelf

	mu        sync.Mutex
	free      bool            // nobody waits: before the actors start, and when they have finished
	asked     map[string]bool // the keys of all steps
	actors    []*actor
	waiting   []*step
	names     map[string]string // what stands for a random name or value
	faults    []Fault           // that have happened
	ticks     int               // ticks that the explorer chose
	trace     []entry
	violation error
	running   sync.WaitGroup
}

// actor is whoever has a store of its own: a replica of the service.
type actor struct {
	name    string
	act     func() string
	history []string // its steps and what they were answered
	seen    string   // a hash of the history, in whatever order it came
	started bool
	dead    bool
	outcome string // of act, when it has returned
	done    bool
}

// entry is a move that was made, and what its actor was answered.
type entry struct {
	move   move
	answer string
}

func (e entry) String() string {
	if e.answer == "" {
		return e.move.String()
	}
	return e.move.String() + " -> " + e.answer
}

// step is something that an actor is about to do.
type step struct {
	actor  *actor
	move   move
	do     func(origin string) (answer string) // may be done more than once
	seen   string                              // what its actor had seen when it came to wait
	named  bool                                // the move's key is a name
	resent bool
	reply  chan error // what the actor is told: nil for what do answered
}

func newRun(common map[string]bool) *Run {
	return &Run{common: common, begun: time.Now(), free: true, names: map[string]string{},
		asked: map[string]bool{}}
}

func (r *Run) actor(name string) *actor {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.actors {
		if a.name == name {
			return a
		}
	}
	a := &actor{name: name}
	r.actors = append(r.actors, a)
	return a
}

// Go adds an actor. act begins when the scenario is set up; what it returns is its outcome.
func (r *Run) Go(name string, act func() (outcome string)) { r.actor(name).act = act }

// Outcome is what an actor returned; "" for one that died.
func (r *Run) Outcome(name string) string {
	a := r.actor(name)
	r.mu.Lock()
	defer r.mu.Unlock()
	return a.outcome
}

// Outcomes returns what all actors returned that were started, by their names.
func (r *Run) Outcomes() map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	outcomes := map[string]string{}
	for _, a := range r.actors {
		if a.started {
			outcomes[a.name] = a.outcome
		}
	}
	return outcomes
}

// Happened reports whether one of these faults has happened. It may be called inside a step, and at
// the end.
func (r *Run) Happened(faults ...Fault) bool {
	return slices.ContainsFunc(r.faults, func(f Fault) bool { return slices.Contains(faults, f) })
}

// Fail ends the execution as a violation. It may be called inside a step.
func (r *Run) Fail(format string, args ...any) {
	if r.violation == nil {
		r.violation = fmt.Errorf(format, args...)
	}
}

// Keys returns the keys and sets that the store holds.
func (r *Run) Keys() []string { return r.shelf.keys() }

// Store returns the store as an actor sees it. Its operations wait to be let go once the actors
// run, and happen at once before and after that.
func (r *Run) Store(name string) store.Store {
	a := r.actor(name)
	return Func(func(ctx context.Context, c Call) Reply {
		var reply Reply
		m := move{actor: name, what: string(c.Op), key: c.Key, write: !c.reads()}
		if c.Op == Remove {
			m.member = string(c.Value)
		}
		err := r.perform(a, m, func(origin string) string {
			reply = r.shelf.do(ctx, c)
			slices.SortFunc(reply.Members, func(x, y string) int {
				return cmp.Compare(r.name(a, origin, x), r.name(a, origin, y))
			})
			return r.describe(a, origin, c, reply)
		})
		if err != nil {
			return Reply{Err: err}
		}
		return reply
	})
}

// Step is a step of an actor outside the store, such as what a provider does at a request. do
// happens at once and alone. The error is not nil when the actor is not told what came of it.
func (r *Run) Step(name, what string, do func()) error {
	m := move{actor: name, what: what, key: outside, write: true}
	return r.perform(r.actor(name), m, func(string) string { do(); return "" })
}

// perform waits until the step may be done, and returns when it was.
func (r *Run) perform(a *actor, m move, do func(origin string) string) error {
	r.mu.Lock()
	r.asked[m.key] = true
	switch {
	case a.dead:
		r.mu.Unlock()
		return errNoAnswer
	case r.free:
		defer r.mu.Unlock()
		prefix, _, _ := strings.Cut(m.key, ":")
		origin := m.what + " " + prefix
		_ = r.nameKey(a, origin, m.key) // before what is named by several steps at the same time
		do(origin)
		return nil
	}
	s := &step{actor: a, move: m, do: do, seen: a.seen, reply: make(chan error, 1)}
	r.waiting = append(r.waiting, s)
	r.mu.Unlock()
	return <-s.reply
}

// nameKey names a key for the reader of a trace, and the same in every execution.
func (r *Run) nameKey(a *actor, origin, key string) string {
	prefix, rest, _ := strings.Cut(key, ":")
	if r.common[key] {
		return prefix + ":" + rest[:min(4, len(rest))]
	}
	return prefix + ":" + r.name(a, origin, rest)
}

// name names what is random by who brought it into the world, in which step, and after which
// answers.
func (r *Run) name(a *actor, origin, text string) string {
	if len(text) <= 16 {
		return text // a word, or a time
	}
	if n, ok := r.names[text]; ok {
		return n
	}
	n := a.name + "-" + digest(origin)[:6]
	if r.free {
		n = r.unused(a.name + " " + origin)
	}
	r.names[text] = n
	return n
}

// unused returns a name that begins so and stands for nothing yet.
func (r *Run) unused(begin string) string {
	named := slices.Collect(maps.Values(r.names))
	n := begin
	for i := 2; slices.Contains(named, n); i++ {
		n = begin + " " + strconv.Itoa(i)
	}
	return n
}

// describe says what an actor learns from a reply, and names what it has written.
func (r *Run) describe(a *actor, origin string, c Call, reply Reply) string {
	switch {
	case reply.Err != nil:
		return reply.Err.Error()
	case c.Op == Get:
		return r.name(a, origin, string(reply.Value))
	case c.Op == Members:
		named := make([]string, len(reply.Members))
		for i, m := range reply.Members {
			named[i] = r.name(a, origin, m)
		}
		return strings.Join(named, " ")
	case c.Op == Create || c.Op == Swap || c.Op == Add:
		return "ok " + r.name(a, origin, string(c.Value))
	}
	return "ok"
}

func digest(parts ...string) string {
	h := fnv.New128a()
	var text []byte
	for _, p := range parts {
		text = strconv.AppendInt(text[:0], int64(len(p)), 10)
		_, _ = h.Write(append(append(text, ':'), p...))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// now is how long the execution has lasted, as text.
func (r *Run) now() string { return strconv.FormatInt(int64(time.Since(r.begun)), 10) }

// start lets the actors begin.
func (r *Run) start() {
	r.mu.Lock()
	r.free = false
	r.shelf.undo = nil // what the setup wrote was there long ago
	actors := slices.Clone(r.actors)
	r.mu.Unlock()
	for _, a := range actors {
		if a.act == nil {
			continue
		}
		a.started = true
		r.running.Go(func() {
			outcome := a.act()
			r.mu.Lock()
			defer r.mu.Unlock()
			if !a.dead {
				a.outcome, a.done = outcome, true
			}
		})
	}
}

// settle waits until every actor stands before a step or is done, and lets time pass while all are
// asleep. It returns the steps that wait, none when the execution is over.
func (r *Run) settle() []*step {
	for range patience {
		synctest.Wait()
		if r.finished() {
			return nil
		}
		r.mu.Lock()
		waiting := slices.Clone(r.waiting)
		r.mu.Unlock()
		if len(waiting) > 0 {
			r.nameSteps(waiting)
			return waiting
		}
		time.Sleep(Tick)
	}
	r.Fail("an actor waits for ever")
	return nil
}

// nameSteps names the keys of steps that have come to wait, in an order that does not depend on who
// came first, and sorts them.
func (r *Run) nameSteps(waiting []*step) {
	byMove := func(a, b *step) int { return a.move.compare(b.move) }
	slices.SortFunc(waiting, byMove)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range waiting {
		if !s.named && s.move.key != outside {
			origin := digest(s.seen, "key")
			s.move.key = r.nameKey(s.actor, origin, s.move.key)
			s.move.member = r.name(s.actor, origin, s.move.member)
		}
		s.named = true
	}
	slices.SortFunc(waiting, byMove)
}

// finished reports whether all actors that live are done and nothing waits, not even in the
// background.
func (r *Run) finished() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	unfinished := func(a *actor) bool { return a.started && !a.dead && !a.done }
	return len(r.waiting) == 0 && !slices.ContainsFunc(r.actors, unfinished)
}

// apply makes a move.
func (r *Run) apply(m move) {
	r.trace = append(r.trace, entry{move: m})
	if m.fault != none && m.fault != tick {
		r.faults = append(r.faults, m.fault)
	}
	switch m.fault {
	case Crash:
		r.kill(r.actor(m.actor))
	case Failover:
		r.shelf.forget()
	case Stall:
		time.Sleep(Pause)
	case none, Resend, LostReply, Refused:
		r.take(m)
	case tick:
		r.ticks++
		time.Sleep(Tick)
	}
}

// take does the step that a move is about, in the way that its fault has it.
func (r *Run) take(m move) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.waiting, func(s *step) bool { return s.move.about(m) })
	s := r.waiting[i]
	origin := digest(s.seen, s.move.id())
	if m.fault == Resend {
		_ = s.do(origin)
		s.resent = true
		return
	}
	r.waiting = slices.Delete(r.waiting, i, i+1)
	answer, err := errNoAnswer.Error(), errNoAnswer
	if m.fault != Refused {
		if got := s.do(origin); m.fault == none {
			answer, err = got, nil
		}
	}
	r.trace[len(r.trace)-1].answer = answer
	s.actor.sees(m, answer, r.now())
	s.reply <- err
}

// sees adds a step to what the actor has seen. Steps that it makes at the same time may be done in
// any order; it waits for all of them, and so the order does not count. How often the same step was
// made before does.
func (a *actor) sees(m move, answer, now string) {
	before := 0
	for _, h := range a.history {
		if strings.HasPrefix(h, m.id()+"\x00") {
			before++
		}
	}
	a.history = append(a.history, fmt.Sprint(m.id(), "\x00", before, "\x00", answer, "\x00", now))
	slices.Sort(a.history)
	a.seen = digest(a.history...)
}

// kill ends an actor where it stands: nothing that it does from now on has an effect.
func (r *Run) kill(a *actor) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a.dead, a.history, a.seen, a.outcome = true, nil, "", ""
	r.waiting = slices.DeleteFunc(r.waiting, func(s *step) bool {
		if s.actor == a {
			s.reply <- errNoAnswer
		}
		return s.actor == a
	})
}

// release makes the store free for checks, with nobody left who acts.
func (r *Run) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.free = true
}

// end stops all actors and waits for them.
func (r *Run) end() {
	for _, a := range r.actors {
		r.kill(a)
	}
	r.running.Wait()
}

// state is a hash of everything that decides how the execution goes on.
func (r *Run) state(world string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var parts []string
	for _, a := range r.actors {
		seen := a.seen
		if a.done {
			seen = "done: " + a.outcome
		}
		parts = append(parts, a.name+" "+strconv.FormatBool(a.dead)+" "+seen)
	}
	for _, s := range r.waiting {
		parts = append(parts, "waits "+s.move.id()+strconv.FormatBool(s.resent))
	}
	parts = append(parts, r.contents()...)
	slices.Sort(parts)
	return digest(append(parts, fmt.Sprint(r.faults, r.ticks), r.now(), world)...)
}

// contents lists what the store holds, with names in the place of what is random.
func (r *Run) contents() []string {
	r.shelf.mu.Lock()
	defer r.shelf.mu.Unlock()
	r.shelf.expire()
	nobody := &actor{name: "unnamed"}
	var list []string
	for key, it := range r.shelf.values {
		value, written := r.name(nobody, "", string(it.value)), int64(it.written.Sub(r.begun))
		list = append(list,
			r.nameKey(nobody, "", key)+"="+value+" of "+strconv.FormatInt(written, 10))
	}
	for set, members := range r.shelf.sets {
		for m := range members {
			list = append(list, r.nameKey(nobody, "", set)+" has "+r.name(nobody, "", m))
		}
	}
	return list
}

var errNondeterministic = errors.New("interleave: the same answers led to another step; " +
	"actors share something that the explorer does not see")
