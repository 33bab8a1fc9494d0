package oidcgate

import (
	"errors"
	"net/http"

	"github.com/oidcgate/oidcgate/internal/browser"
	"github.com/oidcgate/oidcgate/internal/session"
)

// sessionCookie returns the session id that a request brings, or "". A cookie that cannot be an id,
// or is there twice, is dead: it is not looked up in the store.
func (g *Gate) sessionCookie(r *http.Request) (id session.ID, dead bool) {
	value, err := browser.Only(r, g.config.Site.CookieName, session.IsID)
	switch {
	case errors.Is(err, browser.ErrMalformed):
		g.events.emit(Event{Type: EventCookieMalformed})
	case errors.Is(err, browser.ErrDuplicate):
		g.events.emit(Event{Type: EventCookieDuplicate})
	}
	return session.ID(value), err != nil
}
