package op

import (
	"context"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
)

const hintAPIAudience = "if the token is meant for this service, have the provider put one of " +
	"Config.API.Audience into its aud"

// MaxAccessToken is how long an access token may be that a caller sends to this service, in bytes.
const MaxAccessToken = 32 << 10

// AccessToken is a verified access token that a caller sent to this service. The caller of this
// package still checks that the sender may use it, if it is bound to a key or to a certificate.
type AccessToken struct {
	Claims  claims.Object // iss is the configured one or that of a tenant, and sub is there
	Expires time.Time     // zero if an introspected token does not say

	KeyThumbprint         string // of the key whose proof the sender must show (RFC 9449, 6.1)
	CertificateThumbprint string // of the certificate that it must show (RFC 8705, 3.1)
}

// IsBound reports whether the token is bound to a key or to a certificate of its client.
func (t *AccessToken) IsBound() bool {
	return t.KeyThumbprint != "" || t.CertificateThumbprint != ""
}

// IsJWT reports whether an access token is to be read as a JWT. It says nothing about whether it is
// a good one. Every token of three parts counts: the provider may read more generously than we do,
// and an ID Token that we took for opaque could pass by way of introspection.
func IsJWT(raw string) bool { return strings.Count(raw, ".") == 2 }

// PeekIssuer returns the iss of a JWT whose signature was not looked at, or "". It may only choose
// the provider whose keys are tried: that provider then compares iss with its own.
func PeekIssuer(raw string) string {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 || len(raw) > MaxAccessToken {
		return ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	doc, err := claims.Parse(payload)
	if err != nil {
		return ""
	}
	return text(doc, "iss")
}

// VerifyAccessToken verifies an access token that is a JWT (RFC 9068, 4). Everybody can send one,
// so cheap checks come first, and only a few tokens wait long for a load of the keys. An *Error of
// status 401 says that the token is refused; one of any other status, that it could not be checked.
//
// A token that the client secret signed is refused: everybody who has the secret can make one.
func (c *Client) VerifyAccessToken(ctx context.Context, raw string) (*AccessToken, error) {
	if c.cfg.signedWithSecret() {
		e := refuseToken(event.ReasonAlg, "access tokens are not taken from a provider that signs "+
			"with the client secret")
		e.Hint = "have the provider sign with RS256, or issue opaque access tokens"
		return nil, e
	}
	if !c.cfg.hasIDTokens() {
		return nil, refuseToken(event.ReasonKeyUnknown, "the provider has no keys to sign it with")
	}
	token, err := c.openSigned(ctx, accessToken, raw)
	if err != nil {
		return nil, ofCaller(err)
	}
	doc := token.claims
	if c.cfg.PlainAccessTokens {
		if doc, err = profiled(doc); err != nil {
			return nil, err
		}
	} else if id := text(doc, "jti"); id == "" || len(id) > 255 {
		return nil, refuseToken(event.ReasonTokenID, "jti is empty, no string, or too long")
	}
	if id := text(doc, "client_id"); id == "" || len(id) > 255 {
		return nil, refuseToken(event.ReasonClientID, "client_id is empty, no string, or too long")
	}
	return c.readAccessToken(doc)
}

// ofCaller is the Error for an access token that could not be opened. The words for ID Tokens do
// not fit: here the sender is to blame, and not the provider.
func ofCaller(err error) *Error {
	e := *blameFor(err, http.StatusUnauthorized)
	switch e.Reason {
	case event.ReasonIDTokenMalformed:
		e.Reason = event.ReasonTokenMalformed
	case event.ReasonAlg:
		e.Hint = "" // it is about id_token_signed_response_alg
	}
	return &e
}

// profiled returns the claims of an access token of a provider that does not follow RFC 9068, with
// client_id and scope as it has them. Keycloak and Auth0 name the client in azp, Okta in cid, Entra
// in azp or appid; Okta and Entra give the scopes in scp.
func profiled(doc claims.Object) (claims.Object, error) {
	if err := checkPlainAccessToken(doc); err != nil {
		return "", err
	}
	for _, name := range []string{"azp", "cid", "appid"} {
		if _, there := doc.Get("client_id"); !there && text(doc, name) != "" {
			doc = doc.With("client_id", claims.Text(text(doc, name)))
		}
	}
	scp, has := doc.Get("scp")
	if _, there := doc.Get("scope"); there || !has {
		return doc, nil
	}
	scopes := scp.Strings()
	if one, ok := scp.Str(); ok {
		scopes = []string{one}
	}
	return doc.With("scope", claims.Text(strings.Join(scopes, " "))), nil
}

// checkPlainAccessToken checks that a token of no type of its own is an access token. aud need not
// tell it from an ID Token: some providers issue both to a service that is a client too. So it must
// have a claim that ID Tokens lack.
func checkPlainAccessToken(doc claims.Object) error {
	for _, name := range []string{"at_hash", "c_hash", "s_hash"} {
		if _, there := doc.Get(name); there {
			return refuseToken(event.ReasonType, "the token has the claim "+name+
				": it is no access token")
		}
	}
	if says, err := saysAccessToken(doc); says || err != nil {
		return err
	}
	for _, name := range []string{"scope", "scp", "azpacr", "appidacr"} {
		if _, there := doc.Get(name); there {
			return nil
		}
	}
	e := refuseToken(event.ReasonType, "no claim says that it is an access token")
	e.Hint = "have the provider put a scope into it, or a typ or token_use that says what it is; " +
		"without one, an ID Token could pass"
	return e
}

// readAccessToken checks the claims that a JWT and an introspected token have alike. iss and aud
// are checked before.
func (c *Client) readAccessToken(doc claims.Object) (*AccessToken, error) {
	if err := c.checkTimes(doc); err != nil {
		return nil, blameFor(err, http.StatusUnauthorized)
	}
	if !validSubject(text(doc, "sub")) {
		return nil, refuseToken(event.ReasonSubject, "sub is not a string of 1 to 255 ASCII characters")
	}
	t := &AccessToken{Claims: doc}
	t.Expires, _ = date(doc, "exp")
	return t, t.readConfirmation()
}

// readConfirmation reads to what the token is bound, if it is (RFC 7800, 3.1). A binding that we
// cannot check is refused: without it, a stolen token would be as good as the owner's.
func (t *AccessToken) readConfirmation() error {
	v, there := t.Claims.Get("cnf")
	if !there {
		return nil
	}
	cnf, ok := v.Object()
	t.KeyThumbprint, t.CertificateThumbprint = text(cnf, "jkt"), text(cnf, "x5t#S256")
	for _, member := range []struct{ name, value string }{
		{"jkt", t.KeyThumbprint}, {"x5t#S256", t.CertificateThumbprint},
	} {
		_, present := cnf.Get(member.name)
		ok = ok && present == (member.value != "")
	}
	if !ok || t.KeyThumbprint == "" && t.CertificateThumbprint == "" {
		return refuseToken(event.ReasonTokenBinding, "cnf is malformed, or binds the token to "+
			"something that is neither a DPoP key nor a certificate")
	}
	return nil
}

// checkAPIAudience checks that an access token is for this service (RFC 9068, 4). It may be for
// others too.
func (c *Client) checkAPIAudience(doc claims.Object) error {
	aud, _ := doc.Get("aud")
	list := aud.Strings()
	if one, ok := aud.Str(); ok {
		list = []string{one}
	}
	ours := func(s string) bool { return slices.Contains(c.cfg.APIAudience, s) }
	if slices.ContainsFunc(list, ours) {
		return nil
	}
	e := invalidf(event.ReasonAudience, "aud is %s, want one of %q",
		bounded(string(aud.AppendJSON(nil))), c.cfg.APIAudience)
	e.Hint = hintAPIAudience
	return e
}

// refuseToken is the Error for an access token that is refused.
func refuseToken(reason event.Reason, text string) *Error {
	e := invalid(reason, text)
	e.Status = http.StatusUnauthorized
	return e
}
