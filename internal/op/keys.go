package op

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/oidcgate/oidcgate/internal/event"
)

// How often keys are loaded: twice in a row, then every half minute. Somebody who sends tokens
// could otherwise make us load the keys once for each. For tokens that come through browsers, and
// from callers of an API, it is every five seconds: after a rotation strangers hold up those of
// others for so long, and nothing tells these from those.
const (
	keyLoads             = 2
	keyLoadRefill        = 30 * time.Second
	keyLoadRefillVisitor = 5 * time.Second
)

const (
	// minKeyAge is the shortest time for which keys are kept, however short the provider's max-age
	// is.
	minKeyAge = 30 * time.Second

	// maxKeyAge is how long keys are used that the provider no longer confirms. A provider that
	// is away for an hour ends no login. One whose keys cannot be had for a day may have withdrawn
	// them.
	maxKeyAge = 24 * time.Hour
)

// keyWaiters is how many tokens of one source wait for a load of the keys to its end, where anybody
// can send them.
const keyWaiters = 16

// source is where a token comes from. Each has a limit of its own on the loads that it causes, so
// that strangers use up none of those that a login needs when the provider changes its keys.
type source int

const (
	fromProvider source = iota // in the provider's answer to a request of ours
	fromBrowser                // in the response of a login, which anybody can begin
	fromAnybody                // in a request to the gate, which anybody can send
	fromCaller                 // in a request to a route for access tokens, which anybody can send
	sources
)

// anybody reports whether tokens of this source come from strangers, in a request of theirs.
func (s source) anybody() bool { return s == fromAnybody || s == fromCaller }

// keys is the provider's key set and when to load it again. Keys come only from the provider's
// jwks_uri, never from the header of a token (RFC 8725, 3.10).
type keys struct {
	flight  flight
	waiters [sources]chan struct{} // one for each token from anybody that waits for a load

	mu     sync.Mutex
	set    *keySet // the last good; nil before the first
	failed error   // of the last load, nil if it was good
	begun  int     // how many loads have begun
	loads  [sources]bucket
	told   time.Time // when it was last told that a load was refused
}

// bucket limits how often something is done.
type bucket struct {
	used float64 // how often it was done, less one for every refill since
	last time.Time
}

// take counts one use, or returns false when there were too many.
func (b *bucket) take(now time.Time, refill time.Duration) bool {
	b.used = max(0, b.used-float64(now.Sub(b.last))/float64(refill))
	b.last = now
	if b.used > keyLoads-1 {
		return false
	}
	b.used++
	return true
}

// verify returns the payload of a token that one of the provider's keys signed. When none of the
// keys at hand did, the keys are loaded again, if the limit on loads allows it, and tried once
// more: providers rotate their keys (OpenID Connect Core, 10.1.1). A load that was under way when
// the token came may bring the keys from before the rotation, and another one follows it.
//
// A token from anybody is not refused before the keys were loaded: while that cannot be done it may
// be genuine, and its sender should try again. It waits for nothing when a key at hand signed it.
// Nor is any other token refused for want of a key while the keys cannot be loaded.
func (c *Client) verify(
	ctx context.Context, t *compactToken, from source,
) (verified verifiedPayload, err error) {
	before := c.keys.loadsBegun()
	set, err := c.currentKeys(ctx, from)
	if err != nil {
		return verified, err
	}
	verified, err = set.verify(t)
	for current := false; err != nil && !current; current = set.load > before {
		notLoaded := c.loadKeys(ctx, set, from)
		newer := c.keys.now()
		switch {
		case newer != set:
			set = newer
			verified, err = set.verify(t)
		case from.anybody(), failedToLoad(notLoaded) && lacksKey(err):
			return verified, keysUnavailable(notLoaded)
		case notLoaded != nil:
			return verified, unproven(err) // that the load failed was notified
		default:
			return verified, err
		}
	}
	return verified, err
}

// failedToLoad reports whether err is why newer keys could not be loaded, and not that they were
// loaded a moment ago.
func failedToLoad(err error) bool { return err != nil && err != errThrottled }

// lacksKey reports whether err is that the keys at hand have none for a token.
func lacksKey(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Reason == event.ReasonKeyUnknown
}

// unproven is err for a token that none of the keys at hand signed, while newer ones could not be
// loaded.
func unproven(err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	unsure := *e
	unsure.Unproven = true
	return &unsure
}

// currentKeys returns the keys. It loads them first when there are none or they are too old. When
// that fails, it returns the old ones, for at most maxKeyAge, and waits no longer than patience.
func (c *Client) currentKeys(ctx context.Context, from source) (*keySet, error) {
	set := c.keys.now()
	if set != nil && time.Now().Before(set.expires) {
		return set, nil
	}
	if set != nil && time.Now().Before(set.unusable) {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	err := c.loadKeys(ctx, set, from)
	newer := c.keys.now()
	if newer != nil && time.Now().Before(newer.unusable) {
		return newer, nil
	}
	e := keysUnavailable(err)
	if newer != nil {
		e.Status = http.StatusServiceUnavailable
	}
	return nil, e
}

// keysUnavailable is the Error for a token that cannot be judged because the keys were not loaded.
// It is a copy, because all who waited for the load got the same err.
func keysUnavailable(err error) *Error {
	e := *failure(err, event.ReasonJWKSUnavailable, event.ReasonJWKSUnavailable)
	if e.Hint == "" && e.Reason == event.ReasonJWKSUnavailable && failedToLoad(err) {
		e.Hint = "the provider's keys cannot be loaded: " +
			"check its jwks_uri and whether this host reaches it"
	}
	return &e
}

func (k *keys) now() *keySet {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.set
}

// loadsBegun returns how many loads have begun.
func (k *keys) loadsBegun() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.begun
}

// loadKeys loads the keys, unless another caller has replaced set already, or too many loads were
// made in the last time. All who ask meanwhile share one load. Of the tokens from anybody only a
// few wait for its end: the load may take long, and anybody can send many.
func (c *Client) loadKeys(ctx context.Context, set *keySet, from source) error {
	run, allowed := c.startLoad(ctx, set, from)
	if !allowed {
		return c.throttled()
	}
	if run == nil {
		return nil
	}
	if from.anybody() {
		return c.keys.waitInTurn(ctx, run, from)
	}
	return run.wait(ctx)
}

// waitInTurn waits for a load, but no longer than patience when many others wait already.
func (k *keys) waitInTurn(ctx context.Context, run *run, from source) error {
	select {
	case k.waiters[from] <- struct{}{}:
		defer func() { <-k.waiters[from] }()
		return run.wait(ctx)
	default:
	}
	short, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := run.wait(short)
	if err != nil && short.Err() != nil {
		return errTooManyTokens
	}
	return err
}

var (
	errThrottled = &fault{
		status: http.StatusServiceUnavailable,
		text:   "the keys were loaded a moment ago",
	}
	errTooManyTokens = &Error{
		Reason: event.ReasonBusy,
		Status: http.StatusServiceUnavailable,
		Err:    errors.New("too many tokens wait for the provider's keys"),
	}
)

// startLoad begins a load, or returns the one under way, or nil when the keys are not set any more.
// allowed is false when there were too many loads.
func (c *Client) startLoad(
	ctx context.Context, set *keySet, from source,
) (_ *run, allowed bool) {
	k := c.keys
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.set != set {
		return nil, true
	}
	if r := k.flight.underWay(); r != nil {
		return r, true
	}
	refill := keyLoadRefill
	if from == fromBrowser || from == fromCaller {
		refill = keyLoadRefillVisitor
	}
	if !k.loads[from].take(time.Now(), refill) {
		return nil, false
	}
	k.begun++
	return k.flight.start(ctx, c.cfg.Timeout, c.fetchKeys), true
}

// throttled notifies that a load was refused, and returns why there are no newer keys. It does so
// once a second, because somebody who sends junk could otherwise fill the log.
func (c *Client) throttled() error {
	k := c.keys
	k.mu.Lock()
	failed, tell := k.failed, time.Since(k.told) >= time.Second
	if tell {
		k.told = time.Now()
	}
	k.mu.Unlock()
	if failed == nil {
		failed = errThrottled
	}
	if tell {
		c.cfg.Notify(Notice{
			Event: event.JWKSRefreshThrottled, Reason: event.ReasonKeyUnknown, Err: failed,
		})
	}
	return failed
}

// fetchKeys loads the keys. A set that cannot be used does not replace one that can.
func (c *Client) fetchKeys(ctx context.Context) error {
	set, err := c.requestKeys(ctx)
	c.keys.settle(set, err)
	notice := Notice{Event: event.JWKSRefreshed}
	if err != nil {
		notice = Notice{
			Event: event.JWKSRefreshFailed, Reason: event.ReasonJWKSUnavailable,
			Err: err, Hint: hintOf(err),
		}
	}
	c.cfg.Notify(notice)
	return err
}

func (k *keys) settle(set *keySet, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.failed = err
	if err == nil {
		set.load = k.begun
		k.set = set
	}
}

func (c *Client) requestKeys(ctx context.Context) (*keySet, error) {
	meta, err := c.Metadata(ctx)
	if err != nil {
		return nil, err
	}
	ctx = c.to(ctx, ForKeys)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, meta.JWKS, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	var set *keySet
	a, err := do(c.transport, req, metadataLimit)
	if err == nil {
		set, err = c.readKeys(a)
	}
	if err != nil {
		e := failure(err, event.ReasonJWKSUnavailable, event.ReasonJWKSUnavailable)
		e.Address, _, _ = strings.Cut(meta.JWKS, "?")
		switch {
		case e.Hint != "":
		case a.status != 0 && !e.Answered:
			e.Hint = "the provider, or a proxy in front of its jwks_uri, is in trouble or overloaded"
		default:
			e.Hint = "check whether this host reaches the provider's jwks_uri"
		}
		return nil, e
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
	now := time.Now()
	set.loaded = now
	set.expires = now.Add(keyAge(a.header, c.cfg.JWKSRefresh))
	set.unusable = now.Add(max(maxKeyAge, c.cfg.JWKSRefresh))
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
