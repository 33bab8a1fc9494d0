package oidcgatetest_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// push sends an authorization request to the provider.
func (rp *relyingParty) push(t *testing.T, params url.Values) (requestURI string, status int, code string) {
	t.Helper()
	r := newRequest(http.MethodPost, rp.issuer+"/par", params)
	r.SetBasicAuth(url.QueryEscape(rp.client.ID), url.QueryEscape(rp.client.Secret))
	a := rp.do(t, r)
	var answer struct {
		RequestURI string `json:"request_uri"`
		ExpiresIn  int    `json:"expires_in"`
		Error      string
	}
	if err := json.Unmarshal([]byte(a.body), &answer); err != nil {
		t.Fatalf("status %d: %s", a.status, a.body)
	}
	if a.status == http.StatusCreated && answer.ExpiresIn != 60 {
		t.Errorf("expires_in is %d", answer.ExpiresIn)
	}
	return answer.RequestURI, a.status, answer.Error
}

func TestPushedRequest(t *testing.T) {
	_, rp := newProvider(t, oidcgatetest.Config{PushedRequests: true, RequirePushedRequests: true})
	params, _ := rp.authorization()
	if a := rp.do(t, newRequest(http.MethodGet, rp.issuer+"/authorize?"+params.Encode(), nil)); a.status != http.StatusBadRequest {
		t.Errorf("a request that was not pushed: status %d", a.status)
	}
	requestURI, status, _ := rp.push(t, params)
	if status != http.StatusCreated {
		t.Fatalf("status %d", status)
	}
	front := url.Values{"client_id": {rp.client.ID}, "request_uri": {requestURI}}
	if back := rp.authorize(t, front); back.Get("code") == "" || back.Get("state") != params.Get("state") {
		t.Errorf("response %v, want a code", back)
	}
	if a := rp.do(t, newRequest(http.MethodGet, rp.issuer+"/authorize?"+front.Encode(), nil)); a.status != http.StatusBadRequest {
		t.Errorf("a request_uri that was used: status %d", a.status)
	}
	for _, tt := range []struct {
		name, want string
		change     func(url.Values)
	}{
		{"a redirect URI that is not registered", "invalid_request", func(v url.Values) { v.Set("redirect_uri", "https://evil.test") }},
		{"another client", "invalid_request", func(v url.Values) { v.Set("client_id", "other") }},
		{"a request_uri", "invalid_request", func(v url.Values) { v.Set("request_uri", "urn:x") }},
		{"no PKCE", "invalid_request", func(v url.Values) { v.Del("code_challenge") }},
		{"a request object of a client without keys", "request_not_supported", func(v url.Values) { v.Set("request", "a.b.c") }},
		{"a resource that is no URI", "invalid_target", func(v url.Values) { v.Set("resource", "orders") }},
		{"details without a type", "invalid_authorization_details", func(v url.Values) { v.Set("authorization_details", "[{}]") }},
		{"claims that are no object", "invalid_request", func(v url.Values) { v.Set("claims", "[]") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			params, _ := rp.authorization()
			tt.change(params)
			if _, status, code := rp.push(t, params); status != http.StatusBadRequest || code != tt.want {
				t.Errorf("status %d, error %q; want 400 and %q", status, code, tt.want)
			}
		})
	}
}

func TestRequestObject(t *testing.T) {
	p, rp := newProvider(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	client := shop()
	client.Keys = jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k1"}}}
	p.AddClient(client)
	for _, tt := range []struct {
		name   string
		change func(*oidcgatetest.JWT)
		want   string // on the page; empty: a code
	}{
		{"in order", func(*oidcgatetest.JWT) {}, ""},
		{"for another provider", func(j *oidcgatetest.JWT) { j.Claims["aud"] = "https://other.test" }, "aud"},
		{"of another client", func(j *oidcgatetest.JWT) { j.Claims["iss"] = "other" }, "iss"},
		{"with a subject", func(j *oidcgatetest.JWT) { j.Claims["sub"] = client.ID }, "sub"},
		{"expired", func(j *oidcgatetest.JWT) { j.Claims["exp"] = time.Now().Unix() - 1 }, "exp"},
		{"of another type", func(j *oidcgatetest.JWT) { j.Header["typ"] = "JWT" }, "typ"},
		{"with another scope beside it", func(j *oidcgatetest.JWT) { j.Claims["scope"] = "openid" }, "scope"},
		{"signed by a stranger", func(j *oidcgatetest.JWT) { j.Finish = func(s string) string { return s[:len(s)-8] + "AAAAAAAA" } }, "not signed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			params, _ := rp.authorization()
			object := p.NewJWT(map[string]any{
				"iss": client.ID, "aud": rp.issuer, "exp": time.Now().Add(time.Minute).Unix(),
				"claims": map[string]any{"id_token": map[string]any{"nickname": nil}},
			})
			for name := range params {
				object.Claims[name] = params.Get(name)
			}
			object.Header, object.Key = map[string]any{"alg": "ES256", "kid": "k1", "typ": "oauth-authz-req+jwt"}, key
			tt.change(object)
			front := url.Values{
				"client_id": {client.ID}, "response_type": {"code"}, "scope": params["scope"], "request": {object.Compact()},
			}
			a := rp.do(t, newRequest(http.MethodGet, rp.issuer+"/authorize?"+front.Encode(), nil))
			if tt.want != "" && (a.status != http.StatusBadRequest || !strings.Contains(a.body, tt.want)) {
				t.Errorf("status %d: %s; want a page about %s", a.status, a.body, tt.want)
			}
			if tt.want == "" && rp.response(t, a).Get("code") == "" {
				t.Errorf("status %d: %s; want a code", a.status, a.body)
			}
		})
	}
}
