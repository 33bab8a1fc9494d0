package oidcgate

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/oidcgate/oidcgate/internal/event"
)

// EventType names what happened. The names are stable. docs/events.md explains each and says what
// an operator does.
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
)

// Reason says in one stable word why something happened. docs/events.md lists all. Applications may
// choose pages, and operators alerts, by the constants; the others are details for the log.
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
	ReasonByToken      = Reason(event.ReasonByToken)      // the provider withdrew the refresh token
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
	SessionRef  string    `json:"session_ref,omitempty"`
	Status      int       `json:"status,omitempty"`  // the HTTP status answered
	Err         error     `json:"-"`                 // the cause; a [LoginError] if login.failed
	Detail      string    `json:"detail,omitempty"`  // the cause, in words
	Hint        string    `json:"hint,omitempty"`    // what an operator can do
	Dropped     uint64    `json:"dropped,omitempty"` // events lost to a full queue before this one
}

// events passes events on to the log and to OnEvent.
type events struct {
	logger  *slog.Logger
	onEvent func(Event)
	queue   *event.Queue[Event]
	ill     atomic.Int64 // when a store error was last reported, in unix nanoseconds
}

func newEvents(logger *slog.Logger, onEvent func(Event)) *events {
	e := &events{logger: logger, onEvent: onEvent}
	e.queue = event.NewQueue(func(e Event) event.Type { return event.Type(e.Type) }, e.hand)
	return e
}

func (e *events) emit(ev Event) {
	ev.Time = time.Now()
	e.queue.Put(ev)
}

// hand passes one event to the log and to OnEvent. A panic of OnEvent must not end the process.
func (e *events) hand(ev Event, dropped uint64) {
	ev.Dropped = dropped
	defer func() {
		if v := recover(); v != nil {
			e.logger.Error("oidcgate: OnEvent panicked", "panic", v)
		}
	}()
	e.logger.LogAttrs(context.Background(), ev.level(), "oidcgate: "+string(ev.Type), ev.attrs()...)
	if e.onEvent != nil {
		e.onEvent(ev)
	}
}

// storeUnavailable reports an error of the store, at most once a second: during an outage every
// request meets one.
func (e *events) storeUnavailable(err error) {
	now, last := time.Now().UnixNano(), e.ill.Load()
	if now-last < int64(time.Second) || !e.ill.CompareAndSwap(last, now) {
		return
	}
	e.emit(Event{Type: EventStoreUnavailable, Detail: err.Error(), Hint: hintStore})
}

const hintStore = "check that the store is up, reachable, writable and not out of memory"

func (ev Event) level() slog.Level { return event.LevelOf(event.Type(ev.Type)) }

func (ev Event) attrs() []slog.Attr {
	var attrs []slog.Attr
	text := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	text("reason", string(ev.Reason))
	text("reference", ev.Reference)
	text("provider", ev.Provider)
	text("issuer", ev.Issuer)
	text("sub_hash", ev.SubjectHash)
	text("session_ref", ev.SessionRef)
	if ev.Status != 0 {
		attrs = append(attrs, slog.Int("status", ev.Status))
	}
	text("detail", ev.Detail)
	text("hint", ev.Hint)
	if ev.Dropped != 0 {
		attrs = append(attrs, slog.Uint64("dropped", ev.Dropped))
	}
	return attrs
}
