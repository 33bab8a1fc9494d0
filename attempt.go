package oidcgate

import (
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/oidcgate/oidcgate/internal/returnto"
	"github.com/oidcgate/oidcgate/internal/seal"
)

// attempt is one login under way. It is kept sealed in a cookie of its own, so that logins in
// several tabs do not disturb each other and abandoned logins cost the store nothing. State, nonce
// and code verifier are derived from its seed.
type attempt struct {
	Provider    string    `json:"p,omitempty"`
	Seed        []byte    `json:"s"`
	ReturnTo    string    `json:"r"`
	Start       time.Time `json:"t"`
	Step        stepUp    `json:"u,omitzero"`
	Interactive bool      `json:"a,omitempty"` // a login without interaction failed; this one may ask

	cookie string // the name of its cookie
}

const (
	stateSize    = 43 // 256 bits in base64url
	seedSize     = 32
	maxAttempts  = 8    // attempt cookies a browser may hold
	maxCleared   = 16   // attempt cookies that one answer deletes because they are over
	maxAttempt   = 1024 // bytes of one cookie, name included
	maxAllCookie = 4000 // bytes of all: with the session's cookie the header stays below 4 KB
)

func (a *attempt) state() string { return a.derive("state") }

func (a *attempt) nonce() string { return a.derive("nonce") }

func (a *attempt) verifier() string { return a.derive("code_verifier") }

// derive returns one of the attempt's secrets: 256 bits in 43 characters of base64url. Neither the
// seed nor another secret can be computed from it.
func (a *attempt) derive(label string) string {
	key, err := hkdf.Expand(sha256.New, a.Seed, "oidcgate "+label, 32)
	if err != nil {
		panic(err) // only for more than 8160 bytes
	}
	return base64.RawURLEncoding.EncodeToString(key)
}

// reference names an attempt in the store and in the session that it began.
func (a *attempt) reference() string { return stateReference(a.state()) }

func stateReference(state string) string {
	sum := sha256.Sum256([]byte("oidcgate attempt\x00" + state))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// attemptCookie returns the name of the cookie of the attempt with that state. The callback finds
// the cookie by it, and the name does not disclose the state.
func (g *Gate) attemptCookie(state string) string {
	sum := sha256.Sum256([]byte(state))
	return g.config.Site.CookieName + "-a-" + base64.RawURLEncoding.EncodeToString(sum[:8])
}

func attemptBinding(cookie string) seal.Binding {
	return seal.Binding{Purpose: "attempt", Name: cookie}
}

// keepAttempt writes the attempt's cookie. It deletes the oldest attempts if there is no room. A
// return path that is too long is replaced by the default path.
func (g *Gate) keepAttempt(w http.ResponseWriter, r *http.Request, a attempt) error {
	value, err := g.ring.SealText(attemptBinding(a.cookie), a)
	if err == nil && len(a.cookie)+len(value) > maxAttempt {
		g.rejectReturnTo(a.ReturnTo, returnto.TooLong)
		a.ReturnTo = g.config.Site.DefaultPath
		value, err = g.ring.SealText(attemptBinding(a.cookie), a)
	}
	if err == nil && len(a.cookie)+len(value) > maxAttempt {
		err = errors.New("the attempt does not fit into a cookie: ask for fewer ACR values")
	}
	if err != nil {
		return err
	}
	g.dropAttempts(w, r, len(a.cookie)+len(value))
	g.config.setCookie(w, a.cookie, value, g.config.Limits.LoginTimeout)
	return nil
}

// openAttempt reads the cookie of an attempt. A cookie that cannot be opened is ignored.
func (g *Gate) openAttempt(c *http.Cookie) (attempt, bool) {
	a := attempt{cookie: c.Name}
	if len(c.Value) > maxAttempt || g.ring.OpenText(attemptBinding(c.Name), c.Value, &a) != nil {
		return attempt{}, false
	}
	return a, len(a.Seed) == seedSize
}

// dropAttempts makes room for a new attempt of that size: it deletes the oldest attempts under way.
// Browsers that began many logins would otherwise send more cookies than servers accept.
func (g *Gate) dropAttempts(w http.ResponseWriter, r *http.Request, size int) {
	held := g.heldAttempts(w, r)
	for _, h := range held {
		size += h.size
	}
	for len(held) >= maxAttempts || size > maxAllCookie && len(held) > 0 {
		g.events.emit(Event{Type: EventAttemptLimitReached})
		g.config.clearCookie(w, held[0].name)
		size -= held[0].size
		held = held[1:]
	}
}

// heldAttempt is the cookie of an attempt under way, as the browser sent it.
type heldAttempt struct {
	name  string
	size  int
	start time.Time
}

// heldAttempts returns the attempts of this browser that are under way, the oldest first. It
// deletes up to maxCleared other cookies of attempts: those that have expired or cannot be opened.
func (g *Gate) heldAttempts(w http.ResponseWriter, r *http.Request) []heldAttempt {
	var held []heldAttempt
	cleared := 0
	for _, c := range r.Cookies() {
		if !strings.HasPrefix(c.Name, g.config.Site.CookieName+"-a-") {
			continue
		}
		if a, ok := g.openAttempt(c); ok && time.Since(a.Start) < g.config.Limits.LoginTimeout {
			held = append(held, heldAttempt{c.Name, len(c.Name) + len(c.Value), a.Start})
			continue
		}
		if cleared++; cleared <= maxCleared {
			g.config.clearCookie(w, c.Name)
		}
	}
	slices.SortStableFunc(held, func(a, b heldAttempt) int { return a.start.Compare(b.start) })
	return held
}

// findAttempt finds the attempt that the response answers. Only the browser that began it has its
// cookie. Nothing else in the response, errors included, is believed before that (RFC 9700, section
// 4.7).
func (g *Gate) findAttempt(r *http.Request, up *upstream, state string) (attempt, *LoginError) {
	if len(state) != stateSize {
		return attempt{}, badRequest(ReasonUnknownState, fmt.Errorf("a state of %d bytes", len(state)))
	}
	found := false
	for _, c := range r.CookiesNamed(g.attemptCookie(state)) {
		found = true
		a, ok := g.openAttempt(c)
		if !ok || subtle.ConstantTimeCompare([]byte(a.state()), []byte(state)) != 1 {
			continue
		}
		return a, g.checkAttempt(&a, up)
	}
	if found {
		err := errors.New("the attempt's cookie does not belong to the state")
		return attempt{}, badRequest(ReasonStateBrowserMismatch, err)
	}
	err := errors.New("no attempt with this state in this browser")
	return attempt{}, badRequest(ReasonUnknownState, err)
}

// checkAttempt refuses an attempt that began at another provider (mix-up attack, RFC 9700, section
// 4.4), too long ago, or in the future.
func (g *Gate) checkAttempt(a *attempt, up *upstream) *LoginError {
	if a.Provider != up.name {
		return badRequest(ReasonIssMismatch, errors.New("the login began at another provider"))
	}
	age := time.Since(a.Start)
	if age >= g.config.Limits.LoginTimeout || age < -g.config.Limits.ClockSkew {
		return badRequest(ReasonStateExpired, fmt.Errorf("begun %v ago", age.Round(time.Second)))
	}
	return nil
}
