package op

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
)

// Error is every failure of this package: one text for the log, one status for the browser, one
// stable word for events. None of its parts holds a body, a token, a code, a secret or a URL
// with a query, whatever the provider sent.
type Error struct {
	Reason event.Reason

	// Status is what the browser gets: 400 for what came through the browser, 403 for a user
	// whom the provider refuses, 502 for an invalid answer, 503 for a provider that is down or
	// busy, 504 for a slow one.
	Status int

	// Stage is how far the login had come. Only ReadResponse and Finish set it.
	Stage Stage

	// Refused is true when the token endpoint answered no: with a status of 4xx, or with an error
	// code and a status below 500, but not with one that says that it is down. It has then issued
	// nothing.
	Refused bool

	// Unsent is true when no connection was made, and so nothing was sent.
	Unsent bool

	// Answered is true when an answer came that cannot be used, and it does not say that the provider
	// is overloaded or broken.
	Answered bool

	// Alone is true when the status of an answer says that the server refused this request or failed
	// at it, and not that it is overloaded or down: others may get a better answer.
	Alone bool

	// Limited is true when userinfo failed in a way that may be for the user's sake: there are limits
	// for each user, and users have as much of a profile as they like.
	Limited bool

	// Unreadable is true when userinfo was answered with status 200, and what came is no userinfo
	// response, for another reason than keys that are missing here.
	Unreadable bool

	// Doubtful is true when userinfo was answered with 401 or 403 without a word of who refuses what:
	// the provider the access token, or a proxy the request.
	Doubtful bool

	// TooLong is true when an answer of status 200 has more than is taken, or a server takes no access
	// token of that length: what users write may make it so.
	TooLong bool

	// Unproven is true when none of the keys at hand signed a token, and newer ones could not be
	// loaded, or nothing says which key did. The token may be genuine.
	Unproven bool

	// Clock is true when a time of a signed token cannot be by the clock of this machine, which may be
	// wrong. Of an ID Token all else is right then.
	Clock bool

	// Address is what was asked, without a query, where metadata or keys could not be had.
	Address string

	// Description is the provider's error_description, short and escaped, without anything secret of
	// the request that it quotes. It is for the log.
	Description string

	// Code is the OAuth error code, if the provider answered with one: a registered code or
	// "other".
	Code string

	// Issuer and Subject say whose login it was. They are empty unless an ID Token that the provider
	// signed for this client says so.
	Issuer, Subject string

	Hint string // what an operator can do about it, if we know
	Err  error  // the cause; may be nil
}

// Stage is how far a login had come when it failed.
type Stage int

// The stages of a login, in their order.
const (
	// StageBefore: the response was not looked at, or the login was not claimed, because the
	// provider could not be asked. The same response may be tried again.
	StageBefore Stage = iota

	// StageResponse: the response is refused, or brings the provider's error. The login is over
	// in this browser, and was not claimed.
	StageResponse

	// StageClaimed: the login was claimed, and its code may have been sent. It is over.
	StageClaimed
)

// NeedsInteraction reports whether a response in order says that the provider cannot complete
// the login without asking the user (OpenID Connect Core, 3.1.2.6). After a request with
// prompt=none the login may be begun again without it.
func (e *Error) NeedsInteraction() bool {
	if e.Stage != StageResponse {
		return false
	}
	switch e.Code {
	case "login_required", "interaction_required", "consent_required",
		"account_selection_required",
		"invalid_request": // some want an id_token_hint with prompt=none (Core, 3.1.2.1)
		return true
	}
	return false
}

// IsLate reports whether a response in order says that the login page was open for too long, or
// that the user has logged in meanwhile in another tab. Keycloak says so.
func (e *Error) IsLate() bool {
	return e.Stage == StageResponse && e.Code == "temporarily_unavailable" &&
		e.Description == "authentication_expired"
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
	if e.Address != "" {
		text += ", at " + e.Address
	}
	if e.Description != "" {
		text += ": " + strconv.Quote(e.Description)
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// about returns err as an Error about the user of an ID Token that the provider signed. It changes
// a copy, because logins that wait for the same request share its error.
func about(id claims.Object, err error) error {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return err
	}
	named := *e
	named.Issuer, named.Subject = text(id, "iss"), text(id, "sub")
	return &named
}

// invalid is the Error for an answer that breaks a rule.
func invalid(reason event.Reason, text string) *Error {
	return &Error{
		Reason: reason, Status: http.StatusBadGateway, Answered: true, Err: errors.New(text),
	}
}

// invalidf is invalid with a text that says what came and what was wanted. Words of the provider
// must be [bounded].
func invalidf(reason event.Reason, format string, args ...any) *Error {
	return invalid(reason, fmt.Sprintf(format, args...))
}

// failure turns the error of a request into an Error: with the reason unreachable when no answer
// came, and the reason unusable when an answer came and was refused. An Error that a check of the
// answer made is returned as it is.
func failure(err error, unreachable, unusable event.Reason) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	f, ok := errors.AsType[*fault](err)
	if !ok {
		// A library refused what our own checks accept. Its text may quote the answer.
		f = &fault{status: http.StatusBadGateway, answered: true, text: "the answer could not be read"}
	}
	reason := unreachable
	if f.answered {
		reason = unusable
	}
	return &Error{
		Reason: reason, Status: f.status, Err: f,
		Unsent: f.unsent, Answered: f.answered, Unreadable: f.unreadable, TooLong: f.tooLong,
		Alone: f.alone,
	}
}

// at returns the error with the address of the endpoint from which no answer came, or an answer
// that there is no such endpoint. Any other error it returns as it is.
func (e *Error) at(address string) *Error {
	if _, ok := e.Err.(*fault); !ok || e.Answered && e.Hint != hintNowhere {
		return e
	}
	located := *e
	located.Address, _, _ = strings.Cut(address, "?")
	return &located
}
