package op_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/oidcgate/oidcgate/internal/op"
)

const (
	template = "https://login.example/{tenantid}/v2.0"
	tenant   = "f8cdef31-a31e-4b4a-93e4-5f571e91255a"
	tenant2  = "9188040d-6c67-4c5b-b112-36a304b66dad"
	metadir  = "https://login.example/organizations/v2.0/.well-known/openid-configuration"
)

func issuerOf(tenant string) string { return strings.Replace(template, "{tenantid}", tenant, 1) }

// tenants configures a client for two tenants.
func tenants(cfg *op.Config) {
	cfg.Issuer, cfg.Tenants, cfg.Endpoints.Discovery = template, []string{tenant, tenant2}, metadir
}

// tenantsOP is a provider with many tenants. Its keys have the members of key.
func tenantsOP(key map[string]any) *testOP {
	o := newOP()
	o.handlers["/organizations/v2.0/.well-known/openid-configuration"] =
		answerJSON(metadata(map[string]any{"issuer": template}))
	o.set("jwks", answerJSON(keySet(changed(jwk(rsaKey().Public(), "k1"), key))))
	return o
}

func TestTenants(t *testing.T) {
	of := func(id string) map[string]any { return map[string]any{"iss": issuerOf(id), "tid": id} }
	literal := func(id string) map[string]any { return map[string]any{"issuer": issuerOf(id)} }
	all := map[string]any{"issuer": template}
	for _, tt := range []struct {
		name   string
		key    map[string]any
		claims map[string]any
		reason string
	}{
		{"C058 an allowed tenant", all, of(tenant), ""},
		{"C058 another allowed one", all, of(tenant2), ""},
		{"C058 a key that says nothing", nil, of(tenant), ""},
		{"C058 a key of this tenant", literal(tenant), of(tenant), ""},
		{"C058 a key of another tenant", literal(tenant2), of(tenant), "iss_claim"},
		{"C058 a key whose issuer is no text", map[string]any{"issuer": 1}, of(tenant), "jwks_unavailable"},
		{"C058 a key whose issuer is empty", map[string]any{"issuer": ""}, of(tenant), "jwks_unavailable"},
		{"C058 a tenant that is not allowed", all, of("11111111-a31e-4b4a-93e4-5f571e91255a"), "claim_required"},
		{"C058 a tenant in capitals", all, of(strings.ToUpper(tenant)), "claim_required"},
		{"C058 an allowed tid with the issuer of another", all,
			map[string]any{"iss": issuerOf("x"), "tid": tenant}, "iss_claim"},
		{"C058 an allowed tid with the issuer of another allowed one", all,
			map[string]any{"iss": issuerOf(tenant2), "tid": tenant}, "iss_claim"},
		{"C058 no tid", all, map[string]any{"iss": issuerOf(tenant)}, "claim_required"},
		{"C058 tid is a list", all,
			map[string]any{"iss": issuerOf(tenant), "tid": []string{tenant}}, "claim_required"},
		{"C058 the template itself", all, map[string]any{"iss": template, "tid": tenant}, "iss_claim"},
		{"C058 the template as tid", all, map[string]any{"iss": template, "tid": "{tenantid}"}, "claim_required"},
		{"C058 a slash more", all, map[string]any{"iss": issuerOf(tenant) + "/", "tid": tenant}, "iss_claim"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := tenantsOP(tt.key).client(tenants)
			raw := signed(goodHeader, encode(identity(tt.claims)))
			id, err := c.VerifyIDToken(t.Context(), raw, "at-1", op.Expectation{Nonce: nonce})
			e := wantReason(t, err, tt.reason)
			if e != nil && (e.Status == http.StatusForbidden) != (tt.reason == "claim_required") {
				t.Errorf("status %d", e.Status)
			}
			if v, _ := id.Get("iss"); e == nil && string(v.AppendJSON(nil)) != `"`+tt.claims["iss"].(string)+`"` {
				t.Errorf("the issuer is %s", v.AppendJSON(nil))
			}
		})
	}
	t.Run("C058 one key for two issuers, in two entries", func(t *testing.T) {
		o := tenantsOP(nil)
		good := jwk(rsaKey().Public(), "k1")
		o.set("jwks", answerJSON(keySet(changed(good, literal(tenant2)), changed(good, literal(tenant)))))
		c := o.client(tenants)
		for _, id := range []string{tenant, tenant2} {
			_, err := c.VerifyIDToken(t.Context(), signed(goodHeader, encode(identity(of(id)))), "at-1",
				op.Expectation{Nonce: nonce})
			wantReason(t, err, "")
		}
	})
	t.Run("C058 a provider of one tenant may say in its key set what it likes", func(t *testing.T) {
		o := newOP() // as Entra does at the address of one tenant, with the template
		o.set("jwks", answerJSON(keySet(changed(jwk(rsaKey().Public(), "k1"), all))))
		_, err := o.client().VerifyIDToken(t.Context(), signed(goodHeader, encode(identity(nil))), "at-1", op.Expectation{Nonce: nonce})
		wantReason(t, err, "")
	})
	t.Run("C001 the document has the template, or it is refused", func(t *testing.T) {
		o := tenantsOP(nil)
		if m, err := o.client(tenants).Metadata(t.Context()); err != nil || m.Issuer != template {
			t.Errorf("%+v, %v", m, err)
		}
		o.handlers["/organizations/v2.0/.well-known/openid-configuration"] =
			answerJSON(metadata(map[string]any{"issuer": issuerOf(tenant)}))
		_, err := o.client(tenants).Metadata(t.Context())
		wantReason(t, err, "issuer_mismatch")
		o.set("discovery", answerJSON(metadata(map[string]any{"issuer": template})))
		_, err = o.client().Metadata(t.Context())
		if e := wantReason(t, err, "issuer_mismatch"); !strings.Contains(e.Hint, "Verification.Tenants") {
			t.Errorf("the hint is %q", e.Hint)
		}
	})
	t.Run("C081 a refresh does not change the tenant", func(t *testing.T) {
		c := tenantsOP(all).client(tenants)
		raw := signed(goodHeader, encode(identity(of(tenant2))))
		_, _, err := c.VerifyRefreshed(t.Context(), raw, "", op.Original{Issuer: issuerOf(tenant), Subject: subject, Nonce: nonce})
		wantReason(t, err, "iss_claim")
		_, _, err = c.VerifyRefreshed(t.Context(), raw, "", op.Original{Issuer: issuerOf(tenant2), Subject: subject, Nonce: nonce})
		wantReason(t, err, "")
	})
	t.Run("whose sessions are accepted", func(t *testing.T) {
		c := tenantsOP(nil).client(tenants)
		for iss, want := range map[string]bool{
			issuerOf(tenant): true, issuerOf(tenant2): true,
			issuerOf("other"): false, template: false, "": false, issuer: false,
		} {
			if got := c.Issues(iss); got != want {
				t.Errorf("%q: %v", iss, got)
			}
		}
	})
}

func TestTenantsOfLogoutTokens(t *testing.T) {
	for _, tt := range []struct {
		name   string
		claims map[string]any
		reason string
	}{
		{"C122 without tid", map[string]any{"iss": issuerOf(tenant)}, ""},
		{"C122 with tid", map[string]any{"iss": issuerOf(tenant), "tid": tenant}, ""},
		{"C122 with the tid of another", map[string]any{"iss": issuerOf(tenant), "tid": tenant2}, "iss_claim"},
		{"C122 of a tenant that is not allowed", map[string]any{"iss": issuerOf("other")}, "iss_claim"},
		{"C122 with a tid that is not allowed", map[string]any{"iss": issuerOf("other"), "tid": "other"}, "claim_required"},
		{"C122 of the template", map[string]any{"iss": template}, "iss_claim"},
		{"C122 of a tenant without a name", map[string]any{"iss": issuerOf("")}, "iss_claim"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := tenantsOP(map[string]any{"issuer": template}).client(tenants)
			token, err := c.VerifyLogoutToken(t.Context(), logoutToken(goodHeader, tt.claims))
			if e := wantReason(t, err, tt.reason); e != nil && e.Status != http.StatusBadRequest {
				t.Errorf("status %d", e.Status)
			}
			if err == nil && token.Issuer != tt.claims["iss"] {
				t.Errorf("the issuer is %q", token.Issuer)
			}
		})
	}
	t.Run("C122 a key of another tenant", func(t *testing.T) {
		c := tenantsOP(map[string]any{"issuer": issuerOf(tenant2)}).client(tenants)
		_, err := c.VerifyLogoutToken(t.Context(), logoutToken(goodHeader, map[string]any{"iss": issuerOf(tenant)}))
		wantReason(t, err, "iss_claim")
	})
}

// finishAt finishes a login with the response parameter iss, at a client with these changes.
func finishAt(t *testing.T, o *testOP, iss string, claims map[string]any, changes ...func(*op.Config)) (*op.Result, error) {
	t.Helper()
	o.forget()
	o.set("token", answerJSON(tokenAnswer(map[string]any{
		"id_token": signed(goodHeader, encode(identity(claims))),
	})))
	l := &login{op: o, query: goodResponse(map[string]string{"iss": iss})}
	return l.finish(t, o.client(changes...))
}

func TestTenantsOfResponses(t *testing.T) {
	claims := map[string]any{"iss": issuerOf(tenant), "tid": tenant}
	for _, tt := range []struct{ name, iss, reason string }{
		{"C031 no iss", "", ""},
		{"C031 the issuer of the tenant", issuerOf(tenant), ""},
		{"C031 that of another allowed tenant", issuerOf(tenant2), "iss_mismatch"},
		{"C031 that of a tenant that is not allowed", issuerOf("other"), "iss_mismatch"},
		{"C031 the template", template, "iss_mismatch"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := finishAt(t, tenantsOP(nil), tt.iss, claims, tenants)
			wantReason(t, err, tt.reason)
		})
	}
}

func TestOtherIssuers(t *testing.T) {
	bare := func(cfg *op.Config) { cfg.Issuers = []string{"id.example"} }
	for _, tt := range []struct {
		name    string
		change  func(*op.Config)
		iss     string
		claim   string
		reason  string
		browser string
	}{
		{"C058 another issuer that is accepted", bare, "id.example", "", "", ""},
		{"C058 the issuer itself", bare, issuer, "", "", ""},
		{"C058 a third one", bare, "evil.example", "", "iss_claim", ""},
		{"C058 it is refused where it is not accepted", func(*op.Config) {}, "id.example", "", "iss_claim", ""},
		{"C031 in the response only the issuer itself counts", bare, "id.example", "", "iss_mismatch", "id.example"},
		{"C031 the issuer itself in the response", bare, "id.example", "", "", issuer},
	} {
		t.Run(tt.name, func(t *testing.T) {
			result, err := finishAt(t, newOP(), tt.browser, map[string]any{"iss": tt.iss}, tt.change)
			wantReason(t, err, tt.reason)
			if err != nil {
				return
			}
			if v, _ := result.IDToken.Get("iss"); string(v.AppendJSON(nil)) != `"`+issuer+`"` {
				t.Errorf("the user is one of %s", v.AppendJSON(nil))
			}
			if raw := result.Tokens.IDToken; !strings.HasPrefix(raw, b64(goodHeader)) {
				t.Errorf("the ID Token that is kept is not the signed one: %q", raw)
			}
		})
	}
	t.Run("C122 a logout token of the other issuer is about the same user", func(t *testing.T) {
		token, err := newOP().client(bare).VerifyLogoutToken(t.Context(), logoutToken(goodHeader, map[string]any{"iss": "id.example"}))
		wantReason(t, err, "")
		if token.Issuer != issuer {
			t.Errorf("the issuer is %q", token.Issuer)
		}
	})
	t.Run("C081 a refresh may bring the other issuer", func(t *testing.T) {
		raw := signed(goodHeader, encode(identity(map[string]any{"iss": "id.example"})))
		id, _, err := newOP().client(bare).VerifyRefreshed(t.Context(), raw, "", op.Original{Issuer: issuer, Subject: subject, Nonce: nonce})
		wantReason(t, err, "")
		if v, _ := id.Get("iss"); string(v.AppendJSON(nil)) != `"`+issuer+`"` {
			t.Errorf("the user is one of %s", v.AppendJSON(nil))
		}
	})
}

func TestIssModes(t *testing.T) {
	const code, failed = "code=hush-code", "error=access_denied"
	for _, tt := range []struct {
		name      string
		mode      op.IssMode
		announced bool
		response  string
		iss       string
		reason    string // of a code; an error has op_error:access_denied where this is empty
		hint      string
	}{
		{"C031 IssRequired, absent", op.IssRequired, false, code, "", "iss_missing", "ResponseIss"},
		{"C031 IssRequired, absent in an error", op.IssRequired, false, failed, "", "iss_missing", "ResponseIss"},
		{"C031 IssRequired, present", op.IssRequired, false, code, issuer, "", ""},
		{"C031 IssIfAnnounced names IssInCodes", op.IssIfAnnounced, true, failed, "", "iss_missing", "IssInCodes"},
		{"C031 IssIfAnnounced names IssOptional", op.IssIfAnnounced, true, code, "", "iss_missing", "IssOptional"},
		{"C031 IssInCodes, absent in an error", op.IssInCodes, true, failed, "", "", ""},
		{"C031 IssInCodes, absent beside a code", op.IssInCodes, true, code, "", "iss_missing", ""},
		{"C031 IssInCodes, absent beside a code and an error", op.IssInCodes, true, code + "&" + failed, "", "iss_missing", ""},
		{"C031 IssInCodes, absent beside neither", op.IssInCodes, true, "x=1", "", "iss_missing", ""},
		{"C031 IssOptional, absent", op.IssOptional, true, code, "", "", ""},
		{"C031 IssOptional, absent in an error", op.IssOptional, true, failed, "", "", ""},
		{"C031 IssOptional, another", op.IssOptional, true, code, "https://evil.example", "iss_mismatch", ""},
		{"C031 IssInCodes, another in an error", op.IssInCodes, true, failed, "https://evil.example", "iss_mismatch", ""},
		{"C031 IssOptional, empty", op.IssOptional, false, code, "empty", "iss_mismatch", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := announced(tt.announced)
			o.answerLogin()
			query := "state=st&" + tt.response
			if tt.iss != "" {
				query += "&iss=" + url.QueryEscape(strings.TrimPrefix(tt.iss, "empty"))
			}
			l := &login{op: o, query: query}
			_, err := l.finish(t, o.client(func(cfg *op.Config) { cfg.ResponseIss = tt.mode }))
			reason := tt.reason
			if reason == "" && tt.response == failed {
				reason = "op_error:access_denied"
			}
			if e := wantReason(t, err, reason); e != nil && !strings.Contains(e.Hint, tt.hint) {
				t.Errorf("the hint is %q", e.Hint)
			}
		})
	}
}

func TestDiscoveryElsewhere(t *testing.T) {
	const at = "https://id.example/application/o/shop/.well-known/openid-configuration?p=b2c_1"
	elsewhere := func(cfg *op.Config) { cfg.Endpoints.Discovery = at }
	asked := ""
	o := newOP()
	o.set("discovery", nil)
	o.handlers["/application/o/shop/.well-known/openid-configuration"] = func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.String()
		answerJSON(metadata(nil))(w, r)
	}
	t.Run("C002 the document is where the configuration says", func(t *testing.T) {
		if _, err := o.client(elsewhere).Metadata(t.Context()); err != nil || asked != at {
			t.Errorf("asked %q: %v", asked, err)
		}
		if n := o.count("discovery"); n != 0 {
			t.Errorf("asked %d times at the issuer", n)
		}
	})
	t.Run("C002 it is asked although all endpoints are set", func(t *testing.T) {
		asked = ""
		_, err := o.client(elsewhere, func(cfg *op.Config) {
			cfg.Endpoints.Authorization, cfg.Endpoints.Token = "https://id.example/a", "https://id.example/t"
			cfg.Endpoints.JWKS = "https://id.example/jwks"
		}).Metadata(t.Context())
		if err != nil || asked != at {
			t.Errorf("asked %q: %v", asked, err)
		}
	})
	t.Run("C001 its issuer counts all the same", func(t *testing.T) {
		o.handlers["/application/o/shop/.well-known/openid-configuration"] =
			answerJSON(metadata(map[string]any{"issuer": "https://id.example/application/o/shop/"}))
		_, err := o.client(elsewhere).Metadata(t.Context())
		e := wantReason(t, err, "issuer_mismatch")
		if want, _, _ := strings.Cut(at, "?"); e.Address != want {
			t.Errorf("the error names %q", e.Address)
		}
	})
	for _, iss := range []string{"https://id.example/realms/shop/", "https://id.example/realms/shop"} {
		t.Run("C001 the slash of an issuer is kept: "+iss, func(t *testing.T) {
			o := newOP()
			o.set("discovery", answerJSON(metadata(map[string]any{"issuer": iss})))
			result, err := finishAt(t, o, iss, map[string]any{"iss": iss}, func(cfg *op.Config) { cfg.Issuer = iss })
			wantReason(t, err, "")
			if v, _ := result.IDToken.Get("iss"); string(v.AppendJSON(nil)) != `"`+iss+`"` {
				t.Errorf("iss is %s", v.AppendJSON(nil))
			}
			other := strings.TrimSuffix(iss, "/")
			if other == iss {
				other += "/"
			}
			_, err = finishAt(t, o, "", map[string]any{"iss": other}, func(cfg *op.Config) { cfg.Issuer = iss })
			wantReason(t, err, "iss_claim")
		})
	}
}

func TestWithoutPKCE(t *testing.T) {
	plain := func(cfg *op.Config) { cfg.WithoutPKCE = true }
	request := op.AuthorizationRequest{State: "st", Nonce: "no", CodeVerifier: "verifier"}
	t.Run("C019 neither challenge nor verifier is sent", func(t *testing.T) {
		o := newOP()
		raw, err := o.client(plain).AuthorizationURL(t.Context(), request)
		if err != nil || strings.Contains(raw, "code_challenge") || !strings.Contains(raw, "nonce=no") {
			t.Errorf("%q, %v", raw, err)
		}
		var form url.Values
		o.set("token", func(w http.ResponseWriter, r *http.Request) {
			_ = r.ParseForm()
			form = r.PostForm
			answerJSON(tokenAnswer(map[string]any{"id_token": goodToken()}))(w, r)
		})
		l := &login{op: o, query: goodResponse(nil)}
		_, err = l.finish(t, o.client(plain))
		wantReason(t, err, "")
		if form.Has("code_verifier") || form.Get("code") == "" {
			t.Errorf("the form is %v", form)
		}
	})
	t.Run("C019 a provider without S256 is taken", func(t *testing.T) {
		o := newOP()
		o.set("discovery", answerJSON(metadata(map[string]any{"code_challenge_methods_supported": []string{"plain"}})))
		_, err := o.client(plain).Metadata(t.Context())
		wantReason(t, err, "")
	})
	t.Run("C065 the nonce is checked as ever", func(t *testing.T) {
		for _, value := range []any{nil, "other"} {
			_, err := finishAt(t, newOP(), "", map[string]any{"nonce": value}, plain)
			wantReason(t, err, "nonce")
		}
	})
	t.Run("C019 a provider that announces S256 needs it not", func(t *testing.T) {
		o := newOP()
		o.set("discovery", answerJSON(metadata(map[string]any{"code_challenge_methods_supported": []string{"S256"}})))
		_, err := o.client(plain).Metadata(t.Context())
		wantReason(t, err, "")
		if hint := o.notices[0].Hint; !strings.Contains(hint, "Request.WithoutPKCE") {
			t.Errorf("the hint is %q", hint)
		}
	})
}

func TestWithoutNonce(t *testing.T) {
	without := func(cfg *op.Config) { cfg.WithoutNonce = true }
	for _, tt := range []struct {
		name   string
		nonce  any
		reason string
	}{
		{"C065 an ID Token without nonce", nil, ""},
		{"C065 with the nonce of this login", nonce, ""},
		{"C065 with that of another", "other", "nonce"},
		{"C065 with an empty one", "", "nonce"},
		{"C065 with one that is no text", 1, "nonce"},
		{"C065 with null", null, "nonce"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := finishAt(t, newOP(), "", map[string]any{"nonce": tt.nonce}, without)
			wantReason(t, err, tt.reason)
		})
	}
	t.Run("C021 the nonce and the challenge are sent all the same", func(t *testing.T) {
		raw, err := newOP().client(without).AuthorizationURL(t.Context(), op.AuthorizationRequest{State: "st", Nonce: "no", CodeVerifier: "v"})
		if err != nil || !strings.Contains(raw, "nonce=no") || !strings.Contains(raw, "code_challenge_method=S256") {
			t.Errorf("%q, %v", raw, err)
		}
	})
}

func TestRequireClaims(t *testing.T) {
	require := func(cfg *op.Config) {
		cfg.RequireClaims = map[string][]string{"hd": {"shop.example", "shop.test"}, "org_id": {"org_1"}}
	}
	for _, tt := range []struct {
		name   string
		claims map[string]any
		reason string
	}{
		{"C067 both as required", map[string]any{"hd": "shop.test", "org_id": "org_1"}, ""},
		{"C067 in a list", map[string]any{"hd": []string{"x", "shop.example"}, "org_id": "org_1"}, ""},
		{"C067 one is another", map[string]any{"hd": "evil.example", "org_id": "org_1"}, "claim_required"},
		{"C067 one is missing", map[string]any{"hd": "shop.test"}, "claim_required"},
		{"C067 in capitals", map[string]any{"hd": "SHOP.test", "org_id": "org_1"}, "claim_required"},
		{"C067 a list of others", map[string]any{"hd": []string{"x", "evil.example"}, "org_id": "org_1"}, "claim_required"},
		{"C067 an empty list", map[string]any{"hd": []string{}, "org_id": "org_1"}, "claim_required"},
		{"C067 an object with it", map[string]any{"hd": map[string]any{"shop.test": "shop.test"}, "org_id": "org_1"}, "claim_required"},
		{"C067 one that has it in the middle", map[string]any{"hd": "a.shop.test", "org_id": "org_1"}, "claim_required"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := newOP()
			_, err := finishAt(t, o, "", tt.claims, require)
			e := wantReason(t, err, tt.reason)
			if e != nil && (e.Status != http.StatusForbidden || !strings.Contains(e.Hint, "RequireClaims")) {
				t.Errorf("status %d, hint %q", e.Status, e.Hint)
			}
			_, hasOrganization := tt.claims["org_id"]
			if e != nil && strings.Contains(e.Error(), "is missing") == hasOrganization {
				t.Errorf("error %q", e)
			}
			raw := signed(goodHeader, encode(identity(tt.claims)))
			_, _, err = o.client(require).VerifyRefreshed(t.Context(), raw, "", op.Original{Subject: subject, Nonce: nonce})
			wantReason(t, err, tt.reason)
		})
	}
	t.Run("C067 userinfo proves nothing", func(t *testing.T) {
		o := newOP()
		o.set("userinfo", answerJSON(userinfo(map[string]any{"hd": "shop.test", "org_id": "org_1"})))
		_, err := finishAt(t, o, "", nil, require, func(cfg *op.Config) { cfg.Userinfo = op.UserinfoRequired })
		wantReason(t, err, "claim_required")
	})
	for name, change := range map[string]func(*op.Config){
		"hd":           func(cfg *op.Config) { cfg.AuthParams = [][2]string{{"hd", "shop.example"}} },
		"organization": func(cfg *op.Config) { cfg.Login.Params = map[string]string{"organization": "org_1"} },
	} {
		t.Run("C067 a hint without its proof is told: "+name, func(t *testing.T) {
			o := newOP()
			_, err := o.client(change).Metadata(t.Context())
			wantReason(t, err, "")
			if hint := o.notices[0].Hint; !strings.Contains(hint, name) || !strings.Contains(hint, "RequireClaims") {
				t.Errorf("the hint is %q", hint)
			}
			o = newOP()
			_, err = o.client(change, require).Metadata(t.Context())
			wantReason(t, err, "")
			if hint := o.notices[0].Hint; hint != "" {
				t.Errorf("with the proof the hint is %q", hint)
			}
		})
	}
}

func TestTenantsOfAccessTokens(t *testing.T) {
	for _, tt := range []struct {
		name   string
		claims map[string]any
		reason string
	}{
		{"C160 of an allowed tenant", map[string]any{"iss": issuerOf(tenant), "tid": tenant}, ""},
		{"C160 without tid", map[string]any{"iss": issuerOf(tenant)}, ""},
		{"C160 of a tenant that is not allowed", map[string]any{"iss": issuerOf("other")}, "iss_claim"},
		{"C160 with the tid of another", map[string]any{"iss": issuerOf(tenant), "tid": tenant2}, "iss_claim"},
		{"C160 with a tid that is not allowed", map[string]any{"iss": issuerOf(tenant), "tid": "other"}, "claim_required"},
		{"C160 of the template", map[string]any{"iss": template}, "iss_claim"},
		{"C160 without iss", map[string]any{"iss": nil}, "iss_claim"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := tenantsOP(map[string]any{"issuer": template})
			c := o.client(tenants, forAPI(apiURL), func(cfg *op.Config) {
				cfg.Endpoints.Introspection = "https://id.example/introspect"
			})
			o.set("introspect", answerJSON(introspection(tt.claims)))
			signed, err := c.VerifyAccessToken(t.Context(), accessToken(tt.claims))
			refusedToken(t, err, tt.reason)
			opaque, err := c.Introspect(t.Context(), "opaque", nil, false)
			refusedToken(t, err, tt.reason)
			if tt.reason != "" {
				return
			}
			for _, got := range []*op.AccessToken{signed, opaque} {
				if v, _ := got.Claims.Get("iss"); string(v.AppendJSON(nil)) != `"`+issuerOf(tenant)+`"` {
					t.Errorf("the user is one of %s", v.AppendJSON(nil))
				}
			}
		})
	}
	t.Run("C160 which provider a token names", func(t *testing.T) {
		many := newOP().client(tenants)
		two := newOP().client(func(cfg *op.Config) { cfg.Issuers = []string{"id.example"} })
		for iss, want := range map[string][2]bool{
			issuerOf(tenant): {true, false}, issuerOf("other"): {}, template: {}, "": {},
			issuer: {false, true}, "id.example": {false, true},
		} {
			if got := [2]bool{many.Accepts(iss), two.Accepts(iss)}; got != want {
				t.Errorf("%q: %v", iss, got)
			}
		}
	})
}

func TestSymmetricHint(t *testing.T) {
	t.Run("C014 an ID Token signed with the secret names the settings to change", func(t *testing.T) {
		raw := signed(`{"alg":"HS256"}`, encode(identity(nil)))
		_, err := newOP().client().VerifyIDToken(t.Context(), raw, "at-1", op.Expectation{Nonce: nonce})
		e := wantReason(t, err, "alg")
		for _, word := range []string{"RS256", "Auth0", "authentik", "Nextcloud", "Django OAuth Toolkit", "Verification.SigningAlgs to HS256"} {
			if !strings.Contains(e.Hint, word) {
				t.Errorf("%q is not in the hint %q", word, e.Hint)
			}
		}
	})
	t.Run("C014 one that is not signed does not", func(t *testing.T) {
		raw := signed(`{"alg":"none"}`, encode(identity(nil)))
		_, err := newOP().client().VerifyIDToken(t.Context(), raw, "at-1", op.Expectation{Nonce: nonce})
		if e := wantReason(t, err, "alg"); strings.Contains(e.Hint, "SigningAlgs") {
			t.Errorf("the hint is %q", e.Hint)
		}
	})
}

// withoutIDTokens configures a provider that issues no ID Tokens.
func withoutIDTokens(cfg *op.Config) {
	cfg.SubjectClaim, cfg.Userinfo = "id", op.UserinfoRequired
	cfg.Endpoints = op.Endpoints{Authorization: "https://x/a", Token: "https://x/t", Userinfo: "https://x/u"}
}

func TestIssuerFaults(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*op.Config)
		field  string // of the one fault; "" for none
	}{
		{"tenants", tenants, ""},
		{"C058 a template without tenants", func(c *op.Config) { tenants(c); c.Tenants = nil }, "Verification.Tenants"},
		{"C058 all tenants", func(c *op.Config) { tenants(c); c.Tenants = []string{"*"} }, "Verification.Tenants"},
		{"C058 an empty tenant", func(c *op.Config) { tenants(c); c.Tenants = []string{""} }, "Verification.Tenants"},
		{"C058 a tenant with a slash", func(c *op.Config) { tenants(c); c.Tenants = []string{"a/b"} }, "Verification.Tenants"},
		{"C058 the mark as tenant", func(c *op.Config) { tenants(c); c.Tenants = []string{"{tenantid}"} }, "Verification.Tenants"},
		{"tenants without a template", func(c *op.Config) { c.Tenants = []string{tenant} }, "Verification.Tenants"},
		{"a template twice", func(c *op.Config) { tenants(c); c.Issuer += "/{tenantid}" }, "Issuer"},
		{"a template without a discovery address", func(c *op.Config) { tenants(c); c.Endpoints.Discovery = "" }, "Endpoints.Discovery"},
		{"a template with all endpoints", func(c *op.Config) {
			tenants(c)
			c.Endpoints = op.Endpoints{Authorization: "https://x/a", Token: "https://x/t", JWKS: "https://x/j"}
		}, ""},
		{"a template in the host", func(c *op.Config) { tenants(c); c.Issuer = "https://{tenantid}.example/" }, "Issuer"},
		{"C099 a template and signed requests, which need an audience", func(c *op.Config) {
			tenants(c)
			signing(op.ObjectSigned, clientKey)(c)
		}, "Request.Object"},
		{"the discovery document as issuer", func(c *op.Config) { c.Issuer += "/.well-known/openid-configuration" }, "Issuer"},
		{"C088 a template and an assertion", func(c *op.Config) { tenants(c); c.Auth.Method = op.AuthSecretJWT }, "TokenRequest.AssertionAudience"},
		{"C088 a template and an assertion with an audience", func(c *op.Config) {
			tenants(c)
			c.Auth.Method, c.AssertionAudience = op.AuthSecretJWT, "https://login.example/token"
		}, ""},
		{"other issuers", func(c *op.Config) { c.Issuers = []string{"id.example"} }, ""},
		{"C058 an empty other issuer", func(c *op.Config) { c.Issuers = []string{""} }, "Verification.Issuers"},
		{"C058 the issuer as another", func(c *op.Config) { c.Issuers = []string{issuer} }, "Verification.Issuers"},
		{"C058 other issuers beside a template", func(c *op.Config) { tenants(c); c.Issuers = []string{"x"} }, "Verification.Issuers"},
		{"C067 required claims of a provider without ID Tokens", func(c *op.Config) {
			withoutIDTokens(c)
			c.RequireClaims = map[string][]string{"hd": {"shop.example"}}
		}, "Verification"},
		{"C058 a tenant of all that a name may have", func(c *op.Config) { tenants(c); c.Tenants = []string{"aZ09-_."} }, ""},
		{"C058 a tenant with a bracket", func(c *op.Config) { tenants(c); c.Tenants = []string{"a["} }, "Verification.Tenants"},
		{"C058 a tenant with a brace", func(c *op.Config) { tenants(c); c.Tenants = []string{"a{"} }, "Verification.Tenants"},
		{"C075 an ID Token of a provider without ID Tokens", func(c *op.Config) { withoutIDTokens(c); c.ResponseType = op.TypeHybrid }, "Request.ResponseType"},
		{"C075 encrypted ID Tokens of a provider without ID Tokens", func(c *op.Config) {
			withoutIDTokens(c)
			decrypting(op.ClientKey{Private: rsaKey(), Algorithm: "RSA-OAEP-256"})(c)
			c.IDTokenEncrypted = true
		}, "Verification"},
		{"C075 encrypted userinfo of a provider without ID Tokens", func(c *op.Config) {
			withoutIDTokens(c)
			decrypting(op.ClientKey{Private: rsaKey(), Algorithm: "RSA-OAEP-256"})(c)
			c.UserinfoEncrypted = true
		}, "Verification"},
		{"C163 introspection of a provider without a discovery document", func(c *op.Config) {
			withoutIDTokens(c)
			c.APIAudience, c.Introspect = []string{apiURL}, true
		}, "Endpoints.Introspection"},
		{"C163 introspection at an address of its own", func(c *op.Config) {
			withoutIDTokens(c)
			c.APIAudience, c.Introspect, c.Endpoints.Introspection = []string{apiURL}, true, "https://x/i"
		}, ""},
		{"C065 no nonce of a provider without ID Tokens", func(c *op.Config) { withoutIDTokens(c); c.WithoutNonce = true }, "Verification"},
		{"C058 other issuers of a provider without ID Tokens", func(c *op.Config) {
			withoutIDTokens(c)
			c.Issuers = []string{"id.example"}
		}, "Verification"},
		{"a discovery address of a provider without ID Tokens", func(c *op.Config) {
			withoutIDTokens(c)
			c.Endpoints.Discovery = "https://id.example/d"
		}, "Endpoints.Discovery"},
		{"a provider without ID Tokens", withoutIDTokens, ""},
		{"C003 a discovery address on http", func(c *op.Config) { c.Endpoints.Discovery = "http://id.example/d" }, "Endpoints.Discovery"},
		{"the last mode of iss", func(c *op.Config) { c.ResponseIss = op.IssOptional }, ""},
		{"an unknown mode of iss", func(c *op.Config) { c.ResponseIss = 4 }, "Verification.ResponseIss"},
		{"a negative mode of iss", func(c *op.Config) { c.ResponseIss = -1 }, "Verification.ResponseIss"},
		{"C019 no PKCE", func(c *op.Config) { c.WithoutPKCE = true }, ""},
		{"C019 no PKCE and no secret", func(c *op.Config) { c.WithoutPKCE, c.Auth = true, op.Auth{Method: op.AuthNone} }, "Request.WithoutPKCE"},
		{"C065 no nonce", func(c *op.Config) { c.WithoutNonce = true }, ""},
		{"C019 C065 neither PKCE nor nonce", func(c *op.Config) { c.WithoutPKCE, c.WithoutNonce = true, true }, "Verification.WithoutNonce"},
		{"C065 no nonce in the hybrid flow", func(c *op.Config) { c.WithoutNonce, c.ResponseType = true, op.TypeHybrid }, "Verification.WithoutNonce"},
		{"C065 no nonce for an ID Token alone", func(c *op.Config) { c.WithoutNonce, c.ResponseType = true, op.TypeIDToken }, "Verification.WithoutNonce"},
		{"C067 a claim without values", func(c *op.Config) { c.RequireClaims = map[string][]string{"hd": nil} }, "Verification.RequireClaims"},
		{"C067 a claim with an empty value", func(c *op.Config) { c.RequireClaims = map[string][]string{"hd": {""}} }, "Verification.RequireClaims"},
		{"C067 a claim without name", func(c *op.Config) { c.RequireClaims = map[string][]string{"": {"x"}} }, "Verification.RequireClaims"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := newOP().config(tt.change)
			cfg.Transport = nil
			faults := cfg.Faults()
			if tt.field == "" && len(faults) == 0 {
				return
			}
			if len(faults) != 1 || faults[0].Field != tt.field {
				t.Errorf("faults %v, want one of %q", faults, tt.field)
			}
		})
	}
}

func TestIsElsewhere(t *testing.T) {
	base := newOP().config(func(cfg *op.Config) { cfg.Issuers = []string{"alias"} })
	for name, tt := range map[string]struct {
		change func(*op.Config)
		want   bool
	}{
		"the same":                   {func(*op.Config) {}, false},
		"another client":             {func(cfg *op.Config) { cfg.ClientID = "shop2" }, false},
		"another issuer":             {func(cfg *op.Config) { cfg.Issuer, cfg.Endpoints.Token = issuer+"2", "https://x/t" }, false},
		"another token endpoint":     {func(cfg *op.Config) { cfg.Endpoints.Token = "https://x/t" }, true},
		"other keys":                 {func(cfg *op.Config) { cfg.Endpoints.JWKS = "https://x/j" }, true},
		"other userinfo":             {func(cfg *op.Config) { cfg.Endpoints.Userinfo = "https://x/u" }, true},
		"another discovery document": {func(cfg *op.Config) { cfg.Endpoints.Discovery = "https://x/d" }, true},
		"no ID Tokens":               {func(cfg *op.Config) { cfg.SubjectClaim = "id" }, true},
		"other issuers in common, and elsewhere": {func(cfg *op.Config) {
			cfg.Issuer, cfg.Issuers, cfg.Endpoints.Token = "https://other.example", []string{"alias"}, "https://x/t"
		}, false}, // both are written down by their own name
		"ID Tokens by the client's secret": {func(cfg *op.Config) { cfg.SigningAlgs = []string{"HS256"} }, true},
		"the issuer in another way, and elsewhere": {func(cfg *op.Config) {
			cfg.Issuer, cfg.Issuers, cfg.Endpoints.Token = "https://other.example", []string{issuer}, "https://x/t"
		}, true},
	} {
		t.Run("C032 "+name, func(t *testing.T) {
			other := newOP().config(func(cfg *op.Config) { cfg.Issuers = base.Issuers }, tt.change)
			if there, back := base.IsElsewhere(&other), other.IsElsewhere(&base); there != tt.want || back != tt.want {
				t.Errorf("%v and %v, want %v", there, back, tt.want)
			}
		})
	}
}

func TestIsElsewhereOfTemplates(t *testing.T) {
	of := func(issuer string, tenants ...string) op.Config {
		return op.Config{Issuer: issuer, Tenants: tenants, Endpoints: op.Endpoints{Discovery: issuer + "/d"}}
	}
	a := of("https://x.test/{tenantid}/v2.0", "acme", "shop")
	for name, tt := range map[string]struct {
		other op.Config
		want  bool
	}{
		"two templates that make one issuer":   {of("https://x.test/acme/{tenantid}", "v2.0"), true},
		"two templates that make none alike":   {of("https://x.test/acme/{tenantid}", "v3.0"), false},
		"the same template at another address": {op.Config{Issuer: a.Issuer, Tenants: []string{"other"}, Endpoints: op.Endpoints{Discovery: "https://y/d"}}, true},
		"an issuer that the template makes":    {of("https://x.test/shop/v2.0"), true},
		"one that it does not make":            {of("https://x.test/bank/v2.0"), false},
	} {
		t.Run("C032 C058 "+name, func(t *testing.T) {
			if there, back := a.IsElsewhere(&tt.other), tt.other.IsElsewhere(&a); there != tt.want || back != tt.want {
				t.Errorf("%v and %v, want %v", there, back, tt.want)
			}
		})
	}
	t.Run("C014 ID Tokens signed with a secret, which may be another one", func(t *testing.T) {
		signed := newOP().config(func(cfg *op.Config) { cfg.SigningAlgs = []string{"HS256"} })
		if again := signed; !signed.IsElsewhere(&again) {
			t.Error("whoever knows the second secret could log in as any user of the first")
		}
	})
	t.Run("C066 two subject claims at one server without ID Tokens", func(t *testing.T) {
		byID := newOP().config(withoutIDTokens)
		byLogin := newOP().config(withoutIDTokens, func(cfg *op.Config) { cfg.SubjectClaim = "login" })
		if !byID.IsElsewhere(&byLogin) {
			t.Error("one user of the gate may be two at the server")
		}
	})
}
