package oidcgate

import (
	"time"

	"github.com/oidcgate/oidcgate/internal/op"
)

// RequestOptions set the authorization request (OpenID Connect Core, section 3.1.2.1).
type RequestOptions struct {
	// Params are sent with every authorization request, such as "prompt" or "kc_idp_hint". New refuses
	// those that the gate sets itself, and those with a field: claims, resource, max_age and so on.
	Params map[string]string

	// Login, which wins over Params, is sent where Config.LoginOptions or a link says nothing else.
	Login LoginOptions

	// LinkParams are parameters that a link to the login may set, "login_hint" for example. Anybody
	// can make one. Each counts once, with up to 256 bytes. Always allowed are prompt=create, and
	// another=1 for a login at which the user chooses an account.
	LinkParams []string

	// ThirdParty lets other sites begin logins at /auth/initiate, such as the provider's portal
	// (OpenID Connect Core, section 4): register that address as initiate_login_uri. They name a page
	// of this site and a login_hint. A visitor who is signed in stays so.
	ThirdParty bool

	// Resources are the services that access tokens are for, as absolute URIs (RFC 8707). They are
	// sent with the login, with its code and with every refresh.
	Resources []string

	// ResponseType is what the provider answers with: "code"; "code id_token", which adds an ID Token
	// that binds the code; or "id_token" alone, from a provider without a usable token endpoint. With
	// the last there is no access token and no userinfo. If empty, "code".
	ResponseType string

	// ResponseMode is how the answer passes through the browser: "query", "form_post", "fragment" (it
	// needs JavaScript), or one of them with ".jwt" at its end: the provider signs the answer (JARM).
	// If empty, none is sent, and the default is "query" for "code", otherwise "fragment".
	ResponseMode string

	// WithoutPKCE sends no PKCE challenge to a provider that fails on one. Only the nonce then keeps a
	// stolen code from opening a session here (RFC 9700, section 2.1.1), and at a provider of [OAuth2]
	// nothing does. It is refused for a [PublicClient] and beside Verification.WithoutNonce. If false,
	// a challenge with S256 is sent, also to a provider that does not announce it (RFC 7636).
	WithoutPKCE bool

	// PromptLogin adds prompt=login to requests with a max_age ([MaxAge]), for a provider that ignores
	// max_age. The ID Token must still say in "auth_time" that the login is fresh.
	PromptLogin bool

	// EssentialACR asks for the classes of login as an essential claim in addition to acr_values, for
	// a provider that may ignore those (OpenID Connect Core, section 5.5.1.1).
	EssentialACR bool

	// Pushed says whether the gate sends the request to the provider itself, and only a reference
	// passes through the browser (RFC 9126). If that fails, the login is refused, never sent plainly:
	// who can disturb it must not weaken it. If zero, [PushedIfAnnounced].
	Pushed PushedMode

	// Object has the request signed as an object (RFC 9101) with the first key of ClientKeys that
	// signs. It is pushed or in the address, never a reference to this service. If zero, [ObjectOff].
	Object ObjectMode
}

// LoginOptions are parameters of authorization requests. Zero fields send nothing.
//
// If a login is refused after the browser came back from the provider, "Log in again" on the page
// goes to the same provider and leads to the same path, without the other options of the link. If
// the client or the provider is set up wrongly, the visitor chooses the provider again.
type LoginOptions struct {
	// Provider is the Name of the provider at which the visitor logs in, or "." for the one without a
	// name. If empty, the visitor chooses where there are several. It decides about no linking, and
	// not about one more login of a signed-in user, which is at the provider of the session. A name
	// that the gate does not know refuses the login, with a log line. [RequestOptions] cannot have it.
	Provider string

	// Prompt is "login", "select_account", "consent", "create" to register (Initiating User
	// Registration via OpenID Connect), or "none" to show no page; several have a space between.
	// After "login", which sends max_age=0 too, "auth_time" of the ID Token must be of this login.
	Prompt string

	MaxAge               time.Duration     // since the last login; "auth_time" must confirm it
	ACRValues            []string          // the preferred first; "acr" must be one of them
	LoginHint            string            // who logs in, such as an e-mail address
	IDTokenHint          string            // an ID Token of who should log in
	UILocales            []string          // languages such as "de-CH", the preferred first
	Display              string            // "page", "popup", "touch" or "wap"
	Claims               string            // a JSON object; only an essential acr is checked
	AuthorizationDetails string            // a JSON array (RFC 9396); [Login] has what is granted
	Params               map[string]string // others, as in RequestOptions
}

// PushedMode, such as [PushedOff], says whether authorization requests are pushed (RFC 9126).
type PushedMode int

// ObjectMode, such as [ObjectSigned], says whether requests are signed objects (RFC 9101).
type ObjectMode int

// The modes of pushed requests and of request objects.
const (
	PushedIfAnnounced = PushedMode(op.PushedIfAnnounced) // where the provider's metadata says so
	PushedRequired    = PushedMode(op.PushedRequired)    // or there is no login
	PushedOff         = PushedMode(op.PushedOff)

	ObjectOff       = ObjectMode(op.ObjectOff)
	ObjectSigned    = ObjectMode(op.ObjectSigned)
	ObjectEncrypted = ObjectMode(op.ObjectEncrypted) // signed, then encrypted for the provider
)
