package op

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
)

// maxIntrospection is how long an answer about a token may be, in bytes. Many are kept for a while.
const maxIntrospection = 64 << 10

// Introspect asks the provider whether an access token that a caller sent is good (RFC 7662, 2).
// known is what the token says of itself, if it is a JWT that was verified: then the answer only
// counts for whether the token is still active. If known is nil, the answer says what the token
// says. It then must be for this service by its aud: the provider may know tokens of many.
//
// An *Error of status 401 says that the token is refused; one of any other status, that the
// provider could not be asked. Anybody can send tokens, so only so many wait for the provider.
// Those that it signed, or called good a while ago (wasGood), wait apart from the rest.
func (c *Client) Introspect(
	ctx context.Context, raw string, known *AccessToken, wasGood bool,
) (*AccessToken, error) {
	slots := c.introspections
	if known != nil || wasGood {
		slots = c.introspectionsAgain
	}
	release, err := take(ctx, slots)
	if err != nil {
		return nil, &Error{
			Reason: event.ReasonBusy, Status: http.StatusServiceUnavailable, Err: err,
			Hint: "the provider answers too slowly at its introspection endpoint, or somebody sends " +
				"tokens that it does not know",
		}
	}
	defer release()
	meta, err := c.Metadata(ctx)
	if err != nil {
		return nil, unavailable(failure(err, event.ReasonIntrospection, event.ReasonIntrospection))
	}
	if meta.Introspection == "" || c.cfg.Auth.Method == AuthNone {
		return nil, c.notIntrospected(known)
	}
	var doc claims.Object
	form := url.Values{"token": {raw}, "token_type_hint": {"access_token"}}
	ctx = c.to(ctx, ForIntrospection)
	err = c.post(ctx, meta.Introspection, form, func(a answer) (err error) {
		doc, err = readIntrospection(a)
		return err
	})
	if err != nil {
		e := failure(err, event.ReasonIntrospection, event.ReasonIntrospection)
		if e.Hint == hintIntrospection && c.hasSpacedSecret(ctx) {
			e.Hint = hintSpace
		}
		return nil, unavailable(e)
	}
	return c.introspected(doc, known)
}

const hintIntrospection = "the provider refuses this client at its introspection endpoint: check " +
	"client id, secret and authentication method, and whether the client may introspect tokens"

// notIntrospected is why a token cannot be introspected at this provider.
func (c *Client) notIntrospected(known *AccessToken) *Error {
	e := refuseToken(event.ReasonTokenOpaque, "the token is not a JWT, and the provider cannot be "+
		"asked about it: it has no introspection endpoint, or this client is a public one")
	if known != nil { // Config.API.Introspect wants it to be asked
		e.Status = http.StatusServiceUnavailable
		e.Hint = "the provider announces no introspection endpoint; set Endpoints.Introspection, " +
			"or leave Config.API.Introspect out"
	}
	return e
}

// readIntrospection reads an answer of the introspection endpoint.
func readIntrospection(a answer) (claims.Object, error) {
	if a.status == http.StatusUnauthorized || a.status == http.StatusForbidden {
		e := failure(requireOK(a), event.ReasonIntrospection, event.ReasonIntrospection)
		e.Hint = hintIntrospection
		return "", e
	}
	if err := requireOK(a); err != nil {
		return "", err
	}
	if len(a.body) > maxIntrospection {
		return "", refused("the answer is too long")
	}
	if !HasMediaType(a.header, "application/json") {
		return "", refused("the answer is not application/json")
	}
	doc, err := claims.Parse(a.body)
	if err != nil {
		return "", refused("the answer is not a strict JSON object")
	}
	if v, _ := doc.Get("active"); v.Kind() != claims.Bool {
		return "", refused("active is no boolean")
	}
	return doc, nil
}

// introspected returns what an answer says of a token.
func (c *Client) introspected(doc claims.Object, known *AccessToken) (*AccessToken, error) {
	v, _ := doc.Get("active")
	if active, _ := v.Bool(); !active {
		return nil, refuseToken(event.ReasonTokenInactive, "the provider says that it is not active")
	}
	if err := checkIntrospectedKind(doc); err != nil {
		return nil, err
	}
	if _, there := doc.Get("iss"); there || c.cfg.isTemplate() {
		if err := c.checkIssuer(&tokenKinds[accessToken], doc); err != nil {
			return nil, blameFor(err, http.StatusUnauthorized)
		}
	}
	if known != nil {
		return c.confirm(doc, known)
	}
	if err := c.checkAPIAudience(doc); err != nil {
		return nil, blameFor(err, http.StatusUnauthorized)
	}
	doc = doc.Filter(func(name string) bool { return name != "active" })
	if !c.cfg.isTemplate() {
		doc = doc.With("iss", claims.Text(c.cfg.Issuer))
	}
	return c.readAccessToken(c.withSubject(doc))
}

// withSubject returns an answer with the subject as logins have it. Where userinfo says by another
// name than sub who a user is, the answer must do so too: its sub may be what identifies somebody
// else there. An answer without a subject is refused later: a client_id in its place could be the
// sub of a user (RFC 9700, 4.15).
func (c *Client) withSubject(doc claims.Object) claims.Object {
	if !c.cfg.hasIDTokens() {
		return doc.With("sub", claims.Text(c.cfg.subjectOf(doc)))
	}
	return doc
}

// confirm checks what an answer says about a token that was verified: it is about the same user,
// has not expired, and is bound to what the token says. It returns the token as both describe it.
func (c *Client) confirm(doc claims.Object, known *AccessToken) (*AccessToken, error) {
	if sub, there := doc.Get("sub"); there && sub != claims.Text(text(known.Claims, "sub")) {
		return nil, refuseToken(event.ReasonSubject, "the answer is about another user")
	}
	if err := c.checkTimes(doc); err != nil {
		return nil, blameFor(err, http.StatusUnauthorized)
	}
	said := &AccessToken{Claims: doc}
	if err := said.readConfirmation(); err != nil {
		return nil, err
	}
	both := *known
	if end, there := date(doc, "exp"); there && end.Before(both.Expires) {
		both.Expires = end
	}
	for _, bound := range []struct {
		to   *string
		said string
	}{
		{&both.KeyThumbprint, said.KeyThumbprint},
		{&both.CertificateThumbprint, said.CertificateThumbprint},
	} {
		if *bound.to != "" && bound.said != "" && *bound.to != bound.said {
			return nil, refuseToken(event.ReasonTokenBinding, "token and answer bind it to two things")
		}
		*bound.to = cmp.Or(*bound.to, bound.said)
	}
	return &both, nil
}

// checkIntrospectedKind checks that the answer is about an access token. Providers also answer
// about refresh tokens (RFC 7662, 2.1), and some about ID Tokens. The standard has only token_type,
// and leaves it optional; some say more in token_use and typ.
func checkIntrospectedKind(doc claims.Object) error {
	says, err := saysAccessToken(doc)
	if err != nil || says {
		return err
	}
	e := refuseToken(event.ReasonType, "the provider does not say that it is an access token")
	e.Hint = "the introspection answer needs token_type (RFC 7662, section 2.2), because the " +
		"provider answers about refresh tokens too"
	return e
}

// saysAccessToken reports whether a member says that a token is an access token. The error is that
// of one that says that it is none.
func saysAccessToken(doc claims.Object) (says bool, err error) {
	for _, member := range []struct {
		name  string
		names []string // of access tokens
	}{
		{"token_type", []string{"bearer", "dpop", "access_token"}},
		{"token_use", []string{"access_token", "access"}},
		{"typ", []string{"bearer", "dpop", "at+jwt", "application/at+jwt"}},
	} {
		v, _ := doc.Get(member.name)
		if v.Kind() == claims.Null { // absent or null
			continue
		}
		s, _ := v.Str()
		if !slices.Contains(member.names, strings.ToLower(s)) {
			return false, refuseToken(event.ReasonType,
				"the provider says by "+member.name+" that it is no access token")
		}
		says = true
	}
	return says, nil
}

// unavailable gives the Error of a request that failed the status of a provider that is down: it
// says nothing about the token.
func unavailable(e *Error) *Error {
	down := *e
	down.Status = http.StatusServiceUnavailable
	return &down
}
