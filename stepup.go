package oidcgate

import (
	"slices"
	"time"

	"github.com/oidcgate/oidcgate/internal/seal"
)

// stepUp is what a login must bring beyond the usual (OpenID Connect Core, section 3.1.2.1).
type stepUp struct {
	ACR    []string       `json:"a,omitempty"`
	MaxAge *time.Duration `json:"m,omitempty"`
}

func (s stepUp) zero() bool { return len(s.ACR) == 0 && s.MaxAge == nil }

// and returns what satisfies both s and other.
func (s stepUp) and(other stepUp) stepUp {
	switch {
	case s.ACR == nil:
		s.ACR = other.ACR
	case other.ACR != nil:
		s.ACR = slices.DeleteFunc(slices.Clone(s.ACR), func(acr string) bool {
			return !slices.Contains(other.ACR, acr)
		})
	}
	if other.MaxAge != nil && (s.MaxAge == nil || *other.MaxAge < *s.MaxAge) {
		s.MaxAge = other.MaxAge
	}
	return s
}

// impossible reports whether no login can help: no ACR value satisfies all rules.
func (s stepUp) impossible() bool { return s.ACR != nil && len(s.ACR) == 0 }

// sealStep and openStep carry a stepUp from the guard to the login in the login's address,
// encrypted for its session: a link from elsewhere cannot choose what is asked of the provider.
func (g *Gate) sealStep(v *visit, step stepUp) string {
	text, err := g.ring.SealText(stepBinding(v), step)
	if err != nil {
		return ""
	}
	return text
}

func (g *Gate) openStep(v *visit, text string) (step stepUp) {
	if v.session == nil || g.ring.OpenText(stepBinding(v), text, &step) != nil {
		return stepUp{}
	}
	return step
}

func stepBinding(v *visit) seal.Binding {
	return seal.Binding{Purpose: "step", Secret: string(v.id())}
}
