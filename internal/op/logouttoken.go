package op

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
)

// LogoutToken is a verified logout token (OpenID Connect Back-Channel Logout, 2.4). At least one of
// Subject and SessionID is set.
type LogoutToken struct {
	ID        string // jti
	Subject   string
	SessionID string
	IssuedAt  time.Time
	Expires   time.Time
}

const (
	// maxLogoutToken is the longest logout token that is read. Such a token names only a user or
	// a session.
	maxLogoutToken = 16 << 10

	// logoutLifetime is how far exp may be from iat. Tokens should live for two minutes at most
	// (Back-Channel Logout, 4); some providers give them more.
	logoutLifetime = 10 * time.Minute

	logoutEvent = "http://schemas.openid.net/event/backchannel-logout"
)

// VerifyLogoutToken returns what a logout token asks for (OpenID Connect Back-Channel Logout, 2.6).
// Everybody can send one, so cheap checks come first, and only a few tokens wait long for a load of
// the keys. The caller remembers the ID, because a token is good once. An *Error of status 400 says
// that the token is refused; one of any other status, that it could not be checked.
func (c *Client) VerifyLogoutToken(ctx context.Context, raw string) (*LogoutToken, error) {
	if len(raw) > maxLogoutToken {
		return nil, badToken(event.ReasonIDTokenMalformed, "the token is too long")
	}
	token, err := parseTyped(raw, c.cfg.SigningAlgs, isLogoutType)
	if err != nil {
		return nil, blame(err)
	}
	payload, err := c.verify(ctx, token, fromAnybody)
	if err != nil {
		return nil, blame(err)
	}
	doc, err := claims.Parse(payload)
	if err != nil {
		return nil, badToken(event.ReasonIDTokenMalformed, "the payload is not a strict JSON object")
	}
	if err := c.checkLogoutToken(doc); err != nil {
		return nil, blame(err)
	}
	t := &LogoutToken{ID: text(doc, "jti"), Subject: text(doc, "sub"), SessionID: text(doc, "sid")}
	t.IssuedAt, _ = date(doc, "iat")
	t.Expires, _ = date(doc, "exp")
	return t, nil
}

// isLogoutType accepts tokens that say what they are and, because those of many providers do not,
// tokens that say only JWT (Back-Channel Logout, 2.4).
func isLogoutType(typ string) bool {
	return strings.EqualFold(typ, "logout+jwt") || strings.EqualFold(typ, "JWT")
}

// checkLogoutToken checks the claims in the order of Back-Channel Logout, 2.6.
func (c *Client) checkLogoutToken(doc claims.Object) error {
	if err := c.checkParties(doc); err != nil {
		return err
	}
	if err := c.checkTimes(doc); err != nil {
		return err
	}
	iat, _ := date(doc, "iat")
	if exp, _ := date(doc, "exp"); exp.Sub(iat) > logoutLifetime {
		return invalid(event.ReasonExpiry, "exp is too far from iat for a logout token")
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
	// An ID Token has a nonce; a token with one is not taken for a logout.
	if _, ok := doc.Get("nonce"); ok {
		return invalid(event.ReasonNonce, "a logout token has no nonce")
	}
	if id := text(doc, "jti"); id == "" || len(id) > 255 {
		return invalid(event.ReasonTokenID, "jti is missing, no string, or too long")
	}
	return nil
}

func badToken(reason event.Reason, text string) *Error {
	e := invalid(reason, text)
	e.Status = http.StatusBadRequest
	return e
}

// blame gives an invalid token the status 400. A key set that cannot be loaded says nothing about
// the token and keeps its status.
func blame(err error) error {
	e := failure(err, event.ReasonJWKSUnavailable, event.ReasonIDTokenMalformed)
	if e.Status != http.StatusBadGateway || e.Reason == event.ReasonJWKSUnavailable {
		return e
	}
	blamed := *e
	blamed.Status = http.StatusBadRequest
	return &blamed
}
