package bearer

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oidcgate/oidcgate/internal/op"
)

func keyOf(n int) key { return key{"https://id.test", sha256.Sum256([]byte(strconv.Itoa(n)))} }

func good(context.Context, bool) (*op.AccessToken, error) { return &op.AccessToken{}, nil }

func inactive(context.Context, bool) (*op.AccessToken, error) {
	return nil, &op.Error{Status: http.StatusUnauthorized}
}

func TestCacheIsBounded(t *testing.T) {
	t.Run("C167 refused tokens are bounded, and displace no good ones", func(t *testing.T) {
		c := newCache(time.Minute)
		for n := range 10 {
			_, _ = c.get(t.Context(), keyOf(n), good)
		}
		for n := range maxEntries + 100 {
			_, _ = c.get(t.Context(), keyOf(1000+n), inactive)
		}
		if len(c.good) != 10 || len(c.refused) != maxEntries || len(c.flights) != 0 {
			t.Errorf("%d good, %d refused, %d under way", len(c.good), len(c.refused), len(c.flights))
		}
		for n := range maxEntries + 100 {
			_, _ = c.get(t.Context(), keyOf(10_000+n), good)
		}
		if len(c.good) != maxEntries {
			t.Errorf("%d good", len(c.good))
		}
	})
	t.Run("C167 entries that have expired make room", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newCache(time.Minute)
			for n := range 100 {
				_, _ = c.get(t.Context(), keyOf(n), good)
			}
			time.Sleep(time.Minute + goodMemory)
			for n := range 50 {
				_, _ = c.get(t.Context(), keyOf(1000+n), good)
			}
			if len(c.good) != 50 {
				t.Errorf("%d entries", len(c.good))
			}
		})
	})
}

func TestWhatWasGoodIsRemembered(t *testing.T) {
	t.Run("C167 the next question about a token says that it was good", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newCache(time.Minute)
			var said []bool
			ask := func(answer question) {
				_, _ = c.get(t.Context(), keyOf(1), func(ctx context.Context, wasGood bool) (*op.AccessToken, error) {
					said = append(said, wasGood)
					return answer(ctx, wasGood)
				})
				time.Sleep(2 * time.Minute)
			}
			ask(inactive)
			ask(good)
			ask(good)
			ask(inactive)
			ask(good)
			if want := []bool{false, false, true, true, false}; !slices.Equal(said, want) {
				t.Errorf("got %v, want %v", said, want)
			}
		})
	})
}

func TestQuestionsAreShared(t *testing.T) {
	t.Run("C163 who asked first may leave, and the others get the answer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newCache(time.Minute)
			var asked atomic.Int32
			slow := func(ctx context.Context, _ bool) (*op.AccessToken, error) {
				asked.Add(1)
				time.Sleep(time.Second)
				return &op.AccessToken{}, ctx.Err()
			}
			first, leave := context.WithCancel(t.Context())
			var all sync.WaitGroup
			all.Go(func() {
				if _, err := c.get(first, keyOf(1), slow); !errors.Is(err, context.Canceled) {
					t.Errorf("who left got %v", err)
				}
			})
			synctest.Wait()
			for range 3 {
				all.Go(func() {
					if _, err := c.get(t.Context(), keyOf(1), slow); err != nil {
						t.Error(err)
					}
				})
			}
			synctest.Wait()
			leave()
			all.Wait()
			if asked.Load() != 1 {
				t.Errorf("asked %d times", asked.Load())
			}
		})
	})
	t.Run("C163 a failure is not kept, and neither is a panic", func(t *testing.T) {
		c := newCache(time.Minute)
		for name, fail := range map[string]func(context.Context, bool) (*op.AccessToken, error){
			"an error": func(context.Context, bool) (*op.AccessToken, error) {
				return nil, &op.Error{Status: http.StatusServiceUnavailable}
			},
			"a panic": func(context.Context, bool) (*op.AccessToken, error) { panic("hush") },
		} {
			if _, err := c.get(t.Context(), keyOf(1), fail); err == nil || err.Error() == "hush" {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := c.get(t.Context(), keyOf(1), good); err != nil {
			t.Error(err)
		}
	})
	t.Run("C163 what is kept for one provider does not count for another", func(t *testing.T) {
		c := newCache(time.Minute)
		_, _ = c.get(t.Context(), keyOf(1), good)
		other := keyOf(1)
		other.provider = "https://staff.test"
		if _, err := c.get(t.Context(), other, inactive); err == nil {
			t.Error("it counted")
		}
	})
}
