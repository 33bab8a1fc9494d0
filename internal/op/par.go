package op

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
)

// PushedMode says whether authorization requests are pushed to the provider (RFC 9126).
type PushedMode int

// The modes of pushed requests.
const (
	PushedIfAnnounced PushedMode = iota // where the provider has an endpoint for them
	PushedRequired                      // every request; without an endpoint there is no login
	PushedOff                           // no request
)

// maxRequestURI is how long a request_uri may be. OpenID Connect Core, 6.2, names 512 characters.
const maxRequestURI = 512

// checkPushed checks that configuration and provider agree on pushed requests. A provider that
// takes only pushed requests would answer a plain one on a page of its own, where the gate cannot
// say what is wrong.
func (m *Metadata) checkPushed(mode PushedMode) error {
	var hint string
	switch required := m.PushedRequired || mode == PushedRequired; {
	case m.PushedRequired && mode == PushedOff:
		hint = "the provider takes only pushed authorization requests, and Request.Pushed is PushedOff"
	case required && m.PushedAuthorization == "":
		hint = "pushed authorization requests are required, and the provider's metadata has no " +
			"pushed_authorization_request_endpoint; set Endpoints.PushedAuthorization"
	default:
		return nil
	}
	e := reject(event.ReasonPARMismatch, "configuration and provider do not agree on pushed requests")
	e.Hint = hint
	return e
}

// push sends the parameters of an authorization request to the provider and returns those that the
// browser carries instead (RFC 9126, 2, 4). login are the parameters of the login itself; params
// are the same, or the object that has them inside.
//
// When it fails, there is no login. A plain request instead would help an attacker who can disturb
// this one: its parameters pass through the browser, where they can be read and changed, and the
// provider does not know that the client itself sent them.
func (c *Client) push(
	ctx context.Context, meta Metadata, params, login url.Values,
) (url.Values, error) {
	var requestURI string
	ctx = c.to(ctx, ForPush)
	err := c.post(ctx, meta.PushedAuthorization, params, func(a answer) (err error) {
		requestURI, err = readPushed(a)
		return err
	})
	if err != nil {
		err = c.explain(ctx, err, meta, secretsOf(login, params))
		if e, ok := errors.AsType[*Error](err); ok && e.Hint == hintPushed {
			e.Hint += "; the redirect URI is " + c.cfg.RedirectURL
		}
		e := failure(err, event.ReasonPARUnreachable, event.ReasonPARResponseInvalid)
		return nil, e.at(meta.PushedAuthorization)
	}
	return url.Values{"client_id": {c.cfg.ClientID}, "request_uri": {requestURI}}, nil
}

// secretsOf returns the parameters of requests that no log may have, and what they are made of. An
// error of the provider may quote the others, such as a scope.
func secretsOf(requests ...url.Values) url.Values {
	secrets := url.Values{}
	for _, name := range []string{
		"state", "nonce", "code_challenge", "request", "id_token_hint", "login_hint",
		"client_secret", "client_assertion",
	} {
		for _, params := range requests {
			secrets[name] = append(secrets[name], params[name]...)
		}
	}
	return secrets
}

// readPushed returns the request_uri of an answer of the endpoint (RFC 9126, 2.2, 2.3).
func readPushed(a answer) (string, error) {
	doc, err := claims.Parse(a.body)
	isJSON := err == nil && HasMediaType(a.header, "application/json")
	code, _ := doc.Get("error")
	switch {
	case code.Kind() != claims.Null || a.status >= 400:
		oauthCode, _ := code.Str()
		return "", pushRefused(a.status, oauthCode, text(doc, "error_description"))
	case a.status != http.StatusCreated:
		return "", statusFault(a.status)
	case !isJSON:
		return "", refused("the answer is not one JSON object with the type application/json")
	}
	now := time.Now()
	if at, _ := expiry(doc, now); !at.After(now) {
		return "", refused("expires_in is not a number of seconds above zero")
	}
	requestURI := text(doc, "request_uri")
	// It need not be a URI: nobody but the provider reads it, and Apereo CAS sends the id of a ticket.
	if len(requestURI) > maxRequestURI || !isHeaderSafe(requestURI) {
		return "", refused("request_uri does not have 1 to 512 visible characters")
	}
	return requestURI, nil
}

// pushRefused is the Error for a refusal. Its codes are those of the token endpoint and of the
// authorization response (RFC 9126, 2.3).
func pushRefused(status int, code, description string) *Error {
	e := tokenEndpointError(status, code)
	e.Reason, e.Refused, e.Description = event.ReasonPARError, false, description
	if _, registered := authorizationErrors[code]; registered {
		e.Code = code
		if e.Hint != hintTrouble {
			e.Hint = ""
		}
	}
	switch {
	case status == http.StatusUnauthorized: // whatever the code: Keycloak says invalid_request
		e.Code, e.Hint = "invalid_client", hintClient
	case e.Hint == hintRequest || e.Hint == "" && status < http.StatusInternalServerError:
		e.Hint = hintPushed
	}
	return e
}

const hintPushed = "the provider refuses the authorization request: compare redirect URI, scopes " +
	"and parameters with what the client is registered for"
