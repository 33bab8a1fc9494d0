//go:build interop

package keycloak_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/oidcgate/oidcgate/blackbox/internal/rp"
	"github.com/oidcgate/oidcgate/blackbox/internal/visitor"
	"github.com/oidcgate/oidcgate/blackbox/internal/walk"
)

// client is what a test registers at Keycloak.
type client struct {
	ID            string            `json:"clientId"`
	Secret        string            `json:"secret,omitempty"`
	Authenticator string            `json:"clientAuthenticatorType,omitempty"`
	RedirectURLs  []string          `json:"redirectUris"`
	Implicit      bool              `json:"implicitFlowEnabled"`
	Direct        bool              `json:"directAccessGrantsEnabled"`
	FullScope     bool              `json:"fullScopeAllowed"`
	Attributes    map[string]string `json:"attributes"`
	Mappers       []any             `json:"protocolMappers"`
}

func (s *server) addClient(t *testing.T, c client) {
	t.Helper()
	c.Attributes["pkce.code.challenge.method"] = "S256"
	c.FullScope = !strings.HasPrefix(c.ID, "fapi")
	c.Mappers = append(c.Mappers, mapper("oidc-group-membership-mapper", map[string]string{
		"claim.name": "groups", "full.path": "false", "id.token.claim": "true", "userinfo.token.claim": "true",
	}))
	body, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	s.admin(t, http.MethodPost, "/shop/clients", bytes.NewReader(body), http.StatusCreated)
}

func mapper(kind string, config map[string]string) any {
	return map[string]any{"name": kind, "protocol": "openid-connect", "protocolMapper": kind, "config": config}
}

func jwks(t *testing.T, keys ...jose.JSONWebKey) string {
	t.Helper()
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// testProtocol logs in with each part of the protocol that Keycloak has beyond the usual.
func testProtocol(t *testing.T, server *server, issuer string, options rp.Options) {
	base := options["BASE_URL"]
	es256, esKey := rp.WriteKey(t, "ES256")
	ps256, psKey := rp.WriteKey(t, "PS256")
	oaep, oaepKey := rp.WriteKey(t, "RSA-OAEP-256")
	const secret = "a secret of client and Keycloak, long enough for HS256"
	keyJWT := func(alg, file string) rp.Options {
		return rp.Options{"OIDC_CLIENT_AUTH": "key-jwt", "OIDC_CLIENT_KEYS": alg + ":" + file, "OIDC_CLIENT_SECRET": ""}
	}
	for _, row := range []struct {
		name          string
		authenticator string
		implicit      bool
		attributes    map[string]string
		options       rp.Options
	}{
		{"pushed requests", "", false, map[string]string{"require.pushed.authorization.requests": "true"}, nil},
		{"private_key_jwt by ES256", "client-jwt", false,
			map[string]string{"use.jwks.string": "true", "jwks.string": jwks(t, esKey), "token.endpoint.auth.signing.alg": "ES256"}, keyJWT("ES256", es256)},
		{"private_key_jwt by PS256", "client-jwt", false,
			map[string]string{"use.jwks.string": "true", "jwks.string": jwks(t, psKey), "token.endpoint.auth.signing.alg": "PS256"}, keyJWT("PS256", ps256)},
		{"client_secret_jwt", "client-secret-jwt", false, map[string]string{"token.endpoint.auth.signing.alg": "HS256"}, rp.Options{"OIDC_CLIENT_AUTH": "secret-jwt"}},
		{"encrypted ID Tokens", "", false,
			map[string]string{"use.jwks.string": "true", "jwks.string": jwks(t, oaepKey), "id.token.encrypted.response.alg": "RSA-OAEP-256", "id.token.encrypted.response.enc": "A256GCM"},
			rp.Options{"OIDC_CLIENT_KEYS": "RSA-OAEP-256:" + oaep, "OIDC_ENCRYPTED": "id_token"}},
		{"encrypted responses", "", false,
			map[string]string{"use.jwks.string": "true", "jwks.string": jwks(t, oaepKey), "authorization.encrypted.response.alg": "RSA-OAEP-256", "authorization.encrypted.response.enc": "A256GCM"},
			rp.Options{"OIDC_CLIENT_KEYS": "RSA-OAEP-256:" + oaep, "OIDC_ENCRYPTED": "authorization", "OIDC_RESPONSE_MODE": "query.jwt"}},
		{"DPoP", "", false, map[string]string{"dpop.bound.access.tokens": "true"}, rp.Options{"OIDC_TOKEN_BINDING": "dpop"}},
		{"form_post", "", false, map[string]string{}, rp.Options{"OIDC_RESPONSE_MODE": "form_post"}},
		{"the fragment", "", false, map[string]string{}, rp.Options{"OIDC_RESPONSE_MODE": "fragment"}},
		{"signed responses in the query", "", false, map[string]string{}, rp.Options{"OIDC_RESPONSE_MODE": "query.jwt"}},
		{"signed responses by form_post", "", false, map[string]string{}, rp.Options{"OIDC_RESPONSE_MODE": "form_post.jwt"}},
		{"the hybrid flow", "", true, map[string]string{}, rp.Options{"OIDC_RESPONSE_TYPE": "code id_token", "OIDC_RESPONSE_MODE": "form_post"}},
		{"the implicit flow", "", true, map[string]string{}, rp.Options{"OIDC_RESPONSE_TYPE": "id_token", "OIDC_RESPONSE_MODE": "form_post", "OIDC_USERINFO": "off"}},
		{"signed request objects", "", false,
			map[string]string{"use.jwks.string": "true", "jwks.string": jwks(t, esKey), "request.object.signature.alg": "ES256", "request.object.required": "request"},
			rp.Options{"OIDC_CLIENT_KEYS": "ES256:" + es256, "OIDC_REQUEST_OBJECT": "signed", "OIDC_PUSHED": "off"}},
		{"pushed and signed request objects", "", false,
			map[string]string{"use.jwks.string": "true", "jwks.string": jwks(t, esKey), "request.object.signature.alg": "ES256", "require.pushed.authorization.requests": "true"},
			rp.Options{"OIDC_CLIENT_KEYS": "ES256:" + es256, "OIDC_REQUEST_OBJECT": "signed"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			id := strings.ReplaceAll(row.name, " ", "-")
			server.addClient(t, client{
				ID: id, Secret: secret, Authenticator: row.authenticator, Implicit: row.implicit, Attributes: row.attributes,
				RedirectURLs: []string{base + "/auth/callback"},
			})
			o := options.With("OIDC_CLIENT_ID", id, "OIDC_CLIENT_SECRET", secret)
			for name, value := range row.options {
				o = o.With(name, value)
			}
			shop := rp.Start(t, o)
			v := visitor.New()
			v.Trust(server.roots)
			walk.LogIn(t, v, shop.URL+"/app", alice)
			if row.name != "the implicit flow" {
				walk.WantIdentity(t, walk.Whoami(t, v, shop.URL), issuer, alice)
			}
		})
	}
}

// testFAPI logs in under Keycloak's own profiles of FAPI 2.0, which from then on hold for every
// client of the realm.
func testFAPI(t *testing.T, server *server, issuer string, options rp.Options) {
	base := strings.Replace(options["BASE_URL"], "http:", "https:", 1)
	serverCert, serverKey, roots := rp.WriteCertificate(t, "localhost")
	file, key := rp.WriteKey(t, "PS256")
	server.addClient(t, client{ // before the policies, under which every new client has to ask for consent
		ID: "fapi", Authenticator: "client-jwt", RedirectURLs: []string{base + "/auth/callback"},
		Attributes: map[string]string{
			"use.jwks.string": "true", "jwks.string": jwks(t, key), "token.endpoint.auth.signing.alg": "PS256",
			"dpop.bound.access.tokens": "true", "require.pushed.authorization.requests": "true",
			"id.token.signed.response.alg": "PS256", "access.token.signed.response.alg": "PS256",
			"authorization.signed.response.alg": "PS256", "request.object.signature.alg": "PS256", "user.info.response.signature.alg": "PS256",
		},
	})
	for _, row := range []struct{ policy, profile, mode string }{
		{"fapi-2-dpop-security-profile", "fapi2-security", "query"},
		{"fapi-2-dpop-message-signing", "fapi2-message-signing", "jwt"},
	} {
		t.Run(row.policy, func(t *testing.T) {
			policy := `{"policies":[{"name":"fapi","enabled":true,"conditions":[{"condition":"any-client","configuration":{}}],"profiles":["` + row.policy + `"]}]}`
			server.admin(t, http.MethodPut, "/shop/client-policies/policies", strings.NewReader(policy), http.StatusNoContent)
			shop := rp.Start(t, options.With("BASE_URL", base, "TLS_CERT", serverCert, "TLS_KEY", serverKey, "OIDC_CLIENT_ID", "fapi",
				"OIDC_CLIENT_AUTH", "key-jwt", "OIDC_CLIENT_KEYS", "PS256:"+file, "OIDC_CLIENT_SECRET", "", "OIDC_TOKEN_BINDING", "dpop",
				"OIDC_PROFILE", row.profile, "OIDC_RESPONSE_MODE", row.mode))
			v := visitor.New()
			both := server.roots.Clone()
			pem, err := os.ReadFile(serverCert)
			if err != nil || roots == nil || !both.AppendCertsFromPEM(pem) {
				t.Fatal(err)
			}
			v.Trust(both)
			walk.LogIn(t, v, shop.URL+"/app", alice)
			walk.WantIdentity(t, walk.Whoami(t, v, shop.URL), issuer, alice)
		})
	}
}
