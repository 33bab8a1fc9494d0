package op

import (
	"context"
	"net/http"
)

// Purpose says what a request to a provider is for: its words are few and stable.
type Purpose struct {
	Provider string // as the application calls it: Config.Name
	For      string
}

// What requests to a provider are for.
const (
	ForDiscovery     = "discovery"     // metadata
	ForKeys          = "keys"          // keys
	ForPush          = "push"          // an authorization request, pushed
	ForToken         = "token"         // tokens for a code
	ForRefresh       = "refresh"       // tokens for a refresh token
	ForExchange      = "exchange"      // a token for another service
	ForRevocation    = "revocation"    // a refresh token is given back
	ForIntrospection = "introspection" // an access token of a caller
	ForUserinfo      = "userinfo"      // claims
	ForFurther       = "further"       // claims at further addresses
)

// Purposes are all of them.
var Purposes = []string{
	ForDiscovery, ForKeys, ForPush, ForToken, ForRefresh, ForExchange, ForRevocation,
	ForIntrospection, ForUserinfo, ForFurther,
}

type purposeKey struct{}

// to returns a context for a request to the provider. A transport finds in it what the request is
// for.
func (c *Client) to(ctx context.Context, purpose string) context.Context {
	return context.WithValue(ctx, purposeKey{}, Purpose{c.cfg.Name, purpose})
}

// PurposeOf returns what a request is for, by its context.
func PurposeOf(ctx context.Context) (Purpose, bool) {
	p, ok := ctx.Value(purposeKey{}).(Purpose)
	return p, ok
}

// forGrant returns what a token request is for.
func forGrant(grantType string) string {
	switch grantType {
	case "refresh_token":
		return ForRefresh
	case exchangeGrant:
		return ForExchange
	}
	return ForToken
}

// wrap returns a transport as the application wants requests to pass through it.
func (cfg *Config) wrap(transport http.RoundTripper) http.RoundTripper {
	if cfg.Wrap == nil || transport == nil {
		return transport
	}
	return cfg.Wrap(transport)
}
