// Package event is the only source of the names of events and of their reasons. The lists in
// about.go say what each means and what an operator does; docs/events.md is made from them.
package event

import "log/slog"

// Type is the name of an event. Names are stable.
type Type string

// Reason says in one stable word why something happened.
type Reason string

// The events.
const (
	// Logins.
	LoginStarted        Type = "login.started"
	LoginSucceeded      Type = "login.succeeded"
	LoginFailed         Type = "login.failed"
	AttemptLimitReached Type = "attempt.limit_reached"
	StepUpRequired      Type = "stepup.required"
	ReturnToRejected    Type = "return_to.rejected"
	AccessDenied        Type = "access.denied"
	AccountLinked       Type = "account.linked"

	// Sessions.
	SessionCreated     Type = "session.created"
	SessionExpired     Type = "session.expired"
	SessionRevoked     Type = "session.revoked"
	SessionUnreadable  Type = "session.unreadable"
	SessionTouchFailed Type = "session.touch_failed"
	ValuesNotSaved     Type = "values.not_saved"
	CookieDuplicate    Type = "cookie.duplicate"
	CookieMalformed    Type = "cookie.malformed"

	// Logouts.
	LogoutStarted       Type = "logout.started"
	LogoutCompleted     Type = "logout.completed"
	BackchannelAccepted Type = "backchannel.accepted"
	BackchannelRejected Type = "backchannel.rejected"
	FrontchannelIgnored Type = "frontchannel.ignored"

	// Tokens.
	RefreshSucceeded      Type = "refresh.succeeded"
	RefreshFailed         Type = "refresh.failed"
	RefreshReuseSuspected Type = "refresh.reuse_suspected"
	UserinfoFailed        Type = "userinfo.failed"
	RereadFailed          Type = "reread.failed"
	ExchangeFailed        Type = "exchange.failed"

	// Access tokens that callers send.
	TokenRefused Type = "token.refused"

	// The provider.
	ProviderReady            Type = "provider.ready"
	ProviderUnreachable      Type = "provider.unreachable"
	ProviderRejected         Type = "provider.rejected"
	ProviderDowngradeRefused Type = "provider.downgrade_refused"
	JWKSRefreshed            Type = "jwks.refreshed"
	JWKSRefreshFailed        Type = "jwks.refresh_failed"
	JWKSRefreshThrottled     Type = "jwks.refresh_throttled"

	// The store.
	StoreUnavailable Type = "store.unavailable"
	StoreAvailable   Type = "store.available"
)

// The reasons, grouped by what they are about.
const (
	// The visitor and the browser.
	ReasonUnknownState         Reason = "unknown_state"
	ReasonStateBrowserMismatch Reason = "state_browser_mismatch"
	ReasonStateKeyUnknown      Reason = "state_key_unknown"
	ReasonStateExpired         Reason = "state_expired"
	ReasonStateReplayed        Reason = "state_replayed"
	ReasonDuplicateParameter   Reason = "duplicate_parameter"
	ReasonWrongResponseMode    Reason = "wrong_response_mode"
	ReasonResponseInvalid      Reason = "response_invalid"
	ReasonProviderError        Reason = "op_error:"
	ReasonStateMismatch        Reason = "state_mismatch"
	ReasonLoopNoCookie         Reason = "loop_no_cookie"
	ReasonLoopKeyUnknown       Reason = "loop_key_unknown"
	ReasonLoopSessionLost      Reason = "loop_session_lost"

	// The application.
	ReasonPolicyDenied    Reason = "policy_denied"
	ReasonHookError       Reason = "hook_error"
	ReasonSessionTooLarge Reason = "session_too_large"
	ReasonLogoutWon       Reason = "logout_won"
	ReasonLinkSession     Reason = "link_session"
	ReasonLinkExpired     Reason = "link_expired"
	ReasonInternal        Reason = "internal"
	ReasonStoreError      Reason = "store_error"
	ReasonClientSecret    Reason = "client_secret"

	// The provider as a whole.
	ReasonProviderUnreachable Reason = "provider_unreachable"
	ReasonProviderBusy        Reason = "provider_busy"
	ReasonIssuerMismatch      Reason = "issuer_mismatch"
	ReasonMetadataInvalid     Reason = "metadata_invalid"
	ReasonEndpointInvalid     Reason = "endpoint_invalid"
	ReasonPKCEUnsupported     Reason = "pkce_unsupported"
	ReasonDowngrade           Reason = "downgrade"
	ReasonJWKSUnavailable     Reason = "jwks_unavailable"

	// The authorization request, pushed (RFC 9126) or signed (RFC 9101).
	ReasonPARMismatch        Reason = "par_mismatch"
	ReasonPARUnreachable     Reason = "par_unreachable"
	ReasonPARError           Reason = "par_error"
	ReasonPARResponseInvalid Reason = "par_response_invalid"
	ReasonRequestObject      Reason = "request_object"
	ReasonLoginOptions       Reason = "login_options"
	ReasonPromptUnsupported  Reason = "prompt_unsupported"

	// The authorization response (RFC 9207).
	ReasonIssMissing  Reason = "iss_missing"
	ReasonIssMismatch Reason = "iss_mismatch"

	// The token endpoint.
	ReasonTokenEndpointUnreachable Reason = "token_endpoint_unreachable"
	ReasonTokenEndpointError       Reason = "token_endpoint_error"
	ReasonTokenResponseInvalid     Reason = "token_response_invalid"
	ReasonTokenType                Reason = "token_type"
	ReasonIDTokenMissing           Reason = "id_token_missing"
	ReasonRevocationEndpointError  Reason = "revocation_endpoint_error"
	ReasonInvalidGrant             Reason = "invalid_grant"

	// The ID Token, and the logout token.
	ReasonIDTokenMalformed Reason = "id_token_malformed"
	ReasonNotEncrypted     Reason = "not_encrypted"
	ReasonDecryption       Reason = "decryption"
	ReasonSignature        Reason = "sig"
	ReasonAlg              Reason = "alg"
	ReasonKeyUnknown       Reason = "key_unknown"
	ReasonType             Reason = "typ"
	ReasonIssuer           Reason = "iss_claim"
	ReasonAudience         Reason = "aud"
	ReasonAuthorizedParty  Reason = "azp"
	ReasonExpiry           Reason = "exp"
	ReasonIssuedAt         Reason = "iat"
	ReasonNotBefore        Reason = "nbf"
	ReasonNonce            Reason = "nonce"
	ReasonSubject          Reason = "sub"
	ReasonACR              Reason = "acr"
	ReasonClaimRequired    Reason = "claim_required"
	ReasonAuthTime         Reason = "auth_time"
	ReasonAccessTokenHash  Reason = "at_hash"
	ReasonCodeHash         Reason = "c_hash"
	ReasonStateHash        Reason = "s_hash"

	// Userinfo.
	ReasonSessionExpiry   Reason = "session_expiry"
	ReasonUserinfoSubject Reason = "userinfo_sub"
	ReasonUserinfoError   Reason = "userinfo_error"
	ReasonUserinfoRefused Reason = "userinfo_refused"
	ReasonNoNews          Reason = "no_news"
	ReasonClaims          Reason = "claims"

	// Why a session ended or could not be read.
	ReasonIdle         Reason = "idle"
	ReasonAbsolute     Reason = "absolute"
	ReasonByUser       Reason = "user"
	ReasonByAdmin      Reason = "admin"
	ReasonBackchannel  Reason = "backchannel"
	ReasonFrontchannel Reason = "frontchannel"
	ReasonByToken      Reason = "token"
	ReasonSessionLimit Reason = "session_limit"
	ReasonDamaged      Reason = "damaged"
	ReasonVersionNewer Reason = "version_newer"
	ReasonAnonymous    Reason = "anonymous"
	ReasonNoSession    Reason = "no_session"
	ReasonValueType    Reason = "value_type"
	ReasonSessionEnded Reason = "session_ended"

	// Logout tokens that were refused.
	ReasonReplayed    Reason = "replayed"
	ReasonRequest     Reason = "request"
	ReasonTokenID     Reason = "jti"
	ReasonLogoutEvent Reason = "events"
	ReasonSessionID   Reason = "sid"
	ReasonBusy        Reason = "busy"

	// Access tokens that callers send, and were refused.
	ReasonTokenMalformed Reason = "token_malformed"
	ReasonTokenInactive  Reason = "token_inactive"
	ReasonTokenOpaque    Reason = "token_opaque"
	ReasonTokenBinding   Reason = "token_binding"
	ReasonProof          Reason = "dpop_proof"
	ReasonClientID       Reason = "client_id"
	ReasonIntrospection  Reason = "introspection"

	// Logouts in a frame that were ignored.
	ReasonSIDMismatch Reason = "sid_mismatch"

	// Return paths that were refused.
	ReasonPathEmpty          Reason = "empty"
	ReasonPathTooLong        Reason = "too_long"
	ReasonPathForbiddenByte  Reason = "forbidden_byte"
	ReasonPathNotRooted      Reason = "not_rooted"
	ReasonPathNetwork        Reason = "network_path"
	ReasonPathBadEscape      Reason = "bad_escape"
	ReasonPathInvalidUTF8    Reason = "invalid_utf8"
	ReasonPathEncodedControl Reason = "encoded_control"
	ReasonPathBidiControl    Reason = "bidi_control"
	ReasonPathEmptySegment   Reason = "empty_segment"
	ReasonPathDotSegment     Reason = "dot_segment"
	ReasonPathOwnRoute       Reason = "own_route"
	ReasonPathEncodedSlash   Reason = "encoded_slash"
)

// About says what an event or a reason means.
type About struct {
	Name  string
	Level slog.Level // of the log line; of events only
	Means string
	Do    string // what an operator does
}

// Group is a list of events or reasons under one heading.
type Group struct {
	Heading string
	List    []About
}
