package oidcgate

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// EventType names what happened. The names are stable.
type EventType string

// The events.
const (
	EventLoginStarted        EventType = "login.started"
	EventLoginSucceeded      EventType = "login.succeeded"
	EventLoginFailed         EventType = "login.failed"
	EventSessionCreated      EventType = "session.created"
	EventSessionExpired      EventType = "session.expired"    // reason: idle or absolute
	EventSessionUnreadable   EventType = "session.unreadable" // reason: key_unknown, version_newer or damaged
	EventSessionTouchFailed  EventType = "session.touch_failed"
	EventSessionRevoked      EventType = "session.revoked" // reason: user, admin, backchannel, frontchannel or token
	EventLogoutAccepted      EventType = "backchannel.accepted"
	EventLogoutRejected      EventType = "backchannel.rejected"
	EventRefreshed           EventType = "refresh.succeeded"
	EventRefreshFailed       EventType = "refresh.failed"
	EventRefreshReuse        EventType = "refresh.reuse_suspected"
	EventLogoutStarted       EventType = "logout.started"
	EventLogoutCompleted     EventType = "logout.completed"
	EventProviderReady       EventType = "provider.ready"
	EventProviderRejected    EventType = "provider.rejected"
	EventProviderUnreachable EventType = "provider.unreachable"
	EventDowngradeRefused    EventType = "provider.downgrade_refused"
	EventKeysRefreshed       EventType = "jwks.refreshed"
	EventKeysFailed          EventType = "jwks.refresh_failed"
	EventKeysThrottled       EventType = "jwks.refresh_throttled"
	EventUserinfoFailed      EventType = "userinfo.failed"
	EventReturnToRejected    EventType = "return_to.rejected"
	EventCookieDuplicate     EventType = "cookie.duplicate"
	EventCookieMalformed     EventType = "cookie.malformed"
	EventStoreUnavailable    EventType = "store.unavailable"
	EventStepUpRequired      EventType = "stepup.required"
	EventAttemptLimit        EventType = "attempt.limit_reached"
	EventAccessDenied        EventType = "access.denied"
	EventValuesNotSaved      EventType = "values.not_saved"
)

// Reason says why, in one stable word.
type Reason string

// The reasons of [EventLoginFailed]. A provider's own error is "op_error:" and its registered code, or
// "op_error:other".
const (
	ReasonUnknownState       Reason = "unknown_state"
	ReasonStateBrowser       Reason = "state_browser_mismatch"
	ReasonStateExpired       Reason = "state_expired"
	ReasonStateReplayed      Reason = "state_replayed"
	ReasonDuplicateParameter Reason = "duplicate_parameter"
	ReasonWrongResponseMode  Reason = "wrong_response_mode"
	ReasonResponseInvalid    Reason = "response_invalid" // neither code nor error, both, or something too long
	ReasonIssMissing         Reason = "iss_missing"
	ReasonIssMismatch        Reason = "iss_mismatch"
	ReasonProviderError      Reason = "op_error:" // a prefix
	ReasonTokenError         Reason = "token_endpoint_error"
	ReasonTokenUnreachable   Reason = "token_endpoint_unreachable"
	ReasonTokenInvalid       Reason = "token_response_invalid"
	ReasonTokenType          Reason = "token_type"
	ReasonIDTokenMissing     Reason = "id_token_missing"
	ReasonIDTokenMalformed   Reason = "id_token_malformed"
	ReasonSignature          Reason = "sig"
	ReasonAlg                Reason = "alg"
	ReasonKeyUnknown         Reason = "key_unknown"
	ReasonIssuer             Reason = "iss_claim"
	ReasonAudience           Reason = "aud"
	ReasonAuthorizedParty    Reason = "azp"
	ReasonExpiry             Reason = "exp"
	ReasonIssuedAt           Reason = "iat"
	ReasonNotBefore          Reason = "nbf"
	ReasonNonce              Reason = "nonce"
	ReasonSubject            Reason = "sub"
	ReasonACR                Reason = "acr"
	ReasonAuthTime           Reason = "auth_time"
	ReasonType               Reason = "typ"
	ReasonAccessTokenHash    Reason = "at_hash"
	ReasonUserinfoSubject    Reason = "userinfo_sub"
	ReasonUserinfoError      Reason = "userinfo_error"
	ReasonPolicyDenied       Reason = "policy_denied"
	ReasonStoreError         Reason = "store_error"
	ReasonLogoutWon          Reason = "logout_won"
	ReasonSessionTooLarge    Reason = "session_too_large"
	ReasonHookError          Reason = "hook_error"
	ReasonProviderDown       Reason = "provider_unreachable"
	ReasonProviderBusy       Reason = "provider_busy"
	ReasonRandom             Reason = "random"

	// Of a provider whose metadata or keys the gate cannot work by. EventProviderRejected and
	// EventDowngradeRefused have them too.
	ReasonIssuerMismatch  Reason = "issuer_mismatch"
	ReasonMetadataInvalid Reason = "metadata_invalid"
	ReasonEndpointInvalid Reason = "endpoint_invalid"
	ReasonPKCEUnsupported Reason = "pkce_unsupported"
	ReasonDowngrade       Reason = "downgrade"
	ReasonKeysUnavailable Reason = "jwks_unavailable"
	ReasonClientSecret    Reason = "client_secret" // the function that gives it failed
)

// The reasons of other events.
const (
	ReasonIdle          Reason = "idle"           // session.expired
	ReasonAbsolute      Reason = "absolute"       // session.expired
	ReasonDamaged       Reason = "damaged"        // session.unreadable
	ReasonNewerVersion  Reason = "version_newer"  // session.unreadable; and ReasonKeyUnknown
	ReasonByUser        Reason = "user"           // session.revoked
	ReasonByAdmin       Reason = "admin"          // session.revoked
	ReasonBackchannel   Reason = "backchannel"    // session.revoked
	ReasonFrontchannel  Reason = "frontchannel"   // session.revoked
	ReasonByToken       Reason = "token"          // session.revoked: the provider withdrew the refresh token
	ReasonInvalidGrant  Reason = "invalid_grant"  // refresh.failed, refresh.reuse_suspected
	ReasonClaims        Reason = "claims"         // refresh.failed: claims read again are no good
	ReasonStateMismatch Reason = "state_mismatch" // logout.completed without the state that was sent
	ReasonReplayed      Reason = "replayed"       // backchannel.rejected
	ReasonRequest       Reason = "request"        // backchannel.rejected: no form with one logout token
	ReasonTokenID       Reason = "jti"            // backchannel.rejected
	ReasonLogoutEvent   Reason = "events"         // backchannel.rejected
	ReasonAnonymous     Reason = "anonymous"      // values.not_saved
	ReasonSessionEnded  Reason = "session_ended"  // values.not_saved
)

// Event is something an operator may want to count, watch or keep. It never holds a code, token, secret,
// cookie or session id; people and sessions appear as keyed hashes that are the same on every replica, until
// the first key changes.
type Event struct {
	Time        time.Time `json:"time"`
	Type        EventType `json:"event"`
	Reason      Reason    `json:"reason,omitempty"`
	Reference   string    `json:"reference,omitempty"` // as shown to the browser
	Provider    string    `json:"provider,omitempty"`  // Provider.Name
	Issuer      string    `json:"issuer,omitempty"`
	SubjectHash string    `json:"sub_hash,omitempty"`
	SessionRef  string    `json:"session_ref,omitempty"`
	Status      int       `json:"status,omitempty"`  // the HTTP status answered
	Err         error     `json:"-"`                 // the cause: a [LoginError] of login.failed; may be nil
	Detail      string    `json:"detail,omitempty"`  // the cause, in words
	Hint        string    `json:"hint,omitempty"`    // what an operator can do
	Dropped     uint64    `json:"dropped,omitempty"` // events lost to a full queue before this one
}

// eventQueue is the number of events that may wait for a slow log or OnEvent.
const eventQueue = 1024

// events hands events to the log and to OnEvent from a queue, in order, by a goroutine that lives only
// while there is something to hand over. A sink that blocks delays no login (it drops events, counted).
type events struct {
	logger  *slog.Logger
	onEvent func(Event)
	dropped atomic.Uint64
	ill     atomic.Int64 // when the store was last reported ill, in unix nanoseconds

	mu      sync.Mutex
	queue   []Event
	running bool
	idle    chan struct{} // closed when the queue has run empty
}

func (e *events) emit(ev Event) {
	ev.Time = time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.queue) >= eventQueue {
		e.dropped.Add(1)
		return
	}
	e.queue = append(e.queue, ev)
	if !e.running {
		e.running = true
		e.idle = make(chan struct{})
		go e.drain()
	}
}

func (e *events) drain() {
	for {
		ev, ok := e.next()
		if !ok {
			return
		}
		ev.Dropped = e.dropped.Swap(0)
		e.hand(ev)
	}
}

func (e *events) next() (Event, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.queue) == 0 {
		e.running, e.queue = false, nil
		close(e.idle)
		return Event{}, false
	}
	ev := e.queue[0]
	e.queue = e.queue[1:]
	return ev, true
}

// hand gives one event to the sinks. A panic of OnEvent must not end the process that serves everybody.
func (e *events) hand(ev Event) {
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

// wait returns when all events so far are handed over, or with the context's error.
func (e *events) wait(ctx context.Context) error {
	e.mu.Lock()
	running, idle := e.running, e.idle
	e.mu.Unlock()
	if !running {
		return nil
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// storeUnavailable reports trouble with the store at most once a second: an outage under traffic is
// one fact.
func (e *events) storeUnavailable(err error) {
	now, last := time.Now().UnixNano(), e.ill.Load()
	if now-last < int64(time.Second) || !e.ill.CompareAndSwap(last, now) {
		return
	}
	e.emit(Event{Type: EventStoreUnavailable, Detail: err.Error(), Hint: "check that the store is up, reachable, writable and not out of memory"})
}

func (ev Event) level() slog.Level {
	switch ev.Type {
	case EventLoginFailed, EventSessionUnreadable, EventSessionTouchFailed, EventKeysFailed, EventKeysThrottled,
		EventUserinfoFailed, EventDowngradeRefused, EventCookieDuplicate, EventValuesNotSaved:
		return slog.LevelWarn
	case EventStoreUnavailable, EventProviderRejected, EventProviderUnreachable:
		return slog.LevelError
	case EventLoginSucceeded, EventProviderReady, EventSessionRevoked, EventAccessDenied:
		return slog.LevelInfo
	}
	return slog.LevelDebug
}

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
