package op

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/oidcgate/oidcgate/internal/event"
)

// Response is an authorization response (OpenID Connect Core, 3.1.2.5), whatever channel brought
// it. Nothing of it is checked but its shape.
type Response struct {
	State, Code, Iss, Error string

	hasIss, hasError bool
	hasTokens        bool // it holds what no response of the code flow does
}

const (
	maxCode     = 4 << 10
	maxResponse = 16 << 10
)

// responseParameters are those that may stand in a response once. A parameter that stands there
// twice is refused before anything is done with it: two readers would see two different responses
// (RFC 6749, 3.1).
var responseParameters = []string{
	"state", "code", "iss", "error", "error_description", "error_uri", "response", "id_token",
	"access_token", "token_type", "session_state",
}

// ReadResponse reads an authorization response from a query.
func ReadResponse(rawQuery string) (Response, error) {
	if len(rawQuery) > maxResponse {
		return Response{}, badResponse(event.ReasonResponseInvalid, "%d bytes long", len(rawQuery))
	}
	q, err := url.ParseQuery(rawQuery)
	if err != nil {
		return Response{}, badResponse(event.ReasonResponseInvalid, "not a query")
	}
	for _, name := range responseParameters {
		if n := len(q[name]); n > 1 {
			return Response{}, badResponse(event.ReasonDuplicateParameter, "%s appears %d times", name, n)
		}
	}
	if n := len(q.Get("code")); n > maxCode {
		return Response{}, badResponse(event.ReasonResponseInvalid, "a code of %d bytes", n)
	}
	return Response{
		State:     q.Get("state"),
		Code:      q.Get("code"),
		Iss:       q.Get("iss"),
		Error:     q.Get("error"),
		hasIss:    q.Has("iss"),
		hasError:  q.Has("error"),
		hasTokens: q.Has("response") || q.Has("id_token") || q.Has("access_token"),
	}, nil
}

// badResponse is an Error of what the browser brought.
func badResponse(reason event.Reason, format string, args ...any) *Error {
	return &Error{
		Reason: reason, Status: http.StatusBadRequest, OfResponse: true,
		Err: fmt.Errorf(format, args...),
	}
}

// checkResponse checks whose response it is and that it is one of the code flow with a code.
func (c *Client) checkResponse(ctx context.Context, r Response) error {
	// This replica may not have begun the login. Whether iss may be absent stands in the metadata.
	if _, err := c.Metadata(ctx); err != nil {
		return err
	}
	if err := c.CheckResponseIssuer(r.Iss, r.hasIss); err != nil {
		return err
	}
	return checkShape(r)
}

func checkShape(r Response) error {
	switch {
	case r.hasTokens:
		return badResponse(event.ReasonResponseInvalid, "tokens or a response object beside the code")
	case r.Code != "" && r.hasError:
		return badResponse(event.ReasonResponseInvalid, "both a code and an error")
	case r.Error != "":
		return providerSaid(r.Error)
	case r.Code == "":
		return badResponse(event.ReasonResponseInvalid, "neither a code nor an error")
	}
	return nil
}

// CheckResponseIssuer checks the iss parameter of an authorization response, whether it brings a
// code or an error (RFC 9207, 2.4). Without it, a provider that an attacker runs could have the
// code of another provider redeemed here, or ours redeemed there: the mix-up attack. The metadata
// must be known, because it says whether iss may be absent; call [Client.Metadata] first.
func (c *Client) CheckResponseIssuer(iss string, present bool) error {
	if present && iss != c.cfg.Issuer {
		return fromBrowser(event.ReasonIssMismatch)
	}
	if present {
		return nil
	}
	meta, known := c.Known()
	if !known {
		return &Error{
			Reason: event.ReasonProviderUnreachable,
			Status: http.StatusServiceUnavailable,
			Err:    refused("nothing says whether the response may lack iss"),
		}
	}
	if meta.IssParameter {
		return fromBrowser(event.ReasonIssMissing)
	}
	return nil
}

func fromBrowser(reason event.Reason) *Error {
	return &Error{Reason: reason, Status: http.StatusBadRequest, OfResponse: true}
}

// authorizationErrors are the registered error codes of RFC 6749, 4.1.2.1 and OpenID Connect Core,
// 3.1.2.6, with the status that the browser gets. Any other code is "other": a stranger chooses no
// text of ours.
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
}

// providerSaid is the Error of a response that brings an error.
func providerSaid(code string) *Error {
	status, registered := authorizationErrors[code]
	if !registered {
		code, status = "other", http.StatusBadGateway
	}
	return &Error{
		Reason: event.ReasonProviderError + event.Reason(code), Status: status, Code: code, OfResponse: true,
		Hint: "the provider refused the authorization request: " +
			"check the redirect URI, the scopes and who may use this client there",
	}
}

// NeedsInteraction reports whether the provider could not complete the login without asking the
// user, and was not allowed to (prompt=none; OpenID Connect Core, 3.1.2.6).
func (e *Error) NeedsInteraction() bool {
	if !e.OfResponse {
		return false
	}
	switch e.Code {
	case "login_required", "interaction_required", "consent_required",
		"account_selection_required":
		return true
	}
	return false
}
