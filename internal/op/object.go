package op

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
)

// objectLifetime is how far ahead the exp of a response object may be (JARM, 2.1, recommends a
// maximum of ten minutes).
const objectLifetime = 10 * time.Minute

// readObject reads a response that is one signed object (JARM, 2.3): nothing stands beside it. The
// state is read without a look at the signature, because it only says which login is meant. The
// caller then finds the login in the browser that began it, and [Client.Finish] verifies the object
// before anything else of it counts. An encrypted object is decrypted first, whoever sent it.
func (c *Client) readObject(ctx context.Context, params url.Values) (Response, error) {
	for _, name := range responseParameters {
		if name != "response" && params.Has(name) {
			e := badResponse(event.ReasonResponseInvalid, "%s outside the signed response object", name)
			e.Hint = "check that the provider supports the response mode " + c.cfg.ResponseMode +
				" for this client"
			return Response{}, e
		}
	}
	object, err := c.decrypt(ctx, &tokenKinds[responseObject], params.Get("response"))
	if err != nil {
		return Response{}, beforeClaim(err)
	}
	r := Response{object: object}
	parts := strings.Split(r.object, ".")
	if len(parts) != 3 {
		return Response{}, badResponse(event.ReasonResponseInvalid, "no signed response object")
	}
	payload, err := base64.RawURLEncoding.Strict().DecodeString(parts[1])
	if err != nil {
		return Response{}, badResponse(event.ReasonResponseInvalid, "a response object that is no JWT")
	}
	doc, err := claims.ParseRepeated(payload)
	if err != nil {
		return Response{}, badResponse(event.ReasonResponseInvalid, "a response object that is no JWT")
	}
	r.State = text(doc, "state")
	return r, nil
}

// openResponse returns the response as it counts. Where a signed object was agreed on, that is what
// the provider signed (JARM, 2.4), and otherwise the response itself.
func (c *Client) openResponse(ctx context.Context, r Response) (Response, error) {
	if !c.cfg.wantsObject() {
		return r, nil
	}
	token, err := c.openSigned(ctx, responseObject, r.object)
	if err != nil {
		return Response{}, err
	}
	if err := c.checkTimes(token.claims); err != nil {
		return Response{}, err
	}
	if exp, _ := date(token.claims, "exp"); exp.After(time.Now().Add(objectLifetime + c.cfg.Leeway)) {
		return Response{}, invalid(event.ReasonExpiry, "exp is too far ahead for a response object")
	}
	params := url.Values{}
	for _, name := range responseParameters {
		v, _ := token.claims.Get(name)
		if v.Kind() == claims.Null { // a null member is an absent one
			continue
		}
		s, ok := v.Str()
		if !ok {
			return Response{}, badResponse(event.ReasonResponseInvalid, "%s is no string", name)
		}
		params.Set(name, s)
	}
	signed, err := newResponse(params)
	if err == nil && signed.State != r.State {
		err = badResponse(event.ReasonResponseInvalid, "the state is not a string")
	}
	return signed, err
}

// openIDToken returns the ID Token of a response, verified in every respect (OpenID Connect Core,
// 3.3.2.12), or nil if the response type has none. Before that the code is not sent anywhere.
func (c *Client) openIDToken(
	ctx context.Context, r *Response, want Expectation,
) (*openedToken, error) {
	if !c.cfg.wantsIDToken() {
		return nil, nil
	}
	came := companions{code: r.code, state: r.State}
	return c.verifyIDToken(ctx, browserIDToken, r.idToken, came, c.loginRules(want))
}

// beforeClaim returns err as an Error of what came through the browser: of StageResponse and with
// the status 400, unless the provider's keys could not be had.
func beforeClaim(err error) error {
	e := failure(err, event.ReasonJWKSUnavailable, event.ReasonIDTokenMalformed)
	if e.Status != http.StatusBadGateway && e.Status != http.StatusBadRequest &&
		e.Status != http.StatusForbidden || e.Reason == event.ReasonJWKSUnavailable {
		return e
	}
	refused := *e
	refused.Stage = StageResponse
	if refused.Status == http.StatusBadGateway {
		refused.Status = http.StatusBadRequest
	}
	return &refused
}
