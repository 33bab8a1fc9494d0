package oidcgate_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
	"github.com/oidcgate/oidcgate/store"
)

// goodConfig is a configuration without fault.
func goodConfig(t *testing.T) (oidcgate.Config, oidcgate.Provider) {
	t.Helper()
	return oidcgate.Config{BaseURL: shopURL, Store: &store.Memory{}, Keys: mustKeys(t, oldKey)},
		oidcgate.Provider{Issuer: "https://id.test", ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)}
}

func TestMostThatIsAllowed(t *testing.T) {
	c, p := goodConfig(t)
	c.Limits.ClockSkew, c.Limits.LoginTimeout, c.API.IntrospectMaxAge = 5*time.Minute, time.Hour, 5*time.Minute
	c.API.Audience = []string{"https://shop.test/api"}
	if _, err := oidcgate.New(c, p); err != nil {
		t.Error(err)
	}
}

func TestFaultsOfConfiguration(t *testing.T) {
	type C = *oidcgate.Config
	type P = *oidcgate.Provider
	for _, row := range []struct {
		name   string
		change func(C, P)
		field  string
		words  []string // the value and the cure
	}{
		{"no BaseURL", func(c C, _ P) { c.BaseURL = "" }, "BaseURL", []string{"empty", "https://shop.example"}},
		{"a BaseURL without scheme", func(c C, _ P) { c.BaseURL = "shop.test" }, "BaseURL", []string{`"shop.test"`, "https://"}},
		{"a BaseURL of another scheme", func(c C, _ P) { c.BaseURL = "ftp://shop.test" }, "BaseURL", []string{`"ftp://shop.test"`, "https://"}},
		{"a BaseURL with a query", func(c C, _ P) { c.BaseURL = "https://shop.test/?a=b" }, "BaseURL", []string{"?a=b", "leave it out"}},
		{"a BaseURL with a fragment", func(c C, _ P) { c.BaseURL = "https://shop.test/#top" }, "BaseURL", []string{"#top", "leave them out"}},
		{"a BaseURL with a password", func(c C, _ P) { c.BaseURL = "https://u:hunter2@shop.test" }, "BaseURL", []string{"shop.test", "leave them out"}},
		{"a BaseURL on http", func(c C, _ P) { c.BaseURL = "http://shop.test" }, "BaseURL", []string{`"http://shop.test"`, "InsecureAllowHTTP"}},
		{"a BaseURL whose host has a wildcard", func(c C, _ P) { c.BaseURL = "https://*.shop.test" }, "BaseURL", []string{"*.shop.test", "host"}},
		{"an Issuer whose host ends a policy", func(_ C, p P) { p.Issuer = "https://x,evil" }, "Provider.Issuer", []string{"x,evil", "host"}},
		{"a BaseURL that only looks like loopback", func(c C, _ P) { c.BaseURL = "http://localhost.evil.example" }, "BaseURL", []string{"InsecureAllowHTTP"}},
		{"a BaseURL with dots in its path", func(c C, _ P) { c.BaseURL = "https://shop.test/a/../b" }, "BaseURL", []string{"/a/../b"}},
		{"a prefix without a slash", func(c C, _ P) { c.Site.Prefix = "auth" }, "Site.Prefix", []string{`"auth"`, `"/auth"`}},
		{"a prefix with a slash behind", func(c C, _ P) { c.Site.Prefix = "/auth/" }, "Site.Prefix", []string{`"/auth/"`}},
		{"a prefix with a parameter", func(c C, _ P) { c.Site.Prefix = "/{auth}" }, "Site.Prefix", []string{`"/{auth}"`}},
		{"no store", func(c C, _ P) { c.Store = nil }, "Store", []string{"nil", "redisstore.New"}},
		{"no keys", func(c C, _ P) { c.Keys = oidcgate.Keys{} }, "Keys", []string{"empty", "openssl rand"}},
		{"a negative idle time", func(c C, _ P) { c.IdleTimeout = -time.Second }, "IdleTimeout", []string{"-1s", "1h"}},
		{"a negative age of claims", func(c C, _ P) { c.Tokens.ClaimsMaxAge = -time.Second }, "Tokens.ClaimsMaxAge", []string{"-1s", "use 0 for none"}},
		{"a negative lifetime", func(c C, _ P) { c.SessionLifetime = -1 }, "SessionLifetime", []string{"-1ns", "24h"}},
		{"a negative attempt time", func(c C, _ P) { c.Limits.LoginTimeout = -1 }, "Limits.LoginTimeout", []string{"10m"}},
		{"a long attempt time", func(c C, _ P) { c.Limits.LoginTimeout = 2 * time.Hour }, "Limits.LoginTimeout", []string{"2h"}},
		{"a negative size", func(c C, _ P) { c.Limits.SessionBytes = -1 }, "Limits.SessionBytes", []string{"-1", "16 KiB"}},
		{"a size without end", func(c C, _ P) { c.Limits.SessionBytes = math.MaxInt }, "Limits.SessionBytes", []string{"64 MiB"}},
		{"a timeout without end", func(c C, _ P) { c.HTTP.Timeout = math.MaxInt64 }, "HTTP.Timeout", []string{"ten years"}},
		{"a lease without end", func(c C, _ P) { c.Tokens.LockLease = 11 * 365 * 24 * time.Hour }, "Tokens.LockLease", []string{"ten years"}},
		{"a negative number of sessions", func(c C, _ P) { c.Limits.UserSessions = -1 }, "Limits.UserSessions", []string{"-1", "use 0 for 100"}},
		{"a leeway of an hour", func(c C, _ P) { c.Limits.ClockSkew = time.Hour }, "Limits.ClockSkew", []string{"1h", "clocks"}},
		{"a negative timeout", func(c C, _ P) { c.HTTP.Timeout = -1 }, "HTTP.Timeout", []string{"10s"}},
		{"an idle time without a unit", func(c C, _ P) { c.IdleTimeout = 30 }, "IdleTimeout", []string{"30ns", "too short", "unit"}},
		{"a lifetime without a unit", func(c C, _ P) { c.SessionLifetime, c.IdleTimeout = 24, 24*time.Hour }, "SessionLifetime", []string{"24ns", "unit"}},
		{"an attempt time without a unit", func(c C, _ P) { c.Limits.LoginTimeout = 600 }, "Limits.LoginTimeout", []string{"600ns", "unit"}},
		{"a leeway without a unit", func(c C, _ P) { c.Limits.ClockSkew = 60 }, "Limits.ClockSkew", []string{"60ns", "unit"}},
		{"a timeout without a unit", func(c C, _ P) { c.HTTP.Timeout = 10 }, "HTTP.Timeout", []string{"10ns", "unit"}},
		{"an age of claims without a unit", func(c C, _ P) { c.Tokens.ClaimsMaxAge = 300 }, "Tokens.ClaimsMaxAge", []string{"300ns", "unit"}},
		{"a token lifetime without a unit", func(c C, _ P) { c.Tokens.Lifetime = 3600 }, "Tokens.Lifetime", []string{"3.6µs", "unit"}},
		{"a margin without a unit", func(c C, _ P) { c.Tokens.RefreshMargin = 60 }, "Tokens.RefreshMargin", []string{"60ns", "unit"}},
		{"a lease without a unit", func(c C, _ P) { c.Tokens.LockLease = 15 }, "Tokens.LockLease", []string{"15ns", "unit"}},
		{"an interval without a unit", func(c C, _ P) { c.Limits.WatchInterval = 1 }, "Limits.WatchInterval", []string{"1ns", "multiply it by time.Second"}},
		{"a lease shorter than three seconds", func(c C, _ P) { c.Tokens.LockLease = 10 * time.Millisecond }, "Tokens.LockLease", []string{"10ms", "second"}},
		{"an age of endpoints without a unit", func(_ C, p P) { p.Endpoints.MaxAge = 3600 }, "Provider.Endpoints.MaxAge", []string{"3.6µs", "unit"}},
		{"an age of keys without a unit", func(_ C, p P) { p.Verification.KeysMaxAge = 3600 }, "Provider.Verification.KeysMaxAge", []string{"3.6µs", "unit"}},
		{"a cookie without its prefix", func(c C, _ P) { c.Site.CookieName = "session" }, "Site.CookieName", []string{`"session"`, `"__Host-Http-session"`}},
		{"a cookie name that is none", func(c C, _ P) { c.Site.CookieName = "__Host-a;b" }, "Site.CookieName", []string{`"__Host-a;b"`, "letters"}},
		{"a cookie with a prefix that http refuses", func(c C, _ P) { c.BaseURL, c.Site.CookieName = "http://localhost", "__Host-a" }, "Site.CookieName", []string{"http"}},
		{"a default path on another site", func(c C, _ P) { c.Site.DefaultPath = "//evil.example" }, "Site.DefaultPath", []string{`"//evil.example"`, `"/"`}},
		{"a default path that is the gate's own", func(c C, _ P) { c.Site.DefaultPath = "/auth/login" }, "Site.DefaultPath", []string{`"/auth/login"`}},
		{"a login page on another site", func(c C, _ P) { c.Site.LoginPage = "//evil.example" }, "Site.LoginPage", []string{`"//evil.example"`, `"/sign-in"`}},
		{"a login page that is the gate's own", func(c C, _ P) { c.Site.LoginPage = "/auth/login" }, "Site.LoginPage", []string{`"/auth/login"`}},
		{"a login page with a query", func(c C, _ P) { c.Site.LoginPage = "/sign-in?a=b" }, "Site.LoginPage", []string{`"/sign-in?a=b"`}},
		{"a login page with a fragment", func(c C, _ P) { c.Site.LoginPage = "/#/sign-in" }, "Site.LoginPage", []string{`"/#/sign-in"`}},
		{"a login page with escapes", func(c C, _ P) { c.Site.LoginPage = "/a%20b" }, "Site.LoginPage", []string{`"/a%20b"`}},
		{"no issuer", func(_ C, p P) { p.Issuer = "" }, "Provider.Issuer", []string{"empty", "discovery document"}},
		{"C002 an issuer on http", func(_ C, p P) { p.Issuer = "http://id.test" }, "Provider.Issuer", []string{`"http://id.test"`, "https"}},
		{"C002 an issuer with a query", func(_ C, p P) { p.Issuer = "https://id.test/?x" }, "Provider.Issuer", []string{"?x", "query"}},
		{"C002 an issuer with a fragment", func(_ C, p P) { p.Issuer = "https://id.test/#x" }, "Provider.Issuer", []string{"#x", "leave them out"}},
		{"C002 an issuer without a scheme", func(_ C, p P) { p.Issuer = "id.test" }, "Provider.Issuer", []string{`"id.test"`, "https://"}},
		{"C005 explicit endpoints without an issuer", func(_ C, p P) {
			p.Issuer, p.Endpoints.Authorization, p.Endpoints.Token, p.Endpoints.JWKS = "", "https://id.test/a", "https://id.test/t", "https://id.test/k"
		}, "Provider.Issuer", []string{"empty"}},
		{"C003 an endpoint on http", func(_ C, p P) { p.Endpoints.Token = "http://id.test/token" }, "Provider.Endpoints.Token", []string{"http://id.test/token", "https"}},
		{"C003 an endpoint with a password", func(_ C, p P) { p.Endpoints.Userinfo = "https://u:hunter2@id.test/u" }, "Provider.Endpoints.Userinfo", []string{"leave them out"}},
		{"C003 a relative endpoint", func(_ C, p P) { p.Endpoints.JWKS = "/jwks" }, "Provider.Endpoints.JWKS", []string{`"/jwks"`}},
		{"no client id", func(_ C, p P) { p.ClientID = "" }, "Provider.ClientID", []string{"empty"}},
		{"no authentication", func(_ C, p P) { p.Auth = oidcgate.ClientAuth{} }, "Provider.Auth", []string{"not set", "ClientSecretBasic"}},
		{"an empty secret", func(_ C, p P) { p.Auth = oidcgate.ClientSecretBasic("") }, "Provider.Auth", []string{"empty secret", "PublicClient"}},
		{"C132 a secret that is too short for HS256", func(_ C, p P) { p.Auth = oidcgate.ClientSecretJWT("short") }, "Provider.Auth", []string{"5 bytes", "32"}},
		{"C088 no key that signs", func(_ C, p P) { p.Auth = oidcgate.PrivateKeyJWT() }, "Provider.ClientKeys", []string{"NewClientKeys"}},
		{"C090 a key that is none", func(_ C, p P) { p.ClientKeys = oidcgate.NewClientKeys([]oidcgate.ClientKey{{Key: "x"}}) }, "Provider.ClientKeys[0]", []string{"no private key"}},
		{"C091 no certificate", func(_ C, p P) { p.Auth = oidcgate.TLSClientAuth(tls.Certificate{}) }, "Provider.Auth", []string{"tls_client_auth", "empty"}},
		{"C091 tokens bound to no certificate", func(_ C, p P) { p.TokenRequest.Binding = oidcgate.MutualTLS(tls.Certificate{}) }, "Provider.TokenRequest.Binding", []string{"no certificate"}},
		{"C091 tokens bound to a certificate of no function", func(_ C, p P) {
			p.TokenRequest.Binding = oidcgate.MutualTLS((func(*tls.CertificateRequestInfo) (*tls.Certificate, error))(nil))
		}, "Provider.TokenRequest.Binding", []string{"no certificate"}},
		{"C091 a transport that shows no certificate", func(c C, p P) {
			p.Auth = oidcgate.TLSClientAuth(newClientCertificate(t))
			c.HTTP.Transport = new(switchable)
		}, "Provider.Auth", []string{"HTTP.Transport", "*http.Transport"}},
		{"a secret with the newline of its file", func(_ C, p P) { p.Auth = oidcgate.ClientSecretBasic("hunter2\n") }, "Provider.Auth", []string{"ends in white space", "newline", "strings.TrimSpace"}},
		{"a secret after a space", func(_ C, p P) { p.Auth = oidcgate.ClientSecretPost(" hunter2") }, "Provider.Auth", []string{"begins with white space", "strings.TrimSpace"}},
		{"a secret of nothing but a newline", func(_ C, p P) { p.Auth = oidcgate.ClientSecretBasic("\r\n") }, "Provider.Auth", []string{"white space"}},
		{"a secret from no function", func(_ C, p P) { p.Auth = oidcgate.ClientSecretPost((func(context.Context) (string, error))(nil)) }, "Provider.Auth", []string{"empty secret"}},
		{"a name that fits no path", func(_ C, p P) { p.Name = "a/b" }, "Name", []string{`"a/b"`, "letters"}},
		{"two scopes in one", func(_ C, p P) { p.Scopes = []string{"email profile"} }, "Provider.Scopes", []string{`"email profile"`, "its own element"}},
		{"C024 a parameter that is the gate's", func(_ C, p P) { p.Request.Params = map[string]string{"State": "x"} }, "Provider.Request.Params", []string{`"State"`, "leave it out"}},
		{"C034 a response mode that is none", func(_ C, p P) { p.Request.ResponseMode = "web_message" }, "Provider.Request.ResponseMode", []string{`"web_message"`, `"query"`}},
		{"C040 an ID Token in the query", func(_ C, p P) { p.Request.ResponseType, p.Request.ResponseMode = "code id_token", "query.jwt" }, "Provider.Request.ResponseMode", []string{`"query.jwt"`, `"form_post"`}},
		{"C040 an access token through the browser", func(_ C, p P) { p.Request.ResponseType = "id_token token" }, "Provider.Request.ResponseType", []string{`"id_token token"`, "stolen"}},
		{"C040 a code and an access token through the browser", func(_ C, p P) { p.Request.ResponseType = "code token" }, "Provider.Request.ResponseType", []string{`"code token"`, "stolen"}},
		{"C038 a response type that is none", func(_ C, p P) { p.Request.ResponseType = "none" }, "Provider.Request.ResponseType", []string{`"none"`, `"code"`}},
		{"C074 userinfo without an access token", func(_ C, p P) { p.Request.ResponseType, p.Userinfo = "id_token", oidcgate.UserinfoRequired }, "Provider.Userinfo", []string{"UserinfoOff"}},
		{"C014 no signature", func(_ C, p P) { p.Verification.SigningAlgs = []string{"none"} }, "Provider.Verification.SigningAlgs", []string{`"none"`, "RS256"}},
		{"C014 a secret that is too short to sign with", func(_ C, p P) {
			p.Auth, p.Verification.SigningAlgs = oidcgate.ClientSecretBasic("a short secret"), []string{"HS256"}
		}, "Provider.Verification.SigningAlgs", []string{"14", "32 bytes"}},
		{"C071 encryption without a key", func(_ C, p P) { p.Verification.EncryptedIDTokens = true }, "Provider.Verification.EncryptedIDTokens", []string{"ClientKeys", "RSA-OAEP-256"}},
		{"C014 the secret as a key", func(_ C, p P) { p.Verification.SigningAlgs = []string{"RS256", "HS256"} }, "Provider.Verification.SigningAlgs", []string{`"HS256"`}},
		{"no userinfo mode", func(_ C, p P) { p.Userinfo = 7 }, "Provider.Userinfo", []string{"7", "UserinfoOptional"}},
		{"a negative refresh", func(_ C, p P) { p.Verification.KeysMaxAge = -1 }, "Provider.Verification.KeysMaxAge", []string{"1h"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, p := goodConfig(t)
			row.change(&c, &p)
			gate, err := oidcgate.New(c, p)
			if err == nil || gate != nil {
				t.Fatalf("New: gate %v, error %v; want an error alone", gate, err)
			}
			fault, ok := errors.AsType[*oidcgate.ConfigError](err)
			if !ok || !strings.HasSuffix(fault.Field, row.field) {
				t.Errorf("the fault is %v, want one of %s", err, row.field)
			}
			for _, word := range row.words {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%q does not say %q", err, word)
				}
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%q shows the password", err)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("one fault is reported as several:\n%v", err)
			}
		})
	}

	t.Run("all faults are reported together", func(t *testing.T) {
		_, err := oidcgate.New(oidcgate.Config{BaseURL: "shop.test", Site: oidcgate.SiteOptions{CookieName: "a"}, Limits: oidcgate.Limits{ClockSkew: -1}},
			oidcgate.Provider{Name: "staff", Auth: oidcgate.ClientSecretBasic("")}, oidcgate.Provider{Name: "Staff"})
		for _, field := range []string{
			"BaseURL", "Limits.ClockSkew", "Store", "Keys", "Provider[staff].Issuer", "Provider[staff].ClientID", "Provider[staff].Auth",
			"Provider[Staff].Name", "Provider[Staff].Issuer", "Provider[Staff].ClientID", "Provider[Staff].Auth",
		} {
			if err == nil || !strings.Contains(err.Error(), "oidcgate: "+field+": ") {
				t.Errorf("%s is not reported in\n%v", field, err)
			}
		}
	})

	t.Run("an empty BaseURL is one fault: what depends on its host is not known", func(t *testing.T) {
		_, p := goodConfig(t)
		_, err := oidcgate.New(oidcgate.Config{DevPage: true}, p)
		if err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "BaseURL: is empty") {
			t.Errorf("New: %v", err)
		}
	})

	t.Run("no provider at all", func(t *testing.T) {
		c, _ := goodConfig(t)
		if _, err := oidcgate.New(c); err == nil || !strings.Contains(err.Error(), "at least one") {
			t.Errorf("New: %v", err)
		}
	})
}

func TestHTTPIsForLoopback(t *testing.T) {
	for _, row := range []struct {
		baseURL, issuer string
		allow, works    bool
	}{
		{"http://localhost:8080", "http://localhost:9090", false, true},
		{"http://127.0.0.1", "http://[::1]:9090", false, true},
		{"http://shop.localhost", "https://id.test", false, true},
		{"http://LOCALHOST:8080", "http://id.LocalHost:9090", false, true},
		{"http://shop.test", "https://id.test", false, false},
		{"http://127.0.0.1.evil.example", "https://id.test", false, false},
		{"http://192.168.1.2", "https://id.test", false, false},
		{"https://shop.test", "http://id.test", false, false},
		{"http://shop.test", "http://id.test", true, true},
	} {
		t.Run(fmt.Sprintf("C002 C004 shop %s, provider %s, allowed %v", row.baseURL, row.issuer, row.allow), func(t *testing.T) {
			c, p := goodConfig(t)
			c.BaseURL, c.InsecureAllowHTTP, p.Issuer = row.baseURL, row.allow, row.issuer
			if _, err := oidcgate.New(c, p); (err == nil) != row.works {
				t.Errorf("New: %v", err)
			}
		})
	}
	t.Run("on loopback store and keys may be left out", func(t *testing.T) {
		_, p := goodConfig(t)
		if _, err := oidcgate.New(oidcgate.Config{BaseURL: "http://localhost:8080"}, p); err != nil {
			t.Errorf("New: %v", err)
		}
	})
}

func TestDefaultPortOfBaseURL(t *testing.T) {
	for baseURL, want := range map[string]string{
		"https://SHOP.test:443":      "https://shop.test",
		"https://shop.test:":         "https://shop.test",
		"http://localhost:80/shop":   "http://localhost/shop",
		"https://[::1]:443":          "https://[::1]",
		"https://shop.test:8443":     "https://shop.test:8443",
		"https://shop.test:80":       "https://shop.test:80",
		"http://localhost:443":       "http://localhost:443",
		"https://[2001:db8::443]/ab": "https://[2001:db8::443]/ab",
	} {
		t.Run("C017 C116 of "+baseURL, func(t *testing.T) {
			c, p := goodConfig(t)
			c.BaseURL = baseURL
			gate, err := oidcgate.New(c, p)
			if err != nil {
				t.Fatal(err)
			}
			if got := gate.LoginURL(""); got != want+"/auth/login" {
				t.Errorf("LoginURL %q, want that of %s", got, want)
			}
			// A proxy writes another Host, and the browser is too old for Sec-Fetch-Site.
			r := httptest.NewRequest(http.MethodPost, "http://10.0.0.7/auth/logout", nil)
			origin, _ := url.Parse(want)
			r.Header.Set("Origin", origin.Scheme+"://"+origin.Host)
			rec := httptest.NewRecorder()
			gate.Wrap(http.NotFoundHandler()).ServeHTTP(rec, r)
			if rec.Code != http.StatusOK {
				t.Errorf("a logout from the site itself: %d\n%s", rec.Code, rec.Body)
			}
		})
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	const canary = "c4n4ry-secret"
	c, p := goodConfig(t)
	c.Keys = mustKeys(t, newKey)
	p.Auth = oidcgate.ClientSecretPost(canary)
	gate, err := oidcgate.New(c, p)
	if err != nil {
		t.Fatal(err)
	}
	key := []byte("new key of the shop, 32 bytes ..")[:8]
	fingerprints := []string{canary, newKey, newKey[:12], string(key), fmt.Sprint(key)[1:20], fmt.Sprintf("%x", key), fmt.Sprintf("0x%x, 0x%x, 0x%x", key[0], key[1], key[2])}
	for name, value := range map[string]any{
		"Config": c, "*Config": &c, "Provider": p, "*Provider": &p, "ClientAuth": p.Auth, "*ClientAuth": &p.Auth,
		"Keys": c.Keys, "*Keys": &c.Keys, "Gate": gate, "Gate by value": struct{ G *oidcgate.Gate }{gate},
		"providers": []oidcgate.Provider{p}, "both": struct {
			C oidcgate.Config
			P oidcgate.Provider
		}{c, p},
	} {
		for form, text := range printed(t, value) {
			for _, secret := range fingerprints {
				if strings.Contains(text, secret) {
					t.Errorf("C016 %s under %s shows %q:\n%s", name, form, secret, text)
				}
			}
			if strings.Contains(name, "ClientAuth") || strings.Contains(name, "Keys") {
				if !strings.Contains(text, "REDACTED") {
					t.Errorf("C016 %s under %s does not say REDACTED: %s", name, form, text)
				}
			}
		}
	}
}

// printed returns a value in every form in which it may come into a log.
func printed(t *testing.T, value any) map[string]string {
	t.Helper()
	forms := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		forms[verb] = fmt.Sprintf(verb, value)
	}
	if text, err := json.Marshal(value); err == nil {
		forms["JSON"] = string(text)
	}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("", "value", value)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("", "value", value)
	forms["slog"] = log.String()
	return forms
}

func TestParseKeys(t *testing.T) {
	for _, row := range []struct {
		name, text, problem string // problem "": they are good
	}{
		{"one", oldKey, ""},
		{"two, with spaces", " " + oldKey + " ,\n" + newKey + " ", ""},
		{"without padding", strings.TrimRight(oldKey, "="), ""},
		{"none", "", ""},
		{"too short", oldKey + ",c2hvcnQ=", "key 2 of 2"},
		{"no base64", "not/base64!," + oldKey, "key 1 of 2"},
		{"a placeholder", strings.Repeat("A", 43), "not random"},
		{"seven different bytes", base64.StdEncoding.EncodeToString([]byte(strings.Repeat("1234567", 4) + "1234")), "not random"},
		{"eight different bytes", base64.StdEncoding.EncodeToString([]byte(strings.Repeat("12345678", 4))), ""},
		{"a comma too many", oldKey + ",", "key 2 of 2"},
		{"the same key twice", oldKey + "," + oldKey, "key 2 is key 1 again"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := oidcgate.ParseKeys(row.text)
			if (err == nil) != (row.problem == "") || err != nil && !strings.Contains(err.Error(), row.problem) {
				t.Errorf("ParseKeys: %v, want %q", err, row.problem)
			}
			if err != nil && (strings.Contains(err.Error(), "not/base64") || strings.Contains(err.Error(), oldKey[:8])) {
				t.Errorf("the error shows a key: %v", err)
			}
		})
	}
}

func TestNewDoesNothing(t *testing.T) {
	t.Run("it calls nobody and starts no goroutine", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, p := goodConfig(t)
			records := &tap{Store: c.Store}
			c.Store, c.HTTP.Transport = records, nobody{t}
			before := runtime.NumGoroutine()
			if _, err := oidcgate.New(c, p); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if after := runtime.NumGoroutine(); after > before {
				t.Errorf("%d goroutines, before %d", after, before)
			}
			if len(records.since()) != 0 {
				t.Errorf("the store got %+v", records.since())
			}
		})
	})

	t.Run("it keeps copies: changing the configuration later changes nothing", func(t *testing.T) {
		scopes := []string{"email"}
		algs := []string{"RS256"}
		params := map[string]string{"ui_locales": "de"}
		w := newWorld(t, func(_ *oidcgate.Config, p *oidcgate.Provider) {
			p.Scopes, p.Verification.SigningAlgs, p.Request.Params = scopes, algs, params
		})
		scopes[0], algs[0] = "admin", "none"
		params["ui_locales"], params["redirect_uri"] = "en", "https://evil.example"
		_, q := split(t, w.get("/auth/login").location())
		if q.Get("scope") != "openid email" || q.Get("ui_locales") != "de" || q.Get("redirect_uri") != shopURL+"/auth/callback" {
			t.Errorf("the authorization request is %v", q)
		}
		w.login()
	})

	t.Run("defaults fill in what is zero", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			var id *oidcgate.Identity
			w.handler = w.gate.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { id, _ = oidcgate.FromContext(r.Context()) }))
			callback := w.callbackURL("/auth/login")
			if _, err := w.browser.Get(callback); err != nil {
				t.Fatal(err)
			}
			w.get("/")
			if d := time.Until(id.Expires()); d != 24*time.Hour {
				t.Errorf("the session ends in %v", d)
			}
			if d := time.Until(id.IdleExpires()); d != time.Hour {
				t.Errorf("unused, it ends in %v", d)
			}
			if _, q := split(t, w.op.LastRequest(oidcgatetest.Authorization).URL.String()); q.Get("response_mode") != "" {
				t.Errorf("response_mode %q is sent though it is not set", q.Get("response_mode"))
			}
		})
	})

	t.Run("C105 an idle time beyond the lifetime is the lifetime", func(t *testing.T) {
		var ends, idle time.Time
		w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.IdleTimeout, c.SessionLifetime = 48*time.Hour, time.Hour
			c.OnLogin = func(_ context.Context, l *oidcgate.Login) error {
				ends, idle = l.Identity().Expires(), l.Identity().IdleExpires()
				return nil
			}
		})
		w.login()
		if ends.IsZero() || !idle.Equal(ends) {
			t.Errorf("the session ends at %v, unused at %v", ends, idle)
		}
	})

	t.Run("Close returns when the events are delivered, or with the context", func(t *testing.T) {
		w := newWorld(t)
		if err := w.gate.Wait(t.Context()); err != nil {
			t.Errorf("Close: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := w.gate.Wait(ctx); err != nil {
			t.Errorf("Close of a gate at rest: %v", err)
		}
	})
}

// nobody is a transport that must not be used.
type nobody struct{ t *testing.T }

func (n nobody) RoundTrip(r *http.Request) (*http.Response, error) {
	n.t.Errorf("%s %s", r.Method, r.URL)
	return nil, errors.New("nobody is there")
}

func TestTransportThatIsNil(t *testing.T) {
	t.Run("a nil pointer is a fault, beside all others", func(t *testing.T) {
		var none *http.Transport
		_, err := oidcgate.New(oidcgate.Config{
			BaseURL: "http://localhost:8080", IdleTimeout: -1, HTTP: oidcgate.HTTPOptions{Transport: none, ResourceTransport: none},
		}, oidcgate.Provider{
			Issuer: "https://id.test", ClientID: "shop", Auth: oidcgate.ClientSecretPost(secret),
			TokenRequest: oidcgate.TokenRequest{Binding: oidcgate.MutualTLS(newClientCertificate(t))},
		})
		for _, want := range []string{"HTTP.Transport: is a nil *http.Transport", "HTTP.ResourceTransport: is a nil *http.Transport", "IdleTimeout"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
		}
	})
}
