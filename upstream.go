package oidcgate

import (
	"context"
	"log/slog"

	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/op"
	"github.com/oidcgate/oidcgate/internal/outside"
	"github.com/oidcgate/oidcgate/internal/session"
)

// others asks the providers and the application for internal/session, which does not know them.
type others struct {
	outside.Providers
	gate *Gate
}

var _ session.Provider = others{}

func (g *Gate) others() others {
	return others{gate: g, Providers: outside.Providers{
		Find: func(id *session.Identity) *op.Client {
			if up := g.front.ProviderOf(id); up != nil {
				return up.Client
			}
			return nil
		},
		NotRevoked: g.notRevoked,
	}}
}

func (g *Gate) notRevoked(ctx context.Context, err error) {
	g.events.Log(ctx, slog.LevelInfo, "cannot revoke a refresh token", slog.Any("err", err))
}

// Decide implements session.Provider.
func (o others) Decide(
	ctx context.Context, s session.Session, details string,
) (session.Identity, error) {
	id := identityOf(&s, o.gate.config.IdleTimeout)
	login := &Login{identity: id, again: true, details: details}
	if refused := o.gate.askApplication(ctx, login); refused != nil {
		f := &session.Failure{Reason: refused.Reason, Err: refused}
		if refused.Reason == event.ReasonPolicyDenied {
			f.Kind = session.Rejected
		}
		return s.Identity, f
	}
	return *login.identity.record(), nil
}
