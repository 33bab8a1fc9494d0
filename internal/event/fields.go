package event

// Field is one or more fields of events, which an event has when there is something to say.
type Field struct {
	Names []string // as in the log
	Means string
	Of    []Type // the events that may have it; nil: all
}

// Fields are all fields, without the time and the type.
var Fields = []Field{
	{
		Names: []string{"reason"},
		Means: "Why, in one word: see below.",
		Of: []Type{
			LoginFailed, ReturnToRejected, SessionExpired, SessionRevoked, SessionUnreadable,
			ValuesNotSaved, LogoutCompleted, BackchannelRejected, FrontchannelIgnored, RefreshFailed,
			RefreshReuseSuspected, UserinfoFailed, RereadFailed, ExchangeFailed, TokenRefused,
			ProviderUnreachable, ProviderRejected, ProviderDowngradeRefused, JWKSRefreshFailed,
			JWKSRefreshThrottled,
		},
	},
	{
		Names: []string{"reference"},
		Means: "As on the visitor's page, or in problem+json.",
		Of:    []Type{LoginFailed, AccessDenied},
	},
	{
		Names: []string{"provider", "issuer"},
		Means: "The provider's Name, if it has one, and its issuer. logout.started has no issuer.",
		Of: []Type{
			LoginStarted, LoginSucceeded, LoginFailed, StepUpRequired, AccessDenied, AccountLinked,
			SessionCreated, SessionRevoked, LogoutStarted, BackchannelAccepted, BackchannelRejected,
			FrontchannelIgnored, RefreshSucceeded, RefreshFailed, RefreshReuseSuspected,
			UserinfoFailed, RereadFailed, ExchangeFailed, TokenRefused, ProviderReady, ProviderUnreachable,
			ProviderRejected, ProviderDowngradeRefused, JWKSRefreshed, JWKSRefreshFailed,
			JWKSRefreshThrottled,
		},
	},
	{
		Names: []string{"sub_hash"},
		Means: "The user, as Gate.SubjectHash makes it. In login.failed only once the provider has " +
			"said who it is. In account.linked it is the second identity.",
		Of: []Type{
			LoginSucceeded, LoginFailed, StepUpRequired, AccessDenied, AccountLinked, SessionCreated,
			SessionRevoked, FrontchannelIgnored, RefreshSucceeded, RefreshFailed,
			RefreshReuseSuspected, UserinfoFailed, RereadFailed, ExchangeFailed,
		},
	},
	{
		Names: []string{"linked_to"},
		Means: "The sub_hash of who is signed in. In login.failed only of a linking, and not while the " +
			"store cannot say who it is.",
		Of: []Type{LoginFailed, AccountLinked},
	},
	{
		Names: []string{"session_ref"},
		Means: "The session, as Gate.SessionRef returns it. In login.failed only of a linking; where " +
			"nobody was signed in when its link was opened, the reason is link_session, without it.",
		Of: []Type{
			LoginSucceeded, LoginFailed, StepUpRequired, AccessDenied, AccountLinked, SessionCreated,
			SessionExpired, SessionRevoked, SessionTouchFailed, ValuesNotSaved, LogoutStarted,
			RefreshSucceeded, RefreshFailed, RefreshReuseSuspected, UserinfoFailed, RereadFailed,
			ExchangeFailed,
		},
	},
	{
		Names: []string{"status"},
		Means: "The HTTP status of the answer.",
		Of:    []Type{LoginFailed, AccessDenied, BackchannelRejected, TokenRefused},
	},
	{
		Names: []string{"detail", "hint"},
		Means: "What happened, and what an operator can do.",
	},
	{
		Names: []string{"dropped"},
		Means: "How many events before this one were lost: in the log because the log was too slow, " +
			"at OnEvent because OnEvent was.",
	},
}
