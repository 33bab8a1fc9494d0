package oidcgate

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"net/http"
	"time"

	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/page"
	"github.com/oidcgate/oidcgate/internal/seal"
	"github.com/oidcgate/oidcgate/internal/session"
)

// logout is POST /auth/logout, from this site only: a page elsewhere cannot sign a visitor out. A GET, which
// any link can make, asks first.
func (g *Gate) logout(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		g.confirmLogout(w, r)
	case http.MethodPost:
		if err := g.origins.Check(r); err != nil {
			g.showPage(w, r, Page{Status: http.StatusForbidden, Title: "Not from here", Text: "Another site tried to sign you out. You are still signed in."})
			return
		}
		if parseForm(w, r) != nil {
			g.showPage(w, r, Page{Status: http.StatusBadRequest, Title: "Not understood", Text: "The form could not be read. You are still signed in."})
			return
		}
		returnTo := r.PostForm.Get("return_to")
		if returnTo == "" {
			returnTo = r.URL.Query().Get("return_to")
		}
		g.signOut(w, r, returnTo)
	default:
		g.methodNotAllowed(w, r, "GET, POST")
	}
}

const (
	maxForm  = 32 << 10        // of what is posted to the gate, in bytes
	formTime = 5 * time.Second // for it to arrive
)

// parseForm reads a form that is short and arrives soon: who sends a byte a second holds no connection.
func parseForm(w http.ResponseWriter, r *http.Request) error {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(formTime)) // where the server can
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		return err
	}
	_ = control.SetReadDeadline(time.Time{}) // else the server takes its end for the client's leaving
	return nil
}

func (g *Gate) confirmLogout(w http.ResponseWriter, r *http.Request) {
	v := g.load(w, r)
	if v.identity == nil && v.err == nil {
		g.showSignedOut(w, r)
		return
	}
	var origin string
	if up := g.upstreamOf(v); up != nil {
		origin = up.client.EndSessionOrigin()
	}
	g.showPage(w, r, Page{
		Status: http.StatusOK,
		Title:  "Log out?",
		Text:   "You are signed in. Do you want to log out?",
		Links:  []Link{{g.siteURL(g.config.Site.DefaultPath), "Stay"}},
		form: &page.Form{
			Action: g.LogoutURL(""), Label: "Log out", Origin: origin,
			ReturnTo: g.afterLogout(r.URL.Query().Get("return_to")),
		},
	})
}

// Logout signs the visitor out, as POST /auth/logout does, from a handler of the application: it
// ends the session here, then sends the browser to the provider's logout. That leads back to
// returnTo, a path of this site, or to a page that says "signed out" when returnTo is empty. The
// handler returns after it. The application makes sure that the request is the visitor's wish: a
// POST, behind [http.CrossOriginProtection].
func (g *Gate) Logout(w http.ResponseWriter, r *http.Request, returnTo string) {
	g.signOut(w, r, returnTo)
}

// signOut ends the session here first: whatever the provider does then, this site is signed out
// (OpenID Connect RP-Initiated Logout, section 2). When the store cannot end it, the page says so.
func (g *Gate) signOut(w http.ResponseWriter, r *http.Request, returnTo string) {
	returnTo = g.afterLogout(returnTo)
	v := visitFrom(r.Context(), g)
	if v == nil {
		v = g.load(w, r)
	}
	ownHeaders(w)
	if v.err != nil {
		g.notSignedOut(w, r)
		return
	}
	hint, err := g.endVisit(w, r, v)
	if err != nil {
		g.notSignedOut(w, r)
		return
	}
	if location, ok := g.endSession(w, r, v, hint, returnTo); ok {
		redirect(w, location)
		return
	}
	g.afterSignOut(w, r, returnTo)
}

// endVisit ends the session of a request and deletes its cookie. It returns the ID Token that names
// the session to the provider. A session that this replica could not read is ended too: another
// replica, with a newer key, might read it.
func (g *Gate) endVisit(w http.ResponseWriter, r *http.Request, v *visit) (hint string, err error) {
	ctx, cancel := session.Detached(r.Context())
	defer cancel()
	if v.id == "" {
		if v.asked == "" {
			return "", nil
		}
		if err := g.keeper.End(ctx, v.asked); err != nil {
			return "", err
		}
		g.clearCookie(w, g.config.Site.CookieName)
		return "", nil
	}
	s, t := v.session(), g.lastTokens(r.Context(), v)
	g.events.emit(Event{
		Type: EventLogoutStarted, Provider: s.Identity.Provider,
		SessionRef: g.sessionRef(g.keeper.Handle(v.id)),
	})
	if err := g.keeper.EndSession(ctx, s, event.ReasonByUser); err != nil {
		return "", err
	}
	g.clearCookie(w, g.config.Site.CookieName)
	asker{g}.Revoke(r.Context(), &s.Identity, t.RefreshToken)
	return t.IDToken, nil
}

func (g *Gate) notSignedOut(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Retry-After", retryAfter)
	g.showPage(w, r, Page{
		Status: http.StatusServiceUnavailable,
		Title:  "Still signed in",
		Text:   "We cannot sign you out at the moment. Try again shortly, or close the browser.",
	})
}

// lastTokens returns the tokens of a session that is about to end: the ID Token names it to the provider, and
// the refresh token is to be revoked. Without them the logout is as good, here.
func (g *Gate) lastTokens(ctx context.Context, v *visit) *session.Tokens {
	t, err := g.keeper.Tokens(ctx, v.id)
	if err != nil {
		return &session.Tokens{}
	}
	return t
}

// endSession returns the provider's logout address. A provider that has none, is not known any more or does
// not answer is no obstacle: the visitor is signed out here.
func (g *Gate) endSession(w http.ResponseWriter, r *http.Request, v *visit, hint, returnTo string) (string, bool) {
	up := g.upstreamOf(v)
	if up == nil {
		return "", false
	}
	ctx, cancel := context.WithTimeout(r.Context(), metadataTimeout)
	defer cancel()
	if _, err := up.client.Metadata(ctx); err != nil {
		return "", false
	}
	back := logoutReturn{State: rand.Text(), ReturnTo: returnTo}
	location, ok := up.client.EndSessionURL(hint, back.State, g.config.origin+g.config.basePath+g.config.Site.Prefix+"/logout/done")
	if !ok || g.keepLogout(w, back) != nil {
		return "", false
	}
	return location, true
}

// metadataTimeout is how long a logout waits for the provider's metadata where it is not known yet.
const metadataTimeout = 3 * time.Second

// logoutReturn waits, sealed in a cookie, for the browser to come back from the provider's logout.
type logoutReturn struct {
	State    string `json:"s"`
	ReturnTo string `json:"r,omitempty"`
}

const logoutTTL = 10 * time.Minute

func (g *Gate) logoutBinding() seal.Binding {
	return seal.Binding{Purpose: "logout", Name: g.config.logoutState}
}

func (g *Gate) keepLogout(w http.ResponseWriter, back logoutReturn) error {
	text, err := g.ring.SealText(g.logoutBinding(), back)
	if err == nil {
		g.setCookie(w, g.config.logoutState, text, logoutTTL)
	}
	return err
}

// logoutDone is where the provider sends the browser after its logout. Only the state that this browser took
// there, once, leads on to another page; anything else gets the plain page.
func (g *Gate) logoutDone(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		g.methodNotAllowed(w, r, "GET")
		return
	}
	back, err := g.openLogout(r)
	if err != nil {
		g.events.emit(Event{Type: EventLogoutCompleted, Reason: Reason(event.ReasonStateMismatch)})
		g.showSignedOut(w, r)
		return
	}
	g.clearCookie(w, g.config.logoutState)
	g.events.emit(Event{Type: EventLogoutCompleted})
	g.afterSignOut(w, r, g.afterLogout(back.ReturnTo))
}

func (g *Gate) openLogout(r *http.Request) (logoutReturn, error) {
	var back logoutReturn
	c, err := r.Cookie(g.config.logoutState)
	if err != nil {
		return back, err
	}
	if err := g.ring.OpenText(g.logoutBinding(), c.Value, &back); err != nil {
		return back, err
	}
	if subtle.ConstantTimeCompare([]byte(r.URL.Query().Get("state")), []byte(back.State)) != 1 {
		return back, errors.New("another logout's state")
	}
	return back, nil
}

func (g *Gate) afterSignOut(w http.ResponseWriter, r *http.Request, returnTo string) {
	if returnTo != "" {
		redirect(w, g.siteURL(returnTo))
		return
	}
	g.showSignedOut(w, r)
}

func (g *Gate) showSignedOut(w http.ResponseWriter, r *http.Request) {
	g.showPage(w, r, Page{
		Status: http.StatusOK,
		Title:  "Signed out",
		Text:   "You are signed out of this site.",
		Links:  []Link{{g.siteURL(g.config.Site.DefaultPath), "Continue"}},
	})
}
