package oidcgatetest

import (
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// scopeOf maps standard claims to the scopes that request them (OpenID Connect Core, 5.4).
var scopeOf = map[string]string{
	"name": "profile", "family_name": "profile", "given_name": "profile", "middle_name": "profile",
	"nickname": "profile", "preferred_username": "profile", "profile": "profile",
	"picture": "profile", "website": "profile", "gender": "profile",
	"birthdate": "profile", "zoneinfo": "profile",
	"locale": "profile", "updated_at": "profile",
	"email": "email", "email_verified": "email",
	"address":      "address",
	"phone_number": "phone", "phone_number_verified": "phone",
}

// granted returns a copy of the claims that the scopes allow.
func granted(claims map[string]any, scopes []string) map[string]any {
	allowed := make(map[string]any, len(claims))
	for name, value := range claims {
		if scope, ok := scopeOf[name]; !ok || slices.Contains(scopes, scope) {
			allowed[name] = value
		}
	}
	return allowed
}

// serveUserinfo serves the userinfo endpoint (OpenID Connect Core, 5.3). The access token is
// accepted only in the Authorization header, because a query is written to logs (RFC 9700, 4.3.2).
func (p *Provider) serveUserinfo(w http.ResponseWriter, r *http.Request) {
	noStore(w)
	p.offerNonce(w)
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	bound := strings.EqualFold(scheme, "DPoP")
	if !bound && !strings.EqualFold(scheme, "Bearer") {
		w.Header().Set("WWW-Authenticate", `Bearer realm="userinfo"`)
		http.Error(w, "an access token is needed", http.StatusUnauthorized)
		return
	}
	if e := p.checkBinding(r, token, bound); e != nil {
		w.Header().Set("WWW-Authenticate", `DPoP error="`+e.code+`"`)
		http.Error(w, e.description, http.StatusUnauthorized)
		return
	}
	claims, clientID, ok := p.userinfo(token)
	if !ok {
		w.Header().Set("WWW-Authenticate", `Bearer realm="userinfo", error="invalid_token"`)
		http.Error(w, "unknown or expired access token", http.StatusUnauthorized)
		return
	}
	client, _ := p.client(clientID)
	if client.Userinfo == (Algorithms{}) {
		writeJSON(w, http.StatusOK, claims)
		return
	}
	w.Header().Set("Content-Type", "application/jwt")
	_, _ = io.WriteString(w, p.protectedUserinfo(claims, client))
}

// checkBinding checks that an access token comes from the client that it is bound to. A token that
// is not known passes: it is refused later.
func (p *Provider) checkBinding(r *http.Request, token string, bound bool) *oauthError {
	p.mu.Lock()
	t, known := p.accessTokens[token]
	p.mu.Unlock()
	if !known {
		return nil
	}
	client, _ := p.client(t.grant.clientID)
	if client.CertificateBound && !showsCertificate(r, client) {
		return &oauthError{"invalid_token", "the token is bound to a certificate"}
	}
	if !bound && t.grant.keyThumbprint == "" {
		return nil
	}
	thumbprint, e := p.checkProof(r, token)
	if e == nil && (!bound || thumbprint != t.grant.keyThumbprint) {
		e = &oauthError{"invalid_token", "the token is bound to another key"}
	}
	return e
}

// protectedUserinfo returns the claims signed, encrypted, or both (OpenID Connect Core, 5.3.2).
func (p *Provider) protectedUserinfo(claims map[string]any, c Client) string {
	if c.Userinfo.Signed != "" {
		claims["iss"], claims["aud"] = inTenant(p.Issuer(), tenantOf(claims)), c.ID
		return p.newJWT(claims, c.Userinfo, c).Compact()
	}
	only, err := encrypt(string(mustMarshal(claims)), c.recipient(c.Userinfo), c.Userinfo.Content, "")
	if err != nil {
		panic(err) // AddClient has tried it
	}
	return only
}

func (p *Provider) userinfo(token string) (claims map[string]any, clientID string, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t, ok := p.accessTokens[token]
	if !ok || t.grant.ended || time.Now().After(t.expires) {
		return nil, "", false
	}
	user := p.users[t.grant.subject]
	claims = map[string]any{}
	for _, source := range []map[string]any{user.Claims, user.UserinfoClaims} {
		if !p.config.WithoutIDTokens {
			source = granted(source, t.grant.scopes)
		}
		maps.Copy(claims, source)
	}
	add(claims, user, t.grant.claims.Userinfo)
	claims["sub"] = t.grant.subject
	return claims, t.grant.clientID, true
}
