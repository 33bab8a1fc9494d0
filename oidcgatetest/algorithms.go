package oidcgatetest

import (
	"cmp"
	"crypto"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

// Algorithms are how a client has tokens of one kind signed and encrypted, as it is registered
// (OpenID Connect Dynamic Client Registration, 2; JARM, 3).
type Algorithms struct {
	// Signed is "HS256", "HS384" or "HS512" for a signature with the client's Secret, or the
	// algorithm of the provider's newest key. If empty, ID Tokens and authorization responses are
	// signed with that key, and userinfo responses are not signed.
	Signed string

	// Encrypted is the algorithm (alg) by which the token is encrypted for one of the client's Keys:
	// "RSA-OAEP", "RSA-OAEP-256", "ECDH-ES", "ECDH-ES+A128KW", "ECDH-ES+A192KW" or "ECDH-ES+A256KW".
	// If empty, the token is not encrypted.
	Encrypted string

	// Content is the algorithm (enc) by which the content is encrypted. If empty, it is
	// "A128CBC-HS256".
	Content string
}

var (
	keyEncryptions = []jose.KeyAlgorithm{
		jose.RSA_OAEP, jose.RSA_OAEP_256,
		jose.ECDH_ES, jose.ECDH_ES_A128KW, jose.ECDH_ES_A192KW, jose.ECDH_ES_A256KW,
	}
	contentEncryptions = []jose.ContentEncryption{
		jose.A128CBC_HS256, jose.A192CBC_HS384, jose.A256CBC_HS512,
		jose.A128GCM, jose.A192GCM, jose.A256GCM,
	}
	macs = []string{"HS256", "HS384", "HS512"}
)

// check panics if the client cannot be served as it is registered.
func (a Algorithms) check(c Client) {
	known := append([]string{"", "RS256", "ES256"}, macs...)
	if !slices.Contains(known, a.Signed) || slices.Contains(macs, a.Signed) && c.Secret == "" {
		panic(fmt.Sprintf("oidcgatetest: client %q cannot have tokens signed with %q", c.ID, a.Signed))
	}
	if a.Encrypted == "" {
		return
	}
	if _, err := encrypt("", c.recipient(a), a.Content, ""); err != nil {
		panic(fmt.Sprintf("oidcgatetest: client %q: %s: %v", c.ID, a.Encrypted, err))
	}
}

// recipient returns the first of the client's keys that is for the algorithm, or one without a key.
func (c Client) recipient(a Algorithms) jose.JSONWebKey {
	for _, key := range c.Keys.Keys {
		if key.Algorithm == a.Encrypted || key.Algorithm == "" && key.Use != "sig" {
			return jose.JSONWebKey{Key: key.Key, KeyID: key.KeyID, Algorithm: a.Encrypted}
		}
	}
	return jose.JSONWebKey{Algorithm: a.Encrypted}
}

// newJWT returns a token for the client. p.NewJWT is the same for an ID Token.
func (p *Provider) newJWT(claims map[string]any, a Algorithms, c Client) *JWT {
	t := p.newSigned(claims)
	if slices.Contains(macs, a.Signed) {
		t.SignWith(a.Signed, []byte(c.Secret))
		delete(t.Header, "kid")
	}
	if a.Encrypted != "" {
		key := c.recipient(a)
		t.Recipient, t.ContentEncryption = &key, a.Content
	}
	return t
}

// hashAlgorithm returns the algorithm whose hash at_hash and c_hash of the client's ID Tokens have.
func (p *Provider) hashAlgorithm(clientID string) string {
	c, _ := p.client(clientID)
	return cmp.Or(c.IDToken.Signed, p.signingKey().algorithm)
}

// encrypt returns the plaintext as a JWE in compact serialization (RFC 7516, 7.1). contentType is
// the header's cty, if any.
func encrypt(plaintext string, to jose.JSONWebKey, enc, contentType string) (string, error) {
	options := &jose.EncrypterOptions{}
	if contentType != "" {
		options = options.WithContentType(jose.ContentType(contentType))
	}
	key := to.Key
	if private, ok := key.(interface{ Public() crypto.PublicKey }); ok {
		key = private.Public()
	}
	encrypter, err := jose.NewEncrypter(
		jose.ContentEncryption(cmp.Or(enc, string(jose.A128CBC_HS256))),
		jose.Recipient{Algorithm: jose.KeyAlgorithm(to.Algorithm), Key: key, KeyID: to.KeyID}, options)
	if err != nil {
		return "", err
	}
	jwe, err := encrypter.Encrypt([]byte(plaintext))
	if err != nil {
		return "", err
	}
	return jwe.CompactSerialize()
}
