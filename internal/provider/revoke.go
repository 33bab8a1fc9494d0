package provider

import (
	"context"
	"net/http"
	"net/url"
	"strings"
)

// Revoke asks the provider to forget a refresh token, and with it the access
// tokens it led to (RFC 7009). A provider without a revocation endpoint is not
// asked, which is no error. Nothing hangs on the answer: the caller has
// forgotten the token already.
func (c *Client) Revoke(ctx context.Context, refreshToken string) error {
	meta, known := c.Known()
	if !known || meta.Revocation == "" || refreshToken == "" {
		return nil
	}
	secret, err := c.cfg.Auth.secret(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	req, err := c.revocationRequest(ctx, meta.Revocation, secret, refreshToken)
	if err != nil {
		return err
	}
	resp, err := c.client(metadataLimit, anyOK).Do(req)
	if err != nil {
		return failure(err, ReasonRevocation, ReasonRevocation)
	}
	return resp.Body.Close()
}

// ReasonRevocation is the reason of a revocation that failed.
const ReasonRevocation = "revocation_endpoint_error"

func (c *Client) revocationRequest(ctx context.Context, endpoint, secret, token string) (*http.Request, error) {
	form := url.Values{"token": {token}, "token_type_hint": {"refresh_token"}}
	if c.cfg.Auth.Method != AuthBasic {
		form.Set("client_id", c.cfg.ClientID)
	}
	if c.cfg.Auth.Method == AuthPost {
		form.Set("client_secret", secret)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if c.cfg.Auth.Method == AuthBasic {
		req.SetBasicAuth(url.QueryEscape(c.cfg.ClientID), url.QueryEscape(secret))
	}
	return req, nil
}

// anyOK takes an answer of which only the status counts (RFC 7009, 2.2).
func anyOK(a answer) ([]byte, error) {
	if a.status != http.StatusOK {
		return nil, statusFault(a.status)
	}
	return nil, nil
}
