package op

import (
	"context"

	"github.com/oidcgate/oidcgate/internal/claims"
)

// Result is a login that the provider has answered for.
type Result struct {
	Tokens   Tokens
	IDToken  claims.Object // the claims of the ID Token, verified
	Userinfo claims.Object // what userinfo adds to them
}

// Finish turns an authorization response into a user: the response is checked, the code is
// exchanged, the ID Token is verified, and userinfo is asked, in this order, and nothing is believed
// before its check. want says what the login expects.
//
// The error is an *[Error], or what want.Claim failed with. While the provider is down or too busy
// to be asked, the login stays as it was and may be finished later.
func (c *Client) Finish(ctx context.Context, r Response, want Expectation) (*Result, error) {
	if err := c.checkResponse(ctx, r); err != nil {
		return nil, err
	}
	release, err := c.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	// Only a login that goes to the provider leaves a claim, so that strangers cannot fill the store.
	if err := want.Claim(ctx); err != nil {
		return nil, err
	}
	t, err := c.Exchange(ctx, r.Code, want.CodeVerifier)
	if err != nil {
		return nil, err
	}
	want.AccessToken = t.AccessToken
	idToken, err := c.VerifyIDToken(ctx, t.IDToken, want)
	if err != nil {
		return nil, err
	}
	userinfo, err := c.Userinfo(ctx, t.AccessToken, text(idToken, "sub"))
	if err != nil {
		return nil, err
	}
	return &Result{*t, idToken, userinfo}, nil
}
