package oidcgate_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
	"github.com/oidcgate/oidcgate/store"
)

// fapi is a client of FAPI 2.0 with a key, at a provider that signs by ES256.
func fapi(t *testing.T, profile oidcgate.Profile) *world {
	t.Helper()
	key := newClientKey(t)
	op := oidcgatetest.NewProvider(t, oidcgatetest.Config{Algorithm: "ES256", DPoPNonces: true, PushedRequests: true})
	w := newWorldOf(t, op, func(_ *oidcgate.Config, p *oidcgate.Provider) {
		p.Profile, p.Auth, p.TokenRequest.Binding = profile, oidcgate.PrivateKeyJWT(), oidcgate.DPoP()
		p.ClientKeys = oidcgate.NewClientKeys([]oidcgate.ClientKey{{Key: key}})
	})
	w.register(func(c *oidcgatetest.Client) {
		c.AuthMethod = oidcgatetest.PrivateKeyJWT
		c.Keys, _ = w.publishedKeys("/auth/jwks")
	})
	return w
}

func TestFAPI2(t *testing.T) {
	for profile, signed := range map[oidcgate.Profile]bool{oidcgate.FAPI2Security: false, oidcgate.FAPI2MessageSigning: true} {
		name := map[bool]string{false: "the security profile", true: "message signing"}[signed]
		t.Run("C130 "+name+": a login", func(t *testing.T) {
			w := fapi(t, profile)
			u := w.authorization("/auth/login?return_to=/app")
			if q := u.Query(); len(q) != 2 || q.Get("client_id") != "shop" || q.Get("request_uri") == "" {
				t.Errorf("C096 the browser carries %s", u)
			}
			pushed := w.op.LastRequest(oidcgatetest.PushedRequest).Form
			if pushed.Get("client_assertion") == "" || pushed.Has("request") != signed {
				t.Errorf("C130 pushed %v", pushed)
			}
			a := w.finishLogin(u.String())
			if a.location() != shopURL+"/app" {
				t.Fatalf("%d\n%s\n%s", a.StatusCode, a.body, w.logged())
			}
			if w.op.LastRequest(oidcgatetest.Token).Header.Get("DPoP") == "" {
				t.Error("C130 the tokens are not bound")
			}
			if strings.Contains(a.Request.URL.RawQuery, "response=") != signed {
				t.Errorf("C130 the response came as %s", a.Request.URL)
			}
		})
	}
	t.Run("C130 a provider that does not announce iss is refused", func(t *testing.T) {
		w := fapi(t, oidcgate.FAPI2Security)
		w.op.Always(oidcgatetest.Discovery, oidcgatetest.EditJSON(func(m map[string]any) {
			delete(m, "authorization_response_iss_parameter_supported")
		}))
		w.denied(w.get("/auth/login"), http.StatusServiceUnavailable, "metadata_invalid")
	})
	t.Run("C130 a provider without pushed requests is refused", func(t *testing.T) {
		w := fapi(t, oidcgate.FAPI2Security)
		w.op.Always(oidcgatetest.Discovery, oidcgatetest.EditJSON(func(m map[string]any) {
			delete(m, "pushed_authorization_request_endpoint")
		}))
		if a := w.get("/auth/login"); a.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%d to %q", a.StatusCode, a.location())
		}
	})
	t.Run("C130 an ID Token by RS256 is refused", func(t *testing.T) {
		w := fapi(t, oidcgate.FAPI2Security)
		w.op.AddKey("RS256")
		w.denied(w.finishLogin(w.authorization("/auth/login").String()), http.StatusBadGateway, "alg")
	})
}

func TestFAPI2Contradictions(t *testing.T) {
	key := newClientKey(t)
	rsaKey := newClientKeyRSA(t)
	for _, row := range []struct {
		name, field string
		change      func(*oidcgate.Config, *oidcgate.Provider)
	}{
		{"a secret", "Provider.Auth", func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Auth = oidcgate.ClientSecretBasic(secret) }},
		{"a public client", "Provider.Auth", func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Auth = oidcgate.PublicClient() }},
		{"a secret that signs", "Provider.Auth", func(_ *oidcgate.Config, p *oidcgate.Provider) {
			p.Auth = oidcgate.ClientSecretJWT(strings.Repeat("s", 32))
		}},
		{"bearer tokens", "Provider.TokenRequest.Binding", func(_ *oidcgate.Config, p *oidcgate.Provider) {
			p.TokenRequest.Binding = oidcgate.TokenBinding{}
		}},
		{"another audience of assertions", "Provider.TokenRequest.AssertionAudience", func(_ *oidcgate.Config, p *oidcgate.Provider) {
			p.TokenRequest.AssertionAudience = "https://id.test/token"
		}},
		{"JSON", "Provider.TokenRequest.JSON", func(_ *oidcgate.Config, p *oidcgate.Provider) { p.TokenRequest.JSON = true }},
		{"requests that are not pushed", "Provider.Request.Pushed", func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Request.Pushed = oidcgate.PushedOff }},
		{"a hybrid flow", "Provider.Request.ResponseType", func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Request.ResponseType = "code id_token" }},
		{"a form_post", "Provider.Request.ResponseMode", func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Request.ResponseMode = "form_post" }},
		{"errors without iss", "Provider.Verification.ResponseIss", func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Verification.ResponseIss = oidcgate.IssInCodes }},
		{"any response without iss", "Provider.Verification.ResponseIss", func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Verification.ResponseIss = oidcgate.IssOptional }},
		{"no PKCE", "Provider.Request.WithoutPKCE", func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Request.WithoutPKCE = true }},
		{"no nonce", "Provider.Verification.WithoutNonce", func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Verification.WithoutNonce = true }},
		{"another issuer", "Provider.Verification.Issuers", func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Verification.Issuers = []string{"id.example"} }},
		{"RS256", "Provider.Verification.SigningAlgs", func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Verification.SigningAlgs = []string{"RS256"} }},
		{"an endpoint by hand", "Provider.Endpoints", func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Endpoints.Token = "https://id.test/token" }},
		{"http", "Provider.Issuer", func(c *oidcgate.Config, _ *oidcgate.Provider) { c.InsecureAllowHTTP = true }},
		{"a key that signs by RS256", "Provider.ClientKeys", func(_ *oidcgate.Config, p *oidcgate.Provider) {
			p.ClientKeys = oidcgate.NewClientKeys([]oidcgate.ClientKey{{Key: rsaKey}})
		}},
		{"unsigned responses with message signing", "Provider.Request.ResponseMode", func(_ *oidcgate.Config, p *oidcgate.Provider) {
			p.Profile, p.Request.ResponseMode = oidcgate.FAPI2MessageSigning, "query"
		}},
		{"no key to sign requests with", "Provider.ClientKeys", func(c *oidcgate.Config, p *oidcgate.Provider) {
			p.Profile, p.ClientKeys = oidcgate.FAPI2MessageSigning, oidcgate.ClientKeys{}
			p.Auth, c.HTTP.Transport = oidcgate.TLSClientAuth(newClientCertificate(t)), nil
		}},
	} {
		t.Run("C130 "+row.name, func(t *testing.T) {
			c, p := goodConfig(t)
			p.Profile, p.Auth, p.TokenRequest.Binding = oidcgate.FAPI2Security, oidcgate.PrivateKeyJWT(), oidcgate.DPoP()
			p.ClientKeys = oidcgate.NewClientKeys([]oidcgate.ClientKey{{Key: key}})
			row.change(&c, &p)
			_, err := oidcgate.New(c, p)
			if err == nil || !strings.Contains(err.Error(), row.field+":") || !strings.Contains(err.Error(), "FAPI") {
				t.Errorf("error %v, want one of %s", err, row.field)
			}
		})
	}
	t.Run("C130 what contradicts nothing", func(t *testing.T) {
		c, p := goodConfig(t)
		p.Profile, p.Auth, p.TokenRequest.Binding = oidcgate.FAPI2MessageSigning, oidcgate.PrivateKeyJWT(), oidcgate.DPoP()
		p.ClientKeys = oidcgate.NewClientKeys([]oidcgate.ClientKey{{Key: rsaKey, Algorithm: "PS256"}, {Key: key}})
		if _, err := oidcgate.New(c, p); err != nil {
			t.Error(err)
		}
	})
}

func TestFAPI2Certificates(t *testing.T) {
	rsaKey := func(bits int) crypto.Signer {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	ecKey := func(curve elliptic.Curve) crypto.Signer {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	for _, row := range []struct {
		name string
		key  crypto.Signer
		weak bool
	}{
		{"RSA with 1024 bits", rsaKey(1024), true},
		{"RSA with 2048 bits", rsaKey(2048), false},
		{"P-224", ecKey(elliptic.P224()), true},
		{"P-256", ecKey(elliptic.P256()), false},
		{"P-384", ecKey(elliptic.P384()), false},
	} {
		certificate := tls.Certificate{Certificate: [][]byte{{}}, PrivateKey: row.key}
		for _, use := range []struct {
			field  string
			change func(*oidcgate.Provider)
		}{
			{"Auth", func(p *oidcgate.Provider) { p.Auth = oidcgate.TLSClientAuth(certificate) }},
			{"Auth", func(p *oidcgate.Provider) { p.Auth = oidcgate.SelfSignedTLSClientAuth(certificate) }},
			{"TokenRequest.Binding", func(p *oidcgate.Provider) { p.TokenRequest.Binding = oidcgate.MutualTLS(certificate) }},
		} {
			for profile, strict := range map[oidcgate.Profile]bool{0: false, oidcgate.FAPI2Security: true, oidcgate.FAPI2MessageSigning: true} {
				t.Run(fmt.Sprintf("C130 a certificate with %s as %s, profile %d", row.name, use.field, profile), func(t *testing.T) {
					c, p := goodConfig(t)
					p.Profile, p.Auth, p.TokenRequest.Binding = profile, oidcgate.PrivateKeyJWT(), oidcgate.DPoP()
					p.ClientKeys = oidcgate.NewClientKeys([]oidcgate.ClientKey{{Key: newClientKey(t)}})
					c.HTTP.Transport = nil
					use.change(&p)
					_, err := oidcgate.New(c, p)
					if refused := err != nil; refused != (row.weak && strict) {
						t.Errorf("error %v", err)
					}
					if err != nil && (!strings.Contains(err.Error(), "Provider."+use.field+":") || !strings.Contains(err.Error(), "2048")) {
						t.Errorf("error %v, want one of %s", err, use.field)
					}
				})
			}
		}
	}
}

func TestLoginsThatOthersBegin(t *testing.T) {
	open := func(t *testing.T) *world {
		return newWorld(t, func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Request.ThirdParty = true })
	}
	// follow goes from the address to the provider, or to where it ends.
	follow := func(w *world, method, form string, params url.Values) (last answer, target string) {
		target = "/auth/initiate"
		if method == http.MethodGet {
			target += "?" + params.Encode()
		}
		a := w.send(w.browser, method, target, form, "Sec-Fetch-Site: cross-site")
		for range 4 {
			if !strings.HasPrefix(a.location(), shopURL+"/auth/") {
				return a, a.location()
			}
			a = w.get(a.location(), "Sec-Fetch-Site: cross-site")
		}
		return a, a.location()
	}
	toProvider := func(t *testing.T, w *world, target string) url.Values {
		t.Helper()
		u, err := url.Parse(target)
		if err != nil || !strings.HasPrefix(target, w.op.Issuer()+"/authorize?") {
			t.Fatalf("led to %q, want the provider", target)
		}
		return u.Query()
	}
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		t.Run("C027 "+method+": iss, login_hint and target_link_uri", func(t *testing.T) {
			w := open(t)
			params := url.Values{"iss": {w.op.Issuer()}, "login_hint": {"alice@example.com"}, "target_link_uri": {shopURL + "/app?x=1"}, "scope": {"admin"}, "redirect_uri": {"https://evil.example"}}
			_, target := follow(w, method, params.Encode(), params)
			q := toProvider(t, w, target)
			if q.Get("login_hint") != "alice@example.com" || q.Get("redirect_uri") != shopURL+"/auth/callback" || strings.Contains(q.Get("scope"), "admin") {
				t.Errorf("C024 asked with %v", q)
			}
			if a := w.finishLogin(target); a.location() != shopURL+"/app?x=1" || w.subject() != "alice" {
				t.Errorf("it ends at %q", a.location())
			}
		})
	}
	t.Run("C027 iss alone is enough", func(t *testing.T) {
		w := open(t)
		_, target := follow(w, http.MethodGet, "", url.Values{"iss": {w.op.Issuer()}})
		toProvider(t, w, target)
		if a := w.finishLogin(target); a.location() != shopURL+"/" {
			t.Errorf("it ends at %q", a.location())
		}
	})
	for name, params := range map[string]url.Values{
		"another issuer": {"iss": {"https://evil.example"}}, "no issuer": {}, "two issuers": {"iss": {"https://id.test", "https://evil.example"}},
		"a slash more": {"iss": {"https://id.test/"}},
	} {
		t.Run("C027 "+name+": 400, and nobody is asked", func(t *testing.T) {
			w := open(t)
			a, _ := follow(w, http.MethodGet, "", params)
			if a.StatusCode != http.StatusBadRequest || w.op.Count(oidcgatetest.Discovery) != 0 || len(a.Cookies()) != 0 {
				t.Errorf("%d, %d requests to the provider, cookies %v", a.StatusCode, w.op.Count(oidcgatetest.Discovery), a.Cookies())
			}
			if a.Header.Get("X-Frame-Options") != "DENY" {
				t.Error("the page may be framed")
			}
		})
	}
	for _, target := range []string{"//evil.example", "https://evil.example/x", shopURL + ".evil.example/", "/auth/logout", "javascript:alert(1)", shopURL + "//evil.example"} {
		t.Run("C027 the target "+target+" is replaced", func(t *testing.T) {
			w := open(t)
			_, address := follow(w, http.MethodGet, "", url.Values{"iss": {w.op.Issuer()}, "target_link_uri": {target}})
			if a := w.finishLogin(address); a.location() != shopURL+"/" {
				t.Errorf("it ends at %q", a.location())
			}
		})
	}
	for _, site := range []string{"cross-site", "same-site", "same-origin"} {
		t.Run("C028 who is signed in stays so: "+site, func(t *testing.T) {
			w := open(t)
			w.login()
			w.op.SetUser(oidcgatetest.User{Subject: "mallory"})
			params := url.Values{"iss": {w.op.Issuer()}, "login_hint": {"mallory"}, "target_link_uri": {shopURL + "/app"}}
			if a := w.get("/auth/initiate?"+params.Encode(), "Sec-Fetch-Site: "+site); a.location() != shopURL+"/app" {
				t.Errorf("%d to %q", a.StatusCode, a.location())
			}
			if got := w.subject(); got != "alice" {
				t.Errorf("signed in: %q", got)
			}
		})
	}
	for _, path := range []string{"/auth/initiate?iss=https%3A%2F%2Fid.test", "/auth/login"} {
		t.Run("C028 F16 while the store cannot say who is signed in, a link of another site to "+path+" begins no login", func(t *testing.T) {
			tally := &tallyStore{Store: &store.Memory{}}
			w := newWorld(t, func(c *oidcgate.Config, p *oidcgate.Provider) { c.Store, p.Request.ThirdParty = tally, true })
			w.login()
			tally.ill.Store(true)
			a := w.get(path, "Sec-Fetch-Site: cross-site")
			if strings.HasPrefix(a.location(), shopURL+"/auth/login") {
				a = w.get(a.location(), "Sec-Fetch-Site: cross-site")
			}
			if a.location() != shopURL+"/" {
				t.Errorf("%d to %q", a.StatusCode, a.location())
			}
			tally.ill.Store(false)
			if got := w.subject(); got != "alice" {
				t.Errorf("signed in: %q", got)
			}
		})
	}
	t.Run("C027 a form that cannot be read: 400, and nobody is asked", func(t *testing.T) {
		w := open(t)
		a, _ := follow(w, http.MethodPost, "iss="+strings.Repeat("x", 40<<10), nil)
		if a.StatusCode != http.StatusBadRequest || w.op.Count(oidcgatetest.Discovery) != 0 {
			t.Errorf("%d, %d requests to the provider", a.StatusCode, w.op.Count(oidcgatetest.Discovery))
		}
	})
	for _, method := range []string{http.MethodPut, http.MethodHead, http.MethodDelete} {
		t.Run("C027 "+method+" is refused", func(t *testing.T) {
			w := open(t)
			a := w.send(w.browser, method, "/auth/initiate?iss="+w.op.Issuer(), "")
			if a.StatusCode != http.StatusMethodNotAllowed || a.Header.Get("Allow") != "GET, POST" || a.location() != "" {
				t.Errorf("%d, Allow %q, to %q", a.StatusCode, a.Header.Get("Allow"), a.location())
			}
		})
	}
	t.Run("C027 the issuer in another of its forms", func(t *testing.T) {
		w := newWorld(t, func(_ *oidcgate.Config, p *oidcgate.Provider) {
			p.Request.ThirdParty, p.Verification.Issuers = true, []string{"id.test"}
		})
		_, target := follow(w, http.MethodGet, "", url.Values{"iss": {"id.test"}})
		toProvider(t, w, target)
	})
	t.Run("C027 without the field the address is the application's", func(t *testing.T) {
		w := newWorld(t)
		if a := w.get("/auth/initiate?iss=" + w.op.Issuer()); a.body != "home" {
			t.Errorf("%d %q", a.StatusCode, a.body)
		}
		if u := w.authorization("/auth/login?login_hint=mallory"); u.Query().Has("login_hint") {
			t.Error("C024 a link chose login_hint")
		}
	})
}
