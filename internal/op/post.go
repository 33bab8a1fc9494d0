package op

import (
	"context"
	"encoding/base64"
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
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	if err := c.authenticate(ctx, header, form); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	body := strings.NewReader(form.Encode())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, body)
	if err != nil {
		return err
	}
	req.Header = header
	a, err := c.do(req, tokenLimit)
	if err != nil {
		return err
	}
	return read(a)
}

// authenticate adds to a request what proves that this client makes it, by the configured
// method (RFC 6749, 2.3.1). It never tries a second method: a code sent twice is a replay to
// the provider (4.1.2).
//
// A public client has no secret and names itself in the form. In a Basic header it would send
// an empty password.
func (c *Client) authenticate(ctx context.Context, header http.Header, form url.Values) error {
	secret, err := c.cfg.Auth.secret(ctx)
	if err != nil {
		return err
	}
	if c.cfg.Auth.Method == AuthBasic {
		header.Set("Authorization", basicCredentials(c.cfg.ClientID, secret))
		return nil
	}
	form.Set("client_id", c.cfg.ClientID)
	if secret != "" {
		form.Set("client_secret", secret)
	}
	return nil
}

// basicCredentials returns the value of a Basic Authorization header. Id and secret are form
// encoded first, or a colon in the id would end it (RFC 6749, 2.3.1).
func basicCredentials(id, secret string) string {
	pair := url.QueryEscape(id) + ":" + url.QueryEscape(secret)
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(pair))
}
