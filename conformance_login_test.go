package oidcgate_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// loginModule is a module about a login. It fits several plans.
type loginModule struct {
	name, holds, provider, gate string

	plans  string // which plans have it: any of the letters of loginFlows
	config change
	act    func(*suite)
	reason oidcgate.Reason // why the login is refused; "" if it is not
	keys   int             // how often the provider's keys are fetched before it is refused
	late   bool            // it is refused after userinfo
	check  func(*suite)    // more to check after a login that is accepted
}

// loginFlow is how a plan logs in.
type loginFlow struct {
	letter, plan, setup string
	responseType, mode  string
	like                string // the plan that has the same modules
}

var loginFlows = []loginFlow{
	{"B", "Basic", "The response type is `code`, the client authenticates by `client_secret_basic`.", "code", "", ""},
	{"B", "Form Post Basic", "", "code", "form_post", "Basic"},
	{"H", "Hybrid", "The response type is `code id_token`, in the fragment.", "code id_token", "", ""},
	{"H", "Form Post Hybrid", "", "code id_token", "form_post", "Hybrid"},
	{"I", "Implicit", "The response type is `id_token`, in the fragment.", "id_token", "", ""},
	{"I", "Form Post Implicit", "", "id_token", "form_post", "Implicit"},
	{"C", "Config", "The response type is `code`.", "code", "", ""},
	{"X", "Comprehensive", "The modules that only the comprehensive plan has. The response type is `code`.", "code", "", ""},
}

// The requests of a login, by the response type.
var loginCalls = map[string]string{
	"code":          "openid-configuration authorize token jwks userinfo",
	"code id_token": "openid-configuration authorize jwks token userinfo",
	"id_token":      "openid-configuration authorize jwks",
}

func loginPlans() (plans []conformancePlan) {
	for _, flow := range loginFlows {
		plan := conformancePlan{name: flow.plan, setup: flow.setup, like: flow.like}
		for _, m := range loginModules() {
			if strings.Contains(m.plans, flow.letter) {
				plan.modules = append(plan.modules, conformanceModule{m.name, m.holds, m.provider, m.gate, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { m.run(t, flow) })
				}})
			}
		}
		if flow.letter == "C" {
			plan.modules = append(plan.modules, keyModules()...)
		}
		if flow.letter == "X" {
			plan.modules = append(plan.modules, moreModules()...)
		}
		plans = append(plans, plan)
	}
	return plans
}

func (m loginModule) run(t *testing.T, flow loginFlow) {
	changes := []change{answering(flow.responseType, flow.mode)}
	if m.config != nil {
		changes = append(changes, m.config)
	}
	s := newSuite(t, oidcgatetest.Config{}, changes...)
	s.op.SetUser(suiteAccount(flow.responseType))
	if m.act != nil {
		m.act(s)
	}
	a := s.arrive(s.response("/app"))
	if m.reason == "" {
		s.accepted(a)
		if m.check != nil {
			m.check(s)
		}
		s.asked(loginCalls[flow.responseType])
		return
	}
	// Nothing is asked after a bad ID Token, and the browser is to blame for one that it brought.
	status, calls := http.StatusBadRequest, "openid-configuration authorize"
	if flow.responseType == "code" {
		status, calls = http.StatusBadGateway, calls+" token"
	}
	calls += strings.Repeat(" jwks", m.keys)
	if m.late {
		status, calls = http.StatusBadGateway, loginCalls[flow.responseType]
	}
	s.refused(a, status, m.reason)
	s.asked(calls)
}

// appended changes a claim by a text at its end.
func appended(name, text string) func(*suite) {
	return nextIDToken(func(t *oidcgatetest.JWT) { t.Claims[name] = fmt.Sprint(t.Claims[name]) + text })
}

func dropped(name string) func(*suite) {
	return nextIDToken(func(t *oidcgatetest.JWT) { delete(t.Claims, name) })
}

func nextIDToken(change func(*oidcgatetest.JWT)) func(*suite) {
	return func(s *suite) { s.op.NextIDToken(change) }
}

// withoutKid publishes those of the keys that keep wants, and removes kid from them and from the next
// ID Token.
func withoutKid(keep func(key map[string]any) bool) func(*suite) {
	return func(s *suite) {
		s.op.Always(oidcgatetest.JWKS, oidcgatetest.EditJSON(func(m map[string]any) {
			list := slices.DeleteFunc(m["keys"].([]any), func(k any) bool { return !keep(k.(map[string]any)) })
			for _, k := range list {
				delete(k.(map[string]any), "kid")
				delete(k.(map[string]any), "alg")
			}
			m["keys"] = append(list, map[string]any{"kty": "EC", "crv": "secp256k1", "x": strings.Repeat("A", 43), "y": strings.Repeat("B", 43)})
		}))
		for range 2 { // the hybrid flow has two ID Tokens
			s.op.NextIDToken(func(t *oidcgatetest.JWT) { delete(t.Header, "kid") })
		}
	}
}

const (
	refusesIDToken = "refuses the login, and afterwards asks for nothing but keys"
	signsIn        = "signs in"
)

func loginModules() []loginModule {
	return []loginModule{
		{name: "oidcc-client-test", plans: "BHI", provider: "nothing special",
			gate:  "signs in; `nonce`, `state` and, where there is a code, the PKCE challenge are new for each login",
			check: checkRequest},
		{name: "oidcc-client-test-invalid-iss", plans: "BHI", provider: "another `iss`", gate: refusesIDToken,
			act: appended("iss", "1"), reason: "iss_claim", keys: 1},
		{name: "oidcc-client-test-missing-sub", plans: "BHI", provider: "no `sub`", gate: refusesIDToken,
			act: dropped("sub"), reason: "sub", keys: 1},
		{name: "oidcc-client-test-invalid-aud", plans: "BHI", provider: "another `aud`", gate: refusesIDToken,
			act: appended("aud", "1"), reason: "aud", keys: 1},
		{name: "oidcc-client-test-missing-iat", plans: "BHI", provider: "no `iat`", gate: refusesIDToken,
			act: dropped("iat"), reason: "iat", keys: 1},
		{name: "oidcc-client-test-kid-absent-single-jwks", plans: "BHI", provider: "an ID Token and keys without `kid`, one key that fits", gate: signsIn,
			act: func(s *suite) {
				withoutKid(func(key map[string]any) bool { return key["kid"] == s.op.NewJWT(nil).Header["kid"] })(s)
			}},
		{name: "oidcc-client-test-kid-absent-multiple-jwks", plans: "BHI", provider: "an ID Token and keys without `kid`, several of each kind",
			gate: "signs in: it tries the keys that fit the algorithm",
			act: func(s *suite) {
				s.op.AddKey("ES256")
				s.op.AddKey("RS256")
				withoutKid(func(map[string]any) bool { return true })(s)
			}},
		{name: "oidcc-client-test-idtoken-sig-rs256", plans: "BHI", provider: "lists RS256 alone and signs with it", gate: signsIn,
			act: func(s *suite) {
				s.metadata["id_token_signing_alg_values_supported"] = []string{"RS256"}
			}},
		{name: "oidcc-client-test-idtoken-sig-none", plans: "BC", holds: "skipped", provider: "an ID Token without a signature",
			gate: "refuses the login, which the Foundation's suite counts as skipped and allows",
			act:  nextIDToken((*oidcgatetest.JWT).Unsigned), reason: "alg"},
		{name: "oidcc-client-test-invalid-sig-rs256", plans: "BHI", provider: "a signature with wrong bits", gate: refusesIDToken,
			act: nextIDToken((*oidcgatetest.JWT).CorruptSignature), reason: "sig", keys: 2},
		{name: "oidcc-client-test-userinfo-invalid-sub", plans: "BH", provider: "userinfo about another `sub`",
			gate: "asks userinfo and refuses the login",
			act:  userinfoOf(suiteUser + "invalid"), reason: "userinfo_sub", late: true},
		{name: "oidcc-client-test-nonce-unless-code-flow", plans: "HI", provider: "nothing special", gate: "sends a `nonce` and signs in",
			check: func(s *suite) {
				if got := s.op.LastRequest(oidcgatetest.Authorization).Form.Get("nonce"); !secret256.MatchString(got) {
					s.Errorf("nonce %q", got)
				}
			}},
		{name: "oidcc-client-test-nonce-invalid", plans: "BHI", provider: "another `nonce`", gate: refusesIDToken,
			act: appended("nonce", "1"), reason: "nonce", keys: 1},
		{name: "oidcc-client-test-scope-userinfo-claims", plans: "BHI", provider: "the claims of the scopes that were asked for, and no others",
			gate: "asks for `profile` and `email`, and the application gets their claims",
			check: func(s *suite) {
				if got := s.op.LastRequest(oidcgatetest.Authorization).Form.Get("scope"); got != "openid profile email" {
					s.Errorf("scope %q", got)
				}
			}},
		{name: "oidcc-client-test-client-secret-basic", plans: "BH", provider: "accepts `client_secret_basic` alone",
			gate: "encodes id and secret, then sends them in the `Authorization` header alone", check: checkBasic},
		{name: "oidcc-client-test-invalid-chash", plans: "H", provider: "the `c_hash` of another code", gate: "refuses the login; the code is not sent",
			act: nextIDToken(func(t *oidcgatetest.JWT) { t.Claims["c_hash"] = "AAAAAAAAAAAAAAAAAAAAAA" }), reason: "c_hash", keys: 1},
		{name: "oidcc-client-test-missing-chash", plans: "H", provider: "no `c_hash`", gate: "refuses the login; the code is not sent",
			act: dropped("c_hash"), reason: "c_hash", keys: 1},
		{name: "oidcc-client-test-missing-aud", plans: "X", provider: "no `aud`", gate: refusesIDToken,
			act: dropped("aud"), reason: "aud", keys: 1},
		{name: "oidcc-client-test-userinfo-bearer-header", plans: "X", provider: "reads the access token from the header alone",
			gate: "sends it there alone",
			check: func(s *suite) {
				r := s.op.LastRequest(oidcgatetest.Userinfo)
				if !regexp.MustCompile(`^Bearer \S+$`).MatchString(r.Header.Get("Authorization")) || r.Form.Has("access_token") {
					s.Errorf("Authorization %q, parameters %v", r.Header.Get("Authorization"), r.Form)
				}
			}},
		{name: "oidcc-client-test-invalid-sig-es256", plans: "X", provider: "ES256, and a signature with wrong bits", gate: refusesIDToken,
			config: func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Verification.SigningAlgs = []string{"ES256"} },
			act: func(s *suite) {
				s.op.AddKey("ES256")
				s.op.NextIDToken((*oidcgatetest.JWT).CorruptSignature)
			}, reason: "sig", keys: 2},
	}
}

// checkRequest checks the authorization request, and that the next login has other secrets.
func checkRequest(s *suite) {
	s.Helper()
	first := s.op.LastRequest(oidcgatetest.Authorization).Form
	if first.Get("client_id") != suiteClient || first.Get("redirect_uri") != shopURL+"/auth/callback" || len(first["client_id"]) != 1 {
		s.Errorf("the request %v", first)
	}
	u := s.get("/auth/login").location()
	second, err := url.Parse(u)
	if err != nil {
		s.Fatal(err)
	}
	names := []string{"state", "nonce"}
	if first.Get("response_type") != "id_token" {
		names = append(names, "code_challenge")
		if first.Get("code_challenge_method") != "S256" {
			s.Errorf("the method %q", first.Get("code_challenge_method"))
		}
	}
	for _, name := range names {
		if one, two := first.Get(name), second.Query().Get(name); !secret256.MatchString(one) || one == two {
			s.Errorf("%s %q, then %q", name, one, two)
		}
	}
}

// checkBasic reads the header as the Foundation's suite does.
func checkBasic(s *suite) {
	s.Helper()
	r := s.op.LastRequest(oidcgatetest.Token)
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(r.Header.Get("Authorization"), "Basic "))
	parts := strings.Split(string(raw), ":")
	if err != nil || len(parts) != 2 {
		s.Fatalf("%q: %q, %v", r.Header.Get("Authorization"), raw, err)
	}
	id, _ := url.QueryUnescape(parts[0])
	password, _ := url.QueryUnescape(parts[1])
	if id != suiteClient || password != suiteSecret || r.Form.Has("client_secret") || r.Form.Has("client_assertion") {
		s.Errorf("id %q, secret %q, form %v", id, password, r.Form)
	}
}

// userinfoOf makes userinfo answer about somebody.
func userinfoOf(subject string) func(*suite) {
	return func(s *suite) {
		s.op.Always(oidcgatetest.Userinfo, oidcgatetest.EditJSON(func(m map[string]any) { m["sub"] = subject }))
	}
}

// inSuite is a module with a course of its own.
func inSuite(name, provider, gate string, run func(s *suite), changes ...change) conformanceModule {
	return conformanceModule{name, "", provider, gate, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { run(newSuite(t, oidcgatetest.Config{}, changes...)) })
	}}
}

// keyModules are those of the plan Config.
func keyModules() []conformanceModule {
	const code = "openid-configuration authorize token jwks userinfo"
	return []conformanceModule{
		inSuite("oidcc-client-test-discovery-openid-config", "serves its metadata below the issuer, which ends in a slash",
			"asks for it before all else, without a second slash", func(s *suite) {
				s.accepted(s.arrive(s.response("/app")))
				if got := s.op.LastRequest(oidcgatetest.Discovery).URL.Path; got != "/test/a/oidcgate/.well-known/openid-configuration" {
					s.Errorf("asked %q", got)
				}
				s.asked(code)
			}),
		inSuite("oidcc-client-test-discovery-jwks-uri-keys", "publishes its keys at an address that nobody can guess",
			"fetches them from there, before it asks userinfo", func(s *suite) {
				s.keysAt, s.metadata["jwks_uri"] = "jwks7f3a", suiteIssuer+"jwks7f3a"
				s.accepted(s.arrive(s.response("/app")))
				s.asked(strings.Replace(code, "jwks", "jwks7f3a", 1))
			}),
		inSuite("oidcc-client-test-discovery-issuer-mismatch", "metadata with another `issuer`",
			"sends nobody to the provider; answers 503", func(s *suite) {
				s.metadata["issuer"] = suiteIssuer + "INVALID"
				s.refused(s.get("/auth/login?return_to=/app"), http.StatusServiceUnavailable, "issuer_mismatch")
				s.asked("openid-configuration")
			}),
		inSuite("oidcc-client-test-signing-key-rotation-just-before-signing", "replaces all its keys before it signs the ID Token",
			"fetches the keys again, once, even if it has just fetched them, and signs in", func(s *suite) {
				const again = " authorize token jwks userinfo"
				asked := code
				for i := range 2 { // without any time between the logins
					s.op.NextIDToken(rotated(s))
					s.accepted(s.arrive(s.response("/app")))
					if i > 0 {
						asked += again
					}
				}
				s.asked(asked)
				s.op.NextIDToken(rotated(s))
				s.accepted(s.arrive(s.response("/app")))
				s.asked(asked + again)
			}),
		inSuite("oidcc-client-test-signing-key-rotation", "replaces its keys before the second login",
			"fetches the keys again and signs in", func(s *suite) {
				s.accepted(s.arrive(s.response("/app")))
				s.asked(code)
				s.forget()
				s.browser = s.newSuiteBrowser()
				s.op.Inject(oidcgatetest.Authorization, func(next http.Handler) http.Handler {
					return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
						replaceKeys(s)
						next.ServeHTTP(rw, r)
					})
				})
				s.accepted(s.arrive(s.response("/app")))
				s.asked("authorize token jwks userinfo")
			}),
	}
}

// replaceKeys publishes a new key in place of all.
func replaceKeys(s *suite) {
	old := s.op.PublicKeys()
	s.op.AddKey("RS256")
	for _, k := range old.Keys {
		s.op.RemoveKey(k.KeyID)
	}
}

// rotated replaces the keys while an ID Token is signed.
func rotated(s *suite) func(*oidcgatetest.JWT) {
	return func(t *oidcgatetest.JWT) {
		replaceKeys(s)
		signed := s.op.NewJWT(nil)
		t.Key, t.Header["kid"] = signed.Key, signed.Header["kid"]
	}
}

// moreModules are those of the comprehensive plan with a course of their own.
func moreModules() []conformanceModule {
	signed := func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Verification.SignedUserinfo = true }
	return []conformanceModule{
		inSuite("oidcc-client-test-userinfo-signed", "a signed userinfo answer, with `iss` and `aud`",
			"verifies it, and signs in with its claims", func(s *suite) {
				s.op.Always(oidcgatetest.Userinfo, signedUserinfo(s, func(*oidcgatetest.JWT) {}))
				s.accepted(s.arrive(s.response("/app")))
				s.asked("openid-configuration authorize token jwks userinfo")
				s.browser = s.newSuiteBrowser()
				s.op.Always(oidcgatetest.Userinfo, signedUserinfo(s, (*oidcgatetest.JWT).CorruptSignature))
				s.refused(s.arrive(s.response("/app")), http.StatusBadGateway, "userinfo_error")
			}, signed),
		inSuite("oidcc-client-test-invalid-sig-hs256", "HS256 with the client's secret, and a signature with wrong bits",
			"refuses the login; with the right bits it signs in", func(s *suite) {
				s.op.EveryIDToken(func(t *oidcgatetest.JWT) { delete(t.Header, "kid"); t.SignWith("HS256", []byte(suiteSecret)) })
				s.op.NextIDToken((*oidcgatetest.JWT).CorruptSignature)
				s.refused(s.arrive(s.response("/app")), http.StatusBadGateway, "sig")
				s.asked("openid-configuration authorize token")
				s.accepted(s.arrive(s.response("/app")))
			}, func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Verification.SigningAlgs = []string{"HS256"} }),
		formPostError(),
		mtlsAliases(),
	}
}

// mtlsAliases is a provider that takes certificates at another address.
func mtlsAliases() conformanceModule {
	return conformanceModule{
		"oidcc-client-test-mtls-endpoint-aliases", "", "takes certificates at the addresses of `mtls_endpoint_aliases`, and nowhere else",
		"asks the token endpoint and userinfo there, with `tls_client_auth` and `self_signed_tls_client_auth`", func(t *testing.T) {
			certificate := newClientCertificate(t)
			for method, auth := range map[oidcgatetest.AuthMethod]oidcgate.ClientAuth{
				oidcgatetest.TLSClientAuth: oidcgate.TLSClientAuth(certificate), oidcgatetest.SelfSignedTLSClientAuth: oidcgate.SelfSignedTLSClientAuth(certificate),
			} {
				t.Run(string(method), func(t *testing.T) { loginAtAliases(t, method, auth, certificate.Leaf) })
			}
		},
	}
}

func loginAtAliases(t *testing.T, method oidcgatetest.AuthMethod, auth oidcgate.ClientAuth, certificate *x509.Certificate) {
	op := oidcgatetest.NewProvider(t)
	plain := op.TLSServer()
	var mu sync.Mutex
	var asked []string
	aliases := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked = append(asked, r.URL.Path)
		mu.Unlock()
		http.StripPrefix("/mtls", op).ServeHTTP(rw, r)
	}))
	aliases.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	aliases.StartTLS()
	t.Cleanup(aliases.Close)
	op.Always(oidcgatetest.Discovery, oidcgatetest.EditJSON(func(m map[string]any) {
		m["mtls_endpoint_aliases"] = map[string]string{
			"token_endpoint": aliases.URL + "/mtls/token", "userinfo_endpoint": aliases.URL + "/mtls/userinfo",
		}
	}))
	w := newWorldOf(t, op, asksUserinfo, func(c *oidcgate.Config, p *oidcgate.Provider) {
		c.HTTP = oidcgate.HTTPOptions{RootCAs: x509.NewCertPool()}
		c.HTTP.RootCAs.AddCert(plain.Certificate())
		c.HTTP.RootCAs.AddCert(aliases.Certificate())
		p.Auth = auth
	})
	w.register(func(c *oidcgatetest.Client) { c.AuthMethod, c.Certificate = method, certificate })
	resp, err := withoutRedirects(plain.Client()).Get(w.get("/auth/login?return_to=/app").location())
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if a := w.get(resp.Header.Get("Location")); a.location() != shopURL+"/app" || w.subject() != "alice" {
		t.Fatalf("%d to %q\n%s", a.StatusCode, a.location(), w.logged())
	}
	mu.Lock()
	defer mu.Unlock()
	if got := strings.Join(asked, " "); got != "/mtls/token /mtls/userinfo" {
		t.Errorf("the aliases were asked %q", got)
	}
}

// signedUserinfo signs the answers of userinfo.
func signedUserinfo(s *suite, change func(*oidcgatetest.JWT)) oidcgatetest.Fault {
	return oidcgatetest.Edit(func(r *oidcgatetest.Response) {
		token := s.op.NewJWT(map[string]any{
			"iss": suiteIssuer, "aud": suiteClient, "sub": suiteUser, "name": "Demo T. User", "email": "user@example.com", "email_verified": false,
		})
		change(token)
		r.Header.Set("Content-Type", "application/jwt")
		r.Body = []byte(token.Compact())
	})
}

// initiatePlans are about logins that another site begins.
func initiatePlans() []conformancePlan {
	thirdParty := func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Request.ThirdParty = true }
	return []conformancePlan{{
		"Third-Party Initiated Login", "`Request.ThirdParty` is set. The response type is `code`.", "", []conformanceModule{
			inSuite("oidcc-client-test-3rd-party-init-login", "sends the browser to `/auth/initiate` with `iss` alone",
				"leads to the provider, and signs in", func(s *suite) {
					a := s.get("/auth/initiate?iss="+url.QueryEscape(suiteIssuer), "Sec-Fetch-Site: cross-site")
					if !strings.HasPrefix(a.location(), shopURL+"/auth/login?") {
						s.Fatalf("%d to %q", a.StatusCode, a.location())
					}
					a = s.finishLogin(s.authorization(a.location(), "Sec-Fetch-Site: cross-site").String())
					if a.location() != shopURL+"/" || !strings.Contains(s.whoIs(s.browser), suiteUser) {
						s.Errorf("%d to %q, signed in: %q", a.StatusCode, a.location(), s.whoIs(s.browser))
					}
					s.asked(loginCalls["code"])
				}, thirdParty),
		},
	}}
}

// formPostError is a login that the provider refuses without a page of its own.
func formPostError() conformanceModule {
	return conformanceModule{
		"oidcc-client-test-form-post-error", "in part", "posts the error `login_required` to a request with `prompt=none` and `max_age=0`",
		"shows a page. But where `prompt=none` is configured, it first asks once more without it; `max_age=0` is sent with `prompt=login` alone",
		func(t *testing.T) {
			for _, prompt := range []string{"", "none"} {
				synctest.Test(t, func(t *testing.T) {
					s := newSuite(t, oidcgatetest.Config{LoginPage: func(_ http.ResponseWriter, _ *http.Request, l *oidcgatetest.Login) {
						l.Refuse("login_required", "nobody is logged in")
					}}, answering("code", "form_post"), func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Request.Login.Prompt = prompt })
					a, asked := s.arrive(s.response("/app")), "openid-configuration authorize"
					if got := s.op.LastRequest(oidcgatetest.Authorization).Form.Get("prompt"); got != prompt {
						t.Errorf("prompt %q", got)
					}
					if prompt == "none" {
						action, fields, _ := s.postedForm(s.get(a.location()).body)
						a, asked = s.arrive(action, fields), asked+" authorize"
					}
					s.refused(a, http.StatusForbidden, "op_error:login_required")
					s.asked(asked)
				})
			}
		},
	}
}
