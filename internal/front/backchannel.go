package front

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/oidcgate/oidcgate/internal/browser"
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
func (f *Front) backchannelLogout(w http.ResponseWriter, r *http.Request, up *Provider) {
	page.Headers(w)
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	raw, err := readLogoutToken(w, r)
	if err != nil {
		err = &op.Error{Reason: event.ReasonRequest, Status: http.StatusBadRequest, Err: err}
		f.rejectLogout(w, r, up, err)
		return
	}
	token, err := up.Client.VerifyLogoutToken(r.Context(), raw)
	if err != nil {
		f.rejectLogout(w, r, up, err)
		return
	}
	done, err := f.applyLogout(r.Context(), up, token)
	if err != nil {
		f.rejectLogout(w, r, up, err)
		return
	}
	if done.First {
		f.tellLogout(r.Context(), up, done.Ended)
	}
	w.WriteHeader(http.StatusOK)
}

// tellLogout tells of a logout token. One that ends nothing is no error, and may be a mistake.
func (f *Front) tellLogout(ctx context.Context, up *Provider, ended int) {
	e := event.Record{
		Type: event.BackchannelAccepted, Provider: up.Name, Issuer: up.Issuer,
		Detail: fmt.Sprintf("sessions that ended: %d", ended),
	}
	if ended == 0 {
		e.Hint = "nothing to do if the user was not signed in here, or the provider sent the logout " +
			"twice; else compare sub and sid of the logout token with those of the ID Token"
	}
	f.Tell(ctx, e)
}

// noteStray tells of a logout token that was sent to the address of no provider: the logouts
// of that provider would fail unseen. The application answers the request.
func (f *Front) noteStray(r *http.Request) {
	path, ours := strings.CutPrefix(r.URL.Path, f.Site.Prefix)
	name, isLogout := strings.CutPrefix(path, "/backchannel-logout")
	if !ours || !isLogout || name != "" && name[0] != '/' || r.Method != http.MethodPost {
		return
	}
	var good []string
	for _, up := range f.Providers.All() {
		if up.Client.HasIDTokens() {
			good = append(good, f.Site.URL(f.Site.ProviderPath("/backchannel-logout", up.Name)))
		}
	}
	if sentTo := short(r.URL.Path); len(good) > 0 && f.strays.first(sentTo) {
		f.Log(r.Context(), slog.LevelWarn, "a logout was sent to an address of no provider, and logs "+
			"nobody out: register the right one at the provider",
			slog.String("sent_to", sentTo), slog.Any("register", good))
	}
}

// readLogoutToken returns the form's only logout_token. The provider may add other parameters.
func readLogoutToken(w http.ResponseWriter, r *http.Request) (string, error) {
	if !op.HasMediaType(r.Header, "application/x-www-form-urlencoded") {
		return "", errors.New("the body is not a form")
	}
	if browser.ReadForm(w, r, maxForm) != nil {
		return "", errors.New("the form cannot be read")
	}
	tokens := r.PostForm["logout_token"]
	if len(tokens) != 1 {
		return "", fmt.Errorf("%d logout tokens in place of one", len(tokens))
	}
	return tokens[0], nil
}

// applyLogout ends the sessions that the token names. Of several requests with the same token, the
// first is told of.
func (f *Front) applyLogout(
	ctx context.Context, up *Provider, token *op.LogoutToken,
) (session.LoggedOut, error) {
	done, err := f.Keeper.UseLogoutToken(ctx, session.LogoutToken{
		Issuer: token.Issuer, ID: token.ID, Subject: token.Subject, SessionID: token.SessionID,
		IssuedAt: token.IssuedAt, Expires: token.Expires,
	})
	if errors.Is(err, session.ErrUsed) {
		return done, &op.Error{Reason: event.ReasonReplayed, Status: http.StatusBadRequest}
	}
	return done, err
}

func (f *Front) rejectLogout(
	w http.ResponseWriter, r *http.Request, up *Provider, err error,
) {
	var e *op.Error
	if !errors.As(err, &e) {
		e = &op.Error{Reason: event.ReasonStoreError, Status: http.StatusServiceUnavailable, Err: err}
	}
	f.Tell(r.Context(), event.Record{
		Type: event.BackchannelRejected, Reason: e.Reason,
		Provider: up.Name, Issuer: up.Issuer, Status: e.Status, Detail: event.Text(e.Err), Hint: e.Hint,
	})
	if e.Status != http.StatusBadRequest {
		tryLater(w)
		return
	}
	w.WriteHeader(http.StatusBadRequest)
}
