package blackbox_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/blackbox/internal/rp"
	"github.com/oidcgate/oidcgate/blackbox/internal/visitor"
	"github.com/oidcgate/oidcgate/blackbox/internal/walk"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// newUnidy starts a provider with the paths and the habits of Unidy. It answers in the fragment
// unless the request asks for another way. Access tokens live for two hours, ID Tokens for two
// minutes. Claims are at userinfo only. Its logout takes no ID Token that has expired.
func newUnidy(t *testing.T, takesJSON bool) *product {
	t.Helper()
	p := &product{
		config: oidcgatetest.Config{AccessTokenLifetime: 2 * time.Hour, IDTokenLifetime: 2 * time.Minute, RotateRefreshTokens: true, JSONTokenRequests: takesJSON},
		endpoints: map[string]oidcgatetest.Endpoint{
			"/oauth/authorize": oidcgatetest.Authorization, "/oauth/token": oidcgatetest.Token, "/oauth/userinfo": oidcgatetest.Userinfo,
			"/oauth/discovery/keys": oidcgatetest.JWKS, "/oauth/logout": oidcgatetest.EndSession,
		},
		users: map[string]oidcgatetest.User{"alice": unidyAlice("Alice Adams")},
	}
	p.first = func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		switch {
		case p.endpoints[r.URL.Path] == oidcgatetest.Authorization && !q.Has("response_mode"):
			q.Set("response_mode", "fragment")
			r.URL.RawQuery = q.Encode()
		case p.endpoints[r.URL.Path] == oidcgatetest.EndSession && !expires(q.Get("id_token_hint")).After(time.Now()):
			http.Error(w, "the hint has expired", http.StatusBadRequest)
		}
	}
	p.start(t)
	p.Always(oidcgatetest.Token, oidcgatetest.EditJSON(func(answer map[string]any) {
		answer["created_at"] = time.Now().Unix()
	}))
	return p
}

func unidyAlice(name string) oidcgatetest.User {
	return oidcgatetest.User{Subject: "5c7a4f0e-9f7e-4d3c-9a43-1f2f3a4b5c6d", UserinfoClaims: map[string]any{
		"name": name, "email": "alice@example.com", "birthdate": "1990-01-01",
	}}
}

// expires returns when a JWT expires, or the zero time if that cannot be read.
func expires(token string) time.Time {
	parts := strings.Split(token, ".")
	var claims struct {
		Expires int64 `json:"exp"`
	}
	if len(parts) != 3 {
		return time.Time{}
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(payload, &claims) != nil {
		return time.Time{}
	}
	return time.Unix(claims.Expires, 0)
}

// Unidy takes token requests as JSON with the secret inside, as its guide shows, and as forms. It
// answers by each way through the browser.
func TestUnidy(t *testing.T) {
	for _, row := range []struct {
		name, mode, sent string
		json             bool
	}{
		{"C034 in the query, which the preset asks for; forms and Basic", "", "query", false},
		{"C034 posted; JSON with the secret inside", "form_post", "form_post", true},
		{"C034 in the fragment; JSON with the secret inside", "fragment", "fragment", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := newUnidy(t, row.json)
			client, auth := oidcgatetest.Client{Secret: clientSecret}, "basic"
			if row.json {
				client.AuthMethod, auth = oidcgatetest.ClientSecretPost, "post"
			}
			shop := rp.Start(t, p.options(t, client, "OIDC_PRESET", "unidy", "OIDC_RESPONSE_MODE", row.mode, "REREAD_CLAIMS", "1s",
				"OIDC_CLIENT_AUTH", auth, "OIDC_TOKEN_JSON", map[bool]string{true: "true"}[row.json]))
			p.checkUnidy(t, shop)
			if got := p.requests(oidcgatetest.Authorization)[0].query; got.Get("response_mode") != row.sent || got.Get("code_challenge_method") != "S256" {
				t.Errorf("the authorization request is %v", got)
			}
			p.checkTokenRequests(t, row.json)
		})
	}
	t.Run("C034 a service that asks for no way is answered in the fragment, and signs nobody in", func(t *testing.T) {
		p := newUnidy(t, false)
		shop := rp.Start(t, p.options(t, oidcgatetest.Client{Secret: clientSecret}))
		v := visitor.New()
		end := v.LogIn(t, v.Get(t, shop.URL+"/app"), "alice", "alice")
		if end.URL.Path != "/auth/callback" || end.Status != http.StatusBadRequest || !strings.Contains(end.URL.Fragment, "code=") {
			t.Errorf("logging in ends at %s with %d:\n%s", end.URL, end.Status, end.Body)
		}
		walk.Status(t, v, shop.URL+"/whoami", http.StatusUnauthorized)
		if n := len(p.requests(oidcgatetest.Token)); n != 0 {
			t.Errorf("the service sent %d token requests", n)
		}
	})
	t.Run("a logout after the ID Token has expired", func(t *testing.T) {
		p := newUnidy(t, false)
		shop := rp.Start(t, p.options(t, oidcgatetest.Client{Secret: clientSecret}, "OIDC_PRESET", "unidy"))
		p.NextIDToken(func(token *oidcgatetest.JWT) { token.Claims["exp"] = time.Now().Add(2 * time.Second).Unix() })
		alice := visitor.New()
		logIn(t, alice, shop.URL+"/app", "alice")
		time.Sleep(3 * time.Second)
		p.logOut(t, alice, shop.URL)
	})
}

// checkUnidy logs Alice in, has her claims and tokens renewed without her, and logs her out.
func (p *product) checkUnidy(t *testing.T, shop *rp.Replica) {
	t.Helper()
	alice := visitor.New()
	logIn(t, alice, shop.URL+"/app?color=blue", "alice")
	want := walk.Identity{Issuer: p.Issuer(), Subject: "5c7a4f0e-9f7e-4d3c-9a43-1f2f3a4b5c6d", Name: "Alice Adams", Email: "alice@example.com"}
	wantWhoami(t, alice, shop.URL, want)

	first, asked := alice.Get(t, shop.URL+"/token").Body, p.shown()
	p.SetUser(unidyAlice("Alice Brown"))
	eventually(t, "the claims are not read again", func() bool { return walk.Whoami(t, alice, shop.URL).Name == "Alice Brown" })
	if alice.Get(t, shop.URL+"/token").Body == first || p.shown() != asked {
		t.Errorf("with new claims the token is the first, or the user was asked: %d login pages, before %d", p.shown(), asked)
	}
	p.logOut(t, alice, shop.URL)
}

// checkTokenRequests checks how the service sent what it sent to token endpoint and userinfo.
func (p *product) checkTokenRequests(t *testing.T, json bool) {
	t.Helper()
	kinds := map[string]bool{}
	for _, r := range p.requests(oidcgatetest.Token) {
		kind, inside := "application/x-www-form-urlencoded", strings.Contains(r.body, `"client_secret":"`+clientSecret+`"`)
		if json {
			kind = "application/json"
		}
		if r.header.Get("Content-Type") != kind || inside != json || r.header.Get("Authorization") != "" == json {
			t.Errorf("a token request is %v %q", r.header, r.body)
		}
		for _, grant := range []string{"authorization_code", "refresh_token"} {
			kinds[grant] = kinds[grant] || strings.Contains(r.body, grant)
		}
	}
	if !kinds["authorization_code"] || !kinds["refresh_token"] {
		t.Errorf("the token requests are of the kinds %v", kinds)
	}
	for _, r := range p.requests(oidcgatetest.Userinfo) {
		if !strings.HasPrefix(r.header.Get("Authorization"), "Bearer ") || len(r.query) != 0 || r.body != "" {
			t.Errorf("userinfo is asked with %v %v %q", r.header, r.query, r.body)
		}
	}
}
