package session

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// readAtOnce is how many watched sessions are read at a time. A store that joins reads takes them
// in few round trips.
const readAtOnce = 64

// watches are the sessions that somebody watches in this process. One goroutine reads them all
// again and again; there is none while nobody watches.
type watches struct {
	mu       sync.Mutex
	sessions map[Handle]*watched
	stop     context.CancelFunc // ends the goroutine; nil when there is none
	judges   chan struct{}      // the places of those who ask rules
}

// watched is a session and the functions that end what depends on it.
type watched struct {
	id   ID
	of   *Identity
	read time.Time // when its last read began

	unsaved time.Time // since when the store refuses what a re-read brings; zero: it does not

	ends map[*context.CancelCauseFunc]*judged
}

// judged is what a session is watched for.
type judged struct {
	allows Allows
	asked  atomic.Bool // it is being asked now
}

// Allows reports whether a session, as it is now, may have what it is watched for. Nil allows it.
type Allows func(context.Context, *Session) bool

// Watch returns a copy of ctx that ends when the session does, with the cause ErrGone, or with
// ErrNotAllowed when allows says no, which is asked at every read. A session that this process ends
// and the session's deadline are noticed at once, every other end after Limits.Watch at the latest.
// A store that does not answer ends nothing before the deadline. Where it is too slow to read all
// sessions in that time, they are read in turn. The session is not touched, so that it can reach
// its idle time; claims that are due are read again. The caller must call cancel.
func (k *Keeper) Watch(
	ctx context.Context, s *Session, allows Allows,
) (_ context.Context, cancel context.CancelFunc) {
	ctx, end := context.WithCancelCause(ctx)
	remove := k.watches.add(k, s, &end, allows)
	untilDeadline := time.Until(time.UnixMilli(s.Times.Deadline))
	deadline := time.AfterFunc(untilDeadline, func() { end(ErrGone) })
	context.AfterFunc(ctx, func() { // also when the request ends
		deadline.Stop()
		remove()
	})
	return ctx, func() { end(nil) }
}

// add registers a function that ends what depends on a session, and starts the goroutine if it is
// the first.
func (w *watches) add(
	k *Keeper, s *Session, end *context.CancelCauseFunc, allows Allows,
) (remove func()) {
	h := k.Handle(s.ID)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sessions[h] == nil {
		w.sessions[h] = &watched{
			id: s.ID, of: &s.Identity, read: time.Now(), ends: map[*context.CancelCauseFunc]*judged{},
		}
	}
	w.sessions[h].ends[end] = &judged{allows: allows}
	if w.stop == nil {
		var ctx context.Context
		ctx, w.stop = context.WithCancel(context.Background())
		go k.watch(ctx)
	}
	return func() { w.remove(h, end) }
}

// remove is called once for every add.
func (w *watches) remove(h Handle, end *context.CancelCauseFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.sessions[h]
	delete(s.ends, end)
	if len(s.ends) == 0 {
		delete(w.sessions, h)
	}
	if len(w.sessions) == 0 {
		w.stop()
		w.stop = nil
	}
}

// ended ends everything that depends on a session.
func (w *watches) ended(h Handle) {
	for end := range w.endsOf(h) {
		(*end)(ErrGone) // removes it
	}
}

func (w *watches) endsOf(h Handle) map[*context.CancelCauseFunc]*judged {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.sessions[h]; s != nil {
		return maps.Clone(s.ends)
	}
	return nil
}

// judge ends what a session, as it was read just now, may not have any more. What takes long to say
// so keeps neither another nor the reads waiting.
func (k *Keeper) judge(ctx context.Context, s *Session) {
	for end, of := range k.watches.endsOf(k.Handle(s.ID)) {
		if of.allows == nil || !of.asked.CompareAndSwap(false, true) {
			continue
		}
		go func() {
			defer of.asked.Store(false)
			defer k.watches.enter()()
			if !of.allows(context.WithoutCancel(ctx), s) {
				(*end)(ErrNotAllowed)
			}
		}()
	}
}

// lateRule is how long a rule may take before another is asked in its place.
const lateRule = 2 * time.Second

// enter waits for a place among those who ask rules: rules may ask a database, which takes few at a
// time. One that is late holds up no others.
func (w *watches) enter() (leave func()) {
	w.judges <- struct{}{}
	free := sync.OnceFunc(func() { <-w.judges })
	late := time.AfterFunc(lateRule, free)
	return func() { late.Stop(); free() }
}

// EndWatches ends what depends on sessions that are not accepted any more, though they live.
func (k *Keeper) EndWatches(accepted func(*Identity) bool) {
	k.watches.mu.Lock()
	var over []Handle
	for h, s := range k.watches.sessions {
		if !accepted(s.of) {
			over = append(over, h)
		}
	}
	k.watches.mu.Unlock()
	for _, h := range over {
		k.watches.ended(h)
	}
}

// all returns the sessions that are watched now. Those whose last read is the longest ago come
// first.
func (w *watches) all() []*watched {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.SortedFunc(maps.Values(w.sessions), func(a, b *watched) int {
		return a.read.Compare(b.read)
	})
}

// reads notes that a session is about to be read.
func (w *watches) reads(s *watched) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s.read = time.Now()
}

// watch reads the watched sessions until ctx ends. Claims that are due are read again beside that,
// and at each provider by itself: one that hangs must keep neither a logout from being noticed nor
// the claims of another from being read.
func (k *Keeper) watch(ctx context.Context) {
	var rereads sync.Map // the providers at which claims are read now
	for sleep(ctx, k.limits.Watch) == nil {
		for provider, stale := range k.readWatched(ctx) {
			if _, running := rereads.LoadOrStore(provider, true); running {
				continue
			}
			go func() {
				defer rereads.Delete(provider)
				k.rereadWatched(ctx, stale)
			}()
		}
	}
}

// readWatched reads the watched sessions once, and returns those that are stale, by provider. When
// its time is over, it begins no other read. The next round begins with those that are left. Each
// read has as much time of its own: none is cut off by the end of every round, and one that hangs
// comes last in the next.
func (k *Keeper) readWatched(ctx context.Context) map[string][]*Session {
	stale := map[string][]*Session{}
	most := max(k.limits.Watch, time.Second)
	over := time.Now().Add(most)
	var mu sync.Mutex
	eachOf(k.watches.all(), func(one *watched) {
		if ctx.Err() != nil || !time.Now().Before(over) {
			return
		}
		defer k.recovered(ctx, "the store", func() {})
		k.watches.reads(one)
		ctx, cancel := Within(ctx, most)
		defer cancel()
		s, err := k.Peek(ctx, one.id)
		if err == nil && s.Identity.HasValues && k.limits.Values { // without them nobody is let in
			if _, lost := k.ReadValues(ctx, s); isGoneForAll(lost) {
				err = lost
			}
		}
		k.endWatchOf(one.id, err)
		if err != nil {
			return
		}
		k.judge(ctx, s)
		if !k.Stale(s) { // a request, or another replica, may have read its claims again
			k.watches.noteUnsaved(k.Handle(s.ID), false)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		stale[s.Identity.Provider] = append(stale[s.Identity.Provider], s)
	})
	return stale
}

// rereadWatched does for stale sessions what a request would do, which may end them.
func (k *Keeper) rereadWatched(ctx context.Context, stale []*Session) {
	eachOf(stale, func(s *Session) {
		defer k.recovered(ctx, "the store", func() {})
		_, err := k.Reread(ctx, s)
		// The store refuses to end it, or its claims count no more: nobody gets anything of it.
		unsaved := k.watches.noteUnsaved(k.Handle(s.ID), errors.Is(err, ErrStore))
		long := k.limits.Reread > 0 && unsaved >= k.limits.Reread
		if k.flights.hasToEnd(s.ID) || err == errUndecided || long {
			err = ErrGone
		}
		k.endWatchOf(s.ID, err)
	})
}

// noteUnsaved returns for how long the store has refused what re-reads of a session bring.
func (w *watches) noteUnsaved(h Handle, refused bool) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.sessions[h]
	switch {
	case s == nil:
		return 0
	case !refused:
		s.unsaved = time.Time{}
		return 0
	case s.unsaved.IsZero():
		s.unsaved = time.Now()
	}
	return time.Since(s.unsaved)
}

// endWatchOf ends what depends on a session if err says that it is gone.
func (k *Keeper) endWatchOf(id ID, err error) {
	if isGoneForAll(err) {
		k.watches.ended(k.Handle(id))
	}
}

// isGoneForAll reports whether an error says that a session is gone for every replica.
func isGoneForAll(err error) bool { return errors.Is(err, ErrGone) && !errors.Is(err, ErrForeign) }

// eachOf calls do for each of all, for some of them at the same time.
func eachOf[T any](all []T, do func(T)) {
	var running sync.WaitGroup
	places := make(chan struct{}, readAtOnce)
	for _, one := range all {
		places <- struct{}{}
		running.Go(func() {
			defer func() { <-places }()
			do(one)
		})
	}
	running.Wait()
}
