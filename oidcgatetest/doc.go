// Package oidcgatetest is for the tests of services that stand behind oidcgate.
//
// [WithIdentity] makes a request that is logged in already; most tests of handlers
// need nothing else.
//
// [NewProvider] starts an OpenID Provider in the test's own process. By itself it is
// a correct one: discovery, signed ID Tokens, PKCE, the iss response parameter,
// userinfo, refresh tokens and logout, each as its specification wants it. What it
// issues can be verified by any relying party, and what a relying party gets wrong it
// refuses.
//
//	p := oidcgatetest.NewProvider(t)
//	p.AddClient(oidcgatetest.Client{
//		ID:           "shop",
//		Secret:       "a secret",
//		RedirectURLs: []string{"https://shop.test/auth/callback"},
//	})
//
// There are three ways to reach it, and they can be mixed: [Provider.Transport] joins
// client and provider in memory, so that nothing listens and the whole of it runs
// inside a testing/synctest bubble; [Provider.Server] and [Provider.TLSServer] listen
// on loopback; and a Provider is an http.Handler for a server of your own.
//
// # Misbehaviour
//
// A [Fault] changes how one endpoint answers: late, never, with another status, with
// one member of its JSON gone. [Provider.Inject] keeps it for the next request and
// [Provider.Always] for all of them. [Provider.NextIDToken] hands over each ID Token
// before it is signed. [Provider.Count] and [Provider.LastRequest] tell what the
// relying party sent, and how often.
//
// The package registers no flags and does not import package testing, so a program
// such as a demonstration may embed a provider with [New]. It is not made to guard
// anything: it knows no passwords.
package oidcgatetest
