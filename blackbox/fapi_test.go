package blackbox_test

import (
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/oidcgate/oidcgate/blackbox/internal/idp"
	"github.com/oidcgate/oidcgate/blackbox/internal/rp"
	"github.com/oidcgate/oidcgate/blackbox/internal/walk"
)

// FAPI 2.0 at a provider that enforces it, with every kind of binding: pushed requests, an assertion
// by key, bound tokens, and, with message signing, signed requests and responses. At the end all of
// it at once, encrypted too.
func TestFAPI(t *testing.T) {
	for _, row := range []struct {
		name      string
		profile   string
		binding   string
		encrypted bool
	}{
		{"C130 the security profile with DPoP", "fapi2-security", "dpop", false},
		{"C130 the security profile with certificates", "fapi2-security", "mtls", false},
		{"C130 message signing with DPoP", "fapi2-message-signing", "dpop", false},
		{"C130 C071 message signing with certificates and all encrypted", "fapi2-message-signing", "mtls", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			serverCert, serverKey, roots := rp.WriteCertificate(t, "127.0.0.1")
			clientFile, _ := clientCertificate(t)
			file, key := rp.WriteKey(t, "ES256")
			keys := "ES256:" + file
			options, client := newShop(t)
			client.AuthMethod, client.Secret, client.AuthAlgorithm = "private_key_jwt", "", "ES256"
			client.Keys = &jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key}}
			client.IDTokenSigned, client.ResponseSigned, client.RequestSigned = "ES256", "ES256", "ES256"
			client.DPoPBound, client.CertificateBound = row.binding == "dpop", row.binding == "mtls"
			if row.encrypted {
				decrypting, public := rp.WriteKey(t, "RSA-OAEP-256")
				client.Keys.Keys = append(client.Keys.Keys, public)
				keys += ",RSA-OAEP-256:" + decrypting
				client.IDTokenEncrypted, client.IDTokenContent = "RSA-OAEP-256", "A256GCM"
				client.UserinfoSigned, client.UserinfoEncrypted, client.UserinfoContent = "ES256", "RSA-OAEP-256", "A256GCM"
				client.ResponseEncrypted, client.ResponseContent = "RSA-OAEP-256", "A256GCM"
				options = options.With("OIDC_ENCRYPTED", "id_token,userinfo,authorization", "OIDC_USERINFO_SIGNED", "true")
			}
			op := idp.Start(t, idp.Config{
				Clients: []idp.Client{client}, TLS: &idp.TLS{Cert: serverCert, Key: serverKey},
				FAPI: true, RequirePushed: true, RequestObjects: true, DPoPNonces: true,
			})
			options = options.With("OIDC_ISSUER", op.Issuer, "OIDC_PROFILE", row.profile, "OIDC_CLIENT_AUTH", "key-jwt", "OIDC_CLIENT_KEYS", keys,
				"OIDC_CLIENT_SECRET", "", "OIDC_TOKEN_BINDING", row.binding, "OIDC_CLIENT_CERT", clientFile, "OIDC_USERINFO", "required", "CA_FILE", serverCert)
			walk.Tour{Issuer: op.Issuer, Roots: roots, Alice: idp.Alice, Bob: idp.Bob, Options: options}.Take(t)
		})
	}
}
