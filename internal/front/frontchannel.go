package front

import (
	"context"
	"net/http"
	"net/url"

	"github.com/oidcgate/oidcgate/internal/browser"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/page"
	"github.com/oidcgate/oidcgate/internal/session"
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
func (f *Front) frontchannelLogout(w http.ResponseWriter, r *http.Request, up *Provider) {
	if r.Method != http.MethodGet {
		f.methodNotAllowed(w, r, "GET")
		return
	}
	v := f.Peek(w, r)
	frameHeaders(w, up)
	if v.LoadErr != nil {
		tryLater(w)
		return
	}
	meant := f.providerOf(v) == up && browser.IsFrame(r) &&
		f.namesSession(r.URL.Query(), up, &v.Session.Identity)
	if !meant {
		w.WriteHeader(http.StatusOK) // any page may ask, and must not learn who is signed in
		return
	}
	iss, sid := v.Session.Identity.Issuer(), v.Session.Identity.ProviderSessionID()
	ctx := context.WithoutCancel(r.Context())
	if _, err := f.Keeper.EndBySID(ctx, iss, sid, event.ReasonFrontchannel); err != nil {
		tryLater(w)
		return
	}
	f.clearSession(w, r)
	w.WriteHeader(http.StatusOK)
}

// frameHeaders lets the provider's logout page load this answer in a frame.
func frameHeaders(w http.ResponseWriter, up *Provider) {
	page.Headers(w)
	h := w.Header()
	h.Del("X-Frame-Options") // it cannot name a site
	h.Set("Content-Security-Policy",
		"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors "+up.frameOrigins())
	h.Set("Content-Type", "text/plain; charset=utf-8")
}

// namesSession reports whether iss and sid, each given once, name the session of id. Where only the
// sid is another, an event says so: some providers send one that is not in their ID Tokens.
func (f *Front) namesSession(q url.Values, up *Provider, id *session.Identity) bool {
	if len(q["iss"]) != 1 || len(q["sid"]) != 1 || q.Get("sid") == "" {
		return false
	}
	// A provider may write its issuer in another way too, as in its ID Tokens.
	iss := q.Get("iss")
	if iss != id.Issuer() && (up.Issuer != id.Issuer() || !up.Client.Accepts(iss)) {
		return false
	}
	named := q.Get("sid") == id.ProviderSessionID()
	if !named {
		f.Tell(event.Record{
			Type: event.FrontchannelIgnored, Reason: event.ReasonSIDMismatch,
			Provider: id.Provider, Issuer: id.Issuer(), SubjectHash: f.Keeper.UserRef(id.User()),
		})
	}
	return named
}

// frameOrigins returns the origins at which the provider's logout page may be.
func (up *Provider) frameOrigins() string {
	origins := up.Origin
	if end := up.Client.EndSessionOrigin(); end != "" && end != up.Origin {
		origins += " " + end
	}
	return origins
}
