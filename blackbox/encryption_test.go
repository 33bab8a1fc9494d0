package blackbox_test

import (
	"net/http"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/oidcgate/oidcgate/blackbox/internal/idp"
	"github.com/oidcgate/oidcgate/blackbox/internal/rp"
	"github.com/oidcgate/oidcgate/blackbox/internal/visitor"
	"github.com/oidcgate/oidcgate/blackbox/internal/walk"
)

// ID Tokens, userinfo, responses and logout tokens are encrypted for the service, or signed with its
// secret.
func TestRegisteredAlgorithms(t *testing.T) {
	for _, row := range []struct{ name, signed, encrypted, content, mode string }{
		{"C071 RSA-OAEP-256", "RS256", "RSA-OAEP-256", "A256GCM", "query.jwt"},
		{"C071 RSA-OAEP", "RS256", "RSA-OAEP", "A128CBC-HS256", "form_post.jwt"},
		{"C071 ECDH-ES", "RS256", "ECDH-ES", "A256CBC-HS512", "fragment.jwt"},
		{"C014 HS256", "HS256", "", "", "query.jwt"},
		{"C014 C071 HS256 and encrypted", "HS256", "ECDH-ES", "A128GCM", "query.jwt"},
	} {
		t.Run(row.name, func(t *testing.T) {
			options, client := newShop(t)
			options = options.With("OIDC_RESPONSE_MODE", row.mode, "OIDC_USERINFO", "required", "OIDC_USERINFO_SIGNED", "true",
				"OIDC_SIGNING_ALGS", row.signed, "OIDC_CLIENT_SECRET", "a secret of the client, of more than 32 bytes")
			client.Secret = options["OIDC_CLIENT_SECRET"]
			client.BackchannelLogoutURL = options["BASE_URL"] + "/auth/backchannel-logout"
			client.IDTokenSigned, client.UserinfoSigned, client.ResponseSigned = row.signed, row.signed, row.signed
			if row.encrypted != "" {
				file, key := rp.WriteKey(t, row.encrypted)
				options = options.With("OIDC_CLIENT_KEYS", row.encrypted+":"+file, "OIDC_ENCRYPTED", "id_token,userinfo,authorization")
				client.Keys = &jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key}}
				client.IDTokenEncrypted, client.UserinfoEncrypted, client.ResponseEncrypted = row.encrypted, row.encrypted, row.encrypted
				client.IDTokenContent, client.UserinfoContent, client.ResponseContent = row.content, row.content, row.content
			}
			op := idp.Start(t, idp.Config{Clients: []idp.Client{client}})
			options = options.With("OIDC_ISSUER", op.Issuer)
			walk.Tour{Issuer: op.Issuer, Alice: idp.Alice, Bob: idp.Bob, Options: options}.Take(t)

			shop := rp.Start(t, options)
			alice := visitor.New()
			walk.LogIn(t, alice, shop.URL+"/app", idp.Alice)
			alice.ConfirmLogout(t, alice.Get(t, op.Issuer+"/session/end"))
			walk.Status(t, alice, shop.URL+"/whoami", http.StatusUnauthorized)
		})
	}
}
