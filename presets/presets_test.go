package presets_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"testing"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/presets"
)

// all returns each preset, as an application would call it.
func all(t *testing.T) map[string]oidcgate.Provider {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys := oidcgate.NewClientKeys([]oidcgate.ClientKey{{Key: key}})
	basic, post := oidcgate.ClientSecretBasic("a secret"), oidcgate.ClientSecretPost("a secret")
	const tenant = "11111111-2222-3333-4444-555555555555"
	return map[string]oidcgate.Provider{
		"Google":                   presets.Google("shop", basic, ""),
		"Google for a domain":      presets.Google("shop", basic, "shop.example"),
		"Entra":                    presets.Entra(tenant, "shop", post),
		"EntraMultiTenant":         presets.EntraMultiTenant([]string{tenant}, "shop", post),
		"EntraGroups":              presets.EntraGroups(presets.Entra(tenant, "shop", post)),
		"Okta":                     presets.Okta("https://shop.okta.com", "shop", basic),
		"Auth0":                    presets.Auth0("shop.eu.auth0.com", "shop", basic, ""),
		"Auth0 organization":       presets.Auth0("shop.eu.auth0.com", "shop", basic, "org_1"),
		"Keycloak":                 presets.Keycloak("https://id.example", "shop", "shop", basic),
		"Cognito":                  presets.Cognito("https://cognito-idp.eu-central-1.amazonaws.com/p", "shop.auth.eu-central-1.amazoncognito.com", "shop", basic),
		"GitLab":                   presets.GitLab("https://gitlab.com", "shop", basic),
		"GitHub":                   presets.GitHub("shop", post),
		"Discord":                  presets.Discord("shop", basic),
		"Slack":                    presets.Slack("shop", post),
		"LinkedIn":                 presets.LinkedIn("shop", post),
		"Salesforce":               presets.Salesforce("https://login.salesforce.com", "shop", basic),
		"Zitadel":                  presets.Zitadel("https://shop.zitadel.cloud", "shop", basic),
		"Authentik":                presets.Authentik("https://id.example", "shop", "shop", basic),
		"LoginGov":                 presets.LoginGov("https://secure.login.gov", "shop", keys, "urn:acr.login.gov:auth-only"),
		"FranceConnect":            presets.FranceConnect("https://fc.example/api/v2", "shop", post),
		"ProConnect":               presets.ProConnect("https://pc.example/api/v2", "shop", post),
		"Apple":                    presets.Apple("com.shop.web", presets.AppleKey{TeamID: "TEAM", KeyID: "KEY", Key: key}),
		"ApereoCAS":                presets.ApereoCAS("https://id.example/cas/oidc", "shop", basic),
		"UniknameConnect":          presets.UniknameConnect("shop", basic),
		"Unikname with PKCE alone": presets.UniknameConnect("shop", oidcgate.PublicClient()),
		"UniknameConnectEndpoints": presets.UniknameConnectEndpoints("shop", basic),
		"Unidy":                    presets.Unidy("https://shop.unidy.de", "shop", basic),
		"FewlinesConnect":          presets.FewlinesConnect("https://connect.shop.example", "shop", basic),
	}
}

func TestPresetsAreValid(t *testing.T) {
	for name, p := range all(t) {
		t.Run(name, func(t *testing.T) {
			if _, err := oidcgate.New(oidcgate.Config{BaseURL: "http://localhost:8080"}, p); err != nil {
				t.Error(err)
			}
			if p.Label == "" {
				t.Error("visitors see no name")
			}
			if p.Name != "" {
				t.Errorf("it chooses the name %q, which is the application's to choose", p.Name)
			}
		})
	}
}
