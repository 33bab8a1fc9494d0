// Package oidcgate puts OpenID Connect login in front of an existing Go service. It is a net/http
// middleware: it serves login, callback and logout, runs the authorization code flow with PKCE,
// keeps sessions in a store such as Redis, through scs, and gives handlers the signed-in user.
//
//	gate, err := oidcgate.New(oidcgate.Config{
//		BaseURL: "https://shop.example",
//		Store:   redisstore.New(rdb),
//		Keys:    keys, // oidcgate.ParseKeys(os.Getenv("SESSION_KEYS"))
//	}, oidcgate.Provider{
//		Issuer:   "https://id.example",
//		ClientID: "shop",
//		Auth:     oidcgate.ClientSecretBasic(secret),
//	})
//	// err has all faults of the configuration, each with its cure.
//	mux.Handle("/account", gate.Require()(account)) // login first
//	http.ListenAndServe(addr, gate.Wrap(mux))       // sessions and the gate's own routes
//
// A handler reads who is signed in:
//
//	id, ok := oidcgate.FromContext(r.Context())
//	groups, _ := id.ClaimStrings("groups")
//
// [Gate.Require] and [Gate.Admit] guard routes; rules such as [Claim] say who may enter.
// [Gate.Token] and [Gate.Client] call other services in the user's name. [Gate.Sessions] lists and
// ends sessions. Config.OnLogin sees every login, Config.OnEvent everything an operator may want to
// know.
//
// # Where things are
//
// docs/architecture.md has a picture of the packages and the way of a login and of a request. The
// files of this package, in the order in which a request passes them:
//
// Configuration: defaults and every check, before the first request.
//
//	config.go       Config
//	provider.go     Provider
//	request.go      the authorization request
//	clientkeys.go   the client's own keys
//	binding.go      tokens that only this client can use
//	clientauth.go   how the application authenticates at the provider
//	keys.go         the keys that seal cookies and records
//
// Every request.
//
//	gate.go         Gate, and the addresses of its routes
//	middleware.go   New, Wrap: the gate's own routes, and the session of every other request
//	visit.go        what the gate knows of a request; FromContext
//	cookie.go       the session id that a request brings
//	session.go      what internal/session needs from the gate, and what it tells
//
// Who may enter.
//
//	require.go      Require and Admit: the guard and its answers
//	rules.go        Claim, EmailDomain, ACR, MaxAge, Match
//
// Out to the provider, and back.
//
//	login.go        the login route: choose a provider, send the browser there
//	returnpath.go   where the browser goes afterwards
//	initiate.go     logins that another site begins
//	callback.go     whose response is this, finish, ask the application, sign in
//	hook.go         Login: what OnLogin sees and may change
//
// What handlers use.
//
//	identity.go     Identity: who is signed in
//	claim.go        reading claims
//	token.go        access tokens
//	exchange.go     access tokens for other services
//	client.go       an http.Client that sends the access token
//	upstream.go     what internal/session asks providers and the application
//	sessions.go     lists of sessions, and ending them
//	watch.go        long answers that end with the session
//	values.go       the application's own values
//
// Out, from every side.
//
//	logout.go       the user: here first, then at the provider
//	backchannel.go  the provider, from server to server
//	frontchannel.go the provider, by a frame in the browser
//
// What is told to whom.
//
//	page.go         the browser
//	failure.go      a login that is refused: the page, the log and the event have one reference
//	errors.go       the application
//	event.go        the log and OnEvent
//
// internal/session keeps a session in the store, and internal/viascs does so through scs.
// internal/op speaks to one provider, and internal/outside asks it for internal/session.
// internal/attempt keeps a login under way in a cookie, and internal/browser tells what kind of
// request this is. internal/claims holds claims so that no request parses JSON, internal/seal
// encrypts, internal/returnto decides where a browser may be sent, internal/site knows the
// addresses of this service, internal/check collects faults of the configuration, internal/event
// has the names of events and reasons, and internal/page writes pages. internal/values encodes the
// application's values, and internal/saver saves them before the first byte of an answer. Package
// store states what a store promises.
//
// Files depend on those above them in the list, or on internal packages. These use each other:
//
//   - config.go and provider.go: New checks both together, and a provider is made of limits in
//     Config.
//   - config.go and hook.go: Config.OnLogin has a Login as its parameter, and hook.go calls it.
//   - config.go and page.go: Config.ErrorPage has a Page as its parameter, and page.go calls it.
//   - visit.go and values.go: a visit holds the values of its request.
//
// docs/architecture.md shows the way of a login, and what is defended against where.
package oidcgate
