package attempt

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"net/http"
	"time"

	"github.com/oidcgate/oidcgate/internal/seal"
)

// logoutReturn is kept sealed in a cookie until the browser comes back from the provider's logout.
type logoutReturn struct {
	State    string `json:"s"`
	ReturnTo string `json:"r,omitempty"`
}

const logoutTTL = 10 * time.Minute

func (k *Keeper) logoutCookie() string { return k.Name + "-logout" }

func (k *Keeper) logoutBinding() seal.Binding {
	return seal.Binding{Purpose: "logout", Name: k.logoutCookie()}
}

// NewLogoutState returns a new "state" for a logout at the provider.
func NewLogoutState() string { return rand.Text() }

// KeepLogout remembers in the browser where to go after the logout with that state.
func (k *Keeper) KeepLogout(w http.ResponseWriter, state, returnTo string) error {
	text, err := k.Ring.SealText(k.logoutBinding(), logoutReturn{state, returnTo})
	if err == nil {
		k.Cookies.Set(w, k.logoutCookie(), text, logoutTTL)
	}
	return err
}

// EndLogout returns where this browser goes after the logout with that state, and forgets it. It
// fails if this browser did not begin that logout.
func (k *Keeper) EndLogout(w http.ResponseWriter, r *http.Request, state string) (string, error) {
	c, err := r.Cookie(k.logoutCookie())
	if err != nil {
		return "", err
	}
	var back logoutReturn
	if err := k.Ring.OpenText(k.logoutBinding(), c.Value, &back); err != nil {
		return "", err
	}
	if subtle.ConstantTimeCompare([]byte(state), []byte(back.State)) != 1 {
		return "", errors.New("the state is that of another logout")
	}
	k.Cookies.Clear(w, k.logoutCookie())
	return back.ReturnTo, nil
}
