package oidcgate

import (
	"net/http"
	"net/url"

	"github.com/oidcgate/oidcgate/internal/event"
)

// response holds the parameters of an authorization response.
type response struct {
	State, Code, Iss, Error string
	hasIss, hasError        bool
	hasTokens               bool // it holds what no code flow's response does
}

const (
	maxCode     = 4 << 10
	maxResponse = 16 << 10
)

// readResponse reads an authorization response from the query. A parameter that stands there twice is
// refused before anything is done with it: two readers would see two different responses (RFC 6749, section
// 3.1).
func readResponse(rawQuery string) (response, *LoginError) {
	if len(rawQuery) > maxResponse {
		return response{}, badResponse(Reason(event.ReasonResponseInvalid), "%d bytes long", len(rawQuery))
	}
	q, err := url.ParseQuery(rawQuery)
	if err != nil {
		return response{}, badResponse(Reason(event.ReasonResponseInvalid), "not a query")
	}
	for _, name := range []string{"state", "code", "iss", "error", "error_description", "error_uri", "response", "id_token", "access_token", "token_type", "session_state"} {
		if len(q[name]) > 1 {
			return response{}, badResponse(Reason(event.ReasonDuplicateParameter), "%s appears %d times", name, len(q[name]))
		}
	}
	if len(q.Get("code")) > maxCode {
		return response{}, badResponse(Reason(event.ReasonResponseInvalid), "a code of %d bytes", len(q.Get("code")))
	}
	return response{
		State:  q.Get("state"),
		Code:   q.Get("code"),
		Iss:    q.Get("iss"),
		Error:  q.Get("error"),
		hasIss: q.Has("iss"), hasError: q.Has("error"),
		hasTokens: q.Has("response") || q.Has("id_token") || q.Has("access_token"),
	}, nil
}

func checkShape(resp response) *LoginError {
	switch {
	case resp.hasTokens:
		return badResponse(Reason(event.ReasonResponseInvalid), "tokens or a response object beside the code")
	case resp.Code != "" && resp.hasError:
		return badResponse(Reason(event.ReasonResponseInvalid), "both a code and an error")
	case resp.Error != "":
		return providerSaid(resp.Error)
	case resp.Code == "":
		return badResponse(Reason(event.ReasonResponseInvalid), "neither a code nor an error")
	}
	return nil
}

// authorizationErrors are the registered error codes of RFC 6749, section 4.1.2.1 and OpenID Connect Core,
// section 3.1.2.6. Any other is "other": a stranger chooses no text of ours.
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

func providerSaid(code string) *LoginError {
	status, registered := authorizationErrors[code]
	if !registered {
		code, status = "other", http.StatusBadGateway
	}
	return &LoginError{
		Status: status,
		Reason: ReasonProviderError + Reason(code),
		Hint:   "the provider refused the authorization request: check the redirect URI, the scopes and who may use this client there",
		Err:    &ProviderError{Code: code},
	}
}
