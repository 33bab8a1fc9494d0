package op

import (
	"errors"
	"net/http"

	"github.com/oidcgate/oidcgate/internal/event"
)

// Error is every failure of this package: one text for the log, one status for
// the browser, one stable word for events. None of its parts holds a body, a
// token, a code, a secret or a URL with a query, whatever the provider sent.
type Error struct {
	Reason event.Reason

	// Status is what the browser gets: 502 for an invalid answer, 503 for a provider that is down or
	// busy, 504 for a slow one, 400 for what came through the browser.
	Status int

	Code string // the OAuth error code, if the provider answered with one: registered, or "other"
	Hint string // what an operator can do about it, if we know
	Err  error  // the cause; may be nil

	// OfResponse says that the authorization response itself is refused, or brings an error. The
	// login cannot be finished any more.
	OfResponse bool
}

// Error returns the reason, the code and the cause.
func (e *Error) Error() string {
	text := "provider: " + string(e.Reason)
	if e.Code != "" {
		text += " (" + e.Code + ")"
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// invalid is an Error for something the provider sent and should not have.
func invalid(reason event.Reason, text string) *Error {
	return &Error{Reason: reason, Status: http.StatusBadGateway, Err: errors.New(text)}
}

// failure turns the error of a call into an Error: with the reason unreachable
// when no answer came, and the reason unusable when the answer was no good. An
// Error that a check of the answer made is returned as it is.
func failure(err error, unreachable, unusable event.Reason) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	f, ok := errors.AsType[*fault](err)
	if !ok {
		// A library refused what our own checks let through. Its text may
		// quote the answer.
		f = &fault{status: http.StatusBadGateway, answered: true, text: "the answer could not be read"}
	}
	reason := unreachable
	if f.answered {
		reason = unusable
	}
	return &Error{Reason: reason, Status: f.status, Err: f}
}
