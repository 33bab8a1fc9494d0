package presets

import (
	"context"
	"crypto/ecdsa"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/oidcgate/oidcgate"
)

// AppleKey is a key for "Sign in with Apple": Apple's secrets are JWTs that the client signs.
type AppleKey struct {
	TeamID string
	KeyID  string
	Key    *ecdsa.PrivateKey // P-256, from the .p8 file
}

const apple = "https://appleid.apple.com"

// Apple is for accounts of Apple. clientID is the "Services ID".
//
// The secret is a JWT of an hour, made for each request (developer.apple.com, "Creating a client
// secret"). The scopes name and email need form_post. The user's name comes once, unsigned, in the
// first response, and is not read. "email_verified" is a boolean or a string. Tokens may name
// "https://account.apple.com" as their issuer (unconfirmed). There is no userinfo and no logout. No
// refresh token is revoked: Apple then takes back the user's consent ("Revoke tokens").
func Apple(clientID string, key AppleKey) oidcgate.Provider {
	secret := func(context.Context) (string, error) { return key.secret(clientID, time.Now()) }
	p := standard("Apple", apple, clientID, oidcgate.ClientSecretPost(secret))
	p.Scopes = []string{"name", "email"}
	p.Request.ResponseMode = "form_post"
	p.Verification.Issuers = []string{"https://account.apple.com"}
	p.Claims.EmailVerifiedText = true
	p.Logout = oidcgate.LogoutOptions{Style: oidcgate.LogoutOff, WithoutRevocation: true}
	return p
}

// secret signs a client secret.
func (k AppleKey) secret(clientID string, now time.Time) (string, error) {
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: k.Key, KeyID: k.KeyID}},
		(&jose.SignerOptions{}).WithType("JWT"),
	)
	if err != nil {
		return "", err
	}
	return jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: k.TeamID, Subject: clientID, Audience: jwt.Audience{apple},
		IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(time.Hour)),
	}).Serialize()
}
