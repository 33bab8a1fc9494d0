package op

import "slices"

// Inherit takes over what old, a client of the same provider, has learned: metadata and keys. So a
// client that takes the place of another works on while the provider is down. Keys, the loads of
// keys and what may be asked of the provider at a time are of both from then on, however often
// clients are replaced.
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
	c.keys, c.bounds = old.keys, old.bounds
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
