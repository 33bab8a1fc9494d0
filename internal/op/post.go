package op

import (
	"context"
	"net/http"
	"net/url"
	"strings"
)

// post sends a form to an endpoint that authenticates the client, such as the token endpoint, and
// has check read the answer. The form gets the client's authentication as it was configured (OpenID
// Connect Core, 9); a public client names itself. The request is sent once: a provider must take a
// second code for a replay and revoke what it gave for the first (RFC 6749, 4.1.2).
func (c *Client) post(
	ctx context.Context, endpoint string, form url.Values, limit int64, check checkFunc,
) error {
	secret, err := c.cfg.Auth.secret(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	req, err := c.authenticated(ctx, endpoint, form, secret)
	if err != nil {
		return err
	}
	resp, err := c.client(limit, check).Do(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// authenticated returns a request with the client's authentication. In the Authorization header, id
// and secret are form-encoded first (RFC 6749, 2.3.1).
func (c *Client) authenticated(
	ctx context.Context, endpoint string, form url.Values, secret string,
) (*http.Request, error) {
	switch c.cfg.Auth.Method {
	case AuthPost:
		form.Set("client_secret", secret)
		fallthrough
	case AuthNone:
		form.Set("client_id", c.cfg.ClientID)
	}
	body := strings.NewReader(form.Encode())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if c.cfg.Auth.Method == AuthBasic {
		req.SetBasicAuth(url.QueryEscape(c.cfg.ClientID), url.QueryEscape(secret))
	}
	return req, nil
}
