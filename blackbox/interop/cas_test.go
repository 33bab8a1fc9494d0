//go:build interop

package interop_test

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/oidcgate/oidcgate/blackbox/internal/idp"
	"github.com/oidcgate/oidcgate/blackbox/internal/process"
	"github.com/oidcgate/oidcgate/blackbox/internal/rp"
	"github.com/oidcgate/oidcgate/blackbox/internal/walk"
)

// The users of CAS, whose subjects are their names.
var (
	casAlice = idp.User{Login: "alice", Password: "alices-password", Claims: map[string]any{
		"sub": "alice", "name": "Alice Adams", "email": "alice@example.com", "email_verified": true,
		"groups": []string{"admin", "staff"},
	}}
	casBob = idp.User{Login: "bob", Password: "bobs-password", Claims: map[string]any{
		"sub": "bob", "name": "Bob Brown", "email": "bob@example.com", "email_verified": false,
		"groups": []string{"staff"},
	}}
)

// casService is a client in CAS's registry.
type casService map[string]any

func newCASService(id int, clientID, base string, more casService) casService {
	set := func(values ...string) []any { return []any{"java.util.HashSet", values} }
	s := casService{
		"@class": "org.apereo.cas.services.OidcRegisteredService", "id": id, "name": clientID, "clientId": clientID,
		"serviceId": "^" + base + "/.*", "logoutUrl": base + "/auth/logout/done",
		"bypassApprovalPrompt": true, "generateRefreshToken": true, "renewRefreshToken": true,
		"supportedGrantTypes":    set("authorization_code", "refresh_token"),
		"supportedResponseTypes": set("code", "id_token"),
		"scopes":                 set("openid", "profile", "email", "groups"),
		"attributeReleasePolicy": map[string]any{"@class": "org.apereo.cas.services.ReturnAllAttributeReleasePolicy"},
		"accessTokenExpirationPolicy": map[string]any{
			"@class":        "org.apereo.cas.support.oauth.services.DefaultRegisteredServiceOAuthAccessTokenExpirationPolicy",
			"maxTimeToLive": "PT8S", "timeToKill": "PT8S",
		},
	}
	for name, value := range more {
		s[name] = value
	}
	return s
}

const storePassword = "of a key that lives as long as the test"

// writeKeyStore makes a certificate for 127.0.0.1 in a key store of Java's, and returns it as a
// file and as a pool for clients too.
func writeKeyStore(t *testing.T) (store, certFile string, roots *x509.CertPool) {
	t.Helper()
	dir := t.TempDir()
	store, certFile = filepath.Join(dir, "keys.p12"), filepath.Join(dir, "cert.pem")
	keytool := func(args ...string) {
		args = append(args, "-keystore", store, "-storepass", storePassword, "-alias", "cas")
		if out, err := exec.Command("keytool", args...).CombinedOutput(); err != nil {
			t.Fatalf("keytool %v: %v\n%s", args, err, out)
		}
	}
	keytool("-genkeypair", "-storetype", "PKCS12", "-keyalg", "RSA", "-keysize", "2048",
		"-dname", "CN=127.0.0.1", "-ext", "san=ip:127.0.0.1", "-validity", "2")
	keytool("-exportcert", "-rfc", "-file", certFile)
	pem, err := os.ReadFile(certFile)
	if err != nil {
		t.Fatal(err)
	}
	roots = x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		t.Fatalf("%s has no certificate", certFile)
	}
	return store, certFile, roots
}

// startCAS starts Apereo CAS with services and with properties beyond the usual ones.
func startCAS(t *testing.T, clients []casService, properties ...string) *server {
	t.Helper()
	home, classes := fetched(t, "CAS_HOME"), t.TempDir()
	services := filepath.Join(classes, "services") // the registry reads it from the class path
	if err := os.Mkdir(services, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, s := range clients {
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		write(t, services, fmt.Sprintf("%s-%d.json", s["clientId"], s["id"]), string(text))
	}
	users := map[string]any{}
	for _, u := range []idp.User{casAlice, casBob} {
		users[u.Login] = map[string]any{
			"name": []any{u.Claims["name"]}, "email": []any{u.Claims["email"]},
			"email_verified": []any{u.Claims["email_verified"]}, "groups": u.Claims["groups"],
		}
	}
	text, err := json.Marshal(users)
	if err != nil {
		t.Fatal(err)
	}
	people := write(t, t.TempDir(), "people.json", string(text))
	store, certFile, roots := writeKeyStore(t)
	port := strconv.Itoa(process.FreePort(t))
	origin := "https://127.0.0.1:" + port
	args := []string{
		"-Xmx700m", "-XX:TieredStopAtLevel=1", "-cp", classes + ":" + home + "/WEB-INF/classes:" + home + "/WEB-INF/lib/*",
		"org.apereo.cas.web.CasWebApplication",
		"--cas.standalone.configuration-directory=" + t.TempDir(),
		"--server.port=" + port, "--server.address=127.0.0.1", "--server.servlet.context-path=/cas",
		"--server.ssl.enabled=true", "--server.ssl.key-store=file:" + store, "--server.ssl.key-store-type=PKCS12",
		"--server.ssl.key-store-password=" + storePassword, "--server.ssl.key-password=" + storePassword,
		"--cas.server.name=" + origin, "--cas.server.prefix=" + origin + "/cas",
		"--cas.authn.oidc.core.issuer=" + origin + "/cas/oidc",
		"--cas.authn.oidc.core.user-defined-scopes.groups=groups",
		"--cas.authn.oidc.discovery.scopes=openid,profile,email,groups,offline_access",
		"--cas.authn.oidc.discovery.claims=sub,name,email,email_verified,groups",
		"--cas.authn.oidc.jwks.file-system.jwks-file=file:" + filepath.Join(t.TempDir(), "keys.jwks"),
		"--cas.authn.accept.users=alice::" + casAlice.Password + ",bob::" + casBob.Password,
		"--cas.authn.attribute-repository.json[0].location=file:" + people,
		"--cas.service-registry.core.init-from-json=true",
	}
	cmd := exec.Command("java", append(args, properties...)...)
	process.Start(t, cmd, func(p *process.Process) bool { return strings.Contains(p.Stdout(), "Ready to process requests") })
	return &server{issuer: origin + "/cas/oidc", roots: roots, caFile: certFile}
}

// TestCAS logs in at Apereo CAS, the engine of Unikname Connect.
func TestCAS(t *testing.T) {
	base := rp.NewBaseURL(t)
	keyFile, key := rp.WriteKey(t, "RSA-OAEP-256")
	keys, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key}})
	if err != nil {
		t.Fatal(err)
	}
	const secret = "a secret of client and CAS"
	cas := startCAS(t, []casService{
		newCASService(1, "shop", base, casService{"clientSecret": secret}),
		newCASService(2, "shop-public", base, nil),
		newCASService(3, "shop-encrypted", base, casService{
			"clientSecret": secret, "jwks": string(keys), "encryptIdToken": true,
			"idTokenEncryptionAlg": "RSA-OAEP-256", "idTokenEncryptionEncoding": "A256GCM",
		}),
		newCASService(4, "shop-signed", base, casService{"clientSecret": secret, "userInfoSigningAlg": "RS256"}),
	})
	options := cas.options(t, base).With("OIDC_CLIENT_ID", "shop", "OIDC_CLIENT_SECRET", secret, "OIDC_SCOPES", "profile email groups",
		"OIDC_CLAIMS_UNWRAP", "attributes", "OIDC_PUSHED", "off")
	for name, client := range map[string]rp.Options{
		"client_secret_basic": options.With("OIDC_CLIENT_AUTH", "basic"),
		"client_secret_post":  options.With("OIDC_CLIENT_AUTH", "post"),
		"PKCE alone":          options.With("OIDC_CLIENT_AUTH", "none", "OIDC_CLIENT_ID", "shop-public", "OIDC_CLIENT_SECRET", ""),
		"encrypted ID Tokens": options.With("OIDC_CLIENT_ID", "shop-encrypted", "OIDC_ENCRYPTED", "id_token", "OIDC_COMPRESSED_TOKENS", "true", "OIDC_CLIENT_KEYS", "RSA-OAEP-256:"+keyFile),
		"signed userinfo":     options.With("OIDC_CLIENT_ID", "shop-signed", "OIDC_USERINFO_SIGNED", "1"),
		"form_post":           options.With("OIDC_RESPONSE_MODE", "form_post"),
		"an ID Token alone":   options.With("OIDC_RESPONSE_TYPE", "id_token", "OIDC_USERINFO", "off", "OIDC_CLAIMS_UNWRAP", ""),
		"endpoints without discovery": options.With(
			"OIDC_AUTHORIZATION_ENDPOINT", cas.issuer+"/oidcAuthorize", "OIDC_TOKEN_ENDPOINT", cas.issuer+"/oidcAccessToken",
			"OIDC_USERINFO_ENDPOINT", cas.issuer+"/oidcProfile", "OIDC_JWKS_URI", cas.issuer+"/jwks",
			"OIDC_END_SESSION_ENDPOINT", cas.issuer+"/oidcLogout"),
	} {
		t.Run(name, func(t *testing.T) {
			shop, v := cas.logIn(t, client, casAlice)
			if client["OIDC_RESPONSE_TYPE"] == "" {
				walk.WantIdentity(t, walk.Whoami(t, v, shop.URL), cas.issuer, casAlice)
				walk.Status(t, v, shop.URL+"/admin", http.StatusOK)
				wantRefreshed(t, shop, v)
			}
			cas.wantLoggedOut(t, shop, v)
		})
	}
}
