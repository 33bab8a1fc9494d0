package front

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/oidcgate/oidcgate/internal/attempt"
	"github.com/oidcgate/oidcgate/internal/browser"
	"github.com/oidcgate/oidcgate/internal/session"
)

// Visit is what is known of a request: its session, and the page that it asked for.
type Visit struct {
	CookieID session.ID       // the session id in the request's cookie
	Session  *session.Session // nil: there is none
	LoadErr  error            // why the session could not be loaded
	Gone     attempt.Gone     // why the cookie opens no session; "" if it does, or is none

	// The URL as it came in. StripPrefix and Mount change the URL that the guard sees.
	Path, RawPath, RawQuery string
}

// Format keeps the session out of logs.
func (*Visit) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, "visit") }

// MayBeSignedIn reports whether the request has a session, or the store could not say.
func (v *Visit) MayBeSignedIn() bool { return v.Session != nil || v.LoadErr != nil }

// ID returns the id of the request's session, or "".
func (v *Visit) ID() session.ID {
	if v.Session == nil {
		return ""
	}
	return v.Session.ID
}

// ReturnTo returns the path and query of the requested page as the browser sent them.
func (v *Visit) ReturnTo() string {
	if v.RawQuery == "" {
		return v.EscapedPath()
	}
	return v.EscapedPath() + "?" + v.RawQuery
}

// EscapedPath returns the path of the requested page as the browser sent it.
func (v *Visit) EscapedPath() string {
	u := url.URL{Path: v.Path, RawPath: v.RawPath}
	return u.EscapedPath()
}

// Load finds the session of a request and notes that it is used. It fills v in. ctx is for the
// store.
func (f *Front) Load(ctx context.Context, w http.ResponseWriter, r *http.Request, v *Visit) {
	if f.noteRequest(w, r, v) {
		s, err := f.Sessions.Load(ctx, v.CookieID)
		f.noteSession(w, r, v, s, err)
	}
}

// Peek is Load for the gate's own routes, which are no use of the session.
func (f *Front) Peek(w http.ResponseWriter, r *http.Request) *Visit {
	v := &Visit{}
	if f.noteRequest(w, r, v) {
		s, err := f.Sessions.Peek(r.Context(), v.CookieID)
		f.noteSession(w, r, v, s, err)
	}
	return v
}

// noteRequest fills in what the request itself says, and reports whether it brings a session id.
func (f *Front) noteRequest(w http.ResponseWriter, r *http.Request, v *Visit) bool {
	v.Path, v.RawPath, v.RawQuery = r.URL.Path, r.URL.RawPath, r.URL.RawQuery
	w.Header().Add("Vary", "Cookie")
	v.CookieID, v.Gone = f.sessionCookie(r)
	return v.CookieID != ""
}

// noteSession fills in what the store says. When it cannot answer, the cookie is kept: a short
// failure of the store must not log anybody out.
func (f *Front) noteSession(
	w http.ResponseWriter, r *http.Request, v *Visit, s *session.Session, err error,
) {
	switch {
	case errors.Is(err, session.ErrForeign):
		v.Gone = attempt.GoneKey
	case err == nil && f.Providers.Find(s.Identity.Provider) == nil:
		v.Gone = attempt.GoneProvider // another replica may know it
		f.noteUnknownSession(r, s.Identity.Provider)
	case errors.Is(err, session.ErrGone), err == nil && f.ProviderOf(&s.Identity) == nil:
		v.Gone = attempt.GoneSession
	case err != nil:
		v.LoadErr = err
	default:
		v.Session = s
		w.Header().Set("Cache-Control", "private, no-cache")
	}
}

// noteValues is noteSession for the application's values in a session, without which nobody is let
// in. The error is the store's.
func (f *Front) noteValues(ctx context.Context, v *Visit) error {
	if v.Session == nil || !v.Session.Identity.HasValues {
		return nil
	}
	_, err := f.Keeper.ReadValues(ctx, v.Session)
	if gone := GoneBy(err); gone != "" {
		v.Session, v.Gone = nil, gone
		return nil
	}
	return err
}

// GoneBy returns why a session that was there is gone, by an error of it or of its values, or "".
func GoneBy(err error) attempt.Gone {
	switch {
	case errors.Is(err, session.ErrForeign):
		return attempt.GoneKey // another replica may know it
	case errors.Is(err, session.ErrGone):
		return attempt.GoneSession
	}
	return ""
}

// Forget deletes a cookie that opens no session. The gate calls it for its own answers only, which
// no cache keeps: a shared cache that kept an answer of the application would sign out everybody
// who loads it. And it deletes only where the visitor navigates to a page. The answer to any other
// request may arrive late, after a new login in another tab, and would delete the new cookie. So
// may the answer to a repeated callback whose first answer brings the new session. A session that
// another replica may know is not gone.
func (f *Front) Forget(w http.ResponseWriter, r *http.Request, v *Visit) {
	if v.Gone != "" && !v.Gone.Elsewhere() && browser.IsNavigation(r) {
		f.clearSession(w, r)
	}
}

// ProviderOf returns the provider of this gate that an identity comes from, for its client, or nil.
// Sessions of a provider or client that was removed from the configuration, or replaced, are not
// accepted.
func (f *Front) ProviderOf(id *session.Identity) *Provider {
	up := f.Providers.Find(id.Provider)
	if up == nil || !up.Client.Issues(id.Issuer()) || !id.HasAudience(up.ClientID) {
		return nil
	}
	return up
}

// providerOf returns the provider of a visitor's session, or nil if there is none.
func (f *Front) providerOf(v *Visit) *Provider {
	if v.Session == nil {
		return nil
	}
	return f.ProviderOf(&v.Session.Identity)
}
