package oidcgate

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/op"
	"github.com/oidcgate/oidcgate/internal/page"
	"github.com/oidcgate/oidcgate/internal/session"
)

// Providers log users out here in two ways. The back channel is a request from the provider's
// server, which can end every session (OpenID Connect Back-Channel Logout). The front channel is a
// page of the provider that loads ours in a frame (OpenID Connect Front-Channel Logout). It works
// only where the browser regards provider and application as the same site: otherwise it does not
// send the session's cookie, which is SameSite=Lax, and the answer is 200 without effect.

// backchannelLogout is POST /auth/backchannel-logout. The answer is 200 when the sessions have
// ended, 400 when the token is not valid, and 503 when the logout could not be done, so that the
// provider tries again. Nothing in the token is believed before its signature is verified.
func (g *Gate) backchannelLogout(w http.ResponseWriter, r *http.Request, up *upstream) {
	page.Headers(w)
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	raw, err := readLogoutToken(w, r)
	if err != nil {
		err = &op.Error{Reason: event.ReasonRequest, Status: http.StatusBadRequest, Err: err}
		g.rejectLogout(w, up, err)
		return
	}
	token, err := up.client.VerifyLogoutToken(r.Context(), raw)
	if err != nil {
		g.rejectLogout(w, up, err)
		return
	}
	if err := g.applyLogout(r, up, token); err != nil {
		g.rejectLogout(w, up, err)
		return
	}
	g.events.emit(Event{Type: EventBackchannelAccepted, Provider: up.name, Issuer: up.issuer})
	w.WriteHeader(http.StatusOK)
}

// readLogoutToken returns the form's only logout_token. The provider may add other parameters.
func readLogoutToken(w http.ResponseWriter, r *http.Request) (string, error) {
	if !op.HasMediaType(r.Header, "application/x-www-form-urlencoded") {
		return "", errors.New("the body is not a form")
	}
	if parseForm(w, r) != nil {
		return "", errors.New("the form cannot be read")
	}
	tokens := r.PostForm["logout_token"]
	if len(tokens) != 1 {
		return "", fmt.Errorf("%d logout tokens in place of one", len(tokens))
	}
	return tokens[0], nil
}

// applyLogout ends the sessions that the token names. It remembers the token's id afterwards, not
// before: if it fails in between, the provider sends the token again, and ending the same sessions
// again does no harm.
func (g *Gate) applyLogout(r *http.Request, up *upstream, token *op.LogoutToken) error {
	ctx, cancel := session.Detached(r.Context())
	defer cancel()
	used, err := g.keeper.LogoutTokenUsed(ctx, up.issuer, token.ID)
	if err != nil {
		return err
	}
	if used {
		return &op.Error{Reason: event.ReasonReplayed, Status: http.StatusBadRequest}
	}
	const reason = event.ReasonBackchannel
	if token.SessionID != "" {
		_, err = g.keeper.EndProviderSession(ctx, up.issuer, token.SessionID, reason)
	} else {
		user := session.User{Issuer: up.issuer, Subject: token.Subject}
		_, err = g.keeper.EndUserBefore(ctx, user, token.IssuedAt, reason)
	}
	if err != nil {
		return err
	}
	return g.keeper.UseLogoutToken(ctx, up.issuer, token.ID, token.Expires)
}

func (g *Gate) rejectLogout(w http.ResponseWriter, up *upstream, err error) {
	var e *op.Error
	if !errors.As(err, &e) {
		e = &op.Error{Reason: event.ReasonStoreError, Status: http.StatusServiceUnavailable, Err: err}
	}
	g.events.emit(Event{
		Type: EventBackchannelRejected, Reason: Reason(e.Reason),
		Provider: up.name, Issuer: up.issuer, Status: e.Status, Detail: errorText(e.Err), Hint: e.Hint,
	})
	if e.Status != http.StatusBadRequest {
		g.tryLater(w)
		return
	}
	w.WriteHeader(http.StatusBadRequest)
}

func (g *Gate) tryLater(w http.ResponseWriter) {
	w.Header().Set("Retry-After", retryAfter)
	w.WriteHeader(http.StatusServiceUnavailable)
}
