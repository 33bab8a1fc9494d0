package op

import "slices"

// Inherit takes over what old, a client of the same provider, has learned: metadata and keys. So a
// client that takes the place of another works on while the provider is down. What old may ask the
// provider, and how often it may load keys, counts for both, however often clients are replaced.
// Inherit takes nothing if anything that decides how metadata or keys are read is different. It is
// called before the client is used.
func (c *Client) Inherit(old *Client) {
	if old == nil || !c.cfg.readsLike(&old.cfg) {
		return
	}
	if !c.discovery.static { // what is configured is known
		old.discovery.mu.Lock()
		c.discovery.known, c.discovery.settled = old.discovery.known, old.discovery.settled
		old.discovery.mu.Unlock()
	}
	old.keys.mu.Lock()
	c.keys.set, c.keys.loads, c.keys.waiters = old.keys.set, old.keys.loads, old.keys.waiters
	old.keys.mu.Unlock()
	c.bounds = old.bounds
}

// readsLike reports whether metadata and keys mean the same under both configurations.
func (cfg *Config) readsLike(other *Config) bool {
	return cfg.Issuer == other.Issuer && cfg.Endpoints == other.Endpoints &&
		cfg.Profile == other.Profile && cfg.AllowHTTP == other.AllowHTTP &&
		cfg.WithoutPKCE == other.WithoutPKCE &&
		(cfg.Userinfo == UserinfoOff) == (other.Userinfo == UserinfoOff) &&
		cfg.Pushed == other.Pushed && cfg.Object == other.Object &&
		cfg.ResponseType == other.ResponseType && cfg.ResponseMode == other.ResponseMode &&
		cfg.usesCertificate() == other.usesCertificate() &&
		slices.Equal(cfg.SigningAlgs, other.SigningAlgs)
}
