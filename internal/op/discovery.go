package op

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
)

// The pause after an attempt at discovery that failed. It doubles from the first to the last. Up to
// half of it is taken off at random, so that replicas do not all ask at the same time.
const (
	firstBackoff = time.Second
	lastBackoff  = 15 * time.Second
)

// discovery is what we know of the provider and when to ask again.
type discovery struct {
	flight flight

	mu       sync.Mutex
	static   bool      // known comes from the configuration, and nobody is asked
	known    *Metadata // the last good; never changed in place
	settled  time.Time // when an answer last replaced known, or was refused in its favour
	failed   error     // of the last attempt
	failures int       // in a row
	retry    time.Time // not before this
}

// Known returns the metadata that we have. It asks nobody.
func (c *Client) Known() (Metadata, bool) {
	c.discovery.mu.Lock()
	defer c.discovery.mu.Unlock()
	if c.discovery.known == nil {
		return Metadata{}, false
	}
	return *c.discovery.known, true
}

// Metadata returns what is known of the provider. The first call discovers it. All who call
// meanwhile wait for the same attempt, which goes on when its caller leaves. After a failure all
// calls fail at once with the same *Error until the pause is over.
//
// Metadata older than DiscoveryRefresh is returned as it is, while one attempt to replace it runs
// in the background. Nothing is asked when nobody calls.
func (c *Client) Metadata(ctx context.Context) (Metadata, error) {
	known, due, failed := c.discovery.look(c.cfg.DiscoveryRefresh)
	if !due {
		return known, failed
	}
	attempt := c.discovery.flight.start(ctx, c.cfg.Timeout, c.discover)
	if known.Issuer != "" {
		return known, nil
	}
	if err := attempt.wait(ctx); err != nil {
		return Metadata{}, unreachable(err)
	}
	known, _, failed = c.discovery.look(c.cfg.DiscoveryRefresh)
	return known, failed
}

// metadataInTurn is Metadata for a request that anybody can make. While nothing is known, only so
// many of them wait for an attempt as may talk to the provider; see acquire.
func (c *Client) metadataInTurn(ctx context.Context) (Metadata, error) {
	if known, due, _ := c.discovery.look(c.cfg.DiscoveryRefresh); due && known.Issuer == "" {
		release, err := c.acquire(ctx)
		if err != nil {
			return Metadata{}, err
		}
		defer release()
	}
	return c.Metadata(ctx)
}

// look returns the last good metadata, or the last failure if there is none, and whether it is time
// for an attempt.
func (d *discovery) look(refresh time.Duration) (known Metadata, due bool, failed error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	backingOff := now.Before(d.retry)
	if d.known == nil {
		return Metadata{}, !backingOff, d.failed
	}
	stale := !d.static && now.Sub(d.settled) >= refresh
	return *d.known, stale && !backingOff, nil
}

// discover makes one attempt, unless another has just been made.
func (c *Client) discover(ctx context.Context) error {
	if _, due, failed := c.discovery.look(c.cfg.DiscoveryRefresh); !due {
		return failed
	}
	next, err := c.fetchMetadata(ctx)
	if e, ok := errors.AsType[*Error](err); ok {
		e.Address, _, _ = strings.Cut(c.cfg.metadataAddress(), "?")
	}
	notice, err := c.discovery.settle(next, err)
	if notice.Event != "" {
		notice.Hint = hintOf(err)
		if notice.Event == event.ProviderReady {
			notice.Hint = c.misfit(next)
		}
		c.cfg.Notify(notice)
	}
	return err
}

const wellKnown = "/.well-known/openid-configuration"

// metadataAddress returns where the metadata is (OpenID Connect Discovery, 4.1). Only there a slash
// at the end of the issuer does not count.
func (cfg *Config) metadataAddress() string {
	return cmp.Or(cfg.Endpoints.Discovery, strings.TrimSuffix(cfg.Issuer, "/")+wellKnown)
}

// fetchMetadata gets the document through go-oidc, which compares the issuer. It then reads the
// document itself, strictly, because go-oidc takes "ISSUER" for "issuer".
func (c *Client) fetchMetadata(ctx context.Context) (*Metadata, error) {
	at, err := url.Parse(c.cfg.metadataAddress())
	if err != nil {
		return nil, err
	}
	client := guarded(c.transport, metadataLimit, onlyOK)
	client.Transport = redirected{client.Transport, at}
	ctx = oidc.ClientContext(c.to(ctx, ForDiscovery), client)
	p, err := oidc.NewProvider(ctx, c.cfg.Issuer)
	if mismatch, ok := errors.AsType[*oidc.IssuerMismatchError](err); ok {
		return nil, otherIssuer(mismatch.Discovered, c.cfg.Issuer)
	}
	if err != nil {
		return nil, unreachable(err)
	}
	var document json.RawMessage
	if err := p.Claims(&document); err != nil {
		return nil, unreachable(err)
	}
	doc, err := claims.Parse(document)
	if err != nil {
		return nil, reject(event.ReasonMetadataInvalid, err.Error())
	}
	return newMetadata(doc, &c.cfg)
}

// redirected sends every request to one address: go-oidc knows only that which follows from the
// issuer.
type redirected struct {
	http.RoundTripper
	to *url.URL
}

func (t redirected) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	to := *t.to
	r.URL, r.Host = &to, ""
	return t.RoundTripper.RoundTrip(r)
}

// onlyOK returns the body of an answer with status 200.
func onlyOK(a answer) ([]byte, error) {
	return a.body, requireOK(a)
}

// unreachable is the Error for a discovery that brought no document.
func unreachable(err error) *Error {
	e := failure(err, event.ReasonProviderUnreachable, event.ReasonMetadataInvalid)
	if e.Status == http.StatusBadGateway {
		e.Status = http.StatusServiceUnavailable
	}
	switch {
	case e.Hint != "":
	case e.Answered:
		e.Hint = "there is no discovery document: compare Issuer, path included, with the provider's; " +
			"if the document is elsewhere, set Endpoints.Discovery"
	default:
		e.Hint = "check the issuer and whether this host reaches it"
	}
	return e
}

// hintOf returns the Hint of an *Error, or "".
func hintOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Hint
	}
	return ""
}

// misfit says what the configuration has that the provider does not announce, or "".
func (c *Client) misfit(m *Metadata) string {
	if m.SignedRequired && c.cfg.Object == ObjectOff {
		return "the provider takes only signed requests: set ClientKeys and Request.Object"
	}
	for _, announced := range []struct {
		what string
		all  []string
		ours []string
	}{
		{"signing algorithms", m.SigningAlgs, c.cfg.SigningAlgs},
		{"authentication methods", m.TokenAuthMethods, []string{c.cfg.Auth.Method}},
		{"signing algorithms of requests", m.ObjectSigningAlgs, c.objectAlgs()},
	} {
		ours := func(s string) bool { return slices.Contains(announced.ours, s) }
		if len(announced.all) > 0 && announced.ours != nil && !slices.ContainsFunc(announced.all, ours) {
			return "the provider announces the " + announced.what + " " +
				bounded(strings.Join(announced.all, ", ")) + ", and configured is " +
				strings.Join(announced.ours, ", ")
		}
	}
	if c.cfg.WithoutPKCE && slices.Contains(m.CodeChallengeMethods, "S256") {
		return "the provider announces PKCE with S256: leave out Request.WithoutPKCE"
	}
	return c.cfg.unproven()
}

// settle records the outcome of an attempt. A Notice without Event says nothing.
func (d *discovery) settle(next *Metadata, err error) (Notice, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil && d.known != nil {
		err = d.known.refuse(next)
	}
	if err != nil {
		return d.fail(err), err
	}
	notice := Notice{}
	if d.known == nil {
		notice.Event = event.ProviderReady
	}
	d.known, d.settled = next, time.Now()
	d.failed, d.failures, d.retry = nil, 0, time.Time{}
	return notice, nil
}

// fail records a failure and returns the Notice of it.
func (d *discovery) fail(err error) Notice {
	now := time.Now()
	d.failed = err
	d.retry = now.Add(backoff(d.failures))
	d.failures++
	notice := Notice{Event: event.ProviderRejected, Reason: event.ReasonProviderUnreachable, Err: err}
	if e, ok := errors.AsType[*Error](err); ok {
		notice.Reason = e.Reason
	}
	switch {
	case notice.Reason == event.ReasonProviderUnreachable:
		notice.Event = event.ProviderUnreachable
	case d.known != nil:
		// The answer was read and refused. The next one soon would be the same.
		d.settled = now
		notice.Event = event.ProviderDowngradeRefused
	}
	return notice
}

// backoff returns the pause after so many failures before this one.
func backoff(failures int) time.Duration {
	d := lastBackoff
	if failures < 4 {
		d = firstBackoff << failures
	}
	return d - rand.N(d/2)
}
