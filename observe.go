package oidcgate

import (
	"context"
	"net/http"

	"github.com/oidcgate/oidcgate/internal/op"
)

// ProviderRequest says what a request of the gate to a provider is for.
type ProviderRequest struct {
	Provider string // Provider.Name

	// Purpose is "discovery", "keys", "push" (an authorization request, RFC 9126), "token" (for a
	// code), "refresh", "exchange" (RFC 8693), "revocation", "introspection", "userinfo" or "further"
	// (ClaimOptions.Further).
	Purpose string
}

// ProviderRequestFromContext returns what a request to a provider is for, by its context. It is for
// transports; see HTTPOptions.Wrap. ok is false for other requests.
func ProviderRequestFromContext(ctx context.Context) (r ProviderRequest, ok bool) {
	p, ok := op.PurposeOf(ctx)
	return ProviderRequest{Provider: p.Provider, Purpose: p.For}, ok
}

// Route returns which of the gate's own routes a request is for: "login", "callback", "logout",
// "logout/done", "backchannel-logout", "frontchannel-logout", "initiate", "jwks", "session" or
// "dev", or "" if the request is the application's. provider is the Name of the provider whose
// route it is, and "" for routes that all share. It is for middleware outside Wrap that measures or
// limits requests.
func (g *Gate) Route(r *http.Request) (route, provider string) {
	route, up := g.front.Route(r.URL.Path)
	if up == nil {
		return route, ""
	}
	return route, up.Name
}
