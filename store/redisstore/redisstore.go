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

// Config holds the settings of a [Store]. The zero Config is the default.
type Config struct {
	// Prefix is put before every key in Redis. If empty, it is "oidcgate:". Two applications may
	// share one Redis with the same prefix: the rest of a key is random, or a hash that includes the
	// gate's BaseURL and cookie name. Different prefixes only help operators to tell the keys apart.
	Prefix string

	// Timeout limits the duration of each call, including retries and the wait for a connection. A
	// context that ends sooner ends the call sooner. If zero or negative, it is 500 ms. A call may
	// end up to a sixteenth of the timeout early.
	Timeout time.Duration

	// Logger receives warnings about settings of the client that reduce speed or safety, once, when
	// the Store is created. If nil, it is slog.Default().
	Logger *slog.Logger
}

// Store is a [store.Store] in Redis. [New] and [NewWith] create one; the zero Store must not be
// used. It is safe for concurrent use and need not be closed.
//
// If a context is cancelled during a call, the call may still run until it gets an answer or
// reaches its timeout.
type Store struct {
	rdb      redis.UniversalClient
	prefix   string
	deadline deadline
	creation deadline // of Create, which is not sent again when no answer comes
	patience deadline // how long a read waits in line
	detach   bool     // the client ignores the deadline of a context, so calls need a goroutine
	line     line
	dials    *dials
}

var _ store.Store = (*Store)(nil)

// New returns a Store with the default [Config]. The caller closes rdb when it is no longer used.
// New sends nothing to Redis. It panics if rdb is nil or has a client-side cache: a read from the
// cache may be older than a logout.
func New(rdb redis.UniversalClient) *Store { return NewWith(rdb, Config{}) }

// NewWith is [New] with a Config.
func NewWith(rdb redis.UniversalClient, config Config) *Store {
	if v := reflect.ValueOf(rdb); !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		panic("redisstore: New needs a client of go-redis, not nil")
	}
	if caches(rdb) {
		panic("redisstore: the client has a client-side cache, from which a logout is read too late; " +
			"make one without ClientSideCacheConfig and ClientSideCache")
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
	creation := config.Timeout
	if client.patience > 0 {
		creation = min(creation, client.patience)
	}
	dials := &dials{}
	dials.watch(rdb)
	return &Store{
		dials:    dials,
		rdb:      rdb,
		prefix:   config.Prefix,
		deadline: deadline{timeout: config.Timeout},
		creation: deadline{timeout: creation},
		patience: deadline{timeout: config.Timeout / windowsPerTimeout},
		detach:   client.cure != "",
	}
}

// Get implements [store.Store] with one GET. Reads made at the same time may share a round trip.
func (s *Store) Get(ctx context.Context, key string) ([]byte, error) {
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
	// After any other error go-redis may still write to cmd.
	if err := s.process(ctx, cmd); err != nil && err != redis.Nil {
		return nil, wrap("get", err)
	}
	return found(cmd)
}

// found returns the result of a finished GET.
func found(cmd *redis.StringCmd) ([]byte, error) {
	value, err := cmd.Bytes()
	if err == redis.Nil { // go-redis returns it unwrapped
		return nil, store.ErrNotFound
	}
	return value, wrap("get", err)
}

// Create implements [store.Store]. Its time ends with the client's ReadTimeout, so that go-redis
// does not send it again: a first command that arrives late, on a connection that stalled, would
// create the key anew after it was deleted.
func (s *Store) Create(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	ttl, err := store.RoundTTL(ttl)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return wrap("create", err)
	}
	bounded := s.creation.bound(ctx)
	return s.change(bounded, "create", createScript, key, value, ttl.Milliseconds())
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

// Add implements [store.Store]. A set is a Redis sorted set; the score of a member is the time of
// its expiry. The time is taken from Redis, because the clocks of the application's replicas may
// differ.
func (s *Store) Add(ctx context.Context, set, member string, ttl time.Duration) error {
	ttl, err := store.RoundTTL(ttl)
	if err != nil {
		return wrap("add", err)
	}
	return s.change(ctx, "add", addScript, set, member, ttl.Milliseconds())
}

// Members implements [store.Store] with a script that only reads.
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

// change runs a script that returns one of the outcomes in scripts.go.
func (s *Store) change(
	ctx context.Context, op string, script *redis.Script, name string, args ...any,
) error {
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

// run sends the hash of a script, and the whole script if Redis does not know the hash.
func (s *Store) run(
	ctx context.Context, script *redis.Script, name string, args ...any,
) (*redis.Cmd, error) {
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

// process sends cmd. If it returns because of a deadline, go-redis may still be writing to cmd. So
// the caller may read cmd only if the error is nil or redis.Nil.
func (s *Store) process(ctx context.Context, cmd redis.Cmder) error {
	if s.detach {
		return s.bound(ctx, func(ctx context.Context) error { return s.rdb.Process(ctx, cmd) })
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.dials.explain(s.rdb.Process(s.deadline.bound(ctx), cmd))
}

// bound runs call and returns by the deadline. If the client ignores deadlines, call may continue
// in a goroutine after bound has returned.
func (s *Store) bound(ctx context.Context, call func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	bounded := s.deadline.bound(ctx)
	if !s.detach {
		return s.dials.explain(call(bounded))
	}
	answer := make(chan error, 1) // buffered, so that a call that is no longer awaited can end
	go func() {
		var err error
		defer func() { answer <- err }()
		defer recovered(&err)
		err = call(bounded)
	}()
	select {
	case err := <-answer:
		return s.dials.explain(err)
	case <-bounded.Done():
		return s.dials.explain(bounded.Err())
	case <-ctx.Done():
		return s.dials.explain(ctx.Err())
	}
}

// wrap adds the name of the operation to err. It returns nil if err is nil.
func wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("redisstore: %s: %w", op, withoutArguments(err))
}

// withoutArguments removes the arguments that a server repeats in its error for an unknown command
// ("ERR unknown command 'EVALSHA', with args beginning with: ..."), because keys and values must
// not appear in logs.
func withoutArguments(err error) error {
	text, _, repeats := strings.Cut(err.Error(), ", with args beginning with")
	if !repeats {
		return err
	}
	return errors.New(text)
}
