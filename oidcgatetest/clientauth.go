package oidcgatetest

import (
	"crypto/subtle"
	"encoding/json"
	"mime"
	"net/http"
	"net/url"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// An AuthMethod is a value of token_endpoint_auth_method (OpenID Connect Core, 9; RFC 8705, 2).
type AuthMethod string

// The methods that the provider supports.
const (
	ClientSecretBasic       AuthMethod = "client_secret_basic"
	ClientSecretPost        AuthMethod = "client_secret_post"
	ClientSecretJWT         AuthMethod = "client_secret_jwt"
	PrivateKeyJWT           AuthMethod = "private_key_jwt"
	TLSClientAuth           AuthMethod = "tls_client_auth"
	SelfSignedTLSClientAuth AuthMethod = "self_signed_tls_client_auth"
	NoClientSecret          AuthMethod = "none"
)

var authMethods = []AuthMethod{
	ClientSecretBasic, ClientSecretPost, ClientSecretJWT, PrivateKeyJWT, TLSClientAuth,
	SelfSignedTLSClientAuth, NoClientSecret,
}

// credentials are what a request shows of the client that sent it, unverified.
type credentials struct {
	id, secret string
	assertion  string
	method     AuthMethod // for assertions and certificates one of those that are possible
}

// authenticate returns the client that sent a token request. The client must use the method that is
// registered for it (RFC 6749, 2.3).
func (p *Provider) authenticate(r *http.Request) (Client, *oauthError) {
	if e := p.checkTokenRequest(r); e != nil {
		return Client{}, e
	}
	shown, e := readCredentials(r)
	if e != nil {
		return Client{}, e
	}
	client, ok := p.client(shown.id)
	if !ok {
		return Client{}, &oauthError{"invalid_client", "unknown client"}
	}
	if !shown.fits(client.AuthMethod) {
		return Client{}, &oauthError{
			"invalid_client", "the client is registered for " + string(client.AuthMethod),
		}
	}
	return client, p.prove(client, shown, r)
}

// fits reports whether the credentials are those of the method.
func (c credentials) fits(method AuthMethod) bool {
	switch method {
	case ClientSecretJWT:
		return c.method == PrivateKeyJWT
	case TLSClientAuth, SelfSignedTLSClientAuth:
		return c.method == NoClientSecret
	}
	return c.method == method
}

// prove checks what the client has shown.
func (p *Provider) prove(client Client, shown credentials, r *http.Request) *oauthError {
	switch client.AuthMethod {
	case ClientSecretBasic, ClientSecretPost:
		if subtle.ConstantTimeCompare([]byte(shown.secret), []byte(client.Secret)) != 1 {
			return &oauthError{"invalid_client", "wrong secret"}
		}
	case ClientSecretJWT:
		return p.checkAssertion(client, shown.assertion, []byte(client.Secret), jose.HS256)
	case PrivateKeyJWT:
		return p.checkAssertion(client, shown.assertion, client.Keys, assertionAlgorithms...)
	case TLSClientAuth, SelfSignedTLSClientAuth:
		if !showsCertificate(r, client) {
			return &oauthError{"invalid_client", "the certificate is not the registered one"}
		}
	}
	return nil
}

// showsCertificate reports whether the connection has the client's certificate.
func showsCertificate(r *http.Request, client Client) bool {
	return r.TLS != nil && len(r.TLS.PeerCertificates) > 0 && client.Certificate != nil &&
		r.TLS.PeerCertificates[0].Equal(client.Certificate)
}

var assertionAlgorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512,
	jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// checkAssertion checks an assertion (RFC 7523, 3). Its audience is the issuer, as one string, and
// it is good once.
func (p *Provider) checkAssertion(
	client Client, raw string, key any, algorithms ...jose.SignatureAlgorithm,
) *oauthError {
	refuse := func(why string) *oauthError { return &oauthError{"invalid_client", why} }
	jws, err := jose.ParseSignedCompact(raw, algorithms)
	if err != nil {
		return refuse("the assertion is no JWT with an accepted algorithm")
	}
	if keys, ok := key.(jose.JSONWebKeySet); ok {
		named := keys.Key(jws.Signatures[0].Protected.KeyID)
		if len(named) == 0 {
			return refuse("the assertion's kid is not that of a registered key")
		}
		key = named[0].Public().Key
	}
	payload, err := jws.Verify(key)
	if err != nil {
		return refuse("the assertion's signature is wrong")
	}
	var claims struct {
		Issuer   string `json:"iss"`
		Subject  string `json:"sub"`
		Audience string `json:"aud"`
		ID       string `json:"jti"`
		Expires  int64  `json:"exp"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		return refuse("the assertion's claims are malformed, or aud is not one string")
	}
	left := time.Until(time.Unix(claims.Expires, 0))
	switch {
	case claims.Issuer != client.ID || claims.Subject != client.ID:
		return refuse("iss and sub are not the client's id")
	case claims.Audience != p.Issuer():
		return refuse("aud is not the issuer")
	case left <= 0 || left > time.Hour:
		return refuse("exp is past, or far ahead")
	case claims.ID == "" || !p.isNew(claims.ID):
		return refuse("jti is missing, or was used before")
	}
	return nil
}

// isNew reports whether an id was never seen before, and remembers it.
func (p *Provider) isNew(id string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seenIDs[id] {
		return false
	}
	p.seenIDs[id] = true
	return true
}

// checkTokenRequest checks the form of a token request, and reads it if it is JSON.
func (p *Provider) checkTokenRequest(r *http.Request) *oauthError {
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	want := "application/x-www-form-urlencoded"
	if p.config.JSONTokenRequests && p.endpoint(r.URL.Path) == Token {
		want = "application/json"
	}
	if err != nil || mediaType != want {
		return &oauthError{"invalid_request", "the body must be " + want}
	}
	if r.URL.RawQuery != "" {
		return &oauthError{"invalid_request", "parameters belong in the body"}
	}
	if want == "application/json" {
		if e := readJSON(r); e != nil {
			return e
		}
	}
	if name := repeated(r.PostForm); name != "" {
		return &oauthError{"invalid_request", "a parameter appears twice: " + name}
	}
	return nil
}

func readJSON(r *http.Request) *oauthError {
	var members map[string]string
	if err := json.NewDecoder(r.Body).Decode(&members); err != nil {
		return &oauthError{"invalid_request", "the body must be a JSON object of strings"}
	}
	r.PostForm = url.Values{}
	for name, value := range members {
		r.PostForm.Set(name, value)
	}
	return nil
}

// readCredentials returns what a request shows of the client. Two methods at once are refused (RFC
// 6749, 2.3).
func readCredentials(r *http.Request) (credentials, *oauthError) {
	form := r.PostForm
	c := credentials{
		id: form.Get("client_id"), secret: form.Get("client_secret"),
		assertion: form.Get("client_assertion"), method: NoClientSecret,
	}
	var shown []AuthMethod
	if r.Header.Get("Authorization") != "" {
		shown = append(shown, ClientSecretBasic)
	}
	if form.Has("client_secret") {
		shown = append(shown, ClientSecretPost)
	}
	if form.Has("client_assertion") {
		shown = append(shown, PrivateKeyJWT)
	}
	switch {
	case len(shown) > 1:
		return c, &oauthError{"invalid_request", "two methods of client authentication"}
	case len(shown) == 0:
		return c, nil
	}
	c.method = shown[0]
	switch c.method {
	case ClientSecretBasic:
		id, secret, ok := basicCredentials(r)
		if !ok {
			return c, &oauthError{"invalid_client", "malformed Authorization header"}
		}
		if form.Has("client_id") && form.Get("client_id") != id {
			return c, &oauthError{"invalid_request", "two different clients in one request"}
		}
		c.id, c.secret = id, secret
	case PrivateKeyJWT:
		if form.Get("client_assertion_type") != assertionType {
			return c, &oauthError{"invalid_request", "client_assertion_type is " + assertionType}
		}
	}
	return c, nil
}

// basicCredentials decodes id and secret twice, because they are form-encoded before they are
// base64-encoded into the header (RFC 6749, 2.3.1).
func basicCredentials(r *http.Request) (id, secret string, ok bool) {
	id, secret, ok = r.BasicAuth()
	if !ok {
		return "", "", false
	}
	id, errID := url.QueryUnescape(id)
	secret, errSecret := url.QueryUnescape(secret)
	return id, secret, errID == nil && errSecret == nil
}
