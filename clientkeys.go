package oidcgate

import (
	"context"
	"crypto"
	"fmt"
	"io"

	"github.com/oidcgate/oidcgate/internal/op"
)

// ClientKey is a private key of the client. No printed form of it shows the key.
type ClientKey struct {
	// Key is an *rsa.PrivateKey of 2,048 bits or more, an *ecdsa.PrivateKey or an ed25519.PrivateKey.
	// To sign, it can be any crypto.Signer with such a public key, that of a key service for example.
	Key crypto.PrivateKey

	// ID is the key's "kid". If empty, it is the key's thumbprint (RFC 7638).
	ID string

	// Algorithm is the one algorithm that the key is used for: "RS256", "PS256", "ES256", "EdDSA" and
	// their variants sign; "RSA-OAEP-256", "RSA-OAEP", "ECDH-ES" and "ECDH-ES+A256KW" with its
	// variants decrypt. If empty, the key signs: RS256, EdDSA, or ES256, ES384 or ES512 by the curve.
	Algorithm string
}

// Format keeps the key out of logs.
func (ClientKey) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, redacted) }

// MarshalText is like Format, for encoding/json and log/slog.
func (ClientKey) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// ClientKeys are the client's keys, made by [NewClientKeys]. The first key that signs is used for
// signing; every key that decrypts is used for decrypting. The public halves of all are served at
// /auth/jwks, or /auth/jwks/NAME for a provider with a Name: register that address as the client's
// jwks_uri. To replace a key, add the new one at the end, make it the first when the provider has
// fetched it, and remove the old one later. The zero value has no key.
type ClientKeys struct {
	fixed  []ClientKey
	source func(context.Context) ([]ClientKey, error)
}

// Format keeps the keys out of logs.
func (ClientKeys) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, redacted) }

// MarshalText is like Format, for encoding/json and log/slog.
func (ClientKeys) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// ClientKeySource is a list of keys, or a function that returns the current one. The function is
// called for every use, concurrently, within the deadline of a request: it should cache.
type ClientKeySource interface {
	[]ClientKey | func(context.Context) ([]ClientKey, error)
}

// NewClientKeys returns the keys of a client.
func NewClientKeys[S ClientKeySource](keys S) ClientKeys {
	switch keys := any(keys).(type) {
	case []ClientKey:
		return ClientKeys{fixed: keys}
	case func(context.Context) ([]ClientKey, error):
		return ClientKeys{source: keys}
	}
	return ClientKeys{}
}

// compiled returns the function that internal/op asks, or nil if there are no keys.
func (k ClientKeys) compiled() func(context.Context) ([]op.ClientKey, error) {
	if k.source == nil && len(k.fixed) == 0 {
		return nil
	}
	return func(ctx context.Context) ([]op.ClientKey, error) {
		keys, err := k.fixed, error(nil)
		if k.source != nil {
			keys, err = k.source(ctx)
		}
		out := make([]op.ClientKey, len(keys))
		for i, key := range keys {
			out[i] = op.ClientKey{Private: key.Key, ID: key.ID, Algorithm: key.Algorithm}
		}
		return out, err
	}
}
