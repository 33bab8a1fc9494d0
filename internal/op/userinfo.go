package op

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
)

// userinfo returns what the userinfo endpoint says of the user whom a verified ID Token names as
// subject (OpenID Connect Core, 5.3), without the claims that only an ID Token may state. Call it
// after the ID Token is verified.
//
// In mode On a login goes on without these claims when the endpoint gives no answer, or one that is
// no userinfo response; a Notice tells it, and untaken is true if it does not take the token.
// An answer about another user, or one that is not signed as was agreed, is an error in every mode.
// In mode Off nobody is asked.
func (c *Client) userinfo(
	ctx context.Context, t *Tokens, subject string,
) (info claims.Object, untaken bool, _ error) {
	info, err := c.askUserinfo(ctx, t, subject, c.cfg.Userinfo == UserinfoRequired)
	if err == errNotTaken {
		return "", true, nil
	}
	return info, false, err
}

// AsksUserinfo reports whether the configuration has userinfo asked.
func (c *Client) AsksUserinfo() bool {
	return c.cfg.Userinfo != UserinfoOff || c.cfg.Further != nil
}

// RereadUserinfo asks again for the userinfo of a user. had says that an earlier answer had claims.
// The rules are those of a login, except that no answer is an error in mode On too. It must not be
// taken for an answer without claims, which would remove the earlier ones: also while the
// provider's metadata names no endpoint.
func (c *Client) RereadUserinfo(
	ctx context.Context, t *Tokens, id claims.Object, had bool,
) (claims.Object, error) {
	meta, known := c.Known()
	required := !known || meta.Userinfo != "" || had || c.cfg.Userinfo == UserinfoRequired
	info, err := c.askUserinfo(ctx, t, text(id, "sub"), required)
	if err != nil && err != errNotTaken {
		return "", err
	}
	return c.further(ctx, t, id, info)
}

func (c *Client) askUserinfo(
	ctx context.Context, t *Tokens, subject string, required bool,
) (claims.Object, error) {
	if c.cfg.Userinfo == UserinfoOff {
		return "", nil
	}
	a, err := c.fetchUserinfo(ctx, t)
	if err != nil {
		return "", c.withoutUserinfo(err, required)
	}
	info, err := c.readUserinfo(ctx, a)
	if err != nil {
		return "", err
	}
	// Only the subject binds userinfo to the login: the access token may have been replaced by
	// that of another user (Core, 5.3.2, 16.11).
	got := text(info, "sub")
	if !c.cfg.hasIDTokens() {
		got = c.cfg.subjectOf(info)
	}
	switch {
	case got == "":
		if err := errorInside(info); err != nil {
			return "", c.withoutUserinfo(err, required)
		}
		e := invalid(event.ReasonUserinfoSubject, "the userinfo response names no user")
		e.Unreadable = true
		return "", e
	case subject == "" || got != subject:
		return "", invalid(event.ReasonUserinfoSubject, "the userinfo response is about another user")
	}
	return c.cfg.shapeUserinfo(info), nil
}

// errNotTaken says that userinfo, which need not be had, does not take the access token.
var errNotTaken = errors.New("provider: userinfo does not take the token")

// withoutUserinfo returns the error of a userinfo that must be had. Otherwise it tells of it, and
// returns nil or errNotTaken.
func (c *Client) withoutUserinfo(err error, required bool) error {
	e := failure(err, event.ReasonUserinfoError, event.ReasonUserinfoError)
	if required {
		return e
	}
	c.cfg.Notify(Notice{Event: event.UserinfoFailed, Reason: e.Reason, Err: e, Hint: e.Hint})
	if e.Reason == event.ReasonUserinfoRefused || e.Doubtful {
		return errNotTaken
	}
	return nil
}

// tokenRefusals are the codes of errors that refuse the access token, or its user.
var tokenRefusals = []string{
	"invalid_token", "insufficient_scope", // RFC 6750, 3.1
	"token_revoked", "token_expired", "invalid_auth", "not_authed", "account_inactive", // Slack's
}

// errorInside returns the error that an answer with status 200 says, or nil. Some providers answer
// so, each in its own form.
func errorInside(info claims.Object) error {
	said := slices.Contains(tokenRefusals, text(info, "error"))
	if said {
		return invalid(event.ReasonUserinfoRefused, "the endpoint refuses the token with status 200")
	}
	for _, name := range []string{"error", "errors", "error_code", "errcode"} {
		v, ok := info.Get(name)
		said = said || ok && v.Kind() != claims.Null
	}
	for _, name := range []string{"ok", "success"} {
		v, _ := info.Get(name)
		good, isBool := v.Bool()
		said = said || isBool && !good
	}
	if said {
		return unreadable(http.StatusOK, "the answer is an error, and names no user")
	}
	return nil
}

// mayRefuseToken reports whether the endpoint may refuse the access token: it has expired, was
// revoked, or is not good for this user any more (RFC 6750, 3.1). A refusal of our DPoP proof says
// nothing about the token (RFC 9449, 7.1 and 9).
func mayRefuseToken(a answer) bool {
	if a.status != http.StatusUnauthorized && a.status != http.StatusForbidden {
		return false
	}
	return !slices.ContainsFunc(challengeErrors(a.header), func(code string) bool {
		return code == "use_dpop_nonce" || code == "invalid_dpop_proof"
	})
}

// isRateLimit reports whether the endpoint has been asked too often, which GitHub says with 403.
func isRateLimit(a answer) bool {
	return a.header.Get("Retry-After") != "" || a.header.Get("X-RateLimit-Remaining") == "0"
}

// refusesToken reports whether the endpoint refuses the access token for sure. Not every provider
// gives the error code invalid_token, but a challenge or an error of the protocol: a bare 401 or
// 403 may come from a proxy.
func refusesToken(a answer) bool {
	// Of errors only known codes count. Proxies have errors of their own.
	codes := challengeErrors(a.header)
	doc, err := claims.Parse(a.body)
	if err == nil {
		codes = append(codes, text(doc, "error"))
	}
	refuses := slices.ContainsFunc(codes, func(code string) bool {
		return slices.Contains(tokenRefusals, code)
	})
	for _, challenge := range a.header.Values("WWW-Authenticate") {
		scheme, _, _ := strings.Cut(challenge, " ")
		refuses = refuses || strings.EqualFold(scheme, "Bearer") || strings.EqualFold(scheme, "DPoP")
	}
	return refuses
}

// fetchUserinfo sends the access token in a header, never in a URL, which would be written to logs
// (RFC 6750, 5.3).
func (c *Client) fetchUserinfo(ctx context.Context, t *Tokens) (answer, error) {
	meta, err := c.Metadata(ctx)
	if err != nil {
		return answer{}, err
	}
	if meta.Userinfo == "" {
		return answer{}, refused("the provider has no userinfo endpoint")
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	key, err := ParseDPoPKey(t.DPoPKey)
	if err != nil {
		return answer{}, err
	}
	ctx = c.to(ctx, ForUserinfo)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, meta.Userinfo, nil)
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Accept", "application/json, application/jwt")
	a, err := c.fetchResource(req, t.AccessToken, key)
	if err != nil {
		e := failure(err, event.ReasonUserinfoError, event.ReasonUserinfoError)
		f, ok := e.Err.(*fault)
		e.TooLong = e.TooLong || ok && f.longHeader // by the access token
		e.Limited = !e.Unsent
		return answer{}, e.at(meta.Userinfo)
	}
	if mayRefuseToken(a) && refusesToken(a) {
		return answer{}, invalidf(event.ReasonUserinfoRefused,
			"the endpoint refuses the access token with status %d", a.status)
	}
	if err := requireOK(a); err != nil {
		e := notUserinfo(a, err, t.AccessToken)
		return answer{}, e.at(meta.Userinfo)
	}
	if !HasMediaType(a.header, "application/json", "application/jwt") {
		text := "the answer is neither application/json nor application/jwt"
		return answer{}, unreadable(a.status, text)
	}
	return a, nil
}

// notUserinfo is the Error for an answer with another status than 200.
func notUserinfo(a answer, err error, accessToken string) *Error {
	e := failure(err, event.ReasonUserinfoError, event.ReasonUserinfoError)
	if isNowhere(a.status) {
		e.Hint = hintNowhere
	}
	e.TooLong = refusesLength(a.status, accessToken)
	limit := isRateLimit(a)
	e.Doubtful, e.Alone, e.Limited = mayRefuseToken(a) && !limit, e.Alone && !limit, true
	return e
}

// refusesLength reports whether a server says that a request is too long for it, which it is by the
// access token. Some say no more than that it is bad.
func refusesLength(status int, accessToken string) bool {
	const long = 4 << 10
	switch status {
	case http.StatusRequestEntityTooLarge, http.StatusRequestURITooLong,
		http.StatusRequestHeaderFieldsTooLarge:
		return true
	}
	return status == http.StatusBadRequest && len(accessToken) > long
}

// fetchResource makes a request with an access token, and once more if the answer is that the proof
// needs a nonce.
func (c *Client) fetchResource(
	req *http.Request, accessToken string, key *DPoPKey,
) (a answer, err error) {
	for range 2 {
		if err := c.Present(req, accessToken, key); err != nil {
			return answer{}, err
		}
		a, err = do(c.mutual, req, tokenLimit)
		if err != nil || key == nil || !c.WantsNonce(req.URL, a.status, a.header) {
			break
		}
	}
	return a, err
}

func (c *Client) readUserinfo(ctx context.Context, a answer) (claims.Object, error) {
	plain := string(a.body)
	if HasMediaType(a.header, "application/jwt") && c.cfg.hasIDTokens() {
		var err error
		if plain, err = c.decrypt(ctx, &tokenKinds[userinfoResponse], plain); err != nil {
			return "", userinfoError(err)
		}
		// What is encrypted only has JSON inside (Core, 5.3.2). It came over TLS, as plain JSON does.
		if encrypted := isEncrypted(string(a.body)); !encrypted || !strings.HasPrefix(plain, "{") {
			return c.readSignedUserinfo(ctx, plain)
		}
	} else if c.cfg.UserinfoEncrypted {
		return "", userinfoError(notEncrypted(&tokenKinds[userinfoResponse]))
	}
	if c.cfg.UserinfoSigned {
		return "", userinfoError(unreadable(a.status,
			"the userinfo response is not signed, as it was agreed to be"))
	}
	info, err := claims.Parse([]byte(plain))
	if err != nil {
		return "", userinfoError(unreadable(a.status, err.Error()))
	}
	return info, nil
}

// readSignedUserinfo reads a signed response. It must name this provider and only this client.
// Otherwise a token that the provider signed for another client would be accepted (Core, 5.3.2).
// If it has times, it must be valid now (RFC 7519, 4.1.4).
func (c *Client) readSignedUserinfo(ctx context.Context, raw string) (claims.Object, error) {
	token, err := c.openSigned(ctx, userinfoResponse, raw)
	if err != nil {
		return "", userinfoError(err)
	}
	if err := c.checkTimes(token.claims); err != nil {
		return "", userinfoError(err)
	}
	return token.claims, nil
}

// userinfoError is the Error of userinfo for err, with its cause and status.
func userinfoError(err error) *Error {
	e := failure(err, event.ReasonUserinfoError, event.ReasonUserinfoError)
	return &Error{
		Reason: event.ReasonUserinfoError, Status: e.Status, Answered: e.Answered, Hint: e.Hint, Err: e,
		Unreadable: e.Answered && !lacksKeys(e) && !e.Clock, Clock: e.Clock,
		TooLong: e.TooLong, Alone: e.Alone,
	}
}

// lacksKeys reports whether an Error may be for want of keys, the provider's or the client's own.
func lacksKeys(e *Error) bool {
	switch e.Reason {
	case event.ReasonJWKSUnavailable, event.ReasonKeyUnknown:
		return true
	case event.ReasonDecryption:
		return !e.TooLong
	}
	return e.Unproven
}
