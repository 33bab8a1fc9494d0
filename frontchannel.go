package oidcgate

import (
	"net/http"

	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/session"
)

// frontchannelLogout is GET /auth/frontchannel-logout, in a frame of the provider's page. It ends the session
// of this browser, if issuer and sid are both given and both its own; anyone can make a browser send the
// request, and nobody else knows the sid. Nothing is asked of the provider, which is logging out itself.
func (g *Gate) frontchannelLogout(w http.ResponseWriter, r *http.Request, up *upstream) {
	if r.Method != http.MethodGet {
		g.methodNotAllowed(w, r, "GET")
		return
	}
	v := g.load(w, r)
	ownHeaders(w)
	h := w.Header()
	h.Del("X-Frame-Options") // which cannot name a site
	h.Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors "+up.frameOrigins())
	h.Set("Content-Type", "text/plain; charset=utf-8")
	if v.err != nil {
		g.tryLater(w)
		return
	}
	q := r.URL.Query()
	if v.identity == nil || len(q["iss"]) != 1 || len(q["sid"]) != 1 || q.Get("sid") == "" ||
		q.Get("iss") != v.identity.Issuer() || q.Get("sid") != v.identity.ProviderSessionID() {
		w.WriteHeader(http.StatusOK)
		return
	}
	ctx, cancel := session.Detached(r.Context())
	defer cancel()
	_, err := g.keeper.EndProviderSession(
		ctx, v.identity.Issuer(), v.identity.ProviderSessionID(), event.ReasonFrontchannel)
	if err != nil {
		g.tryLater(w)
		return
	}
	g.clearCookie(w, g.config.Site.CookieName)
	w.WriteHeader(http.StatusOK)
}

// frameOrigins are where the provider's logout page may be.
func (up *upstream) frameOrigins() string {
	origins := up.origin
	if end := up.client.EndSessionOrigin(); end != "" && end != up.origin {
		origins += " " + end
	}
	return origins
}
