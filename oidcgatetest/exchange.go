package oidcgatetest

import (
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	exchangeGrant   = "urn:ietf:params:oauth:grant-type:token-exchange"
	accessTokenType = "urn:ietf:params:oauth:token-type:access_token"
)

// exchangeToken issues an access token for an audience and a resource that the client may ask for,
// in exchange for a user's access token (RFC 8693, 2).
func (p *Provider) exchangeToken(
	c Client, form url.Values, thumbprint string,
) (map[string]any, *oauthError) {
	g, e := p.exchangeable(c, form, thumbprint)
	if e != nil {
		return nil, e
	}
	changes := map[string]any{"aud": targets(form)}
	if one := targets(form); len(one) == 1 {
		changes["aud"] = one[0]
	}
	answer := map[string]any{
		"issued_token_type": accessTokenType, "token_type": "Bearer",
		"expires_in": int64(p.config.AccessTokenLifetime / time.Second),
	}
	if thumbprint != "" {
		answer["token_type"] = "DPoP"
	}
	if scopes := strings.Fields(form.Get("scope")); len(scopes) > 0 {
		changes["scope"] = strings.Join(scopes, " ")
		answer["scope"] = changes["scope"]
	}
	answer["access_token"] = p.newAccessToken(g, changes)
	return answer, nil
}

// exchangeable returns the grant of a token that the client may exchange for what it asks for.
func (p *Provider) exchangeable(
	c Client, form url.Values, thumbprint string,
) (*grant, *oauthError) {
	p.mu.Lock()
	defer p.mu.Unlock()
	subject, ok := p.accessTokens[form.Get("subject_token")]
	switch {
	case form.Get("subject_token_type") != accessTokenType:
		return nil, &oauthError{"invalid_request", "subject_token_type must be " + accessTokenType}
	case !ok || subject.grant.ended || subject.grant.clientID != c.ID ||
		time.Now().After(subject.expires) || subject.grant.keyThumbprint != thumbprint:
		return nil, &oauthError{"invalid_request", "subject_token is not good"}
	case len(targets(form)) == 0:
		return nil, &oauthError{"invalid_target", "there is neither audience nor resource"}
	}
	for _, target := range targets(form) {
		if !slices.Contains(c.Exchanges, target) {
			return nil, &oauthError{"invalid_target", "the client may not ask for " + target}
		}
	}
	return subject.grant, nil
}

// targets returns whom a token is asked for.
func targets(form url.Values) []string {
	return slices.Concat(form["audience"], form["resource"])
}
