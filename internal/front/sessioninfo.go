package front

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/oidcgate/oidcgate/internal/browser"
	"github.com/oidcgate/oidcgate/internal/page"
	"github.com/oidcgate/oidcgate/internal/session"
)

// sessionInfo is GET /auth/session, for scripts of the site's pages: who is signed in and for how
// long, or null. It is no use of the session. Like AdmitAPI it answers no other site.
func (f *Front) sessionInfo(w http.ResponseWriter, r *http.Request) {
	script := browser.AsScript(r)
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		f.methodNotAllowed(w, script, "GET, HEAD")
		return
	}
	if !browser.IsOwn(r, f.Site.Origin) {
		f.NotFromHere(w, script)
		return
	}
	v := f.Peek(w, r)
	s, err := v.Session, v.LoadErr
	if s != nil {
		s, err = f.current(r.Context(), s)
	}
	if err == nil && s != nil && s.Identity.HasValues { // without them nobody is let in
		_, err = f.Keeper.ReadValues(r.Context(), s)
	}
	if err != nil && !errors.Is(err, session.ErrGone) {
		f.Unavailable(w, script, v)
		return
	}
	var about map[string]any // null
	if err == nil && s != nil {
		about = f.about(s)
		about["login_url"] = f.loginURL(v, script, Ask{})
		about["logout_url"] = f.Site.OwnURL("/logout", "")
	}
	page.Headers(w)
	w.Header().Set("Cross-Origin-Resource-Policy", "same-origin")
	w.Header().Set("Content-Type", "application/json")
	body, _ := json.Marshal(about) // its claims were read from JSON: cannot fail
	w.WriteHeader(http.StatusOK)   // that of gin is 404, where it has no route
	_, err = w.Write(append(body, '\n'))
	f.written(err)
}

// about returns what scripts learn of a session.
func (f *Front) about(s *session.Session) map[string]any {
	chosen := map[string]json.RawMessage{}
	for _, name := range f.SessionClaims {
		if v, ok := s.Identity.Claim(name); ok {
			chosen[name] = v.AppendJSON(nil)
		}
	}
	left := func(end int64) int64 {
		return int64(max(0, time.Until(time.UnixMilli(end))) / time.Second)
	}
	return map[string]any{
		"name": s.Identity.Name(), "claims": chosen,
		"expires_in": left(s.Times.Deadline), "idle_expires_in": left(s.Times.Ends(f.Idle)),
	}
}
