package op

import (
	"context"
	"errors"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
)

// Expectation is what one login knows and the provider's answers must agree with.
type Expectation struct {
	Nonce        string         // never empty: no ID Token matches without
	CodeVerifier string         // its hash went out with the authorization request
	DPoPKey      *DPoPKey       // its thumbprint went out with it; nil if tokens are not bound
	MaxAge       *time.Duration // the max_age that was asked for, if any
	ACRValues    []string       // the acr must be one of them, if there are any
	Start        time.Time      // when the login began; MaxAge counts from here. If zero, from now

	issuer string // the iss of the response, which is checked; "" if it had none

	// Claim takes the login for this request, so that no other request can send its code. It is
	// called at most once, just before the code is sent. When it fails the code is not sent,
	// and Finish returns its error as it is.
	Claim func(context.Context) error
}

// Result is a login that is in order.
type Result struct {
	Tokens   *Tokens       // with the ID Token as it was signed, though it came encrypted
	IDToken  claims.Object // the claims of the ID Token
	Userinfo claims.Object // the claims that userinfo adds; empty if there are none

	Untaken bool // userinfo does not take the access token, which the configuration allows
}

// Finish goes from an authorization response to verified claims (OpenID Connect Core,
// 3.1.2.7 to 3.1.3.7 and 5.3). The caller has found the login that response.State names, in the
// browser that began it.
//
// At most 64 logins at a time send a code. A login that waits longer than a second for its turn
// fails. It is not claimed then, and its response may be tried again. So a slow provider costs
// a bounded number of goroutines and connections, and only a login that goes to the provider
// leaves a claim, so that strangers cannot fill the store with claims.
//
// Every failure is an *Error whose Stage says how far the login came, or the error of
// want.Claim. Then a Result has nothing but tokens that the provider has issued all the same, and
// the claims of their ID Token, if that was verified.
func (c *Client) Finish(
	ctx context.Context, response Response, want Expectation,
) (*Result, error) {
	// The metadata says whether iss may be absent, and this process may not have begun the login.
	meta, err := c.metadataInTurn(ctx)
	if err != nil {
		return nil, err
	}
	if !c.cfg.wantsObject() { // cheap: only a response that is in order waits for its turn
		if err := c.checkResponse(&response, meta); err != nil {
			return nil, err
		}
	}
	release, err := c.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	ctx = context.WithoutCancel(ctx) // see take
	response, first, err := c.openAll(ctx, response, meta, want)
	if err != nil {
		return nil, err
	}
	if err := want.Claim(ctx); err != nil {
		return nil, err
	}
	want.issuer = response.issuer
	result, err := c.redeem(ctx, &response, first, want)
	return result, afterClaim(err)
}

// openAll verifies what the provider signed of a response: the response itself, and its ID Token.
func (c *Client) openAll(
	ctx context.Context, response Response, meta Metadata, want Expectation,
) (Response, *openedToken, error) {
	response, err := c.openResponse(ctx, response)
	if err != nil {
		return Response{}, nil, beforeClaim(err)
	}
	if c.cfg.wantsObject() {
		if err := c.checkResponse(&response, meta); err != nil {
			return Response{}, nil, err
		}
	}
	want.issuer = response.issuer
	first, err := c.openIDToken(ctx, &response, want)
	if err != nil {
		return Response{}, nil, beforeClaim(err)
	}
	return response, first, nil
}

// redeem turns a response into a user: tokens, ID Token, userinfo, in this order. first is the ID
// Token that came with the response, if one did. That of the token endpoint replaces it, and is of
// the same user (OpenID Connect Core, 3.3.3.6).
func (c *Client) redeem(
	ctx context.Context, response *Response, first *openedToken, want Expectation,
) (*Result, error) {
	if !c.cfg.wantsCode() {
		return &Result{Tokens: &Tokens{IDToken: first.signed}, IDToken: c.Shape(first.claims)}, nil
	}
	tokens, err := c.exchange(ctx, response.code, &want)
	useless := &Result{Tokens: tokens}
	switch {
	case err != nil && tokens == nil:
		return nil, err
	case err != nil:
		return useless, err
	}
	if !c.cfg.hasIDTokens() {
		result, err := c.identify(ctx, tokens)
		if err != nil {
			return useless, err
		}
		return result, nil
	}
	came := companions{accessToken: tokens.AccessToken}
	id, err := c.verifyIDToken(ctx, idToken, tokens.IDToken, came, c.loginRules(want))
	if err != nil {
		return useless, err
	}
	useless.IDToken = c.Shape(id.claims)
	result, err := c.complete(ctx, tokens, first, id)
	if err != nil {
		return useless, about(id.claims, err)
	}
	return result, nil
}

// complete adds what userinfo says of the user whom the ID Token names. first is that of the
// response, or nil.
func (c *Client) complete(
	ctx context.Context, tokens *Tokens, first, id *openedToken,
) (*Result, error) {
	subject := text(id.claims, "sub")
	switch {
	case first == nil:
	case text(first.claims, "iss") != text(id.claims, "iss"): // two tenants
		return nil, invalid(event.ReasonIssuer, "the two ID Tokens of the login name two issuers")
	case text(first.claims, "sub") != subject:
		return nil, invalid(event.ReasonSubject, "the two ID Tokens of the login name two users")
	}
	info, untaken, err := c.userinfo(ctx, tokens, subject)
	if err != nil {
		return nil, err
	}
	named := c.cfg.shapeEmail(id.claims)
	info, err = c.further(ctx, tokens, named, info)
	if err != nil {
		return nil, err
	}
	tokens.IDToken = id.signed
	untaken = untaken && c.cfg.Further == nil // whose claims are read again with those of userinfo
	return &Result{Tokens: tokens, IDToken: named, Userinfo: info, Untaken: untaken}, nil
}

// afterClaim returns err as an Error of StageClaimed. It changes a copy, because logins that
// wait for the same request share its error.
func afterClaim(err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	later := *e
	later.Stage = StageClaimed
	return &later
}
