package op

import (
	"context"

	"github.com/oidcgate/oidcgate/internal/claims"
)

// TokenKinds returns the names of the kinds of signed tokens.
func TokenKinds() (names []string) {
	for _, kind := range tokenKinds {
		names = append(names, kind.name)
	}
	return names
}

var ForbiddenAddress = forbiddenAddress

// The steps of Finish, for tests of one step.

func (c *Client) Acquire(ctx context.Context) (release func(), err error) { return c.acquire(ctx) }

// Decryptions are the slots for tokens that strangers have decrypted.
func (c *Client) Decryptions() chan struct{} { return c.decryptions }

func (c *Client) Exchange(ctx context.Context, code, codeVerifier string) (*Tokens, error) {
	return c.exchange(ctx, code, &Expectation{CodeVerifier: codeVerifier})
}

func (c *Client) VerifyIDToken(
	ctx context.Context, raw, accessToken string, want Expectation,
) (claims.Object, error) {
	came := companions{accessToken: accessToken}
	token, err := c.verifyIDToken(ctx, idToken, raw, came, c.loginRules(want))
	if err != nil {
		return "", err
	}
	return token.claims, nil
}

func (c *Client) Userinfo(ctx context.Context, accessToken, subject string) (claims.Object, error) {
	info, _, err := c.userinfo(ctx, &Tokens{AccessToken: accessToken}, subject)
	return info, err
}
