package event

import (
	"cmp"
	"log/slog"
	"strings"
)

// Types are all events.
var Types = []Group{
	{"Logins", []About{
		{
			Name:  string(LoginStarted),
			Level: slog.LevelDebug,
			Means: "A visitor was sent to the provider.",
			Do:    "Nothing. Compare its number with login.succeeded.",
		},
		{
			Name:  string(LoginSucceeded),
			Level: slog.LevelInfo,
			Means: "A visitor has logged in.",
			Do:    "Nothing.",
		},
		{
			Name:  string(LoginFailed),
			Level: slog.LevelWarn,
			Means: "A login or a linking was refused. The reason says why. INFO where nobody has to mend " +
				"anything. Of a linking the event has the session_ref and, where somebody is signed in, " +
				"linked_to.",
			Do: "See the reason. The reference stands on the visitor's page.",
		},
		{
			Name:  string(AttemptLimitReached),
			Level: slog.LevelDebug,
			Means: "A browser began more logins than it may have under way. The oldest was dropped.",
			Do: "Nothing, unless it is frequent: then look for a page that sends visitors to the " +
				"login again and again.",
		},
		{
			Name:  string(StepUpRequired),
			Level: slog.LevelDebug,
			Means: "A signed-in visitor was sent to a stronger or a fresh login.",
			Do:    "Nothing.",
		},
		{
			Name:  string(ReturnToRejected),
			Level: slog.LevelDebug,
			Means: "A return path was not a path of this site. The default path took its place.",
			Do: "Look for a page that builds a wrong link. Many at once mean that somebody tries " +
				"open redirects.",
		},
		{
			Name:  string(AccessDenied),
			Level: slog.LevelInfo,
			Means: "A rule of a guard refused a signed-in visitor.",
			Do: "Nothing, or give the user at the provider what the rule asks for. If there is no such " +
				"claim, compare the rule's name with those that there are, or have the provider put it into " +
				"the ID Token, or into userinfo (Provider.Userinfo), by a scope or a mapper.",
		},
		{
			Name:  string(AccountLinked),
			Level: slog.LevelInfo,
			Means: "A signed-in user attached a second identity, whose provider, issuer and sub_hash the " +
				"event has. linked_to is the sub_hash of who is signed in. OnLink has agreed.",
			Do: "Nothing.",
		},
	}},
	{"Sessions", []About{
		{
			Name:  string(SessionCreated),
			Level: slog.LevelDebug,
			Means: "A session began. If the browser had one before, that has ended, and no event tells " +
				"of it.",
			Do: "Nothing.",
		},
		{
			Name:  string(SessionExpired),
			Level: slog.LevelDebug,
			Means: "A request came with a session that had reached its idle time or its deadline, and " +
				"that the store still had, as when SessionLifetime was made shorter. Mostly the store " +
				"has deleted the session by then, and no event tells of it.",
			Do: "Nothing.",
		},
		{
			Name:  string(SessionRevoked),
			Level: slog.LevelInfo,
			Means: "A session was ended. The reason says by whom. It does not say whose the session was " +
				"where the replica that ended it lacks the key under which it began.",
			Do: "Nothing.",
		},
		{
			Name:  string(SessionUnreadable),
			Level: slog.LevelWarn,
			Means: "A record of a session could not be opened.",
			Do: "See the reason. Give all replicas the same keys and keep an old key until its " +
				"sessions have ended.",
		},
		{
			Name:  string(SessionTouchFailed),
			Level: slog.LevelWarn,
			Means: "The last use of a session could not be saved. The session may reach its idle time " +
				"although it is used.",
			Do: "Make the store writable.",
		},
		{
			Name:  string(ValuesNotSaved),
			Level: slog.LevelWarn,
			Means: "Values that a handler put were not saved.",
			Do:    "See the reason.",
		},
		{
			Name:  string(CookieDuplicate),
			Level: slog.LevelWarn,
			Means: "A request had two different session cookies. Both were ignored.",
			Do:    "Look for another application or host that sets a cookie of this name.",
		},
		{
			Name:  string(CookieMalformed),
			Level: slog.LevelDebug,
			Means: "A session cookie does not have the form of a session id.",
			Do:    "Nothing.",
		},
	}},
	{"Logouts", []About{
		{
			Name:  string(LogoutStarted),
			Level: slog.LevelDebug,
			Means: "A visitor logs out here.",
			Do:    "Nothing.",
		},
		{
			Name:  string(LogoutCompleted),
			Level: slog.LevelDebug,
			Means: "A browser came back from the provider's logout.",
			Do:    "Nothing.",
		},
		{
			Name:  string(BackchannelAccepted),
			Level: slog.LevelDebug,
			Means: "The provider logged a user out by a logout token. The detail counts the sessions.",
			Do: "Nothing. If none ended and the user was signed in, compare sub and sid of the logout " +
				"token with those of the ID Token.",
		},
		{
			Name:  string(BackchannelRejected),
			Level: slog.LevelWarn,
			Means: "A logout token was refused.",
			Do:    "See the reason. Anybody can send one, so a single one means nothing.",
		},
		{
			Name:  string(FrontchannelIgnored),
			Level: slog.LevelInfo,
			Means: "A frame asked to log a visitor out, and did not name the visitor's session.",
			Do:    "See the reason.",
		},
	}},
	{"Tokens", []About{
		{
			Name:  string(RefreshSucceeded),
			Level: slog.LevelDebug,
			Means: "The tokens of a session were refreshed.",
			Do:    "Nothing.",
		},
		{
			Name:  string(RefreshFailed),
			Level: slog.LevelWarn,
			Means: "The tokens of a session could not be refreshed, or its claims could not be read again.",
			Do:    "See the reason.",
		},
		{
			Name:  string(RefreshReuseSuspected),
			Level: slog.LevelWarn,
			Means: "The provider refused a refresh token after the answer to an earlier request was " +
				"lost.",
			Do: "Nothing for single ones. For many, look for replicas that are killed, for connections " +
				"to the provider that break, and for a store that loses writes.",
		},
		{
			Name:  string(UserinfoFailed),
			Level: slog.LevelWarn,
			Means: "The userinfo endpoint gave no usable answer, at a login or when claims were due to be " +
				"read again. The login or the session went on without it.",
			Do: "Look at the provider's userinfo endpoint.",
		},
		{
			Name:  string(RereadFailed),
			Level: slog.LevelWarn,
			Means: "The claims of a session were due to be read again, and are as old as before, because " +
				"the provider could not be asked (no_news), or OnLogin failed (hook_error). The session " +
				"goes on; but where OnLogin has failed twice, ClaimsMaxAge apart, guards answer 503 until " +
				"it decides. Where the provider does not answer, there is refresh.failed or " +
				"userinfo.failed in its place.",
			Do: "See the reason.",
		},
		{
			Name:  string(ExchangeFailed),
			Level: slog.LevelWarn,
			Means: "The provider gave no token for another service (ExchangeToken, ExchangeClient). One " +
				"session's calls for the same service share an exchange, and its error for five seconds.",
			Do: "Allow this client at the provider to exchange its users' tokens for that service. See " +
				"the detail.",
		},
		{
			Name:  string(TokenRefused),
			Level: slog.LevelInfo,
			Means: "An access token that a caller sent was refused, or could not be checked. Reported " +
				"at most once a second for each reason; the detail has how many there were. DEBUG where " +
				"the token is over.",
			Do: "See the reason. Anybody can send one, so a single one means nothing.",
		},
	}},
	{"The provider", []About{
		{
			Name:  string(ProviderReady),
			Level: slog.LevelInfo,
			Means: "The provider's metadata is known.",
			Do:    "Nothing.",
		},
		{
			Name:  string(ProviderUnreachable),
			Level: slog.LevelError,
			Means: "The provider's metadata could not be fetched. Metadata that is known stays in use.",
			Do:    "Check the issuer, and whether this host reaches the provider.",
		},
		{
			Name:  string(ProviderRejected),
			Level: slog.LevelError,
			Means: "The provider's metadata was refused. No login is possible.",
			Do:    "See the reason. Compare the discovery document with the configuration.",
		},
		{
			Name:  string(ProviderDowngradeRefused),
			Level: slog.LevelWarn,
			Means: "New metadata was less strict than the metadata in use, or moved an endpoint to " +
				"another origin. The old metadata stays in use.",
			Do: "Ask the provider's operator. When the change is meant, restart the service.",
		},
		{
			Name:  string(JWKSRefreshed),
			Level: slog.LevelDebug,
			Means: "The provider's keys were loaded.",
			Do:    "Nothing.",
		},
		{
			Name:  string(JWKSRefreshFailed),
			Level: slog.LevelWarn,
			Means: "The provider's keys could not be loaded. Keys that are known stay in use.",
			Do:    "Check the provider's jwks_uri, and whether this host reaches it.",
		},
		{
			Name:  string(JWKSRefreshThrottled),
			Level: slog.LevelWarn,
			Means: "A token named an unknown key, and keys were loaded a moment ago. Reported at most " +
				"once a second.",
			Do: "Nothing, unless it continues: then somebody sends invalid tokens, or the provider " +
				"signs with a key that it does not publish.",
		},
	}},
	{"The store", []About{
		{
			Name:  string(StoreUnavailable),
			Level: slog.LevelError,
			Means: "The store did not answer, or refused a command. Reported at most once a second.",
			Do: "Check that the store is up, reachable, writable and not out of memory, and its " +
				"password and rights.",
		},
		{
			Name:  string(StoreAvailable),
			Level: slog.LevelInfo,
			Means: "The store answers and takes writes again, after store.unavailable. Each replica " +
				"tells it once after an outage: beginning logins and Gate.Ready try every few seconds " +
				"whether the store takes writes.",
			Do: "Nothing. If both come again and again, the store refuses only some commands, or one " +
				"machine of a Cluster is down.",
		},
	}},
}

// Reasons are all reasons.
var Reasons = []Group{
	{"The visitor and the browser", []About{
		{
			Name: string(ReasonUnknownState),
			Means: "The browser has no attempt with this state: the login is over, it is another browser, " +
				"or it blocks cookies.",
			Do: "Nothing for single ones, such as a reload of a response that was refused or used. For " +
				"many, check that cookies reach this site and that BaseURL is its address.",
		},
		{
			Name:  string(ReasonStateBrowserMismatch),
			Means: "The attempt's cookie does not belong to the state.",
			Do: "Nothing for single ones. For many, check that all replicas have the same BaseURL. (Other " +
				"keys are state_key_unknown.)",
		},
		{
			Name:  string(ReasonStateKeyUnknown),
			Means: "The attempt's cookie was encrypted with a key that this replica does not have.",
			Do: "Give all replicas the same keys. Keep a key that is replaced until the logins under way " +
				"are over.",
		},
		{
			Name: string(ReasonStateExpired),
			Means: "The visitor took longer than a login may take, or the answers of the provider and of " +
				"the application came after that.",
			Do: "Nothing, or raise the limit for logins. If it happens without delay, check the " +
				"clocks of the replicas.",
		},
		{
			Name: string(ReasonLoopNoCookie),
			Means: "The browser logged in three times within a minute and never sent the session's " +
				"cookie afterwards, or sent one that is none.",
			Do: "Nothing for single ones: the browser blocks the cookie. For many, look for what drops, " +
				"deletes or sets it: a proxy, or another application on this host.",
		},
		{
			Name: string(ReasonLoopKeyUnknown),
			Means: "The browser logged in three times within a minute, and a replica could not read its " +
				"session each time.",
			Do: "Give all replicas the same keys and the same version.",
		},
		{
			Name: string(ReasonLoopSessionLost),
			Means: "The browser logged in three times within a minute, and its session was gone each " +
				"time.",
			Do: "Look at the store: whether it evicts keys (Redis: use noeviction), loses writes at a " +
				"failover, or is another one for each replica.",
		},
		{
			Name: string(ReasonStateReplayed),
			Means: "A response was sent twice: by a reload, also where the first try failed, or by " +
				"somebody else who has the code.",
			Do: "Nothing for single ones.",
		},
		{
			Name:  string(ReasonDuplicateParameter),
			Means: "A parameter appears twice in the response, with different values.",
			Do:    "Ask the provider's operator if the provider does it. Otherwise it is an attack.",
		},
		{
			Name:  string(ReasonWrongResponseMode),
			Means: "The response came by another way than that of Request.ResponseMode.",
			Do:    "Set Request.ResponseMode to the way that the provider takes.",
		},
		{
			Name: string(ReasonResponseInvalid),
			Means: "The response does not have what Request.ResponseType says, or has more, or is too " +
				"long. Or the browser closed the connection.",
			Do: "Nothing for single ones.",
		},
		{
			Name: string(ReasonProviderError),
			Means: "The provider answered with an error. Its registered code follows the colon; any " +
				"other code is \"other\".",
			Do: "Check the redirect URI, the scopes, and who may use this client at the provider. After " +
				"server_error and temporarily_unavailable, look at the state of the provider.",
		},
		{
			Name:  string(ReasonStateMismatch),
			Means: "A browser came back from the provider's logout without the state it took there.",
			Do:    "Nothing.",
		},
	}},
	{"The application", []About{
		{
			Name: string(ReasonPolicyDenied),
			Means: "OnLogin refused the visitor with Deny, at the login or when claims were read again, " +
				"or OnLink the second identity.",
			Do: "Nothing.",
		},
		{
			Name:  string(ReasonHookError),
			Means: "A function of the application failed or panicked: OnLogin, OnLink or LoginOptions.",
			Do: "Correct the function that the detail names, or what it asks. After \"context canceled\" " +
				"it took so long that the browser left.",
		},
		{
			Name:  string(ReasonSessionTooLarge),
			Means: "The claims are larger than Limits.SessionBytes.",
			Do: "Drop claims in OnLogin, ask the provider for fewer, or raise Limits.SessionBytes. The " +
				"log names the largest claim.",
		},
		{
			Name: string(ReasonLinkSession),
			Means: "An account was to be linked, and the session that began it was not there any more: " +
				"the visitor has logged out or in meanwhile, or somebody else's link was opened.",
			Do: "Nothing. The visitor begins again.",
		},
		{
			Name: string(ReasonLinkExpired),
			Means: "The address of a linking was older than twelve hours, or its provider was taken away " +
				"or replaced.",
			Do: "Nothing. The visitor begins again.",
		},
		{
			Name:  string(ReasonLogoutWon),
			Means: "The user was logged out while the login was under way, or in the same second.",
			Do: "Nothing: a new login is let in. Times count in whole seconds, so one that begins in the " +
				"second of the logout is refused too.",
		},
		{
			Name:  string(ReasonInternal),
			Means: "This process could not begin a login: randomness failed.",
			Do:    "See the detail.",
		},
		{
			Name:  string(ReasonStoreError),
			Means: "The store did not answer, or refused a command.",
			Do: "Check that the store is up, reachable, writable and not out of memory, and its " +
				"password and rights.",
		},
		{
			Name: string(ReasonClientSecret),
			Means: "The function that gives the client secret failed, or the secret is too short for the " +
				"algorithm.",
			Do: "Correct the function or the secret. The detail has its error.",
		},
	}},
	{"The provider as a whole", []About{
		{
			Name:  string(ReasonProviderUnreachable),
			Means: "The provider is down or slow, or this host does not reach it.",
			Do:    "Check the issuer, and whether this host reaches the provider.",
		},
		{
			Name:  string(ReasonProviderBusy),
			Means: "Too many logins wait for the provider.",
			Do:    "Look at how long the provider takes to answer.",
		},
		{
			Name:  string(ReasonIssuerMismatch),
			Means: "The metadata is that of another issuer.",
			Do: "Write Issuer exactly as the provider's discovery document does, with or without a " +
				"slash at its end.",
		},
		{
			Name: string(ReasonMetadataInvalid),
			Means: "The discovery address answered with an error status, or the metadata is not a " +
				"JSON object, or a member has the wrong type.",
			Do: "Check Issuer, path included. Then ask the provider's operator, or give the endpoints " +
				"by hand.",
		},
		{
			Name:  string(ReasonEndpointInvalid),
			Means: "An endpoint is missing or is not an https address.",
			Do:    "Ask the provider's operator, or give the endpoint by hand.",
		},
		{
			Name:  string(ReasonPKCEUnsupported),
			Means: "The provider lists its code challenge methods, and S256 is not among them.",
			Do:    "Ask the provider's operator to turn on PKCE with S256.",
		},
		{
			Name:  string(ReasonDowngrade),
			Means: "New metadata is less strict than the metadata in use.",
			Do:    "Ask the provider's operator. When the change is meant, restart the service.",
		},
		{
			Name:  string(ReasonJWKSUnavailable),
			Means: "The provider's keys could not be loaded.",
			Do:    "Check the provider's jwks_uri, and whether this host reaches it.",
		},
	}},
	{"The authorization request, pushed (RFC 9126) or signed (RFC 9101)", []About{
		{
			Name: string(ReasonPARMismatch),
			Means: "The provider takes only pushed requests, and they are off; or they are required, and " +
				"the provider has no endpoint for them.",
			Do: "Set Request.Pushed as the provider has it, or Endpoints.PushedAuthorization.",
		},
		{
			Name: string(ReasonPARUnreachable),
			Means: "The endpoint for pushed requests gave no answer. The login is not sent as a plain " +
				"request instead: an attacker who can disturb the endpoint could weaken logins.",
			Do: "Check whether this host reaches the endpoint, or ask the provider's operator.",
		},
		{
			Name:  string(ReasonPARError),
			Means: "The provider refused a pushed request.",
			Do: "Check client id, secret, authentication method, redirect URI, scopes and parameters. " +
				"The detail has the provider's words.",
		},
		{
			Name:  string(ReasonPARResponseInvalid),
			Means: "The answer to a pushed request cannot be used.",
			Do:    "Ask the provider's operator.",
		},
		{
			Name:  string(ReasonRequestObject),
			Means: "The request could not be encrypted for the provider.",
			Do: "Check that the provider publishes a key with the use enc, and the algorithms that it " +
				"announces for request objects.",
		},
		{
			Name: string(ReasonLoginOptions),
			Means: "The application's function LoginOptions returned a value that cannot be sent or a " +
				"provider that is not there, or a login asks for more than fits into a cookie.",
			Do: "Mend the function; the log says which field is wrong. Or give a replica the provider " +
				"that it lacks. Where it is too much, move what is the same for all logins to " +
				"Provider.Request.Login.",
		},
		{
			Name: string(ReasonPromptUnsupported),
			Means: "The login asks for a prompt, such as create for a link to register, that the provider " +
				"does not announce.",
			Do: "Remove the link, or ask the provider's operator to turn it on.",
		},
	}},
	{"The authorization response (RFC 9207)", []About{
		{
			Name:  string(ReasonIssMissing),
			Means: "The response lacks iss, although the provider announces it.",
			Do:    "Ask the provider's operator.",
		},
		{
			Name: string(ReasonIssMismatch),
			Means: "The response is from another provider than the login: a mix-up attack, or a wrong " +
				"Issuer.",
			Do: "Check that Issuer is the iss that the provider sends.",
		},
	}},
	{"The token endpoint", []About{
		{
			Name:  string(ReasonTokenEndpointUnreachable),
			Means: "The token endpoint gave no answer.",
			Do:    "Check whether this host reaches the token endpoint.",
		},
		{
			Name:  string(ReasonTokenEndpointError),
			Means: "The token endpoint refused the request.",
			Do: "Check client id, secret, authentication method and redirect URI. The detail has the " +
				"provider's words.",
		},
		{
			Name:  string(ReasonTokenResponseInvalid),
			Means: "The answer of the token endpoint cannot be read.",
			Do:    "Ask the provider's operator.",
		},
		{
			Name:  string(ReasonTokenType),
			Means: "The access token is not a bearer token.",
			Do:    "Ask the provider's operator.",
		},
		{
			Name:  string(ReasonIDTokenMissing),
			Means: "The answer has no ID Token.",
			Do:    "Check that the client is one for OpenID Connect and may use the scope openid.",
		},
		{
			Name:  string(ReasonRevocationEndpointError),
			Means: "The revocation endpoint gave no usable answer.",
			Do:    "Nothing: the token is no longer stored here.",
		},
		{
			Name:  string(ReasonInvalidGrant),
			Means: "The provider no longer accepts the refresh token. The session was ended.",
			Do: "Nothing for single ones: the provider's session has ended, or the user is blocked there. " +
				"For many, compare the lifetime of refresh tokens at the provider with that of sessions.",
		},
	}},
	{"The ID Token, and the logout token", []About{
		{
			Name:  string(ReasonIDTokenMalformed),
			Means: "The token is not a signed JWT in strict form.",
			Do:    "Ask the provider's operator.",
		},
		{
			Name:  string(ReasonNotEncrypted),
			Means: "The token is not encrypted, as Verification says that it is.",
			Do:    "Register the client for encrypted tokens, or unset the field that the log names.",
		},
		{
			Name:  string(ReasonDecryption),
			Means: "No key of the client decrypts the token.",
			Do: "Check that the provider has the client's current keys. While keys are replaced, keep " +
				"the old one until the provider has fetched the new one.",
		},
		{
			Name:  string(ReasonSignature),
			Means: "No key of the provider made the signature.",
			Do:    "Check that issuer and jwks_uri belong to the same provider.",
		},
		{
			Name:  string(ReasonAlg),
			Means: "The token is signed with an algorithm that was not agreed on.",
			Do:    "Register the client for one of SigningAlgs, or set SigningAlgs.",
		},
		{
			Name: string(ReasonKeyUnknown),
			Means: "Of a token: the provider publishes no key for it. In session.unreadable: the record " +
				"was sealed with a key that this replica does not have.",
			Do: "Nothing for single ones: the provider has new keys, after a rotation or a restart, and " +
				"the next login loads them. If it goes on, check that jwks_uri belongs to the issuer. Of a " +
				"record, see session.unreadable.",
		},
		{
			Name:  string(ReasonType),
			Means: "The token is of another kind: by its typ, or by a claim that its kind has not.",
			Do: "Ask the provider's operator. A logout token must not be sent as an ID Token. If the " +
				"provider's logout tokens are of typ JWT, set Verification.LogoutTypeJWT.",
		},
		{
			Name:  string(ReasonIssuer),
			Means: "The token's iss is another issuer.",
			Do:    "Write Issuer exactly as the provider writes iss.",
		},
		{
			Name:  string(ReasonAudience),
			Means: "The token is for another client, or for others too.",
			Do:    "Check ClientID. Trust other audiences only if you know them.",
		},
		{
			Name:  string(ReasonAuthorizedParty),
			Means: "The token was asked for by another client.",
			Do:    "Check ClientID.",
		},
		{
			Name:  string(ReasonExpiry),
			Means: "The token has expired, or its exp is not a valid time.",
			Do:    "Set the clocks of provider and service right.",
		},
		{
			Name:  string(ReasonIssuedAt),
			Means: "The token was issued in the future or long ago, or its iat is not a valid time.",
			Do:    "Set the clocks of provider and service right.",
		},
		{
			Name:  string(ReasonNotBefore),
			Means: "The token is not valid yet, or its nbf is not a valid time.",
			Do:    "Set the clocks of provider and service right.",
		},
		{
			Name:  string(ReasonNonce),
			Means: "The token belongs to another login.",
			Do: "Nothing for single ones. A provider that drops the nonce needs " +
				"Verification.WithoutNonce.",
		},
		{
			Name:  string(ReasonSubject),
			Means: "The sub is not valid, is the client itself, or a refresh names another user.",
			Do:    "Ask the provider's operator.",
		},
		{
			Name:  string(ReasonACR),
			Means: "The login did not have one of the requested authentication classes.",
			Do:    "Check which values of acr the provider supports.",
		},
		{
			Name: string(ReasonClaimRequired),
			Means: "The user is not one of those that Verification.RequireClaims or " +
				"Verification.Tenants allows.",
			Do: "Nothing, if it is nobody of yours. Else add the value, or have the provider put the " +
				"claim into its ID Tokens.",
		},
		{
			Name:  string(ReasonAuthTime),
			Means: "The login was older than the requested max_age, or a refresh names an earlier one.",
			Do:    "Check that the provider supports max_age. Set the clocks right.",
		},
		{
			Name:  string(ReasonSessionExpiry),
			Means: "The session_expiry of the ID Token is no time in seconds, or it is past.",
			Do:    "Ask the provider's operator, and compare the clocks.",
		},
		{
			Name:  string(ReasonAccessTokenHash),
			Means: "The access token is not the one that came with the ID Token.",
			Do:    "Ask the provider's operator.",
		},
		{
			Name:  string(ReasonCodeHash),
			Means: "The code is not the one that came with the ID Token, or the ID Token does not say.",
			Do:    "Nothing for single ones: somebody may have replaced the code in the browser.",
		},
		{
			Name:  string(ReasonStateHash),
			Means: "The state is not the one that came with the ID Token.",
			Do:    "Nothing for single ones: somebody may have replaced the ID Token in the browser.",
		},
	}},
	{"Userinfo, and claims that are read again", []About{
		{
			Name:  string(ReasonUserinfoSubject),
			Means: "The userinfo answer is about another user.",
			Do:    "Ask the provider's operator.",
		},
		{
			Name:  string(ReasonUserinfoError),
			Means: "The userinfo endpoint gave no usable answer.",
			Do:    "Check the scopes, and whether this host reaches the endpoint.",
		},
		{
			Name: string(ReasonUserinfoRefused),
			Means: "The userinfo endpoint refuses the access token, with status 401 or 403 and a " +
				"challenge or a code: it was revoked, or is not meant for userinfo.",
			Do: "Nothing, when it is rare. Otherwise compare the scopes with what the provider's " +
				"userinfo endpoint wants. Tokens.KeepRefused lets such sessions go on.",
		},
		{
			Name: string(ReasonNoNews),
			Means: "The provider could not be asked for newer claims: it gave no ID Token with the " +
				"refresh and userinfo is off, or the access token is over and was not refreshed. " +
				"OnLogin has decided on the old claims.",
			Do: "Set Provider.Userinfo, or have the provider give refresh tokens, mostly by the scope " +
				"offline_access. Tokens.EndWithAccessToken ends such sessions.",
		},
		{
			Name: string(ReasonClaims),
			Means: "Claims that were read again are about another user, or too large. The session was " +
				"ended.",
			Do: "Look at the detail. Of claims that are too large, OnLogin can drop some.",
		},
	}},
	{"Why a session ended or could not be read", []About{
		{
			Name:  string(ReasonIdle),
			Means: "Nobody used the session for the idle time.",
			Do:    "Nothing.",
		},
		{
			Name:  string(ReasonAbsolute),
			Means: "The session reached its deadline.",
			Do:    "Nothing.",
		},
		{
			Name:  string(ReasonByUser),
			Means: "The user ended it.",
			Do:    "Nothing.",
		},
		{
			Name:  string(ReasonByAdmin),
			Means: "The application ended it for the user.",
			Do:    "Nothing.",
		},
		{
			Name:  string(ReasonBackchannel),
			Means: "The provider ended it by a logout token.",
			Do:    "Nothing.",
		},
		{
			Name:  string(ReasonFrontchannel),
			Means: "The provider ended it by a frame in the browser.",
			Do:    "Nothing.",
		},
		{
			Name:  string(ReasonByToken),
			Means: "The provider withdrew the refresh token, or the claims read again were refused.",
			Do:    "Nothing.",
		},
		{
			Name:  string(ReasonSessionLimit),
			Means: "The user logged in more often than Limits.UserSessions allows; the oldest ended.",
			Do:    "Nothing, unless an account is shared by many: then raise the limit.",
		},
		{
			Name:  string(ReasonDamaged),
			Means: "The record was changed, or was moved from another key of the store.",
			Do:    "Look for somebody who writes to the store.",
		},
		{
			Name:  string(ReasonVersionNewer),
			Means: "A newer release wrote the record.",
			Do:    "Nothing while replicas are being upgraded.",
		},
		{
			Name:  string(ReasonAnonymous),
			Means: "Values were put while nobody was signed in.",
			Do: "Keep the values of anonymous visitors in a cookie of your own, and move them after the " +
				"login.",
		},
		{
			Name: string(ReasonNoSession),
			Means: "Values were put in a request that an access token admitted, or for an identity of " +
				"Gate.NewContext. Neither has a session.",
			Do: "Keep what such requests put in a store of your own, by issuer and subject.",
		},
		{
			Name:  string(ReasonValueType),
			Means: "A value that a handler put has a type that encoding/gob does not know.",
			Do: "Register the type when the program starts: gob.Register(T{}). The detail names the value " +
				"and the type.",
		},
		{
			Name:  string(ReasonSessionEnded),
			Means: "The session was ended before its values were saved.",
			Do:    "Nothing.",
		},
	}},
	{"Logout tokens that were refused", []About{
		{
			Name:  string(ReasonReplayed),
			Means: "The logout token was used before, or the DPoP proof of a request was.",
			Do: "Nothing for logout tokens: the sessions are gone. A proof that is sent twice is a " +
				"client's mistake, or stolen.",
		},
		{
			Name: string(ReasonRequest),
			Means: "The request is not a form with one logout token, or it does not have its access " +
				"token once and in the Authorization header.",
			Do: "Nothing for single ones.",
		},
		{
			Name:  string(ReasonTokenID),
			Means: "The logout token or the access token has no usable jti.",
			Do:    "Ask the provider's operator.",
		},
		{
			Name:  string(ReasonLogoutEvent),
			Means: "The logout token is not about a back-channel logout.",
			Do:    "Ask the provider's operator.",
		},
		{
			Name:  string(ReasonSessionID),
			Means: "The logout token's sid is empty or not a string.",
			Do:    "Ask the provider's operator.",
		},
		{
			Name: string(ReasonBusy),
			Means: "Too many logout tokens, too many encrypted responses, or too many access tokens " +
				"that the provider must be asked about, came at the same time. The sender is asked to " +
				"try again.",
			Do: "Nothing, unless it continues: then somebody sends invalid tokens.",
		},
	}},
	{"Access tokens that callers sent, and were refused", []About{
		{
			Name:  string(ReasonTokenMalformed),
			Means: "The token has three parts, as a JWT has, and is no signed JWT in strict form.",
			Do: "Nothing for single ones: a client sends something else, or a damaged token. If it is " +
				"every token of the provider, see the detail.",
		},
		{
			Name: string(ReasonTokenInactive),
			Means: "The provider says that the token is not active: it has expired, was revoked, or is " +
				"none.",
			Do: "Nothing. The client gets a new one.",
		},
		{
			Name:  string(ReasonTokenOpaque),
			Means: "The token is no JWT, and no provider can be asked about it.",
			Do: "Nothing for single ones. If the provider issues such tokens, give the gate this one " +
				"provider with its introspection endpoint, or have it issue JWTs (RFC 9068).",
		},
		{
			Name: string(ReasonTokenBinding),
			Means: "The token is bound to a key or to a certificate, and the sender did not show that " +
				"it has it. Or it was sent with a proof and is not bound.",
			Do: "Nothing for single ones: the token may be stolen. If all are refused, send it with the " +
				"scheme DPoP; for certificates, TLS must end in this process.",
		},
		{
			Name:  string(ReasonProof),
			Means: "The DPoP proof is missing, malformed, or for another request.",
			Do: "See the detail. If htu is named, compare BaseURL with the address that clients use; " +
				"if iat is named, compare the clocks.",
		},
		{
			Name:  string(ReasonClientID),
			Means: "The access token has no usable client_id.",
			Do:    "Ask the provider's operator for access tokens as in RFC 9068.",
		},
		{
			Name:  string(ReasonIntrospection),
			Means: "The provider could not be asked about an access token, or gave no usable answer.",
			Do:    "Look at the provider's introspection endpoint, and whether this client may use it.",
		},
	}},
	{"Logouts in a frame that were ignored", []About{
		{
			Name:  string(ReasonSIDMismatch),
			Means: "The frame's sid is not the one in the ID Token of the visitor's session.",
			Do: "Nothing for single ones. If every logout of the provider leads to it, its ID " +
				"Tokens have no sid: turn the sid on there, or use the back channel.",
		},
	}},
	{"Return paths that were refused", []About{
		{
			Name:  string(ReasonPathEmpty),
			Means: "There is no path.",
			Do:    "Nothing.",
		},
		{
			Name:  string(ReasonPathTooLong),
			Means: "The path is too long to be saved.",
			Do:    "Shorten the addresses that need a login.",
		},
		{
			Name:  string(ReasonPathForbiddenByte),
			Means: "The path has a byte that some programs remove from addresses or change.",
			Do:    "Look for a page that builds a wrong link.",
		},
		{
			Name:  string(ReasonPathNotRooted),
			Means: "The path does not begin with a slash.",
			Do:    "Look for a page that builds a wrong link.",
		},
		{
			Name:  string(ReasonPathNetwork),
			Means: "The path begins with two slashes and names another site.",
			Do:    "Somebody tries an open redirect.",
		},
		{
			Name:  string(ReasonPathBadEscape),
			Means: "A percent sign is not followed by two hexadecimal digits.",
			Do:    "Look for a page that builds a wrong link.",
		},
		{
			Name:  string(ReasonPathInvalidUTF8),
			Means: "The path decodes to bytes that are not UTF-8.",
			Do:    "Look for a page that builds a wrong link.",
		},
		{
			Name:  string(ReasonPathEncodedControl),
			Means: "The path decodes to a control character or a backslash.",
			Do:    "Somebody tries an open redirect.",
		},
		{
			Name:  string(ReasonPathBidiControl),
			Means: "The path decodes to a character that changes the direction of text.",
			Do:    "Somebody tries to make an address look like another.",
		},
		{
			Name:  string(ReasonPathEmptySegment),
			Means: "The path has two slashes in a row.",
			Do:    "Look for a page that builds a wrong link.",
		},
		{
			Name:  string(ReasonPathDotSegment),
			Means: "The path has a segment \".\" or \"..\".",
			Do:    "Look for a page that builds a wrong link.",
		},
		{
			Name:  string(ReasonPathOwnRoute),
			Means: "The path is a route of the gate.",
			Do:    "Look for a link that goes to the login with the login as its return path.",
		},
		{
			Name:  string(ReasonPathEncodedSlash),
			Means: "The path has an encoded slash.",
			Do:    "Look for a page that builds a wrong link.",
		},
	}},
}

// OfCallers are reasons of TokenRefused that other tokens have too, and what an operator does about
// an access token: anybody can send one, so most often its sender is to blame.
var OfCallers = Group{"Access tokens: reasons that other tokens have too", []About{
	{
		Name: string(ReasonSignature),
		Do: "Nothing for single ones: the token is forged or damaged. If it is every token, check " +
			"that issuer and jwks_uri belong to the same provider.",
	},
	{
		Name: string(ReasonAlg),
		Do: "Nothing for single ones: the token is forged, or from elsewhere. If it is every token, " +
			"have the provider sign access tokens with one of Verification.SigningAlgs, or add theirs.",
	},
	{
		Name: string(ReasonKeyUnknown),
		Do: "Nothing for single ones: the token is forged, of another provider, or signed with a key " +
			"that the provider has replaced.",
	},
	{
		Name: string(ReasonType),
		Do: "Nothing for single ones: a client sends another token, such as an ID Token. If it is " +
			"every access token, set Verification.PlainAccessTokens.",
	},
	{
		Name: string(ReasonIssuer),
		Do: "Nothing for single ones: the token is of another provider. If it is every token, write " +
			"Issuer exactly as the provider writes iss.",
	},
	{
		Name: string(ReasonAudience),
		Do: "Nothing for single ones: the token is for another service. If it is meant for this one, " +
			"have the provider put one of API.Audience into its aud.",
	},
}}

// Level returns the level at which the record is logged: that of its type; INFO where the visitor
// or the application has decided and nothing is wrong; and DEBUG for tokens of callers that are
// over, as every token is some day.
func (r Record) Level() slog.Level {
	switch {
	case r.Reason == ReasonProviderError+"access_denied",
		r.Reason == ReasonProviderError+"consent_required", r.Reason == ReasonPolicyDenied,
		r.Reason == ReasonLinkSession, r.Reason == ReasonLinkExpired,
		r.Reason == ReasonLogoutWon:
		return min(slog.LevelInfo, LevelOf(r.Type))
	case r.Type == TokenRefused && (r.Reason == ReasonExpiry || r.Reason == ReasonTokenInactive):
		return slog.LevelDebug
	}
	return LevelOf(r.Type)
}

// Cure returns what an operator does about an event: what the table says about the reason, or about
// the type where the reason is "", or the type says why it came to that. It returns "" where there
// is nothing to do.
func Cure(t Type, reason Reason) string {
	refusedExchange := t == ExchangeFailed && reason == ReasonTokenEndpointError
	if reason == "" || t == RefreshReuseSuspected || refusedExchange {
		return cureOf(Types, string(t))
	}
	if t == TokenRefused {
		if a, ok := find([]Group{OfCallers}, string(reason)); ok {
			return a.Do
		}
	}
	if strings.HasPrefix(string(reason), string(ReasonProviderError)) {
		reason = ReasonProviderError // without the provider's code
	}
	return cureOf(Reasons, string(reason))
}

func cureOf(groups []Group, name string) string {
	a, _ := find(groups, name)
	if strings.HasPrefix(a.Do, "Nothing.") || a.Do == "See the reason." {
		return ""
	}
	return a.Do
}

// LevelOf returns the level at which an event is logged.
func LevelOf(t Type) slog.Level {
	if a, ok := find(Types, string(t)); ok {
		return a.Level
	}
	return slog.LevelDebug
}

func find(groups []Group, name string) (About, bool) {
	for _, g := range groups {
		for _, a := range g.List {
			if a.Name == name {
				return a, true
			}
		}
	}
	return About{}, false
}

// Explain returns what the record means, and what an operator does, or "" if that is nothing.
func (r Record) Explain() (means, do string) {
	name := string(r.Reason)
	if strings.HasPrefix(name, string(ReasonProviderError)) {
		name = string(ReasonProviderError) // without the provider's code
	}
	of, _ := find(Types, string(r.Type))
	why, _ := find(Reasons, name)
	means = strings.TrimSpace(of.Means + " " + why.Means)
	return means, cmp.Or(r.Hint, Cure(r.Type, r.Reason))
}
