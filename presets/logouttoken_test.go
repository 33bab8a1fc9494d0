package presets_test

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
	"github.com/oidcgate/oidcgate/presets"
)

// TestLogoutTokens sends the logout tokens of providers in the forms that their sources have.
func TestLogoutTokens(t *testing.T) {
	basic := oidcgate.ClientSecretBasic(secret)
	typJWT := func(j *oidcgatetest.JWT) { j.Header["typ"] = "JWT" }
	for name, row := range map[string]struct {
		p      oidcgate.Provider
		change func(*oidcgatetest.JWT)
	}{
		"Keycloak 22": {presets.Keycloak("https://id.example", "shop", "shop", basic), func(j *oidcgatetest.JWT) {
			typJWT(j)
			delete(j.Claims, "exp")
		}},
		"Keycloak 24": {presets.Keycloak("https://id.example", "shop", "shop", basic), typJWT},
		"Keycloak 26": {presets.Keycloak("https://id.example", "shop", "shop", basic), func(*oidcgatetest.JWT) {}},
		"CAS 6.6": {presets.ApereoCAS("https://id.example/cas/oidc", "shop", basic), func(j *oidcgatetest.JWT) {
			typJWT(j)
			delete(j.Claims, "exp")
		}},
		"CAS 7.2": {presets.ApereoCAS("https://id.example/cas/oidc", "shop", basic), typJWT},
		"Zitadel": {presets.Zitadel("https://shop.zitadel.cloud", "shop", basic), func(j *oidcgatetest.JWT) {
			typJWT(j)
			j.Claims["exp"] = time.Now().Add(15 * time.Minute).Unix()
		}},
		"authentik, with access tokens of eight hours": {presets.Authentik("https://id.example", "shop", "shop", basic), func(j *oidcgatetest.JWT) {
			j.Claims["exp"] = time.Now().Add(8 * time.Hour).Unix()
		}},
	} {
		t.Run("C122 C123 "+name, func(t *testing.T) {
			v, op, status, _ := logInBy(t, row.p, oidcgatetest.Config{}, withBasic, nil)
			if status != http.StatusOK {
				t.Fatalf("status %d", status)
			}
			token := op.NewJWT(map[string]any{
				"iss": row.p.Issuer, "aud": "shop", "sub": v.id.Subject(), "jti": "one", "iat": time.Now().Unix(),
				"exp":    time.Now().Add(time.Minute).Unix(),
				"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
			})
			row.change(token)
			status, _ = v.send(http.MethodPost, shop+"/auth/backchannel-logout", url.Values{"logout_token": {token.Compact()}})
			if status != http.StatusOK {
				t.Errorf("the logout token: status %d\n%s", status, v.body)
			}
			if status, _ := v.send(http.MethodGet, shop+"/", nil); status == http.StatusOK {
				t.Error("still signed in")
			}
		})
	}
}

// TestZitadelAudience has all applications of the project in the audience.
func TestZitadelAudience(t *testing.T) {
	t.Run("C059 C060 beside the client, which azp names", func(t *testing.T) {
		p := presets.Zitadel("https://shop.zitadel.cloud", "shop", oidcgate.ClientSecretBasic(secret))
		_, _, status, _ := logInBy(t, p, oidcgatetest.Config{}, withBasic, func(op *oidcgatetest.Provider) {
			op.EveryIDToken(func(j *oidcgatetest.JWT) {
				j.Claims["aud"] = []string{"office", "shop", "28412330118"}
				j.Claims["azp"] = "shop"
			})
		})
		if status != http.StatusOK {
			t.Errorf("status %d", status)
		}
	})
}
