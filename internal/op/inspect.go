package op

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
)

// Inspection is one look at a provider: what it answers when its metadata and keys are asked for,
// and what a login would make of that. It is for a report to an operator: unlike an [Error], it
// holds what the provider sent. [Client.Inspect] makes it.
type Inspection struct {
	Discovery Heard         // zero if all endpoints are configured and nothing is discovered
	Document  claims.Object // the discovery document; empty if the answer is none
	Metadata  Metadata      // what logins would use; zero with Refused
	Refused   error         // why no login would use the metadata, or nil

	Keys        Heard // zero if no keys are needed, or there is no address for them
	KeysRefused error // why no login would use the keys, or nil

	client *Client
	wire   *recorder
}

// Heard is what came for one request.
type Heard struct {
	Address  string // what was asked, without a query
	Err      error  // of the connection; nil if an answer came
	Status   int
	Location string // where a redirect leads
	Type     string // Content-Type
	Body     []byte // as much of it as was read

	Asked, Came time.Time // by our clock
	Date        time.Time // by the provider's clock when the answer came; zero if it does not say
	ValidUntil  time.Time // of the server's certificate; zero without TLS
}

// Config returns what the client works by.
func (c *Client) Config() Config { return c.cfg }

// Usable reports whether an endpoint that the provider names may be used.
func (cfg *Config) Usable(endpoint string) bool { return cfg.allows(endpoint) }

// NeedsKeys reports whether keys of the provider are needed.
func (cfg *Config) NeedsKeys() bool { return cfg.needsKeys() }

// Inspect asks the provider for its metadata and its keys as a login does, over new connections and
// whatever is known already. The keys are also asked for when the metadata are refused, so that an
// operator learns all at once. c itself stays as it is, and nothing is notified.
func (c *Client) Inspect(ctx context.Context) *Inspection {
	cfg := c.cfg
	cfg.Notify = func(Notice) {}
	cfg.Wrap = nil // see below
	i := &Inspection{client: New(cfg)}
	if t, ok := i.client.transport.(*http.Transport); ok && cfg.Transport == nil {
		t.DisableKeepAlives = true // the certificate is checked anew, and no connection stays
	}
	i.wire = &recorder{base: c.cfg.wrap(i.client.transport)}
	i.client.transport, i.client.mutual = i.wire, c.cfg.wrap(i.client.mutual)
	i.inspectMetadata(ctx)
	i.inspectKeys(ctx)
	return i
}

func (i *Inspection) inspectMetadata(ctx context.Context) {
	d := &i.client.discovery
	if d.static {
		i.Metadata = *d.known
		return
	}
	ctx, cancel := context.WithTimeout(ctx, i.client.cfg.Timeout)
	defer cancel()
	next, err := i.client.fetchMetadata(ctx)
	i.Discovery, i.Refused = i.wire.last, err
	i.Document, _ = claims.Parse(i.Discovery.Body)
	if err == nil {
		i.Metadata = *next
		d.known, d.static = next, true // it is asked once
	}
}

func (i *Inspection) inspectKeys(ctx context.Context) {
	cfg, d := &i.client.cfg, &i.client.discovery
	if !cfg.needsKeys() {
		return
	}
	if d.known == nil {
		address := cfg.Endpoints.JWKS
		if found := text(i.Document, "jwks_uri"); address == "" && cfg.allows(found) {
			address = found
		}
		if address == "" {
			return
		}
		d.known = &Metadata{Issuer: cfg.Issuer, Endpoints: Endpoints{JWKS: address}}
		d.static = true
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.Timeout)
	defer cancel()
	_, i.KeysRefused = i.client.requestKeys(ctx)
	i.Keys = i.wire.last
}

// TryLogin sends an authorization request with prompt=none, as a browser does that the provider
// does not know, and returns the answer. It follows no redirect. If push is true and logins are
// pushed, it pushes the request first, which authenticates the client. It fails if no request could
// be made.
func (i *Inspection) TryLogin(ctx context.Context, push bool) (Heard, error) {
	if i.Refused != nil {
		return Heard{}, i.Refused
	}
	if !push {
		plain := i.Metadata
		plain.PushedAuthorization = ""
		i.client.discovery.known = &plain
	}
	ctx, cancel := context.WithTimeout(ctx, 2*i.client.cfg.Timeout)
	defer cancel()
	address, err := i.client.AuthorizationURL(ctx, AuthorizationRequest{
		State: rand.Text(), Nonce: rand.Text(), CodeVerifier: rand.Text() + rand.Text(),
		Options: LoginOptions{Prompt: "none"}.Encode(),
	})
	if err != nil {
		return Heard{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return Heard{}, err
	}
	req.Header.Set("Accept", "text/html")
	_, err = do(i.wire, req, tokenLimit)
	if i.wire.last.Status == 0 && err != nil {
		return Heard{}, unreachable(err)
	}
	return i.wire.last, nil
}

// TryCode sends the token endpoint a code that nobody has, as a login of this client does, and
// returns the refusal. Its Code is "invalid_grant" where the provider has nothing against the
// client. The error is nil if the code is taken.
func (i *Inspection) TryCode(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, i.client.cfg.Timeout)
	defer cancel()
	key, err := i.client.newDPoPKey(ctx)
	if err != nil {
		return err
	}
	_, err = i.client.exchange(ctx, rand.Text(), &Expectation{
		CodeVerifier: rand.Text() + rand.Text(), DPoPKey: key,
	})
	return err
}

// recorder keeps what came for the last request. It is for one request at a time.
type recorder struct {
	base http.RoundTripper
	last Heard
}

// RoundTrip implements [http.RoundTripper].
func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	asked := *req.URL
	asked.RawQuery, asked.Fragment = "", ""
	r.last = Heard{Address: asked.Redacted(), Asked: time.Now()}
	resp, err := r.base.RoundTrip(req)
	r.last.Came = time.Now()
	if err != nil {
		r.last.Err = err
		return nil, err
	}
	r.last.Status = resp.StatusCode
	r.last.Location, r.last.Type = resp.Header.Get("Location"), resp.Header.Get("Content-Type")
	r.last.Date = dateOf(resp.Header)
	if resp.TLS != nil && len(resp.TLS.PeerCertificates) > 0 {
		r.last.ValidUntil = resp.TLS.PeerCertificates[0].NotAfter
	}
	resp.Body = &kept{ReadCloser: resp.Body, to: r}
	return resp, nil
}

// dateOf returns the time that an answer says it is. A cache between us and the provider passes on
// the provider's Date and says how old it is (RFC 9111, 5.1).
func dateOf(h http.Header) time.Time {
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return time.Time{}
	}
	age, err := strconv.ParseUint(h.Get("Age"), 10, 31)
	if err != nil {
		return date
	}
	return date.Add(time.Duration(age) * time.Second)
}

// kept is a body of which the recorder keeps what is read. Who reads it has a limit.
type kept struct {
	io.ReadCloser
	to   *recorder
	read bytes.Buffer
}

// Read implements [io.Reader].
func (k *kept) Read(p []byte) (int, error) {
	n, err := k.ReadCloser.Read(p)
	k.read.Write(p[:n])
	k.to.last.Body = k.read.Bytes()
	return n, err
}
