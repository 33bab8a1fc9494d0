// Package op is the gate's side towards one OpenID Provider: everything that is said to it and
// heard from it. It knows no store and no browser.
//
// The libraries do what they do well: go-oidc discovers and verifies, x/oauth2 writes the
// authorization request, go-jose decrypts and checks signatures. Round them stand rules of our own,
// which are stricter, and every answer passes those before a library sees it. What the provider
// sends is input from a stranger until it is checked, and nothing of it gets into an error.
//
// The files, in the order in which a login needs them:
//
//	config.go       Config: what a Client works by
//	client.go       Client: one provider, for all requests
//	clientauth.go   Auth: how the client authenticates at the provider
//	notice.go       Notice: what the caller is told while nobody waits for it
//	errors.go       Error and its reasons: every failure of this package
//
//	discovery.go    when to ask for the provider's metadata, and what to do when it fails
//	metadata.go     Metadata: reads the discovery document
//	endpoint.go     which endpoints may be used
//	downgrade.go    newer metadata may be stricter than what we have, never looser
//
//	authorize.go    the authorization request
//	options.go      LoginOptions: parameters that the application or a link chooses
//	jar.go          the authorization request as a signed object
//	par.go          the authorization request, pushed from here
//	response.go     Response: the authorization response, and the checks before its code is sent
//	finish.go       Finish: from a response to verified claims
//	slots.go        how many logins talk to the provider, and how many tokens are decrypted
//	token.go        the token request and its answer
//	idtoken.go      the rules for the ID Token
//	issuer.go       who may issue tokens, for which tenants, and claims that are required
//	refreshed.go    the rules for the ID Token of a refresh
//	userinfo.go     userinfo and its rules
//	revoke.go       the revocation request
//	oauth2.go       providers without ID Tokens
//	shape.go        claims that a provider writes in its own way
//	endsession.go   the logout URL
//	logouttoken.go  the rules for logout tokens
//	inherit.go      what a client learns from the one that it replaces
//
//	inspect.go      Inspect: a look at the provider, for a report to an operator
//	health.go       Health: what is known of the provider at the moment
//
//	accesstoken.go  the rules for access tokens that others send to this service
//	introspect.go   asks the provider about them
//	proof.go        the rules for their DPoP proofs
//
//	kinds.go        the kinds of signed tokens, and what tells them apart
//	jwe.go          decrypts tokens
//	jws.go          reads signed tokens, up to the signature
//	mac.go          signatures with the client secret
//	keys.go         when to load the provider's keys
//	jwk.go          reads keys, and which key fits which token
//	member.go       reads members of a JSON object by their type
//
//	post.go         every request in which the client authenticates itself
//	answer.go       reads answers, within their limits
//	fault.go        why a request brought no usable answer
//	transport.go    the hardened transport
//	mutualtls.go    the client's certificate: who gets to see it
//	showing.go      the certificate as it is at the time of a request
//	resource.go     requests to resources, with an access token
//	purpose.go      what a request is for, for those who measure
//	ask.go          requests that belong to no Client
//	address.go      addresses that are not dialled
//	flight.go       one run of a function for all who ask meanwhile
package op
