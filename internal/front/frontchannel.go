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
	ended, err := f.endNamed(r, up, v.Session)
	if err != nil {
		tryLater(w)
		return
	}
	if ended {
		f.clearSession(w, r)
		f.Attempts.ForgetRounds(w, r)
	}
	w.WriteHeader(http.StatusOK) // always: any page may ask, and must not learn who is signed in
}

// endNamed ends the session s, which may be nil, if a request for a frame of the provider's page
// names it. It returns false if the request does not.
func (f *Front) endNamed(r *http.Request, up *Provider, s *session.Session) (bool, error) {
	if s == nil || f.ProviderOf(&s.Identity) != up || !browser.IsFrame(r) {
		return false, nil
	}
	ctx, q := context.WithoutCancel(r.Context()), r.URL.Query()
	named, err := f.namesSession(ctx, q, up, s)
	if named {
		own, issuer := f.Keeper.Handle(s.ID), s.Identity.Issuer()
		_, err = f.Keeper.EndBySID(ctx, own, issuer, q.Get("sid"), event.ReasonFrontchannel)
	}
	return named, err
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

// namesSession reports whether iss and sid, each given once, name a session. Where only the sid is
// another, an event says so: some providers send one that is not in their ID Tokens.
func (f *Front) namesSession(
	ctx context.Context, q url.Values, up *Provider, s *session.Session,
) (bool, error) {
	id := &s.Identity
	if len(q["iss"]) != 1 || len(q["sid"]) != 1 || q.Get("sid") == "" {
		return false, nil
	}
	// A provider may write its issuer in another way too, as in its ID Tokens.
	iss := q.Get("iss")
	if iss != id.Issuer() && (up.Issuer != id.Issuer() || !up.Client.Accepts(iss)) {
		return false, nil
	}
	named, err := f.Keeper.HasSID(ctx, s, q.Get("sid"))
	if err == nil && !named {
		f.Tell(ctx, event.Record{
			Type: event.FrontchannelIgnored, Reason: event.ReasonSIDMismatch,
			Provider: id.Provider, Issuer: id.Issuer(), SubjectHash: f.Keeper.UserRef(id.User()),
		})
	}
	return named, err
}

// frameOrigins returns the origins at which the provider's logout page may be.
func (up *Provider) frameOrigins() string {
	origins := up.Origin
	if end := up.Client.EndSessionOrigin(); end != "" && end != up.Origin {
		origins += " " + end
	}
	return origins
}
