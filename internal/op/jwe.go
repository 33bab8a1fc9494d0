package op

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/oidcgate/oidcgate/internal/check"
	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
)

// tagSize returns how long the authentication tag is (RFC 7518, 5.2, 5.3). go-jose puts ciphertext
// and tag together again, so it would accept a token with the border between them at any place.
func tagSize(enc string) int {
	switch enc {
	case "A192CBC-HS384":
		return 24
	case "A256CBC-HS512":
		return 32
	}
	return 16
}

// isEncrypted reports whether a token has the five parts of a JWE (RFC 7516, 7.1).
func isEncrypted(raw string) bool { return strings.Count(raw, ".") == 4 }

// decrypt returns the signed token in an encrypted one (a nested JWT, RFC 7519, 5.2). A token that
// is not encrypted is returned as it is, unless the client is registered for encrypted tokens of
// this kind: then it is refused (OpenID Connect Core, 3.1.3.7, step 1).
//
// Everybody can encrypt for the client, because its keys are public. So this says nothing about
// who made the token: what is inside is verified like any token, and of the outer header counts
// only how to decrypt. Its type in particular does not say what kind the token is.
//
// Size, shape, alg and enc are checked before a key is asked for. What they let through costs one
// operation with a private key for each key that fits, about as much as a TLS handshake.
func (c *Client) decrypt(ctx context.Context, kind *tokenKind, raw string) (string, error) {
	if len(raw) > kind.maxSize {
		return "", invalid(event.ReasonIDTokenMalformed, "the token is too long")
	}
	if !isEncrypted(raw) {
		if kind.encrypted.made(&c.cfg) {
			return "", notEncrypted(kind)
		}
		return raw, nil
	}
	if c.cfg.ClientKeys == nil {
		return "", cannotDecrypt()
	}
	t, err := parseEncrypted(raw, c.cfg.Compressed)
	if err != nil {
		return "", err
	}
	keys, err := c.decryptionKeys(ctx)
	if err != nil {
		return "", err
	}
	if kind.strangers {
		release, err := take(ctx, c.decryptions)
		if err != nil {
			return "", errTooManyEncrypted
		}
		defer release()
	}
	return t.open(keys)
}

var errTooManyEncrypted = &Error{
	Reason: event.ReasonBusy, Status: http.StatusServiceUnavailable,
	Err: errors.New("too many tokens wait to be decrypted"),
}

// encryptedToken is an encrypted token whose shape and header are in order.
type encryptedToken struct {
	jwe      *jose.JSONWebEncryption
	alg      string
	enc      string
	keyID    string
	hasKeyID bool
}

// parseEncrypted reads a token in JWE compact serialization (RFC 7516, 7.1).
func parseEncrypted(raw string, compressed bool) (*encryptedToken, error) {
	parts := strings.Split(raw, ".")
	header, err := decodeHeader(parts)
	if err != nil {
		return nil, err
	}
	if compressed && text(header, "zip") == "DEF" {
		header = header.Filter(func(name string) bool { return name != "zip" })
	}
	t, err := readEncryption(header)
	if err != nil {
		return nil, err
	}
	if (parts[1] == "") != (t.alg == string(jose.ECDH_ES)) {
		return nil, invalid(event.ReasonIDTokenMalformed,
			"the token lacks the encrypted key, or has one that its alg does not need")
	}
	if len(parts[4]) != base64.RawURLEncoding.EncodedLen(tagSize(t.enc)) {
		return nil, invalid(event.ReasonIDTokenMalformed, "the token's tag has not the length of its enc")
	}
	algs := []jose.KeyAlgorithm{jose.KeyAlgorithm(t.alg)}
	encs := []jose.ContentEncryption{jose.ContentEncryption(t.enc)}
	t.jwe, err = jose.ParseEncryptedCompact(raw, algs, encs)
	if err != nil {
		return nil, invalid(event.ReasonIDTokenMalformed,
			"the token is not a JWE in compact serialization")
	}
	return t, nil
}

// readEncryption reads how a token is encrypted. Not accepted are RSA with PKCS #1 v1.5, which is
// an oracle (RFC 8725, 3.2); shared secrets and passwords (dir, A128KW, PBES2), which the client
// has none of; and compression (zip), by which a short token grows (RFC 8725, 2.4), unless the
// configuration allows it: then it may grow to ten times its length, or to 250 KB.
func readEncryption(header claims.Object) (*encryptedToken, error) {
	if err := checkExtensions(header); err != nil {
		return nil, err
	}
	if err := checkContentType(header); err != nil {
		return nil, err
	}
	t := &encryptedToken{alg: text(header, "alg"), enc: text(header, "enc")}
	if !slices.Contains(encrypts, t.alg) {
		return nil, invalidf(event.ReasonAlg, "the token is encrypted with alg %q, want one of %q",
			bounded(t.alg), encrypts)
	}
	if !slices.Contains(contentEncryptions, t.enc) {
		return nil, invalidf(event.ReasonAlg, "the token is encrypted with enc %q, want one of %q",
			bounded(t.enc), contentEncryptions)
	}
	var err error
	t.keyID, t.hasKeyID, err = keyIDOf(header)
	return t, err
}

// checkContentType refuses a token that says that there is something else inside than a JWT. Some
// providers leave cty out, although RFC 7519, 5.2, demands it.
func checkContentType(header claims.Object) error {
	cty, there := header.Get("cty")
	s, ok := cty.Str()
	if there && (!ok || !strings.EqualFold(s, "JWT")) {
		return invalid(event.ReasonType, "the header's cty is not JWT")
	}
	return nil
}

// decryptionKeys returns the client's keys that decrypt. There is at least one.
func (c *Client) decryptionKeys(ctx context.Context) ([]ClientKey, error) {
	keys, err := c.clientKeys(ctx)
	if err != nil {
		return nil, err
	}
	keys = slices.DeleteFunc(keys, func(k ClientKey) bool { return k.Signs() })
	if len(keys) == 0 {
		return nil, cannotDecrypt()
	}
	return keys, nil
}

// open decrypts with the key that the token names or, if it names none, with each that fits its
// alg. There are several while keys are replaced. Every failure has the same text, so that nobody
// learns from it how far a forged token came.
func (t *encryptedToken) open(keys []ClientKey) (string, error) {
	tooLong := false
	for _, k := range keys {
		if k.Algorithm != t.alg || t.hasKeyID && k.ID != t.keyID {
			continue
		}
		plaintext, err := t.jwe.Decrypt(k.Private)
		if err == nil {
			return string(plaintext), nil
		}
		tooLong = tooLong || strings.Contains(err.Error(), "decompress") // after it was decrypted
	}
	e := invalid(event.ReasonDecryption, "no key of the client decrypts the token")
	e.TooLong = tooLong
	e.Hint = "check that the provider has the client's current keys, those served at /auth/jwks"
	return "", e
}

// cannotDecrypt is the Error for an encrypted token where no key decrypts.
func cannotDecrypt() *Error {
	e := invalid(event.ReasonIDTokenMalformed, "the token is encrypted")
	e.Hint = "have the provider send this client tokens that are signed only " +
		"(no id_token_encrypted_response_alg), or give ClientKeys a key that decrypts"
	return e
}

// notEncrypted is the Error for a token that is not encrypted, though the client is registered for
// encrypted ones. Somebody may have replaced it.
func notEncrypted(kind *tokenKind) *Error {
	e := invalid(event.ReasonNotEncrypted, "the "+kind.name+" is not encrypted, as was agreed")
	e.Hint = "register the client for encrypted tokens of this kind, or unset " + kind.encrypted.field
	return e
}

// checkEncryption checks that what is agreed on can be decrypted.
func (cfg *Config) checkEncryption(f *check.List) {
	for _, agreed := range []agreement{encryptedIDTokens, encryptedUserinfo, encryptedResponses} {
		if agreed.made(cfg) && !cfg.mayDecrypt() {
			f.Add(agreed.field, "needs a key that decrypts; give ClientKeys one whose Algorithm is "+
				"\"RSA-OAEP-256\" or \"ECDH-ES\", as the provider was told")
		}
	}
	if cfg.ResponseEncrypted && !cfg.wantsObject() {
		f.Add(encryptedResponses.field, "needs a Request.ResponseMode with \".jwt\" at its end: other "+
			"responses are not encrypted")
	}
}

// mayDecrypt reports whether there is a key that decrypts, or a function that may return one.
func (cfg *Config) mayDecrypt() bool {
	return cfg.mayHave(func(k *ClientKey) bool { return !k.Signs() })
}
