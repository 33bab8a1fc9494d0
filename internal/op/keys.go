package op

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/oidcgate/oidcgate/internal/event"
)

// How often keys are loaded: twice in a row, then every half minute. A stranger who sends tokens
// could otherwise make us load the keys once for each.
const (
	keyLoads      = 2
	keyLoadRefill = 30 * time.Second
)

// minKeyAge is the shortest time for which keys are kept, however short the provider's max-age is.
const minKeyAge = 30 * time.Second

// keys is the provider's key set and when to load it again. Keys come only from the provider's
// jwks_uri, never from the header of a token (RFC 8725, 3.10).
type keys struct {
	flight flight

	mu     sync.Mutex
	set    *keySet // the last good; nil before the first
	failed error   // of the last load, nil if it was good
	loads  float64 // how many loads were made, less one for every keyLoadRefill since
	last   time.Time
	told   time.Time // when it was last told that a load was refused
}

// verify returns the payload of a token that one of the provider's keys signed. When none of the
// keys at hand did, the keys are loaded again, if the limit on loads allows it, and tried once
// more: providers rotate their keys (OpenID Connect Core, 10.1.1).
func (c *Client) verify(ctx context.Context, t *compactToken) ([]byte, error) {
	set, err := c.currentKeys(ctx)
	if err != nil {
		return nil, err
	}
	payload, err := set.verify(t)
	if err == nil {
		return payload, nil
	}
	newer := c.keysAfter(ctx, set)
	if newer == set {
		return nil, err
	}
	return newer.verify(t)
}

// currentKeys returns the keys. It loads them first when there are none or they are too old. When
// that fails, it returns the old ones.
func (c *Client) currentKeys(ctx context.Context) (*keySet, error) {
	set := c.keys.now()
	if set != nil && time.Now().Before(set.expires) {
		return set, nil
	}
	err := c.loadKeys(ctx, set)
	if newer := c.keys.now(); newer != nil {
		return newer, nil
	}
	// A copy is changed, because all who waited for the load got the same error.
	e := *failure(err, event.ReasonJWKSUnavailable, event.ReasonJWKSUnavailable)
	if e.Hint == "" {
		e.Hint = "the provider's keys cannot be loaded: " +
			"check its jwks_uri and whether this host reaches it"
	}
	return nil, &e
}

// keysAfter returns a set that is newer than set, or set if there is none.
func (c *Client) keysAfter(ctx context.Context, set *keySet) *keySet {
	_ = c.loadKeys(ctx, set) // the failure was notified, and set is still in use
	return c.keys.now()
}

func (k *keys) now() *keySet {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.set
}

// loadKeys loads the keys, unless another caller has replaced set already, or too many loads were
// made in the last time. All who ask meanwhile share one load.
func (c *Client) loadKeys(ctx context.Context, set *keySet) error {
	return c.keys.flight.start(ctx, c.cfg.Timeout, func(ctx context.Context) error {
		take, failed := c.keys.take(set)
		switch take {
		case loadNone:
			return nil
		case loadThrottled:
			if c.keys.mayTell() {
				c.cfg.Notify(Notice{
					Event: event.JWKSRefreshThrottled, Reason: event.ReasonKeyUnknown, Err: failed,
				})
			}
			return failed
		}
		return c.fetchKeys(ctx)
	}).wait(ctx)
}

type load int

const (
	loadNone      load = iota // another caller has loaded them
	loadThrottled             // too many loads were made
	loadNow
)

// take decides whether to load the keys now, and counts the load.
func (k *keys) take(set *keySet) (load, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.set != set {
		return loadNone, nil
	}
	now := time.Now()
	k.loads = max(0, k.loads-float64(now.Sub(k.last))/float64(keyLoadRefill))
	k.last = now
	if k.loads > keyLoads-1 {
		if k.failed != nil {
			return loadThrottled, k.failed
		}
		return loadThrottled, &fault{
			status: http.StatusServiceUnavailable,
			text:   "the keys were loaded a moment ago",
		}
	}
	k.loads++
	return loadNow, nil
}

// mayTell reports whether to tell that a load was refused: once a second, because a stranger who
// sends junk could otherwise fill the log.
func (k *keys) mayTell() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if time.Since(k.told) < time.Second {
		return false
	}
	k.told = time.Now()
	return true
}

// fetchKeys loads the keys. A set that cannot be used does not replace one that can.
func (c *Client) fetchKeys(ctx context.Context) error {
	set, err := c.requestKeys(ctx)
	c.keys.settle(set, err)
	notice := Notice{Event: event.JWKSRefreshed}
	if err != nil {
		notice = Notice{Event: event.JWKSRefreshFailed, Reason: event.ReasonJWKSUnavailable, Err: err}
	}
	c.cfg.Notify(notice)
	return err
}

func (k *keys) settle(set *keySet, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.failed = err
	if err == nil {
		k.set = set
	}
}

func (c *Client) requestKeys(ctx context.Context) (*keySet, error) {
	meta, err := c.Metadata(ctx)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, meta.JWKS, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	var set *keySet
	a, err := c.do(req, metadataLimit)
	if err == nil {
		set, err = c.readKeys(a)
	}
	if err != nil {
		return nil, failure(err, event.ReasonJWKSUnavailable, event.ReasonJWKSUnavailable)
	}
	return set, nil
}

// readKeys reads an answer of the jwks_uri.
func (c *Client) readKeys(a answer) (*keySet, error) {
	if err := requireOK(a); err != nil {
		return nil, err
	}
	set, err := c.parseKeys(a.body)
	if err != nil {
		return nil, err
	}
	set.expires = time.Now().Add(keyAge(a.header, c.cfg.JWKSRefresh))
	return set, nil
}

// keyAge returns how long keys may be used: as long as is configured, or less when the provider
// says so in Cache-Control.
func keyAge(h http.Header, configured time.Duration) time.Duration {
	for _, line := range h.Values("Cache-Control") {
		for directive := range strings.SplitSeq(line, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
			if !strings.EqualFold(name, "max-age") {
				continue
			}
			seconds, err := strconv.ParseUint(value, 10, 31)
			if err != nil {
				continue
			}
			age := max(minKeyAge, time.Duration(seconds)*time.Second)
			return min(age, configured)
		}
	}
	return configured
}
