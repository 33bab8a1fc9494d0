package op

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/cryptosigner"

	"github.com/oidcgate/oidcgate/internal/event"
)

// ClientKey is a private key of the client. It either signs what the client sends or decrypts what
// is encrypted for it, as its Algorithm says. It never prints its key.
type ClientKey struct {
	Private   crypto.PrivateKey
	ID        string // "kid"; if empty, the key's thumbprint (RFC 7638)
	Algorithm string // if empty, a signing algorithm that fits the key
}

// Format keeps the key out of logs.
func (ClientKey) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, "REDACTED") }

// MarshalText is like Format, for encoding/json and log/slog.
func (ClientKey) MarshalText() ([]byte, error) { return []byte("REDACTED"), nil }

// encrypts are the algorithms by which a provider may encrypt for a key of ours (RFC 7518, 4.1).
// RSA with PKCS #1 v1.5 is left out because it is broken, and so are shared secrets.
var encrypts = []string{
	"RSA-OAEP", "RSA-OAEP-256", "ECDH-ES", "ECDH-ES+A128KW", "ECDH-ES+A192KW", "ECDH-ES+A256KW",
}

// Signs reports whether the key signs. Otherwise it decrypts.
func (k *ClientKey) Signs() bool { return !slices.Contains(encrypts, k.Algorithm) }

// Complete fills in what the key leaves empty. It returns what is wrong with the key, as the end of
// a sentence that begins with the key.
func (k *ClientKey) Complete() error {
	public, err := publicOf(k.Private)
	if err != nil {
		return err
	}
	if k.Algorithm == "" {
		k.Algorithm = algorithmFor(public)
	}
	if k.Signs() && !Asymmetric(k.Algorithm) {
		return fmt.Errorf("has the algorithm %q; use one of RS256, PS256, ES256, EdDSA and their "+
			"variants to sign, or one of %s to decrypt", k.Algorithm, strings.Join(encrypts, ", "))
	}
	jwk := jose.JSONWebKey{Key: public, Algorithm: k.Algorithm}
	if !strongEnough(jwk) || !hasCommonCurve(public) {
		return errors.New("is too weak; use RSA with 2048 bits or more, P-256, P-384, P-521 or Ed25519")
	}
	if k.Signs() && !fits(jwk, k.Algorithm) || !k.Signs() && !decrypts(k.Private, k.Algorithm) {
		return fmt.Errorf("does not fit the algorithm %q", k.Algorithm)
	}
	if k.ID == "" {
		sum, err := jwk.Thumbprint(crypto.SHA256)
		if err != nil {
			return err
		}
		k.ID = base64.RawURLEncoding.EncodeToString(sum)
	}
	return nil
}

// publicOf returns the public half of a key that has all its parts.
func publicOf(private crypto.PrivateKey) (crypto.PublicKey, error) {
	key, ok := private.(interface{ Public() crypto.PublicKey })
	seed, isSeed := private.(ed25519.PrivateKey)
	short := isSeed && len(seed) != ed25519.PrivateKeySize
	if v := reflect.ValueOf(private); ok && !short && (v.Kind() != reflect.Pointer || !v.IsNil()) {
		public := key.Public()
		if (&jose.JSONWebKey{Key: public}).Valid() {
			return public, nil
		}
	}
	return nil, errors.New("is no private key; give an *rsa.PrivateKey, *ecdsa.PrivateKey, " +
		"ed25519.PrivateKey or another crypto.Signer")
}

// hasCommonCurve reports whether a public key, if it has a curve, has one of those that providers
// know (RFC 7518, 6.2.1.1).
func hasCommonCurve(public crypto.PublicKey) bool {
	key, ok := public.(*ecdsa.PublicKey)
	return !ok || slices.Contains([]string{"P-256", "P-384", "P-521"}, key.Params().Name)
}

// hasSigningKey reports whether there is a key that signs, or a function that may return one.
func (cfg *Config) hasSigningKey() bool { return cfg.mayHave((*ClientKey).Signs) }

// mayHave reports whether there is a key of that kind, or a function that may return one.
func (cfg *Config) mayHave(kind func(*ClientKey) bool) bool {
	if cfg.ClientKeys == nil || !cfg.FixedKeys {
		return cfg.ClientKeys != nil
	}
	keys, _ := cfg.ClientKeys(context.Background()) // fixed ones never fail
	return slices.ContainsFunc(keys, func(k ClientKey) bool { return kind(&k) })
}

// algorithmFor returns the signing algorithm of a key that does not say.
func algorithmFor(public crypto.PublicKey) string {
	switch public := public.(type) {
	case *rsa.PublicKey:
		return "RS256"
	case ed25519.PublicKey:
		return "EdDSA"
	case *ecdsa.PublicKey:
		switch public.Curve {
		case elliptic.P384():
			return "ES384"
		case elliptic.P521():
			return "ES512"
		}
		return "ES256"
	}
	return ""
}

// decrypts reports whether a private key can undo an encryption.
func decrypts(private crypto.PrivateKey, alg string) bool {
	switch private.(type) {
	case *rsa.PrivateKey:
		return strings.HasPrefix(alg, "RSA")
	case *ecdsa.PrivateKey:
		return strings.HasPrefix(alg, "ECDH")
	}
	return false
}

// clientKeys returns the client's keys as they are now; they may have been replaced.
func (c *Client) clientKeys(ctx context.Context) ([]ClientKey, error) {
	if c.cfg.ClientKeys == nil {
		return nil, nil
	}
	keys, err := c.cfg.ClientKeys(ctx)
	if err != nil {
		return nil, clientKeyError(err)
	}
	keys = slices.Clone(keys)
	for i := range keys {
		if err := keys[i].Complete(); err != nil {
			return nil, clientKeyError(fmt.Errorf("key %d of ClientKeys %w", i+1, err))
		}
		if !c.cfg.maySign(&keys[i]) {
			e := clientKeyError(fmt.Errorf("key %d of ClientKeys signs by %s", i+1, keys[i].Algorithm))
			e.Hint = "the keys of ClientKeys " + hintProfileKeys + " (Provider.Profile, FAPI 2.0)"
			return nil, e
		}
	}
	return keys, nil
}

func clientKeyError(err error) *Error {
	return &Error{
		Reason: event.ReasonClientSecret, Status: http.StatusServiceUnavailable,
		Hint: "the function that gives the client's keys failed", Err: err,
	}
}

// signingKey returns the first key that signs.
func (c *Client) signingKey(ctx context.Context) (ClientKey, error) {
	keys, err := c.clientKeys(ctx)
	if err != nil {
		return ClientKey{}, err
	}
	i := slices.IndexFunc(keys, func(k ClientKey) bool { return k.Signs() })
	if i < 0 {
		return ClientKey{}, clientKeyError(errors.New("ClientKeys has no key that signs"))
	}
	return keys[i], nil
}

// PublicKeys returns the public halves of the client's keys for the provider, as a JWK Set (RFC
// 7517, 5).
func (c *Client) PublicKeys(ctx context.Context) ([]byte, error) {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	keys, err := c.clientKeys(ctx)
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		use := "enc"
		if k.Signs() {
			use = "sig"
		}
		public, _ := publicOf(k.Private) // Complete has asked it already
		set.Keys = append(set.Keys, jose.JSONWebKey{
			Key: public, KeyID: k.ID, Algorithm: k.Algorithm, Use: use,
		})
	}
	return json.Marshal(set)
}

// sign returns a JWT with this payload and type.
func (k ClientKey) sign(typ string, payload []byte) (string, error) {
	signer, ok := k.Private.(crypto.Signer)
	if !ok {
		return "", clientKeyError(errors.New("the key of ClientKeys that signs is no crypto.Signer"))
	}
	return signJWT(jose.SigningKey{
		Algorithm: jose.SignatureAlgorithm(k.Algorithm), Key: cryptosigner.Opaque(saltedSigner{signer}),
	}, k.ID, typ, payload)
}

// saltedSigner signs by PSS with a salt as long as the hash, as RFC 7518, 3.5 demands. go-jose lets
// a crypto.Signer take the longest salt, which other libraries refuse.
type saltedSigner struct{ crypto.Signer }

// Sign implements [crypto.Signer].
func (s saltedSigner) Sign(r io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	if pss, ok := o.(*rsa.PSSOptions); ok {
		o = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: pss.Hash}
	}
	return s.Signer.Sign(r, digest, o)
}

// signJWT signs in compact serialization (RFC 7515, 7.1).
func signJWT(key jose.SigningKey, id, typ string, payload []byte) (string, error) {
	options := (&jose.SignerOptions{}).WithType(jose.ContentType(typ))
	if id != "" {
		options = options.WithHeader("kid", id)
	}
	signer, err := jose.NewSigner(key, options)
	if err != nil {
		return "", clientKeyError(err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		return "", clientKeyError(err)
	}
	return jws.CompactSerialize()
}
