package oidcgate

import (
	"net/http"
	"time"

	"github.com/oidcgate/oidcgate/internal/session"
)

// sessionCookie returns the session id that a request brings. A cookie that cannot be an id is
// cleared without asking the store. If two different ids come, both are refused: one of them was
// set by another site (cookie tossing from a neighbouring domain), and nothing shows which one.
func (g *Gate) sessionCookie(w http.ResponseWriter, r *http.Request) (id session.ID, ok bool) {
	if r.Header["Cookie"] == nil {
		return "", false
	}
	for _, c := range r.CookiesNamed(g.config.Site.CookieName) {
		found, valid := session.ParseID(c.Value)
		switch {
		case c.Quoted || !valid:
			g.events.emit(Event{Type: EventCookieMalformed})
			g.clearSession(w)
			return "", false
		case id != "" && id != found:
			g.events.emit(Event{Type: EventCookieDuplicate})
			g.clearSession(w)
			return "", false
		}
		id = found
	}
	return id, id != ""
}

// forget clears the cookie of a session that has ended, when the visitor navigates to a page. The
// answer to any other request may arrive late, after a new login in another tab, and would clear
// the new cookie. So may the answer to a repeated callback whose first answer brings the new
// session.
func (g *Gate) forget(w http.ResponseWriter, r *http.Request) {
	if _, own := g.routes[r.URL.Path]; !own && isNavigation(r) {
		g.clearSession(w)
	}
}

// clearSession clears the session cookie, and keeps the answer out of shared caches, which would
// clear other visitors' cookies with it.
func (g *Gate) clearSession(w http.ResponseWriter) {
	g.config.clearCookie(w, g.config.Site.CookieName)
	w.Header().Set("Cache-Control", "private, no-cache")
}

func (c *config) setCookie(w http.ResponseWriter, name, value string, maxAge time.Duration) {
	http.SetCookie(w, &http.Cookie{
		Name:     name,
		Value:    value,
		Path:     "/",
		MaxAge:   int(maxAge.Seconds()),
		Secure:   c.secure,
		HttpOnly: true,
		SameSite: http.SameSiteLaxMode,
	})
}

func (c *config) clearCookie(w http.ResponseWriter, name string) {
	c.setCookie(w, name, "", -time.Second)
}
