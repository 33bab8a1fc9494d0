package op

import (
	"context"
	"net/http"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
)

// LogoutToken is a verified logout token (OpenID Connect Back-Channel Logout, 2.4). At least one of
// Subject and SessionID is set.
type LogoutToken struct {
	ID        string // jti
	Issuer    string // of the user: the configured one, or that of a tenant
	Subject   string
	SessionID string
	IssuedAt  time.Time
	Expires   time.Time // a short time after IssuedAt if the token does not say
}

const (
	// logoutLifetime is how far exp may be from iat. Tokens should live for two minutes at most
	// (Back-Channel Logout, 4); some providers give them more, and Zitadel 15 minutes and a second.
	logoutLifetime = 16 * time.Minute

	// logoutLifetimeWithoutExp is how long a token without exp counts after its iat.
	logoutLifetimeWithoutExp = 2 * time.Minute

	logoutEvent = "http://schemas.openid.net/event/backchannel-logout"
)

// VerifyLogoutToken returns what a logout token asks for (OpenID Connect Back-Channel Logout, 2.6).
// Everybody can send one, so cheap checks come first, and only a few tokens wait long for a load of
// the keys. The caller remembers the ID, because a token is good once. An *Error of status 400 says
// that the token is refused; one of any other status, that it could not be checked.
func (c *Client) VerifyLogoutToken(ctx context.Context, raw string) (*LogoutToken, error) {
	token, err := c.open(ctx, logoutToken, raw)
	if err != nil {
		return nil, blameFor(err, http.StatusBadRequest)
	}
	doc := token.claims
	if err := c.checkLogoutToken(doc); err != nil {
		return nil, blameFor(err, http.StatusBadRequest)
	}
	t := &LogoutToken{
		ID: text(doc, "jti"), Issuer: text(doc, "iss"),
		Subject: text(doc, "sub"), SessionID: text(doc, "sid"),
	}
	t.IssuedAt, _ = date(doc, "iat")
	t.Expires = c.logoutExpiry(doc)
	return t, nil
}

// logoutExpiry returns when a logout token expires: at its exp or, where it may have none and has
// none or one that is too far, a short time after its iat.
func (c *Client) logoutExpiry(doc claims.Object) time.Time {
	exp, ok := date(doc, "exp")
	iat, _ := date(doc, "iat")
	if ok && (!c.cfg.LogoutWithoutExp || exp.Sub(iat) <= logoutLifetime) {
		return exp
	}
	return iat.Add(logoutLifetimeWithoutExp)
}

// checkLogoutToken checks the claims in the order of Back-Channel Logout, 2.6.
func (c *Client) checkLogoutToken(doc claims.Object) error {
	if err := c.checkTimes(doc); err != nil {
		return err
	}
	if err := c.checkFresh(doc); err != nil {
		return err
	}
	expires := c.logoutExpiry(doc)
	if !time.Now().Before(expires.Add(c.cfg.Leeway)) {
		return invalid(event.ReasonIssuedAt, "a token without exp was issued too long ago")
	}
	if iat, _ := date(doc, "iat"); expires.Sub(iat) > logoutLifetime {
		e := invalid(event.ReasonExpiry, "exp is too far from iat for a logout token")
		e.Hint = "Verification.LogoutWithoutExp accepts such tokens for two minutes after their iat"
		return e
	}
	sub, hasSub := doc.Get("sub")
	if _, ok := sub.Str(); hasSub && (!ok || !validSubject(text(doc, "sub"))) {
		return invalid(event.ReasonSubject, "sub is not a string of 1 to 255 ASCII characters")
	}
	// A sid of the wrong type is refused. If it were ignored, the token would log the user out of
	// all sessions in place of one.
	if _, hasSID := doc.Get("sid"); hasSID && text(doc, "sid") == "" {
		return invalid(event.ReasonSessionID, "sid is empty or no string")
	}
	if text(doc, "sub") == "" && text(doc, "sid") == "" {
		return invalid(event.ReasonSubject, "neither sub nor sid says whose logout it is")
	}
	named, _ := doc.Get("events")
	list, _ := named.Object()
	if logout, _ := list.Get(logoutEvent); logout.Kind() != claims.Members {
		return invalid(event.ReasonLogoutEvent, "events has no object for a back-channel logout")
	}
	if id := text(doc, "jti"); id == "" || len(id) > 255 {
		return invalid(event.ReasonTokenID, "jti is empty, no string, or too long")
	}
	return nil
}

// blameFor gives the Error of a token that its sender is to blame for a status. A key set that
// cannot be loaded says nothing about the token and keeps its status.
func blameFor(err error, status int) *Error {
	e := failure(err, event.ReasonJWKSUnavailable, event.ReasonIDTokenMalformed)
	if e.Status != http.StatusBadGateway || e.Reason == event.ReasonJWKSUnavailable {
		return e
	}
	blamed := *e
	blamed.Status = status
	return &blamed
}
