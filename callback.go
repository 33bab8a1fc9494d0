package oidcgate

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/front"
	"github.com/oidcgate/oidcgate/internal/op"
	"github.com/oidcgate/oidcgate/internal/session"
)

// The callback itself is in internal/front. Here is what the application says: to a login that
// begins, to one that passed every check, and to a session whose claims were read again.

// loginOptions asks the application what a login should ask of the provider.
func (g *Gate) loginOptions(r *http.Request) (_ op.LoginOptions, refused *front.Failure) {
	if g.config.LoginOptions == nil {
		return op.LoginOptions{}, nil
	}
	defer func() {
		if v := recover(); v != nil {
			refused = g.panicked(r.Context(), "LoginOptions", v)
		}
	}()
	return op.LoginOptions(g.config.LoginOptions(r)), nil
}

// homeRealm asks the application which provider has the accounts of an e-mail address. A panic is
// no answer.
func (g *Gate) homeRealm(email string) (provider string, ok bool) {
	defer func() {
		if v := recover(); v != nil {
			g.events.Panicked(context.Background(), "HomeRealm", v)
			provider, ok = "", false
		}
	}()
	return g.config.HomeRealm(email)
}

// decide asks the application about a login that passed every check.
func (g *Gate) decide(ctx context.Context, l front.Login) (session.Identity, *front.Failure) {
	login := &Login{returnTo: l.ReturnTo, details: l.Details, request: l.Request, identity: &Identity{
		rec:         &l.Identity,
		expires:     l.Identity.Created.Add(g.config.SessionLifetime),
		idleExpires: l.Identity.Created.Add(g.config.IdleTimeout),
	}}
	refused := g.askApplication(ctx, login)
	return *login.identity.record(), refused
}

// askApplication runs OnLogin and returns why it refuses the login, or nil. A panic of OnLogin
// fails this login and does not end the process.
func (g *Gate) askApplication(ctx context.Context, login *Login) (refused *front.Failure) {
	if g.config.OnLogin == nil {
		return nil
	}
	defer func() {
		if v := recover(); v != nil {
			refused = g.panicked(ctx, "OnLogin", v)
		}
	}()
	return decision("OnLogin", g.config.OnLogin(ctx, login))
}

// decision returns why a function of the application refuses, by its error, or nil.
func decision(function string, err error) *front.Failure {
	if err == nil {
		return nil
	}
	refused := hookFailure(function, fmt.Errorf("%s: %w", function, err))
	var denied *denial
	if errors.As(err, &denied) {
		refused.Status, refused.Reason = http.StatusForbidden, event.ReasonPolicyDenied
		refused.Text, refused.Hint = denied.text, ""
	}
	return refused
}

// panicked is the failure of a login for which a function of the application panicked.
func (g *Gate) panicked(ctx context.Context, function string, v any) *front.Failure {
	g.events.Panicked(ctx, function, v)
	return hookFailure(function, errors.New(function+" panicked"))
}

func hookFailure(function string, err error) *front.Failure {
	return &front.Failure{
		Status: http.StatusInternalServerError, Reason: event.ReasonHookError, Err: err,
		Hint: "correct " + function + ", or what it asks",
	}
}
