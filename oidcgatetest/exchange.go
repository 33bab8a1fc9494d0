package oidcgatetest

import (
	"crypto/rand"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	exchangeGrant   = "urn:ietf:params:oauth:grant-type:token-exchange"
	accessTokenType = "urn:ietf:params:oauth:token-type:access_token"
)

// exchangeToken issues an access token for an audience that the client may ask for, in exchange for
// a user's access token (RFC 8693, 2).
func (p *Provider) exchangeToken(
	c Client, form url.Values, thumbprint string,
) (map[string]any, *oauthError) {
	p.mu.Lock()
	defer p.mu.Unlock()
	subject, ok := p.accessTokens[form.Get("subject_token")]
	target := form.Get("audience") + form.Get("resource")
	switch {
	case form.Get("subject_token_type") != accessTokenType:
		return nil, &oauthError{"invalid_request", "subject_token_type must be " + accessTokenType}
	case !ok || subject.grant.ended || subject.grant.clientID != c.ID ||
		time.Now().After(subject.expires) || subject.grant.keyThumbprint != thumbprint:
		return nil, &oauthError{"invalid_request", "subject_token is not good"}
	case !slices.Contains(c.Exchanges, target):
		return nil, &oauthError{"invalid_target", "the client may not ask for " + target}
	}
	token := rand.Text()
	expires := time.Now().Add(p.config.AccessTokenLifetime)
	p.accessTokens[token] = accessToken{grant: subject.grant, expires: expires}
	answer := map[string]any{
		"access_token": token, "issued_token_type": accessTokenType, "token_type": "Bearer",
		"expires_in": int64(p.config.AccessTokenLifetime / time.Second),
	}
	if thumbprint != "" {
		answer["token_type"] = "DPoP"
	}
	if scopes := strings.Fields(form.Get("scope")); len(scopes) > 0 {
		answer["scope"] = strings.Join(scopes, " ")
	}
	return answer, nil
}
