package blackbox_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/oidcgate/oidcgate/blackbox/internal/rp"
	"github.com/oidcgate/oidcgate/blackbox/internal/visitor"
	"github.com/oidcgate/oidcgate/blackbox/internal/walk"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// newUnikname starts a provider with the paths of Unikname Connect, as Apereo CAS announces them.
// Userinfo has the claims in "attributes". No e-mail address is released.
func newUnikname(t *testing.T) *product {
	t.Helper()
	p := &product{
		config: oidcgatetest.Config{AccessTokenLifetime: 2 * time.Second},
		path:   "/oidc",
		endpoints: map[string]oidcgatetest.Endpoint{
			"/oidc/oidcAuthorize": oidcgatetest.Authorization, "/oidc/oidcAccessToken": oidcgatetest.Token, "/oidc/oidcProfile": oidcgatetest.Userinfo,
			"/oidc/jwks": oidcgatetest.JWKS, "/oidc/oidcLogout": oidcgatetest.EndSession,
		},
		users: map[string]oidcgatetest.User{"alice": {Subject: "5f8d-alice", Claims: map[string]any{"groups": []string{"staff"}}, UserinfoClaims: map[string]any{"name": "Alice Adams"}}},
	}
	p.start(t)
	p.Always(oidcgatetest.Userinfo, oidcgatetest.EditJSON(func(answer map[string]any) {
		attributes := map[string]any{}
		for name, value := range answer {
			if name != "sub" {
				attributes[name] = value
				delete(answer, name)
			}
		}
		answer["attributes"], answer["service"] = attributes, "shop"
	}))
	return p
}

var uniknameAlice = walk.Identity{Subject: "5f8d-alice", Name: "Alice Adams", Groups: []string{"staff"}}

// Unikname Connect with discovery: with a secret, with PKCE in place of one, and with tokens that
// are encrypted.
func TestUniknameDiscovery(t *testing.T) {
	for _, row := range []struct {
		name, auth, encrypted string
		client                oidcgatetest.Client
	}{
		{"C014 a secret and signed ID Tokens", "basic", "", oidcgatetest.Client{Secret: clientSecret}},
		{"C019 PKCE without a secret", "none", "", oidcgatetest.Client{}},
		{"C071 a secret and encrypted ID Tokens", "basic", "RSA-OAEP-256", oidcgatetest.Client{Secret: clientSecret}},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := newUnikname(t)
			var more []string
			if row.encrypted != "" {
				file, key := rp.WriteKey(t, row.encrypted)
				row.client.Keys = jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key}}
				row.client.IDToken = oidcgatetest.Algorithms{Encrypted: row.encrypted, Content: "A256GCM"}
				more = []string{"OIDC_CLIENT_KEYS", row.encrypted + ":" + file, "OIDC_ENCRYPTED", "id_token"}
			}
			options := p.options(t, row.client, "OIDC_PRESET", "unikname", "OIDC_SCOPES", "profile", "OIDC_CLIENT_AUTH", row.auth)
			shop := rp.Start(t, options.With(more...))
			alice := visitor.New()
			logIn(t, alice, shop.URL+"/app?color=blue", "alice")
			want := uniknameAlice
			want.Issuer = p.Issuer()
			wantWhoami(t, alice, shop.URL, want)
			awaitNewToken(t, alice, shop.URL)
			wantWhoami(t, alice, shop.URL, want)
			if p.shown() != 1 {
				t.Errorf("%d login pages were shown, want one", p.shown())
			}
			p.logOut(t, alice, shop.URL)
			p.checkUniknameRequests(t, row.auth)
		})
	}
	t.Run("C071 a client that is registered for encrypted ID Tokens gets one that is only signed", func(t *testing.T) {
		p := newUnikname(t)
		file, _ := rp.WriteKey(t, "RSA-OAEP-256")
		shop := rp.Start(t, p.options(t, oidcgatetest.Client{Secret: clientSecret}, "OIDC_PRESET", "unikname",
			"OIDC_CLIENT_KEYS", "RSA-OAEP-256:"+file, "OIDC_ENCRYPTED", "id_token"))
		p.wantRefused(t, shop)
	})
	for _, spoil := range []struct {
		name   string
		change func(*oidcgatetest.JWT)
	}{
		{"C014 an ID Token without a signature", (*oidcgatetest.JWT).Unsigned},
		{"C008 an ID Token of another key", (*oidcgatetest.JWT).SignForeign},
	} {
		t.Run(spoil.name, func(t *testing.T) {
			p := newUnikname(t)
			shop := rp.Start(t, p.options(t, oidcgatetest.Client{Secret: clientSecret}, "OIDC_PRESET", "unikname"))
			p.NextIDToken(spoil.change)
			p.wantRefused(t, shop)
		})
	}
	t.Run("C038 the answer is an ID Token", func(t *testing.T) { implicitUnikname(t, "") })
	t.Run("C038 the answer is an ID Token, which is posted", func(t *testing.T) { implicitUnikname(t, "form_post") })
}

// wantRefused logs in in vain.
func (p *product) wantRefused(t *testing.T, shop *rp.Replica) {
	t.Helper()
	v := visitor.New()
	end := v.LogIn(t, v.Get(t, shop.URL+"/app"), "alice", "alice")
	if end.URL.Path != "/auth/callback" || end.Status != http.StatusBadGateway {
		t.Errorf("logging in ends at %s with %d:\n%s", end.URL, end.Status, end.Body)
	}
	walk.Status(t, v, shop.URL+"/whoami", http.StatusUnauthorized)
}

// checkUniknameRequests checks that every code and refresh token was sent as the client is registered.
func (p *product) checkUniknameRequests(t *testing.T, auth string) {
	t.Helper()
	for _, q := range p.requests(oidcgatetest.Authorization) {
		if q.query.Get("code_challenge_method") != "S256" || q.query.Get("nonce") == "" {
			t.Errorf("an authorization request is %v", q.query)
		}
	}
	var grants []string
	for _, r := range p.requests(oidcgatetest.Token) {
		form := parseForm(t, r.body)
		grants = append(grants, form.Get("grant_type"))
		if (r.header.Get("Authorization") != "") != (auth == "basic") || (form.Get("client_id") != "") != (auth == "none") || form.Has("client_secret") {
			t.Errorf("a token request is %v %q", r.header, r.body)
		}
		if form.Get("grant_type") == "authorization_code" && len(form.Get("code_verifier")) < 43 {
			t.Errorf("a code is sent without the verifier: %q", r.body)
		}
	}
	if !slices.Contains(grants, "authorization_code") || !slices.Contains(grants, "refresh_token") {
		t.Errorf("the token requests are for %q", grants)
	}
	for _, r := range p.requests(oidcgatetest.EndSession) {
		if strings.Count(r.query.Get("id_token_hint"), ".") < 2 {
			t.Errorf("a logout has the hint %q", r.query.Get("id_token_hint"))
		}
	}
}

// implicitUnikname logs in with an ID Token alone. There is no access token, and so nothing to
// refresh and no userinfo.
func implicitUnikname(t *testing.T, mode string) {
	p := newUnikname(t)
	shop := rp.Start(t, p.options(t, oidcgatetest.Client{Secret: clientSecret}, "OIDC_RESPONSE_TYPE", "id_token", "OIDC_RESPONSE_MODE", mode))
	alice := visitor.New()
	logIn(t, alice, shop.URL+"/app?color=blue", "alice")
	want := uniknameAlice
	want.Issuer, want.Name = p.Issuer(), want.Subject // an ID Token has no name here
	wantWhoami(t, alice, shop.URL, want)
	walk.Status(t, alice, shop.URL+"/token", http.StatusNotFound)
	wantWhoami(t, alice, shop.URL, want)
	p.logOut(t, alice, shop.URL)
	if asked := len(p.requests(oidcgatetest.Token)) + len(p.requests(oidcgatetest.Userinfo)); asked != 0 {
		t.Errorf("the service sent %d requests to token endpoint and userinfo", asked)
	}
}
