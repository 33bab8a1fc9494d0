package op

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
)

// DPoPKey is the key pair to which the tokens of one login are bound (RFC 9449): who has the token
// but not the key can do nothing with it. It never prints itself.
type DPoPKey struct {
	text       string
	alg        jose.SignatureAlgorithm
	private    crypto.Signer
	thumbprint string
}

// Format keeps the key out of logs.
func (*DPoPKey) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, "REDACTED") }

// dpopAlgs are the algorithms of proofs, in the order of our preference.
var dpopAlgs = []string{"ES256", "EdDSA"}

// dpopAlg returns the algorithm for a provider that lists these, or nil if it does not say.
func dpopAlg(listed []string) (string, error) {
	for _, alg := range dpopAlgs {
		if listed == nil || slices.Contains(listed, alg) {
			return alg, nil
		}
	}
	return "", errors.New("the provider takes none of the DPoP algorithms ES256 and EdDSA")
}

// NewDPoPKey returns the key that a secret of 32 bytes or more stands for, always the same one.
func NewDPoPKey(alg string, secret []byte) (*DPoPKey, error) {
	k := &DPoPKey{
		text: alg + ":" + base64.RawURLEncoding.EncodeToString(secret),
		alg:  jose.SignatureAlgorithm(alg),
	}
	seed := sha256.Sum256(secret)
	switch alg {
	case "EdDSA":
		k.private = ed25519.NewKeyFromSeed(seed[:])
	case "ES256":
		// One seed in 2^32 is no private key of the curve.
		for k.private == nil {
			key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), seed[:])
			if err == nil {
				k.private = key
			}
			seed = sha256.Sum256(seed[:])
		}
	default:
		return nil, fmt.Errorf("%q is no algorithm of DPoP keys", alg)
	}
	sum, err := (&jose.JSONWebKey{Key: k.private.Public()}).Thumbprint(crypto.SHA256)
	k.thumbprint = base64.RawURLEncoding.EncodeToString(sum)
	return k, err
}

// ParseDPoPKey reads what Text has written. An empty text is no key, and no error.
func ParseDPoPKey(text string) (*DPoPKey, error) {
	if text == "" {
		return nil, nil
	}
	alg, secret, _ := strings.Cut(text, ":")
	raw, err := base64.RawURLEncoding.DecodeString(secret)
	if err != nil || len(raw) < 32 {
		return nil, errors.New("no DPoP key")
	}
	return NewDPoPKey(alg, raw)
}

// Text returns the key as text, which is secret.
func (k *DPoPKey) Text() string {
	if k == nil {
		return ""
	}
	return k.text
}

// proof returns a DPoP proof for one request (RFC 9449, 4.2). With an access token it says for
// which.
func (k *DPoPKey) proof(method string, u *url.URL, nonce, accessToken string) (string, error) {
	payload := map[string]any{
		"jti": rand.Text(), "iat": time.Now().Unix(), "htm": method,
		"htu": (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String(),
	}
	if nonce != "" {
		payload["nonce"] = nonce
	}
	if accessToken != "" {
		sum := sha256.Sum256([]byte(accessToken))
		payload["ath"] = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	text, _ := json.Marshal(payload) // strings and numbers only: cannot fail
	options := (&jose.SignerOptions{EmbedJWK: true}).WithType("dpop+jwt")
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: k.alg, Key: k.private}, options)
	if err != nil {
		return "", err
	}
	jws, err := signer.Sign(text)
	if err != nil {
		return "", err
	}
	return jws.CompactSerialize()
}

// nonces are the last nonces of servers, by origin (RFC 9449, 8.2, 9).
type nonces struct {
	mu   sync.Mutex
	last map[string]string
}

const (
	maxNonce   = 1 << 10
	maxOrigins = 1024
)

// keep notes the nonce of an answer from u, and reports whether it has one. In a full table it
// takes the place of another origin's.
func (n *nonces) keep(u *url.URL, h http.Header) bool {
	nonce := h.Get("DPoP-Nonce")
	if !isNonce(nonce) {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.last == nil {
		n.last = map[string]string{}
	}
	origin := originOf(u.String())
	if _, known := n.last[origin]; !known && len(n.last) >= maxOrigins {
		for other := range n.last {
			delete(n.last, other)
			break
		}
	}
	n.last[origin] = nonce
	return true
}

// isNonce reports whether s has only the characters of a nonce: visible ASCII without quotation
// mark and backslash (RFC 9449, 8.1).
func isNonce(s string) bool {
	return s != "" && len(s) <= maxNonce && isVisible(s) && !strings.ContainsAny(s, ` "\`)
}

func (n *nonces) of(u *url.URL) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.last[originOf(u.String())]
}

// prove adds a proof to a request, if there is a key.
func (c *Client) prove(r *http.Request, key *DPoPKey, accessToken string) error {
	if key == nil {
		return nil
	}
	method := cmp.Or(r.Method, http.MethodGet) // as net/http reads it
	proof, err := key.proof(method, r.URL, c.nonces.of(r.URL), accessToken)
	if err != nil {
		return err
	}
	r.Header.Set("DPoP", proof)
	return nil
}

// Present adds an access token to a request to a resource, in a header (RFC 6750, 2.1), with a
// proof if the token is bound to a key (RFC 9449, 7.1).
func (c *Client) Present(r *http.Request, accessToken string, key *DPoPKey) error {
	scheme := "Bearer "
	if key != nil {
		scheme = "DPoP "
	}
	r.Header.Set("Authorization", scheme+accessToken)
	return c.prove(r, key, accessToken)
}

// WantsNonce notes the nonce of a resource's answer, and reports whether the answer asks for the
// request once more, with that nonce (RFC 9449, 9).
func (c *Client) WantsNonce(u *url.URL, status int, h http.Header) bool {
	if !c.nonces.keep(u, h) || status != http.StatusUnauthorized {
		return false
	}
	return slices.Contains(challengeErrors(h), "use_dpop_nonce")
}

// challengeError finds the parameter error of a challenge: a name in any case, with spaces around
// the equals sign, and a value with or without quotation marks (RFC 9110, 11.2).
var challengeError = regexp.MustCompile(`(?i)(?:^|[\s,])error\s*=\s*"?([a-z_]+)`)

// challengeErrors returns the errors of the challenges of an answer.
func challengeErrors(h http.Header) (codes []string) {
	for _, challenge := range h.Values("WWW-Authenticate") {
		for _, found := range challengeError.FindAllStringSubmatch(challenge, -1) {
			codes = append(codes, strings.ToLower(found[1]))
		}
	}
	return codes
}

// wantsNonce is WantsNonce for an endpoint at which the client authenticates itself (RFC 9449, 8).
func (c *Client) wantsNonce(u *url.URL, a answer) bool {
	if !c.nonces.keep(u, a.header) || a.status != http.StatusBadRequest {
		return false
	}
	doc, _ := claims.Parse(a.body)
	return text(doc, "error") == "use_dpop_nonce"
}

// DPoPAlg returns the algorithm of the key to which the tokens of a new login are bound, or "" if
// tokens are not bound. It discovers the provider first if its metadata is not known.
func (c *Client) DPoPAlg(ctx context.Context) (string, error) {
	if !c.cfg.DPoP {
		return "", nil
	}
	meta, err := c.metadataInTurn(ctx)
	if err != nil {
		return "", err
	}
	alg, err := dpopAlg(meta.DPoPAlgs)
	if err != nil {
		return "", reject(event.ReasonMetadataInvalid, err.Error())
	}
	return alg, nil
}
