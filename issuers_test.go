package oidcgate_test

import (
	"errors"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

const (
	tenantTemplate = "https://id.test/{tenantid}/v2.0"
	shopTenant     = "f8cdef31-a31e-4b4a-93e4-5f571e91255a"
	evilTenant     = "11111111-a31e-4b4a-93e4-5f571e91255a"
	shopTenantURL  = "https://id.test/" + shopTenant + "/v2.0"
)

// tenantProvider is a provider for many tenants. Its user alice is of one of them.
func tenantProvider(t *testing.T, tenant string) *oidcgatetest.Provider {
	t.Helper()
	op := oidcgatetest.NewProvider(t, oidcgatetest.Config{Issuer: tenantTemplate, AccessTokenLifetime: 10 * time.Minute})
	op.SetUser(oidcgatetest.User{Subject: "alice", Claims: map[string]any{"tid": tenant}})
	return op
}

// forTenants configures the gate for such a provider.
func forTenants(op *oidcgatetest.Provider) change {
	return func(_ *oidcgate.Config, p *oidcgate.Provider) {
		p.Endpoints.Discovery, p.Verification.Tenants = op.DiscoveryURL(), []string{shopTenant}
	}
}

func TestTenants(t *testing.T) {
	t.Run("C058 a user of an allowed tenant is one of that tenant's issuer", func(t *testing.T) {
		op := tenantProvider(t, shopTenant)
		w := newWorldOf(t, op, forTenants(op))
		w.login()
		if got := w.get("/whoami").body; !strings.Contains(got, `"iss":"`+shopTenantURL+`"`) {
			t.Errorf("signed in as %s", got)
		}
		a := w.get("/auth/login")
		if !strings.HasPrefix(a.location(), "https://id.test/organizations/v2.0/authorize?") {
			t.Errorf("the login goes to %q", a.location())
		}
	})
	t.Run("C058 a user of another tenant is refused, and the event names the setting", func(t *testing.T) {
		op := tenantProvider(t, evilTenant)
		w := newWorldOf(t, op, forTenants(op))
		w.denied(w.get(w.callbackURL("/app")), http.StatusForbidden, "claim_required")
		w.explains(evilTenant, "Verification.Tenants")
	})
	t.Run("C058 a key of another tenant signs for no user of this one", func(t *testing.T) {
		op := tenantProvider(t, shopTenant)
		w := newWorldOf(t, op, forTenants(op))
		op.Always(oidcgatetest.JWKS, oidcgatetest.EditJSON(func(m map[string]any) {
			m["keys"].([]any)[0].(map[string]any)["issuer"] = "https://id.test/" + evilTenant + "/v2.0"
		}))
		w.denied(w.get(w.callbackURL("/app")), http.StatusBadGateway, "iss_claim")
	})
	t.Run("C058 a session ends with its tenant's place in the list", func(t *testing.T) {
		op := tenantProvider(t, shopTenant)
		var provider oidcgate.Provider
		w := newWorldOf(t, op, forTenants(op), func(_ *oidcgate.Config, p *oidcgate.Provider) { provider = *p })
		w.login()
		for _, row := range []struct{ tenant, subject string }{{evilTenant, ""}, {shopTenant, "alice"}} {
			provider.Verification.Tenants = []string{row.tenant}
			if err := w.gate.SetProviders(provider); err != nil {
				t.Fatal(err)
			}
			if got := w.subject(); got != row.subject {
				t.Errorf("with %s alone: signed in as %q, want %q", row.tenant, got, row.subject)
			}
		}
	})
	inBubble(t, "C081 a refresh keeps the tenant, and cannot change it", func(t *testing.T) {
		op := tenantProvider(t, shopTenant)
		f := newFleetOf(t, op, 1, forTenants(op), func(_ *oidcgate.Config, p *oidcgate.Provider) {
			p.Verification.Tenants = append(p.Verification.Tenants, evilTenant)
		})
		f.login()
		time.Sleep(11 * time.Minute)
		f.mustToken()
		op.SetUser(oidcgatetest.User{Subject: "alice", Claims: map[string]any{"tid": evilTenant}})
		time.Sleep(11 * time.Minute)
		if _, status := f.token(); status == http.StatusOK {
			t.Error("a token for a user of another tenant")
		}
		if got := f.subject(); got != "" {
			t.Errorf("signed in as %q", got)
		}
	})
	inBubble(t, "C122 a logout token of the tenant ends its user's sessions, and one of another tenant does not", func(t *testing.T) {
		op := tenantProvider(t, shopTenant)
		f := newFleetOf(t, op, 1, forTenants(op))
		f.login()
		if a := f.logoutToken(f.logoutClaims("iss", "https://id.test/"+evilTenant+"/v2.0", "sub", "alice")); a.StatusCode != http.StatusBadRequest {
			t.Errorf("that of another tenant: %d", a.StatusCode)
		}
		if got := f.subject(); got != "alice" {
			t.Fatalf("signed in as %q", got)
		}
		if a := f.logoutToken(f.logoutClaims("iss", shopTenantURL, "sub", "alice")); a.StatusCode != http.StatusOK {
			t.Errorf("that of the tenant: %d", a.StatusCode)
		}
		if got := f.subject(); got != "" {
			t.Errorf("signed in as %q", got)
		}
	})
	t.Run("C058 a template without tenants is an error of New", func(t *testing.T) {
		c, p := goodConfig(t)
		p.Issuer, p.Endpoints.Discovery = tenantTemplate, "https://id.test/organizations/v2.0/.well-known/openid-configuration"
		_, err := oidcgate.New(c, p)
		if e, ok := errors.AsType[*oidcgate.ConfigError](err); !ok || !strings.Contains(e.Error(), "Provider.Verification.Tenants") {
			t.Errorf("got %v", err)
		}
	})
}

func TestOtherIssuers(t *testing.T) {
	bare := func(op *oidcgatetest.Provider) {
		op.EveryIDToken(func(j *oidcgatetest.JWT) { j.Claims["iss"] = "id.test" })
	}
	accept := func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Verification.Issuers = []string{"id.test"} }
	inBubble(t, "C058 one user, however the provider writes its issuer", func(t *testing.T) {
		f := newFleet(t, 1, accept)
		bare(f.op)
		f.login()
		who := f.get("/whoami").body
		if !strings.Contains(who, `"iss":"`+f.op.Issuer()+`"`) {
			t.Errorf("signed in as %s", who)
		}
		f.op.EveryIDToken(nil)
		time.Sleep(11 * time.Minute)
		f.mustToken()
		bare(f.op)
		time.Sleep(11 * time.Minute)
		f.mustToken()
		if got := f.get("/whoami").body; got != who {
			t.Errorf("signed in as %s, before as %s", got, who)
		}
		if a := f.logoutToken(f.logoutClaims("iss", "id.test", "sub", "alice")); a.StatusCode != http.StatusOK {
			t.Errorf("its logout token: %d", a.StatusCode)
		}
		if got := f.subject(); got != "" {
			t.Errorf("after the logout: signed in as %q", got)
		}
	})
	t.Run("C058 it is refused where it is not configured", func(t *testing.T) {
		w := newWorld(t)
		bare(w.op)
		w.denied(w.get(w.callbackURL("/app")), http.StatusBadGateway, "iss_claim")
	})
}

func TestDiscoveryElsewhere(t *testing.T) {
	t.Run("C001 C002 the document is elsewhere, the issuer has a slash, and both count as they are", func(t *testing.T) {
		op := oidcgatetest.NewProvider(t, oidcgatetest.Config{Issuer: "https://id.test/", DiscoveryPath: "/application/o/shop/.well-known/openid-configuration"})
		w := newWorldOf(t, op, func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Endpoints.Discovery = op.DiscoveryURL() })
		w.login()
		if got := w.get("/whoami").body; !strings.Contains(got, `"iss":"https://id.test/"`) {
			t.Errorf("signed in as %s", got)
		}
		if got := op.LastRequest(oidcgatetest.Discovery).URL.Path; got != "/application/o/shop/.well-known/openid-configuration" {
			t.Errorf("asked at %q", got)
		}
	})
	t.Run("C002 nobody finds it at the issuer", func(t *testing.T) {
		op := oidcgatetest.NewProvider(t, oidcgatetest.Config{DiscoveryPath: "/elsewhere"})
		w := newWorldOf(t, op)
		if a := w.get("/auth/login"); a.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%d to %q", a.StatusCode, a.location())
		}
	})
}

func TestWithoutPKCE(t *testing.T) {
	op := oidcgatetest.NewProvider(t, oidcgatetest.Config{WithoutPKCE: true})
	t.Run("C019 a provider that fails on PKCE", func(t *testing.T) {
		w := newWorldOf(t, op, func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Request.WithoutPKCE = true })
		w.login()
		for _, e := range []oidcgatetest.Endpoint{oidcgatetest.Authorization, oidcgatetest.Token} {
			form := op.LastRequest(e).Form
			if form.Has("code_challenge") || form.Has("code_challenge_method") || form.Has("code_verifier") {
				t.Errorf("%s: %v", e, form)
			}
		}
		op.NextIDToken(func(j *oidcgatetest.JWT) { j.Claims["nonce"] = "that of a thief" })
		w.browser = w.newBrowser()
		w.denied(w.get(w.callbackURL("/app")), http.StatusBadGateway, "nonce")
	})
	t.Run("C019 it is sent unless the configuration says so", func(t *testing.T) {
		w := newWorldOf(t, op)
		w.denied(w.get(w.callbackURL("/app")), http.StatusBadGateway, "op_error:invalid_request")
	})
}

func TestWithoutNonce(t *testing.T) {
	op := oidcgatetest.NewProvider(t, oidcgatetest.Config{WithoutNonce: true})
	without := func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Verification.WithoutNonce = true }
	t.Run("C065 a provider that drops the nonce", func(t *testing.T) {
		w := newWorldOf(t, op, without)
		w.login()
		if form := op.LastRequest(oidcgatetest.Authorization).Form; form.Get("nonce") == "" || form.Get("code_challenge") == "" {
			t.Errorf("the request: %v", form)
		}
	})
	t.Run("C019 C065 then a stolen code still opens no session", func(t *testing.T) {
		w := newWorldOf(t, op, without)
		thief := w.newBrowser()
		theirs := w.send(thief, http.MethodGet, w.send(thief, http.MethodGet, "/auth/login", "").location(), "").location()
		stolen, err := url.Parse(theirs)
		if err != nil {
			t.Fatal(err)
		}
		a := w.get(edited(t, w.callbackURL("/app"), query("code", stolen.Query().Get("code"))))
		w.denied(a, http.StatusBadGateway, "token_endpoint_error")
	})
	t.Run("C065 it is refused unless the configuration says so, and the log names the setting", func(t *testing.T) {
		w := newWorldOf(t, op)
		w.denied(w.get(w.callbackURL("/app")), http.StatusBadGateway, "nonce")
		w.explains("Verification.WithoutNonce")
	})
}

func TestRequireClaims(t *testing.T) {
	require := func(_ *oidcgate.Config, p *oidcgate.Provider) {
		p.Request.Params = map[string]string{"hd": "shop.example"}
		p.Verification.RequireClaims = map[string][]string{"hd": {"shop.example"}}
	}
	user := func(hd string) oidcgatetest.User {
		return oidcgatetest.User{Subject: "alice", Claims: map[string]any{"hd": hd}}
	}
	t.Run("C067 what was asked for must be proven", func(t *testing.T) {
		w := newWorld(t, require)
		w.op.SetUser(user("shop.example"))
		w.login()
		if got := w.op.LastRequest(oidcgatetest.Authorization).Form.Get("hd"); got != "shop.example" {
			t.Errorf("asked for %q", got)
		}
	})
	for name, claims := range map[string]map[string]any{"another": user("evil.example").Claims, "none": nil} {
		t.Run("C067 a user with "+name, func(t *testing.T) {
			w := newWorld(t, require)
			w.op.SetUser(oidcgatetest.User{Subject: "alice", Claims: maps.Clone(claims)})
			w.denied(w.get(w.callbackURL("/app")), http.StatusForbidden, "claim_required")
			w.explains("hd", "Verification.RequireClaims")
		})
	}
	inBubble(t, "C067 C081 a refresh that brings another ends the session", func(t *testing.T) {
		f := newFleet(t, 1, require)
		f.op.SetUser(user("shop.example"))
		f.login()
		time.Sleep(11 * time.Minute)
		f.mustToken()
		f.op.SetUser(user("evil.example"))
		time.Sleep(11 * time.Minute)
		if _, status := f.token(); status == http.StatusOK {
			t.Error("a token after the user left the organization")
		}
		if got := f.subject(); got != "" {
			t.Errorf("signed in as %q", got)
		}
	})
	t.Run("C067 the gate keeps its own copy of the values", func(t *testing.T) {
		values := map[string][]string{"hd": {"shop.example"}}
		w := newWorld(t, func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Verification.RequireClaims = values })
		values["hd"][0] = "evil.example"
		delete(values, "hd")
		w.op.SetUser(user("shop.example"))
		w.login()
	})
}

func TestRawBasicHint(t *testing.T) {
	for name, row := range map[string]struct{ id, secret string }{
		"a colon": {"shop", "a:b-long-enough"}, "a percent sign": {"shop", "a%b"}, "a plus sign": {"shop", "a+b"},
		"a slash": {"shop", "a/b"}, "an equals sign": {"shop", "ab="}, "a space": {"shop", "a b"}, "a colon in the id": {"urn:shop", "ab"},
	} {
		t.Run("C054 a client that is refused and whose id or secret has "+name, func(t *testing.T) {
			w := newWorld(t, func(_ *oidcgate.Config, p *oidcgate.Provider) {
				p.ClientID, p.Auth = row.id, oidcgate.ClientSecretBasic(row.secret)
			})
			w.op.AddClient(oidcgatetest.Client{ID: row.id, Secret: "another", RedirectURLs: []string{shopURL + "/auth/callback"}})
			w.denied(w.get(w.callbackURL("/app")), http.StatusBadGateway, "token_endpoint_error")
			w.explains("TokenRequest.RawBasic")
		})
	}
	t.Run("C054 otherwise the hint does not mislead", func(t *testing.T) {
		w := newWorld(t, func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Auth = oidcgate.ClientSecretBasic("a-b_c.d9") })
		w.denied(w.get(w.callbackURL("/app")), http.StatusBadGateway, "token_endpoint_error")
		if e := w.failedLogin(); strings.Contains(e.Hint, "RawBasic") {
			t.Errorf("the hint is %q", e.Hint)
		}
	})
	t.Run("C014 HS256 where RS256 is expected", func(t *testing.T) {
		w := newWorld(t)
		w.op.NextIDToken(func(j *oidcgatetest.JWT) { j.SignWith("HS256", []byte(secret)) })
		w.denied(w.get(w.callbackURL("/app")), http.StatusBadGateway, "alg")
		w.explains("Verification.SigningAlgs", "Auth0", "authentik", "Nextcloud", "Django OAuth Toolkit")
	})
}

func TestHybridLoginOfTwoTenants(t *testing.T) {
	t.Run("C039 its ID Tokens must have one issuer", func(t *testing.T) {
		op := tenantProvider(t, shopTenant)
		w := newWorldOf(t, op, forTenants(op), answering("code id_token", "form_post"), func(_ *oidcgate.Config, p *oidcgate.Provider) {
			p.Verification.Tenants = append(p.Verification.Tenants, evilTenant)
		})
		w.op.NextIDToken(func(*oidcgatetest.JWT) {})
		w.op.NextIDToken(func(j *oidcgatetest.JWT) {
			j.Claims["tid"], j.Claims["iss"] = evilTenant, "https://id.test/"+evilTenant+"/v2.0"
		})
		b := w.get(w.get("/auth/login?return_to=%2Fapp").location())
		action, fields, _ := w.postedForm(b.body)
		w.denied(w.arrive(action, fields), http.StatusBadGateway, oidcgate.Reason("iss_claim"))
	})
}

func TestFrontchannelOfATenant(t *testing.T) {
	for tenant, signedIn := range map[string]string{shopTenant: "", evilTenant: "alice"} {
		t.Run("C058 C120 a frame of tenant "+tenant, func(t *testing.T) {
			op := tenantProvider(t, shopTenant)
			w := newWorldOf(t, op, forTenants(op), func(_ *oidcgate.Config, p *oidcgate.Provider) {
				p.Verification.Tenants = append(p.Verification.Tenants, evilTenant)
			})
			w.op.NextIDToken(func(j *oidcgatetest.JWT) { j.Claims["sid"] = "s-1" })
			w.get(w.callbackURL("/app"))
			iss := "https://id.test/" + tenant + "/v2.0"
			w.get("/auth/frontchannel-logout?iss="+url.QueryEscape(iss)+"&sid=s-1", "Sec-Fetch-Dest: iframe")
			if got := w.subject(); got != signedIn {
				t.Errorf("signed in as %q, want %q", got, signedIn)
			}
		})
	}
}

// A provider that writes its issuer in another way does so in the front channel too.
func TestFrontchannelOfAnotherIssuer(t *testing.T) {
	for iss, signedIn := range map[string]string{"id.test": "", "https://id.test": "", "evil.test": "alice", "": "alice"} {
		t.Run("C128 iss "+iss, func(t *testing.T) {
			w := newWorld(t, func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Verification.Issuers = []string{"id.test"} })
			w.op.NextIDToken(func(j *oidcgatetest.JWT) { j.Claims["iss"], j.Claims["sid"] = "id.test", "s-1" })
			w.get(w.callbackURL("/app"))
			w.get("/auth/frontchannel-logout?iss="+url.QueryEscape(iss)+"&sid=s-1", "Sec-Fetch-Dest: iframe")
			if got := w.subject(); got != signedIn {
				t.Errorf("signed in as %q, want %q", got, signedIn)
			}
		})
	}
}
