package oidcgatetest

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// An accessToken allows a client to call the userinfo endpoint.
type accessToken struct {
	grant   *grant
	changes map[string]any // of claims, if it comes from an exchange
	expires time.Time
}

// serveToken serves the token endpoint (RFC 6749, 3.2; OpenID Connect Core, 3.1.3).
func (p *Provider) serveToken(w http.ResponseWriter, r *http.Request) {
	noStore(w)
	p.offerNonce(w)
	client, e := p.authenticate(r)
	if e != nil {
		writeTokenError(w, r, e)
		return
	}
	thumbprint, e := p.checkProof(r, "")
	if e == nil && client.CertificateBound && !showsCertificate(r, client) {
		e = &oauthError{"invalid_request", "the client's tokens are bound to its certificate"}
	}
	if e != nil {
		writeTokenError(w, r, e)
		return
	}
	answer, e := p.answerToken(client, r.PostForm, thumbprint)
	if e != nil {
		writeTokenError(w, r, e)
		return
	}
	writeJSON(w, http.StatusOK, answer)
}

func (p *Provider) answerToken(
	c Client, form url.Values, thumbprint string,
) (map[string]any, *oauthError) {
	switch form.Get("grant_type") {
	case "authorization_code":
		g, e := p.redeem(c, form)
		if e == nil {
			e = p.bind(g, thumbprint)
		}
		if e != nil {
			return nil, e
		}
		return p.issue(g, g.nonce, p.newRefreshToken(g)), nil
	case "refresh_token":
		g, next, e := p.refresh(c, form)
		if e == nil {
			e = p.bind(g, thumbprint)
		}
		if e != nil {
			return nil, e
		}
		return p.issue(g, "", next), nil // no nonce: OpenID Connect Core, 12.2
	}
	if form.Get("grant_type") == exchangeGrant {
		return p.exchangeToken(c, form, thumbprint)
	}
	return nil, &oauthError{"unsupported_grant_type", ""}
}

// writeTokenError answers as RFC 6749, 5.2 says.
func writeTokenError(w http.ResponseWriter, r *http.Request, e *oauthError) {
	status := http.StatusBadRequest
	if e.code == "invalid_client" {
		status = http.StatusUnauthorized
	}
	if status == http.StatusUnauthorized && r.Header.Get("Authorization") != "" {
		w.Header().Set("WWW-Authenticate", `Basic realm="token"`)
	}
	body := map[string]string{"error": e.code}
	if e.description != "" {
		body["error_description"] = e.description
	}
	writeJSON(w, status, body)
}

// redeem exchanges a code. If a code is used a second time, one of the two uses came from a thief,
// so the tokens that were issued for it are revoked (RFC 6749, 4.1.2).
func (p *Provider) redeem(c Client, form url.Values) (*grant, *oauthError) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := p.codes[form.Get("code")]
	if g == nil || g.clientID != c.ID || time.Now().After(g.codeExpires) {
		return nil, &oauthError{"invalid_grant", "unknown or expired code"}
	}
	if g.redeemed {
		g.ended = true
		return nil, &oauthError{"invalid_grant", "the code was used before"}
	}
	g.redeemed = true
	if form.Get("redirect_uri") != g.redirectURL {
		return nil, &oauthError{
			"invalid_grant", "redirect_uri differs from the authorization request",
		}
	}
	if e := g.checkResources(form["resource"]); e != nil {
		return nil, e
	}
	if p.config.WithoutPKCE {
		if form.Has("code_verifier") {
			return nil, &oauthError{"invalid_client", "code_verifier is not known"}
		}
		return g, nil
	}
	if !verifies(form.Get("code_verifier"), g.challenge) {
		return nil, &oauthError{"invalid_grant", "code_verifier does not match code_challenge"}
	}
	return g, nil
}

// codeVerifier is the syntax of a code_verifier (RFC 7636, 4.1).
var codeVerifier = regexp.MustCompile(`^[A-Za-z0-9._~-]{43,128}$`)

// verifies reports whether challenge is the S256 challenge of verifier (RFC 7636, 4.6).
func verifies(verifier, challenge string) bool {
	sum := sha256.Sum256([]byte(verifier))
	return codeVerifier.MatchString(verifier) &&
		base64.RawURLEncoding.EncodeToString(sum[:]) == challenge
}

// refresh returns the grant of a refresh token. With RotateRefreshTokens it also returns the new
// refresh token that replaces it.
func (p *Provider) refresh(c Client, form url.Values) (g *grant, next string, e *oauthError) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g, e = p.refreshable(c, form)
	if e != nil || !p.config.RotateRefreshTokens {
		return g, "", e
	}
	delete(p.refreshTokens, form.Get("refresh_token"))
	next = rand.Text()
	p.refreshTokens[next] = g
	return g, next, nil
}

// refreshable returns the grant of a refresh token, or an error if it must not be refreshed. p.mu
// is held.
func (p *Provider) refreshable(c Client, form url.Values) (*grant, *oauthError) {
	g := p.refreshTokens[form.Get("refresh_token")]
	if g == nil || g.ended || g.clientID != c.ID {
		return nil, &oauthError{"invalid_grant", "unknown refresh token"}
	}
	if e := g.checkResources(form["resource"]); e != nil {
		return nil, e
	}
	for _, scope := range strings.Fields(form.Get("scope")) {
		if !slices.Contains(g.scopes, scope) {
			return nil, &oauthError{"invalid_scope", "a scope was not granted at login"}
		}
	}
	return g, nil
}

func (p *Provider) newRefreshToken(g *grant) string {
	token := rand.Text()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refreshTokens[token] = g
	return token
}

// issue creates a token response. If refreshToken is empty, the response has no refresh_token.
func (p *Provider) issue(g *grant, nonce, refreshToken string) map[string]any {
	access := p.newAccessToken(g, nil)
	answer := map[string]any{
		"access_token": access,
		"token_type":   "Bearer",
		"expires_in":   int64(p.config.AccessTokenLifetime / time.Second),
		"scope":        strings.Join(g.scopes, " "),
	}
	if g.keyThumbprint != "" {
		answer["token_type"] = "DPoP"
	}
	if len(g.details) > 0 {
		answer["authorization_details"] = g.details
	}
	if refreshToken != "" {
		answer["refresh_token"] = refreshToken
	}
	if p.config.WithoutIDTokens {
		return answer
	}

	// No lock is held here, because the functions of NextIDToken and EveryIDToken may call the
	// provider.
	answer["id_token"] = p.newIDToken(g, nonce, map[string]any{
		"at_hash": halfHash(p.hashAlgorithm(g.clientID), access),
	})
	return answer
}

// newIDToken returns an ID Token with the given hashes of what comes with it.
func (p *Provider) newIDToken(g *grant, nonce string, hashes map[string]any) string {
	claims := p.idTokenClaims(g, nonce)
	maps.Copy(claims, hashes)
	idToken := p.NewJWT(claims)
	for _, change := range p.idTokenChanges() {
		change(idToken)
	}
	return idToken.Compact()
}

// idTokenClaims returns the claims of OpenID Connect Core, 2, and the claims of the user.
func (p *Provider) idTokenClaims(g *grant, nonce string) map[string]any {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	claims := granted(p.users[g.subject].Claims, g.scopes)
	add(claims, p.users[g.subject], g.claims.IDToken)
	maps.Copy(claims, map[string]any{
		"iss":       inTenant(p.issuer, tenantOf(claims)),
		"sub":       g.subject,
		"aud":       g.clientID,
		"exp":       now.Add(p.config.IDTokenLifetime).Unix(),
		"iat":       now.Unix(),
		"auth_time": g.authTime.Unix(),
		"sid":       g.sessionID,
	})
	if nonce != "" && !p.config.WithoutNonce {
		claims["nonce"] = nonce
	}
	return claims
}

// halfHash returns the hash of an access token, code or state for an algorithm (OpenID Connect
// Core, 3.1.3.6).
func halfHash(alg, s string) string {
	h := hashOf(alg).New()
	h.Write([]byte(s))
	sum := h.Sum(nil)
	return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
}

// NextIDToken calls change with the next ID Token just before it is signed. Each further call
// applies to one further ID Token. With the response type "code id_token" a login has two: the
// first comes with the authorization response. change may set another key, remove claims or replace
// everything:
//
//	p.NextIDToken(func(t *oidcgatetest.JWT) { t.Claims["aud"] = "another client" })
//	p.NextIDToken((*oidcgatetest.JWT).CorruptSignature)
func (p *Provider) NextIDToken(change func(*JWT)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.nextIDTokens = append(p.nextIDTokens, change)
}

// EveryIDToken calls change with every ID Token from now on, before the function of NextIDToken. It
// replaces the function of an earlier EveryIDToken; nil removes it.
func (p *Provider) EveryIDToken(change func(*JWT)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.everyIDToken = change
}

func (p *Provider) idTokenChanges() []func(*JWT) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var changes []func(*JWT)
	if p.everyIDToken != nil {
		changes = append(changes, p.everyIDToken)
	}
	if len(p.nextIDTokens) > 0 {
		changes = append(changes, p.nextIDTokens[0])
		p.nextIDTokens = p.nextIDTokens[1:]
	}
	return changes
}
