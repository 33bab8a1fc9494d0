package oidcgatetest_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// checkLogin logs in and checks the token response, the ID Token and the userinfo.
func checkLogin(t *testing.T, rp *relyingParty) {
	t.Helper()
	tokens, claims := rp.login(t)
	if claims["sub"] != "alice" || claims["email_verified"] != true || claims["sid"] == "" {
		t.Errorf("claims %v, want those of alice", claims)
	}
	if tokens["token_type"] != "Bearer" || tokens["expires_in"] != 300.0 || tokens["refresh_token"] == "" {
		t.Errorf("token response %v", tokens)
	}
	a := rp.userinfo(t, tokens)
	if a.status != http.StatusOK || a.members(t)["sub"] != "alice" || a.members(t)["email"] != "alice@example.com" {
		t.Errorf("userinfo: status %d, body %s", a.status, a.body)
	}
}

func TestLogin(t *testing.T) {
	for _, method := range []oidcgatetest.AuthMethod{
		oidcgatetest.ClientSecretBasic, oidcgatetest.ClientSecretPost, oidcgatetest.NoClientSecret,
	} {
		for _, algorithm := range []string{"RS256", "ES256"} {
			t.Run(fmt.Sprintf("with %s and %s", method, algorithm), func(t *testing.T) {
				p, rp := newProvider(t, oidcgatetest.Config{Algorithm: algorithm})
				rp.client.AuthMethod = method
				p.AddClient(rp.client)
				checkLogin(t, rp)
			})
		}
	}
}

func TestReach(t *testing.T) {
	tests := []struct {
		name      string
		issuer    string
		transport func(p *oidcgatetest.Provider) http.RoundTripper
		want      string // the beginning of the issuer
		wantEnd   string
	}{
		{"in memory", "", func(p *oidcgatetest.Provider) http.RoundTripper {
			return p.Transport()
		}, "https://id.test", "id.test"},
		{"in memory under a path that ends in a slash", "https://id.test:8443/realms/shop/", func(p *oidcgatetest.Provider) http.RoundTripper {
			return p.Transport()
		}, "https://id.test:8443/", "/realms/shop/"},
		{"in memory over http", "http://id.test", func(p *oidcgatetest.Provider) http.RoundTripper {
			return p.Transport()
		}, "http://id.test", "id.test"},
		{"among other hosts", "https://id.test/op", func(p *oidcgatetest.Provider) http.RoundTripper {
			return oidcgatetest.NewTransport(map[string]http.Handler{"id.test": p, "shop.test": http.NotFoundHandler()})
		}, "https://id.test/", "/op"},
		{"through a server", "https://id.test/op", func(p *oidcgatetest.Provider) http.RoundTripper {
			return p.Server().Client().Transport
		}, "http://127.0.0.1:", "/op"},
		{"through a server with TLS", "https://id.test/", func(p *oidcgatetest.Provider) http.RoundTripper {
			return p.TLSServer().Client().Transport
		}, "https://127.0.0.1:", "/"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := oidcgatetest.NewProvider(t, oidcgatetest.Config{Issuer: test.issuer})
			p.AddClient(shop())
			transport := test.transport(p)
			if issuer := p.Issuer(); !strings.HasPrefix(issuer, test.want) || !strings.HasSuffix(issuer, test.wantEnd) {
				t.Errorf("issuer %q, want %s...%s", issuer, test.want, test.wantEnd)
			}
			checkLogin(t, newRelyingParty(p.Issuer(), transport, shop()))
		})
	}
	t.Run("in a bubble, on its clock", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, rp := newProvider(t)
			_, claims := rp.login(t)
			if want := float64(time.Now().Add(5 * time.Minute).Unix()); claims["exp"] != want {
				t.Errorf("exp %v, want %v", claims["exp"], want)
			}
		})
	})
}

func TestDiscovery(t *testing.T) {
	p, rp := newProvider(t)
	p.AddKey("ES256")
	got := rp.get(t, "https://id.test/.well-known/openid-configuration").members(t)
	for name, want := range map[string]string{
		"issuer":                                         "https://id.test",
		"authorization_endpoint":                         "https://id.test/authorize",
		"token_endpoint":                                 "https://id.test/token",
		"userinfo_endpoint":                              "https://id.test/userinfo",
		"jwks_uri":                                       "https://id.test/jwks",
		"end_session_endpoint":                           "https://id.test/logout",
		"response_types_supported":                       "[code code id_token id_token]",
		"code_challenge_methods_supported":               "[S256]",
		"id_token_signing_alg_values_supported":          "[RS256 ES256 HS256 HS384 HS512]",
		"authorization_response_iss_parameter_supported": "true",
	} {
		if fmt.Sprint(got[name]) != want {
			t.Errorf("%s: got %v, want %s", name, got[name], want)
		}
	}
}

func TestConfigRefused(t *testing.T) {
	for _, config := range []oidcgatetest.Config{
		{Issuer: "id.test"},
		{Issuer: "ftp://id.test"},
		{Issuer: "https:///path"},
		{Issuer: "https://id.test/%zz"},
		{Issuer: "https://id.test/?tenant=1"},
		{Issuer: "https://id.test/#top"},
		{Algorithm: "HS256"},
	} {
		if _, err := oidcgatetest.New(config); err == nil {
			t.Errorf("New(%+v) gave no error", config)
		}
	}
}

// tb is a TB that records a failure and panics, instead of ending the test.
type tb struct {
	*testing.T
	failed []string
}

func (t *tb) Fatalf(format string, args ...any) {
	t.failed = append(t.failed, fmt.Sprintf(format, args...))
	panic(t)
}

func TestNewProviderEndsTheTest(t *testing.T) {
	for name, config := range map[string][]oidcgatetest.Config{
		"when the Config is refused": {{Issuer: "id.test"}},
		"when there are two Configs": {{}, {}},
	} {
		t.Run(name, func(t *testing.T) {
			fake := &tb{T: t}
			defer func() {
				if recover() != fake || len(fake.failed) != 1 {
					t.Errorf("failures %q, want one", fake.failed)
				}
			}()
			oidcgatetest.NewProvider(fake, config...)
		})
	}
}

// TestImports fails if the package imports package testing, which would add its flags to every
// program that embeds a provider.
func TestImports(t *testing.T) {
	deps, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	if list := strings.Fields(string(deps)); slices.Contains(list, "testing") || !slices.Contains(list, "net/http") {
		t.Errorf("the package links testing, or the list is wrong:\n%s", deps)
	}
}

func TestAuthorizationShownNotRedirected(t *testing.T) {
	tests := []struct {
		name   string
		change func(url.Values)
	}{
		{"unknown client", func(v url.Values) { v.Set("client_id", "stranger") }},
		{"two clients", func(v url.Values) { v.Add("client_id", "another") }},
		{"no redirect_uri", func(v url.Values) { v.Del("redirect_uri") }},
		{"redirect_uri below a registered one", func(v url.Values) { v.Set("redirect_uri", redirectURL+"/") }},
		{"redirect_uri in other case", func(v url.Values) { v.Set("redirect_uri", strings.Replace(redirectURL, "shop", "SHOP", 1)) }},
		{"two redirect_uris", func(v url.Values) { v.Add("redirect_uri", "https://evil.example/") }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, rp := newProvider(t)
			params, _ := rp.authorization()
			test.change(params)
			a := rp.get(t, "https://id.test/authorize?"+params.Encode())
			if a.status != http.StatusBadRequest || a.header.Get("Location") != "" {
				t.Errorf("status %d, Location %q; want 400 and no redirect", a.status, a.header.Get("Location"))
			}
		})
	}
}

func TestAuthorizationRefused(t *testing.T) {
	set := func(name, value string) func(url.Values) {
		return func(v url.Values) { v.Set(name, value) }
	}
	tests := []struct {
		name   string
		change func(url.Values)
		want   string
	}{
		{"an access token through the browser", set("response_type", "id_token token"), "unsupported_response_type"},
		{"a mode that is none", set("response_mode", "web_message"), "invalid_request"},
		{"an ID Token in the query", func(v url.Values) { v.Set("response_type", "code id_token"); v.Set("response_mode", "query") }, "invalid_request"},
		{"scope without openid", set("scope", "profile openidx"), "invalid_scope"},
		{"no PKCE", func(v url.Values) { v.Del("code_challenge"); v.Del("code_challenge_method") }, "invalid_request"},
		{"plain PKCE", set("code_challenge_method", "plain"), "invalid_request"},
		{"challenge that is no SHA-256", set("code_challenge", "short"), "invalid_request"},
		{"a parameter twice", func(v url.Values) { v.Add("nonce", "another") }, "invalid_request"},
		{"request object", set("request", "e30.e30."), "request_not_supported"},
		{"request object elsewhere", set("request_uri", "https://shop.test/r"), "request_uri_not_supported"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, rp := newProvider(t)
			params, _ := rp.authorization()
			test.change(params)
			back := rp.authorize(t, params)
			if back.Get("error") != test.want || back.Has("code") {
				t.Errorf("response %v, want error %s", back, test.want)
			}
			if back.Get("state") != params.Get("state") || back.Get("iss") != rp.issuer || back.Get("from") != "id" {
				t.Errorf("response %v, want state, iss and the query of redirect_uri", back)
			}
		})
	}
}

func TestAuthorizationByPost(t *testing.T) {
	_, rp := newProvider(t)
	params, _ := rp.authorization()
	a := rp.do(t, newRequest(http.MethodPost, "https://id.test/authorize", params))
	if back := rp.response(t, a); back.Get("code") == "" {
		t.Errorf("response %v, want a code", back)
	}
	if a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("Cache-Control %q, want no-store", a.header.Get("Cache-Control"))
	}
}

func TestNobodyThere(t *testing.T) {
	for _, test := range []struct{ name, prompt, want string }{
		{"a login is refused", "", "access_denied"},
		{"a silent login says that one is needed", "none", "login_required"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, rp := newProvider(t)
			p.SetNobody()
			params, _ := rp.authorization()
			params.Set("prompt", test.prompt)
			if back := rp.authorize(t, params); back.Get("error") != test.want {
				t.Errorf("response %v, want error %s", back, test.want)
			}
		})
	}
}

// loginPage logs in the user that the form field user names.
func loginPage(w http.ResponseWriter, r *http.Request, login *oidcgatetest.Login) {
	switch name := r.PostFormValue("user"); name {
	case "":
		fmt.Fprintf(w, "Who are you, %s?", login.Params.Get("login_hint"))
	case "mallory":
		login.Refuse("access_denied", "not you")
	default:
		login.Proceed(oidcgatetest.User{Subject: name})
	}
}

func TestLoginPage(t *testing.T) {
	_, rp := newProvider(t, oidcgatetest.Config{LoginPage: loginPage})
	params, _ := rp.authorization()
	params.Set("login_hint", "bob")
	target := "https://id.test/authorize?" + params.Encode()

	if a := rp.get(t, target); a.status != http.StatusOK || a.body != "Who are you, bob?" {
		t.Errorf("login page: status %d, body %q", a.status, a.body)
	}
	back := rp.response(t, rp.do(t, newRequest(http.MethodPost, target, url.Values{"user": {"mallory"}})))
	if back.Get("error") != "access_denied" || back.Get("error_description") != "not you" {
		t.Errorf("refused: response %v", back)
	}
	back = rp.response(t, rp.do(t, newRequest(http.MethodPost, target, url.Values{"user": {"bob"}})))
	if back.Get("code") == "" {
		t.Errorf("let in: response %v, want a code", back)
	}
	params.Set("prompt", "none")
	if back := rp.authorize(t, params); back.Get("error") != "login_required" {
		t.Errorf("prompt=none: response %v, want login_required", back)
	}
}

func TestTokenRefused(t *testing.T) {
	type request = *http.Request
	tests := []struct {
		name   string
		form   func(url.Values)
		after  func(request)
		status int
		want   string
	}{
		{"wrong verifier", func(v url.Values) { v.Set("code_verifier", strings.Repeat("x", 43)) }, nil, 400, "invalid_grant"},
		{"no verifier", func(v url.Values) { v.Del("code_verifier") }, nil, 400, "invalid_grant"},
		{"unknown code", func(v url.Values) { v.Set("code", "x") }, nil, 400, "invalid_grant"},
		{"other redirect_uri", func(v url.Values) { v.Set("redirect_uri", "https://shop.test/") }, nil, 400, "invalid_grant"},
		{"no redirect_uri", func(v url.Values) { v.Del("redirect_uri") }, nil, 400, "invalid_grant"},
		{"unknown grant type", func(v url.Values) { v.Set("grant_type", "password") }, nil, 400, "unsupported_grant_type"},
		{"unknown refresh token", func(v url.Values) { v.Set("grant_type", "refresh_token") }, nil, 400, "invalid_grant"},
		{"a parameter twice", func(v url.Values) { v.Add("code", "x") }, nil, 400, "invalid_request"},
		{"parameters in the query", nil, func(r request) { r.URL.RawQuery = "code=x" }, 400, "invalid_request"},
		{"a JSON body", nil, func(r request) { r.Header.Set("Content-Type", "application/json") }, 400, "invalid_request"},
		{"wrong secret", nil, func(r request) { r.SetBasicAuth(url.QueryEscape(shop().ID), "guess") }, 401, "invalid_client"},
		{"C050 id and secret not form-encoded", nil, func(r request) { r.SetBasicAuth(shop().ID, shop().Secret) }, 401, "invalid_client"},
		{"a bearer token for a client", nil, func(r request) { r.Header.Set("Authorization", "Bearer x") }, 401, "invalid_client"},
		{"C049 two methods at once", func(v url.Values) { v.Set("client_secret", shop().Secret) }, nil, 400, "invalid_request"},
		{"another client in the body", func(v url.Values) { v.Set("client_id", "another") }, nil, 400, "invalid_request"},
		{"no authentication", func(v url.Values) { v.Set("client_id", shop().ID) }, func(r request) { r.Header.Del("Authorization") }, 401, "invalid_client"},
		{"secret in the body of a client registered for the header",
			func(v url.Values) { v.Set("client_id", shop().ID); v.Set("client_secret", shop().Secret) },
			func(r request) { r.Header.Del("Authorization") }, 401, "invalid_client"},
		{"unknown client", func(v url.Values) { v.Set("client_id", "stranger") }, func(r request) { r.Header.Del("Authorization") }, 401, "invalid_client"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, rp := newProvider(t)
			form, _ := rp.code(t)
			if test.form != nil {
				test.form(form)
			}
			r := rp.tokenRequest("https://id.test/token", form)
			if test.after != nil {
				test.after(r)
			}
			a := rp.do(t, r)
			if a.status != test.status || a.members(t)["error"] != test.want || a.header.Get("Cache-Control") != "no-store" {
				t.Errorf("status %d, body %s, Cache-Control %q; want %d, %s and no-store",
					a.status, a.body, a.header.Get("Cache-Control"), test.status, test.want)
			}
		})
	}
}

func TestCodeIsBoundToItsClient(t *testing.T) {
	p, rp := newProvider(t)
	form, _ := rp.code(t)
	other := oidcgatetest.Client{ID: "other", RedirectURLs: []string{redirectURL}}
	p.AddClient(other)
	form.Set("client_id", "other")
	a := rp.do(t, newRequest(http.MethodPost, "https://id.test/token", form))
	if a.status != http.StatusBadRequest || a.members(t)["error"] != "invalid_grant" {
		t.Errorf("status %d, body %s; want invalid_grant", a.status, a.body)
	}
	form.Del("client_id")
	if a := rp.token(t, form); a.status != http.StatusOK {
		t.Errorf("afterwards its own client got status %d, body %s", a.status, a.body)
	}
}

func TestCodeUsedTwice(t *testing.T) {
	_, rp := newProvider(t)
	form, _ := rp.code(t)
	tokens := rp.token(t, form).members(t)
	if a := rp.userinfo(t, tokens); a.status != http.StatusOK {
		t.Fatalf("userinfo: status %d, body %s", a.status, a.body)
	}
	if a := rp.token(t, form); a.status != http.StatusBadRequest || a.members(t)["error"] != "invalid_grant" {
		t.Errorf("second use: status %d, body %s; want invalid_grant", a.status, a.body)
	}
	if a := rp.userinfo(t, tokens); a.status != http.StatusUnauthorized {
		t.Errorf("userinfo after the second use: status %d, want 401", a.status)
	}
}

func TestLifetimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, rp := newProvider(t, oidcgatetest.Config{CodeLifetime: 10 * time.Second, AccessTokenLifetime: time.Hour})
		late, _ := rp.code(t)
		time.Sleep(11 * time.Second)
		if a := rp.token(t, late); a.members(t)["error"] != "invalid_grant" {
			t.Errorf("late code: body %s, want invalid_grant", a.body)
		}
		tokens, _ := rp.login(t)
		if tokens["expires_in"] != 3600.0 {
			t.Errorf("expires_in %v, want 3600", tokens["expires_in"])
		}
		time.Sleep(time.Hour + time.Second)
		if a := rp.userinfo(t, tokens); a.status != http.StatusUnauthorized || !strings.Contains(a.header.Get("WWW-Authenticate"), "invalid_token") {
			t.Errorf("late access token: status %d, WWW-Authenticate %q", a.status, a.header.Get("WWW-Authenticate"))
		}
	})
}

func TestRefresh(t *testing.T) {
	for _, rotate := range []bool{false, true} {
		t.Run(fmt.Sprintf("with rotation %v", rotate), func(t *testing.T) {
			p, rp := newProvider(t, oidcgatetest.Config{RotateRefreshTokens: rotate})
			tokens, before := rp.login(t)
			p.SetUser(oidcgatetest.User{Subject: "alice", Claims: map[string]any{"groups": []string{"admin"}}})
			form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {tokens["refresh_token"].(string)}}
			next := rp.token(t, form).members(t)

			claims, err := rp.verify(t, next["id_token"].(string))
			if err != nil {
				t.Fatal(err)
			}
			if claims["sub"] != "alice" || claims["sid"] != before["sid"] || claims["nonce"] != nil {
				t.Errorf("claims %v, want sub and sid of %v and no nonce", claims, before)
			}
			if fmt.Sprint(claims["groups"]) != "[admin]" {
				t.Errorf("groups %v, want the new ones", claims["groups"])
			}
			if next["access_token"] == tokens["access_token"] || (next["refresh_token"] != nil) != rotate {
				t.Errorf("refreshed: %v", next)
			}
			if a := rp.token(t, form); (a.status == http.StatusOK) == rotate {
				t.Errorf("the first refresh token again: status %d", a.status)
			}
		})
	}
	t.Run("a wider scope is refused", func(t *testing.T) {
		_, rp := newProvider(t)
		tokens, _ := rp.login(t)
		a := rp.token(t, url.Values{
			"grant_type": {"refresh_token"}, "refresh_token": {tokens["refresh_token"].(string)}, "scope": {"openid phone"},
		})
		if a.status != http.StatusBadRequest || a.members(t)["error"] != "invalid_scope" {
			t.Errorf("status %d, body %s; want invalid_scope", a.status, a.body)
		}
	})
}

func TestClaims(t *testing.T) {
	p, rp := newProvider(t)
	rp.scope = "openid email"
	claims := map[string]any{
		"sub": "forged", "name": "Bob", "email": "bob@example.com", "groups": []string{"staff"},
	}
	p.SetUser(oidcgatetest.User{Subject: "bob", Claims: claims, UserinfoClaims: map[string]any{"team": "blue"}})
	claims["email"] = "changed too late"

	tokens, inToken := rp.login(t)
	inUserinfo := rp.userinfo(t, tokens).members(t)
	for where, got := range map[string]map[string]any{"ID Token": inToken, "userinfo": inUserinfo} {
		if got["sub"] != "bob" || got["email"] != "bob@example.com" || got["name"] != nil || fmt.Sprint(got["groups"]) != "[staff]" {
			t.Errorf("%s: %v", where, got)
		}
	}
	if inToken["team"] != nil || inUserinfo["team"] != "blue" {
		t.Errorf("team: %v in the ID Token, %v in userinfo; want it in userinfo alone", inToken["team"], inUserinfo["team"])
	}
}

func TestUserinfoRefused(t *testing.T) {
	_, rp := newProvider(t)
	tokens, _ := rp.login(t)
	for name, r := range map[string]*http.Request{
		"C074 a token in the query": newRequest(http.MethodGet, "https://id.test/userinfo?access_token="+tokens["access_token"].(string), nil),
		"an unknown token":          newRequest(http.MethodGet, "https://id.test/userinfo", nil),
	} {
		t.Run(name, func(t *testing.T) {
			if r.URL.RawQuery == "" {
				r.Header.Set("Authorization", "Bearer unknown")
			}
			a := rp.do(t, r)
			if a.status != http.StatusUnauthorized || !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer") {
				t.Errorf("status %d, WWW-Authenticate %q; want 401 and Bearer", a.status, a.header.Get("WWW-Authenticate"))
			}
		})
	}
}

func TestEndSession(t *testing.T) {
	p, rp := newProvider(t)
	tokens, _ := rp.login(t)
	hint := tokens["id_token"].(string)
	foreign := p.NewJWT(map[string]any{"iss": p.Issuer(), "aud": shop().ID})
	foreign.SignForeign()

	tests := []struct {
		name         string
		form         url.Values
		status       int
		wantLocation string
	}{
		{"unregistered address", url.Values{"id_token_hint": {hint}, "post_logout_redirect_uri": {"https://evil.example/"}}, 400, ""},
		{"address without client", url.Values{"post_logout_redirect_uri": {postLogoutRedirectURL}}, 400, ""},
		{"hint of another provider", url.Values{"id_token_hint": {foreign.Compact()}}, 400, ""},
		{"hint that is no token", url.Values{"id_token_hint": {"x"}}, 400, ""},
		{"hint of another client", url.Values{"id_token_hint": {hint}, "client_id": {"other"}}, 400, ""},
		{"client alone", url.Values{"client_id": {shop().ID}, "post_logout_redirect_uri": {postLogoutRedirectURL}}, 303, postLogoutRedirectURL},
		{"nothing", url.Values{}, 200, ""},
		{"hint, address and state", url.Values{"id_token_hint": {hint}, "post_logout_redirect_uri": {postLogoutRedirectURL}, "state": {"s"}}, 303, postLogoutRedirectURL + "?state=s"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, a := range []answer{
				rp.get(t, "https://id.test/logout?"+test.form.Encode()),
				rp.do(t, newRequest(http.MethodPost, "https://id.test/logout", test.form)),
			} {
				if a.status != test.status || a.header.Get("Location") != test.wantLocation {
					t.Errorf("status %d, Location %q, body %q; want %d, %q", a.status, a.header.Get("Location"), a.body, test.status, test.wantLocation)
				}
			}
		})
	}
	t.Run("the session's tokens are dead afterwards", func(t *testing.T) {
		if a := rp.userinfo(t, tokens); a.status != http.StatusUnauthorized {
			t.Errorf("userinfo: status %d, want 401", a.status)
		}
		form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {tokens["refresh_token"].(string)}}
		if a := rp.token(t, form); a.members(t)["error"] != "invalid_grant" {
			t.Errorf("refresh: body %s, want invalid_grant", a.body)
		}
	})
}

func TestKeys(t *testing.T) {
	p, rp := newProvider(t)
	tokens, _ := rp.login(t)
	old := tokens["id_token"].(string)
	first := rp.keys(t).Keys[0].KeyID

	kid := p.RotateKeys()
	if keys := rp.keys(t); len(keys.Keys) != 2 || kid == first {
		t.Fatalf("after a rotation: %d keys, newest %q, first %q", len(keys.Keys), kid, first)
	}
	rp.login(t)
	if _, err := rp.verify(t, old); err != nil {
		t.Errorf("a token of the first key: %v", err)
	}
	p.RemoveKey(first)
	if _, err := rp.verify(t, old); err == nil {
		t.Error("a token of a removed key was verified")
	}
	if kid := p.AddKey("ES256"); kid != rp.keys(t).Keys[1].KeyID {
		t.Errorf("the new key %q is not published", kid)
	}
	tokens, _ = rp.login(t)
	if header := headerOf(t, tokens["id_token"].(string)); !strings.Contains(header, `"alg":"ES256"`) {
		t.Errorf("header %s, want ES256", header)
	}
}

func TestAddKeyPanicsOnAnUnknownAlgorithm(t *testing.T) {
	p := oidcgatetest.NewProvider(t)
	defer func() {
		if recover() == nil || len(p.PublicKeys().Keys) != 1 {
			t.Error("no panic, or a key was added")
		}
	}()
	p.AddKey("none")
}

func TestKeysOfTwoProviders(t *testing.T) {
	a, b := oidcgatetest.NewProvider(t), oidcgatetest.NewProvider(t)
	if a.PublicKeys().Keys[0].KeyID == b.PublicKeys().Keys[0].KeyID {
		t.Error("two providers have one kid")
	}
	token := a.NewJWT(nil)
	token.SignForeign()
	if slices.ContainsFunc(b.PublicKeys().Keys, func(k jwk) bool { return verifiesWith(k, token.Compact()) }) {
		t.Error("SignForeign signed with a published key")
	}
}

func headerOf(t *testing.T, compact string) string {
	t.Helper()
	header, err := base64.RawURLEncoding.DecodeString(compact[:strings.IndexByte(compact, '.')])
	if err != nil {
		t.Fatal(err)
	}
	return string(header)
}

func TestRecords(t *testing.T) {
	p, rp := newProvider(t)
	if p.Count(oidcgatetest.Token) != 0 || p.LastRequest(oidcgatetest.Token) != nil {
		t.Error("something is recorded before the first request")
	}
	form, _ := rp.code(t)
	tokens := rp.token(t, form).members(t)
	rp.userinfo(t, tokens)
	rp.get(t, "https://id.test/jwks")
	rp.get(t, "https://id.test/no/such/place")
	rp.get(t, "https://id.test/logout")
	for e, want := range map[oidcgatetest.Endpoint]int{
		oidcgatetest.Discovery: 3, oidcgatetest.JWKS: 1, oidcgatetest.Authorization: 1, oidcgatetest.Token: 1,
		oidcgatetest.Userinfo: 1, oidcgatetest.EndSession: 1, oidcgatetest.Other: 1,
	} {
		if got := p.Count(e); got != want {
			t.Errorf("%s: %d requests, want %d", e, got, want)
		}
	}
	last := p.LastRequest(oidcgatetest.Token)
	if last.Method != http.MethodPost || last.URL.Path != "/token" || last.Host != "id.test" ||
		last.Form.Get("code") != form.Get("code") || !strings.HasPrefix(last.Header.Get("Authorization"), "Basic ") {
		t.Errorf("last token request %+v", last)
	}
}

func TestMethods(t *testing.T) {
	_, rp := newProvider(t)
	for _, test := range []struct {
		method, target string
		want           int
	}{
		{http.MethodPost, "https://id.test/jwks", 405},
		{http.MethodHead, "https://id.test/jwks", 200},
		{http.MethodGet, "https://id.test/token", 405},
		{http.MethodPut, "https://id.test/authorize", 405},
		{http.MethodGet, "https://id.test/token/", 404},
	} {
		if a := rp.do(t, newRequest(test.method, test.target, nil)); a.status != test.want {
			t.Errorf("%s %s: status %d, want %d", test.method, test.target, a.status, test.want)
		}
	}
}
