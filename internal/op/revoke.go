package op

import (
	"context"
	"net/url"
	"time"

	"github.com/oidcgate/oidcgate/internal/apart"
	"github.com/oidcgate/oidcgate/internal/event"
)

// revokeTimeout bounds the revocation of a token, because a visitor waits for it.
const revokeTimeout = 2 * time.Second

// Revoke asks the provider to forget a refresh token, and with it the access tokens it led to
// (RFC 7009, 2.1). It asks nobody, and returns nil, when refreshToken is empty, the provider has no
// revocation endpoint, or Config.WithoutRevocation is set. The caller has dropped the token already
// and needs nothing of the answer. Revoke takes two seconds at most, also when ctx has ended, and
// whatever functions of the configuration do.
func (c *Client) Revoke(ctx context.Context, refreshToken string) error {
	if refreshToken == "" || c.cfg.WithoutRevocation {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeTimeout)
	defer cancel()
	_, err := apart.Call(ctx, func() (struct{}, error) {
		return struct{}{}, c.revoke(ctx, refreshToken)
	})
	return err
}

func (c *Client) revoke(ctx context.Context, refreshToken string) error {
	meta, err := c.Metadata(ctx) // a replica that was just started does not know it
	if err != nil {
		return err
	}
	if meta.Revocation == "" {
		return nil
	}
	// Of the answer only the status counts (RFC 7009, 2.2).
	form := url.Values{"token": {refreshToken}, "token_type_hint": {"refresh_token"}}
	ctx = c.to(ctx, ForRevocation)
	if err := c.post(ctx, meta.Revocation, form, requireOK); err != nil {
		e := failure(err, event.ReasonRevocationEndpointError, event.ReasonRevocationEndpointError)
		return e.at(meta.Revocation)
	}
	return nil
}
