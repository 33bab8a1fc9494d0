package oidcgate

import "github.com/oidcgate/oidcgate/internal/op"

// RequestOptions set the authorization request (OpenID Connect Core, section 3.1.2.1).
type RequestOptions struct {
	// Params are sent with every authorization request, "prompt" or "ui_locales" for example. Those
	// that the gate sets itself are refused.
	Params map[string]string

	// ResponseType is what the provider answers with: "code"; "code id_token", which adds an ID Token
	// that binds the code; or "id_token" alone, from a provider without a usable token endpoint. With
	// the last there is no access token and no userinfo. If empty, "code".
	ResponseType string

	// ResponseMode is how the answer passes through the browser: "query", "form_post", "fragment",
	// or one of them with ".jwt" at its end, which has the provider sign the answer (JARM). It is sent
	// only if it is set. If empty, it is the default of ResponseType: "query" for "code", otherwise
	// "fragment". A fragment needs JavaScript in the browser; "form_post" does not.
	ResponseMode string

	// PromptLogin adds prompt=login to requests with a max_age ([MaxAge]), for a provider that ignores
	// max_age. The ID Token must still say in "auth_time" that the login is fresh.
	PromptLogin bool

	// Pushed says whether the gate sends the request to the provider itself, so that only a reference
	// passes through the browser (RFC 9126). A request that cannot be pushed is never sent plainly
	// instead: the login is refused. If zero, [PushedIfAnnounced].
	Pushed PushedMode

	// Object says whether the parameters go in an object that is signed with the first key of
	// ClientKeys that signs (RFC 9101), pushed or in the address. If zero, [ObjectOff]. The object is
	// never passed by a reference to this service: pushed requests do that better.
	Object ObjectMode
}

// PushedMode says whether authorization requests are pushed (RFC 9126).
type PushedMode int

// The modes of pushed requests.
const (
	// PushedIfAnnounced pushes where the provider's metadata has an endpoint for it. While the gate
	// runs, the provider cannot withdraw it.
	PushedIfAnnounced = PushedMode(op.PushedIfAnnounced)

	// PushedRequired refuses logins at a provider that takes no pushed requests.
	PushedRequired = PushedMode(op.PushedRequired)

	// PushedOff never pushes.
	PushedOff = PushedMode(op.PushedOff)
)

// ObjectMode says whether authorization requests are signed objects (RFC 9101).
type ObjectMode int

// The modes of request objects.
const (
	ObjectOff       = ObjectMode(op.ObjectOff)
	ObjectSigned    = ObjectMode(op.ObjectSigned)
	ObjectEncrypted = ObjectMode(op.ObjectEncrypted) // signed, then encrypted for the provider
)
