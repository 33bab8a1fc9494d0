package oidcgatetest

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// proofLifetime is how far the iat of a DPoP proof may be from now, either way.
const proofLifetime = 5 * time.Minute

// checkProof checks the DPoP proof of a request, if it has one, and returns the thumbprint of its
// key (RFC 9449, 4.3). accessToken is that of a request to userinfo, or "".
func (p *Provider) checkProof(r *http.Request, accessToken string) (string, *oauthError) {
	proofs := r.Header.Values("DPoP")
	if len(proofs) == 0 {
		return "", nil
	}
	refuse := func(why string) (string, *oauthError) {
		return "", &oauthError{"invalid_dpop_proof", why}
	}
	if len(proofs) > 1 {
		return refuse("two proofs")
	}
	jws, err := jose.ParseSignedCompact(proofs[0], []jose.SignatureAlgorithm{
		jose.ES256, jose.ES384, jose.EdDSA, jose.PS256, jose.RS256,
	})
	if err != nil {
		return refuse("the proof is no JWT with an accepted algorithm")
	}
	header := jws.Signatures[0].Protected
	if header.ExtraHeaders["typ"] != "dpop+jwt" || header.JSONWebKey == nil ||
		!header.JSONWebKey.IsPublic() {
		return refuse("typ is not dpop+jwt, or jwk is no public key")
	}
	payload, err := jws.Verify(header.JSONWebKey)
	if err != nil {
		return refuse("the proof's signature is wrong")
	}
	if e := p.checkProofClaims(r, payload, accessToken); e != nil {
		return "", e
	}
	sum, err := header.JSONWebKey.Thumbprint(crypto.SHA256)
	if err != nil {
		return refuse("the key has no thumbprint")
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}

func (p *Provider) checkProofClaims(
	r *http.Request, payload []byte, accessToken string,
) *oauthError {
	var claims struct {
		ID       string `json:"jti"`
		Method   string `json:"htm"`
		Address  string `json:"htu"`
		IssuedAt int64  `json:"iat"`
		Nonce    string `json:"nonce"`
		Hash     string `json:"ath"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		return &oauthError{"invalid_dpop_proof", "the claims are malformed"}
	}
	want := ""
	if accessToken != "" {
		sum := sha256.Sum256([]byte(accessToken))
		want = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	age := time.Since(time.Unix(claims.IssuedAt, 0))
	here := strings.TrimSuffix(p.Issuer(), pathOf(p.Issuer())) + r.URL.Path
	switch {
	case claims.Method != r.Method || claims.Address != here:
		return &oauthError{"invalid_dpop_proof", "htm or htu is that of another request"}
	case age > proofLifetime || age < -proofLifetime:
		return &oauthError{"invalid_dpop_proof", "iat is not now"}
	case claims.Hash != want:
		return &oauthError{"invalid_dpop_proof", "ath is that of another token"}
	case p.config.DPoPNonces && !p.isNonce(claims.Nonce):
		return &oauthError{"use_dpop_nonce", "the proof needs the nonce of DPoP-Nonce"}
	case claims.ID == "" || !p.isNew(claims.ID):
		return &oauthError{"invalid_dpop_proof", "jti is missing, or was used before"}
	}
	return nil
}

func (p *Provider) isNonce(nonce string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return nonce != "" && nonce == p.nonce
}

// offerNonce tells the nonce for the next proof (RFC 9449, 8).
func (p *Provider) offerNonce(w http.ResponseWriter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.config.DPoPNonces {
		w.Header().Set("DPoP-Nonce", p.nonce)
	}
}

// ReplaceDPoPNonce replaces the nonce that DPoP proofs must have, as providers do from time to
// time.
func (p *Provider) ReplaceDPoPNonce() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.nonce = rand.Text()
}

// bind checks that the tokens of a grant are requested with the key to which they are bound, and
// binds them to it the first time (RFC 9449, 5, 10).
func (p *Provider) bind(g *grant, thumbprint string) *oauthError {
	p.mu.Lock()
	defer p.mu.Unlock()
	if g.keyThumbprint == "" {
		g.keyThumbprint = thumbprint
	}
	if g.keyThumbprint != thumbprint {
		return &oauthError{"invalid_dpop_proof", "the proof is by another key"}
	}
	return nil
}
