package oidcgate

import (
	"crypto/rand"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/op"
)

// login begins a login: GET /auth/login. It does so for a person who navigates and for nothing else, so that
// neither a script nor an image nor a browser reading ahead leaves attempts behind.
func (g *Gate) login(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		g.methodNotAllowed(w, r, "GET")
		return
	}
	if !isNavigation(r) {
		g.showPage(w, r, Page{Status: http.StatusBadRequest, Title: "Open this in a tab", Text: "A login begins in a tab of the browser, not inside a page or a script."})
		return
	}
	v := g.load(w, r)
	query := r.URL.Query()
	returnTo := g.returnTo(query.Get("return_to"))
	step := g.openStep(v, query.Get("step"))
	if v.identity != nil && step.zero() && r.Header.Get("Sec-Fetch-Site") == "cross-site" {
		// A link on another site does not replace who is signed in here (login CSRF, RFC 9700, section 4.7).
		redirect(w, g.siteURL(returnTo))
		return
	}
	up := g.choose(query.Get("provider"))
	if !step.zero() {
		up = g.upstreamOf(v) // the same visitor, more strongly: there is nothing to choose
	}
	if up == nil {
		g.showChoice(w, r, returnTo)
		return
	}
	g.startLogin(w, r, up, attempt{ReturnTo: returnTo, Step: step})
}

// unnamed stands for the provider without a name where visitors choose.
const unnamed = "."

// choose returns the provider of that name, or the only one there is; nil leaves the choice to the visitor.
func (g *Gate) choose(name string) *upstream {
	if len(g.providers) == 1 {
		return g.providers[0]
	}
	switch name {
	case "":
		return nil
	case unnamed:
		name = ""
	}
	return g.provider(name)
}

func (g *Gate) showChoice(w http.ResponseWriter, r *http.Request, returnTo string) {
	p := Page{Status: http.StatusOK, Title: "Log in", Text: "Choose where you have your account."}
	for _, up := range g.providers {
		q := url.Values{"provider": {up.name}, "return_to": {returnTo}}
		if up.name == "" {
			q.Set("provider", unnamed)
		}
		p.Links = append(p.Links, Link{g.ownURL("/login", "") + "?" + q.Encode(), up.label})
	}
	g.showPage(w, r, p)
}

// startLogin sends the browser to the provider (OpenID Connect Core, section 3.1.2.1; RFC 7636, section 4).
func (g *Gate) startLogin(w http.ResponseWriter, r *http.Request, up *upstream, a attempt) {
	// Who is sent to type a password should not come back to a store that cannot keep the session.
	if err := g.keeper.Ping(r.Context()); err != nil {
		refused := storeFailure(err)
		refused.retry = a.ReturnTo
		g.fail(w, r, up, refused)
		return
	}
	a.Provider, a.Start, a.Seed = up.name, time.Now().UTC().Truncate(time.Second), make([]byte, seedSize)
	if _, err := io.ReadFull(rand.Reader, a.Seed); err != nil {
		g.fail(w, r, up, &LoginError{Status: http.StatusInternalServerError, Reason: Reason(event.ReasonInternal), Err: err, retry: a.ReturnTo})
		return
	}
	a.cookie = g.attemptCookie(a.state())
	request := op.AuthorizationRequest{
		State:        a.state(),
		Nonce:        a.nonce(),
		CodeVerifier: a.verifier(),
		MaxAge:       a.Step.MaxAge,
		ACRValues:    a.Step.ACR,
		Interactive:  a.Asked,
	}
	location, err := up.client.AuthorizationURL(r.Context(), request)
	if err != nil {
		refused := providerFailure(err)
		refused.retry = a.ReturnTo
		g.fail(w, r, up, refused)
		return
	}
	if err := g.keepAttempt(w, r, a); err != nil {
		g.fail(w, r, up, &LoginError{Status: http.StatusInternalServerError, Reason: Reason(event.ReasonInternal), Err: err, retry: a.ReturnTo})
		return
	}
	g.events.emit(Event{Type: EventLoginStarted, Provider: up.name, Issuer: up.issuer})
	redirect(w, location)
}
