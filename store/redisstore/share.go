package redisstore

import (
	"context"
	"slices"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/oidcgate/oidcgate/store"
)

// A round trip to Redis costs a server more than all else of a read: two system
// calls and two wake-ups. Reads that would wait for each other's round trips
// share one: while enough of them are under way, those that come later wait in
// line, and when one ends, the first in line takes the whole line with it in a
// pipeline. A read that meets no others goes at once and alone.
//
// A pipeline of GETs, not MGET: each command names one key, so that Cluster can
// send them to different machines, and each has an answer of its own.

// maxAlone is how many reads are under way before others wait in line. Fewer
// would leave Redis idle while an answer is being read; more would share less.
const maxAlone = 2

// line is where reads wait.
type line struct {
	mu      sync.Mutex
	running int // round trips under way
	waiting []*read
}

// read is a read in line. What it found may be read after done is closed, or
// after the turn was taken.
type read struct {
	key   string
	value []byte
	err   error
	turn  chan []*read // has the line that this read is to take with it
	done  chan struct{}
}

// enter returns nil when the caller may go at once, and its place in line
// otherwise. Who may go calls leave afterwards.
func (l *line) enter(key string) *read {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.running < maxAlone {
		l.running++
		return nil
	}
	r := &read{key: key, turn: make(chan []*read, 1), done: make(chan struct{})}
	l.waiting = append(l.waiting, r)
	return r
}

// leave ends a round trip: the line, if there is one, goes on the next.
func (l *line) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 {
		l.running--
		return
	}
	batch := l.waiting
	l.waiting = nil
	batch[0].turn <- batch
}

// quit takes r out of the line and reports whether it was still there. If it was
// not, somebody is reading for it, or its turn has come.
func (l *line) quit(r *read) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(l.waiting, r)
	if i < 0 {
		return false
	}
	l.waiting = slices.Delete(l.waiting, i, i+1)
	return true
}

// wait returns what another's round trip found, or makes one for the whole line
// when it is r's turn. It ends with ctx; a turn that comes at the same moment is
// taken all the same, because others wait for it.
func (s *Store) wait(ctx context.Context, r *read) ([]byte, error) {
	bounded := s.deadline.bound(ctx)
	select {
	case batch := <-r.turn:
		s.readAll(batch)
	case <-r.done:
	case <-ctx.Done():
		return nil, s.giveUp(ctx, r)
	case <-bounded.Done():
		return nil, s.giveUp(bounded, r)
	}
	if r.err == nil || r.err == store.ErrNotFound || bounded.Err() != nil {
		return r.value, r.err
	}
	// go-redis has connections for pipelines of their own. After an outage they may come back later than the
	// others, of which a read that still has time may have one.
	return s.getAlone(bounded, r.key)
}

func (s *Store) giveUp(ctx context.Context, r *read) error {
	if !s.line.quit(r) {
		select {
		case batch := <-r.turn:
			go s.readAll(batch) // bounded like any call
		default:
		}
	}
	return ctx.Err()
}

// readAll reads for a whole line in one round trip. It belongs to no one
// request, and so ends with none.
func (s *Store) readAll(batch []*read) {
	defer s.line.leave()
	ctx := s.deadline.bound(context.Background())
	cmds := make([]*redis.StringCmd, len(batch))
	pipe := s.rdb.Pipeline()
	for i, r := range batch {
		cmds[i] = pipe.Get(ctx, s.prefix+r.key)
	}
	_, _ = pipe.Exec(ctx) // every command has its own error
	for i, r := range batch {
		r.value, r.err = found(cmds[i])
		close(r.done)
	}
}
