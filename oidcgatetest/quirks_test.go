package oidcgatetest_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// claimsOf reads an ID Token without a look at its signature.
func claimsOf(t *testing.T, tokens map[string]any) (claims map[string]any) {
	t.Helper()
	parts := strings.Split(tokens["id_token"].(string), ".")
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(payload, &claims)
	}
	if err != nil {
		t.Fatal(err)
	}
	return claims
}

func TestTenants(t *testing.T) {
	p := oidcgatetest.NewProvider(t, oidcgatetest.Config{Issuer: "https://id.test/{tenantid}/v2.0"})
	p.AddClient(shop())
	p.SetUser(oidcgatetest.User{Subject: "alice", Claims: map[string]any{"tid": "acme"}})
	if got := p.DiscoveryURL(); got != "https://id.test/organizations/v2.0/.well-known/openid-configuration" {
		t.Fatalf("the document is at %q", got)
	}
	rp := newRelyingParty("https://id.test/organizations/v2.0", p.Transport(), shop())
	if got := rp.metadata(t, "issuer"); got != p.Issuer() || !strings.Contains(got, "{tenantid}") {
		t.Errorf("issuer %q", got)
	}
	params, verifier := rp.authorization()
	back := rp.authorize(t, params)
	if back.Has("iss") {
		t.Errorf("the response has iss %q", back.Get("iss"))
	}
	tokens := rp.token(t, url.Values{
		"grant_type": {"authorization_code"}, "code": {back.Get("code")},
		"redirect_uri": {params.Get("redirect_uri")}, "code_verifier": {verifier},
	}).members(t)
	if got := claimsOf(t, tokens)["iss"]; got != "https://id.test/acme/v2.0" {
		t.Errorf("the ID Token is from %v", got)
	}
	keys := rp.get(t, rp.metadata(t, "jwks_uri")).members(t)["keys"].([]any)
	if got := keys[0].(map[string]any)["issuer"]; got != p.Issuer() {
		t.Errorf("the key is for %v", got)
	}
	bye := url.Values{"id_token_hint": {tokens["id_token"].(string)}, "post_logout_redirect_uri": {postLogoutRedirectURL}}
	if a := rp.get(t, rp.metadata(t, "end_session_endpoint")+"?"+bye.Encode()); a.status != http.StatusSeeOther {
		t.Errorf("the logout: %d %s", a.status, a.body)
	}
}

func TestDiscoveryPath(t *testing.T) {
	p, rp := newProvider(t, oidcgatetest.Config{Issuer: "https://id.test/op/", DiscoveryPath: "/elsewhere"})
	if got := p.DiscoveryURL(); got != "https://id.test/elsewhere" {
		t.Errorf("the document is at %q", got)
	}
	if got := rp.get(t, p.DiscoveryURL()).members(t)["issuer"]; got != "https://id.test/op/" {
		t.Errorf("issuer %v", got)
	}
	if a := rp.get(t, "https://id.test/op/.well-known/openid-configuration"); a.status != http.StatusNotFound {
		t.Errorf("at the issuer: %d", a.status)
	}
}

func TestWithoutPKCE(t *testing.T) {
	_, rp := newProvider(t, oidcgatetest.Config{WithoutPKCE: true})
	params, verifier := rp.authorization()
	if back := rp.authorize(t, params); back.Get("error") != "invalid_request" {
		t.Errorf("with a challenge: %v", back)
	}
	params.Del("code_challenge")
	params.Del("code_challenge_method")
	form := func() url.Values {
		return url.Values{
			"grant_type": {"authorization_code"}, "code": {rp.authorize(t, params).Get("code")},
			"redirect_uri": {params.Get("redirect_uri")},
		}
	}
	if a := rp.token(t, form()); a.status != http.StatusOK {
		t.Errorf("without: %d %s", a.status, a.body)
	}
	with := form()
	with.Set("code_verifier", verifier)
	if a := rp.token(t, with); a.status != http.StatusUnauthorized {
		t.Errorf("with a verifier: %d %s", a.status, a.body)
	}
}

func TestWithoutNonce(t *testing.T) {
	_, rp := newProvider(t, oidcgatetest.Config{WithoutNonce: true})
	form, nonce := rp.code(t)
	claims := claimsOf(t, rp.token(t, form).members(t))
	if _, ok := claims["nonce"]; ok || nonce == "" {
		t.Errorf("claims %v", claims)
	}
}
