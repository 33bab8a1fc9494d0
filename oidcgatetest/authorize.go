package oidcgatetest

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// A Login is an authorization request that waits for a user to log in. It is valid during one call
// of Config.LoginPage.
type Login struct {
	// ClientID is the client that sent the request.
	ClientID string

	// Params are the parameters of the authorization request, such as login_hint.
	Params url.Values

	provider *Provider
	w        http.ResponseWriter
}

// Proceed logs the user in and answers the request: the browser goes to the client with a code, an
// ID Token or both.
func (l *Login) Proceed(u User) {
	l.respond(l.provider.newResponse(l.Params, u.named()))
}

// Refuse answers the request with an error, such as "access_denied" (RFC 6749, 4.1.2.1;
// OpenID Connect Core, 3.1.2.6). An empty description is left out.
func (l *Login) Refuse(code, description string) {
	response := url.Values{"error": {code}}
	if description != "" {
		response.Set("error_description", description)
	}
	l.respond(response)
}

// serveAuthorization serves the authorization endpoint (OpenID Connect Core, 3.1.2). Until it is
// known that redirect_uri is registered for the client, errors are shown on a page and not sent to
// redirect_uri. Otherwise the provider would be an open redirector (RFC 9700, 4.11.2).
func (p *Provider) serveAuthorization(w http.ResponseWriter, r *http.Request) {
	params := authorizationParams(r)
	client, ok := p.client(params.Get("client_id"))
	if !ok || len(params["client_id"]) > 1 {
		http.Error(w, "unknown client_id", http.StatusBadRequest)
		return
	}
	params, e := p.request(client, params)
	if e != nil {
		http.Error(w, e.code+": "+e.description, http.StatusBadRequest)
		return
	}
	redirectURLs := params["redirect_uri"]
	if len(redirectURLs) != 1 || !slices.Contains(client.RedirectURLs, redirectURLs[0]) {
		http.Error(w, fmt.Sprintf("redirect_uri is not registered for this client: it is %q, registered "+
			"are %q", redirectURLs, client.RedirectURLs), http.StatusBadRequest)
		return
	}
	login := &Login{ClientID: client.ID, Params: params, provider: p, w: w}
	if e := p.checkAuthorization(params); e != nil {
		login.Refuse(e.code, e.description)
		return
	}
	p.logIn(w, r, login)
}

// authorizationParams returns the parameters from the query, or from the body of a POST (OpenID
// Connect Core, 3.1.2.1). When a login form posts its fields in the body, the parameters are still
// in the query.
func authorizationParams(r *http.Request) url.Values {
	if query := r.URL.Query(); r.Method == http.MethodGet || query.Has("client_id") {
		return query
	}
	return r.PostForm
}

func (p *Provider) checkAuthorization(params url.Values) *oauthError {
	if name := repeated(params); name != "" {
		return &oauthError{"invalid_request", "a parameter appears twice: " + name}
	}
	if e := checkRequested(params); e != nil {
		return e
	}
	switch {
	case params.Has("request"): // of a client without Keys
		return &oauthError{"request_not_supported", ""}
	case params.Has("request_uri"):
		return &oauthError{"request_uri_not_supported", ""}
	case !slices.Contains(responseTypes, responseType(params)),
		p.config.WithoutIDTokens && responseType(params) != "code":
		return &oauthError{"unsupported_response_type", "the types are " +
			strings.Join(responseTypes, ", ")}
	case !isResponseMode(params):
		return &oauthError{"invalid_request", "response_mode is not supported for that response_type"}
	case responseType(params) != "code" && params.Get("nonce") == "":
		return &oauthError{"invalid_request", "nonce is missing"}
	case !p.config.WithoutIDTokens &&
		!slices.Contains(strings.Fields(params.Get("scope")), "openid"):
		return &oauthError{"invalid_scope", "scope must contain openid"}
	case p.config.WithoutPKCE:
		if params.Has("code_challenge") {
			return &oauthError{"invalid_request", "code_challenge is not known"}
		}
	case responseType(params) != "id_token" &&
		(params.Get("code_challenge_method") != "S256" || len(params.Get("code_challenge")) != 43):
		return &oauthError{"invalid_request", "PKCE with S256 is required"}
	}
	return nil
}

// logIn calls Config.LoginPage, or logs in the user of SetUser if there is no LoginPage. With
// prompt=none no page may be shown (OpenID Connect Core, 3.1.2.1).
func (p *Provider) logIn(w http.ResponseWriter, r *http.Request, login *Login) {
	p.mu.Lock()
	user := p.user
	p.mu.Unlock()
	asks := p.config.LoginPage != nil
	if visitor, ok := r.Context().Value(visitorKey{}).(User); ok { // of SignIn
		user, asks = visitor.named(), false
	}
	switch {
	case login.Params.Get("prompt") == "none" && (asks || user.Subject == ""):
		login.Refuse("login_required", "")
	case asks:
		p.config.LoginPage(w, r, login)
	case user.Subject == "": // SetNobody
		login.Refuse("access_denied", "no user is logged in")
	default:
		login.Proceed(user)
	}
}

// A grant is the record of one login at one client. The code and the tokens of that login refer to
// it.
type grant struct {
	clientID    string
	redirectURL string
	challenge   string
	nonce       string
	scopes      []string
	claims      requestedClaims
	resources   []string
	details     json.RawMessage // of RFC 9396; nil if there are none
	subject     string
	sessionID   string
	authTime    time.Time

	keyThumbprint string // of the DPoP key to which the tokens are bound; "" if they are not

	codeExpires time.Time
	redeemed    bool // the code was used
	ended       bool // the user logged out, or the code was used twice
}

// newGrant records the login of a user for an authorization request.
func (p *Provider) newGrant(params url.Values, u User) *grant {
	now := time.Now()
	g := &grant{
		clientID:    params.Get("client_id"),
		redirectURL: params.Get("redirect_uri"),
		challenge:   params.Get("code_challenge"),
		nonce:       params.Get("nonce"),
		scopes:      strings.Fields(params.Get("scope")),
		claims:      claimsOf(params),
		resources:   params["resource"],
		details:     json.RawMessage(params.Get("authorization_details")),
		subject:     u.Subject,
		sessionID:   rand.Text(),

		keyThumbprint: params.Get("dpop_jkt"),
		authTime:      now,
		codeExpires:   now.Add(p.config.CodeLifetime),
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.remember(u)
	p.sweep(now)
	return g
}

func (p *Provider) newCode(g *grant) string {
	code := rand.Text()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.codes[code] = g
	return code
}

// sweep deletes expired codes and tokens, so that the memory of a long-running provider stays
// bounded. p.mu is held.
func (p *Provider) sweep(now time.Time) {
	maps.DeleteFunc(p.codes, func(_ string, g *grant) bool { return now.After(g.codeExpires) })
	maps.DeleteFunc(p.pushed, func(_ string, r pushedRequest) bool { return now.After(r.expires) })
	maps.DeleteFunc(p.accessTokens, func(_ string, t accessToken) bool {
		return now.After(t.expires)
	})
	maps.DeleteFunc(p.refreshTokens, func(_ string, g *grant) bool { return g.ended })
}
