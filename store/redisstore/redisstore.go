package redisstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oidcgate/oidcgate/store"
)

const (
	defaultPrefix  = "oidcgate:"
	defaultTimeout = 500 * time.Millisecond
)

// Config is what a [Store] may be told. Its zero value is the default.
type Config struct {
	// Prefix stands before every key in Redis. If empty, it is "oidcgate:".
	// Two applications on one Redis need different prefixes only if their
	// operators want to tell the keys apart.
	Prefix string

	// Timeout bounds each call, retries and the wait for a connection
	// included; a context that ends sooner counts. If zero or negative, it is
	// 500 ms. A call may get a sixteenth less.
	Timeout time.Duration

	// Logger hears of settings of the client that cost speed or safety, once,
	// when the Store is made. If nil, it is slog.Default().
	Logger *slog.Logger
}

// Store is a [store.Store] in Redis. It is safe for concurrent use. It owns
// nothing that must be closed.
//
// A context that is cancelled during a call, without a deadline of its own, may
// be noticed only when the call ends, which is at the timeout at the latest.
type Store struct {
	rdb      redis.UniversalClient
	prefix   string
	deadline deadline
	detach   bool // the client does not heed the deadline of a context
	line     line
}

var _ store.Store = (*Store)(nil)

// New returns a Store with the default [Config] on a client that stays the
// caller's to close. It does not speak to Redis. It panics if there is no client.
func New(rdb redis.UniversalClient) *Store { return NewWith(rdb, Config{}) }

// NewWith is [New] with a Config.
func NewWith(rdb redis.UniversalClient, config Config) *Store {
	if v := reflect.ValueOf(rdb); !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		panic("redisstore: New needs a client of go-redis, not nil")
	}
	if config.Prefix == "" {
		config.Prefix = defaultPrefix
	}
	if config.Timeout <= 0 {
		config.Timeout = defaultTimeout
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	client := inspect(rdb)
	client.warn(config.Logger)
	return &Store{
		rdb:      rdb,
		prefix:   config.Prefix,
		deadline: deadline{timeout: config.Timeout},
		detach:   client.cure != "",
	}
}

// Get implements [store.Store] by one GET. Reads that are made at the same time
// may share a round trip.
func (s *Store) Get(ctx context.Context, key string) ([]byte, error) {
	if s.detach {
		return s.getAlone(ctx, key)
	}
	if err := ctx.Err(); err != nil {
		return nil, wrap("get", err)
	}
	if r := s.line.enter(key); r != nil {
		return s.wait(ctx, r)
	}
	defer s.line.leave()
	return s.getAlone(ctx, key)
}

func (s *Store) getAlone(ctx context.Context, key string) ([]byte, error) {
	cmd := redis.NewStringCmd(ctx, "get", s.prefix+key)
	if err := s.process(ctx, cmd); err != nil && err != redis.Nil { // cmd may still be written to
		return nil, wrap("get", err)
	}
	return found(cmd)
}

// found is what a GET found.
func found(cmd *redis.StringCmd) ([]byte, error) {
	value, err := cmd.Bytes()
	if err == redis.Nil { // compared, not unwrapped: go-redis returns it bare
		return nil, store.ErrNotFound
	}
	return value, wrap("get", err)
}

// Create implements [store.Store].
func (s *Store) Create(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	ttl, err := store.RoundTTL(ttl)
	if err != nil {
		return wrap("create", err)
	}
	return s.change(ctx, "create", createScript, key, value, ttl.Milliseconds())
}

// Swap implements [store.Store].
func (s *Store) Swap(ctx context.Context, key string, old, value []byte, ttl time.Duration) error {
	ttl, err := store.RoundTTL(ttl)
	if err != nil {
		return wrap("swap", err)
	}
	return s.change(ctx, "swap", swapScript, key, old, value, ttl.Milliseconds())
}

// Delete implements [store.Store].
func (s *Store) Delete(ctx context.Context, key string, old []byte) error {
	if old != nil {
		return s.change(ctx, "delete", deleteScript, key, old)
	}
	return wrap("delete", s.process(ctx, redis.NewIntCmd(ctx, "del", s.prefix+key)))
}

// Add implements [store.Store]. A set is a sorted set of members scored by the
// time of their expiry, by Redis's clock: the clocks of replicas may differ.
func (s *Store) Add(ctx context.Context, set, member string, ttl time.Duration) error {
	ttl, err := store.RoundTTL(ttl)
	if err != nil {
		return wrap("add", err)
	}
	return s.change(ctx, "add", addScript, set, member, ttl.Milliseconds())
}

// Members implements [store.Store] by a script that only reads.
func (s *Store) Members(ctx context.Context, set string) ([]string, error) {
	cmd, err := s.run(ctx, membersScript, set)
	if err != nil {
		return nil, wrap("members", err)
	}
	members, err := cmd.StringSlice()
	return members, wrap("members", err)
}

// Remove implements [store.Store].
func (s *Store) Remove(ctx context.Context, set, member string) error {
	return wrap("remove", s.process(ctx, redis.NewIntCmd(ctx, "zrem", s.prefix+set, member)))
}

// change runs a script that answers with an outcome.
func (s *Store) change(ctx context.Context, op string, script *redis.Script, name string, args ...any) error {
	cmd, err := s.run(ctx, script, name, args...)
	if err != nil {
		return wrap(op, err)
	}
	outcome, err := cmd.Int()
	if err != nil {
		return wrap(op, err)
	}
	switch outcome {
	case done:
		return nil
	case absent:
		return store.ErrNotFound
	case exists:
		return store.ErrExists
	case changed:
		return store.ErrConflict
	}
	return fmt.Errorf("redisstore: %s: unexpected outcome %d", op, outcome)
}

// run sends a script by its hash, and whole where Redis does not know it.
func (s *Store) run(ctx context.Context, script *redis.Script, name string, args ...any) (*redis.Cmd, error) {
	var cmd *redis.Cmd
	err := s.bound(ctx, func(ctx context.Context) error {
		sent := script.Run(ctx, s.rdb, []string{s.prefix + name}, args...)
		if sent.Err() == nil {
			cmd = sent
		}
		return sent.Err()
	})
	if err != nil {
		return nil, err
	}
	return cmd, nil
}

// process sends cmd. When the call was left behind cmd must not be looked at, for
// go-redis may still be writing to it: look only where the error is nil or redis's.
func (s *Store) process(ctx context.Context, cmd redis.Cmder) error {
	if s.detach {
		return s.bound(ctx, func(ctx context.Context) error { return s.rdb.Process(ctx, cmd) })
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.rdb.Process(s.deadline.bound(ctx), cmd)
}

// bound makes call end by the deadline, if need be by leaving it behind.
func (s *Store) bound(ctx context.Context, call func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	bounded := s.deadline.bound(ctx)
	if !s.detach {
		return call(bounded)
	}
	answer := make(chan error, 1) // with room, so that a call left behind can end
	go func() { answer <- call(bounded) }()
	select {
	case err := <-answer:
		return err
	case <-bounded.Done():
		return bounded.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// wrap says which operation failed.
func wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("redisstore: %s: %w", op, withoutArguments(err))
}

// withoutArguments cuts what a server repeats of a command that it does not know
// ("ERR unknown command 'EVALSHA', with args beginning with: ..."): keys and values
// belong in no log.
func withoutArguments(err error) error {
	text, _, repeats := strings.Cut(err.Error(), ", with args beginning with")
	if !repeats {
		return err
	}
	return errors.New(text)
}
