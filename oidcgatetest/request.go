package oidcgatetest

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// pushedLifetime is how long a pushed request counts.
const pushedLifetime = time.Minute

// pushedPrefix is what a request_uri of the provider begins with. It fetches no others.
const pushedPrefix = "urn:ietf:params:oauth:request_uri:"

// pushedRequest is an authorization request that a client pushed (RFC 9126).
type pushedRequest struct {
	clientID string
	params   url.Values
	expires  time.Time
}

// servePushedRequest takes an authorization request from a client (RFC 9126, 2). It checks all that
// the authorization endpoint checks.
func (p *Provider) servePushedRequest(w http.ResponseWriter, r *http.Request) {
	noStore(w)
	client, e := p.authenticate(r)
	if e != nil {
		writeTokenError(w, r, e)
		return
	}
	params, e := p.pushable(client, r.PostForm)
	if e != nil {
		writeTokenError(w, r, e)
		return
	}
	requestURI := pushedPrefix + rand.Text()
	p.mu.Lock()
	p.pushed[requestURI] = pushedRequest{client.ID, params, time.Now().Add(pushedLifetime)}
	p.mu.Unlock()
	writeJSON(w, http.StatusCreated, map[string]any{
		"request_uri": requestURI, "expires_in": int(pushedLifetime / time.Second),
	})
}

// pushable returns the parameters of a request that may be pushed.
func (p *Provider) pushable(client Client, form url.Values) (url.Values, *oauthError) {
	params := cloneValues(form)
	for _, name := range []string{"client_secret", "client_assertion", "client_assertion_type"} {
		params.Del(name)
	}
	if params.Has("request_uri") {
		return nil, &oauthError{"invalid_request", "request_uri cannot be pushed"}
	}
	params, e := opened(client, p.Issuer(), params)
	if e != nil {
		return nil, e
	}
	if params.Get("client_id") != client.ID {
		return nil, &oauthError{"invalid_request", "client_id is that of another client"}
	}
	if !slices.Contains(client.RedirectURLs, params.Get("redirect_uri")) {
		return nil, &oauthError{"invalid_request", "redirect_uri is not registered for this client"}
	}
	return params, p.checkAuthorization(params)
}

// request returns the parameters of an authorization request, which may have been pushed, or stand
// in an object that the client signed.
func (p *Provider) request(client Client, params url.Values) (url.Values, *oauthError) {
	requestURI := params.Get("request_uri")
	if !strings.HasPrefix(requestURI, pushedPrefix) {
		if p.config.PushedRequests && p.config.RequirePushedRequests {
			return nil, &oauthError{"invalid_request", "the request was not pushed"}
		}
		return opened(client, p.Issuer(), params)
	}
	p.mu.Lock()
	pushed, ok := p.pushed[requestURI]
	if p.config.LoginPage == nil { // otherwise the page posts to the same address
		delete(p.pushed, requestURI)
	}
	p.mu.Unlock()
	if !ok || pushed.clientID != client.ID || time.Now().After(pushed.expires) {
		return nil, &oauthError{"invalid_request_uri", "unknown, used or expired"}
	}
	return pushed.params, nil
}

// objectAlgorithms may sign a request object.
var objectAlgorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.PS256, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// opened returns the parameters of a request object, if there is one (RFC 9101, 6). Those beside
// the object do not count, and client_id, response_type and scope must not differ.
func opened(client Client, issuer string, params url.Values) (url.Values, *oauthError) {
	if !params.Has("request") || len(client.Keys.Keys) == 0 {
		return params, nil
	}
	invalid := func(why string) (url.Values, *oauthError) {
		return nil, &oauthError{"invalid_request_object", why}
	}
	jws, err := jose.ParseSignedCompact(params.Get("request"), objectAlgorithms)
	if err != nil {
		return invalid("it is not a signed JWT")
	}
	if typ := jws.Signatures[0].Header.ExtraHeaders[jose.HeaderType]; typ != "oauth-authz-req+jwt" {
		return invalid("typ is not oauth-authz-req+jwt")
	}
	payload, err := jws.Verify(client.Keys)
	if err != nil {
		return invalid("it is not signed with a key of the client")
	}
	var object map[string]any
	if err := json.Unmarshal(payload, &object); err != nil {
		return invalid("its payload is not an object")
	}
	if why := checkObject(client.ID, issuer, object); why != "" {
		return invalid(why)
	}
	inside := parametersOf(object)
	for _, name := range []string{"client_id", "response_type", "scope"} {
		if params.Has(name) && params.Get(name) != inside.Get(name) {
			return invalid(name + " beside it differs")
		}
	}
	return inside, nil
}

// checkObject returns what is wrong with the claims of a request object (RFC 9101, 4, 10.8), or "".
func checkObject(clientID, issuer string, object map[string]any) string {
	exp, _ := object["exp"].(float64)
	_, hasSubject := object["sub"]
	now := float64(time.Now().Unix())
	switch {
	case object["iss"] != clientID || object["client_id"] != clientID:
		return "iss or client_id is not the client"
	case object["aud"] != issuer:
		return "aud is not the issuer"
	case exp <= now || exp > now+3600:
		return "exp is past, missing or more than an hour ahead"
	case hasSubject || object["request"] != nil || object["request_uri"] != nil:
		return "it has sub, request or request_uri"
	}
	return ""
}

// parametersOf turns the members of a request object into parameters.
func parametersOf(object map[string]any) url.Values {
	params := url.Values{}
	for name, value := range object {
		switch value := value.(type) {
		case string:
			params.Set(name, value)
		case []any:
			if name != "resource" {
				params.Set(name, string(mustMarshal(value)))
				continue
			}
			for _, one := range value {
				params.Add(name, fmt.Sprint(one))
			}
		default:
			params.Set(name, string(mustMarshal(value)))
		}
	}
	for _, name := range []string{"iss", "aud", "exp", "nbf", "iat", "jti"} {
		params.Del(name)
	}
	return params
}

// checkRequested checks claims, resource and authorization_details.
func checkRequested(params url.Values) *oauthError {
	var details []struct{ Type string }
	if text := params.Get("authorization_details"); text != "" {
		untyped := func(d struct{ Type string }) bool { return d.Type == "" }
		if json.Unmarshal([]byte(text), &details) != nil || slices.ContainsFunc(details, untyped) {
			return &oauthError{"invalid_authorization_details", "not a list of objects with a type"}
		}
	}
	claims := params.Get("claims")
	if claims != "" && json.Unmarshal([]byte(claims), &requestedClaims{}) != nil {
		return &oauthError{"invalid_request", "claims is not an object"}
	}
	for _, resource := range params["resource"] {
		if u, err := url.Parse(resource); err != nil || !u.IsAbs() || strings.Contains(resource, "#") {
			return &oauthError{"invalid_target", "a resource is not an absolute URI"}
		}
	}
	return nil
}

// checkResources checks that a token request names only resources of the login (RFC 8707, 2.2).
func (g *grant) checkResources(resources []string) *oauthError {
	for _, resource := range resources {
		if !slices.Contains(g.resources, resource) {
			return &oauthError{"invalid_target", "a resource was not granted at login"}
		}
	}
	return nil
}

// requestedClaims is the claims parameter (OpenID Connect Core, 5.5). Which values are wanted is
// not looked at.
type requestedClaims struct {
	IDToken  map[string]any `json:"id_token"`
	Userinfo map[string]any `json:"userinfo"`
}

func claimsOf(params url.Values) (requested requestedClaims) {
	_ = json.Unmarshal([]byte(params.Get("claims")), &requested) // checked by checkRequested
	return requested
}

// add adds the claims of a user that were asked for by name.
func add(claims map[string]any, u User, names map[string]any) {
	for name := range names {
		for _, all := range []map[string]any{u.UserinfoClaims, u.Claims} {
			if value, ok := all[name]; ok {
				claims[name] = value
			}
		}
	}
}
