package bearer

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/oidcgate/oidcgate/internal/op"
)

const (
	// maxEntries is how many tokens are remembered of each kind: of good ones, and of refused ones.
	// Strangers can fill the second kind only.
	maxEntries = 4096

	// goodMemory is how long after its answer a token still counts as one that was good, so that the
	// next question about it waits for no tokens of strangers.
	goodMemory = 10 * time.Minute

	// refusedAge is how long a refusal counts. A token that is issued a moment later is another one.
	refusedAge = 5 * time.Second
)

// key names a token without keeping it.
type key struct {
	provider string
	hash     [sha256.Size]byte
}

// entry is what a provider said about a token.
type entry struct {
	token *op.AccessToken
	err   error
	until time.Time
}

// question asks a provider about a token. wasGood is true if the provider said a while ago that the
// token is good.
type question func(ctx context.Context, wasGood bool) (*op.AccessToken, error)

// cache has what providers said about tokens. Requests with the same token share one question.
type cache struct {
	maxAge time.Duration

	mu            sync.Mutex
	good, refused map[key]entry
	flights       map[key]*flight
}

// flight is a question under way.
type flight struct {
	done chan struct{}
	entry
}

func newCache(maxAge time.Duration) cache {
	return cache{
		maxAge: maxAge, good: map[key]entry{}, refused: map[key]entry{}, flights: map[key]*flight{},
	}
}

// get returns what ask returned for a token a short time ago, or asks. A question goes on when the
// request that asked it ends, for the others who wait for it.
func (c *cache) get(ctx context.Context, k key, ask question) (*op.AccessToken, error) {
	c.mu.Lock()
	for _, m := range [...]map[key]entry{c.good, c.refused} {
		if e, ok := m[k]; ok && time.Now().Before(e.until) {
			c.mu.Unlock()
			return e.token, e.err
		}
	}
	f := c.flights[k]
	if f == nil {
		f = &flight{done: make(chan struct{})}
		c.flights[k] = f
		_, wasGood := c.good[k]
		go c.fly(context.WithoutCancel(ctx), k, f, func(ctx context.Context) (*op.AccessToken, error) {
			return ask(ctx, wasGood)
		})
	}
	c.mu.Unlock()
	select {
	case <-f.done:
		return f.token, f.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// fly asks, and remembers the answer.
func (c *cache) fly(
	ctx context.Context, k key, f *flight, ask func(context.Context) (*op.AccessToken, error),
) {
	defer c.land(k, f) // also when ask ends its goroutine
	f.err = errors.New("a function of the application ended its goroutine")
	f.token, f.err = call(ctx, ask)
}

// land ends a flight.
func (c *cache) land(k key, f *flight) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.flights, k)
	switch e, ok := errors.AsType[*op.Error](f.err); {
	case f.err == nil:
		f.until = now.Add(c.maxAge)
		if exp := f.token.Expires; !exp.IsZero() && exp.Before(f.until) {
			f.until = exp
		}
		delete(c.refused, k)
		remember(c.good, k, f.entry, goodMemory)
	case ok && e.Status == http.StatusUnauthorized:
		f.until = now.Add(min(c.maxAge, refusedAge))
		delete(c.good, k)
		remember(c.refused, k, f.entry, 0)
	}
	close(f.done)
}

// remember keeps an entry. It first looks at a few others and drops those that expired longer ago
// than memory. When there is still no room, it drops one, whichever the map yields.
func remember(m map[key]entry, k key, e entry, memory time.Duration) {
	looked := 0
	for other, old := range m {
		if looked++; looked > 16 {
			break
		}
		if time.Since(old.until) >= memory {
			delete(m, other)
		}
	}
	for other := range m {
		if len(m) < maxEntries {
			break
		}
		delete(m, other)
	}
	m[k] = e
}

func call(
	ctx context.Context, ask func(context.Context) (*op.AccessToken, error),
) (t *op.AccessToken, err error) {
	defer op.Recovered(&err)
	return ask(ctx)
}
