package oidcgate_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
	"github.com/oidcgate/oidcgate/store"
)

// distantStore is a store each of whose calls takes a trip. In a bubble nothing else takes time, so that the time of
// a request is the number of its round trips in sequence.
type distantStore struct {
	store.Memory
	claimed time.Time // when the last login was claimed
}

const trip = time.Millisecond

func (d *distantStore) Get(ctx context.Context, key string) ([]byte, error) {
	time.Sleep(trip)
	return d.Memory.Get(ctx, key)
}

func (d *distantStore) Create(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if strings.HasPrefix(key, "a:") {
		d.claimed = time.Now()
	}
	time.Sleep(trip)
	return d.Memory.Create(ctx, key, value, ttl)
}

func (d *distantStore) Swap(ctx context.Context, key string, old, value []byte, ttl time.Duration) error {
	time.Sleep(trip)
	return d.Memory.Swap(ctx, key, old, value, ttl)
}

func (d *distantStore) Delete(ctx context.Context, key string, old []byte) error {
	time.Sleep(trip)
	return d.Memory.Delete(ctx, key, old)
}

func (d *distantStore) Add(ctx context.Context, set, member string, ttl time.Duration) error {
	time.Sleep(trip)
	return d.Memory.Add(ctx, set, member, ttl)
}

func (d *distantStore) Members(ctx context.Context, set string) ([]string, error) {
	time.Sleep(trip)
	return d.Memory.Members(ctx, set)
}

func (d *distantStore) Remove(ctx context.Context, set, member string) error {
	time.Sleep(trip)
	return d.Memory.Remove(ctx, set, member)
}

func (d *distantStore) Batch(ctx context.Context, ops []store.Op) []store.Result {
	time.Sleep(trip)
	return d.Memory.Batch(ctx, ops)
}

// unbatched hides that a store knows batches.
type unbatched struct{ store.Store }

func TestRoundTripsOfLoginAndLogout(t *testing.T) {
	for _, batches := range []bool{true, false} {
		for _, before := range []string{"", "alice", "bob"} {
			for _, age := range []time.Duration{time.Minute, 30 * time.Minute, 2 * time.Hour} { // young, unused, over
				inBubble(t, fmt.Sprintf("C109 a login takes at most 8 round trips, a logout 4 (batches: %v, signed in before: %q, %v ago)", batches, before, age), func(t *testing.T) {
					d := &distantStore{}
					w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) {
						c.Store = d
						if !batches {
							c.Store = unbatched{d}
						}
					})
					if before != "" {
						w.op.SetUser(oidcgatetest.User{Subject: before})
						w.login()
						w.op.SetUser(oidcgatetest.User{Subject: "alice"})
					}
					time.Sleep(age)
					callback := w.callbackURL("/auth/login?return_to=/app")
					a := w.get(callback)
					took := int(time.Since(d.claimed) / trip)
					if a.StatusCode != http.StatusSeeOther || took > 8 {
						t.Errorf("status %d after %d round trips", a.StatusCode, took)
					}
					time.Sleep(min(age, 30*time.Minute))
					begun := time.Now()
					a = w.send(w.browser, http.MethodPost, "/auth/logout", "", "Sec-Fetch-Site: same-origin")
					out := int(time.Since(begun) / trip)
					if a.StatusCode != http.StatusSeeOther || w.subject() != "" || out > 4 {
						t.Errorf("status %d after %d round trips", a.StatusCode, out)
					}
					t.Logf("login %d, logout %d", took, out)
				})
			}
		}
	}
}
