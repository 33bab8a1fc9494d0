package oidcgate

import (
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/front"
	"github.com/oidcgate/oidcgate/internal/session"
)

// The errors that a caller may act on.
var (
	// ErrStoreUnavailable is wrapped by the errors that [Gate.SessionErr], [Gate.Token], [Gate.Ready]
	// and [Sessions] return while the store cannot answer. Where their ctx has ended first, they
	// return its error instead, and no event tells of it.
	ErrStoreUnavailable = session.ErrStore

	// ErrNoSession is returned where a session is needed and the visitor has none.
	ErrNoSession = session.ErrGone

	// ErrTokenExpired is returned by [Gate.Token] when the session's access token has expired and
	// cannot be refreshed, because the provider gave no refresh token.
	ErrTokenExpired = session.ErrTokenExpired

	// ErrNotAllowed is the cause with which a context of [Gate.Watch] ends when a rule refuses.
	ErrNotAllowed = session.ErrNotAllowed

	// ErrProviderUnavailable is wrapped by the error that [Gate.Token] returns when the access token
	// has expired and the provider gives no new one at the moment. The session goes on.
	ErrProviderUnavailable = session.ErrProvider
)

// ConfigError is one fault of a [Config] or [Provider]. [New] returns all of them joined; errors.As
// finds the first.
type ConfigError struct {
	Field   string // "BaseURL", "Provider.ClientID", "Provider[staff].Issuer"
	Problem string // what is wrong with the value, and the cure
}

func (e *ConfigError) Error() string { return "oidcgate: " + e.Field + ": " + e.Problem }

// LoginError says why a login was refused. It is the Err of the [Event]; the browser sees a [Page]
// with the same reference.
type LoginError struct {
	Status    int    // the HTTP status answered
	Reason    Reason // stable, for alerts and tests
	Reference string // stands on the page, in the log and in the event
	Hint      string // what an operator can do about it; may be empty
	Err       error  // the cause; may be nil
}

func (e *LoginError) Error() string {
	return (&front.Failure{Reason: event.Reason(e.Reason), Err: e.Err}).Error()
}

// Unwrap returns the cause.
func (e *LoginError) Unwrap() error { return e.Err }

// ProviderError is an error that the provider sent instead of a code or a token (RFC 6749, sections
// 4.1.2.1 and 5.2; OpenID Connect Core, section 3.1.2.6).
type ProviderError struct {
	Code string // a registered code, or "other"

	// Description is the provider's error_description: at most 200 characters of ASCII. It is for the
	// log. Do not show it to visitors: anybody who sends them a link can write it.
	Description string
}

func (e *ProviderError) Error() string { return (*front.ProviderError)(e).Error() }

// publicError returns the cause of an event as applications see it.
func publicError(err error) error {
	switch e := err.(type) {
	case *front.Failure:
		return &LoginError{
			Status: e.Status, Reason: Reason(e.Reason), Reference: e.Reference, Hint: e.Hint,
			Err: publicError(e.Err),
		}
	case *front.ProviderError:
		return (*ProviderError)(e)
	}
	return err
}
