package oidcgatetest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256" // for crypto.SHA256
	_ "crypto/sha512" // for crypto.SHA384 and crypto.SHA512
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// A JWT is a JSON Web Token that has not been signed yet. Its content is signed without any check.
type JWT struct {
	// Header is the JOSE header. In a token made by the provider it has alg, kid (key ID) and typ.
	Header map[string]any

	// Claims is the payload.
	Claims map[string]any

	// Payload, if not nil, is signed instead of Claims, byte for byte. Use it for duplicate members
	// or for a payload that is not JSON.
	Payload []byte

	// Key is the signing key: an *rsa.PrivateKey, *ecdsa.PrivateKey, ed25519.PrivateKey, or a
	// []byte for an HMAC. Its type decides the kind of signature. The header's alg decides only the
	// hash and, for RSA, between PS and RS; it need not fit the key. If Key is nil, the signature
	// is empty.
	Key any

	// Finish, if not nil, is called with the compact serialization and returns what is used
	// instead.
	Finish func(compact string) string

	// Recipient, if not nil, is the public key for which the token is encrypted after it is signed
	// (a nested JWT, RFC 7519, 5.2). Its Algorithm is the alg, its KeyID the kid.
	Recipient *jose.JSONWebKey

	// ContentEncryption is the enc of an encrypted token. If empty, it is "A128CBC-HS256".
	ContentEncryption string
}

// NewJWT returns a token with the given claims, to be signed with the provider's newest key. The
// claims decide what it is: an ID Token, a signed userinfo response or a logout token. Its typ is
// JWT, or logout+jwt if the claims contain events (OpenID Connect Back-Channel Logout, 2.4). If aud
// is a client that is registered with other [Algorithms] for ID Tokens, the token has those.
func (p *Provider) NewJWT(claims map[string]any) *JWT {
	id, _ := claims["aud"].(string)
	c, _ := p.client(id)
	return p.newJWT(claims, c.IDToken, c)
}

// newSigned returns a token to be signed with the provider's newest key.
func (p *Provider) newSigned(claims map[string]any) *JWT {
	k := p.signingKey()
	typ := "JWT"
	if _, ok := claims["events"]; ok {
		typ = "logout+jwt"
	}
	return &JWT{
		Header: map[string]any{"alg": k.algorithm, "kid": k.id, "typ": typ},
		Claims: maps.Clone(claims),
		Key:    k.private,
	}
}

// Unsigned sets "alg": "none" and removes the signature (RFC 7519, 6).
func (t *JWT) Unsigned() {
	t.SignWith("none", nil)
}

// SignWith sets another signing key and the header's alg.
func (t *JWT) SignWith(alg string, key any) {
	t.Header["alg"] = alg
	t.Key = key
}

// SignForeign sets another signing key of the same kind, which no provider publishes. It does not
// change the header, so kid still names the provider's key.
func (t *JWT) SignForeign() {
	var err error
	if _, ok := t.Key.(*ecdsa.PrivateKey); ok {
		t.Key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	} else {
		t.Key, err = rsaKeys.at(0)
	}
	if err != nil {
		panic(err)
	}
}

// CorruptSignature inverts one bit of the signature. It replaces Finish.
func (t *JWT) CorruptSignature() {
	t.Finish = func(compact string) string {
		i := strings.LastIndexByte(compact, '.') + 1
		signature, err := base64.RawURLEncoding.DecodeString(compact[i:])
		if err != nil || len(signature) == 0 {
			return compact
		}
		signature[0] ^= 1
		return compact[:i] + base64.RawURLEncoding.EncodeToString(signature)
	}
}

// Compact signs the token, encrypts it if it has a Recipient, and returns its compact serialization
// (RFC 7515, 7.1; RFC 7516, 7.1). It panics if Header or Claims cannot be encoded as JSON or if the
// type of a key is not supported, because that is an error in the test.
func (t *JWT) Compact() string {
	payload := t.Payload
	if payload == nil {
		payload = mustMarshal(t.Claims)
	}
	input := base64.RawURLEncoding.EncodeToString(mustMarshal(t.Header)) + "." +
		base64.RawURLEncoding.EncodeToString(payload)
	alg, _ := t.Header["alg"].(string)
	signature, err := sign(t.Key, alg, []byte(input))
	if err != nil {
		panic(fmt.Sprintf("oidcgatetest: signing a token: %v", err))
	}
	compact := input + "." + base64.RawURLEncoding.EncodeToString(signature)
	if t.Finish != nil {
		compact = t.Finish(compact)
	}
	if t.Recipient == nil {
		return compact
	}
	encrypted, err := encrypt(compact, *t.Recipient, t.ContentEncryption, "JWT")
	if err != nil {
		panic(fmt.Sprintf("oidcgatetest: encrypting a token: %v", err))
	}
	return encrypted
}

func mustMarshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("oidcgatetest: encoding a token: %v", err))
	}
	return b
}

// sign does not use a signing library, because a library refuses most incorrect tokens.
func sign(key any, alg string, input []byte) ([]byte, error) {
	hash := hashOf(alg)
	h := hash.New()
	h.Write(input)
	digest := h.Sum(nil)
	switch key := key.(type) {
	case nil:
		return nil, nil
	case []byte:
		mac := hmac.New(hash.New, key)
		mac.Write(input)
		return mac.Sum(nil), nil
	case *rsa.PrivateKey:
		if strings.HasPrefix(alg, "PS") {
			options := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}
			return rsa.SignPSS(rand.Reader, key, hash, digest, options)
		}
		return rsa.SignPKCS1v15(nil, key, hash, digest)
	case *ecdsa.PrivateKey:
		return signECDSA(key, digest)
	case ed25519.PrivateKey:
		return ed25519.Sign(key, input), nil
	}
	return nil, fmt.Errorf("a key of type %T cannot sign", key)
}

// signECDSA returns r followed by s, each as long as the curve's order (RFC 7518, 3.4).
func signECDSA(key *ecdsa.PrivateKey, digest []byte) ([]byte, error) {
	r, s, err := ecdsa.Sign(rand.Reader, key, digest)
	if err != nil {
		return nil, err
	}
	size := (key.Curve.Params().N.BitLen() + 7) / 8
	signature := make([]byte, 2*size)
	r.FillBytes(signature[:size])
	s.FillBytes(signature[size:])
	return signature, nil
}

func hashOf(alg string) crypto.Hash {
	switch {
	case strings.HasSuffix(alg, "384"):
		return crypto.SHA384
	case strings.HasSuffix(alg, "512"):
		return crypto.SHA512
	}
	return crypto.SHA256
}
