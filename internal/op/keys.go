package op

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
)

// How often keys are loaded: twice at once, then every half minute. Whoever can
// present tokens could otherwise make us load them once for each.
const (
	keyLoads      = 2
	keyLoadRefill = 30 * time.Second
)

// maxKeys is how many keys a set may have: a token without kid is tried with
// every key of its type.
const maxKeys = 100

// minKeyAge is the shortest time for which keys are kept, however short the
// provider's max-age is.
const minKeyAge = 30 * time.Second

// keySet is one loaded set of keys. It never changes.
type keySet struct {
	keys    []jose.JSONWebKey
	expires time.Time
}

// keys is the provider's key set and when to load it again. Keys come from the
// provider's jwks_uri alone, never from the header of a token (RFC 8725, 3.10).
type keys struct {
	flight flight

	mu     sync.Mutex
	set    *keySet // the last good; nil before the first
	failed error   // of the last load, nil if it was good
	loads  float64 // how many loads were made, less those that time has refilled
	last   time.Time
	told   time.Time // when it was last told that a load was refused
}

// verify returns the payload of a token that one of the provider's keys signed.
// When none of the keys at hand did, the keys are loaded once more, if that is
// due, and tried once more: providers rotate (OpenID Connect Core, 10.1.1).
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

// currentKeys returns the keys, loaded first when there are none or they are
// too old. Old keys serve on when newer ones cannot be had.
func (c *Client) currentKeys(ctx context.Context) (*keySet, error) {
	set := c.keys.now()
	if set != nil && time.Now().Before(set.expires) {
		return set, nil
	}
	err := c.loadKeys(ctx, set)
	if newer := c.keys.now(); newer != nil {
		return newer, nil
	}
	e := *failure(err, event.ReasonJWKSUnavailable, event.ReasonJWKSUnavailable) // a copy: all who waited for the load got the same
	if e.Hint == "" {
		e.Hint = "the provider's keys cannot be loaded: check its jwks_uri and whether this host reaches it"
	}
	return nil, &e
}

// keysAfter returns a set that is newer than set, or set if there is none.
func (c *Client) keysAfter(ctx context.Context, set *keySet) *keySet {
	_ = c.loadKeys(ctx, set) // the failure was notified, and set serves on
	return c.keys.now()
}

func (k *keys) now() *keySet {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.set
}

// loadKeys loads the keys unless somebody has since set was current, or too
// many loads were made of late. All who ask meanwhile share one load.
func (c *Client) loadKeys(ctx context.Context, set *keySet) error {
	return c.keys.flight.start(ctx, c.cfg.Timeout, func(ctx context.Context) error {
		take, failed := c.keys.take(set)
		switch take {
		case loadNone:
			return nil
		case loadThrottled:
			if c.keys.mayTell() {
				c.cfg.Notify(Notice{Event: event.JWKSRefreshThrottled, Reason: event.ReasonKeyUnknown, Err: failed})
			}
			return failed
		}
		return c.fetchKeys(ctx)
	}).wait(ctx)
}

type load int

const (
	loadNone      load = iota // somebody else was faster
	loadThrottled             // not now
	loadNow
)

// take takes a load from the bucket.
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
		return loadThrottled, &fault{status: http.StatusServiceUnavailable, text: "the keys were loaded a moment ago"}
	}
	k.loads++
	return loadNow, nil
}

// mayTell reports whether to tell that a load was refused: once a second, since
// whoever sends junk would fill the log with it.
func (k *keys) mayTell() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if time.Since(k.told) < time.Second {
		return false
	}
	k.told = time.Now()
	return true
}

// fetchKeys loads the keys. What is no usable set does not replace one that is.
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
	resp, err := c.client(metadataLimit, func(a answer) ([]byte, error) {
		body, err := onlyOK(a)
		if err != nil {
			return nil, err
		}
		if set, err = c.parseKeys(body); err != nil {
			return nil, err
		}
		set.expires = time.Now().Add(keyAge(a.header, c.cfg.JWKSRefresh))
		return body, nil
	}).Do(req)
	if err != nil {
		return nil, failure(err, event.ReasonJWKSUnavailable, event.ReasonJWKSUnavailable)
	}
	return set, resp.Body.Close()
}

// keyAge returns how long keys may be used: as long as is configured, or less
// when the provider says so in Cache-Control.
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

// parseKeys reads a JWK Set (RFC 7517, 5) and keeps the keys that we can use.
// One key that we cannot read does not spoil the others; none that we can use
// is an error.
func (c *Client) parseKeys(body []byte) (*keySet, error) {
	doc, err := claims.Parse(body)
	if err != nil {
		return nil, refused("the key set is not a JSON object")
	}
	list, ok := doc.Get("keys")
	if !ok || list.Kind() != claims.Array {
		return nil, refused("the key set has no array of keys")
	}
	set := &keySet{}
	count := 0
	for element := range list.Elements() {
		if count++; count > maxKeys {
			return nil, refused("the key set has too many keys")
		}
		if key, ok := parseKey(element); ok {
			set.keys = append(set.keys, key)
		}
	}
	if !slices.ContainsFunc(set.keys, c.fitsAny) {
		return nil, refused("the key set has no key that could be used")
	}
	return set, nil
}

func (c *Client) fitsAny(key jose.JSONWebKey) bool {
	return slices.ContainsFunc(c.cfg.SigningAlgs, func(alg string) bool { return fits(key, alg) })
}

// parseKey reads one key that may verify signatures. Symmetric keys are not
// read, and neither are private ones: whoever reads this set could sign with
// them. Certificates are left out, since nothing here rests on them.
func parseKey(v claims.Value) (jose.JSONWebKey, bool) {
	members, ok := v.Object()
	if !ok || hasPrivatePart(members) || !forVerifying(members) {
		return jose.JSONWebKey{}, false
	}
	public := members.Filter(func(name string) bool {
		switch name {
		case "kty", "kid", "alg", "n", "e", "crv", "x", "y":
			return true
		}
		return false
	})
	var key jose.JSONWebKey
	if err := key.UnmarshalJSON(public.AppendJSON(nil)); err != nil {
		return jose.JSONWebKey{}, false
	}
	return key, key.Valid() && strongEnough(key)
}

func hasPrivatePart(members claims.Object) bool {
	for _, name := range []string{"k", "d", "p", "q", "dp", "dq", "qi", "oth", "priv"} {
		if _, ok := members.Get(name); ok {
			return true
		}
	}
	return false
}

// forVerifying reports whether the key's use and key_ops, if it has them, allow
// to verify signatures with it (RFC 7517, 4.2, 4.3).
func forVerifying(members claims.Object) bool {
	if v, ok := members.Get("use"); ok {
		if use, ok := v.Str(); !ok || use != "sig" {
			return false
		}
	}
	if v, ok := members.Get("key_ops"); ok {
		ops, ok := textList(v)
		return ok && slices.Contains(ops, "verify")
	}
	return true
}

// strongEnough refuses RSA keys that can be factored, and those so long that to
// verify with them is work for us.
func strongEnough(key jose.JSONWebKey) bool {
	public, ok := key.Key.(*rsa.PublicKey)
	return !ok || public.N.BitLen() >= 2048 && public.N.BitLen() <= 8192
}

// fits reports whether a signature by alg can be the key's (RFC 7518, 3.1;
// RFC 8037, 3.1). An EC curve belongs to one alg.
func fits(key jose.JSONWebKey, alg string) bool {
	if key.Algorithm != "" && key.Algorithm != alg {
		return false
	}
	switch public := key.Key.(type) {
	case *rsa.PublicKey:
		return strings.HasPrefix(alg, "RS") || strings.HasPrefix(alg, "PS")
	case *ecdsa.PublicKey:
		curves := map[string]int{"ES256": 256, "ES384": 384, "ES512": 521}
		return curves[alg] == public.Params().BitSize
	case ed25519.PublicKey:
		return alg == "EdDSA"
	default:
		return false
	}
}

// verify tries the keys that may have signed the token: those with its kid, or
// all if it has none, that fit its alg.
func (s *keySet) verify(t *compactToken) ([]byte, error) {
	known := false
	for _, key := range s.keys {
		if t.hasKeyID && key.KeyID != t.keyID || !fits(key, t.alg) {
			continue
		}
		known = true
		if payload, err := t.jws.Verify(key.Key); err == nil {
			return payload, nil
		}
	}
	if !known {
		return nil, invalid(event.ReasonKeyUnknown, "the provider has no key for this token")
	}
	return nil, invalid(event.ReasonSignature, "the signature is not the provider's")
}
