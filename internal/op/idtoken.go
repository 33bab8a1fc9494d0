package op

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
)

// freshness is how long ago an ID Token may have been issued. It comes straight from the token
// endpoint.
const freshness = 10 * time.Minute

// verifyIDToken returns an ID Token with its claims (OpenID Connect Core, 3.1.3.7). kind, came and
// rules are those of the occasion: what the token is, what came together with it, and what a login
// or a refresh demands.
//
// The signature is checked first, and nothing of an unsigned payload is looked at. Then come our
// own rules, and go-oidc's after them. Every failure is an *Error whose Reason names the rule.
func (c *Client) verifyIDToken(
	ctx context.Context, kind kindID, raw string, came companions, rules func(claims.Object) error,
) (*openedToken, error) {
	token, err := c.open(ctx, kind, raw)
	if err != nil {
		return nil, err
	}
	for _, check := range []func(claims.Object) error{
		checkSessionExpiry,
		rules,
		c.checkRequired,
		func(id claims.Object) error { return came.check(id, token.alg) },
		c.checkTimes, // after the rules: a clock that is wrong excuses nothing else
		c.checkFresh,
		func(claims.Object) error { return c.verifyAgain(ctx, token) },
	} {
		if err := check(token.claims); err != nil {
			return nil, about(token.claims, err)
		}
	}
	return token, nil
}

// loginRules are the rules for the ID Token of a login.
func (c *Client) loginRules(want Expectation) func(claims.Object) error {
	return func(id claims.Object) error {
		// go-oidc leaves the nonce to its caller. Without this check an ID Token stolen from
		// another login opens a session here (Core, 3.1.3.7, step 11).
		// Without the nonce it is PKCE that binds the code to this login.
		if _, ok := id.Get("nonce"); (ok || !c.cfg.WithoutNonce) && !nonceMatches(id, want.Nonce) {
			return wrongNonce()
		}
		// Where the issuer is a template, the two may name two allowed tenants.
		if iss := want.issuer; iss != "" && text(id, "iss") != iss {
			return invalid(event.ReasonIssMismatch, "the response and its ID Token name two issuers")
		}
		if err := c.checkSubject(id); err != nil {
			return err
		}
		if acr := text(id, "acr"); len(want.ACRValues) > 0 && !slices.Contains(want.ACRValues, acr) {
			e := invalidf(event.ReasonACR, "acr is %q, want one of %q", bounded(acr), want.ACRValues)
			e.Status = http.StatusForbidden
			e.Hint = "the provider need not honour acr_values; have it ask this user for more"
			return e
		}
		return c.checkAuthTime(id, want)
	}
}

// verifyAgain has go-oidc check the token by its own rules. They are weaker than ours, and catch a
// fault that ours may have.
func (c *Client) verifyAgain(ctx context.Context, t *openedToken) error {
	verifier := oidc.NewVerifier(t.issuer, oneToken{t.signed, t.payload}, &oidc.Config{
		ClientID:             c.cfg.ClientID,
		SupportedSigningAlgs: c.cfg.SigningAlgs,
		Now:                  func() time.Time { return time.Now().Add(-c.cfg.Leeway) },
	})
	if _, err := verifier.Verify(ctx, t.signed); err != nil {
		return invalid(event.ReasonIDTokenMalformed, "go-oidc refuses what our own rules accept")
	}
	return nil
}

// oneToken is an oidc.KeySet that knows one token, whose signature is already checked.
type oneToken struct {
	raw     string
	payload []byte
}

func (v oneToken) VerifySignature(_ context.Context, raw string) ([]byte, error) {
	if raw != v.raw {
		return nil, errors.New("provider: not the token that was verified")
	}
	return v.payload, nil
}

// nonceMatches reports whether the token has this nonce. No token matches an empty one.
func nonceMatches(id claims.Object, nonce string) bool {
	return nonce != "" && equal(text(id, "nonce"), nonce)
}

const hintNonce = "the provider must put the nonce of the request into the ID Token, unchanged; " +
	"one that does not cannot be used"

func wrongNonce() *Error {
	e := invalid(event.ReasonNonce, "the nonce is not the one of this login")
	e.Hint = hintNonce
	return e
}

// checkSubject checks that the token is about a user. One about the client itself would make one
// user of all: Apereo CAS issues such tokens after pushed requests.
func (c *Client) checkSubject(id claims.Object) error {
	switch sub := text(id, "sub"); {
	case !validSubject(sub):
		return invalid(event.ReasonSubject, "sub is not a string of 1 to 255 ASCII characters")
	case sub == c.cfg.ClientID:
		e := invalid(event.ReasonSubject, "sub is the client's id, so the token is about no user")
		e.Hint = "the provider mistakes the client for the user; if its requests are pushed, as Apereo " +
			"CAS announces, set Request.Pushed to PushedOff"
		return e
	}
	return nil
}

// checkAudience checks for whom the token is, and who asked for it.
func (c *Client) checkAudience(kind *tokenKind, id claims.Object) error {
	if kind.forAPI {
		return c.checkAPIAudience(id)
	}
	if !c.isAudience(id) {
		aud, _ := id.Get("aud")
		return invalidf(event.ReasonAudience, "aud is %s, want %q alone",
			bounded(string(aud.AppendJSON(nil))), c.cfg.ClientID)
	}
	if _, ok := id.Get("azp"); ok && text(id, "azp") != c.cfg.ClientID {
		return invalidf(event.ReasonAuthorizedParty, "azp is %q, want %q",
			bounded(text(id, "azp")), c.cfg.ClientID)
	}
	return nil
}

// isAudience reports whether aud is this client, and nobody else except those that the
// configuration trusts: another audience could present the token here as well (Core, 3.1.3.7,
// step 3).
func (c *Client) isAudience(id claims.Object) bool {
	aud, _ := id.Get("aud")
	if one, ok := aud.Str(); ok {
		return one == c.cfg.ClientID
	}
	list, _ := textList(aud)
	if !slices.Contains(list, c.cfg.ClientID) {
		return false
	}
	anybody := slices.Contains(c.cfg.TrustedAudiences, "*")
	for _, other := range list {
		if !anybody && other != c.cfg.ClientID && !slices.Contains(c.cfg.TrustedAudiences, other) {
			return false
		}
	}
	// Of several audiences, azp says which of them asked (step 4).
	return len(list) == 1 || text(id, "azp") == c.cfg.ClientID
}

// checkTimes checks those of exp, iat and nbf that the token has, with the leeway for clocks that
// differ. Its kind says which of them it must have.
func (c *Client) checkTimes(doc claims.Object) error {
	now, leeway := time.Now(), c.cfg.Leeway
	if at, there, ok := dateIfAny(doc, "exp"); there && (!ok || !now.Before(at.Add(leeway))) {
		e := c.wrongTime(event.ReasonExpiry, "exp", at, ok)
		if issued, ok := date(doc, "iat"); ok {
			e.Err = fmt.Errorf("%w; iat says issued %s ago", e.Err, time.Since(issued).Round(time.Second))
		}
		return e
	}
	if at, there, ok := dateIfAny(doc, "iat"); there && (!ok || at.After(now.Add(leeway))) {
		return c.wrongTime(event.ReasonIssuedAt, "iat", at, ok)
	}
	if at, there, ok := dateIfAny(doc, "nbf"); there && (!ok || at.After(now.Add(leeway))) {
		return c.wrongTime(event.ReasonNotBefore, "nbf", at, ok)
	}
	return nil
}

// wrongTime is the Error for a time of a token that cannot be, by the clock of this machine. It
// says by how much, because most often a clock is wrong.
func (c *Client) wrongTime(
	reason event.Reason, name string, at time.Time, isTime bool,
) *Error {
	if !isTime {
		return invalid(reason, name+" is no number of seconds")
	}
	const second = time.Second
	apart, side := time.Until(at), "in the future"
	hint := "the provider's clock is ahead of this machine's by at least that, or this one is behind"
	if apart < 0 {
		apart, side = -apart, "past"
		hint = "this machine's clock is ahead of the provider's, or that one is behind, or the token " +
			"is an old one"
	}
	e := invalidf(reason, "%s is %s %s by this machine's clock; up to %s may be", name,
		apart.Round(second), side, c.cfg.Leeway)
	e.Hint = hint + ": set both clocks by NTP. Limits.ClockSkew is how far they may differ"
	e.Clock = true
	return e
}

// checkFresh checks that the token was issued a short time ago.
func (c *Client) checkFresh(doc claims.Object) error {
	if iat, _ := date(doc, "iat"); iat.Before(time.Now().Add(-freshness - c.cfg.Leeway)) {
		e := c.wrongTime(event.ReasonIssuedAt, "iat", iat, true)
		e.Err = fmt.Errorf("iat is %s past by this machine's clock; up to %s may be",
			time.Since(iat).Round(time.Second), freshness+c.cfg.Leeway)
		return e
	}
	return nil
}

// checkSessionExpiry checks when the provider wants the session to end, if the token says so
// (OpenID Connect Enterprise Extensions, session_expiry).
func checkSessionExpiry(id claims.Object) error {
	v, _ := id.Get("session_expiry")
	if v.Kind() == claims.Null { // absent or null
		return nil
	}
	end, ok := v.Time()
	if ok && end.After(time.Now()) {
		return nil
	}
	e := invalid(event.ReasonSessionExpiry, "session_expiry is no number of seconds")
	e.Hint = "the provider must send session_expiry as a JSON number of seconds, not of milliseconds"
	if ok {
		e = invalidf(event.ReasonSessionExpiry, "session_expiry is %s past by this machine's clock",
			time.Since(end).Round(time.Second))
		e.Hint = "the session was over at the provider before it began here; compare the clocks"
	}
	return e
}

// checkAuthTime checks that the user logged in at the provider as recently as was asked for. The
// age counts from the start of the login, when the provider was asked. The time that the user then
// takes at the provider does not count.
func (c *Client) checkAuthTime(id claims.Object, want Expectation) error {
	if want.MaxAge == nil {
		return nil
	}
	now, start := time.Now(), want.Start
	if start.IsZero() {
		start = now
	}
	at, ok := date(id, "auth_time")
	oldest := start.Add(-*want.MaxAge - c.cfg.Leeway)
	if ok && !at.After(now.Add(c.cfg.Leeway)) && !at.Before(oldest) {
		return nil
	}
	e := invalidf(event.ReasonAuthTime, "auth_time is missing, want one at most %s before the login "+
		"began", *want.MaxAge)
	e.Hint = "the provider does not honour max_age; " +
		"if it honours prompt=login, set Request.PromptLogin"
	switch {
	case ok && at.Before(oldest):
		e.Err = fmt.Errorf("auth_time is %s, %s before the login began, want at most %s, and %s more "+
			"for clocks that differ", at.UTC().Format(time.RFC3339),
			start.Sub(at).Round(time.Second), *want.MaxAge, c.cfg.Leeway)
	case ok:
		e = c.wrongTime(event.ReasonAuthTime, "auth_time", at, true)
	}
	e.Status = http.StatusForbidden
	return e
}

// companions are what came together with an ID Token. The token binds them by their hashes: the
// left half of each (OpenID Connect Core, 3.1.3.6, 3.3.2.11; FAPI 1.0 Advanced, 5.2.2).
type companions struct {
	accessToken string // if none came, the token may have an at_hash: of one that is still to come
	code        string // if one came, its hash must be there
	state       string
}

func (c companions) check(id claims.Object, alg string) error {
	for _, companion := range []struct {
		claim, value string
		required     bool
		reason       event.Reason
	}{
		{"at_hash", c.accessToken, false, event.ReasonAccessTokenHash},
		{"c_hash", c.code, c.code != "", event.ReasonCodeHash},
		{"s_hash", c.state, false, event.ReasonStateHash},
	} {
		absent := !says(id, companion.claim)
		switch {
		case companion.value == "" || absent && !companion.required:
		case !equal(text(id, companion.claim), leftHalfHash(alg, companion.value)):
			return invalid(companion.reason, companion.claim+" is missing or that of another value")
		}
	}
	return nil
}

// leftHalfHash hashes with the hash of alg. That of EdDSA with Ed25519 is SHA-512.
func leftHalfHash(alg, s string) string {
	var sum []byte
	switch alg {
	case "RS256", "ES256", "PS256", "HS256":
		h := sha256.Sum256([]byte(s))
		sum = h[:]
	case "RS384", "ES384", "PS384", "HS384":
		h := sha512.Sum384([]byte(s))
		sum = h[:]
	default:
		h := sha512.Sum512([]byte(s))
		sum = h[:]
	}
	return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
}

// validSubject reports whether sub is what Core, 2 allows, and has no control characters, which are
// ASCII too and could forge log lines.
func validSubject(sub string) bool {
	if sub == "" || len(sub) > 255 {
		return false
	}
	for i := range len(sub) {
		if sub[i] < ' ' || sub[i] > '~' {
			return false
		}
	}
	return true
}

func text(o claims.Object, name string) string {
	v, _ := o.Get(name)
	s, _ := v.Str()
	return s
}

func date(o claims.Object, name string) (time.Time, bool) {
	v, _ := o.Get(name)
	return v.Time()
}

// dateIfAny is date for a claim that may be absent.
func dateIfAny(o claims.Object, name string) (at time.Time, there, ok bool) {
	v, there := o.Get(name)
	at, ok = v.Time()
	return at, there, ok
}

func equal(a, b string) bool {
	return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}
