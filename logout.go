package oidcgate

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/oidcgate/oidcgate/internal/attempt"
	"github.com/oidcgate/oidcgate/internal/browser"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/page"
	"github.com/oidcgate/oidcgate/internal/session"
)

// logout is POST /auth/logout. It accepts requests from this site only, so that a page of another
// site cannot sign a visitor out. A GET, which any link can make, shows a page that asks first.
func (g *Gate) logout(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		g.confirmLogout(w, r)
	case http.MethodPost:
		if err := g.crossOrigin.Check(r); err != nil {
			g.showPage(w, r, Page{
				Status: http.StatusForbidden, Title: "Not from here",
				Text: "Another site tried to sign you out. You are still signed in.",
			})
			return
		}
		if browser.ReadForm(w, r, maxForm) != nil {
			g.showPage(w, r, Page{
				Status: http.StatusBadRequest, Title: "Not understood",
				Text: "The form could not be read. You are still signed in.",
			})
			return
		}
		returnTo := r.PostForm.Get("return_to")
		if returnTo == "" {
			returnTo = r.URL.Query().Get("return_to")
		}
		g.signOut(w, r, returnTo)
	default:
		g.methodNotAllowed(w, r, "GET, POST")
	}
}

// maxForm is how many bytes a form may have.
const maxForm = 32 << 10

func (g *Gate) confirmLogout(w http.ResponseWriter, r *http.Request) {
	v := g.peek(w, r)
	if v.identity == nil && v.err == nil && v.gone != attempt.GoneKey {
		g.forget(w, r, v)
		g.showSignedOut(w, r)
		return
	}
	g.showPage(w, r, Page{
		Status: http.StatusOK,
		Title:  "Log out?",
		Text:   "You are signed in. Do you want to log out?",
		Links:  []Link{{g.config.at.Home(), "Stay"}},
		form: &page.Form{
			Action: g.LogoutURL(""), Label: "Log out",
			ReturnTo: g.checkReturnTo(r.URL.Query().Get("return_to")),
		},
	})
}

// Logout signs the visitor out from a handler of the application, as POST /auth/logout does: it
// ends the session here, then sends the browser to the provider's logout. The provider sends it
// back to returnTo, a path of this site, or to a page that says "signed out" when returnTo is
// empty. The handler must not write after it. Logout does not check the request: call it only
// for a POST behind [http.CrossOriginProtection].
func (g *Gate) Logout(w http.ResponseWriter, r *http.Request, returnTo string) {
	g.signOut(w, r, returnTo)
}

// signOut ends the session here first, so that the visitor is signed out whatever the provider does
// (OpenID Connect RP-Initiated Logout, section 2). When the store cannot end it, the page says so.
func (g *Gate) signOut(w http.ResponseWriter, r *http.Request, returnTo string) {
	returnTo = g.checkReturnTo(returnTo)
	v := visitFrom(r.Context(), g)
	if v == nil {
		v = g.peek(w, r)
	}
	page.Headers(w)
	hint, err := g.endVisit(w, r, v)
	if err != nil {
		g.notSignedOut(w, r, err)
		return
	}
	state := attempt.NewLogoutState()
	location, ok := g.providerLogoutURL(r.Context(), g.upstreamOf(v), hint, state)
	if ok && g.attempts.KeepLogout(w, state, returnTo) == nil {
		page.Redirect(w, location)
		return
	}
	g.afterSignOut(w, r, returnTo)
}

// endVisit ends the session of a request and deletes its cookie. It returns the ID Token that names
// the session to the provider, or "". A session that this replica could not read is ended too,
// because another replica with a newer key might read it.
func (g *Gate) endVisit(w http.ResponseWriter, r *http.Request, v *visit) (hint string, err error) {
	if v.err != nil || v.cookieID == "" {
		return "", v.err
	}
	ctx, cancel := session.Detached(r.Context())
	defer cancel()
	if v.session != nil {
		hint, err = g.endSignedIn(ctx, v)
	} else {
		err = g.keeper.LogOutUnread(ctx, v.cookieID)
	}
	if err != nil {
		return "", err
	}
	g.clearSession(w, r)
	g.attempts.ForgetRounds(w, r)
	return hint, nil
}

// endSignedIn ends the visitor's session, revokes its refresh token and returns its ID Token.
func (g *Gate) endSignedIn(ctx context.Context, v *visit) (hint string, err error) {
	s := v.session
	g.events.emit(Event{
		Type: EventLogoutStarted, Provider: s.Identity.Provider,
		SessionRef: g.keeper.SessionRef(g.keeper.Handle(v.id())),
	})
	t, err := g.keeper.LogOut(ctx, s)
	if err != nil {
		return "", err
	}
	return t.IDToken, nil
}

// notSignedOut answers a logout that failed. The cookie stays: the next try finds with it what is
// left.
func (g *Gate) notSignedOut(w http.ResponseWriter, r *http.Request, err error) {
	w.Header().Set("Retry-After", retryAfter)
	p := Page{
		Status: http.StatusServiceUnavailable,
		Title:  "Still signed in",
		Text:   "We cannot sign you out at the moment. Try again shortly, or close the browser.",
	}
	if errors.Is(err, session.ErrLeftovers) {
		p.Title = "Signed out of this site only"
		p.Text = "Your session here has ended, and we could not finish. Load this page again shortly."
	}
	g.showPage(w, r, p)
}

// providerLogoutURL returns the provider's logout address. It returns false when the provider is
// not known any more, has no such address or does not answer: then the visitor is signed out of
// this site only.
func (g *Gate) providerLogoutURL(
	ctx context.Context, up *upstream, hint, state string,
) (string, bool) {
	if up == nil {
		return "", false
	}
	ctx, cancel := context.WithTimeout(ctx, metadataTimeout)
	defer cancel()
	if _, err := up.client.Metadata(ctx); err != nil {
		return "", false
	}
	return up.client.EndSessionURL(hint, state, g.config.at.OwnURL("/logout/done", ""))
}

// metadataTimeout is how long a logout waits for metadata that is not known yet.
const metadataTimeout = 3 * time.Second

// logoutDone is GET /auth/logout/done, where the provider sends the browser after its logout. Only
// the state that this browser took to the provider leads to ReturnTo, and only once. Every other
// request gets the page that says "signed out".
func (g *Gate) logoutDone(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		g.methodNotAllowed(w, r, "GET")
		return
	}
	returnTo, err := g.attempts.EndLogout(w, r, r.URL.Query().Get("state"))
	if err != nil {
		g.events.emit(Event{Type: EventLogoutCompleted, Reason: Reason(event.ReasonStateMismatch)})
		g.showSignedOut(w, r)
		return
	}
	g.events.emit(Event{Type: EventLogoutCompleted})
	g.afterSignOut(w, r, g.checkReturnTo(returnTo))
}

func (g *Gate) afterSignOut(w http.ResponseWriter, r *http.Request, returnTo string) {
	if returnTo != "" {
		page.Redirect(w, g.config.at.URL(returnTo))
		return
	}
	g.showSignedOut(w, r)
}

func (g *Gate) showSignedOut(w http.ResponseWriter, r *http.Request) {
	g.showPage(w, r, Page{
		Status: http.StatusOK,
		Title:  "Signed out",
		Text:   "You are signed out of this site.",
		Links:  []Link{{g.config.at.Home(), "Continue"}},
	})
}
