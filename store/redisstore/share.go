package redisstore

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oidcgate/oidcgate/store"
)

// The round trip to Redis is the most expensive part of a read: two system calls and two goroutine
// wake-ups. So reads that would wait for each other's round trips share one. While maxAlone round
// trips are running, later reads wait in line. When one of them ends, the first read in line sends
// all waiting reads in one pipeline. A read that finds fewer round trips running is sent at once
// and alone.
//
// It is a pipeline of GETs and not MGET: each command names one key, so Cluster can send them to
// different machines, and each has its own answer.
//
// One caller's trouble must not be another's. A pipeline ends when the slowest machine of a Cluster
// has answered, and a connection may be dead. So a read that waits for another's batch longer than
// a sixteenth of the timeout goes alone, and a panic in the client is an error of the batch.

// maxAlone is the number of round trips that may run before other reads wait in line. With fewer,
// Redis would be idle while an answer is being read; with more, fewer reads would share a round
// trip.
const maxAlone = 2

// line holds the reads that wait for a round trip.
type line struct {
	mu      sync.Mutex
	running int // round trips under way
	waiting []*read
}

// read is a read in line. value and err may be read after done is closed.
type read struct {
	key   string
	value []byte
	err   error
	turn  chan []*read // receives the batch that the caller of this read must have sent
	done  chan struct{}
}

// enter returns nil if the caller may read at once; the caller must then call leave after its read.
// Otherwise it returns the caller's place in line.
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

// leave ends a round trip. If reads are waiting, the first of them gets the turn to send all of
// them.
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

// quit takes r out of the line. If it is not there any more, another read has sent it in its batch,
// or its turn has come.
func (l *line) quit(r *read) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = slices.DeleteFunc(l.waiting, func(other *read) bool { return other == r })
}

// wait waits until r was sent in a batch, or until it is r's turn to have the whole batch sent. It
// goes alone when that takes too long or brings an error, and returns early when ctx ends.
func (s *Store) wait(ctx context.Context, r *read) ([]byte, error) {
	bounded, patience := s.deadline.bound(ctx), s.patience.window(time.Now())
	for {
		select {
		case batch := <-r.turn:
			s.send(batch)
		case <-r.done:
			if r.err == nil || r.err == store.ErrNotFound {
				return r.value, r.err
			}
			// go-redis has separate connections for pipelines. After an outage they may recover
			// later than the other connections.
			return s.getAlone(bounded, r.key)
		case <-patience.done:
			s.quit(r)
			return s.getAlone(bounded, r.key)
		case <-ctx.Done():
			s.quit(r)
			return nil, ctx.Err()
		}
	}
}

// send has a batch read. The caller whose turn it is does so itself, which saves a goroutine,
// unless the client would not heed the deadline.
func (s *Store) send(batch []*read) {
	if s.detach {
		go s.readAll(batch)
		return
	}
	s.readAll(batch)
}

// quit takes r out of the line. If its turn has come at that moment, the batch is still sent,
// because other reads wait for it.
func (s *Store) quit(r *read) {
	s.line.quit(r)
	select {
	case batch := <-r.turn:
		go s.readAll(batch)
	default:
	}
}

// readAll reads for a whole batch in one round trip. It does not end with the context of any single
// request.
func (s *Store) readAll(batch []*read) {
	defer s.line.leave()
	err := s.sendAll(batch)
	for _, r := range batch {
		if err != nil {
			r.value, r.err = nil, err
		}
		close(r.done)
	}
}

// sendAll sets the result of every read. The error is that of a client that panicked, or of a
// connection that Redis refused.
func (s *Store) sendAll(batch []*read) (err error) {
	defer recovered(&err)
	ctx := s.deadline.bound(context.Background())
	cmds := make([]*redis.StringCmd, len(batch))
	pipe := s.rdb.Pipeline()
	for i, r := range batch {
		cmds[i] = pipe.Get(ctx, s.prefix+r.key)
	}
	if err := exec(ctx, pipe); err != nil {
		return wrap("get", err)
	}
	for i, r := range batch {
		r.value, r.err = found(cmds[i])
	}
	return nil
}

// recovered makes an error of a panic. It is deferred in goroutines, where a panic of the client or
// of one of its hooks would end the process.
func recovered(err *error) {
	if v := recover(); v != nil {
		*err = fmt.Errorf("redisstore: the Redis client panicked: %v", v)
	}
}
