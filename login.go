package oidcgate

import (
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/oidcgate/oidcgate/internal/provider"
	"github.com/oidcgate/oidcgate/internal/returnto"
	"github.com/oidcgate/oidcgate/internal/seal"
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
	st := g.load(w, r)
	query := r.URL.Query()
	returnTo := g.returnTo(query.Get("return_to"))
	step := g.openStep(st, query.Get("step"))
	if st.identity != nil && step.zero() && r.Header.Get("Sec-Fetch-Site") == "cross-site" {
		// A link on another site does not replace who is signed in here (login CSRF, RFC 9700, section 4.7).
		redirect(w, g.siteURL(returnTo))
		return
	}
	up := g.choose(query.Get("provider"))
	if !step.zero() {
		up = g.upstreamOf(st) // the same visitor, more strongly: there is nothing to choose
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

// returnTo checks where a visitor wants to go after the login. What is not a path of this site is replaced by
// the default path; it never fails the login.
func (g *Gate) returnTo(value string) string {
	if value == "" {
		return g.config.DefaultPath
	}
	path, err := returnto.Check(value, g.config.Prefix)
	if err != nil {
		g.rejectReturnTo(value, err)
		return g.config.DefaultPath
	}
	return path
}

func (g *Gate) rejectReturnTo(value string, err error) {
	var reason returnto.Reason
	errors.As(err, &reason)
	g.events.emit(Event{Type: EventReturnToRejected, Reason: Reason(reason), Detail: fmt.Sprintf("%d bytes", len(value))})
}

// returnTo is the page that was asked for, as the browser has it.
func (st *state) returnTo() string {
	u := url.URL{Path: st.path, RawPath: st.rawPath}
	if st.rawQuery == "" {
		return u.EscapedPath()
	}
	return u.EscapedPath() + "?" + st.rawQuery
}

// attempt is one login under way. It lives sealed in a cookie of its own, so that tabs do not disturb each
// other and abandoned logins cost the store nothing. State, nonce and code verifier are derived from its seed.
type attempt struct {
	Provider string    `json:"p,omitempty"`
	Seed     []byte    `json:"s"`
	ReturnTo string    `json:"r"`
	Start    time.Time `json:"t"`
	Step     stepUp    `json:"u,omitzero"`
	Asked    bool      `json:"a,omitempty"` // a login without interaction failed; this one may ask

	cookie string // the name of its cookie
}

const (
	seedSize     = 32
	maxAttempts  = 8    // attempt cookies a browser may hold
	maxCleared   = 16   // of those that are over, at a time
	maxAttempt   = 1024 // bytes of one, name included
	maxAllCookie = 4000 // bytes of all: with the session's cookie the header stays below 4 KB
)

// startLogin sends the browser to the provider (OpenID Connect Core, section 3.1.2.1; RFC 7636, section 4).
func (g *Gate) startLogin(w http.ResponseWriter, r *http.Request, up *upstream, a attempt) {
	// Who is sent to type a password should not come back to a store that cannot keep the session.
	if err := g.storeAnswers(r.Context()); err != nil {
		refused := g.storeFailure(err)
		refused.retry = a.ReturnTo
		g.fail(w, r, up, refused)
		return
	}
	a.Provider, a.Start, a.Seed = up.name, time.Now().UTC().Truncate(time.Second), make([]byte, seedSize)
	if _, err := io.ReadFull(rand.Reader, a.Seed); err != nil {
		g.fail(w, r, up, &LoginError{Status: http.StatusInternalServerError, Reason: ReasonRandom, Err: err, retry: a.ReturnTo})
		return
	}
	a.cookie = g.attemptCookie(a.state())
	request := provider.AuthorizationRequest{
		State:        a.state(),
		Nonce:        a.nonce(),
		CodeVerifier: a.verifier(),
		MaxAge:       a.Step.MaxAge,
		ACRValues:    a.Step.ACR,
		Interactive:  a.Asked,
	}
	location, err := up.client.AuthorizationURL(r.Context(), request)
	if err != nil {
		g.fail(w, r, up, providerFailure(err, a.ReturnTo))
		return
	}
	if err := g.keepAttempt(w, r, a); err != nil {
		g.fail(w, r, up, &LoginError{Status: http.StatusInternalServerError, Reason: ReasonRandom, Err: err, retry: a.ReturnTo})
		return
	}
	g.events.emit(Event{Type: EventLoginStarted, Provider: up.name, Issuer: up.issuer})
	redirect(w, location)
}

func (a *attempt) state() string    { return a.derive("state") }
func (a *attempt) nonce() string    { return a.derive("nonce") }
func (a *attempt) verifier() string { return a.derive("code_verifier") }

// derive makes one of the attempt's secrets: 256 bits in 43 characters of base64url, from which neither the
// seed nor another secret can be found.
func (a *attempt) derive(label string) string {
	key, err := hkdf.Expand(sha256.New, a.Seed, "oidcgate "+label, 32)
	if err != nil {
		panic(err) // only for more than 8160 bytes
	}
	return base64.RawURLEncoding.EncodeToString(key)
}

// attemptCookie names the cookie of the attempt with that state, so that the callback finds it among others
// and the name tells nothing.
func (g *Gate) attemptCookie(state string) string {
	sum := sha256.Sum256([]byte(state))
	return g.config.CookieName + "-a-" + base64.RawURLEncoding.EncodeToString(sum[:8])
}

func attemptBinding(cookie string) seal.Binding {
	return seal.Binding{Purpose: "attempt", Name: cookie}
}

// keepAttempt writes the attempt's cookie and drops what does not fit beside it, the oldest first.
func (g *Gate) keepAttempt(w http.ResponseWriter, r *http.Request, a attempt) error {
	value, err := g.sealAttempt(a)
	if err == nil && len(a.cookie)+len(value) > maxAttempt {
		g.rejectReturnTo(a.ReturnTo, returnto.TooLong)
		a.ReturnTo = g.config.DefaultPath
		value, err = g.sealAttempt(a)
	}
	if err == nil && len(a.cookie)+len(value) > maxAttempt {
		err = errors.New("the login asks for more than a cookie holds: fewer values for ACR")
	}
	if err != nil {
		return err
	}
	g.dropAttempts(w, r, len(a.cookie)+len(value))
	g.setCookie(w, a.cookie, value, g.config.AttemptTTL)
	return nil
}

func (g *Gate) sealAttempt(a attempt) (string, error) {
	text, err := json.Marshal(a)
	if err != nil {
		return "", err
	}
	sealed, err := g.ring.Seal(attemptBinding(a.cookie), nil, text)
	return base64.RawURLEncoding.EncodeToString(sealed), err
}

// openAttempt reads the cookie of an attempt. What cannot be opened is no attempt.
func (g *Gate) openAttempt(c *http.Cookie) (attempt, bool) {
	sealed, err := base64.RawURLEncoding.DecodeString(c.Value)
	if err != nil || len(c.Value) > maxAttempt {
		return attempt{}, false
	}
	_, text, err := g.ring.Open(attemptBinding(c.Name), 0, sealed)
	a := attempt{cookie: c.Name}
	if err != nil || json.Unmarshal(text, &a) != nil || len(a.Seed) != seedSize {
		return attempt{}, false
	}
	return a, true
}

// dropAttempts makes room for a new attempt of that size: those that are over go, and the oldest of the rest.
// Browsers that began many logins would otherwise send more cookies than servers accept.
func (g *Gate) dropAttempts(w http.ResponseWriter, r *http.Request, size int) {
	type held struct {
		name  string
		size  int
		start time.Time
	}
	var keep []held
	cleared := 0
	for _, c := range r.Cookies() {
		if !strings.HasPrefix(c.Name, g.config.CookieName+"-a-") {
			continue
		}
		if a, ok := g.openAttempt(c); ok && time.Since(a.Start) < g.config.AttemptTTL {
			keep = append(keep, held{c.Name, len(c.Name) + len(c.Value), a.Start})
			size += len(c.Name) + len(c.Value)
			continue
		}
		if cleared++; cleared <= maxCleared {
			g.clearCookie(w, c.Name)
		}
	}
	slices.SortStableFunc(keep, func(a, b held) int { return a.start.Compare(b.start) })
	for len(keep) >= maxAttempts || size > maxAllCookie && len(keep) > 0 {
		g.events.emit(Event{Type: EventAttemptLimit})
		g.clearCookie(w, keep[0].name)
		size -= keep[0].size
		keep = keep[1:]
	}
}

// sealStep and openStep carry what a stronger login must bring from the guard to the login's address. It is
// sealed for the session it was made for: a link from elsewhere cannot choose what is asked of the provider.
func (g *Gate) sealStep(st *state, step stepUp) string {
	text, err := json.Marshal(step)
	if err != nil {
		return ""
	}
	sealed, err := g.ring.Seal(stepBinding(st), nil, text)
	if err != nil {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(sealed)
}

func (g *Gate) openStep(st *state, value string) stepUp {
	var step stepUp
	sealed, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil || st.token == "" {
		return stepUp{}
	}
	_, text, err := g.ring.Open(stepBinding(st), 0, sealed)
	if err != nil || json.Unmarshal(text, &step) != nil {
		return stepUp{}
	}
	return step
}

func stepBinding(st *state) seal.Binding {
	return seal.Binding{Purpose: "step", Secret: st.token}
}

// providerFailure turns what internal/provider found wrong into what is answered and logged.
func providerFailure(err error, retry string) *LoginError {
	var e *provider.Error
	if !errors.As(err, &e) {
		e = &provider.Error{Reason: string(ReasonProviderDown), Status: http.StatusServiceUnavailable, Err: err}
		if errors.Is(err, context.DeadlineExceeded) {
			e.Status = http.StatusGatewayTimeout
		}
	}
	return &LoginError{Status: e.Status, Reason: Reason(e.Reason), Hint: e.Hint, Err: e, retry: retry}
}
