package oidcgate

import (
	"net/http"
	"time"

	"github.com/oidcgate/oidcgate/internal/session"
)

// sessionCookie returns the session id a request brings. A cookie that cannot be an id is forgotten without
// asking the store. Two different ones are no session at all: one of them is somebody else's doing (a
// neighbour's cookie tossed onto this site), and the first is not a better guess than the second.
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

// forget takes the cookie of a session that is over out of the browser, when the visitor navigates to a page.
// The answer to anything else may arrive late, after a new login in another tab, and would clear its cookie; so
// may that of a callback sent twice, whose other answer brings the new session.
func (g *Gate) forget(w http.ResponseWriter, r *http.Request) {
	if _, own := g.routes[r.URL.Path]; !own && isNavigation(r) {
		g.clearSession(w)
	}
}

// clearSession takes the session's cookie out of the browser, and the answer out of shared caches, which
// would hand the deletion to others.
func (g *Gate) clearSession(w http.ResponseWriter) {
	g.clearCookie(w, g.config.Site.CookieName)
	w.Header().Set("Cache-Control", "private, no-cache")
}

func (g *Gate) setCookie(w http.ResponseWriter, name, value string, maxAge time.Duration) {
	http.SetCookie(w, &http.Cookie{
		Name:     name,
		Value:    value,
		Path:     "/",
		MaxAge:   int(maxAge.Seconds()),
		Secure:   g.config.secure,
		HttpOnly: true,
		SameSite: http.SameSiteLaxMode,
	})
}

func (g *Gate) clearCookie(w http.ResponseWriter, name string) {
	g.setCookie(w, name, "", -time.Second)
}
