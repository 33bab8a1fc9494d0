package oidcgate

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/session"
)

// Identity is the signed-in user: the verified claims of the ID Token, the claims that userinfo
// adds, and the times of the session. It is immutable and safe for concurrent use. The key of a
// user is Issuer and Subject together (OpenID Connect Core, section 5.7), never an e-mail address,
// which may later belong to somebody else.
type Identity struct {
	rec         *session.Identity // nil in the zero value: see record
	expires     time.Time
	idleExpires time.Time
	token       bool // it is that of an access token
}

// record returns what the session's record says. The zero Identity says nothing.
func (id *Identity) record() *session.Identity {
	if id.rec == nil {
		return &session.Identity{}
	}
	return id.rec
}

// NewIdentity makes an identity for tests and for other ways of logging in. Its session begins now
// and lasts an hour. The claims may hold anything that encoding/json can write; "iss" and "sub" in
// them are replaced.
func NewIdentity(issuer, subject string, other map[string]any) (*Identity, error) {
	if issuer == "" || subject == "" {
		return nil, errors.New("oidcgate: an identity needs an issuer and a subject")
	}
	v, err := claims.Of(other)
	if err != nil {
		return nil, fmt.Errorf("oidcgate: making an identity: %w", err)
	}
	o, _ := v.Object()
	o = o.With("iss", claims.Text(issuer)).With("sub", claims.Text(subject))
	now := time.Now()
	return &Identity{
		rec:     &session.Identity{IDToken: o, Created: now},
		expires: now.Add(time.Hour), idleExpires: now.Add(time.Hour),
	}, nil
}

// String names the user by issuer and subject, as LogValue does.
func (id *Identity) String() string { return id.Issuer() + " " + id.Subject() }

// LogValue names the user in logs by issuer and subject, without any other claim. For a name that
// says nothing to others see [Gate.SubjectHash].
func (id *Identity) LogValue() slog.Value {
	return slog.GroupValue(slog.String("iss", id.Issuer()), slog.String("sub", id.Subject()))
}

// protocol returns a claim that only the ID Token may state.
func (id *Identity) protocol(name string) string {
	v, _ := id.record().IDToken.Get(name)
	s, _ := v.Str()
	return s
}

// Issuer returns the provider's identifier, "iss".
func (id *Identity) Issuer() string { return id.protocol("iss") }

// Subject returns the user's identifier at the issuer, "sub".
func (id *Identity) Subject() string { return id.protocol("sub") }

// ProviderSessionID returns the provider's identifier of its own session, "sid", or "" when it sent
// none. It is not the gate's session id, which is secret.
func (id *Identity) ProviderSessionID() string { return id.protocol("sid") }

// ProviderName returns the Name of the provider the visitor logged in with, or that issued the
// access token ([Identity.FromAccessToken]). It is "" if the provider has none; then
// [LoginOptions].Provider wants ".".
func (id *Identity) ProviderName() string { return id.record().Provider }

// AuthTime returns when the user last authenticated at the provider, "auth_time", or the zero time
// when the provider did not say.
func (id *Identity) AuthTime() time.Time {
	v, _ := id.record().IDToken.Get("auth_time")
	t, _ := v.Time()
	return t
}

// ACR returns the authentication context class, "acr", or "".
func (id *Identity) ACR() string { return id.protocol("acr") }

// AMR returns the authentication methods, "amr", or nil.
func (id *Identity) AMR() []string {
	v, _ := id.record().IDToken.Get("amr")
	return v.Strings()
}

// FromAccessToken reports whether the identity is that of an access token, which a guard such as
// [Gate.RequireToken] has verified. The claims are those of the token: "client_id" names the client
// that sent it, "scope" what it may do. Subject is the user, or the client if it acts for itself:
// then it is "client_id" too. There is no session: Token, Client and Sessions return
// [ErrNoSession], and [Gate.ExchangeToken] exchanges the token that the caller sent. Created is the
// token's "iat", and Expires its "exp", or the present time if it has none.
func (id *Identity) FromAccessToken() bool { return id.token }

// tokenLeft returns how long the access token counts yet, and false for an identity of no token and
// for a token that does not say.
func (id *Identity) tokenLeft() (time.Duration, bool) {
	_, says := id.record().IDToken.Get("exp")
	return time.Until(id.expires), id.token && says
}

// Created returns when the session began.
func (id *Identity) Created() time.Time { return id.record().Created }

// Expires returns when the session ends at the latest, even if it is in use.
func (id *Identity) Expires() time.Time { return id.expires }

// IdleExpires returns when the session ends unless it is used before.
func (id *Identity) IdleExpires() time.Time { return id.idleExpires }

// Name returns a name to show for the user: the first of "name", "preferred_username", "nickname"
// and "given_name" that is present, or else the subject. Several users may have the same.
func (id *Identity) Name() string { return id.record().Name() }

// Email returns the claim "email" and whether the provider says that it is verified:
// "email_verified" is the boolean true, not a string, from the same source as the address, and the
// address has one "@". It is no key of a user: it may later belong to somebody else.
func (id *Identity) Email() (address string, verified bool) {
	for _, o := range id.record().Sources() {
		v, ok := o.Get("email")
		if !ok {
			continue
		}
		address, _ := v.Str()
		flag, _ := o.Get("email_verified")
		isTrue, _ := flag.Bool()
		return address, isTrue && wellFormed(address)
	}
	return "", false
}

// FromUserinfo reports whether the claim comes from the userinfo endpoint. Such a claim came from
// the provider over TLS, but it is not in the signed ID Token.
func (id *Identity) FromUserinfo(claim string) bool {
	_, signed := id.record().IDToken.Get(claim)
	_, present := id.record().Userinfo.Get(claim)
	return present && !signed
}

// wellFormed refuses addresses whose domain two readers could read differently, such as
// "a@evil.example@shop.example".
func wellFormed(address string) bool {
	local, domain, _ := strings.Cut(address, "@")
	if local == "" || domain == "" || strings.Contains(domain, "@") {
		return false
	}
	return !strings.ContainsFunc(address, func(r rune) bool { return r <= ' ' || r > '~' })
}
