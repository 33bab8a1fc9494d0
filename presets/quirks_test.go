package presets_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
	"github.com/oidcgate/oidcgate/presets"
)

var (
	withBasic = oidcgatetest.Client{Secret: secret}
	withPost  = oidcgatetest.Client{Secret: secret, AuthMethod: oidcgatetest.ClientSecretPost}
)

// logInBy logs in by a preset at a fake that quirk changed.
func logInBy(t *testing.T, p oidcgate.Provider, c oidcgatetest.Config, client oidcgatetest.Client, quirk func(*oidcgatetest.Provider)) (v *visit, op *oidcgatetest.Provider, status int, asked url.Values) {
	t.Helper()
	op, hosts := fake(t, p, c, client)
	if quirk != nil {
		quirk(op)
	}
	v = open(t, p, hosts)
	status, asked = v.logIn()
	return v, op, status, asked
}

// thin leaves everything out of ID Tokens that says more than who the user is.
func thin(j *oidcgatetest.JWT) {
	for name := range j.Claims {
		if !slices.Contains([]string{"iss", "sub", "aud", "exp", "iat", "nonce", "at_hash", "auth_time"}, name) {
			delete(j.Claims, name)
		}
	}
}

// TestThinIDTokens logs in where userinfo alone has profile, e-mail address and groups.
func TestThinIDTokens(t *testing.T) {
	basic := oidcgate.ClientSecretBasic(secret)
	for name, p := range map[string]oidcgate.Provider{
		"Okta":       presets.Okta("https://shop.okta.com/oauth2/default", "shop", basic),
		"Zitadel":    presets.Zitadel("https://shop.zitadel.cloud", "shop", basic),
		"GitLab":     presets.GitLab("https://gitlab.example", "shop", basic),
		"Unidy":      presets.Unidy("https://shop.unidy.de", "shop", basic),
		"Salesforce": presets.Salesforce("https://login.salesforce.com", "shop", basic),
		"Connect":    presets.FewlinesConnect("https://connect.shop.example", "shop", basic),
	} {
		t.Run(name, func(t *testing.T) {
			v, _, status, _ := logInBy(t, p, oidcgatetest.Config{}, withBasic, func(op *oidcgatetest.Provider) {
				op.EveryIDToken(thin)
				op.Always(oidcgatetest.Userinfo, oidcgatetest.EditJSON(func(m map[string]any) { m["groups"] = []string{"north"} }))
			})
			if status != 200 || v.id == nil {
				t.Fatalf("status %d\n%s", status, v.body)
			}
			groups, _ := v.id.ClaimStrings("groups")
			if address, verified := v.id.Email(); address == "" || !verified || !slices.Equal(groups, []string{"north"}) {
				t.Errorf("Email %q, %v, groups %q", address, verified, groups)
			}
		})
	}
}

// TestPlainAccessTokensOfPresets shows an API an access token of the kind that the provider issues.
func TestPlainAccessTokensOfPresets(t *testing.T) {
	basic := oidcgate.ClientSecretBasic(secret)
	for name, row := range map[string]struct {
		p      oidcgate.Provider
		typ    string
		claims map[string]any
		scope  string
	}{
		"Keycloak": {presets.Keycloak("https://id.example", "shop", "shop", basic), "JWT",
			map[string]any{"typ": "Bearer", "azp": "app", "scope": "email orders"}, "orders"},
		"Okta": {presets.Okta("https://shop.okta.com/oauth2/default", "shop", basic), "",
			map[string]any{"cid": "app", "scp": []string{"email", "orders"}}, "orders"},
		"Auth0": {presets.Auth0("shop.eu.auth0.com", "shop", basic, ""), "JWT",
			map[string]any{"azp": "app", "scope": "orders", "jti": nil}, "orders"},
		"Entra": {presets.Entra("11111111-2222-3333-4444-555555555555", "shop", basic), "JWT",
			map[string]any{"azp": "app", "azpacr": "1", "scp": "orders", "jti": nil, "ver": "2.0"}, "orders"},
	} {
		t.Run(name, func(t *testing.T) {
			op, hosts := fake(t, row.p, oidcgatetest.Config{}, withBasic)
			gate, err := oidcgate.New(oidcgate.Config{
				BaseURL: shop, API: oidcgate.APIOptions{Audience: []string{"https://api.test"}},
				HTTP: oidcgate.HTTPOptions{Transport: oidcgatetest.NewTransport(hosts)},
			}, row.p)
			if err != nil {
				t.Fatal(err)
			}
			api := gate.Wrap(gate.RequireToken(oidcgate.Scope(row.scope))(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				id, _ := oidcgate.FromContext(r.Context())
				client, _ := id.ClaimString("client_id")
				_, _ = io.WriteString(w, id.Subject()+" by "+client)
			})))
			browser := &http.Client{Transport: oidcgatetest.NewTransport(map[string]http.Handler{"localhost:8080": api})}
			row.claims["client_id"] = nil
			token := op.NewAccessToken(row.claims)
			delete(token.Header, "typ")
			if row.typ != "" {
				token.Header["typ"] = row.typ
			}
			r, _ := http.NewRequest("GET", shop+"/", http.NoBody)
			r.Header.Set("Authorization", "Bearer "+token.Compact())
			resp, err := browser.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			if body, _ := io.ReadAll(resp.Body); string(body) != "alice by app" {
				t.Errorf("%s %s %s", resp.Status, resp.Header.Get("WWW-Authenticate"), body)
			}
		})
	}
}

func TestKeycloakBase(t *testing.T) {
	for _, base := range []string{"https://id.example", "https://id.example/", "https://id.example/realms/shop"} {
		if got := presets.Keycloak(base, "shop", "shop", oidcgate.PublicClient()).Issuer; got != "https://id.example/realms/shop" {
			t.Errorf("%s: the issuer is %s", base, got)
		}
	}
	if got := presets.Keycloak("https://id.example/auth/", "shop", "shop", oidcgate.PublicClient()).Issuer; got != "https://id.example/auth/realms/shop" {
		t.Errorf("before version 17: the issuer is %s", got)
	}
}

// TestKeycloakWithoutIss logs in with a client whose responses lack the iss that the realm announces.
func TestKeycloakWithoutIss(t *testing.T) {
	for mode, want := range map[oidcgate.IssMode]int{oidcgate.IssIfAnnounced: 502, oidcgate.IssOptional: 200} {
		p := presets.Keycloak("https://id.example", "shop", "shop", oidcgate.ClientSecretBasic(secret))
		p.Verification.ResponseIss = mode
		v, _, status, _ := logInBy(t, p, oidcgatetest.Config{}, withBasic, func(op *oidcgatetest.Provider) {
			op.Always(oidcgatetest.Authorization, oidcgatetest.EditRedirect(func(q url.Values) { q.Del("iss") }))
		})
		if (status == 200) != (want == 200) {
			t.Errorf("mode %v: status %d\n%s", mode, status, v.body)
		}
	}
}

func TestZitadelRoles(t *testing.T) {
	const roles = "urn:zitadel:iam:org:project:roles"
	p := presets.Zitadel("https://shop.zitadel.cloud", "shop", oidcgate.ClientSecretBasic(secret))
	v, _, status, _ := logInBy(t, p, oidcgatetest.Config{}, withBasic, func(op *oidcgatetest.Provider) {
		op.Always(oidcgatetest.Userinfo, oidcgatetest.EditJSON(func(m map[string]any) {
			m[roles] = map[string]any{"admin": map[string]string{"17": "shop.zitadel.cloud"}}
		}))
	})
	if status != 200 {
		t.Fatalf("status %d\n%s", status, v.body)
	}
	var claims map[string]json.RawMessage
	var byRole map[string]any
	if err := v.id.Decode(&claims); err != nil || json.Unmarshal(claims[roles], &byRole) != nil || byRole["admin"] == nil {
		t.Errorf("the roles are %s, error %v", claims[roles], err)
	}
}

func TestAuthentik(t *testing.T) {
	p := presets.Authentik("https://id.example", "shop", "shop", oidcgate.ClientSecretBasic(secret))
	v, _, status, _ := logInBy(t, p, oidcgatetest.Config{}, withBasic, func(op *oidcgatetest.Provider) {
		op.EveryIDToken(func(j *oidcgatetest.JWT) {
			j.Claims["email"], j.Claims["email_verified"], j.Claims["groups"] = "a@example.com", false, []string{"north"}
		})
	})
	if status != 200 || v.id.Issuer() != "https://id.example/application/o/shop/" {
		t.Fatalf("status %d\n%s", status, v.body)
	}
	if address, verified := v.id.Email(); address != "a@example.com" || verified {
		t.Errorf("Email %q, %v, want one that is not verified", address, verified)
	}
	// A provider without a signing key.
	signedWithSecret := withBasic
	signedWithSecret.IDToken.Signed = "HS256"
	v, _, status, _ = logInBy(t, p, oidcgatetest.Config{}, signedWithSecret, nil)
	if status != 502 {
		t.Errorf("HS256: status %d\n%s", status, v.body)
	}
}

func TestSalesforce(t *testing.T) {
	const user = "https://login.salesforce.com/id/00D000000000001/005000000000001"
	p := presets.Salesforce("https://login.salesforce.com", "shop", oidcgate.ClientSecretBasic(secret))
	v, _, status, asked := logInBy(t, p, oidcgatetest.Config{}, withBasic, func(op *oidcgatetest.Provider) {
		op.SetUser(oidcgatetest.User{Subject: user})
		op.Always(oidcgatetest.Discovery, oidcgatetest.EditJSON(func(m map[string]any) { delete(m, "code_challenge_methods_supported") }))
		op.Always(oidcgatetest.Token, oidcgatetest.EditJSON(func(m map[string]any) {
			delete(m, "expires_in")
			m["issued_at"], m["instance_url"], m["id"] = "1700000000000", "https://shop.my.salesforce.com", user
		}))
	})
	if status != 200 || v.id.Subject() != user || asked.Get("code_challenge_method") != "S256" {
		t.Errorf("status %d, asked %v\n%s", status, asked, v.body)
	}
}

func TestLoginGov(t *testing.T) {
	const acr = "urn:acr.login.gov:auth-only"
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	keys := oidcgate.NewClientKeys([]oidcgate.ClientKey{{Key: key, ID: "k"}})
	p := presets.LoginGov("https://secure.login.gov", "shop", keys, acr)
	v, op, status, asked := logInBy(t, p, oidcgatetest.Config{}, withPost, func(op *oidcgatetest.Provider) {
		op.EveryIDToken(func(j *oidcgatetest.JWT) { thin(j); j.Claims["acr"] = acr })
		op.Always(oidcgatetest.Token, func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var claims jwt.Claims
				token, err := jwt.ParseSigned(r.PostFormValue("client_assertion"), []jose.SignatureAlgorithm{jose.RS256})
				if err == nil {
					err = token.Claims(key.Public(), &claims)
				}
				if want := (jwt.Audience{"https://secure.login.gov/api/openid_connect/token"}); err != nil || !slices.Equal(claims.Audience, want) {
					t.Errorf("the assertion is for %q, error %v", claims.Audience, err)
				}
				for _, form := range []url.Values{r.PostForm, r.Form} { // the kit wants another audience
					form.Del("client_assertion")
					form.Del("client_assertion_type")
					form.Set("client_id", "shop")
					form.Set("client_secret", secret)
				}
				next.ServeHTTP(w, r)
			})
		})
	})
	if status != 200 || asked.Get("acr_values") != acr || op.Count(oidcgatetest.Token) != 1 {
		t.Fatalf("status %d, asked %v\n%s", status, asked, v.body)
	}
	if address, _ := v.id.Email(); address == "" {
		t.Error("no e-mail address from userinfo")
	}
}

// TestSignedUserinfo logs in at providers whose userinfo is a JWT: another answer is refused.
func TestSignedUserinfo(t *testing.T) {
	post := oidcgate.ClientSecretPost(secret)
	for name, p := range map[string]oidcgate.Provider{
		"FranceConnect": presets.FranceConnect("https://fc.example/api/v2", "shop", post),
		"ProConnect":    presets.ProConnect("https://pc.example/api/v2", "shop", post),
	} {
		for _, alg := range []string{"RS256", "ES256", ""} {
			t.Run(name+" by "+alg, func(t *testing.T) {
				client := withPost
				client.Userinfo.Signed = alg
				v, op, status, asked := logInBy(t, p, oidcgatetest.Config{Algorithm: alg}, client, func(op *oidcgatetest.Provider) {
					op.EveryIDToken(func(j *oidcgatetest.JWT) { thin(j); j.Claims["acr"] = "eidas1" })
				})
				if signedIn := status == 200; signedIn != (alg != "") || op.Count(oidcgatetest.Userinfo) != 1 {
					t.Errorf("status %d\n%s", status, v.body)
				}
				if want := name == "FranceConnect"; (asked.Get("acr_values") == "eidas1") != want {
					t.Errorf("asked %v", asked)
				}
				// ProConnect refuses parameters that it does not know.
				known := []string{"response_type", "client_id", "redirect_uri", "scope", "state", "nonce", "acr_values", "code_challenge", "code_challenge_method"}
				for parameter := range asked {
					if !slices.Contains(known, parameter) {
						t.Errorf("the parameter %s was sent", parameter)
					}
				}
			})
		}
	}
}

// TestFewlinesConnect logs in at two applications of one provider, whose access tokens are JWTs for
// others, and whose keys have one that is no base64url.
func TestFewlinesConnect(t *testing.T) {
	for _, application := range []string{"shop", "blog"} {
		p := presets.FewlinesConnect("https://connect.shop.example", application, oidcgate.ClientSecretBasic(secret))
		v, op, status, asked := logInBy(t, p, oidcgatetest.Config{JWTAccessTokens: true, AccessTokenAudience: "The " + application}, withBasic, func(op *oidcgatetest.Provider) {
			op.Always(oidcgatetest.JWKS, oidcgatetest.EditJSON(func(m map[string]any) {
				keys, _ := m["keys"].([]any)
				m["keys"] = append([]any{map[string]any{"kty": "RSA", "kid": "old", "n": "a+b/c=", "e": "AQAB", "alg": "RS256", "use": "sig"}}, keys...)
			}))
		})
		if status != 200 || v.id.Subject() != "alice" || asked.Get("client_id") != application {
			t.Fatalf("status %d, asked %v\n%s", status, asked, v.body)
		}
		if r := op.LastRequest(oidcgatetest.Token); r == nil || r.URL.Query().Has("code") {
			t.Errorf("the token request was %v", r)
		}
		if _, location := v.send("POST", shop+"/auth/logout", url.Values{}); strings.Contains(location, "connect.shop.example") {
			t.Errorf("the logout goes to %q", location)
		}
	}
}

func TestScopesOfPresets(t *testing.T) {
	const usual = "openid profile email"
	scopes := map[string]string{
		"Google": usual, "Entra": usual + " offline_access", "Okta": usual + " groups offline_access", "Auth0": usual + " offline_access",
		"Keycloak": usual, "Cognito": usual, "GitLab": usual, "Zitadel": usual + " offline_access", "Authentik": usual + " offline_access",
		"Salesforce": usual + " refresh_token", "LoginGov": "openid email", "FranceConnect": "openid given_name family_name email",
		"ProConnect": "openid given_name usual_name email uid siret", "ApereoCAS": usual, "UniknameConnect": "openid", "Unidy": usual, "FewlinesConnect": usual,
	}
	presets := all(t)
	for name, want := range scopes {
		t.Run(name, func(t *testing.T) {
			_, _, _, asked := logInBy(t, presets[name], oidcgatetest.Config{}, withBasic, nil)
			if got := asked.Get("scope"); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestVerifiedAddressesOfPresets(t *testing.T) {
	basic := oidcgate.ClientSecretBasic(secret)
	entra := presets.Entra("11111111-2222-3333-4444-555555555555", "shop", basic)
	cognito := presets.Cognito("https://cognito-idp.eu-central-1.amazonaws.com/pool", "shop.auth.example", "shop", basic)
	for name, row := range map[string]struct {
		p        oidcgate.Provider
		claims   map[string]any
		verified bool
	}{
		"Entra, the domain is verified":     {entra, map[string]any{"xms_edov": "1"}, true},
		"Entra, as a boolean":               {entra, map[string]any{"xms_edov": true}, true},
		"Entra, it is not":                  {entra, map[string]any{"xms_edov": "0"}, false},
		"Entra does not say":                {entra, nil, false},
		"Entra, email_verified says it":     {entra, map[string]any{"email_verified": true}, false},
		"Cognito, as a string":              {cognito, map[string]any{"email_verified": "true"}, true},
		"Cognito, a string that says false": {cognito, map[string]any{"email_verified": "false"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			v, _, status, _ := logInBy(t, row.p, oidcgatetest.Config{}, withBasic, func(op *oidcgatetest.Provider) {
				op.EveryIDToken(func(j *oidcgatetest.JWT) {
					thin(j)
					j.Claims["email"] = "a@example.com"
					for claim, value := range row.claims {
						j.Claims[claim] = value
					}
				})
			})
			if status != 200 {
				t.Fatalf("status %d\n%s", status, v.body)
			}
			if address, verified := v.id.Email(); address != "a@example.com" || verified != row.verified {
				t.Errorf("Email %q, %v", address, verified)
			}
		})
	}
}
