package op

import (
	"errors"
	"net/http"
)

// Error is every failure of this package: one text for the log, one status for
// the browser, one stable word for events. None of its parts holds a body, a
// token, a code, a secret or a URL with a query, whatever the provider sent.
type Error struct {
	Reason string // one of the Reason constants

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
	text := "provider: " + e.Reason
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

// The reasons of an [Error]. They are stable: events and dashboards carry them.
const (
	// The provider as a whole.
	ReasonProviderUnreachable = "provider_unreachable" // discovery failed: the provider is down or slow
	ReasonProviderBusy        = "provider_busy"        // too many logins are waiting for the provider
	ReasonIssuerMismatch      = "issuer_mismatch"      // the metadata is another issuer's
	ReasonMetadataInvalid     = "metadata_invalid"     // the metadata is no JSON object, or has a member of the wrong type
	ReasonEndpointInvalid     = "endpoint_invalid"     // an endpoint is missing, or not an https URL
	ReasonPKCEUnsupported     = "pkce_unsupported"     // the provider lists challenge methods, and S256 is not one
	ReasonDowngrade           = "downgrade"            // refreshed metadata is less strict than what we had
	ReasonKeysUnavailable     = "jwks_unavailable"     // the provider's keys could never be loaded
	ReasonClientSecret        = "client_secret"        // our own secret could not be read

	// The authorization response.
	ReasonResponseInvalid    = "response_invalid"
	ReasonDuplicateParameter = "duplicate_parameter"
	ReasonProviderError      = "op_error:" // a registered code follows
	ReasonIssMissing         = "iss_missing"
	ReasonIssMismatch        = "iss_mismatch"

	// The token endpoint.
	ReasonTokenEndpointUnreachable = "token_endpoint_unreachable"
	ReasonTokenEndpointError       = "token_endpoint_error"
	ReasonTokenResponseInvalid     = "token_response_invalid"
	ReasonTokenType                = "token_type"
	ReasonIDTokenMissing           = "id_token_missing"

	// The ID Token.
	ReasonIDTokenMalformed = "id_token_malformed"
	ReasonSignature        = "sig"
	ReasonAlg              = "alg"
	ReasonKeyUnknown       = "key_unknown"
	ReasonType             = "typ"
	ReasonIssuerClaim      = "iss_claim"
	ReasonAudience         = "aud"
	ReasonAuthorizedParty  = "azp"
	ReasonExpiry           = "exp"
	ReasonIssuedAt         = "iat"
	ReasonNotBefore        = "nbf"
	ReasonNonce            = "nonce"
	ReasonSubject          = "sub"
	ReasonACR              = "acr"
	ReasonAuthTime         = "auth_time"
	ReasonAccessTokenHash  = "at_hash"

	// Userinfo.
	ReasonUserinfoSubject = "userinfo_sub"
	ReasonUserinfoError   = "userinfo_error"
)

// invalid is an Error for something the provider sent and should not have.
func invalid(reason, text string) *Error {
	return &Error{Reason: reason, Status: http.StatusBadGateway, Err: errors.New(text)}
}

// failure turns the error of a call into an Error: with the reason unreachable
// when no answer came, and the reason unusable when the answer was no good. An
// Error that a check of the answer made is returned as it is.
func failure(err error, unreachable, unusable string) *Error {
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
