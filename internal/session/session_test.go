package session_test

import (
	"context"
	"crypto/rand"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/seal"
	"github.com/oidcgate/oidcgate/internal/session"
	"github.com/oidcgate/oidcgate/store"
)

// world is a keeper with a store in memory and a provider that does what the test says.
type world struct {
	*testing.T
	*session.Keeper
	store *recorder

	mu     sync.Mutex
	events []session.Event
}

func newWorld(t *testing.T, change func(*session.Limits)) *world {
	t.Helper()
	ring, err := seal.NewRing([][]byte{make([]byte, seal.KeyLen)}, "gate")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, store: &recorder{Store: &store.Memory{}}}
	limits := session.Limits{
		Idle: time.Hour, Touch: 3 * time.Minute, Attempt: 10 * time.Minute, Leeway: time.Minute,
		TokenLifetime: time.Hour, RefreshMargin: time.Minute, LockLease: 15 * time.Second,
		ProviderTimeout: 10 * time.Second, MaxBytes: 16 << 10, MaxIDToken: 4 << 10, Values: true,
	}
	if change != nil {
		change(&limits)
	}
	w.Keeper = session.New(session.Config{
		Store: w.store, Ring: ring, Limits: limits, Provider: nobody{},
		Logger: slog.New(slog.DiscardHandler),
		Tell: func(e session.Event) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.events = append(w.events, e)
		},
	})
	return w
}

// login begins a session of alice that ends after the lifetime.
func (w *world) login(lifetime time.Duration) session.Session {
	w.Helper()
	now := time.Now()
	idToken, err := claims.Of(map[string]any{
		"iss": "https://id.test", "sub": "alice", "sid": "s1", "iat": now.Unix(),
	})
	if err != nil {
		w.Fatal(err)
	}
	s := session.Session{ID: newID()}
	s.Identity = session.Identity{Created: now, Checked: now}
	s.Identity.IDToken, _ = idToken.Object()
	s.Times.Deadline = now.Add(lifetime).UnixMilli()
	tokens := session.NewTokens(&session.ProviderTokens{AccessToken: "at"}, "nonce")
	if err := w.Begin(w.Context(), &s, tokens); err != nil {
		w.Fatal(err)
	}
	return s
}

func newID() session.ID {
	return session.ID((rand.Text() + rand.Text())[:session.IDSize])
}

// told counts the events of a type.
func (w *world) told(t event.Type) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		if e.Type == t {
			n++
		}
	}
	return n
}

// recorder is a store that notes the time to live of every key.
type recorder struct {
	store.Store
	mu   sync.Mutex
	keys map[string]time.Duration
}

func (r *recorder) note(key string, ttl time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.keys == nil {
		r.keys = map[string]time.Duration{}
	}
	r.keys[key] = ttl
}

func (r *recorder) Create(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	r.note(key, ttl)
	return r.Store.Create(ctx, key, value, ttl)
}

func (r *recorder) Swap(
	ctx context.Context, key string, old, value []byte, ttl time.Duration,
) error {
	r.note(key, ttl)
	return r.Store.Swap(ctx, key, old, value, ttl)
}

// living returns the keys that are still there.
func (r *recorder) living(ctx context.Context) (keys []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key := range r.keys {
		if _, err := r.Get(ctx, key); err == nil {
			keys = append(keys, key)
		}
	}
	return keys
}

// nobody is a provider that is never asked.
type nobody struct{ session.Provider }
