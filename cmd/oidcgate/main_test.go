package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// result is what a command wrote, and its exit status.
type result struct {
	status   int
	out, err string
}

func run(t *testing.T, in string, args ...string) result {
	t.Helper()
	return runWith(t, nil, in, args...)
}

func runWith(t *testing.T, env map[string]string, in string, args ...string) result {
	t.Helper()
	var out, errOut bytes.Buffer
	p := process{strings.NewReader(in), &out, &errOut, func(name string) string { return env[name] }}
	status := p.run(t.Context(), args)
	return result{status, out.String(), errOut.String()}
}

func TestUsage(t *testing.T) {
	for _, row := range []struct {
		args   string
		status int
		says   string
	}{
		{"", 2, "usage: oidcgate COMMAND"},
		{"nonsense", 2, `no command "nonsense"`},
		{"check -issuer https://id.example", 2, "did you mean doctor?"},
		{"help", 0, "doctor"},
		{"-h", 0, "Exit status: 0 healthy, 1 faults, 2 usage"},
		{"doctor -h", 0, "-client-id"},
		{"doctor", 2, "-issuer is missing"},
		{"doctor -nonsense", 2, "nonsense"},
		{"doctor -issuer https://id.example more", 2, `"more" is too much`},
		{"doctor -issuer https://id.example -auth basic", 2, "use one of client_secret_basic, "},
		{"doctor -issuer https://id.example -profile fapi1", 2, "fapi2-message-signing"},
		{"doctor -issuer https://id.example -userinfo yes", 2, "off, optional, required"},
		{"doctor -issuer https://id.example -ca none.pem", 2, "-ca: open none.pem"},
		{"doctor -issuer https://id.example -ca main.go", 2, "main.go has no certificate"},
		{"doctor -issuer https://id.example -key main.go", 2, "main.go has no key"},
		{"init -h", 0, "five questions"},
		{"init more", 2, `"more"`},
		{"keys -h", 0, "-signing"},
		{"keys -what", 2, "what"},
	} {
		t.Run("oidcgate "+row.args, func(t *testing.T) {
			got := run(t, "", strings.Fields(row.args)...)
			if got.status != row.status || !strings.Contains(got.out+got.err, row.says) {
				t.Errorf("status %d: %s%s", got.status, got.out, got.err)
			}
			if got.status == exitUsage && got.out != "" {
				t.Errorf("standard output has %q", got.out)
			}
		})
	}
}

// provider starts a provider on TLS, and returns the flags for it.
func provider(t *testing.T, config ...oidcgatetest.Config) (*oidcgatetest.Provider, []string) {
	t.Helper()
	p := oidcgatetest.NewProvider(t, config...)
	server := p.TLSServer()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(ca, text, 0o600); err != nil {
		t.Fatal(err)
	}
	p.AddClient(oidcgatetest.Client{
		ID: "shop", Secret: "secret", RedirectURLs: []string{"https://shop.example/auth/callback"},
	})
	return p, []string{"doctor", "-issuer", p.Issuer(), "-ca", ca, "-timeout", "1m"}
}

func TestDoctor(t *testing.T) {
	client := []string{
		"-client-id", "shop", "-base-url", "https://shop.example", "-auth", "client_secret_basic",
	}
	t.Run("healthy", func(t *testing.T) {
		_, args := provider(t)
		env := map[string]string{"OIDC_CLIENT_SECRET": "secret"}
		got := runWith(t, env, "", append(args, client...)...)
		for _, want := range []string{
			"OK     redirect", "https://shop.example/auth/callback is registered.",
			"OK     token           the token endpoint refuses a code that nobody has, and not the client.",
			"0 faults, 0 warnings: logins should work\n",
		} {
			if got.status != exitOK || !strings.Contains(got.out, want) {
				t.Errorf("status %d, without %q:\n%s%s", got.status, want, got.out, got.err)
			}
		}
	})
	t.Run("without the secret", func(t *testing.T) {
		_, args := provider(t)
		got := run(t, "", append(args, client...)...)
		for _, want := range []string{
			"OK     redirect", "https://shop.example/auth/callback is registered.",
			"SKIP   token           not tried: how the client authenticates, or its secret, is not given.",
			"0 faults, 0 warnings, 1 not tried: logins should work\n",
		} {
			if got.status != exitOK || !strings.Contains(got.out, want) {
				t.Errorf("status %d, without %q:\n%s%s", got.status, want, got.out, got.err)
			}
		}
	})
	t.Run("the issuer alone", func(t *testing.T) {
		p, args := provider(t)
		got := run(t, "", args...)
		if got.status != exitOK || p.Count(oidcgatetest.Authorization) != 0 ||
			!strings.Contains(got.out, "WARN   redirect        the redirect URI follows from the base URL") {
			t.Errorf("status %d:\n%s", got.status, got.out)
		}
	})
	t.Run("lists with commas and with spaces", func(t *testing.T) {
		_, args := provider(t)
		got := run(t, "", append(args, "-scopes", "profile,email", "-algs", "RS256, ES256")...)
		for _, want := range []string{
			"OK     scopes          openid, profile, email.", "0 faults",
		} {
			if got.status != exitOK || !strings.Contains(got.out, want) {
				t.Errorf("status %d, without %q:\n%s%s", got.status, want, got.out, got.err)
			}
		}
	})
	t.Run("a fault, as JSON", func(t *testing.T) {
		_, args := provider(t)
		got := run(t, "", append(append(args, client...), "-json", "-prefix", "/login")...)
		var report struct {
			Healthy  bool
			Findings []oidcgate.Finding
		}
		if err := json.Unmarshal([]byte(got.out), &report); err != nil {
			t.Fatalf("%v: %s", err, got.out)
		}
		var faults []oidcgate.Finding
		for _, f := range report.Findings {
			if f.Level == oidcgate.FindingFault {
				faults = append(faults, f)
			}
		}
		if got.status != exitFault || report.Healthy || len(faults) != 1 ||
			!strings.Contains(faults[0].Cure, "register https://shop.example/login/callback at the provider") {
			t.Errorf("status %d: %+v", got.status, faults)
		}
	})
	t.Run("a configuration with faults", func(t *testing.T) {
		_, args := provider(t)
		got := run(t, "", append(args, "-base-url", "shop.example", "-client-id", "shop",
			"-auth", "client_secret_post", "-profile", "fapi2")...)
		for _, want := range []string{
			`BaseURL "shop.example" is not an absolute URL. Cure: write "https://shop.example".`,
			"TokenRequest.Binding must be DPoP or MutualTLS",
		} {
			if got.status != exitFault || !strings.Contains(strings.Join(strings.Fields(got.out), " "), want) {
				t.Errorf("status %d, without %q:\n%s", got.status, want, got.out)
			}
		}
	})
	t.Run("requests are pushed with the secret, and only then", func(t *testing.T) {
		p, args := provider(t, oidcgatetest.Config{PushedRequests: true})
		got := run(t, "", append(args, client...)...)
		if got.status != exitOK || p.Count(oidcgatetest.PushedRequest) != 0 ||
			!strings.Contains(got.out, "is registered") {
			t.Errorf("without a secret: status %d:\n%s", got.status, got.out)
		}
		env := map[string]string{"OIDC_CLIENT_SECRET": "secret"}
		got = runWith(t, env, "", append(args, client...)...)
		if got.status != exitOK || p.Count(oidcgatetest.PushedRequest) != 1 ||
			!strings.Contains(got.out, "is registered") || strings.Contains(got.out, "not tried") {
			t.Errorf("with the secret: status %d:\n%s", got.status, got.out)
		}
	})
	t.Run("a secret with the newline of its file", func(t *testing.T) {
		_, args := provider(t)
		got := runWith(t, map[string]string{"OIDC_CLIENT_SECRET": "secret\n"}, "", append(args, client...)...)
		if got.status != exitFault || !strings.Contains(got.out, "ends in white space") {
			t.Errorf("status %d:\n%s", got.status, got.out)
		}
	})
	t.Run("only pushed requests, and no secret", func(t *testing.T) {
		_, args := provider(t, oidcgatetest.Config{PushedRequests: true, RequirePushedRequests: true})
		got := run(t, "", append(args, client...)...)
		if got.status != exitOK || !strings.Contains(got.out, "SKIP   redirect        not tried, because the provider") ||
			!strings.Contains(got.out, "1 not tried: ") {
			t.Errorf("status %d:\n%s", got.status, got.out)
		}
	})
	t.Run("a public client needs no secret to push", func(t *testing.T) {
		p, args := provider(t, oidcgatetest.Config{PushedRequests: true, RequirePushedRequests: true})
		p.AddClient(oidcgatetest.Client{
			ID: "public", RedirectURLs: []string{"https://shop.example/auth/callback"},
		})
		got := run(t, "", append(args, "-client-id", "public", "-base-url", "https://shop.example",
			"-auth", "none")...)
		if got.status != exitOK || !strings.Contains(got.out, "is registered") || strings.Contains(got.out, "not tried") {
			t.Errorf("status %d:\n%s", got.status, got.out)
		}
	})
	t.Run("the secret goes nowhere else", func(t *testing.T) {
		p, args := provider(t)
		env := map[string]string{"OIDC_CLIENT_SECRET": "a-canary"}
		got := runWith(t, env, "", append(args, client...)...)
		for _, e := range []oidcgatetest.Endpoint{
			oidcgatetest.Discovery, oidcgatetest.JWKS, oidcgatetest.Authorization,
		} {
			r := p.LastRequest(e)
			if r.Header.Get("Authorization") != "" || strings.Contains(r.URL.String(), "canary") {
				t.Errorf("%s got it", e)
			}
		}
		if strings.Contains(got.out+got.err, "canary") {
			t.Error("it is printed")
		}
	})
}

func TestKeys(t *testing.T) {
	one, other := run(t, "", "keys"), run(t, "", "keys")
	if _, err := oidcgate.ParseKeys(strings.TrimSpace(one.out)); err != nil || one.status != exitOK {
		t.Errorf("status %d: %v", one.status, err)
	}
	if one.out == other.out {
		t.Error("the same key twice")
	}
	signing := run(t, "", "keys", "-signing")
	block, _ := pem.Decode([]byte(signing.out))
	if block == nil {
		t.Fatalf("no PEM in %q", signing.out)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(signing.err), &set); err != nil || len(set.Keys) != 1 {
		t.Fatalf("%v: %s", err, signing.err)
	}
	public := set.Keys[0]
	if !key.(*ecdsa.PrivateKey).PublicKey.Equal(public.Key) || public.Algorithm != "ES256" || !public.IsPublic() {
		t.Errorf("the set is %s", signing.err)
	}
	file := filepath.Join(t.TempDir(), "client.pem")
	if err := os.WriteFile(file, []byte(signing.out), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readKey(file); err != nil {
		t.Errorf("doctor -key does not take it: %v", err)
	}
}

func TestInit(t *testing.T) {
	const answers = "\n\nkeycloak https://id.example shop\nshop client_secret_post\n\n"
	t.Run("prints", func(t *testing.T) {
		got := run(t, answers, "init")
		for _, want := range []string{
			"oidcgate.ClientSecretPost(os.Getenv(\"OIDC_CLIENT_SECRET\"))", "http.NewServeMux()",
			`presets.Keycloak(os.Getenv("OIDC_BASE"), os.Getenv("OIDC_REALM"), os.Getenv("OIDC_CLIENT_ID"),`,
			"OIDC_BASE='https://id.example'\nOIDC_REALM='shop'\n", "-issuer 'https://id.example/realms/shop' ",
			"BASE_URL='http://localhost:8080'\n",
			"http://localhost:8080/auth/callback\n", "Standard flow",
		} {
			if got.status != exitOK || !strings.Contains(got.out, want) {
				t.Errorf("status %d, without %q:\n%s%s", got.status, want, got.out, got.err)
			}
		}
		if n := strings.Count(got.err, "/5 "); n != 5 {
			t.Errorf("%d questions: %s", n, got.err)
		}
	})
	t.Run("takes the router as the question writes it", func(t *testing.T) {
		got := run(t, "http.ServeMux"+answers, "init")
		if got.status != exitOK || !strings.Contains(got.out, "http.NewServeMux()") {
			t.Errorf("status %d:\n%s", got.status, got.err)
		}
	})
	t.Run("asks again", func(t *testing.T) {
		got := run(t, "echo\nmux\nshop.example\nhttps://shop.example\nkeycloak\nokta a b\n"+
			"gitlab gitlab.example\nauth0 shop.example\nshop basic\nshop\ndisk\nredis\n", "init")
		for _, want := range []string{
			`"echo" is none of mux, chi, gin`, `write "https://shop.example"`, "write keycloak BASE REALM, such as: keycloak https://id.example shop",
			`"gitlab.example"`, "write okta ISSUER, such as: okta https://example.okta.com",
			`"basic" is none of client_secret_basic`, `"disk" is none of memory, redis`,
		} {
			if !strings.Contains(got.err, want) {
				t.Errorf("without %q:\n%s", want, got.err)
			}
		}
		if got.status != exitOK || !strings.Contains(got.out, "OIDC_DOMAIN='shop.example'\nOIDC_ORGANIZATION=''\n") ||
			!strings.Contains(got.out, "redisstore.New(rdb)") {
			t.Errorf("status %d:\n%s", got.status, got.out)
		}
	})
	t.Run("a wrong answer is told in one line, with the presets that may be meant", func(t *testing.T) {
		for answer, want := range map[string]string{
			"keykloak https://id.example shop": `"keykloak" is none of the list; is it one of these? keycloak BASE REALM`,
			"gihtub":                           `"gihtub" is none of the list; is it one of these? github; gitlab BASE`,
			"keycloak: https://id.example":     `"keycloak:" is none of the list; is it one of these? keycloak BASE REALM`,
			"localhost:8081":                   `Issuer "localhost:8081" is not an absolute URL`,
			"Login.gov x":                      `Issuer "Login.gov x" is not an absolute URL`,
			"microsoft":                        `"microsoft" is none of the list; write a name as it stands there, or an issuer such as https://id.example`,
			"":                                 "write an issuer such as https://id.example, or a name of the list",
			"http://id.lan/realms/shop":        `"http://id.lan/realms/shop" is http; use https (http is for this machine alone, such as http://localhost:8080)`,
			"keycloak http://id.lan shop":      `"http://id.lan/realms/shop" is http; use https`,
		} {
			got := run(t, "\n\n"+answer+"\nKeycloak https://id.example shop\nshop\n\n", "init")
			if got.status != exitOK || !strings.Contains(got.err, "> "+want) || strings.Contains(got.err, "Insecure") ||
				strings.Count(got.err, "3/5 Which provider") != 2 || strings.Count(got.err, "zitadel ISSUER") != 1 {
				t.Errorf("%q: status %d, want one list and %q:\n%s", answer, got.status, want, got.err)
			}
		}
		got := run(t, "\nhttp://shop.example\n\nhttps://id.example\nshop\n\n", "init")
		if got.status != exitOK || !strings.Contains(got.err, `"http://shop.example" is http; use https (`) {
			t.Errorf("status %d: %s", got.status, got.err)
		}
	})
	t.Run("what a preset needs", func(t *testing.T) {
		for _, row := range []struct {
			provider, client string
			want, without    string // of main.go, .env and what to do
		}{
			{"google", "shop", `os.Getenv("OIDC_HOSTED_DOMAIN"))`, "post-logout"},
			{"google shop.example", "shop", "OIDC_HOSTED_DOMAIN='shop.example'\n", "post-logout"},
			{"github", "shop", "ClientSecretPost", "doctor"},
			{"github", "shop", "authentication            client_secret_post", "back-channel"},
			{"entra-multi-tenant a,b", "shop", `strings.Split(os.Getenv("OIDC_TENANTS"), ",")`, "doctor"},
			{"apple TEAM KEY", "com.shop.web", "OIDC_APPLE_KEY='AuthKey.p8'", "OIDC_CLIENT_SECRET"},
			{"login-gov https://secure.login.gov urn:a", "shop", "openssl genpkey -algorithm RSA", "keys -signing"},
			{"okta https://shop.okta.com", "shop private_key_jwt", "provider.ClientKeys = clientKeys", "OIDC_CLIENT_SECRET"},
		} {
			got := run(t, "\n\n"+row.provider+"\n"+row.client+"\n\n", "init")
			if got.status != exitOK || !strings.Contains(got.out, row.want) || strings.Contains(got.out, row.without) {
				t.Errorf("%s: status %d, want %q and no %q:\n%s%s", row.provider, got.status, row.want, row.without, got.out, got.err)
			}
		}
		got := run(t, "\n\nlogin-gov https://secure.login.gov urn:a\nshop none\nshop\n\n", "init")
		if got.status != exitOK || !strings.Contains(got.err, "login-gov takes private_key_jwt alone") {
			t.Errorf("status %d: %s", got.status, got.err)
		}
	})
	t.Run("the input ends", func(t *testing.T) {
		if got := run(t, "mux\n", "init"); got.status != exitFault || !strings.Contains(got.err, "ended at question 2") {
			t.Errorf("status %d: %s", got.status, got.err)
		}
	})
	t.Run("writes files, and overwrites none", func(t *testing.T) {
		dir := t.TempDir()
		if got := run(t, answers, "init", "-dir", dir); got.status != exitOK || strings.Contains(got.out, "SESSION_KEYS") ||
			!strings.HasPrefix(got.out, "==> what to do in "+dir+", where main.go and .env are <==\n") {
			t.Errorf("status %d:\n%s%s", got.status, got.out, got.err)
		}
		before, err := os.ReadFile(filepath.Join(dir, ".env"))
		if err != nil {
			t.Fatal(err)
		}
		for wrong, want := range map[string]string{dir: "main.go is there already", filepath.Join(dir, "none"): "no such"} {
			if got := run(t, answers, "init", "-dir", wrong); got.status != exitFault || strings.Contains(got.err, "1/5") || !strings.Contains(got.err, want) {
				t.Errorf("status %d for %s, which cannot be used, want one before the first question:\n%s", got.status, wrong, got.err)
			}
		}
		after, err := os.ReadFile(filepath.Join(dir, ".env"))
		if err != nil || !bytes.Equal(before, after) {
			t.Errorf("the file changed, %v", err)
		}
		if info, err := os.Stat(filepath.Join(dir, ".env")); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
	})
}
