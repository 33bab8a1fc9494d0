package oidcgate

import "github.com/oidcgate/oidcgate/internal/event"

// Reason says in one stable word why something happened. docs/events.md lists all. Applications may
// choose pages, and operators alerts, by constants such as [ReasonHookError]; the rest is detail.
type Reason string

// Reasons of refused logins, and of other events about the provider and the store. To an error of
// the provider, ReasonProviderError, its code is added: "op_error:access_denied".
const (
	// About the visitor and the browser.
	ReasonUnknownState         = Reason(event.ReasonUnknownState)
	ReasonStateBrowserMismatch = Reason(event.ReasonStateBrowserMismatch)
	ReasonStateExpired         = Reason(event.ReasonStateExpired)
	ReasonStateReplayed        = Reason(event.ReasonStateReplayed)
	ReasonProviderError        = Reason(event.ReasonProviderError)

	// About an attack, or a wrong configuration.
	ReasonIssMismatch = Reason(event.ReasonIssMismatch)
	ReasonSignature   = Reason(event.ReasonSignature)
	ReasonNonce       = Reason(event.ReasonNonce)
	ReasonKeyUnknown  = Reason(event.ReasonKeyUnknown)

	// About the application.
	ReasonPolicyDenied    = Reason(event.ReasonPolicyDenied)
	ReasonHookError       = Reason(event.ReasonHookError)
	ReasonSessionTooLarge = Reason(event.ReasonSessionTooLarge)
	ReasonLogoutWon       = Reason(event.ReasonLogoutWon)

	// About the provider.
	ReasonProviderUnreachable      = Reason(event.ReasonProviderUnreachable)
	ReasonProviderBusy             = Reason(event.ReasonProviderBusy)
	ReasonTokenEndpointUnreachable = Reason(event.ReasonTokenEndpointUnreachable)
	ReasonTokenEndpointError       = Reason(event.ReasonTokenEndpointError)
	ReasonInvalidGrant             = Reason(event.ReasonInvalidGrant)
	ReasonJWKSUnavailable          = Reason(event.ReasonJWKSUnavailable)

	// About this service.
	ReasonStoreError   = Reason(event.ReasonStoreError)
	ReasonClientSecret = Reason(event.ReasonClientSecret)
)

// Reasons of [EventSessionExpired] and [EventSessionRevoked].
const (
	ReasonIdle         = Reason(event.ReasonIdle)         // nobody used it for IdleTimeout
	ReasonAbsolute     = Reason(event.ReasonAbsolute)     // it reached SessionLifetime
	ReasonByUser       = Reason(event.ReasonByUser)       // the user logged out
	ReasonByAdmin      = Reason(event.ReasonByAdmin)      // [Sessions.EndUser] and the like
	ReasonBackchannel  = Reason(event.ReasonBackchannel)  // the provider, by a logout token
	ReasonFrontchannel = Reason(event.ReasonFrontchannel) // the provider, by a frame in the browser
	ReasonByToken      = Reason(event.ReasonByToken)      // refresh token withdrawn, or claims refused
)
