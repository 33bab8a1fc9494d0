package attempt

import (
	"crypto/rand"
	"time"

	"github.com/oidcgate/oidcgate/internal/seal"
)

// link is what the address of a linking carries.
type link struct {
	At
	Start time.Time `json:"t"`
}

// SealLink returns what stands in an address at which the session of that id attaches an identity
// of that provider. No other session can use it, so nobody can have a visitor attach an identity
// that is not theirs.
func (k *Keeper) SealLink(sessionID string, at At) (string, error) {
	return k.Ring.SealText(linkBinding(sessionID), link{at, time.Now()})
}

// OpenLink returns the provider. ok is false if the text is not for this session, or too old: then
// the provider is not zero.
func (k *Keeper) OpenLink(sessionID, text string) (at At, ok bool) {
	var l link
	if sessionID == "" || k.Ring.OpenText(linkBinding(sessionID), text, &l) != nil {
		return At{}, false
	}
	age := time.Since(l.Start)
	return l.At, age < maxLinkAge && age > -k.ClockSkew
}

// maxLinkAge is how long an address works. It stands on a page that may be open for a while.
const maxLinkAge = 12 * time.Hour

func linkBinding(sessionID string) seal.Binding {
	return seal.Binding{Purpose: "link", Secret: sessionID}
}

// SealOptions returns what stands in an address for the options of one login. v is written as JSON.
// A page may have such an address for every visitor, so each is bound to a name of its own: see
// [seal.Binding].
func (k *Keeper) SealOptions(v any) (string, error) {
	name := rand.Text()
	text, err := k.Ring.SealText(k.optionsBinding(name), v)
	return name + text, err
}

// OpenOptions stores in v what was given to SealOptions, and reports whether the text is that.
func (k *Keeper) OpenOptions(text string, v any) bool {
	n := min(len(text), nameSize)
	return k.Ring.OpenText(k.optionsBinding(text[:n]), text[n:], v) == nil
}

// nameSize is the length of rand.Text.
const nameSize = 26

func (k *Keeper) optionsBinding(name string) seal.Binding {
	return seal.Binding{Purpose: "login options", Name: k.Name + "/" + name}
}
