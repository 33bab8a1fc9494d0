package front

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/oidcgate/oidcgate/internal/attempt"
	"github.com/oidcgate/oidcgate/internal/browser"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/op"
	"github.com/oidcgate/oidcgate/internal/page"
)

// login begins a login: GET /auth/login. It accepts only navigations, so that scripts, images and
// browsers that load pages in advance leave no attempts behind.
func (f *Front) login(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost && f.HomeRealm != nil {
		f.chooseByEmail(w, r)
		return
	}
	if r.Method != http.MethodGet {
		f.methodNotAllowed(w, r, "GET")
		return
	}
	if !browser.IsNavigation(r) {
		f.Show(w, r, page.Page{
			Kind: page.KindRefused, Status: http.StatusBadRequest, Say: page.LoginFrame,
		})
		return
	}
	v := f.Peek(w, r)
	_ = f.noteValues(r.Context(), v) // a store that fails takes nobody's session
	f.Forget(w, r, v)
	query := r.URL.Query()
	if query.Has("link") {
		f.beginLink(w, r, v)
		return
	}
	f.beginLogin(w, r, v, begun{
		query: query, step: f.Attempts.OpenStep(string(v.ID()), query.Get("step")),
	})
}

// begun is what a login begins with.
type begun struct {
	query url.Values   // of the link, or what was posted
	step  attempt.Step // what the guard demands
	hint  string       // who logs in, as the visitor says
}

// beginLogin sends the browser to the provider, or has the visitor choose one.
func (f *Front) beginLogin(w http.ResponseWriter, r *http.Request, v *Visit, b begun) {
	returnTo := f.returnTo(r.Context(), b.query.Get("return_to"))
	if v.MayBeSignedIn() && b.step.Zero() && browser.IsCrossSite(r) {
		f.keepSignedIn(w, r, b, returnTo)
		return
	}
	own, refused := f.optionsFor(r, b)
	up := &Provider{}
	if refused == nil {
		up, refused = f.providerFor(v, b, own)
	}
	if up == nil {
		f.noteUnknownName(r, b.query.Get("provider"))
		f.showChoice(w, r, choice{query: b.query, returnTo: returnTo})
		return
	}
	var a attempt.Attempt
	if refused == nil {
		a, refused = newAttempt(up, b, own)
	}
	if refused == nil {
		refused = f.checkRounds(w, r, v, b.query)
	}
	if refused == nil {
		a.ReturnTo = returnTo
		if a.Silent && a.IDTokenHint == "" {
			a.IDTokenHint = f.idTokenHint(r.Context(), v, up)
		}
		if !b.step.Zero() {
			a.User = attempt.UserOf(v.Session.Identity.Issuer(), v.Session.Identity.Subject())
		}
		refused = f.startLogin(w, r, up, a)
	}
	if refused != nil {
		refused.retry = returnTo
		if up.Client != nil { // the provider is known
			refused.again = f.loginAt(up, withoutGone(b.query), returnTo)
		}
		f.fail(w, r, up, refused)
	}
}

// keepSignedIn answers a link on another site that leads a signed-in visitor to the login. It must
// not replace the user (login CSRF, RFC 9700, section 4.7).
func (f *Front) keepSignedIn(w http.ResponseWriter, r *http.Request, b begun, returnTo string) {
	if !b.query.Has(goneParam) {
		page.Redirect(w, f.Site.URL(returnTo))
		return
	}
	// A guard has sent the browser here and would do it again: the visitor decides.
	f.Show(w, r, page.Page{
		Kind: page.KindRefused, Status: http.StatusUnauthorized, Say: page.LoginRequired,
		Links: []page.Link{{URL: f.loginAddress(b.query), Say: page.LogIn}},
	})
}

// optionsFor returns what the application wants of a login.
func (f *Front) optionsFor(r *http.Request, b begun) (op.LoginOptions, *Failure) {
	own, refused := f.Options(r)
	own = f.optionsOf(b.query).Or(own)
	own.LoginHint = cmp.Or(own.LoginHint, b.hint)
	return own, refused
}

// newAttempt returns a login that asks for what the guard, the application and the link want.
func newAttempt(up *Provider, b begun, own op.LoginOptions) (attempt.Attempt, *Failure) {
	o, err := up.Client.Options(b.query, own)
	if err != nil {
		return attempt.Attempt{}, providerFailure(err)
	}
	return attempt.Attempt{
		Step:   b.step.Also(attempt.Step{MaxAge: o.Fresh(), ACR: o.ACRValues}),
		Silent: up.Client.IsSilent(o), Options: up.Client.Kept(o), IDTokenHint: o.IDTokenHint,
	}, nil
}

// idTokenHint returns the ID Token of the visitor's session, or "". A provider may want it with
// prompt=none (OpenID Connect Core, section 3.1.2.1). One that is too long for an address is left
// out.
func (f *Front) idTokenHint(ctx context.Context, v *Visit, up *Provider) string {
	if f.providerOf(v) != up {
		return ""
	}
	t, err := f.Keeper.Tokens(ctx, v.ID())
	if err != nil || len(t.IDToken) > op.MaxEndSessionURL/2 {
		return ""
	}
	return t.IDToken
}

// checkRounds refuses a login when the sessions of those before it were gone at once. A guard,
// which may be at another replica, says with query what was gone.
func (f *Front) checkRounds(
	w http.ResponseWriter, r *http.Request, v *Visit, query url.Values,
) *Failure {
	gone := cmp.Or(attempt.Gone(query.Get(goneParam)), v.Gone)
	if was := attempt.Gone(query.Get(wasGoneParam)); v.Session == nil || was.Elsewhere() {
		gone = cmp.Or(gone, was)
	}
	if v.Session != nil && gone == "" || !f.Attempts.IsLoop(w, r, f.Keeper.LoggedOutSince) {
		return nil
	}
	l := attempt.LoopOf(gone)
	return &Failure{Status: l.Status, Reason: l.Reason, Hint: l.Hint, Err: errors.New(l.Detail)}
}

// startLogin sends the browser to the provider (OpenID Connect Core, section 3.1.2.1; RFC 7636,
// section 4). If it returns a Failure, it has not answered.
func (f *Front) startLogin(
	w http.ResponseWriter, r *http.Request, up *Provider, a attempt.Attempt,
) *Failure {
	location, refused := f.prepareLogin(w, r, up, a)
	if refused != nil {
		return refused
	}
	f.Tell(r.Context(), event.Record{Type: event.LoginStarted, Provider: up.Name, Issuer: up.Issuer})
	page.Redirect(w, location)
	return nil
}

// prepareLogin writes the cookie of the attempt and returns the provider's address for it.
func (f *Front) prepareLogin(
	w http.ResponseWriter, r *http.Request, up *Provider, a attempt.Attempt,
) (location string, refused *Failure) {
	// The visitor should not type a password when the store cannot save a session afterwards.
	if err := f.Keeper.Ping(r.Context()); err != nil {
		return "", storeFailure(err)
	}
	if err := a.Begin(up.at()); err != nil {
		return "", internalFailure(err)
	}
	alg, err := up.Client.DPoPAlg(r.Context())
	if err != nil {
		return "", providerFailure(err)
	}
	a.DPoP = alg
	request, err := authorizationRequest(&a)
	if err != nil {
		return "", internalFailure(err)
	}
	location, err = up.Client.AuthorizationURL(r.Context(), request)
	if err != nil {
		return "", providerFailure(err)
	}
	if err := f.Attempts.Keep(w, r, a); err != nil {
		return "", notKept(err)
	}
	return location, nil
}

// notKept is the failure of a login whose attempt could not be kept in the browser.
func notKept(err error) *Failure {
	if !errors.Is(err, attempt.ErrTooLong) {
		return internalFailure(err)
	}
	refused := badRequest(event.ReasonLoginOptions, err)
	refused.Hint = "acr values, and with prompt=none all that Config.LoginOptions and a link " +
		"choose, are kept in the browser, and about 1,400 bytes of them fit into the cookie: choose " +
		"less, or move what is the same for all logins from LoginOptions to Provider.Request.Login, " +
		"which needs no room, except for acr values"
	return refused
}

func authorizationRequest(a *attempt.Attempt) (op.AuthorizationRequest, error) {
	key, err := dpopKey(a)
	return op.AuthorizationRequest{
		State: a.State(), Nonce: a.Nonce(), CodeVerifier: a.Verifier(), DPoPKey: key,
		MaxAge: a.Step.MaxAge, ACRValues: a.Step.ACR, Interactive: a.Interactive,
		IDTokenHint: a.IDTokenHint, Options: a.Options,
	}, err
}

// dpopKey returns the key to which the tokens of a login are bound, or nil if they are not bound.
func dpopKey(a *attempt.Attempt) (*op.DPoPKey, error) {
	if a.DPoP == "" {
		return nil, nil
	}
	return op.NewDPoPKey(a.DPoP, a.DPoPSecret())
}
