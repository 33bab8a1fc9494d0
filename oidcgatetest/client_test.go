package oidcgatetest_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

const (
	redirectURL           = "https://shop.test/auth/callback?from=id"
	postLogoutRedirectURL = "https://shop.test/bye"
)

// shop is a client whose id and secret arrive unchanged only if they are encoded correctly.
func shop() oidcgatetest.Client {
	return oidcgatetest.Client{
		ID:                     "sh:op +/é",
		Secret:                 "a:b%+ c/é",
		RedirectURLs:           []string{redirectURL},
		PostLogoutRedirectURLs: []string{postLogoutRedirectURL},
	}
}

// newProvider returns a provider with the client shop, and a relying party that is this client.
func newProvider(t *testing.T, config ...oidcgatetest.Config) (*oidcgatetest.Provider, *relyingParty) {
	t.Helper()
	p := oidcgatetest.NewProvider(t, config...)
	p.AddClient(shop())
	return p, newRelyingParty(p.Issuer(), p.Transport(), shop())
}

// relyingParty is an independent implementation of the specifications with net/http only, so that
// it does not share errors with the provider.
type relyingParty struct {
	issuer string
	http   *http.Client
	client oidcgatetest.Client
	scope  string
}

func newRelyingParty(issuer string, transport http.RoundTripper, c oidcgatetest.Client) *relyingParty {
	return &relyingParty{
		issuer: issuer,
		client: c,
		scope:  "openid profile email",
		http: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// An answer is a response with its whole body.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) members(t *testing.T) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(a.body), &m); err != nil {
		t.Fatalf("status %d, body %q: %v", a.status, a.body, err)
	}
	return m
}

func (rp *relyingParty) try(r *http.Request) (answer, error) {
	resp, err := rp.http.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(body)}, err
}

func (rp *relyingParty) do(t *testing.T, r *http.Request) answer {
	t.Helper()
	a, err := rp.try(r)
	if err != nil {
		t.Fatalf("%s %s: %v", r.Method, r.URL, err)
	}
	return a
}

func (rp *relyingParty) get(t *testing.T, target string) answer {
	t.Helper()
	return rp.do(t, newRequest(http.MethodGet, target, nil))
}

func newRequest(method, target string, form url.Values) *http.Request {
	r, err := http.NewRequest(method, target, strings.NewReader(form.Encode()))
	if err != nil {
		panic(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return r
}

// metadata fetches the discovery document and returns one of its strings.
func (rp *relyingParty) metadata(t *testing.T, name string) string {
	t.Helper()
	target := strings.TrimSuffix(rp.issuer, "/") + "/.well-known/openid-configuration"
	value, ok := rp.get(t, target).members(t)[name].(string)
	if !ok {
		t.Fatalf("discovery: %s is missing", name)
	}
	return value
}

// authorization returns the parameters of a correct authorization request and its PKCE verifier.
func (rp *relyingParty) authorization() (params url.Values, verifier string) {
	verifier = rand.Text() + rand.Text()
	challenge := sha256.Sum256([]byte(verifier))
	return url.Values{
		"response_type":         {"code"},
		"client_id":             {rp.client.ID},
		"redirect_uri":          {rp.client.RedirectURLs[0]},
		"scope":                 {rp.scope},
		"state":                 {rand.Text()},
		"nonce":                 {rand.Text()},
		"code_challenge":        {base64.RawURLEncoding.EncodeToString(challenge[:])},
		"code_challenge_method": {"S256"},
	}, verifier
}

// authorize sends an authorization request and returns the parameters of the response.
func (rp *relyingParty) authorize(t *testing.T, params url.Values) url.Values {
	t.Helper()
	a := rp.get(t, rp.metadata(t, "authorization_endpoint")+"?"+params.Encode())
	return rp.response(t, a)
}

func (rp *relyingParty) response(t *testing.T, a answer) url.Values {
	t.Helper()
	location, query, _ := strings.Cut(a.header.Get("Location"), "?")
	registered, _, _ := strings.Cut(rp.client.RedirectURLs[0], "?")
	if a.status != http.StatusSeeOther || location != registered {
		t.Fatalf("authorization: status %d, Location %q, body %q", a.status, location, a.body)
	}
	query, fragment, _ := strings.Cut(query, "#")
	params, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	more, err := url.ParseQuery(fragment)
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(params, more)
	return params
}

// code logs in and returns the form of a correct token request.
func (rp *relyingParty) code(t *testing.T) (form url.Values, nonce string) {
	t.Helper()
	params, verifier := rp.authorization()
	back := rp.authorize(t, params)
	if back.Get("state") != params.Get("state") || back.Get("iss") != rp.issuer || back.Get("code") == "" {
		t.Fatalf("authorization response %v, want a code, state %q and iss %q", back, params.Get("state"), rp.issuer)
	}
	return url.Values{
		"grant_type":    {"authorization_code"},
		"code":          {back.Get("code")},
		"redirect_uri":  {params.Get("redirect_uri")},
		"code_verifier": {verifier},
	}, params.Get("nonce")
}

// token sends a token request with the authentication method of the client.
func (rp *relyingParty) token(t *testing.T, form url.Values) answer {
	t.Helper()
	return rp.do(t, rp.tokenRequest(rp.metadata(t, "token_endpoint"), form))
}

func (rp *relyingParty) tokenRequest(endpoint string, form url.Values) *http.Request {
	basic := false
	switch rp.client.AuthMethod {
	case oidcgatetest.ClientSecretPost:
		form.Set("client_id", rp.client.ID)
		form.Set("client_secret", rp.client.Secret)
	case oidcgatetest.NoClientSecret:
		form.Set("client_id", rp.client.ID)
	default:
		basic = true
	}
	r := newRequest(http.MethodPost, endpoint, form)
	if basic {
		r.SetBasicAuth(url.QueryEscape(rp.client.ID), url.QueryEscape(rp.client.Secret))
	}
	return r
}

// login logs in and returns the token response and the claims of the verified ID Token.
func (rp *relyingParty) login(t *testing.T) (tokens, claims map[string]any) {
	t.Helper()
	form, nonce := rp.code(t)
	a := rp.token(t, form)
	if a.status != http.StatusOK {
		t.Fatalf("token endpoint: status %d, body %s", a.status, a.body)
	}
	tokens = a.members(t)
	claims, err := rp.verify(t, tokens["id_token"].(string))
	if err != nil {
		t.Fatal(err)
	}
	if claims["nonce"] != nonce {
		t.Fatalf("nonce %v, want %q", claims["nonce"], nonce)
	}
	return tokens, claims
}

// keys fetches the key set.
func (rp *relyingParty) keys(t *testing.T) jose.JSONWebKeySet {
	t.Helper()
	var keys jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(rp.get(t, rp.metadata(t, "jwks_uri")).body), &keys); err != nil {
		t.Fatal(err)
	}
	return keys
}

// verify checks a token's signature with the published key that its kid names, and its iss and aud.
func (rp *relyingParty) verify(t *testing.T, compact string) (map[string]any, error) {
	t.Helper()
	token, err := jose.ParseSignedCompact(compact, []jose.SignatureAlgorithm{jose.RS256, jose.ES256})
	if err != nil {
		return nil, err
	}
	keys := rp.keys(t)
	named := keys.Key(token.Signatures[0].Header.KeyID)
	if len(named) != 1 {
		return nil, fmt.Errorf("the key set has %d keys of that kid", len(named))
	}
	payload, err := token.Verify(named[0])
	if err != nil {
		return nil, err
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		return nil, err
	}
	if claims["iss"] != rp.issuer || claims["aud"] != rp.client.ID {
		return nil, fmt.Errorf("iss %v, aud %v", claims["iss"], claims["aud"])
	}
	return claims, nil
}

func (rp *relyingParty) userinfo(t *testing.T, tokens map[string]any) answer {
	t.Helper()
	r := newRequest(http.MethodGet, rp.metadata(t, "userinfo_endpoint"), nil)
	r.Header.Set("Authorization", "Bearer "+tokens["access_token"].(string))
	return rp.do(t, r)
}
