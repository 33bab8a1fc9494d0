package op

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
)

// Tokens is a good answer of the token endpoint (OpenID Connect Core, 3.1.3.3).
type Tokens struct {
	AccessToken  string    // visible ASCII: safe in a header
	TokenType    string    // "Bearer"
	RefreshToken string    // empty if there is none
	IDToken      string    // not verified yet
	Expiry       time.Time // of the access token; zero if the provider did not say
	Scope        string    // as granted; empty if it is what was asked for
	DPoPKey      string    // to which the tokens are bound, as its Text; empty if they are not

	// AuthorizationDetails are those that were granted, as a JSON array (RFC 9396, 7), or "".
	AuthorizationDetails string
}

// Format keeps the tokens out of logs.
func (Tokens) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, "REDACTED") }

// MarshalText is like Format, for encoding/json and log/slog.
func (Tokens) MarshalText() ([]byte, error) { return []byte("REDACTED"), nil }

// exchange redeems a code (RFC 6749, 4.1.3). The code is sent once. A provider must take a second
// request with it for a replay and revoke the tokens it issued (4.1.2), so a refusal or a broken
// connection is not followed by another request. With an error there may be a refresh token, and
// nothing else, that was issued all the same.
func (c *Client) exchange(ctx context.Context, code string, want *Expectation) (*Tokens, error) {
	form := url.Values{
		"grant_type":   {"authorization_code"},
		"code":         {code},
		"redirect_uri": {c.cfg.RedirectURL},
	}
	if !c.cfg.WithoutPKCE {
		form.Set("code_verifier", want.CodeVerifier)
	}
	c.addResources(form)
	tokens, err := c.requestTokens(ctx, form, want.DPoPKey)
	if err != nil {
		return tokens, err
	}
	if tokens.IDToken == "" && c.cfg.hasIDTokens() {
		e := invalid(event.ReasonIDTokenMissing, "the answer has no ID Token")
		e.Hint = "check that the client is one for OpenID Connect and may use the scope openid"
		return &Tokens{RefreshToken: tokens.RefreshToken}, e
	}
	return tokens, nil
}

// Refresh gets new tokens for a refresh token, which is not empty (RFC 6749, 6). RefreshToken
// of the result is empty when the old one stays valid, and IDToken when there is no new one.
// When the provider refuses the refresh token, the *Error has the Code "invalid_grant". With an
// error about another part of the answer, the result may have the RefreshToken of it, and nothing
// else: where refresh tokens rotate, the old one is spent.
// dpopKey is that to which the tokens are bound, or "".
func (c *Client) Refresh(ctx context.Context, refreshToken, dpopKey string) (*Tokens, error) {
	key, err := ParseDPoPKey(dpopKey)
	if err != nil {
		return nil, err
	}
	form := url.Values{
		"grant_type":    {"refresh_token"},
		"refresh_token": {refreshToken},
	}
	c.addResources(form)
	return c.requestTokens(ctx, form, key)
}

// addResources says which resources the access token is for (RFC 8707, 2.2).
func (c *Client) addResources(form url.Values) {
	if len(c.cfg.Resources) > 0 {
		form["resource"] = c.cfg.Resources
	}
}

// requestTokens makes one request to the token endpoint. The tokens will be bound to key, if there
// is one. With an error it may return a refresh token.
func (c *Client) requestTokens(
	ctx context.Context, form url.Values, key *DPoPKey,
) (*Tokens, error) {
	meta, err := c.Metadata(ctx)
	if err != nil {
		return nil, err
	}
	ctx = c.to(ctx, forGrant(form.Get("grant_type")))
	var tokens *Tokens
	err = c.postBound(ctx, key, meta.Token, form, func(a answer) (err error) {
		tokens, err = c.readTokens(a, key)
		return err
	})
	if err != nil {
		err = c.explain(ctx, err, meta, withoutOpen(form))
		e := failure(err, event.ReasonTokenEndpointUnreachable, event.ReasonTokenResponseInvalid)
		return tokens, e.at(meta.Token)
	}
	if !c.cfg.hasIDTokens() {
		tokens.IDToken = "" // nothing verifies it
	}
	return tokens, nil
}

// withoutOpen returns the parameters of a token request except those that are no secrets, which the
// log may have. An error of the provider that quotes the audience or a scope says what to register.
func withoutOpen(form url.Values) url.Values {
	secrets := maps.Clone(form)
	for _, name := range []string{
		"grant_type", "client_id", "redirect_uri", "audience", "resource", "scope",
	} {
		secrets.Del(name)
	}
	return secrets
}

// explain completes the Error of an endpoint at which the client authenticates itself: with a hint
// if the provider refuses the client, and without the secrets that its description quotes.
func (c *Client) explain(ctx context.Context, err error, meta Metadata, secrets url.Values) error {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return err
	}
	if e.Description != "" {
		secret, _ := c.cfg.Auth.secret(ctx)
		basic := strings.TrimRight(strings.TrimPrefix(c.basicCredentials(secret), "Basic "), "=")
		own := url.Values{"": {basic, secret, strings.TrimSpace(secret)}}
		e.Description = bounded(withoutValues(e.Description, secrets, own))
	}
	if e.Hint == hintClient {
		e.Hint = c.clientHint(ctx, meta)
	}
	return e
}

// codeRateLimit is what Google and Salesforce say of too many requests, not always with status 429.
const codeRateLimit = "rate_limit_exceeded"

// readTokens reads an answer of the token endpoint. An error member is a refusal whatever the
// status, because some providers refuse with the status 200. With an error it may return a refresh
// token.
func (c *Client) readTokens(a answer, key *DPoPKey) (*Tokens, error) {
	doc, err := claims.Parse(a.body)
	isJSON := err == nil && HasMediaType(a.header, "application/json")
	if c.cfg.LenientAnswers {
		doc, isJSON = lenient(a, doc, isJSON)
	}
	code, ok := doc.Get("error")
	if ok && code.Kind() != claims.Null || a.status >= 400 {
		oauthCode, _ := code.Str()
		if oauthCode == "" && a.status < http.StatusInternalServerError && isRateLimit(a) {
			oauthCode = codeRateLimit
		}
		said := text(doc, "error_description")
		e := tokenEndpointError(a.status, standardCode(oauthCode, said))
		e.Description = said
		return nil, e
	}
	t, err := issued(a, doc, isJSON, key)
	refreshToken := text(doc, "refresh_token")
	if err != nil && refreshToken != "" && len(refreshToken) <= maxToken && a.status/100 == 2 {
		return &Tokens{RefreshToken: refreshToken}, err
	}
	return t, err
}

// issued returns the tokens of an answer that is no refusal.
func issued(a answer, doc claims.Object, isJSON bool, key *DPoPKey) (*Tokens, error) {
	switch {
	case a.status != http.StatusOK:
		return nil, statusFault(a.status)
	case !isJSON && HasMediaType(a.header, formType):
		e := invalid(event.ReasonTokenResponseInvalid, "the answer is a form in place of a JSON object")
		e.Hint = "set TokenRequest.LenientAnswers if the provider always answers so"
		return nil, e
	case !isJSON:
		return nil, refused("the answer is not one JSON object with the type application/json")
	}
	return newTokens(doc, key)
}

const formType = "application/x-www-form-urlencoded"

// lenient reads what some providers answer in place of what RFC 6749, 5.1 and 5.2, say: a form, an
// error as "ok": false, no token_type, or scopes as a list.
func lenient(a answer, doc claims.Object, isJSON bool) (claims.Object, bool) {
	if HasMediaType(a.header, formType) {
		form, err := url.ParseQuery(string(a.body))
		if err != nil {
			return "", false
		}
		var members claims.Builder
		for name, values := range form {
			if len(values) > 1 {
				return "", false
			}
			members = members.Text(name, values[0])
		}
		doc, isJSON = claims.Object(members), true
	}
	ok, _ := doc.Get("ok")
	good, said := ok.Bool()
	if _, hasError := doc.Get("error"); said && !good && !hasError {
		doc = doc.With("error", claims.Text("other"))
	}
	if scopes, _ := doc.Get("scope"); scopes.Kind() == claims.Array { // Twitch
		doc = doc.With("scope", claims.Text(strings.Join(scopes.Strings(), " ")))
	}
	if _, typed := doc.Get("token_type"); !typed {
		doc = doc.With("token_type", claims.Text("Bearer"))
	}
	return doc, isJSON
}

// maxToken is how many bytes a token may have, its scope and its details. It is far more than what
// servers take in a header, and keeps a provider from filling the store that it shares with others.
const maxToken = 32 << 10

func newTokens(doc claims.Object, key *DPoPKey) (*Tokens, error) {
	r := memberReader{doc: doc}
	t := &Tokens{
		AccessToken:  r.text("access_token"),
		TokenType:    "Bearer",
		DPoPKey:      key.Text(),
		RefreshToken: r.text("refresh_token"),
		IDToken:      r.text("id_token"),
		Scope:        r.text("scope"),
	}
	tokenType, issued := r.text("token_type"), r.text("issued_token_type")
	if r.wrong != "" {
		return nil, refused(r.wrong + " is not a string")
	}
	if !isHeaderSafe(t.AccessToken) {
		return nil, refused("access_token is missing or has characters that no header may have")
	}
	// A token exchange may answer with a token of another kind, an ID Token for example, which must
	// not be sent as an access token (RFC 8693, 2.2.1).
	if issued != "" && issued != accessTokenType && issued != jwtType {
		return nil, refused("issued_token_type is not that of an access token")
	}
	if key != nil {
		t.TokenType = "DPoP"
	}
	if !strings.EqualFold(tokenType, t.TokenType) {
		return nil, invalid(event.ReasonTokenType, "token_type is not "+t.TokenType)
	}
	if v, _ := doc.Get("authorization_details"); v.Kind() == claims.Array {
		t.AuthorizationDetails = string(v.AppendJSON(nil))
	}
	longest := max(len(t.AccessToken), len(t.RefreshToken), len(t.Scope), len(t.AuthorizationDetails))
	if longest > maxToken {
		return nil, tooLong(fmt.Sprintf("a token, its scope or its details have %d bytes, and at most "+
			"%d are taken", longest, maxToken))
	}
	var err error
	if t.Expiry, err = expiry(doc, time.Now()); err != nil {
		return nil, err
	}
	return t, nil
}

// expiry returns when the access token expires. expires_in is a number of seconds (RFC 6749,
// 5.1); some providers write it as a string. Zero means "at once", and a number that a
// time.Duration cannot hold is cut to 68 years.
func expiry(doc claims.Object, now time.Time) (time.Time, error) {
	v, ok := doc.Get("expires_in")
	if !ok || v.Kind() == claims.Null {
		return time.Time{}, nil
	}
	digits, ok := v.Number()
	if !ok {
		digits, _ = v.Str()
	}
	seconds, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return time.Time{}, refused("expires_in is not a number of seconds")
	}
	return now.Add(time.Duration(min(seconds, math.MaxInt32)) * time.Second), nil
}

// isHeaderSafe reports whether a token can stand in an Authorization header: visible ASCII, at
// least one character (RFC 6749, A.12).
func isHeaderSafe(token string) bool {
	for i := range len(token) {
		if token[i] <= ' ' || token[i] > '~' {
			return false
		}
	}
	return token != ""
}

const hintOverloaded = "the provider, or a proxy in front of it, is in trouble or overloaded; " +
	"the configuration of this service is not the cause"

// hintTrouble is for codes by which a provider says that it is down, whatever the status.
const hintTrouble = "the provider says that it is in trouble or overloaded; look at its state " +
	"and its own log"

// standardCode returns invalid_grant for the words that some providers have for it.
func standardCode(code, description string) string {
	if code == "unauthorized_client" && description == "refresh_token is invalid" { // Atlassian's
		return "invalid_grant"
	}
	switch code {
	case "bad_verification_code", "bad_refresh_token", // GitHub's
		"invalid_code", "code_already_used", "invalid_refresh_token", // Slack's
		"invalid_token", "token_inactive": // MITREid Connect's, and old Hydra's
		return "invalid_grant"
	}
	return code
}

// tokenEndpointError is the Error for a refusal (RFC 6749, 5.2). Of what the provider says only
// a registered code gets through: the rest may quote the request.
func tokenEndpointError(status int, code string) *Error {
	fault := statusFault(status)
	e := &Error{
		Reason: event.ReasonTokenEndpointError, Status: fault.status, Code: code, Err: fault,
		Refused: status < http.StatusInternalServerError, Answered: fault.answered,
		Alone: fault.alone,
	}
	switch code {
	case "invalid_client", "unauthorized_client":
		e.Hint = hintClient
	case "invalid_grant":
		e.Hint = hintGrant
	case "invalid_target": // RFC 8693, 2.2.2
		e.Hint = "the provider does not give this client tokens for that audience or resource"
	case "invalid_request", "unsupported_grant_type", "invalid_scope":
		e.Hint = hintRequest
	case "access_denied", "account_selection_required", "consent_required",
		"interaction_required", "login_required":
		e.Hint = hintUser
	case "":
		switch {
		case status == http.StatusUnauthorized:
			e.Hint = hintClient
		case isNowhere(status):
			e.Hint = hintNowhere
		case !fault.answered || status >= http.StatusInternalServerError:
			e.Hint = hintOverloaded
		}
	case "server_error", "temporarily_unavailable", // registered for authorization responses only
		"internal_error", "fatal_error", "service_unavailable", "request_timeout", // Slack's
		"ratelimited", codeRateLimit, "too_many_requests", "slow_down":
		// Dex says server_error, with status 500, of a user who is gone.
		e.Alone = e.Alone && code == "server_error" && status == http.StatusInternalServerError
		e.Code, e.Hint, e.Refused = "other", hintTrouble, false
	default:
		e.Code = "other"
		e.Hint = hintClient // some providers have codes of their own for a wrong secret
		if isNowhere(status) {
			e.Hint = hintNowhere
		}
	}
	return e
}

// withoutValues returns a text of the provider without what it quotes of a request: the code, a
// token, the client's secret.
func withoutValues(s string, forms ...url.Values) string {
	for _, form := range forms {
		for _, values := range form {
			for _, v := range values {
				if len(v) >= minSecret {
					s = strings.NewReplacer(v, hidden, url.QueryEscape(v), hidden).Replace(s)
				}
			}
		}
	}
	return s
}

// hidden stands for what a text quoted of a request.
const hidden = "[hidden]"

// minSecret is the length of a value that could be secret. Shorter ones stay readable: a word of
// the provider could be the same.
const minSecret = 4

// clientHint says what may be wrong when the provider refuses the client.
func (c *Client) clientHint(ctx context.Context, meta Metadata) string {
	if c.hasSpacedSecret(ctx) {
		return hintSpace
	}
	method := c.cfg.Auth.Method
	if len(meta.TokenAuthMethods) > 0 && !slices.Contains(meta.TokenAuthMethods, method) {
		return "the provider refused the client: it announces the authentication methods " +
			bounded(strings.Join(meta.TokenAuthMethods, ", ")) + ", and " + method + " is configured"
	}
	if secret, _ := c.cfg.Auth.secret(ctx); method == AuthBasic && !c.cfg.RawBasic &&
		(url.QueryEscape(secret) != secret || url.QueryEscape(c.cfg.ClientID) != c.cfg.ClientID) {
		return hintClient + "; id or secret have characters that client_secret_basic encodes (RFC " +
			"6749, 2.3.1), which some providers do not decode: try client_secret_post, or set " +
			"TokenRequest.RawBasic"
	}
	return hintClient
}

// hasSpacedSecret reports whether the client secret has white space around it, as it is now. New
// refuses one with white space that no function gives.
func (c *Client) hasSpacedSecret(ctx context.Context) bool {
	secret, _ := c.cfg.Auth.secret(ctx)
	return c.cfg.Auth.hasSecret() && hasSpaceAround(secret)
}

const (
	hintClient = "the provider refused the client: " +
		"check client id, secret and authentication method"
	hintSpace = "the provider refused the client, whose secret has white space before or after it " +
		"(mostly the newline of a file): use strings.TrimSpace on what is read from a file"
	hintGrant = "the code or refresh token was used before, has expired, " +
		"or belongs to another client or redirect URL"
	hintUser    = "the provider refuses this user; it has the reason in its own log"
	hintRequest = "the provider does not take the request: " +
		"check the grant types and scopes the client may use"
)
