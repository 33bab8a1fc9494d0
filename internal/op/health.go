package op

import (
	"strings"
	"time"
)

// Health is what a [Client] knows of its provider, and what has failed last, for a page that shows
// it. It is a copy.
type Health struct {
	Static  bool      // the metadata comes from the configuration, and nobody is asked
	Known   bool      // there is metadata
	Settled time.Time // when an answer last became the metadata, or was refused in its favour
	Issuer  string
	Endpoints
	Trouble Trouble   // of the last attempt
	Retry   time.Time // no attempt is made before

	Keys        []KeyInfo // the last good ones; none before the first load
	KeysLoaded  time.Time
	KeysEnd     time.Time // they are loaded again with the first token after it
	KeysTrouble Trouble   // of the last load
}

// Trouble is why something failed, and what an operator can do. It is zero if nothing did.
type Trouble struct{ Text, Cure string }

func troubleOf(err error) Trouble {
	if err == nil {
		return Trouble{}
	}
	return Trouble{err.Error(), hintOf(err)}
}

// KeyInfo says which key it is. Any part may be empty.
type KeyInfo struct{ ID, Alg, Use string }

// Health asks nobody.
func (c *Client) Health() Health {
	h := c.discovery.health()
	c.keys.mu.Lock()
	defer c.keys.mu.Unlock()
	if set := c.keys.set; set != nil {
		h.KeysLoaded, h.KeysEnd = set.loaded, set.expires
		for _, key := range set.keys {
			h.Keys = append(h.Keys, KeyInfo{key.KeyID, key.Algorithm, key.Use})
		}
	}
	h.KeysTrouble = troubleOf(c.keys.failed)
	return h
}

func (d *discovery) health() Health {
	d.mu.Lock()
	defer d.mu.Unlock()
	h := Health{Static: d.static, Settled: d.settled, Trouble: troubleOf(d.failed), Retry: d.retry}
	if d.known != nil {
		h.Known, h.Issuer, h.Endpoints = true, d.known.Issuer, d.known.Endpoints
	}
	return h
}

// Named returns the endpoints that are known, by their names in the provider's metadata, without
// their queries.
func (e Endpoints) Named() (all [][2]string) {
	for _, one := range [][2]string{
		{"authorization_endpoint", e.Authorization},
		{"token_endpoint", e.Token},
		{"userinfo_endpoint", e.Userinfo},
		{"jwks_uri", e.JWKS},
		{"end_session_endpoint", e.EndSession},
		{"revocation_endpoint", e.Revocation},
		{"introspection_endpoint", e.Introspection},
		{"pushed_authorization_request_endpoint", e.PushedAuthorization},
	} {
		if address, _, _ := strings.Cut(one[1], "?"); address != "" {
			all = append(all, [2]string{one[0], address})
		}
	}
	return all
}
