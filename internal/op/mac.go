package op

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/oidcgate/oidcgate/internal/check"
	"github.com/oidcgate/oidcgate/internal/event"
)

// macKeySizes are how long a client secret must be, in bytes, to sign with each of these algorithms
// (RFC 7518, 3.2).
var macKeySizes = map[string]int{"HS256": 32, "HS384": 48, "HS512": 64}

// symmetric reports whether alg signs with the client secret (OpenID Connect Core, 10.1).
func symmetric(alg string) bool { return macKeySizes[alg] > 0 }

// signedWithSecret reports whether the provider signs with the client secret, and so with no key of
// its own.
func (cfg *Config) signedWithSecret() bool {
	return slices.ContainsFunc(cfg.SigningAlgs, symmetric)
}

// needsKeys reports whether keys of the provider verify tokens, or encrypt requests.
func (cfg *Config) needsKeys() bool {
	return cfg.hasIDTokens() && !cfg.signedWithSecret() || cfg.Object == ObjectEncrypted
}

// verifySignature returns the payload of a token. Its alg is one that was agreed on, and alone
// decides which kind of key verifies it: the client secret, or one of the keys at the jwks_uri. So
// nobody can have a public key taken for a secret (RFC 8725, 2.1).
func (c *Client) verifySignature(
	ctx context.Context, t *compactToken, from source,
) (verifiedPayload, error) {
	if !symmetric(t.alg) {
		return c.verify(ctx, t, from)
	}
	secret, err := c.cfg.Auth.secret(ctx)
	if err != nil {
		return verifiedPayload{}, err
	}
	if len(secret) < macKeySizes[t.alg] {
		return verifiedPayload{}, &Error{
			Reason: event.ReasonClientSecret, Status: http.StatusServiceUnavailable,
			Hint: "have the provider issue a longer client secret, or sign with another algorithm",
			Err:  fmt.Errorf("the client secret is too short for %s", t.alg),
		}
	}
	payload, err := t.jws.Verify([]byte(secret))
	if err != nil {
		e := invalid(event.ReasonSignature, "the signature is not one with the client secret")
		e.Hint = "check that the client secret is the one that the provider has"
		if c.cfg.SecretLength == 0 {
			c.mayBeReplaced(e, from)
		}
		return verifiedPayload{}, e
	}
	return verifiedPayload{payload: payload}, nil
}

// mayBeReplaced completes the error of a token that the current secret did not sign, where a
// function gives the secret. While the secret is replaced, the provider may sign with another: as
// while its keys cannot be loaded, that says nothing against a session, and a logout is to be sent
// again.
func (c *Client) mayBeReplaced(e *Error, from source) {
	e.Unproven = true
	if from.anybody() {
		e.Status = http.StatusServiceUnavailable
	}
}

// checkSigningAlgs checks the algorithms that may sign a token.
func (cfg *Config) checkSigningAlgs(f *check.List) {
	const field = "Verification.SigningAlgs"
	need := 0
	for _, alg := range cfg.SigningAlgs {
		if !Asymmetric(alg) && !symmetric(alg) {
			f.Add(field, "%q is not an accepted asymmetric algorithm; use EdDSA, "+
				"RS256, PS256, ES256 or their variants with 384 and 512", alg)
		}
		need = max(need, macKeySizes[alg])
	}
	switch {
	case !cfg.signedWithSecret():
	case slices.ContainsFunc(cfg.SigningAlgs, Asymmetric):
		f.Add(field, "%q has algorithms with the client secret beside others; use those that the "+
			"client is registered for", cfg.SigningAlgs)
	case !cfg.Auth.hasSecret():
		f.Add(field, "%q needs a client secret, and Auth has none; use ClientSecretBasic, "+
			"ClientSecretPost or ClientSecretJWT, or have the provider sign with RS256", cfg.SigningAlgs)
	case cfg.SecretLength > 0 && cfg.SecretLength < need:
		f.Add(field, "%q needs a client secret of %d bytes, and Auth has one of %d (RFC 7518, "+
			"section 3.2); get a longer one, or have the provider sign with RS256",
			cfg.SigningAlgs, need, cfg.SecretLength)
	}
}
