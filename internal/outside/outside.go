// Package outside asks the providers for internal/session, which does not know them. It says what
// their answers and failures mean for a session.
package outside

import (
	"context"
	"errors"
	"fmt"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/op"
	"github.com/oidcgate/oidcgate/internal/session"
)

// Providers are the providers that sessions come from. Together with a method Decide they are a
// [session.Provider]. Every field is needed.
type Providers struct {
	// Find returns the provider that a session comes from, or nil if it is not configured any more:
	// another may have its name by now, and must not get its tokens.
	Find func(*session.Identity) *op.Client

	NotRevoked func(context.Context, error) // is told of a refresh token that could not be revoked
}

func (p Providers) client(id *session.Identity) (*op.Client, error) {
	if c := p.Find(id); c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("the provider %q is not configured any more", id.Provider)
}

// Reach implements session.Provider.
func (p Providers) Reach(ctx context.Context, id *session.Identity) error {
	c, err := p.client(id)
	if err == nil {
		_, err = c.Metadata(ctx)
	}
	return sessionFailure(err)
}

// Refresh implements session.Provider.
func (p Providers) Refresh(
	ctx context.Context, id *session.Identity, t *session.ProviderTokens,
) (*session.ProviderTokens, error) {
	c, err := p.client(id)
	if err != nil {
		return nil, sessionFailure(err)
	}
	answer, err := c.Refresh(ctx, t.RefreshToken, t.DPoPKey)
	return (*session.ProviderTokens)(answer), notRefreshed(err)
}

// notRefreshed returns the failure of a refresh. One that could not be sent, or for which there is
// no client secret, has not spent the refresh token. An answer that is too long is rejected, as it
// is at a login.
func notRefreshed(err error) error {
	e, ok := errors.AsType[*op.Error](err)
	kind := session.Rejected
	switch {
	case ok && e.TooLong && e.Reason == event.ReasonTokenResponseInvalid:
	case ok && (e.Unsent || e.Reason == event.ReasonClientSecret):
		kind = session.NotRotated
	default:
		return sessionFailure(err)
	}
	return &session.Failure{
		Kind: kind, Reason: e.Reason, Err: err, Hint: e.Hint, Own: kind == session.NotRotated,
	}
}

// Verify implements session.Provider.
func (p Providers) Verify(
	ctx context.Context, id *session.Identity, t *session.Tokens,
) (claims.Object, error) {
	c, err := p.client(id)
	if err != nil { // it was taken away while it answered, and may come back
		f := &session.Failure{Kind: session.NotVerifiable, Err: err}
		f.Reason = event.ReasonProviderUnreachable
		return "", f
	}
	if !c.HasIDTokens() {
		return "", notChecked(c.CheckUser(ctx, (*op.Tokens)(&t.ProviderTokens), id.Subject()))
	}
	idToken, signed, err := c.VerifyRefreshed(ctx, t.IDToken, t.AccessToken, op.Original{
		Issuer: id.Issuer(), Subject: id.Subject(),
		IssuedAt: id.IssuedAt(), AuthTime: id.AuthTime(), Nonce: t.Nonce,
	})
	if err != nil {
		return "", notVerified(err)
	}
	t.IDToken = signed // it is a hint for the provider later, which cannot decrypt what is for us
	return idToken, nil
}

// Shape implements session.Provider.
func (p Providers) Shape(id *session.Identity, idToken claims.Object) claims.Object {
	c, err := p.client(id)
	if err != nil {
		return ""
	}
	return c.Shape(idToken)
}

// AsksUserinfo implements session.Provider.
func (p Providers) AsksUserinfo(id *session.Identity) bool {
	c, err := p.client(id)
	return err != nil || c.AsksUserinfo()
}

// Userinfo implements session.Provider.
func (p Providers) Userinfo(
	ctx context.Context, id *session.Identity, t *session.Tokens,
) (claims.Object, error) {
	c, err := p.client(id)
	if err != nil {
		return "", sessionFailure(err)
	}
	had := id.Userinfo != "" || t.Userinfo != nil && *t.Userinfo != ""
	info, err := c.RereadUserinfo(ctx, (*op.Tokens)(&t.ProviderTokens), id.IDToken, had)
	if err == nil {
		return info, nil
	}
	f := sessionFailure(err).(*session.Failure)
	if e, ok := errors.AsType[*op.Error](err); ok && e.Limited {
		f.Alone = true
	}
	return "", f
}

// Revoke implements session.Provider.
func (p Providers) Revoke(ctx context.Context, id *session.Identity, refreshToken string) {
	c, err := p.client(id)
	if err != nil {
		return
	}
	if err := c.Revoke(ctx, refreshToken); err != nil {
		p.NotRevoked(ctx, err)
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
	f.Kind, f.Reason, f.Hint = failureKind(e), e.Reason, e.Hint
	f.Own = e.Unsent || f.Kind == session.ClientRefused
	// A proxy in front of a provider shows a login page to users who are blocked.
	f.Alone = e.Alone && !refusesClient(e.Code) ||
		e.Answered && e.Reason == event.ReasonTokenResponseInvalid
	return f
}

// refusesClient reports whether an error code says that the client is not known or may not do this,
// whoever the user is.
func refusesClient(code string) bool {
	return code == "invalid_client" || code == "unauthorized_client"
}

func failureKind(e *op.Error) session.FailureKind {
	refused := e.Refused && e.Answered
	switch {
	case refused && e.Code == "invalid_grant":
		return session.InvalidGrant
	case refused && e.Code == "access_denied":
		return session.UserDenied
	case refused && refusesUser(e.Code):
		return session.UserRefused
	case refused && e.Code != "":
		return session.ClientRefused
	case refused:
		return session.Refused
	case e.Code != "", e.Refused:
		return session.NotRotated
	case e.Reason == event.ReasonUserinfoSubject && !e.Unreadable:
		return session.Rejected
	case e.Reason == event.ReasonUserinfoRefused:
		return session.TokenRefused
	case e.Doubtful:
		return session.TokenDoubted
	case e.Unreadable, e.TooLong:
		return session.Unreadable
	case e.Reason == event.ReasonUserinfoError && e.Answered:
		return session.Unusable
	}
	return session.NoAnswer
}

// refusesUser reports whether an error code says that the provider gives no tokens for this user
// any more, without a login that the user takes part in (OpenID Connect Core, section 3.1.2.6).
func refusesUser(code string) bool {
	switch code {
	case "account_selection_required", "consent_required", "interaction_required", "login_required":
		return true
	}
	return false
}

// notVerified returns the failure for a refreshed ID Token that could not be verified. If keys are
// missing, the provider's or the client's own, or the clocks differ, that says nothing against the
// token.
func notVerified(err error) error {
	f := &session.Failure{Kind: session.Rejected, Reason: event.ReasonProviderUnreachable, Err: err}
	e, ok := errors.AsType[*op.Error](err)
	if !ok {
		return f
	}
	f.Reason, f.Hint = e.Reason, e.Hint
	switch f.Reason {
	case event.ReasonJWKSUnavailable, event.ReasonKeyUnknown, event.ReasonProviderUnreachable,
		event.ReasonClientSecret:
		f.Kind = session.NotVerifiable
	case event.ReasonDecryption:
		if !e.TooLong {
			f.Kind = session.NotVerifiable
		}
	}
	if e.Unproven || e.Clock {
		f.Kind = session.NotVerifiable
	}
	return f
}

// notChecked returns the failure for an access token whose user could not be asked for. An endpoint
// that does not answer says nothing against the token.
func notChecked(err error) error {
	if err == nil {
		return nil
	}
	f := sessionFailure(err).(*session.Failure)
	if f.Reason == event.ReasonUserinfoSubject {
		f.Kind = session.Rejected // also where it names nobody
	}
	f.Unread = f.Kind == session.Unreadable || f.Kind == session.TokenDoubted
	if e, ok := errors.AsType[*op.Error](err); ok {
		f.Limited = e.Limited && !f.Unread
	}
	if f.Kind != session.Rejected && f.Kind != session.TokenRefused {
		f.Kind = session.NotVerifiable
	}
	return f
}
