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
// in exchange for a user's access token (RFC 8693, 2): one of the client's own logins, or one that
// another client sent it.
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
	subject := p.subjectOf(form.Get("subject_token"), c, thumbprint)
	switch {
	case form.Get("subject_token_type") != accessTokenType:
		return nil, &oauthError{"invalid_request", "subject_token_type must be " + accessTokenType}
	case subject == nil:
		return nil, &oauthError{"invalid_request", "subject_token is not good"}
	case len(targets(form)) == 0:
		return nil, &oauthError{"invalid_target", "there is neither audience nor resource"}
	}
	for _, target := range targets(form) {
		if !slices.Contains(c.Exchanges, target) {
			return nil, &oauthError{"invalid_target", "the client may not ask for " + target}
		}
	}
	return subject, nil
}

// subjectOf returns the grant of an access token that a client wants to exchange, or nil if it is
// not good. One of the client's own logins must be bound to the key of the request.
func (p *Provider) subjectOf(token string, c Client, thumbprint string) *grant {
	p.mu.Lock()
	own, ok := p.accessTokens[token]
	p.mu.Unlock()
	claims, active := p.introspect(token)
	switch {
	case !active:
		return nil
	case ok && own.grant.clientID == c.ID:
		if own.grant.keyThumbprint != thumbprint {
			return nil
		}
		return own.grant
	}
	g := &grant{clientID: c.ID, keyThumbprint: thumbprint}
	g.subject, _ = claims["sub"].(string)
	scope, _ := claims["scope"].(string)
	g.scopes = strings.Fields(scope)
	seconds, _ := asNumber(claims["auth_time"])
	g.authTime = time.Unix(int64(seconds), 0)
	return g
}

// targets returns whom a token is asked for.
func targets(form url.Values) []string {
	return slices.Concat(form["audience"], form["resource"])
}
