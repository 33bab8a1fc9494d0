package oidcgate

import (
	"errors"
	"net/http"

	"github.com/oidcgate/oidcgate/internal/attempt"
	"github.com/oidcgate/oidcgate/internal/browser"
	"github.com/oidcgate/oidcgate/internal/session"
)

// sessionCookie returns the session id that a request brings, or "". A cookie that cannot be an id,
// or is there twice, is gone: it is not looked up in the store.
func (g *Gate) sessionCookie(r *http.Request) (id session.ID, gone attempt.Gone) {
	value, err := browser.Only(r, g.config.Site.CookieName, session.IsID)
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
