package oidcgatetest

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

// serveEndSession serves RP-initiated logout (OpenID Connect RP-Initiated Logout, 2). It ends the
// tokens of the session that id_token_hint names. It redirects only to URLs that the client has
// registered.
func (p *Provider) serveEndSession(w http.ResponseWriter, r *http.Request) {
	noStore(w)
	clientID, err := p.endSession(r.Form)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	target := r.Form.Get("post_logout_redirect_uri")
	if target == "" {
		// A write error means that the browser has left; the logout has happened all the same.
		_, _ = w.Write([]byte("You are logged out.\n"))
		return
	}
	client, _ := p.client(clientID)
	if !slices.Contains(client.PostLogoutRedirectURLs, target) {
		http.Error(w, "post_logout_redirect_uri is not registered for this client",
			http.StatusBadRequest)
		return
	}
	query := url.Values{}
	if state := r.Form.Get("state"); state != "" {
		query.Set("state", state)
	}
	redirectTo(w, target, query)
}

// endSession ends the session that id_token_hint names, if there is a hint, and returns the
// client's ID.
func (p *Provider) endSession(form url.Values) (clientID string, err error) {
	if repeated(form) != "" {
		return "", errors.New("a parameter appears twice")
	}
	hint := form.Get("id_token_hint")
	if hint == "" {
		return form.Get("client_id"), nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	audience, sessionID, err := p.parseHint(hint)
	if err != nil {
		return "", err
	}
	if form.Has("client_id") && form.Get("client_id") != audience {
		return "", errors.New("client_id is not the audience of id_token_hint")
	}
	p.endGrants(sessionID)
	return audience, nil
}

// parseHint accepts every ID Token that this provider signed, including expired ones (OpenID
// Connect RP-Initiated Logout, 4). p.mu is held.
func (p *Provider) parseHint(hint string) (audience, sessionID string, err error) {
	token, err := jose.ParseSignedCompact(hint, []jose.SignatureAlgorithm{
		jose.RS256, jose.ES256, jose.HS256, jose.HS384, jose.HS512,
	})
	if err != nil {
		return "", "", errors.New("id_token_hint is not a signed token")
	}
	var claims struct {
		Issuer    string `json:"iss"`
		Audience  string `json:"aud"`
		SessionID string `json:"sid"`
		Tenant    string `json:"tid"`
	}
	for _, key := range p.hintKeys(token.Signatures[0].Protected.Algorithm) {
		payload, err := token.Verify(key)
		if err != nil {
			continue
		}
		if json.Unmarshal(payload, &claims) != nil ||
			claims.Issuer != inTenant(p.issuer, claims.Tenant) {
			break
		}
		return claims.Audience, claims.SessionID, nil
	}
	return "", "", errors.New("id_token_hint was not issued here")
}

// hintKeys returns the keys that may have signed an ID Token with this algorithm: those of the
// provider, or the secrets of the clients that are registered for it. p.mu is held.
func (p *Provider) hintKeys(alg string) (keys []any) {
	if !slices.Contains(macs, alg) {
		for _, k := range p.verifiers {
			keys = append(keys, k.private.Public())
		}
		return keys
	}
	for _, c := range p.clients {
		if c.IDToken.Signed == alg {
			keys = append(keys, []byte(c.Secret))
		}
	}
	return keys
}

// endGrants marks the grants of a session as ended. p.mu is held.
func (p *Provider) endGrants(sessionID string) {
	for _, g := range p.refreshTokens {
		g.ended = g.ended || g.sessionID == sessionID
	}
	for _, t := range p.accessTokens {
		t.grant.ended = t.grant.ended || t.grant.sessionID == sessionID
	}
}
