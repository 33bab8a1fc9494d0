package attempt

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/oidcgate/oidcgate/internal/browser"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/seal"
)

// Keeper keeps attempts, logouts and rounds in cookies. Every field is needed.
type Keeper struct {
	Ring        *seal.Ring
	Cookies     browser.Cookies
	Name        string        // of the session cookie; the names of the others begin with it
	Older       string        // the name before it, or "": attempts that began under it are found
	Timeout     time.Duration // of an attempt
	ClockSkew   time.Duration // between the clocks of replicas
	DefaultPath string

	// Evicted is called for each attempt that is dropped to make room for another.
	Evicted func(context.Context)

	// Shortened is called with a return path that is too long for a cookie.
	Shortened func(ctx context.Context, returnTo string)
}

const (
	maxAttempts  = 8    // attempt cookies a browser may hold
	maxCleared   = 16   // attempt cookies that one answer deletes because they are over
	maxAttempt   = 1024 // bytes of one cookie, name included, beside what the login asks for
	maxAsking    = 3000 // bytes of one cookie with that
	maxAllCookie = 3900 // bytes of all: with the other cookies the header stays below 4 KB
)

// cookieName returns the name of the cookie of the attempt with that state. The callback finds the
// cookie by it, and the name does not disclose the state.
func cookieName(session, state string) string {
	sum := sha256.Sum256([]byte(state))
	return session + "-a-" + base64.RawURLEncoding.EncodeToString(sum[:8])
}

func attemptBinding(cookie string) seal.Binding {
	return seal.Binding{Purpose: "attempt", Name: cookie}
}

// Keep writes the attempt's cookie. It deletes the oldest attempts if there is no room; see
// makeRoom. A return path that is too long is replaced by the default path. The error is ErrTooLong
// if the login asks for too much.
func (k *Keeper) Keep(w http.ResponseWriter, r *http.Request, a Attempt) error {
	a.cookie = cookieName(k.Name, a.State())
	a.Foreign = browser.IsCrossSite(r)
	if !a.Silent || a.Interactive {
		a.Options = nil
	}
	room := a.room()
	value, err := k.Ring.SealText(attemptBinding(a.cookie), a) // "" with an error
	if len(a.cookie)+len(value) > room {
		k.Shortened(r.Context(), a.ReturnTo)
		a.ReturnTo = k.DefaultPath
		value, err = k.Ring.SealText(attemptBinding(a.cookie), a)
	}
	if len(a.cookie)+len(value) > room {
		err = ErrTooLong
	}
	if err != nil {
		return err
	}
	if k.makeRoom(w, r, len(a.cookie)+len(value)) {
		k.Cookies.Set(w, a.cookie, value, k.Timeout)
	}
	return nil
}

// ErrTooLong says that an attempt does not fit into a cookie.
var ErrTooLong = errors.New("what the login asks for does not fit into a cookie")

// room returns how long the cookie of an attempt may be. What the login asks for beyond the usual
// takes no room from the return path.
func (a *Attempt) room() int {
	asked := len(a.Options)
	for _, acr := range a.Step.ACR {
		asked += len(acr) + len(`"",`)
	}
	return min(maxAttempt+base64.RawURLEncoding.EncodedLen(asked), maxAsking)
}

// Any reports whether the browser sent the cookie of any attempt.
func (k *Keeper) Any(r *http.Request) bool {
	return slices.ContainsFunc(r.Cookies(), func(c *http.Cookie) bool {
		return strings.HasPrefix(c.Name, k.Name+"-a-") ||
			k.Older != "" && strings.HasPrefix(c.Name, k.Older+"-a-")
	})
}

// AnyAt reports whether the browser sent the cookie of an attempt at the provider of that name.
func (k *Keeper) AnyAt(r *http.Request, provider string) bool {
	return slices.ContainsFunc(r.Cookies(), func(c *http.Cookie) bool {
		a, ok := k.live(c)
		return ok && a.Provider == provider
	})
}

// live opens the cookie of an attempt. It returns false for one of something else, and for one that
// is over.
func (k *Keeper) live(c *http.Cookie) (Attempt, bool) {
	if !strings.HasPrefix(c.Name, k.Name+"-a-") {
		return Attempt{}, false
	}
	a, err := k.open(c)
	return a, err == nil && time.Since(a.Start) < k.Timeout
}

// Drop deletes the cookie of an attempt that was found.
func (k *Keeper) Drop(w http.ResponseWriter, a *Attempt) { k.Cookies.Clear(w, a.cookie) }

// open reads the cookie of an attempt. It fails like [seal.Ring.Open].
func (k *Keeper) open(c *http.Cookie) (Attempt, error) {
	a := Attempt{cookie: c.Name}
	if err := k.Ring.OpenText(attemptBinding(c.Name), c.Value, &a); err != nil {
		return Attempt{}, err
	}
	return a, nil
}

// makeRoom makes room for a new attempt of that size: it deletes the oldest attempts under way.
// Browsers that began many logins would otherwise send more cookies than servers accept. A page of
// another site can begin logins without end, in a window that it navigates: such a login deletes
// others that other sites began, the newest first, and none of the visitor's own. Where only those
// are left, there is no room for it, and it is not kept. One attempt alone always has room.
func (k *Keeper) makeRoom(w http.ResponseWriter, r *http.Request, size int) (ok bool) {
	held := k.underWay(w, r)
	for _, h := range held {
		size += h.size
	}
	for len(held) >= maxAttempts || size > maxAllCookie {
		k.Evicted(r.Context())
		at := 0
		if browser.IsCrossSite(r) {
			if at = lastForeign(held); at < 0 {
				return false
			}
		}
		k.Cookies.Clear(w, held[at].name)
		size -= held[at].size
		held = slices.Delete(held, at, at+1)
	}
	return true
}

// lastForeign returns the index of the newest attempt that another site began, or -1.
func lastForeign(held []heldAttempt) int {
	for i, h := range slices.Backward(held) {
		if h.foreign {
			return i
		}
	}
	return -1
}

// heldAttempt is the cookie of an attempt under way, as the browser sent it.
type heldAttempt struct {
	name    string
	size    int
	start   time.Time
	foreign bool
}

// underWay returns the attempts of this browser that are under way, the oldest first. It deletes up
// to maxCleared other cookies of attempts: those that have expired or cannot be opened.
func (k *Keeper) underWay(w http.ResponseWriter, r *http.Request) []heldAttempt {
	var held []heldAttempt
	cleared := 0
	for _, c := range r.Cookies() {
		if !strings.HasPrefix(c.Name, k.Name+"-a-") {
			continue
		}
		if a, ok := k.live(c); ok {
			held = append(held, heldAttempt{c.Name, len(c.Name) + len(c.Value), a.Start, a.Foreign})
			continue
		}
		if cleared++; cleared <= maxCleared {
			k.Cookies.Clear(w, c.Name)
		}
	}
	slices.SortStableFunc(held, func(a, b heldAttempt) int { return a.start.Compare(b.start) })
	return held
}

// NotFound is the error of [Keeper.Find].
type NotFound struct {
	Reason event.Reason
	why    string
}

func (e *NotFound) Error() string { return e.why }

// Find finds the attempt that a response to a provider's callback answers, by its state.
// Only the browser that began it has its cookie. Nothing else in the response, errors included, is
// believed before that (RFC 9700, section 4.7). The error is a [NotFound]. With an attempt that is
// of another provider or over, both the attempt and an error are returned.
func (k *Keeper) Find(r *http.Request, at At, state string) (Attempt, error) {
	if len(state) != stateSize {
		why := fmt.Sprintf("a state of %d bytes", len(state))
		return Attempt{}, &NotFound{event.ReasonUnknownState, why}
	}
	var failed error
	cookies := r.CookiesNamed(cookieName(k.Name, state))
	if len(cookies) == 0 && k.Older != "" {
		// Its binding holds the name: an attempt that began under the new name is not opened.
		cookies = r.CookiesNamed(cookieName(k.Older, state))
	}
	for _, c := range cookies {
		a, err := k.open(c)
		if err == nil && subtle.ConstantTimeCompare([]byte(a.State()), []byte(state)) == 1 {
			return a, k.check(&a, at)
		}
		failed = cmp.Or(failed, ofAnotherReplica(err), errMismatch)
	}
	if failed != nil {
		return Attempt{}, failed
	}
	why := "no attempt with this state in this browser"
	if len(r.Cookies()) == 0 {
		why = "the browser sent no cookie at all: it blocks them, something drops them on the way, or " +
			"the response was refused before and came again"
	}
	return Attempt{}, &NotFound{event.ReasonUnknownState, why}
}

var errMismatch error = &NotFound{
	event.ReasonStateBrowserMismatch, "the attempt's cookie does not belong to the state",
}

// ofAnotherReplica returns a NotFound if a cookie was not opened because a replica with other keys
// wrote it, and nil for another error. Junk is seldom taken for such a cookie, because its first
// byte is another.
func ofAnotherReplica(err error) error {
	if errors.Is(err, seal.ErrUnknownKey) {
		return &NotFound{event.ReasonStateKeyUnknown, err.Error()}
	}
	return nil
}

// check refuses an attempt that began at another provider (mix-up attack, RFC 9700, section 4.4),
// or at one of the same name that was replaced since, too long ago, or in the future.
func (k *Keeper) check(a *Attempt, at At) error {
	if a.Provider != at.Provider {
		return &NotFound{event.ReasonIssMismatch, "the login began at another provider"}
	}
	if a.Client != at.Client {
		return &NotFound{event.ReasonIssMismatch,
			"the provider of this name has another issuer or client id since the login began"}
	}
	age := time.Since(a.Start)
	if age >= k.Timeout || age < -k.ClockSkew {
		why := fmt.Sprintf("begun %s ago; up to %s may be", age.Round(time.Second), k.Timeout)
		if age < 0 {
			why = fmt.Sprintf("begun %s in the future by this machine's clock, so that of another replica "+
				"is ahead", -age.Round(time.Second))
		}
		return &NotFound{event.ReasonStateExpired, why}
	}
	return nil
}
