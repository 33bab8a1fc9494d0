package op

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/oidcgate/oidcgate/internal/check"
	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
)

// Some providers speak OAuth 2.0 and issue no ID Tokens. Then userinfo says who logs in. It came
// over TLS, for an access token that was issued for this client's code. So PKCE and state hold as
// ever. What an ID Token adds is missing: a signature, a nonce, and when and how the user
// authenticated.

// hasIDTokens reports whether the provider issues ID Tokens.
func (cfg *Config) hasIDTokens() bool { return cfg.SubjectClaim == "" }

// HasIDTokens reports whether the provider issues ID Tokens.
func (c *Client) HasIDTokens() bool { return c.cfg.hasIDTokens() }

// BindsToCertificate reports whether access tokens are bound to the client's certificate.
func (c *Client) BindsToCertificate() bool { return c.cfg.Certificate != nil }

// BindsTokens reports whether the profile demands that access tokens are bound to their client
// (FAPI 2.0 Security Profile, 5.3.4).
func (c *Client) BindsTokens() bool { return c.cfg.Profile != NoProfile }

// subjectOf returns what identifies the user in userinfo, or "". A number keeps its digits.
func (cfg *Config) subjectOf(info claims.Object) string {
	var v claims.Value
	if strings.HasPrefix(cfg.SubjectClaim, "/") {
		v, _ = info.Pointer(cfg.SubjectClaim)
	} else {
		v, _ = info.Get(cfg.SubjectClaim)
	}
	subject, ok := v.Str()
	if digits, isNumber := v.Number(); isNumber {
		subject, ok = digits, !strings.ContainsAny(digits, ".eE-")
	}
	if !ok || !validSubject(subject) {
		return ""
	}
	return subject
}

// identify asks who has the access token. What it returns in place of an ID Token says who that is,
// and nothing that only a signature could prove.
func (c *Client) identify(ctx context.Context, t *Tokens) (*Result, error) {
	a, err := c.fetchUserinfo(ctx, t)
	if err != nil {
		return nil, failure(err, event.ReasonUserinfoError, event.ReasonUserinfoError)
	}
	info, err := c.readUserinfo(ctx, a)
	if err != nil {
		return nil, err
	}
	subject := c.cfg.subjectOf(info)
	if subject == "" {
		if err := errorInside(info); err != nil {
			return nil, failure(err, event.ReasonUserinfoError, event.ReasonUserinfoError)
		}
		e := invalidf(event.ReasonSubject, "userinfo has no string and no whole number as %q",
			c.cfg.SubjectClaim)
		e.Hint = "set OAuth2Options.SubjectClaim to the member of userinfo that identifies the user"
		return nil, e
	}
	id := claims.Object("").
		With("iss", claims.Text(c.cfg.Issuer)).
		With("sub", claims.Text(subject)).
		With("aud", claims.Text(c.cfg.ClientID)).
		With("iat", claims.Int(time.Now().Unix()))
	info, err = c.further(ctx, t, id, c.cfg.shapeUserinfo(info))
	if err != nil {
		return nil, err
	}
	return &Result{Tokens: t, IDToken: id, Userinfo: info}, nil
}

// CheckUser checks that an access token is that of a user, by asking userinfo. It is for providers
// without ID Tokens: there nothing else says whose tokens a refresh brought.
func (c *Client) CheckUser(ctx context.Context, t *Tokens, subject string) error {
	_, err := c.askUserinfo(ctx, t, subject, true)
	return err
}

// canProve refuses a login that must be fresh or strong at a provider that can prove neither.
func (c *Client) canProve(r *AuthorizationRequest) error {
	if c.cfg.hasIDTokens() || r.MaxAge == nil && len(r.ACRValues) == 0 {
		return nil
	}
	e := invalid(event.ReasonACR, "nothing says how or when a user logs in at this provider")
	if r.MaxAge != nil {
		e.Reason = event.ReasonAuthTime
	}
	e.Status = http.StatusForbidden
	e.Hint = "use the rules ACR and MaxAge only for users of providers with ID Tokens"
	return e
}

// checkOAuth2 checks what a provider without ID Tokens needs, and what it cannot have.
func (cfg *Config) checkOAuth2(f *check.List) {
	if cfg.hasIDTokens() {
		return
	}
	for field, address := range map[string]string{
		"Authorization": cfg.Endpoints.Authorization, "Token": cfg.Endpoints.Token,
		"Userinfo": cfg.Endpoints.Userinfo,
	} {
		if address == "" {
			f.Add("Endpoints."+field, "is empty; a provider without ID Tokens has no discovery document")
		}
	}
	if cfg.ResponseType != TypeCode {
		f.Add("Request.ResponseType", "%q brings an ID Token, and this provider has none; use %q",
			cfg.ResponseType, TypeCode)
	}
	if cfg.Profile != NoProfile {
		f.Add("Profile", "is for providers with ID Tokens")
	}
	if cfg.Userinfo != UserinfoRequired {
		f.Add("Userinfo", "says who the user is; leave it as OAuth2 sets it")
	}
	if cfg.Endpoints.Discovery != "" {
		f.Add("Endpoints.Discovery", "has no use: a provider without ID Tokens has no such document")
	}
	if len(cfg.RequireClaims)+len(cfg.Tenants)+len(cfg.Issuers) > 0 || cfg.WithoutNonce {
		f.Add("Verification", "speaks of ID Tokens, and this provider has none; leave out "+
			"RequireClaims, Tenants, Issuers and WithoutNonce, and decide in Config.OnLogin")
	}
	if cfg.UserinfoSigned || cfg.UserinfoEncrypted || cfg.IDTokenEncrypted {
		f.Add("Verification", "speaks of keys, and this provider has none; leave out SignedUserinfo, "+
			"EncryptedUserinfo and EncryptedIDTokens")
	}
}
