// Package registration registers an application as a client at a provider, without a page to click
// through (OpenID Connect Dynamic Client Registration 1.0, RFC 7591), and reads, changes and
// deletes what is registered (RFC 7592). It also finds the issuer of an e-mail address (WebFinger,
// OpenID Connect Discovery 1.0, section 2).
//
//	endpoint, err := registration.Endpoint(ctx, nil, "https://id.example")
//	client, err := registration.Register(ctx, nil, endpoint, registration.Metadata{
//		ClientName:   "Shop",
//		RedirectURIs: []string{"https://shop.example/auth/callback"},
//	}, initialAccessToken)
//	kept, err := client.Encode() // JSON, with the secrets: keep it where secrets are kept
//
// An application registers once, in a command or when it is set up, and keeps the [Client]. These
// functions are never called while a visitor's request is served: whoever chooses the issuer
// chooses whose logins count, and which server this one makes requests to.
//
// Requests follow the rules of package oidcgate: https (http on loopback only), TLS 1.2 or newer,
// no redirects, ten seconds, 256 KiB, and no connection to link-local addresses and metadata
// services of clouds. Every function takes an http.Client, of which only Transport and Timeout
// count; if it or its Transport is nil, the transport is that of package oidcgate. Errors quote
// neither tokens nor secrets.
package registration
