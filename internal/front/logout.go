package front

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/oidcgate/oidcgate/internal/apart"
	"github.com/oidcgate/oidcgate/internal/attempt"
	"github.com/oidcgate/oidcgate/internal/browser"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/op"
	"github.com/oidcgate/oidcgate/internal/page"
	"github.com/oidcgate/oidcgate/internal/session"
)

// logout is POST /auth/logout. It accepts requests from this site only, so that a page of another
// site cannot sign a visitor out. A GET, which any link can make, shows a page that asks first.
func (f *Front) logout(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		f.confirmLogout(w, r)
	case http.MethodPost:
		if f.Origins.Check(r) != nil {
			f.noteElsewhere(r)
			f.Show(w, r, page.Page{
				Kind: page.KindStillIn, Status: http.StatusForbidden, Say: page.LogoutElsewhere,
				Links: []page.Link{{URL: f.Site.Home(), Say: page.Back}},
			})
			return
		}
		if browser.ReadForm(w, r, maxForm) != nil {
			f.Show(w, r, page.Page{
				Kind: page.KindStillIn, Status: http.StatusBadRequest, Say: page.LogoutUnread,
				Links: []page.Link{{URL: f.Site.Home(), Say: page.Back}},
			})
			return
		}
		returnTo := r.PostForm.Get("return_to")
		if returnTo == "" {
			returnTo = r.URL.Query().Get("return_to")
		}
		f.SignOut(w, r, f.Peek(w, r), returnTo)
	default:
		f.methodNotAllowed(w, r, "GET, POST")
	}
}

func (f *Front) confirmLogout(w http.ResponseWriter, r *http.Request) {
	v := f.Peek(w, r)
	if v.Session == nil && v.LoadErr == nil && !v.Gone.Elsewhere() && len(f.unclearIDs(r, v)) == 0 {
		f.Forget(w, r, v)
		f.showSignedOut(w, r)
		return
	}
	f.Show(w, r, page.Page{
		Kind: page.KindLogout, Status: http.StatusOK, Say: page.AskLogout,
		Links: []page.Link{{URL: f.Site.Home(), Say: page.Stay}},
		Form: &page.Form{
			Action: f.Site.OwnURL("/logout", ""), Say: page.LogOut,
			Hidden: returnToOf(f.checkReturnTo(r.Context(), r.URL.Query().Get("return_to"))),
		},
	})
}

// SignOut ends the session here first, so that the visitor is signed out whatever the provider does
// (OpenID Connect RP-Initiated Logout, section 2). When the store cannot end it, the page says so.
func (f *Front) SignOut(w http.ResponseWriter, r *http.Request, v *Visit, returnTo string) {
	returnTo = f.checkReturnTo(r.Context(), returnTo)
	up, hint, err := f.endVisit(w, r, v)
	if err != nil {
		f.notSignedOut(w, r, returnTo, err)
		return
	}
	state := attempt.NewLogoutState()
	if up != nil && !up.Client.KeepsState() {
		state = "" // the browser comes back without one
	}
	location, ok := f.providerLogoutURL(r.Context(), up, hint, state)
	if ok && f.Attempts.KeepLogout(w, state, returnTo) == nil {
		page.Redirect(w, location)
		return
	}
	f.afterSignOut(w, r, returnTo)
}

// endVisit ends the session of a request and deletes its cookie. It returns the session's provider,
// or nil, and the ID Token that names the session to it, or "". A session that this replica could
// not read is ended too, because another replica with a newer key might read it, and one that has
// ended here, because the provider's may go on.
func (f *Front) endVisit(
	w http.ResponseWriter, r *http.Request, v *Visit,
) (up *Provider, hint string, err error) {
	if v.LoadErr != nil && v.Session == nil { // else it is that of the application's values
		return nil, "", v.LoadErr
	}
	if v.CookieID == "" {
		return nil, "", f.endUnclear(w, r, v)
	}
	fresh := f.freshHint(r.Context(), v)
	ctx, cancel := session.Detached(r.Context())
	defer cancel()
	if fresh != "" {
		f.Keeper.KeepHint(ctx, v.Session, fresh)
	}
	up, t, err := f.endSession(ctx, v)
	if err != nil {
		return nil, "", err
	}
	f.clearSession(w, r)
	f.Attempts.ForgetRounds(w, r)
	return up, cmp.Or(fresh, t.IDToken), nil
}

// endSession ends the session whose id a request brings, and returns its provider and its tokens.
func (f *Front) endSession(ctx context.Context, v *Visit) (*Provider, *session.Tokens, error) {
	if v.Session != nil {
		t, err := f.endSignedIn(ctx, v)
		return f.providerOf(v), t, err
	}
	id, t, err := f.Keeper.LogOutUnread(ctx, v.CookieID)
	if id == nil {
		return nil, t, err
	}
	return f.ProviderOf(id), t, err
}

// endUnclear ends the sessions of all ids that a request brings without a choice among them: one is
// the visitor's own.
func (f *Front) endUnclear(w http.ResponseWriter, r *http.Request, v *Visit) error {
	if v.Gone != attempt.GoneCookie {
		return nil // it brings none
	}
	ids := f.unclearIDs(r, v)
	if len(ids) > maxUnclear {
		return fmt.Errorf("the request has %d ids of sessions", len(ids))
	}
	ctx, cancel := session.Detached(r.Context())
	defer cancel()
	var errs []error
	for _, id := range ids {
		_, _, err := f.Keeper.LogOutUnread(ctx, id)
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	f.clearSession(w, r)
	f.Attempts.ForgetRounds(w, r)
	return nil
}

// maxUnclear is how many sessions one logout ends at the most: each takes several round trips, and
// anybody can send cookies.
const maxUnclear = 8

// endSignedIn ends the visitor's session, revokes its refresh token and returns its tokens.
func (f *Front) endSignedIn(ctx context.Context, v *Visit) (*session.Tokens, error) {
	s := v.Session
	f.Tell(ctx, event.Record{
		Type: event.LogoutStarted, Provider: s.Identity.Provider,
		SessionRef: f.Keeper.SessionRef(f.Keeper.Handle(v.ID())),
	})
	return f.Keeper.LogOut(ctx, s)
}

// freshHint has the session's tokens refreshed if the provider takes no ID Token that has expired.
// It returns the new one, or "". It comes before the session ends, because the end uses up the
// refresh token, and it has a time of its own: a provider that hangs keeps nobody signed in.
func (f *Front) freshHint(ctx context.Context, v *Visit) (hint string) {
	up := f.providerOf(v)
	if up == nil || !up.Client.WantsFreshHint() {
		return ""
	}
	ctx, cancel := session.Within(context.WithoutCancel(ctx), metadataTimeout)
	defer cancel()
	id, hints := &v.Session.Identity, make(chan string, 1)
	_, err := apart.Call(ctx, func() (struct{}, error) {
		other := f.Keeper.Alone(ctx, v.Session, func(t *session.Tokens) {
			hint, spare := up.Client.FreshHint(ctx, (*op.Tokens)(&t.ProviderTokens), op.Original{
				Subject: id.Subject(), IssuedAt: id.IssuedAt(), AuthTime: id.AuthTime(), Nonce: t.Nonce,
			})
			hints <- hint
			if spare != "" {
				_ = up.Client.Revoke(ctx, spare) // best effort: the session ends
			}
		})
		if other != "" {
			hints <- other
		}
		return struct{}{}, nil
	})
	select {
	case hint = <-hints:
	default:
		if err != nil {
			f.Logger.ErrorContext(ctx, "oidcgate: refreshing the hint of a logout", "err", err)
		}
	}
	return hint
}

// notSignedOut answers a logout that failed. The cookie stays: the next try finds with it what is
// left.
func (f *Front) notSignedOut(w http.ResponseWriter, r *http.Request, returnTo string, err error) {
	w.Header().Set("Retry-After", retryAfter)
	p := page.Page{
		Kind: page.KindStillIn, Status: http.StatusServiceUnavailable, Say: page.LogoutFailed,
		Form: &page.Form{
			Action: f.Site.OwnURL("/logout", ""), Say: page.TryAgain, Hidden: returnToOf(returnTo),
		},
	}
	if errors.Is(err, session.ErrLeftovers) {
		p.Say = page.LogoutUnfinished
	}
	f.Show(w, r, p)
}

// providerLogoutURL returns the provider's logout address. It returns false when the provider is
// not known any more, has no such address or does not answer: then the visitor is signed out of
// this site only.
func (f *Front) providerLogoutURL(
	ctx context.Context, up *Provider, hint, state string,
) (string, bool) {
	if up == nil {
		return "", false
	}
	ctx, cancel := context.WithTimeout(ctx, metadataTimeout)
	defer cancel()
	if _, err := up.Client.Metadata(ctx); err != nil {
		return "", false
	}
	return up.Client.EndSessionURL(hint, state, f.Site.OwnURL("/logout/done", ""))
}

// metadataTimeout is how long a logout waits for metadata that is not known yet, and for a hint.
const metadataTimeout = 3 * time.Second

// logoutDone is GET /auth/logout/done, where the provider sends the browser after its logout. Only
// the state that this browser took to the provider leads to ReturnTo, and only once; some providers
// return none. Every other
// request gets the page that says "signed out".
func (f *Front) logoutDone(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		f.methodNotAllowed(w, r, "GET")
		return
	}
	returnTo, err := f.Attempts.EndLogout(w, r, r.URL.Query().Get("state"))
	if err != nil {
		f.Tell(r.Context(), event.Record{Type: event.LogoutCompleted, Reason: event.ReasonStateMismatch})
		f.showSignedOut(w, r)
		return
	}
	f.Tell(r.Context(), event.Record{Type: event.LogoutCompleted})
	f.afterSignOut(w, r, f.checkReturnTo(r.Context(), returnTo))
}

func (f *Front) afterSignOut(w http.ResponseWriter, r *http.Request, returnTo string) {
	if returnTo != "" {
		page.Redirect(w, f.Site.URL(returnTo))
		return
	}
	f.showSignedOut(w, r)
}

func (f *Front) showSignedOut(w http.ResponseWriter, r *http.Request) {
	f.Show(w, r, page.Page{
		Kind: page.KindSignedOut, Status: http.StatusOK, Say: page.SignedOut,
		Links: []page.Link{{URL: f.Site.Home(), Say: page.Continue}},
	})
}

// returnToOf returns what a form posts so that the visitor gets to the path, which may be "".
func returnToOf(path string) map[string]string {
	if path == "" {
		return nil
	}
	return map[string]string{"return_to": path}
}
