package op

import (
	"net/http"
	"sync"
)

// Client speaks to one provider. It is safe for concurrent use.
type Client struct {
	cfg       Config
	transport http.RoundTripper
	mutual    http.RoundTripper // where the client shows its certificate, if it has one
	discovery discovery
	keys      *keys // also of the clients that this one replaces, or that replace it
	nonces    nonces

	toResources struct {
		once      sync.Once
		transport http.RoundTripper
	}

	bounds
}

// bounds are places for those who do something at a time.
type bounds struct {
	slots       chan struct{} // of logins that send a code
	pushes      chan struct{} // of logins that sign or push their request
	decryptions chan struct{} // of tokens that strangers have decrypted

	introspections chan struct{} // of tokens that callers of this service sent

	introspectionsAgain chan struct{} // of those that the provider issued
}

// New returns a Client. It makes no request and starts no goroutine.
func New(cfg Config) *Client {
	c := &Client{
		cfg:       cfg,
		transport: cfg.Transport,
		keys:      &keys{},
		bounds: bounds{
			slots:       make(chan struct{}, bulkhead),
			pushes:      make(chan struct{}, bulkhead),
			decryptions: make(chan struct{}, decryptions),

			introspections: make(chan struct{}, introspections),

			introspectionsAgain: make(chan struct{}, introspections),
		},
	}
	for from := range c.keys.waiters {
		c.keys.waiters[from] = make(chan struct{}, keyWaiters)
	}
	if c.transport == nil {
		c.transport = newTransport(cfg.Timeout, cfg.RootCAs)
	}
	c.mutual, _ = cfg.mutual(c.transport) // Faults has asked whether it can
	c.transport, c.mutual = cfg.wrap(c.transport), cfg.wrap(c.mutual)
	if cfg.needsNoDiscovery() {
		c.discovery.known = &Metadata{Issuer: cfg.Issuer, Endpoints: cfg.Endpoints}
		c.discovery.static = true
	}
	return c
}
