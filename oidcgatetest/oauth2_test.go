package oidcgatetest_test

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"testing"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

func TestWithoutIDTokens(t *testing.T) {
	p, rp := newProvider(t, oidcgatetest.Config{WithoutIDTokens: true})
	p.SetUser(oidcgatetest.User{Subject: "alice", Claims: map[string]any{"email": "alice@example.com"}, UserinfoClaims: map[string]any{"id": 17}})
	login := func(t *testing.T, change func(params map[string][]string)) answer {
		t.Helper()
		params, verifier := rp.authorization()
		params.Set("scope", "read:user")
		params.Del("nonce")
		change(params)
		back := rp.response(t, rp.get(t, p.URL(oidcgatetest.Authorization)+"?"+params.Encode()))
		if back.Has("error") {
			return answer{body: back.Get("error")}
		}
		return rp.do(t, rp.tokenRequest(p.URL(oidcgatetest.Token), map[string][]string{
			"grant_type": {"authorization_code"}, "code": back["code"], "redirect_uri": params["redirect_uri"], "code_verifier": {verifier},
		}))
	}
	t.Run("tokens and userinfo, and nothing that is signed", func(t *testing.T) {
		tokens := login(t, func(map[string][]string) {}).members(t)
		if tokens["access_token"] == nil || tokens["refresh_token"] == nil || tokens["id_token"] != nil || tokens["scope"] != "read:user" {
			t.Fatalf("the tokens are %v", tokens)
		}
		refreshed := rp.do(t, rp.tokenRequest(p.URL(oidcgatetest.Token), map[string][]string{
			"grant_type": {"refresh_token"}, "refresh_token": {tokens["refresh_token"].(string)},
		})).members(t)
		if refreshed["access_token"] == nil || refreshed["id_token"] != nil {
			t.Errorf("the refreshed tokens are %v", refreshed)
		}
		r := newRequest(http.MethodGet, p.URL(oidcgatetest.Userinfo), nil)
		r.Header.Set("Authorization", "Bearer "+refreshed["access_token"].(string))
		if got := rp.do(t, r).members(t); got["sub"] != "alice" || got["id"] != 17.0 || got["email"] != "alice@example.com" {
			t.Errorf("userinfo is %v", got)
		}
	})
	t.Run("no other response type", func(t *testing.T) {
		a := login(t, func(params map[string][]string) {
			params["response_type"], params["nonce"] = []string{"code id_token"}, []string{"a nonce"}
		})
		if a.body != "unsupported_response_type" {
			t.Errorf("the answer is %v", a)
		}
	})
	for _, e := range []oidcgatetest.Endpoint{oidcgatetest.Discovery, oidcgatetest.JWKS, oidcgatetest.EndSession} {
		t.Run("no "+string(e), func(t *testing.T) {
			if a := rp.get(t, p.URL(e)); a.status != http.StatusNotFound {
				t.Errorf("%d %s", a.status, a.body)
			}
		})
	}
	t.Run("a gate logs in", func(t *testing.T) {
		gate, err := oidcgate.New(oidcgate.Config{
			BaseURL: "http://localhost", HTTP: oidcgate.HTTPOptions{Transport: p.Transport()},
		}, oidcgate.OAuth2(oidcgate.OAuth2Options{
			Issuer: p.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretPost("a secret"), SubjectClaim: "id",
			Authorization: p.URL(oidcgatetest.Authorization), Token: p.URL(oidcgatetest.Token), Userinfo: p.URL(oidcgatetest.Userinfo),
		}))
		if err != nil {
			t.Fatal(err)
		}
		p.AddClient(oidcgatetest.Client{
			ID: "shop", Secret: "a secret", AuthMethod: oidcgatetest.ClientSecretPost, RedirectURLs: []string{"http://localhost/auth/callback"},
		})
		var id *oidcgate.Identity
		shop := gate.Wrap(gate.Require()(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { id, _ = oidcgate.FromContext(r.Context()) })))
		jar, _ := cookiejar.New(nil)
		browser := &http.Client{Jar: jar, Transport: oidcgatetest.NewTransport(map[string]http.Handler{"localhost": shop, "id.test": p})}
		resp, err := browser.Get("http://localhost/account")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if id == nil || id.Subject() != "17" || id.HasIDToken() {
			t.Errorf("status %d; signed in is %v", resp.StatusCode, id)
		}
	})
}

func TestSignInWithoutIDTokens(t *testing.T) {
	plain := oidcgatetest.NewProvider(t, oidcgatetest.Config{Issuer: "https://hub.test", WithoutIDTokens: true})
	signs := oidcgatetest.NewProvider(t)
	gate, err := oidcgate.New(oidcgate.Config{
		BaseURL: "http://localhost",
		HTTP: oidcgate.HTTPOptions{Transport: oidcgatetest.NewTransport(map[string]http.Handler{
			"hub.test": plain, "id.test": signs,
		})},
	}, plain.ProviderFor("http://localhost", "hub"), signs.ProviderFor("http://localhost"))
	if err != nil {
		t.Fatal(err)
	}
	shop := gate.Wrap(gate.Require()(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := oidcgate.FromContext(r.Context())
		email, _ := id.ClaimString("email")
		_, _ = io.WriteString(w, id.Subject()+" "+email+" at "+id.ProviderName())
	})))
	bob := plain.SignIn(t, gate, shop, oidcgatetest.User{Subject: "bob", Claims: map[string]any{"email": "bob@hub.test"}})
	if status, body := get(t, bob, "http://localhost/"); status != 200 || body != "bob bob@hub.test at hub" {
		t.Errorf("%d %q", status, body)
	}
	if err := plain.SendLogout(t.Context(), http.DefaultClient, "bob"); err == nil || !strings.Contains(err.Error(), "WithoutIDTokens tells nobody") {
		t.Errorf("SendLogout: %v", err)
	}
}
