package oidcgate

import (
	"context"
	"net/http"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/op"
	"github.com/oidcgate/oidcgate/internal/present"
	"github.com/oidcgate/oidcgate/internal/session"
)

type askFurther = func(
	ctx context.Context, id *Identity, client *http.Client,
) (map[string]any, error)

// further returns the function that asks for claims at other addresses, or nil if there is none.
func further(ask askFurther, provider string, hosts []string, c *Config) func(
	context.Context, claims.Object, claims.Object, op.Send,
) (claims.Object, error) {
	if ask == nil {
		return nil
	}
	origins, allowHTTP := present.Origins(hosts), c.InsecureAllowHTTP
	return func(
		ctx context.Context, id, userinfo claims.Object, send op.Send,
	) (claims.Object, error) {
		ctx = withoutVisit(ctx)
		user := &Identity{rec: &session.Identity{Provider: provider, IDToken: id, Userinfo: userinfo}}
		client := present.Client(&present.Transport{
			Context: ctx, Origins: origins, AllowHTTP: allowHTTP, Elsewhere: http.DefaultTransport,
			Send: func(_ context.Context, r *http.Request) (*http.Response, error) { return send(r) },
		})
		client.Timeout = c.HTTP.Timeout
		more, err := ask(ctx, user, client)
		if err != nil {
			return "", err
		}
		v, err := claims.Of(more)
		if err != nil {
			return "", err
		}
		o, _ := v.Object()
		return o, nil
	}
}
