// Package oidcgate puts OpenID Connect login in front of an existing Go service. It is a net/http middleware:
// it serves login, callback and logout, runs the authorization code flow with PKCE, keeps sessions in a store
// through scs, and gives handlers the verified identity of the visitor in the request's context.
//
//	gate, err := oidcgate.New(oidcgate.Config{BaseURL: "https://shop.example", Store: redisstore.New(rdb), Keys: keys},
//		oidcgate.Provider{Issuer: "https://id.example", ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)})
//	mux.Handle("/account", gate.Require()(account))
//	http.ListenAndServe(addr, gate.Wrap(mux))
//
// # Where things are
//
// A request passes the files in this order, and so may a reader:
//
//	config.go       Config, and provider.go, Provider: every default and every check, before the first request;
//	                faults.go collects what is wrong
//	clientauth.go   how the application authenticates at the provider; keys.go, what seals
//	gate.go         Gate, its providers and its addresses
//	middleware.go   New, Wrap: own routes, and the session of every other request
//	visit.go        what the gate knows of a request
//	cookie.go       which session id a request brings
//	record.go       records of the store: names, times, sealing
//	session.go      scs on our store: one read, times checked, last seen noted
//	require.go      Admit, Require, and rules.go: who may enter; navigation.go: what kind of request this is
//	login.go        out to the provider: state, nonce, verifier; attempt.go, one login under way
//	stepup.go       a stronger or a fresh login
//	returnpath.go   where the browser goes afterwards
//	callback.go     back again: the checks in the order of the specification, then a session; response.go, the answer
//	token.go        the provider's tokens for handlers; client.go, an http.Client with them
//	tokenrecord.go  the record in which they are kept
//	refresh.go      one refresh per session, whatever the number of requests (flight.go) and replicas (lock.go)
//	recheck.go      claims that follow the provider
//	index.go        from a user to the user's sessions, and logouts that win; sessions.go, lists for handlers
//	values.go       the application's values; saver.go saves them before the first byte
//	logout.go       by the user: here first, then at the provider
//	backchannel.go  by the provider: back-channel logout, and frontchannel.go, front-channel logout
//	identity.go     Identity; hook.go, Login for OnLogin
//	event.go        what an operator may want to know; errors.go, failure.go and page.go, what is told to whom
//
// internal/provider speaks to the provider, and believes nothing it says before its check. internal/claims holds
// claims so that no request parses JSON, internal/seal encrypts, internal/returnto decides where a browser may be
// sent. Package store states what a store promises.
//
// # Threats
//
// What is defended against, in which file, and by which rules it is shown. docs/rules.md lists the rules, and
// the subtests that show one carry its number: go test -v -run '/C031' ./... finds them.
//
//	a code or state that was stolen, guessed or sent again     login.go, callback.go          C019-C023, C029, C030, F28
//	a login finished in another browser (login CSRF)           callback.go                    C029, C047, C048
//	one provider's code redeemed at another (mix-up)           callback.go, internal/provider C031, C032
//	parameters that two readers read differently               callback.go, internal/claims   C033-C037, C069
//	a forged, foreign or old ID Token                          internal/provider/idtoken.go   C058-C070
//	keys from elsewhere, key floods, junk keys                 internal/provider/keys.go      C008-C013, F05-F07
//	userinfo of somebody else                                  internal/provider/userinfo.go  C074-C079
//	a provider that is slow, huge, down or redirects           internal/provider/transport.go C015, C052, F01-F11
//	metadata that weakens while the service runs               internal/provider/metadata.go  C001-C007, F13
//	redirects off the site                                     internal/returnto, login.go    the corpus of internal/returnto
//	session fixation                                           callback.go                    C046, C109
//	a copy of the store, swapped or damaged records            session.go, internal/seal      C102, C103, F22
//	sessions that do not end                                   session.go                     C105, C106
//	a logout that a slow request undoes                        session.go, values.go          C107, C108
//	cookies tossed or forged by neighbours                     cookie.go                      C101, C104, F23, F24
//	floods of abandoned logins                                 login.go                       C022, F26, F27
//	requests that talk their way past a guard                  require.go                     C110-C112
//	pages that a cache shares between visitors                 middleware.go, require.go      C115
//	logout by another site                                     logout.go                      C116-C119
//	forged, repeated and late logouts by the provider          backchannel.go, index.go       C120-C129
//	a refresh token spent twice or lost, another user's token  refresh.go                     C080-C087, F30-F32
//	groups that were taken away, sessions nobody can end       recheck.go, index.go           C113, C114
//	a store that hiccups                                       session.go, require.go         F15-F19
//	secrets in logs, pages and errors                          event.go, page.go, errors.go   C016, C055, F45
package oidcgate
