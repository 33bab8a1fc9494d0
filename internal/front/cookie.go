package front

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/oidcgate/oidcgate/internal/attempt"
	"github.com/oidcgate/oidcgate/internal/browser"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/session"
	"github.com/oidcgate/oidcgate/internal/site"
)

// httpMark ends the id of a session whose cookie has the prefix "__Host-Http-". Scripts cannot set
// that cookie, but they can set the one of the older name. The mark keeps them from setting it to
// the id of a session of their own: only a session from before the prefix has an id without it.
const httpMark = "."

// Mark is what the ids of new sessions end in.
func Mark(s *site.Site) string {
	if s.OlderCookie == "" {
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
func (f *Front) sessionCookie(r *http.Request) (id session.ID, gone attempt.Gone) {
	name, older := f.Site.CookieName, f.Site.OlderCookie
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
		f.Tell(r.Context(), event.Record{Type: event.CookieDuplicate})
	default:
		f.Tell(r.Context(), event.Record{Type: event.CookieMalformed})
	}
	return "", attempt.GoneCookie
}

// unclearIDs returns the ids that a request brings of which none is used, because others or
// malformed ones are beside them.
func (f *Front) unclearIDs(r *http.Request, v *Visit) (ids []session.ID) {
	if v.Gone != attempt.GoneCookie {
		return nil
	}
	newer, older := r.CookiesNamed(f.Site.CookieName), r.CookiesNamed(f.Site.OlderCookie)
	for _, c := range slices.Concat(newer, older) {
		if session.IsID(strings.TrimSuffix(c.Value, httpMark)) {
			ids = append(ids, session.ID(c.Value))
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// clearSession deletes the session cookie.
func (f *Front) clearSession(w http.ResponseWriter, r *http.Request) {
	f.Cookies.Clear(w, f.Site.CookieName)
	f.clearOlder(w, r)
}

// clearOlder deletes the session cookie of the older name if the request has it.
func (f *Front) clearOlder(w http.ResponseWriter, r *http.Request) {
	if older := f.Site.OlderCookie; len(r.CookiesNamed(older)) > 0 {
		f.Cookies.Clear(w, older)
	}
}
