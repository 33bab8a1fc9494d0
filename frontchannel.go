package oidcgate

import (
	"context"
	"net/http"
	"net/url"

	"github.com/oidcgate/oidcgate/internal/browser"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/page"
)

// frontchannelLogout is GET /auth/frontchannel-logout, in a frame of the provider's page. It ends
// the session of this browser only if iss and sid are those of the session. It sends no request to
// the provider.
//
// The provider gives the sid to all its clients, so another client knows it too. Its pages can make
// this request in a frame: frame-ancestors keeps them from showing the answer, which comes when the
// session has ended. From another site the browser sends no cookie (SameSite=Lax), except with a
// navigation of the whole tab, which is no frame; old browsers do not say which it is. What is left
// is a host of the same site that knows the sid. It can log this browser out, and nothing more: no
// later login is refused.
func (g *Gate) frontchannelLogout(w http.ResponseWriter, r *http.Request, up *upstream) {
	if r.Method != http.MethodGet {
		g.methodNotAllowed(w, r, "GET")
		return
	}
	v := g.peek(w, r)
	frameHeaders(w, up)
	if v.err != nil {
		g.tryLater(w)
		return
	}
	if v.identity == nil || !browser.IsFrame(r) || !g.namesSession(r.URL.Query(), v.identity) {
		w.WriteHeader(http.StatusOK) // any page may ask, and must not learn who is signed in
		return
	}
	iss, sid := v.identity.Issuer(), v.identity.ProviderSessionID()
	ctx := context.WithoutCancel(r.Context())
	if _, err := g.keeper.EndBySID(ctx, iss, sid, event.ReasonFrontchannel); err != nil {
		g.tryLater(w)
		return
	}
	g.clearSession(w, r)
	w.WriteHeader(http.StatusOK)
}

// frameHeaders lets the provider's logout page load this answer in a frame.
func frameHeaders(w http.ResponseWriter, up *upstream) {
	page.Headers(w)
	h := w.Header()
	h.Del("X-Frame-Options") // it cannot name a site
	h.Set("Content-Security-Policy",
		"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors "+up.frameOrigins())
	h.Set("Content-Type", "text/plain; charset=utf-8")
}

// namesSession reports whether iss and sid, each given once, name the session of id. Where only the
// sid is another, an event says so: some providers send one that is not in their ID Tokens.
func (g *Gate) namesSession(q url.Values, id *Identity) bool {
	if len(q["iss"]) != 1 || len(q["sid"]) != 1 || q.Get("sid") == "" || q.Get("iss") != id.Issuer() {
		return false
	}
	named := q.Get("sid") == id.ProviderSessionID()
	if !named {
		g.events.emit(Event{
			Type: EventFrontchannelIgnored, Reason: Reason(event.ReasonSIDMismatch),
			Provider: id.ProviderName(), Issuer: id.Issuer(), SubjectHash: g.keeper.UserRef(id.user()),
		})
	}
	return named
}

// frameOrigins returns the origins at which the provider's logout page may be.
func (up *upstream) frameOrigins() string {
	origins := up.origin
	if end := up.client.EndSessionOrigin(); end != "" && end != up.origin {
		origins += " " + end
	}
	return origins
}
