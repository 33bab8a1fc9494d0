package op

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/oidcgate/oidcgate/internal/event"
)

// Response is an authorization response, from whatever channel it came (OpenID Connect Core,
// 3.1.2.5). Only its State is shown. It says which login the response answers; nothing else of
// a response may be believed before that login is found, and [Client.Finish] reads the rest.
type Response struct {
	State string

	code        string
	idToken     string
	issuer      string
	errorCode   string
	description string // of the error, in the provider's words
	object      string // the whole response as a JWT (JARM), decrypted; not verified yet; has State
	hasIssuer   bool
	hasError    bool
	hasIDToken  bool
	hasToken    bool // it has an access token, which is never asked for
	hasObject   bool
}

const (
	maxCode     = 4 << 10
	maxResponse = 16 << 10
	maxTokens   = 64 << 10 // of a response with an ID Token, which may name many groups
)

// MaxResponse is how long a response may be, in bytes.
func (c *Client) MaxResponse() int {
	if c.cfg.wantsIDToken() || c.cfg.wantsObject() {
		return maxTokens
	}
	return maxResponse
}

// ReadResponse reads an authorization response from the query, the fragment or the form in which it
// came. It refuses a response in which a parameter stands twice with different values, because two
// readers would see two different responses (RFC 6749, 3.1). Some providers repeat an equal value,
// which every reader reads alike. Every failure is an *Error, with status 400 unless an encrypted
// response could not be decrypted for want of keys or time.
func (c *Client) ReadResponse(ctx context.Context, form string) (Response, error) {
	if len(form) > c.MaxResponse() {
		return Response{}, badResponse(event.ReasonResponseInvalid, "%d bytes long", len(form))
	}
	params, err := url.ParseQuery(form)
	if err != nil {
		return Response{}, badResponse(event.ReasonResponseInvalid, "not a query")
	}
	for _, name := range responseParameters {
		if different := slices.Compact(params[name]); len(different) > 1 {
			return Response{}, badResponse(event.ReasonDuplicateParameter,
				"%s appears with different values", name)
		}
	}
	if c.cfg.wantsObject() {
		return c.readObject(ctx, params)
	}
	return newResponse(params)
}

func newResponse(params url.Values) (Response, error) {
	if n := len(params.Get("code")); n > maxCode {
		return Response{}, badResponse(event.ReasonResponseInvalid, "a code of %d bytes", n)
	}
	if !isVisible(params.Get("code")) {
		return Response{}, badResponse(event.ReasonResponseInvalid,
			"a code with bytes that no code has (RFC 6749, A.11)")
	}
	return Response{
		State:       params.Get("state"),
		code:        params.Get("code"),
		idToken:     params.Get("id_token"),
		issuer:      params.Get("iss"),
		errorCode:   params.Get("error"),
		description: params.Get("error_description"),
		hasIssuer:   params.Has("iss"),
		hasError:    params.Has("error"),
		hasIDToken:  params.Has("id_token"),
		hasToken:    params.Has("access_token"),
		hasObject:   params.Has("response"),
	}, nil
}

// isVisible reports whether s has only the characters that a code may have: visible ASCII and
// space.
func isVisible(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// responseParameters are the parameters of authorization responses that stand there at most
// once.
var responseParameters = [...]string{
	"state", "code", "iss", "error", "error_description", "error_uri",
	"response", "id_token", "access_token", "token_type", "session_state",
}

// ResponseParameters returns what the form has of the parameters that a response can have.
func ResponseParameters(form url.Values) url.Values {
	some := url.Values{}
	for _, name := range responseParameters {
		if values, ok := form[name]; ok {
			some[name] = values
		}
	}
	return some
}

// badResponse is the Error for a response that is refused.
func badResponse(reason event.Reason, format string, args ...any) *Error {
	return &Error{
		Reason: reason,
		Status: http.StatusBadRequest,
		Stage:  StageResponse,
		Err:    fmt.Errorf(format, args...),
	}
}

// checkResponse returns why nothing can follow a response, or nil. Whose
// response it is decides first: what another provider says, good news or bad, is not looked at.
func (c *Client) checkResponse(r *Response, meta Metadata) error {
	if err := c.checkResponseIssuer(r, meta); err != nil {
		return err
	}
	return c.checkShape(r)
}

// mayLackIss reports whether a response may be without iss.
func (c *Client) mayLackIss(r *Response, meta Metadata) bool {
	brings := r.code != "" || r.idToken != ""
	switch c.cfg.ResponseIss {
	case IssRequired:
		return false
	case IssOptional:
		return true
	case IssInCodes:
		if r.hasError && !brings {
			return true
		}
	}
	saysItself := c.cfg.wantsIDToken() && r.idToken != "" // an ID Token says who issued it
	return !meta.IssParameter || saysItself
}

// checkResponseIssuer checks the iss parameter (RFC 9207, 2.4). It keeps a provider that an
// attacker runs from having the code of another redeemed by us, or ours by it: the mix-up attack.
func (c *Client) checkResponseIssuer(r *Response, meta Metadata) error {
	e := &Error{Status: http.StatusBadRequest, Stage: StageResponse}
	switch {
	case r.hasIssuer && !c.Issues(r.issuer):
		e.Reason = event.ReasonIssMismatch
		e.Err = fmt.Errorf("iss is %.200q, want %q", r.issuer, meta.Issuer)
		return e
	case !r.hasIssuer && !c.mayLackIss(r, meta):
		e.Reason = event.ReasonIssMissing
		switch {
		case c.cfg.ResponseIss == IssRequired:
			e.Hint = "Verification.ResponseIss demands iss in every response"
		case r.hasError:
			e.Hint = "the provider announces iss and leaves it out of an error response; if all its " +
				"error responses are like that, set Verification.ResponseIss to IssInCodes"
		default:
			e.Hint = "the provider announces iss and leaves it out; if a setting of this client there " +
				"does that, as Keycloak has one, turn it off, or set Verification.ResponseIss to IssOptional"
		}
		return e
	}
	return nil
}

// checkShape checks that the response has what the response type says, and nothing else.
func (c *Client) checkShape(r *Response) error {
	code, token := c.cfg.wantsCode(), c.cfg.wantsIDToken()
	switch {
	case r.hasObject:
		return badResponse(event.ReasonResponseInvalid, "a response object, which was not asked for")
	case r.hasToken && code: // beside an ID Token alone Apereo CAS always sends one; nothing reads it
		return badResponse(event.ReasonResponseInvalid, "an access token, which was not asked for")
	case r.hasError && (r.code != "" || r.idToken != ""):
		return badResponse(event.ReasonResponseInvalid, "an error beside a code or an ID Token")
	case r.errorCode != "":
		return authorizationError(r.errorCode, r.description)
	case r.hasIDToken && !token, r.code != "" && !code:
		return badResponse(event.ReasonResponseInvalid,
			"a code or an ID Token that was not asked for: the response type is %q", c.cfg.ResponseType)
	case r.code == "" && r.idToken == "":
		return badResponse(event.ReasonResponseInvalid, "neither a code, nor an ID Token, nor an error")
	case code && r.code == "", token && r.idToken == "":
		return badResponse(event.ReasonResponseInvalid,
			"half of a response: the response type is %q", c.cfg.ResponseType)
	}
	return nil
}

// authorizationErrors are the registered error codes of RFC 6749, 4.1.2.1 and OpenID Connect
// Core, 3.1.2.6, and what the browser gets for them.
var authorizationErrors = map[string]int{
	"access_denied":              http.StatusForbidden,
	"login_required":             http.StatusForbidden,
	"interaction_required":       http.StatusForbidden,
	"consent_required":           http.StatusForbidden,
	"account_selection_required": http.StatusForbidden,
	"temporarily_unavailable":    http.StatusServiceUnavailable,
	"server_error":               http.StatusBadGateway,
	"invalid_request":            http.StatusBadGateway,
	"unauthorized_client":        http.StatusBadGateway,
	"unsupported_response_type":  http.StatusBadGateway,
	"invalid_scope":              http.StatusBadGateway,

	// OpenID Connect Core, 3.1.2.6; RFC 9101, 9; RFC 8707, 2; RFC 9396, 5.
	"request_not_supported":         http.StatusBadGateway,
	"request_uri_not_supported":     http.StatusBadGateway,
	"invalid_request_object":        http.StatusBadGateway,
	"invalid_request_uri":           http.StatusBadGateway,
	"invalid_target":                http.StatusBadGateway,
	"invalid_authorization_details": http.StatusBadGateway,
}

// authorizationError is the Error for a response in order that brings an error. A code that is
// not registered becomes "other", so that a stranger cannot write into logs and pages. The
// description is for the log alone.
func authorizationError(code, description string) *Error {
	status, registered := authorizationErrors[code]
	if !registered {
		code, status = "other", http.StatusBadGateway
	}
	e := &Error{
		Reason:      event.ReasonProviderError + event.Reason(code),
		Status:      status,
		Stage:       StageResponse,
		Code:        code,
		Description: bounded(description),
		Hint: "the provider refused the authorization request: check the redirect URI, the scopes " +
			"and who may use this client there",
	}
	switch code {
	case "access_denied", "consent_required":
		e.Hint = "the user refused, or may not use this client at the provider"
	case "invalid_scope":
		e.Hint = "check which scopes this client may ask for at the provider"
	case "server_error", "temporarily_unavailable":
		e.Hint = hintTrouble
	}
	return e
}

// maxDescription is how much of a provider's words is kept for the log.
const maxDescription = 200

// bounded returns a short text with nothing in it but visible ASCII, so that it forges no log line.
func bounded(s string) string {
	s = s[:min(len(s), maxDescription)]
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}
