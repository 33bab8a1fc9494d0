package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oidcgate/oidcgate/store"
	"github.com/oidcgate/oidcgate/store/redisstore"
)

// script is a hook that answers in place of a server, so that a test can run in a bubble, where
// time passes when everybody waits.
type script struct {
	one  func(ctx context.Context, cmd redis.Cmder) error
	many func(ctx context.Context, cmds []redis.Cmder) error

	mu      sync.Mutex
	alone   int   // commands that were sent alone
	batches []int // how many commands each pipeline had
}

func (s *script) DialHook(next redis.DialHook) redis.DialHook { return next }

func (s *script) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		s.mu.Lock()
		s.alone++
		s.mu.Unlock()
		err := s.one(ctx, cmd)
		cmd.SetErr(err)
		return err
	}
}

func (s *script) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		s.mu.Lock()
		s.batches = append(s.batches, len(cmds))
		s.mu.Unlock()
		err := s.many(ctx, cmds)
		for _, cmd := range cmds {
			if cmd.Err() == nil {
				cmd.SetErr(err)
			}
		}
		return err
	}
}

// sent says what was sent.
func (s *script) sent() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprint(s.alone, " alone, batches of ", s.batches)
}

// give answers a GET with its key.
func give(_ context.Context, cmd redis.Cmder) error {
	cmd.(*redis.StringCmd).SetVal(cmd.Args()[1].(string))
	return nil
}

func giveAll(ctx context.Context, cmds []redis.Cmder) error {
	for _, cmd := range cmds {
		_ = give(ctx, cmd)
	}
	return nil
}

// hangAll answers nothing until the deadline.
func hangAll(ctx context.Context, _ []redis.Cmder) error { <-ctx.Done(); return ctx.Err() }

// scripted returns a store whose server is s, with a timeout of 16 seconds: a read waits one second
// for another's batch.
func scripted(t *testing.T, s *script, o redis.Options) *redisstore.Store {
	o.Addr = "127.0.0.1:1" // nobody is asked; a name would be looked up
	rdb := redis.NewClient(&o)
	t.Cleanup(func() { _ = rdb.Close() })
	rdb.AddHook(s)
	return redisstore.NewWith(rdb, redisstore.Config{
		Prefix: "p:", Timeout: 16 * time.Second, Logger: slog.New(slog.DiscardHandler),
	})
}

// queue is a store with two reads under way, so that others wait in line until the two are answered.
type queue struct {
	*script
	store  *redisstore.Store
	begun  time.Time
	answer func() // lets the two be answered
}

func newQueue(t *testing.T, o redis.Options, many func(context.Context, []redis.Cmder) error) *queue {
	full, firsts := make(chan struct{}), make(chan struct{}, 2)
	server := &script{many: many, one: func(ctx context.Context, cmd redis.Cmder) error {
		select {
		case firsts <- struct{}{}:
			<-full
		default:
		}
		return give(ctx, cmd)
	}}
	q := &queue{server, scripted(t, server, o), time.Now(), func() { close(full) }}
	t.Cleanup(func() { time.Sleep(time.Minute) }) // lets end what hangs
	for range 2 {
		q.read(t.Context(), "under way")
	}
	return q
}

// read reads key, and sends what it got, and after how long.
func (q *queue) read(ctx context.Context, key string) <-chan string {
	got := make(chan string, 1)
	go func() {
		value, err := q.store.Get(ctx, key)
		cause := "no error"
		for _, e := range []error{store.ErrNotFound, context.DeadlineExceeded, context.Canceled} {
			if errors.Is(err, e) {
				err, cause = nil, e.Error()
			}
		}
		if err != nil {
			cause = err.Error()
		}
		got <- fmt.Sprintf("%q, %s, after %s", value, cause, time.Since(q.begun))
	}()
	synctest.Wait()
	return got
}

// eachClient runs a test with a client that heeds the deadline of a context, and with one that ignores it.
func eachClient(t *testing.T, name string, test func(t *testing.T, o redis.Options)) {
	t.Run(name+", with a client that heeds contexts", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { test(t, redis.Options{ContextTimeoutEnabled: true}) })
	})
	t.Run(name+", with a client that ignores contexts", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { test(t, redis.Options{}) })
	})
}

func wantRead(t *testing.T, got <-chan string, want string) {
	t.Helper()
	if got := <-got; got != want {
		t.Errorf("the read: got %s, want %s", got, want)
	}
}

func (s *script) want(t *testing.T, want string) {
	t.Helper()
	if got := s.sent(); got != want {
		t.Errorf("sent: %s, want %s", got, want)
	}
}

func TestSharedRoundTrips(t *testing.T) {
	const value, absent = `"p:k", no error, after 0s`, `"", store: not found, after 0s`
	for _, tt := range []struct {
		name       string
		many       func(context.Context, []redis.Cmder) error
		read, sent string
	}{
		{"reads in line share one round trip", giveAll, value, "2 alone, batches of [5]"},
		{"the batch's answer is that a key is absent", func(context.Context, []redis.Cmder) error { return redis.Nil }, absent, "2 alone, batches of [5]"},
		{"F18 the batch fails: its reads go alone", func(context.Context, []redis.Cmder) error { return io.ErrUnexpectedEOF }, value, "7 alone, batches of [5]"},
		{"F34 the batch panics: its reads go alone", func(context.Context, []redis.Cmder) error { panic("a fault of a hook") }, value, "7 alone, batches of [5]"},
	} {
		eachClient(t, tt.name, func(t *testing.T, o redis.Options) {
			q := newQueue(t, o, tt.many)
			var reads []<-chan string
			for range 5 {
				reads = append(reads, q.read(t.Context(), "k"))
			}
			q.want(t, "2 alone, batches of []")
			q.answer()
			for _, read := range reads {
				wantRead(t, read, tt.read)
			}
			q.want(t, tt.sent)
		})
	}
}

func TestSharedTrouble(t *testing.T) {
	eachClient(t, "F17 the two under way hang: a read in line goes alone", func(t *testing.T, o redis.Options) {
		q := newQueue(t, o, giveAll)
		wantRead(t, q.read(t.Context(), "k"), `"p:k", no error, after 1s`)
		q.answer()
		synctest.Wait()
		q.want(t, "3 alone, batches of []")
	})
	eachClient(t, "F17 the first in line has gone alone: the second gets the turn", func(t *testing.T, o redis.Options) {
		q := newQueue(t, o, giveAll)
		q.read(t.Context(), "k")
		time.Sleep(time.Second / 2)
		second := q.read(t.Context(), "k")
		time.Sleep(time.Second * 3 / 4)
		q.answer()
		wantRead(t, second, `"p:k", no error, after 1.25s`)
		q.want(t, "3 alone, batches of [1]")
	})
	eachClient(t, "F17 the batch hangs: a read in it goes alone", func(t *testing.T, o redis.Options) {
		q := newQueue(t, o, hangAll)
		first, second := q.read(t.Context(), "k"), q.read(t.Context(), "k")
		q.answer()
		wantRead(t, second, `"p:k", no error, after 1s`)
		if o.ContextTimeoutEnabled { // the first sends the batch itself
			wantRead(t, first, `"", context deadline exceeded, after 16s`)
		} else {
			wantRead(t, first, `"p:k", no error, after 1s`)
		}
	})
	eachClient(t, "a visitor who leaves is not read for, and holds up nobody", func(t *testing.T, o redis.Options) {
		q := newQueue(t, o, giveAll)
		ctx, leave := context.WithCancel(t.Context())
		gone, stays := q.read(ctx, "k"), q.read(t.Context(), "k")
		leave()
		wantRead(t, gone, `"", context canceled, after 0s`)
		q.answer()
		wantRead(t, stays, `"p:k", no error, after 0s`)
		q.want(t, "2 alone, batches of [1]")
	})
	eachClient(t, "a visitor leaves when the turn comes: the batch is sent all the same", func(t *testing.T, o redis.Options) {
		for range 50 { // what comes first is chance
			q := newQueue(t, o, giveAll)
			ctx, leave := context.WithCancel(t.Context())
			q.read(ctx, "k")
			stays := q.read(t.Context(), "k")
			leave()
			q.answer()
			wantRead(t, stays, `"p:k", no error, after 0s`)
		}
	})
	eachClient(t, "a visitor who has left is not read for", func(t *testing.T, o redis.Options) {
		s := &script{one: give}
		ctx, leave := context.WithCancel(t.Context())
		leave()
		redis := scripted(t, s, o)
		for _, op := range all(reads, writes, removals) {
			if err := op.do(ctx, redis); !errors.Is(err, context.Canceled) {
				t.Errorf("%s returned error %v, want context.Canceled", op.name, err)
			}
		}
		s.want(t, "0 alone, batches of []")
	})
}

// TestSharedDeadlines: calls that begin within a sixteenth of the timeout have the same deadline.
func TestSharedDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ends time.Time
		server := &script{one: func(ctx context.Context, cmd redis.Cmder) error {
			var ok bool
			if ends, ok = ctx.Deadline(); !ok {
				t.Error("a call without deadline")
			}
			return give(ctx, cmd)
		}}
		s := scripted(t, server, redis.Options{ContextTimeoutEnabled: true})
		begun := time.Now()
		bounded := func(d time.Duration) context.Context {
			ctx, cancel := context.WithTimeout(t.Context(), d)
			t.Cleanup(cancel)
			return ctx
		}
		for _, tt := range []struct {
			at   time.Duration
			ctx  func() context.Context
			want time.Duration
		}{
			{0, t.Context, 16 * time.Second},
			{time.Second - 1, t.Context, 16 * time.Second},
			{time.Second, t.Context, 17 * time.Second},
			{time.Second, func() context.Context { return bounded(15 * time.Second) }, 16 * time.Second},
			{time.Second, func() context.Context { return bounded(time.Minute) }, 17 * time.Second},
			{2*time.Second - 1, t.Context, 17 * time.Second},
			{time.Minute, t.Context, 76 * time.Second},
		} {
			time.Sleep(time.Until(begun.Add(tt.at)))
			if _, err := s.Get(tt.ctx(), "k"); err != nil {
				t.Error(err)
			}
			if got := ends.Sub(begun); got != tt.want {
				t.Errorf("the deadline of a call that begins after %s is %s, want %s", tt.at, got, tt.want)
			}
		}
	})
}

func TestNewHasDefaults(t *testing.T) {
	var log strings.Builder
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	defer slog.SetDefault(before)
	for _, timeout := range []time.Duration{0, -1} {
		synctest.Test(t, func(t *testing.T) {
			log.Reset()
			var key any
			var left time.Duration
			rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
			defer rdb.Close()
			rdb.AddHook(&script{one: func(ctx context.Context, cmd redis.Cmder) error {
				end, _ := ctx.Deadline()
				key, left = cmd.Args()[1], time.Until(end)
				return give(ctx, cmd)
			}})
			if _, err := redisstore.NewWith(rdb, redisstore.Config{Timeout: timeout}).Get(t.Context(), "k"); err != nil {
				t.Error(err)
			}
			if key != "oidcgate:k" || left != 500*time.Millisecond || !strings.Contains(log.String(), "ContextTimeoutEnabled") {
				t.Errorf("key %v, deadline after %s, log %q", key, left, &log)
			}
		})
	}
}

func TestNewRefusesNoClient(t *testing.T) {
	for name, rdb := range map[string]redis.UniversalClient{
		"nil": nil, "a nil *redis.Client": (*redis.Client)(nil), "a nil *redis.Ring": (*redis.Ring)(nil),
	} {
		t.Run("C003 "+name, func(t *testing.T) {
			defer func() {
				if got := fmt.Sprint(recover()); !strings.Contains(got, "not nil") {
					t.Errorf("New panicked with %s", got)
				}
			}()
			redisstore.New(rdb)
		})
	}
}
