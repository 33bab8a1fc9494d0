// Package oidcgatetest helps to test services that use oidcgate.
//
// [WithIdentity] returns a request with a signed-in user. Most tests of handlers need nothing else.
// [Provider.SignIn] returns the browser of a user who has logged in, for whom everything works, and
// [NewBrowser] one that nobody has logged in with.
//
// [NewProvider] starts an OpenID Provider in the process of the test. By default it follows the
// specifications: discovery, signed ID Tokens, PKCE (Proof Key for Code Exchange), the iss response
// parameter, userinfo, refresh tokens and logout. Any relying party can verify its tokens, and it
// refuses incorrect requests.
//
//	p := oidcgatetest.NewProvider(t)
//	gate, err := oidcgate.New(oidcgate.Config{
//		BaseURL: "http://localhost", // needs neither Store nor Keys
//		HTTP:    oidcgate.HTTPOptions{Transport: p.Transport()},
//	}, p.ProviderFor("http://localhost"))
//	browser := p.SignIn(t, gate, gate.Wrap(router), oidcgatetest.User{Subject: "bob"})
//	resp, err := browser.Get("http://localhost/account")
//
// [Provider.AddClient] registers clients of another kind.
//
// In the repository, docs/testing.md has tests to copy, and example_test.go of this package has a
// whole login. pkg.go.dev shows that as the example of the package; go doc does not.
//
// [Client] says how a client authenticates, and how its tokens are signed and encrypted.
//
// There are three ways to connect to it, and they can be combined. [Provider.Transport] connects
// client and provider in memory: no port is opened, and everything can run inside a
// testing/synctest bubble, except a gate with EnableValues, which has a goroutine of scs.
// [Provider.Server] and [Provider.TLSServer] listen on a loopback address.
// A Provider is also an http.Handler, for a server of your own.
//
// # Misbehaviour
//
// A [Fault] changes how one endpoint answers: late, never, with another status, or with a member
// missing from its JSON. [Provider.Inject] sets faults for the next request and [Provider.Always]
// for all requests. [Provider.NextIDToken] lets the test change the next ID Token before it is
// signed. [Provider.Count] and [Provider.LastRequest] return how many requests the relying party
// sent, and the last of them.
//
// The package registers no flags and does not import package testing, so a program such as a
// demonstration can create a provider with [New] and log users out with [Provider.SendLogout]. It
// must not protect anything real: it checks no passwords.
package oidcgatetest
