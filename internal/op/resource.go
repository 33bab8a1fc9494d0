package op

import (
	"io"
	"net/http"
)

// RoundTrip sends a request to a resource with an access token, and with what proves that the token
// is this client's: its certificate, or a proof by the key of that text. If the answer is that the
// proof needs a nonce, the request is sent once more, unless its body cannot be read twice (RFC
// 9449, 9).
func (c *Client) RoundTrip(r *http.Request, accessToken, dpopKey string) (*http.Response, error) {
	key, err := ParseDPoPKey(dpopKey)
	if err != nil {
		closeBody(r.Body)
		return nil, err
	}
	resp, err := c.roundTrip(r, r.Body, accessToken, key)
	if err != nil || key == nil || !c.WantsNonce(r.URL, resp.StatusCode, resp.Header) {
		return resp, err
	}
	body := r.Body
	if body != nil && body != http.NoBody {
		if r.GetBody == nil {
			return resp, nil
		}
		if body, err = r.GetBody(); err != nil {
			return resp, nil
		}
	}
	_ = resp.Body.Close()
	return c.roundTrip(r, body, accessToken, key)
}

func (c *Client) roundTrip(
	r *http.Request, body io.ReadCloser, accessToken string, key *DPoPKey,
) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Body = body
	if err := c.Present(r, accessToken, key); err != nil {
		closeBody(body)
		return nil, err
	}
	return c.resources().RoundTrip(r)
}

// Resources returns the transport to resources, or that of package net/http if there is none.
func Resources(configured http.RoundTripper) http.RoundTripper {
	if configured == nil {
		return http.DefaultTransport
	}
	return configured
}

// resources is the transport to resources: the configured one, or that of package net/http, with
// the certificate that tokens are bound to, if they are.
func (c *Client) resources() http.RoundTripper {
	base := Resources(c.cfg.ToResources)
	if c.cfg.Certificate == nil {
		return base
	}
	c.toResources.once.Do(func() { c.toResources.transport, _ = c.cfg.mutual(base) })
	if c.toResources.transport == nil { // it is none that could show a certificate
		return base
	}
	return c.toResources.transport
}
