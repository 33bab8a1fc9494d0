package attempt

import (
	"time"

	"github.com/oidcgate/oidcgate/internal/seal"
)

// link is what the address of a linking carries.
type link struct {
	Provider string    `json:"p,omitempty"`
	Start    time.Time `json:"t"`
}

// SealLink returns what stands in an address at which the session of that id attaches an identity
// of the named provider. No other session can use it, so nobody can have a visitor attach an
// identity that is not theirs.
func (k *Keeper) SealLink(sessionID, provider string) (string, error) {
	return k.Ring.SealText(linkBinding(sessionID), link{provider, time.Now()})
}

// OpenLink returns the provider. ok is false if the text is not for this session, or too old.
func (k *Keeper) OpenLink(sessionID, text string) (provider string, ok bool) {
	var l link
	if sessionID == "" || k.Ring.OpenText(linkBinding(sessionID), text, &l) != nil {
		return "", false
	}
	age := time.Since(l.Start)
	return l.Provider, age < maxLinkAge && age > -k.ClockSkew
}

// maxLinkAge is how long an address works. It stands on a page that may be open for a while.
const maxLinkAge = 12 * time.Hour

func linkBinding(sessionID string) seal.Binding {
	return seal.Binding{Purpose: "link", Secret: sessionID}
}
