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
// docs/architecture.md has a picture of the packages, the files of each in the order in which a
// request passes them, the way of a login, and what is defended against where.
//
// Files of this package depend on those above them in that list, or on internal packages. These use
// each other:
//
//   - config.go and provider.go: New checks both together, and a provider is made of limits in
//     Config.
//   - config.go and link.go: Config.OnLink has a Linking as its parameter, and link.go calls it.
package oidcgate
