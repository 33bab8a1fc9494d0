//go:build interop

package interop_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/oidcgate/oidcgate/blackbox/internal/idp"
	"github.com/oidcgate/oidcgate/blackbox/internal/process"
	"github.com/oidcgate/oidcgate/blackbox/internal/rp"
	"github.com/oidcgate/oidcgate/blackbox/internal/walk"
)

// lemonUser is one of the users that LemonLDAP::NG has for demonstrations.
var lemonUser = idp.User{Login: "dwho", Password: "dwho", Claims: map[string]any{
	"sub": "dwho", "name": "Doctor Who", "email": "dwho@badwolf.org", "email_verified": true, "groups": []string{"admin", "staff"},
}}

const lemonSecret = "a secret of client and LemonLDAP"

// lemonClient is a client in LemonLDAP::NG's configuration.
func lemonClient(id, secret, base string) map[string]any {
	options := map[string]any{
		"ClientID": id, "ClientSecret": secret, "DisplayName": id, "UserIDAttr": "uid", "IDTokenSignAlg": "RS256",
		"RedirectUris": base + "/auth/callback", "PostLogoutRedirectUris": base + "/auth/logout/done",
		"BypassConsent": 1, "LogoutBypassConfirm": 1, "RequirePKCE": 1, "RefreshToken": 1, "AccessTokenExpiration": 8,
	}
	if secret == "" {
		options["Public"] = 1
	}
	prefixed := map[string]any{}
	for name, value := range options {
		prefixed["oidcRPMetaDataOptions"+name] = value
	}
	return prefixed
}

// startLemonLDAP starts the portal of LemonLDAP::NG.
func startLemonLDAP(t *testing.T, base string) *server {
	t.Helper()
	home, dir := fetched(t, "LEMONLDAP_HOME"), t.TempDir()
	port := strconv.Itoa(process.FreePort(t))
	s := &server{issuer: "http://127.0.0.1:" + port}
	files := func(name string) map[string]string {
		directory := filepath.Join(dir, name)
		if err := os.Mkdir(directory, 0o700); err != nil {
			t.Fatal(err)
		}
		return map[string]string{
			"Directory": directory, "LockDirectory": directory,
			"generateModule": "Lemonldap::NG::Common::Apache::Session::Generate::SHA256",
		}
	}
	private, public := pemKeys(t)
	claims := map[string]string{
		"name": "cn;string;auto", "email": "mail;string;auto", "email_verified": "checked;bool;auto", "groups": "teams;string;always",
	}
	config, err := json.Marshal(map[string]any{
		"cfgNum": 1, "cfgAuthor": "test", "cfgDate": 1, "cfgAuthorIP": "127.0.0.1",
		"authentication": "Demo", "userDB": "Same", "passwordDB": "Null", "registerDB": "Null",
		"domain": "127.0.0.1", "portal": s.issuer + "/", "key": "of a portal that lives as long as the test", "cookieName": "lemonldap",
		"securedCookie": 0, "timeout": 72000, "requireToken": 0, "portalCheckLogins": 0,
		"globalStorage": "Apache::Session::File", "globalStorageOptions": files("sessions"),
		"persistentStorage": "Apache::Session::File", "persistentStorageOptions": files("persistent"),
		"oidcStorage": "Apache::Session::File", "oidcStorageOptions": files("oidc"),
		"demoExportedVars":                map[string]string{"cn": "cn", "mail": "mail", "uid": "uid"},
		"macros":                          map[string]string{"checked": "1", "teams": "'admin; staff'"},
		"issuerDBOpenIDConnectActivation": 1, "issuerDBOpenIDConnectPath": "^/oauth2/", "issuerDBOpenIDConnectRule": 1,
		"oidcServiceMetaDataIssuer": s.issuer, "oidcServiceAllowAuthorizationCodeFlow": 1,
		"oidcServicePrivateKeySig": private, "oidcServicePublicKeySig": public, "oidcServiceKeyIdSig": "key-1",
		"oidcRPMetaDataOptions": map[string]any{
			"shop": lemonClient("shop", lemonSecret, base), "public": lemonClient("shop-public", "", base),
		},
		"oidcRPMetaDataExportedVars":       map[string]any{"shop": claims, "public": claims},
		"oidcRPMetaDataOptionsExtraClaims": map[string]any{"shop": map[string]string{"groups": "groups"}, "public": map[string]string{"groups": "groups"}},
		"locationRules":                    map[string]any{}, "exportedHeaders": map[string]any{}, "applicationList": map[string]any{},
	})
	if err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(dir, "conf")
	if err := os.Mkdir(conf, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, conf, "lmConf-1.json", string(config))
	ini := write(t, dir, "lemonldap-ng.ini", fmt.Sprintf(`[all]
logLevel = warn
[configuration]
type = File
dirName = %s
localStorage = Cache::FileCache
localStorageOptions = { 'namespace' => 'config', 'default_expires_in' => 600, 'cache_root' => '%s' }
[portal]
staticPrefix = /static
templateDir = %s/usr/share/lemonldap-ng/portal/templates
languages = en
`, conf, filepath.Join(dir, "cache"), home))
	app := write(t, dir, "portal.psgi", "use Lemonldap::NG::Portal::Main;\nLemonldap::NG::Portal::Main->run({});\n")
	cmd := exec.Command("perl", home+"/usr/bin/plackup", "-E", "deployment", "--host", "127.0.0.1", "--port", port, app)
	libraries, err := filepath.Glob(home + "/usr/lib/*/perl5/*")
	if err != nil || len(libraries) == 0 {
		t.Fatalf("%s has no libraries of Perl's (%v)", home, err)
	}
	cmd.Env = append(os.Environ(), "LLNG_DEFAULTCONFFILE="+ini,
		"PERL5LIB="+home+"/usr/share/perl5:"+strings.Join(libraries, ":"), "LD_LIBRARY_PATH="+filepath.Dir(filepath.Dir(libraries[0])))
	process.Start(t, cmd, func(*process.Process) bool {
		resp, err := http.Get(s.issuer + "/.well-known/openid-configuration")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return s
}

// pemKeys returns a key pair in PEM.
func pemKeys(t *testing.T) (private, public string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// TestLemonLDAP logs in at LemonLDAP::NG.
func TestLemonLDAP(t *testing.T) {
	base := rp.NewBaseURL(t)
	lemon := startLemonLDAP(t, base)
	options := lemon.options(t, base).With("OIDC_CLIENT_ID", "shop", "OIDC_CLIENT_SECRET", lemonSecret, "OIDC_SCOPES", "profile email groups")
	for name, client := range map[string]rp.Options{
		"client_secret_basic, which it does not decode": options.With("OIDC_CLIENT_AUTH", "basic", "OIDC_RAW_BASIC", "true"),
		"client_secret_post":                            options.With("OIDC_CLIENT_AUTH", "post"),
		"form_post":                                     options.With("OIDC_CLIENT_AUTH", "post", "OIDC_RESPONSE_MODE", "form_post"),
		"PKCE alone":                                    options.With("OIDC_CLIENT_AUTH", "none", "OIDC_CLIENT_ID", "shop-public", "OIDC_CLIENT_SECRET", ""),
	} {
		t.Run(name, func(t *testing.T) {
			shop, v := lemon.logIn(t, client, lemonUser)
			walk.WantIdentity(t, walk.Whoami(t, v, shop.URL), lemon.issuer, lemonUser)
			walk.Status(t, v, shop.URL+"/admin", http.StatusOK)
			wantRefreshed(t, shop, v)
			lemon.wantLoggedOut(t, shop, v)
		})
	}
}
