package oidcgate

import (
	"context"
	"net/http"

	"github.com/oidcgate/oidcgate/internal/front"
	"github.com/oidcgate/oidcgate/internal/op"
	"github.com/oidcgate/oidcgate/internal/present"
	"github.com/oidcgate/oidcgate/internal/session"
)

// Client returns an http.Client that sends the visitor's access token with every request, as
// [Gate.Token] returns it at that moment, with what proves that the token is ours if
// TokenRequest.Binding asks for that. ctx is the context of the visitor's request; do not keep the
// client after it. Where an access token admitted the request there is no session, and the client
// fails with [ErrNoSession].
//
// origins are the resource servers that get the token, such as "https://api.example"; a path does
// not narrow one. A request to any other address fails. So does one over http, except to this
// machine or with Config.InsecureAllowHTTP (RFC 6750, section 5.3). The client does not follow
// redirects; if you change that, a request that was redirected to another origin goes there without
// the token. A request, and the reading of its answer, ends with ctx at the latest; set the
// client's Timeout for less. HTTPOptions.ResourceTransport carries the requests.
func (g *Gate) Client(ctx context.Context, origins ...string) *http.Client {
	return g.client(ctx, origins, g.tokens)
}

// ExchangeClient is [Gate.Client] with the token of [Gate.ExchangeToken], for the origins of the
// service that the token is for. It works where an access token admitted the request, too.
func (g *Gate) ExchangeClient(
	ctx context.Context, x TokenExchange, origins ...string,
) *http.Client {
	token := func(ctx context.Context) (*session.ProviderTokens, *front.Provider, error) {
		return g.exchange(ctx, x)
	}
	return g.client(ctx, origins, token)
}

func (g *Gate) client(
	ctx context.Context, origins []string,
	token func(context.Context) (*session.ProviderTokens, *front.Provider, error),
) *http.Client {
	send := func(ctx context.Context, r *http.Request) (*http.Response, error) {
		t, up, err := token(ctx)
		if err != nil {
			return nil, err
		}
		return up.Client.RoundTrip(r, t.AccessToken, t.DPoPKey)
	}
	return present.Client(&present.Transport{
		Context: ctx, Origins: present.Origins(origins), AllowHTTP: g.config.InsecureAllowHTTP,
		Elsewhere: op.Resources(g.config.HTTP.ResourceTransport), Send: send,
	})
}
