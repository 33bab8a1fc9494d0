package attempt

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oidcgate/oidcgate/internal/seal"
)

// Step is what a login must bring beyond the usual (OpenID Connect Core, section 3.1.2.1). The zero
// value asks for nothing.
type Step struct {
	ACR    []string       `json:"a,omitempty"`
	MaxAge *time.Duration `json:"m,omitempty"`
}

// Zero reports whether the step asks for nothing.
func (s Step) Zero() bool { return len(s.ACR) == 0 && s.MaxAge == nil }

// And returns what satisfies both s and other.
func (s Step) And(other Step) Step {
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

// Challenge returns the value of WWW-Authenticate (RFC 9110, section 11.6.1) for a request of a
// script that needs a login or, if the step asks for something, another one (RFC 9470, section 3).
// The scheme is a name for the session's cookie: what is wanted is a login, not a token.
func (s Step) Challenge() string {
	if s.Zero() {
		return "Session"
	}
	return `Session error="insufficient_user_authentication"` + s.Params()
}

// Params returns what the step asks for as parameters of a challenge, each with a comma in front.
func (s Step) Params() string {
	params := ""
	if len(s.ACR) > 0 {
		params += `, acr_values="` + quoted.Replace(strings.Join(s.ACR, " ")) + `"`
	}
	if s.MaxAge != nil {
		params += fmt.Sprintf(`, max_age="%d"`, int64(s.MaxAge.Seconds()))
	}
	return params
}

// quoted writes a text so that it can stand in a quoted string (RFC 9110, section 5.6.4).
var quoted = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// Also returns a step that satisfies s and, as far as that is possible, other too.
func (s Step) Also(other Step) Step {
	both := s.And(other)
	if both.Impossible() && !s.Impossible() {
		both.ACR = s.ACR
	}
	return both
}

// Impossible reports whether no login can help: no ACR value satisfies all rules.
func (s Step) Impossible() bool { return s.ACR != nil && len(s.ACR) == 0 }

// SealStep and OpenStep carry a Step from the guard to the login in the login's address, encrypted
// for the session of that id: a link from elsewhere cannot choose what is asked of the provider.
func (k *Keeper) SealStep(sessionID string, step Step) string {
	text, _ := k.Ring.SealText(stepBinding(sessionID), step) // no step: the login asks for less
	return text
}

// OpenStep returns the zero Step if there is no session or text is not for it.
func (k *Keeper) OpenStep(sessionID, text string) (step Step) {
	if sessionID != "" {
		_ = k.Ring.OpenText(stepBinding(sessionID), text, &step) // nothing with an error
	}
	return step
}

func stepBinding(sessionID string) seal.Binding {
	return seal.Binding{Purpose: "step", Secret: sessionID}
}
