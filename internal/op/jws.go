package op

import (
	"encoding/base64"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
)

// Asymmetric reports whether alg is a signature algorithm of RFC 7518, 3.1 or RFC 8037 with a key
// pair. "none" is no signature, and everybody who can verify an HMAC can also make one (RFC 8725,
// 3.1).
func Asymmetric(alg string) bool {
	switch alg {
	case "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
		"ES256", "ES384", "ES512", "EdDSA":
		return true
	}
	return false
}

// compactToken is a signed token whose shape and header are in order. Its signature is not checked
// yet.
type compactToken struct {
	jws      *jose.JSONWebSignature
	alg      string
	keyID    string
	hasKeyID bool
}

// parseCompact reads a token in JWS compact serialization (RFC 7515, 7.1) that is of this kind by
// its header. Size and shape are checked before anything is decoded, and the header before any key
// is looked for.
func (c *Client) parseCompact(kind *tokenKind, raw string) (*compactToken, error) {
	if len(raw) > kind.maxSize {
		return nil, invalid(event.ReasonIDTokenMalformed, "the token is too long")
	}
	header, err := headerOf(raw)
	if err != nil {
		return nil, err
	}
	t := &compactToken{}
	if t.alg, err = checkHeader(header, c.cfg.SigningAlgs); err != nil {
		return nil, err
	}
	typ, ok := headerType(header)
	if !ok {
		return nil, invalid(event.ReasonType, "the header's typ is not a string")
	}
	if err := kind.checkType(typ, &c.cfg); err != nil {
		return nil, err
	}
	if t.keyID, t.hasKeyID, err = keyIDOf(header); err != nil {
		return nil, err
	}
	only := []jose.SignatureAlgorithm{jose.SignatureAlgorithm(t.alg)}
	t.jws, err = jose.ParseSignedCompact(raw, only)
	if err != nil {
		return nil, invalid(event.ReasonIDTokenMalformed,
			"the token is not a JWS in compact serialization")
	}
	return t, nil
}

// headerOf returns the JOSE header of a token of three parts.
func headerOf(raw string) (claims.Object, error) {
	parts := strings.Split(raw, ".")
	if len(parts) == 5 {
		return "", cannotDecrypt() // an encrypted token in an encrypted one
	}
	if len(parts) != 3 {
		return "", invalid(event.ReasonIDTokenMalformed, "the token does not have three parts")
	}
	return decodeHeader(parts)
}

// decodeHeader returns the JOSE header of a token, which is its first part. Each part is in
// base64url without padding, line breaks or stray bits. So there is only one way to write a token.
func decodeHeader(parts []string) (claims.Object, error) {
	var header []byte
	for i, part := range parts {
		// The decoder skips line breaks, strict or not.
		decoded, err := base64.RawURLEncoding.Strict().DecodeString(part)
		if err != nil || strings.ContainsAny(part, "\r\n") {
			return "", invalid(event.ReasonIDTokenMalformed, "a part of the token is not base64url")
		}
		if i == 0 {
			header = decoded
		}
	}
	h, err := claims.Parse(header)
	if err != nil {
		return "", invalid(event.ReasonIDTokenMalformed, "the header is not a strict JSON object")
	}
	return h, nil
}

// keyIDOf returns the kid of a header, if it has one.
func keyIDOf(header claims.Object) (keyID string, there bool, err error) {
	v, there := header.Get("kid")
	keyID, ok := v.Str()
	if there && !ok {
		return "", false, invalid(event.ReasonIDTokenMalformed, "the header's kid is not a string")
	}
	return keyID, there, nil
}

// checkExtensions refuses a header that asks for more than to verify, or to decrypt.
func checkExtensions(header claims.Object) error {
	for _, name := range []string{"crit", "b64", "zip"} {
		if _, ok := header.Get(name); ok {
			return invalid(event.ReasonIDTokenMalformed, "the header has a "+name+" parameter")
		}
	}
	return nil
}

// checkHeader returns the alg of a header that asks for nothing beyond a plain signature. Keys that
// a header brings or points to (jwk, jku, x5c, x5u) are not looked at, because a forged token
// brings the key of its forger.
func checkHeader(header claims.Object, algs []string) (alg string, err error) {
	if err := checkExtensions(header); err != nil {
		return "", err
	}
	v, _ := header.Get("alg")
	alg, _ = v.Str()
	if !slices.Contains(algs, alg) {
		e := invalidf(event.ReasonAlg, "the token's alg is %q, want one of %q", bounded(alg), algs)
		switch {
		case Asymmetric(alg):
			e.Hint = "if " + alg + " is what the provider was registered for, set " +
				"Verification.SigningAlgs"
		case symmetric(alg) && slices.ContainsFunc(algs, Asymmetric):
			e.Hint = "the provider signs with the client secret: have it sign with " +
				strings.Join(algs, " or ") + ", for which Auth0, authentik (a signing key), Nextcloud and " +
				"Django OAuth Toolkit have a switch in the settings of the client; or set " +
				"Verification.SigningAlgs to " + alg
		default:
			e.Hint = "have the provider sign ID Tokens for this client with one of those " +
				"(id_token_signed_response_alg)"
		}
		return "", e
	}
	return alg, nil
}

// headerType returns the typ of a header, or "" if there is none. ok is false if it is no string
// or empty.
func headerType(header claims.Object) (typ string, ok bool) {
	v, there := header.Get("typ")
	if !there {
		return "", true
	}
	typ, _ = v.Str()
	return typ, typ != ""
}
