package op

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
)

// post sends a form to an endpoint at which the client authenticates itself, and gives the
// whole answer to read. Every request of that kind goes through here: that of a code, of a
// refresh token, and of a revocation. It is made once and never again, whatever comes of it.
//
// post adds the client's authentication to form. It fails with an *Error when the secret
// cannot be read, with a *fault when no answer comes, and with what read fails with.
func (c *Client) post(
	ctx context.Context, endpoint string, form url.Values, read func(answer) error,
) error {
	return c.postBound(ctx, nil, endpoint, form, read)
}

// postBound is post for tokens that are bound to a key, which may be nil. A provider that wants a
// nonce in the proof says so and does nothing else. Then the request is made once more. It has the
// whole timeout again: an answer that is cut off would lose a refresh token that was rotated.
func (c *Client) postBound(
	ctx context.Context, key *DPoPKey, endpoint string, form url.Values, read func(answer) error,
) error {
	u, err := url.Parse(endpoint)
	if err != nil {
		return err
	}
	a, err := c.postOnce(ctx, key, u, form)
	if err == nil && key != nil && c.wantsNonce(u, a) {
		a, err = c.postOnce(ctx, key, u, form)
	}
	if err != nil {
		return err
	}
	if key != nil {
		c.nonces.keep(u, a.header)
	}
	return read(a)
}

func (c *Client) postOnce(
	ctx context.Context, key *DPoPKey, endpoint *url.URL, form url.Values,
) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	if err := c.authenticate(ctx, header, form); err != nil {
		return answer{}, err
	}
	text := form.Encode()
	if c.cfg.JSONTokenRequests && form.Has("grant_type") {
		header.Set("Content-Type", "application/json")
		text = jsonOf(form)
	}
	body := strings.NewReader(text)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint.String(), body)
	if err != nil {
		return answer{}, err
	}
	req.Header = header
	if err := c.prove(req, key, ""); err != nil {
		return answer{}, err
	}
	return do(c.mutual, req, tokenLimit)
}

// jsonOf returns a form as a JSON object, for providers that take token requests so. A parameter
// that stands there several times becomes an array.
func jsonOf(form url.Values) string {
	members := map[string]any{}
	for name, values := range form {
		members[name] = values
		if len(values) == 1 {
			members[name] = values[0]
		}
	}
	text, _ := json.Marshal(members) // strings only: cannot fail
	return string(text)
}

// authenticate adds to a request what proves that this client makes it, by the configured
// method (OpenID Connect Core, 9; RFC 6749, 2.3.1). It never tries a second method: a code sent
// twice is a replay to the provider (4.1.2).
//
// A public client has no secret and names itself in the form. In a Basic header it would send
// an empty password. With TLS the certificate of the connection is the proof (RFC 8705, 2).
func (c *Client) authenticate(ctx context.Context, header http.Header, form url.Values) error {
	auth := c.cfg.Auth
	if auth.Method == AuthSecretJWT || auth.Method == AuthKeyJWT && auth.Secret == nil {
		assertion, err := c.assertion(ctx)
		form.Set("client_id", c.cfg.ClientID)
		form.Set("client_assertion_type", assertionType)
		form.Set("client_assertion", assertion)
		return err
	}
	secret, err := auth.secret(ctx)
	if err != nil {
		return err
	}
	if auth.Method == AuthBasic {
		header.Set("Authorization", c.basicCredentials(secret))
		return nil
	}
	form.Set("client_id", c.cfg.ClientID)
	switch auth.Method {
	case AuthPost:
		form.Set("client_secret", secret)
	case AuthKeyJWT:
		form.Set("client_assertion_type", assertionType)
		form.Set("client_assertion", strings.TrimSpace(secret))
	}
	return nil
}

// basicCredentials returns the value of a Basic Authorization header. Id and secret are form
// encoded first, or a colon in the id would end it (RFC 6749, 2.3.1). Some providers do not decode
// them; the configuration says so.
func (c *Client) basicCredentials(secret string) string {
	id := c.cfg.ClientID
	if !c.cfg.RawBasic {
		id, secret = url.QueryEscape(id), url.QueryEscape(secret)
	}
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret))
}
