package oidcgatetest

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// NewAccessToken returns an access token as a JWT (RFC 9068), to be signed with the provider's
// newest key. It is one of the user alice for Config.AccessTokenAudience, unless claims say
// otherwise; a claim that is nil is left out.
//
//	token := p.NewAccessToken(map[string]any{"scope": "orders:read"}).Compact()
//	r.Header.Set("Authorization", "Bearer "+token)
func (p *Provider) NewAccessToken(claims map[string]any) *JWT {
	t := p.newSigned(p.accessClaims(claims))
	t.Header["typ"] = "at+jwt"
	return t
}

// NewOpaqueToken is [Provider.NewAccessToken] for a token that only the introspection endpoint can
// read; see Config.Introspection.
func (p *Provider) NewOpaqueToken(claims map[string]any) string {
	token := rand.Text()
	all := p.accessClaims(claims)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.opaque[token] = all
	return token
}

// RevokeAccessToken makes the introspection endpoint say that an access token is not active.
func (p *Provider) RevokeAccessToken(token string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.revoked[token] = true
}

func (p *Provider) accessClaims(changes map[string]any) map[string]any {
	now := time.Now()
	claims := map[string]any{
		"iss": p.Issuer(), "sub": "alice", "aud": p.accessTokenAudience(), "client_id": "app",
		"jti": rand.Text(), "iat": now.Unix(), "exp": now.Add(p.config.AccessTokenLifetime).Unix(),
	}
	maps.Copy(claims, changes)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	return claims
}

func (p *Provider) accessTokenAudience() string {
	return cmp.Or(p.config.AccessTokenAudience, "https://api.test")
}

// newAccessToken issues an access token for a grant, with changes to its claims. p.mu is not held.
func (p *Provider) newAccessToken(g *grant, changes map[string]any) string {
	issued := accessToken{
		grant: g, changes: changes, expires: time.Now().Add(p.config.AccessTokenLifetime),
	}
	token := rand.Text()
	if p.config.JWTAccessTokens {
		token = p.NewAccessToken(p.issuedClaims(issued)).Compact()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.accessTokens[token] = issued
	return token
}

// issuedClaims returns the claims of an access token that a client got at the token endpoint.
func (p *Provider) issuedClaims(t accessToken) map[string]any {
	claims := p.grantClaims(t.grant)
	claims["exp"] = t.expires.Unix()
	maps.Copy(claims, t.changes)
	return claims
}

// grantClaims returns the claims of an access token of a grant.
func (p *Provider) grantClaims(g *grant) map[string]any {
	claims := map[string]any{
		"sub": g.subject, "client_id": g.clientID, "scope": strings.Join(g.scopes, " "),
		"auth_time": g.authTime.Unix(),
	}
	cnf := map[string]any{}
	if g.keyThumbprint != "" {
		cnf["jkt"] = g.keyThumbprint
	}
	if c, _ := p.client(g.clientID); c.CertificateBound && c.Certificate != nil {
		sum := sha256.Sum256(c.Certificate.Raw)
		cnf["x5t#S256"] = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	if len(cnf) > 0 {
		claims["cnf"] = cnf
	}
	return claims
}

// serveIntrospection serves the introspection endpoint (RFC 7662). Every client that has a secret,
// a key or a certificate may ask about every access token.
func (p *Provider) serveIntrospection(w http.ResponseWriter, r *http.Request) {
	noStore(w)
	client, e := p.authenticate(r)
	if e == nil && client.AuthMethod == NoClientSecret {
		e = &oauthError{"invalid_client", "a public client may not introspect tokens"}
	}
	if e != nil {
		writeTokenError(w, r, e)
		return
	}
	claims, ok := p.introspect(r.PostForm.Get("token"))
	if !ok {
		writeJSON(w, http.StatusOK, map[string]any{"active": false})
		return
	}
	claims["active"], claims["token_type"] = true, "Bearer"
	if cnf, _ := claims["cnf"].(map[string]any); cnf["jkt"] != nil {
		claims["token_type"] = "DPoP"
	}
	writeJSON(w, http.StatusOK, claims)
}

// introspect returns the claims of an access token that is active.
func (p *Provider) introspect(token string) (map[string]any, bool) {
	p.mu.Lock()
	claims, isOpaque := p.opaque[token]
	issued, ofLogin := p.accessTokens[token]
	revoked := p.revoked[token]
	p.mu.Unlock()
	switch {
	case revoked:
		return nil, false
	case isOpaque:
		claims = maps.Clone(claims)
	case ofLogin && !issued.grant.ended:
		claims = p.accessClaims(p.issuedClaims(issued))
	default:
		if claims = p.readOwn(token); claims == nil {
			return nil, false
		}
	}
	exp, ok := asNumber(claims["exp"])
	return claims, !ok || time.Now().Before(time.Unix(int64(exp), 0))
}

// readOwn returns the claims of an access token that is a JWT and that this provider signed.
func (p *Provider) readOwn(token string) (claims map[string]any) {
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256, jose.ES256})
	if err != nil || jws.Signatures[0].Protected.ExtraHeaders["typ"] != "at+jwt" {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, k := range p.verifiers {
		payload, err := jws.Verify(k.private.Public())
		if err == nil && json.Unmarshal(payload, &claims) == nil {
			return claims
		}
	}
	return nil
}

func asNumber(v any) (float64, bool) {
	switch n := v.(type) {
	case float64:
		return n, true
	case int64:
		return float64(n), true
	case int:
		return float64(n), true
	}
	return 0, false
}
