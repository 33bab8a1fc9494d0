package op

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	// assertionType is the type of a JWT that authenticates a client (RFC 7523, 2.2).
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

	// assertionLifetime is how long an assertion is good. It is used at once.
	assertionLifetime = time.Minute

	// MinSecretJWT is the shortest secret that signs an assertion, in bytes (RFC 7518, 3.2).
	MinSecretJWT = 32
)

// assertion returns a JWT that proves that this client makes a request (RFC 7523, 3). Its audience
// is the issuer, as one string. If it were an endpoint, a provider of an attacker that names the
// endpoint as its own could use the assertion there. Every request has one of its own.
func (c *Client) assertion(ctx context.Context) (string, error) {
	now := time.Now()
	payload, _ := json.Marshal(map[string]any{ // strings and numbers only: cannot fail
		"iss": c.cfg.ClientID, "sub": c.cfg.ClientID,
		"aud": cmp.Or(c.cfg.AssertionAudience, c.cfg.Issuer),
		"jti": rand.Text(), "iat": now.Unix(), "exp": now.Add(assertionLifetime).Unix(),
	})
	if c.cfg.Auth.Method == AuthSecretJWT {
		secret, err := c.cfg.Auth.secret(ctx)
		if err != nil {
			return "", err
		}
		key := jose.SigningKey{Algorithm: jose.HS256, Key: []byte(secret)}
		return signJWT(key, "", "JWT", payload)
	}
	key, err := c.signingKey(ctx)
	if err != nil {
		return "", err
	}
	return key.sign("JWT", payload)
}
