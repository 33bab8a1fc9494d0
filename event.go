package oidcgate

import (
	"time"

	"github.com/oidcgate/oidcgate/internal/event"
)

// EventType names what happened, such as [EventLoginFailed]. The names are stable. docs/events.md
// explains each and says what an operator does.
type EventType string

// The events.
const (
	// Logins.
	EventLoginStarted        = EventType(event.LoginStarted)
	EventLoginSucceeded      = EventType(event.LoginSucceeded)
	EventLoginFailed         = EventType(event.LoginFailed)
	EventAttemptLimitReached = EventType(event.AttemptLimitReached)
	EventStepUpRequired      = EventType(event.StepUpRequired)
	EventReturnToRejected    = EventType(event.ReturnToRejected)
	EventAccessDenied        = EventType(event.AccessDenied)
	EventAccountLinked       = EventType(event.AccountLinked)

	// Sessions.
	EventSessionCreated     = EventType(event.SessionCreated)
	EventSessionExpired     = EventType(event.SessionExpired)
	EventSessionRevoked     = EventType(event.SessionRevoked)
	EventSessionUnreadable  = EventType(event.SessionUnreadable)
	EventSessionTouchFailed = EventType(event.SessionTouchFailed)
	EventValuesNotSaved     = EventType(event.ValuesNotSaved)
	EventCookieDuplicate    = EventType(event.CookieDuplicate)
	EventCookieMalformed    = EventType(event.CookieMalformed)

	// Logouts.
	EventLogoutStarted       = EventType(event.LogoutStarted)
	EventLogoutCompleted     = EventType(event.LogoutCompleted)
	EventBackchannelAccepted = EventType(event.BackchannelAccepted)
	EventBackchannelRejected = EventType(event.BackchannelRejected)
	EventFrontchannelIgnored = EventType(event.FrontchannelIgnored)

	// Tokens.
	EventRefreshSucceeded      = EventType(event.RefreshSucceeded)
	EventRefreshFailed         = EventType(event.RefreshFailed)
	EventRefreshReuseSuspected = EventType(event.RefreshReuseSuspected)
	EventUserinfoFailed        = EventType(event.UserinfoFailed)
	EventRereadFailed          = EventType(event.RereadFailed)
	EventExchangeFailed        = EventType(event.ExchangeFailed)

	// Access tokens that callers send.
	EventTokenRefused = EventType(event.TokenRefused)

	// The provider.
	EventProviderReady            = EventType(event.ProviderReady)
	EventProviderUnreachable      = EventType(event.ProviderUnreachable)
	EventProviderRejected         = EventType(event.ProviderRejected)
	EventProviderDowngradeRefused = EventType(event.ProviderDowngradeRefused)
	EventJWKSRefreshed            = EventType(event.JWKSRefreshed)
	EventJWKSRefreshFailed        = EventType(event.JWKSRefreshFailed)
	EventJWKSRefreshThrottled     = EventType(event.JWKSRefreshThrottled)

	// The store.
	EventStoreUnavailable = EventType(event.StoreUnavailable)
	EventStoreAvailable   = EventType(event.StoreAvailable)
)

// Event is something that an operator may want to count, watch or keep. It never holds a code,
// token, secret, cookie or session id. Users and sessions appear as keyed hashes, which are the
// same on every replica until the first key changes.
type Event struct {
	Time        time.Time `json:"time"`
	Type        EventType `json:"event"`
	Reason      Reason    `json:"reason,omitempty"`
	Reference   string    `json:"reference,omitempty"` // as shown to the visitor
	Provider    string    `json:"provider,omitempty"`  // Provider.Name
	Issuer      string    `json:"issuer,omitempty"`
	SubjectHash string    `json:"sub_hash,omitempty"`
	LinkedTo    string    `json:"linked_to,omitempty"` // of a linking: who is signed in
	SessionRef  string    `json:"session_ref,omitempty"`
	Status      int       `json:"status,omitempty"`  // the HTTP status answered
	Err         error     `json:"-"`                 // the cause; a [LoginError] if login.failed
	Detail      string    `json:"detail,omitempty"`  // the cause, in words
	Hint        string    `json:"hint,omitempty"`    // what an operator can do
	Dropped     uint64    `json:"dropped,omitempty"` // events lost to a full queue before this one
}

// receiver returns what hands events to OnEvent, or nil without one.
func receiver(onEvent func(Event)) func(event.Record) {
	if onEvent == nil {
		return nil
	}
	return func(r event.Record) { onEvent(publicEvent(r)) }
}

// publicEvent returns an event as applications see it.
func publicEvent(r event.Record) Event {
	return Event{
		Time: r.Time, Type: EventType(r.Type), Reason: Reason(r.Reason), Reference: r.Reference,
		Provider: r.Provider, Issuer: r.Issuer, SubjectHash: r.SubjectHash, LinkedTo: r.LinkedTo,
		SessionRef: r.SessionRef, Status: r.Status, Err: publicError(r.Err),
		Detail: r.Detail, Hint: r.Hint, Dropped: r.Dropped,
	}
}
