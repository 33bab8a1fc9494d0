package op

import (
	"context"
	"crypto/rand"
	"errors"
	"net/url"
	"strings"
)

// TokenExchange is what a token is asked for, in exchange for the user's access token (RFC 8693,
// 2.1). Empty members are left out.
type TokenExchange struct {
	Audience string
	Resource string
	Scopes   []string
}

const (
	exchangeGrant   = "urn:ietf:params:oauth:grant-type:token-exchange"
	accessTokenType = "urn:ietf:params:oauth:token-type:access_token"
)

// jwtType is what RFC 8693, 3 calls an access token that is a JWT.
const jwtType = "urn:ietf:params:oauth:token-type:jwt"

// ErrNoAccessToken says that a session has no access token. It is no *Error: nothing failed.
var ErrNoAccessToken = errors.New("oidcgate: the provider gives no access token: its " +
	"Request.ResponseType is \"id_token\"")

// ExchangeToken gets a token for another audience in the user's name. It is bound to the key that t
// is bound to, if there is one, or else to a new one, with DPoP.
func (c *Client) ExchangeToken(ctx context.Context, t *Tokens, x TokenExchange) (*Tokens, error) {
	if t.AccessToken == "" {
		return nil, ErrNoAccessToken
	}
	key, err := ParseDPoPKey(t.DPoPKey)
	if err == nil && key == nil {
		key, err = c.newDPoPKey(ctx)
	}
	if err != nil {
		return nil, err
	}
	form := url.Values{
		"grant_type":           {exchangeGrant},
		"subject_token":        {t.AccessToken},
		"subject_token_type":   {accessTokenType},
		"requested_token_type": {accessTokenType},
	}
	for name, value := range map[string]string{
		"audience": x.Audience, "resource": x.Resource, "scope": strings.Join(x.Scopes, " "),
	} {
		if value != "" {
			form.Set(name, value)
		}
	}
	tokens, err := c.requestTokens(ctx, form, key)
	if err != nil {
		return nil, err
	}
	return tokens, nil
}

// newDPoPKey returns a new key, or nil without DPoP.
func (c *Client) newDPoPKey(ctx context.Context) (*DPoPKey, error) {
	alg, err := c.DPoPAlg(ctx)
	if err != nil || alg == "" {
		return nil, err
	}
	return NewDPoPKey(alg, []byte(rand.Text()+rand.Text()))
}
