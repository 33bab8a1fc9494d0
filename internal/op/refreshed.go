package op

import (
	"context"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
)

// Original is what a refreshed ID Token must repeat of the one of the login (OpenID Connect
// Core, 12.2).
type Original struct {
	Issuer   string // as the claims of the login have it
	Subject  string
	IssuedAt time.Time
	AuthTime time.Time // zero if the first token had none
	Nonce    string    // a refreshed token may lack it, but has no other

	anyNonce bool // but with Config.AnyNonce
}

// VerifyRefreshed returns the claims of an ID Token that came with refreshed tokens, and the token
// to keep: raw or, if that is encrypted, the signed token inside. It checks all that is checked of
// the ID Token of a login, that neither the user nor the time of the login changed, and that the
// token is not older. The clocks of the machines of a provider may differ by the leeway. Every
// failure is an *Error whose Reason names the rule.
func (c *Client) VerifyRefreshed(
	ctx context.Context, raw, accessToken string, original Original,
) (id claims.Object, signed string, err error) {
	original.IssuedAt = original.IssuedAt.Add(-c.cfg.Leeway)
	original.anyNonce = c.cfg.AnyNonce
	came := companions{accessToken: accessToken}
	token, err := c.verifyIDToken(ctx, refreshedIDToken, raw, came, original.check)
	if err != nil {
		return "", "", err
	}
	return c.cfg.shapeEmail(token.claims), token.signed, nil
}

// says reports whether claims have one. authentik, before 2022.10, has null in place of what a
// refreshed ID Token does not have.
func says(id claims.Object, name string) bool {
	v, ok := id.Get(name)
	return ok && v.Kind() != claims.Null
}

// check applies the rules for a refresh.
func (o Original) check(id claims.Object) error {
	if says(id, "nonce") && !o.anyNonce && !nonceMatches(id, o.Nonce) {
		e := wrongNonce()
		e.Hint = "a refreshed ID Token has no nonce, or that of its login; Gitea and Forgejo write " +
			"that of the user's last login, which Verification.AnyNonceAtRefresh accepts"
		return e
	}
	if o.Issuer != "" && text(id, "iss") != o.Issuer { // another tenant, or the configuration changed
		return invalid(event.ReasonIssuer, "a refresh names another issuer")
	}
	if sub := text(id, "sub"); !validSubject(sub) || sub != o.Subject {
		return invalid(event.ReasonSubject, "a refresh names another user")
	}
	if at, ok := date(id, "iat"); !ok || at.Before(o.IssuedAt) {
		return invalid(event.ReasonIssuedAt, "a refresh brings an ID Token older than that of the login")
	}
	if !says(id, "auth_time") || o.AuthTime.IsZero() {
		return nil
	}
	// It should be that of the login. Keycloak says when the user last authenticated, for whatever
	// application: later is no contradiction, and the session keeps its own.
	if at, ok := date(id, "auth_time"); !ok || at.Before(o.AuthTime) {
		return invalid(event.ReasonAuthTime, "a refresh names an auth_time before that of the login")
	}
	return nil
}
