package oidcgate

import (
	"errors"
	"net/http"
	"strings"

	"github.com/oidcgate/oidcgate/internal/attempt"
	"github.com/oidcgate/oidcgate/internal/browser"
	"github.com/oidcgate/oidcgate/internal/session"
)

// httpMark ends the id of a session whose cookie has the prefix "__Host-Http-". Scripts cannot set
// that cookie, but they can set the one of the older name. The mark keeps them from setting it to
// the id of a session of their own: only a session from before the prefix has an id without it.
const httpMark = "."

// mark is what the ids of new sessions end in.
func (c *config) mark() string {
	if c.at.OlderCookie == "" {
		return ""
	}
	return httpMark
}

func isMarkedID(value string) bool {
	id, ok := strings.CutSuffix(value, httpMark)
	return ok && session.IsID(id)
}

// sessionCookie returns the session id that a request brings, or "". A cookie that cannot be an id,
// or is there twice, is gone: it is not looked up in the store.
func (g *Gate) sessionCookie(r *http.Request) (id session.ID, gone attempt.Gone) {
	name, older := g.config.at.CookieName, g.config.at.OlderCookie
	valid := session.IsID
	if older != "" {
		valid = isMarkedID
	}
	value, err := browser.Only(r, name, valid)
	if value == "" && err == nil && older != "" {
		value, err = browser.Only(r, older, session.IsID)
	}
	switch {
	case err == nil:
		return session.ID(value), ""
	case errors.Is(err, browser.ErrDuplicate):
		g.events.emit(Event{Type: EventCookieDuplicate})
	default:
		g.events.emit(Event{Type: EventCookieMalformed})
	}
	return "", attempt.GoneCookie
}

// clearSession deletes the session cookie.
func (g *Gate) clearSession(w http.ResponseWriter, r *http.Request) {
	g.cookies.Clear(w, g.config.at.CookieName)
	g.clearOlder(w, r)
}

// clearOlder deletes the session cookie of the older name if the request has it.
func (g *Gate) clearOlder(w http.ResponseWriter, r *http.Request) {
	if older := g.config.at.OlderCookie; older != "" && len(r.CookiesNamed(older)) > 0 {
		g.cookies.Clear(w, older)
	}
}
