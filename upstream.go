package oidcgate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/op"
	"github.com/oidcgate/oidcgate/internal/session"
)

// outside asks the providers and the application for internal/session, which does not know them.
type outside struct{ gate *Gate }

var _ session.Provider = outside{}

func (a outside) upstream(id *session.Identity) (*upstream, error) {
	if up := a.gate.provider(id.Provider); up != nil {
		return up, nil
	}
	return nil, fmt.Errorf("the provider %q is not configured any more", id.Provider)
}

// Reach implements session.Provider.
func (a outside) Reach(ctx context.Context, id *session.Identity) error {
	up, err := a.upstream(id)
	if err == nil {
		_, err = up.client.Metadata(ctx)
	}
	return sessionFailure(err)
}

// Refresh implements session.Provider.
func (a outside) Refresh(
	ctx context.Context, id *session.Identity, refreshToken string,
) (*session.ProviderTokens, error) {
	up, err := a.upstream(id)
	if err != nil {
		return nil, sessionFailure(err)
	}
	t, err := up.client.Refresh(ctx, refreshToken)
	return (*session.ProviderTokens)(t), sessionFailure(err)
}

// Verify implements session.Provider.
func (a outside) Verify(
	ctx context.Context, id *session.Identity, t *session.Tokens,
) (claims.Object, error) {
	up, err := a.upstream(id)
	if err != nil {
		return "", sessionFailure(err)
	}
	idToken, err := up.client.VerifyRefreshed(ctx, t.IDToken, t.AccessToken, op.Original{
		Subject: id.Subject(), IssuedAt: id.IssuedAt(), AuthTime: id.AuthTime(), Nonce: t.Nonce,
	})
	if err != nil {
		return "", notVerified(err)
	}
	return idToken, nil
}

// Userinfo implements session.Provider.
func (a outside) Userinfo(
	ctx context.Context, id *session.Identity, accessToken string,
) (claims.Object, error) {
	up, err := a.upstream(id)
	if err != nil {
		return "", sessionFailure(err)
	}
	if !up.client.AsksUserinfo() {
		return "", session.ErrNoUserinfo
	}
	info, err := up.client.RereadUserinfo(ctx, accessToken, id.Subject())
	return info, sessionFailure(err)
}

// Decide implements session.Provider.
func (a outside) Decide(ctx context.Context, s session.Session) (session.Identity, error) {
	login := &Login{identity: identityOf(&s, a.gate.config.IdleTimeout), again: true}
	if refused := a.gate.askApplication(ctx, login); refused != nil {
		f := &session.Failure{Reason: event.Reason(refused.Reason), Err: refused}
		if refused.Reason == ReasonPolicyDenied {
			f.Kind = session.Rejected
		}
		return s.Identity, f
	}
	return *login.identity.record(), nil
}

// revokeTimeout bounds the revocation of a token, because a visitor waits for it.
const revokeTimeout = 2 * time.Second

// Revoke implements session.Provider.
func (a outside) Revoke(ctx context.Context, id *session.Identity, refreshToken string) {
	up, err := a.upstream(id)
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeTimeout)
	defer cancel()
	if err := up.client.Revoke(ctx, refreshToken); err != nil {
		a.gate.config.Logger.Info("oidcgate: cannot revoke a refresh token", "err", err)
	}
}

// sessionFailure returns what an error of a provider means for a session.
func sessionFailure(err error) error {
	if err == nil {
		return nil
	}
	f := &session.Failure{Reason: event.ReasonProviderUnreachable, Err: err}
	e, ok := errors.AsType[*op.Error](err)
	if !ok {
		return f
	}
	f.Reason = e.Reason
	switch {
	case e.Code == "invalid_grant":
		f.Kind = session.InvalidGrant
	case e.Refused:
		f.Kind = session.Refused
	case e.Code != "":
		f.Kind = session.NotRotated // refused with an OAuth error code
	case f.Reason == event.ReasonUserinfoSubject:
		f.Kind = session.Rejected
	case f.Reason == event.ReasonUserinfoRefused:
		f.Kind = session.TokenRefused
	}
	return f
}

// notVerified returns the failure for a refreshed ID Token that could not be verified. If the
// provider's keys are missing, that says nothing against the token.
func notVerified(err error) error {
	f := &session.Failure{Kind: session.Rejected, Reason: event.ReasonProviderUnreachable, Err: err}
	e, ok := errors.AsType[*op.Error](err)
	if !ok {
		return f
	}
	f.Reason = e.Reason
	switch f.Reason {
	case event.ReasonJWKSUnavailable, event.ReasonKeyUnknown, event.ReasonProviderUnreachable:
		f.Kind = session.KeysUnavailable
	}
	return f
}
