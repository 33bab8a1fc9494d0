package op

import (
	"context"
	"net/http"
	"net/url"

	"github.com/oidcgate/oidcgate/internal/event"
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
	form := url.Values{"token": {refreshToken}, "token_type_hint": {"refresh_token"}}
	if err := c.post(ctx, meta.Revocation, form, metadataLimit, anyOK); err != nil {
		return failure(err, event.ReasonRevocationEndpointError, event.ReasonRevocationEndpointError)
	}
	return nil
}

// anyOK takes an answer of which only the status counts (RFC 7009, 2.2).
func anyOK(a answer) ([]byte, error) {
	if a.status != http.StatusOK {
		return nil, statusFault(a.status)
	}
	return nil, nil
}
