package oidcgate

import (
	"errors"
	"net/http"

	"github.com/oidcgate/oidcgate/internal/browser"
	"github.com/oidcgate/oidcgate/internal/session"
)

// sessionCookie returns the session id that a request brings. A cookie that cannot be an id, or is
// there twice, is cleared without asking the store.
func (g *Gate) sessionCookie(w http.ResponseWriter, r *http.Request) (id session.ID, ok bool) {
	value, err := browser.Only(r, g.config.Site.CookieName, session.IsID)
	switch {
	case errors.Is(err, browser.ErrMalformed):
		g.events.emit(Event{Type: EventCookieMalformed})
		g.clearSession(w)
	case errors.Is(err, browser.ErrDuplicate):
		g.events.emit(Event{Type: EventCookieDuplicate})
		g.clearSession(w)
	}
	return session.ID(value), value != ""
}

// forget clears the cookie of a session that has ended, when the visitor navigates to a page. The
// answer to any other request may arrive late, after a new login in another tab, and would clear
// the new cookie. So may the answer to a repeated callback whose first answer brings the new
// session.
func (g *Gate) forget(w http.ResponseWriter, r *http.Request) {
	if _, own := g.routes[r.URL.Path]; !own && browser.IsNavigation(r) {
		g.clearSession(w)
	}
}

// clearSession clears the session cookie, and keeps the answer out of shared caches, which would
// clear other visitors' cookies with it.
func (g *Gate) clearSession(w http.ResponseWriter) {
	g.cookies.Clear(w, g.config.Site.CookieName)
	w.Header().Set("Cache-Control", "private, no-cache")
}
