package page

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/http"

	"github.com/oidcgate/oidcgate/internal/event"
)

// LoginFailed returns what tells the visitor in one sentence why a login was refused, and in
// another what to do. code is the provider's error code, if it sent one.
func LoginFailed(status int, reason event.Reason, code string) Message {
	if m, ok := byReason[reason]; ok {
		return m
	}
	switch {
	case status == http.StatusServiceUnavailable, status == http.StatusGatewayTimeout:
		return failedDown
	case status != http.StatusBadGateway:
		return Failed
	case reason == event.ReasonPARError, reason == event.ReasonTokenEndpointError:
		return requestRefused(code)
	}
	return failedAnswer
}

// LinkingFailed returns what takes the place of m where a linking was refused, not a login.
func LinkingFailed(m Message) Message {
	switch m {
	case NotLinkedSession, FailedCancelled:
		return m
	case failedDown, failedStore, failedLoggedOut:
		return notLinkedNow
	}
	return notLinked
}

// requestRefused says why the provider refused a request of this service. Most often it does not
// know the client, or the secret is wrong; some providers have codes of their own for that.
func requestRefused(code string) Message {
	switch code {
	case "invalid_grant", "login_required", "interaction_required", "account_selection_required":
		return Failed // a new login may help
	}
	return cmp.Or(byReason[event.ReasonProviderError+event.Reason(code)], FailedSite)
}

// byReason has the reasons that a visitor is told more about than their status says.
var byReason = map[event.Reason]Message{
	event.ReasonStateReplayed:        failedReplayed,
	event.ReasonLinkSession:          NotLinkedSession,
	event.ReasonStateExpired:         failedExpired,
	event.ReasonUnknownState:         FailedUnknown,
	event.ReasonStateBrowserMismatch: FailedUnknown,
	event.ReasonStateKeyUnknown:      failedKey,
	event.ReasonLoopNoCookie:         failedNoCookie,
	event.ReasonLoopKeyUnknown:       failedSessionKey,
	event.ReasonLoopSessionLost:      failedSessionLost,
	event.ReasonAuthTime:             failedAuthTime,
	event.ReasonACR:                  failedACR,
	event.ReasonClaimRequired:        failedAccount,
	event.ReasonLogoutWon:            failedLoggedOut,
	event.ReasonStoreError:           failedStore,

	// No answer came, whatever the status. The code may be spent: a new login has another.
	event.ReasonPARUnreachable:           failedDown,
	event.ReasonTokenEndpointUnreachable: failedDown,

	event.ReasonProviderError + "access_denied":    FailedCancelled,
	event.ReasonProviderError + "consent_required": FailedCancelled,

	// What follows stays until somebody mends it, here or at the provider.
	event.ReasonClientSecret:      FailedSite,
	event.ReasonSessionTooLarge:   FailedSite,
	event.ReasonRequestObject:     FailedSite,
	event.ReasonLoginOptions:      FailedSite,
	event.ReasonPromptUnsupported: FailedSite,
	event.ReasonIssuerMismatch:    FailedSite,
	event.ReasonMetadataInvalid:   FailedSite,
	event.ReasonEndpointInvalid:   FailedSite,
	event.ReasonPKCEUnsupported:   FailedSite,
	event.ReasonDowngrade:         FailedSite,
	event.ReasonPARMismatch:       FailedSite,
	event.ReasonWrongResponseMode: FailedSite,
	event.ReasonIDTokenMissing:    FailedSite,
	event.ReasonNotEncrypted:      FailedSite,
	event.ReasonDecryption:        FailedSite,
	event.ReasonAlg:               FailedSite,
	event.ReasonIssuer:            FailedSite,
	event.ReasonAudience:          FailedSite,
	event.ReasonAuthorizedParty:   FailedSite,

	event.ReasonProviderError + "invalid_request":               FailedSite,
	event.ReasonProviderError + "invalid_scope":                 FailedSite,
	event.ReasonProviderError + "invalid_client":                FailedSite,
	event.ReasonProviderError + "unauthorized_client":           FailedSite,
	event.ReasonProviderError + "unsupported_response_type":     FailedSite,
	event.ReasonProviderError + "invalid_request_object":        FailedSite,
	event.ReasonProviderError + "invalid_request_uri":           FailedSite,
	event.ReasonProviderError + "request_not_supported":         FailedSite,
	event.ReasonProviderError + "request_uri_not_supported":     FailedSite,
	event.ReasonProviderError + "invalid_target":                FailedSite,
	event.ReasonProviderError + "invalid_authorization_details": FailedSite,
}

// NewReference returns a short text that a visitor can read out to the support. It protects
// nothing, so it needs no secure randomness: a login that fails because that is missing has a
// reference too.
func NewReference() string { return fmt.Sprintf("%010X", rand.Uint64()>>24) }
