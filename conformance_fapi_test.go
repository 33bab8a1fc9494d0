package oidcgate_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

const fapiPrefix = "fapi2-security-profile-final-client-test-"

// fapiModule is a module of the FAPI plans.
type fapiModule struct {
	name, provider, gate string // the name without its prefix

	only   oidcgate.Profile // the plan that has it; NoProfile stands for both
	act    func(*suite)
	reason oidcgate.Reason // why the login is refused; "" if it is not
	early  bool            // it is refused before the code is sent
	keys   int             // how often the provider's keys are fetched before it is refused
}

func fapiPlans() []conformancePlan {
	const setup = "The client authenticates by `private_key_jwt`, its tokens are bound by DPoP, whose nonces are demanded, and its requests are pushed."
	return []conformancePlan{
		{"FAPI 2.0 Security Profile", "`Provider.Profile` is `FAPI2Security`. " + setup, "", fapiModules(oidcgate.FAPI2Security)},
		{"FAPI 2.0 Message Signing", "`Provider.Profile` is `FAPI2MessageSigning`. " + setup + " Requests and responses are signed.", "",
			fapiModules(oidcgate.FAPI2MessageSigning)},
	}
}

func fapiModules(profile oidcgate.Profile) []conformanceModule {
	modules := resourceModules(profile)
	for _, m := range allFAPIModules(profile) {
		if m.only == oidcgate.NoProfile || m.only == profile {
			modules = append(modules, conformanceModule{fapiPrefix + m.name, "", m.provider, m.gate, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { m.run(t, profile) })
			}})
		}
	}
	return modules
}

// newFAPISuite opens a shop that is a client of FAPI 2.0, at a provider that signs by ES256.
func newFAPISuite(t *testing.T, profile oidcgate.Profile, nonces bool) *suite {
	t.Helper()
	key := newClientKey(t)
	s := newSuite(t, oidcgatetest.Config{PushedRequests: true, RequirePushedRequests: true, DPoPNonces: nonces}, func(_ *oidcgate.Config, p *oidcgate.Provider) {
		p.Profile, p.Auth, p.TokenRequest.Binding = profile, oidcgate.PrivateKeyJWT(), oidcgate.DPoP()
		p.ClientKeys = oidcgate.NewClientKeys([]oidcgate.ClientKey{{Key: key, ID: "k1"}})
	})
	keys, _ := s.publishedKeys("/auth/jwks")
	s.op.AddClient(oidcgatetest.Client{
		ID: suiteClient, AuthMethod: oidcgatetest.PrivateKeyJWT, Keys: keys, RedirectURLs: []string{shopURL + "/auth/callback"},
	})
	s.op.AddKey("ES256")
	s.op.Clear(oidcgatetest.Token)
	s.metadata = map[string]any{
		"token_endpoint_auth_methods_supported": []string{"private_key_jwt"},
		"id_token_signing_alg_values_supported": []string{"PS256", "ES256"},
	}
	return s
}

// fapiCalls are the requests of a login. The first token request learns the nonce of DPoP.
func fapiCalls(profile oidcgate.Profile, nonces bool) string {
	calls := "openid-configuration par authorize token jwks userinfo"
	if profile == oidcgate.FAPI2MessageSigning { // the response is verified before the code is sent
		calls = "openid-configuration par authorize jwks token userinfo"
	}
	if nonces {
		calls = strings.Replace(calls, "token", "token token", 1)
	}
	return calls
}

func (m fapiModule) run(t *testing.T, profile oidcgate.Profile) {
	s := newFAPISuite(t, profile, true)
	m.act(s)
	calls := fapiCalls(profile, true)
	if m.reason == "" {
		s.accepted(s.arrive(s.response("/app")))
		s.asked(calls)
		return
	}
	a := s.get("/auth/login?return_to=/app")
	if m.reason == "issuer_mismatch" {
		s.refused(a, http.StatusServiceUnavailable, m.reason)
		s.asked("openid-configuration")
		return
	}
	a = s.get(s.get(a.location()).location())
	if m.early {
		s.refused(a, http.StatusBadRequest, m.reason)
		s.asked("openid-configuration par authorize" + strings.Repeat(" jwks", m.keys))
		return
	}
	s.refused(a, http.StatusBadGateway, m.reason)
	calls = strings.TrimSuffix(calls, " userinfo")
	if m.keys == 0 && profile == oidcgate.FAPI2Security {
		calls = strings.TrimSuffix(calls, " jwks")
	}
	s.asked(calls)
}

func allFAPIModules(profile oidcgate.Profile) []fapiModule {
	const (
		refuses     = "refuses the login; the access token is used nowhere"
		refusesCode = "refuses the login; the code is not sent"
	)
	at := func(name string, d time.Duration) func(*oidcgatetest.JWT) {
		return func(t *oidcgatetest.JWT) { t.Claims[name] = time.Now().Add(d).Unix() }
	}
	answer := func(change func(map[string]any)) func(*suite) {
		return func(s *suite) { s.op.Always(oidcgatetest.Token, oidcgatetest.EditJSON(change)) }
	}
	// inResponse changes the response, signed or not.
	inResponse := func(change func(url.Values)) func(*suite) {
		return func(s *suite) {
			if profile == oidcgate.FAPI2Security {
				s.op.NextResponse(change)
				return
			}
			s.op.NextResponseObject(func(t *oidcgatetest.JWT) {
				v := url.Values{"state": {t.Claims["state"].(string)}}
				if change(v); v.Has("state") {
					t.Claims["state"] = v.Get("state")
				} else {
					delete(t.Claims, "state")
				}
			})
		}
	}
	object := func(change func(*oidcgatetest.JWT)) func(*suite) {
		return func(s *suite) { s.op.NextResponseObject(change) }
	}
	const signing, plain = oidcgate.FAPI2MessageSigning, oidcgate.FAPI2Security
	return []fapiModule{
		{name: "discovery-issuer-mismatch", provider: "metadata with another `issuer`", gate: "sends nobody to the provider; answers 503",
			act: func(s *suite) { s.metadata["issuer"] = suiteIssuer + "INVALID" }, reason: "issuer_mismatch"},
		{name: "invalid-iss", provider: "another `iss`", gate: refuses, act: appended("iss", "1"), reason: "iss_claim", keys: 1},
		{name: "invalid-aud", provider: "another `aud`", gate: refuses, act: appended("aud", "1"), reason: "aud", keys: 1},
		{name: "invalid-missing-iss", provider: "no `iss`", gate: refuses, act: dropped("iss"), reason: "iss_claim", keys: 1},
		{name: "invalid-missing-aud", provider: "no `aud`", gate: refuses, act: dropped("aud"), reason: "aud", keys: 1},
		{name: "invalid-missing-exp", provider: "no `exp`", gate: refuses, act: dropped("exp"), reason: "exp", keys: 1},
		{name: "invalid-secondary-aud", provider: "a second `aud`, and no `azp`", gate: refuses,
			act: nextIDToken(func(t *oidcgatetest.JWT) { t.Claims["aud"] = []string{suiteClient, "unknown"} }), reason: "aud", keys: 1},
		{name: "invalid-null-alg", provider: "no signature", gate: refuses, act: nextIDToken((*oidcgatetest.JWT).Unsigned), reason: "alg"},
		{name: "invalid-alternate-alg", provider: "RS256, with a key that is published", gate: refuses,
			act: func(s *suite) {
				s.op.AddKey("RS256")
				signed := s.op.NewJWT(nil)
				s.op.AddKey("ES256")
				s.op.NextIDToken(func(t *oidcgatetest.JWT) { t.Header, t.Key = signed.Header, signed.Key })
			}, reason: "alg"},
		{name: "invalid-expired-exp", provider: "an `exp` of six minutes ago", gate: refuses,
			act: nextIDToken(at("exp", -6*time.Minute)), reason: "exp", keys: 1},
		{name: "invalid-nonce", provider: "another `nonce`", gate: refuses, act: appended("nonce", "1"), reason: "nonce", keys: 1},
		{name: "invalid-missing-nonce", provider: "no `nonce`", gate: refuses, act: dropped("nonce"), reason: "nonce", keys: 1},
		{name: "invalid-authorization-response-iss", provider: "another `iss` in the response", gate: refusesCode, only: plain,
			act: func(s *suite) { s.op.NextResponse(set("iss", suiteIssuer+"1")) }, reason: "iss_mismatch", early: true},
		{name: "remove-authorization-response-iss", provider: "no `iss` in the response", gate: refusesCode, only: plain,
			act: func(s *suite) { s.op.NextResponse(without("iss")) }, reason: "iss_missing", early: true},
		{name: "ensure-authorization-response-with-invalid-state-fails", provider: "another `state`", gate: refusesCode,
			act: inResponse(set("state", strings.Repeat("s", 43))), reason: oidcgate.ReasonUnknownState, early: true},
		{name: "ensure-authorization-response-with-invalid-missing-state-fails", provider: "no `state`", gate: refusesCode,
			act: inResponse(without("state")), reason: oidcgate.ReasonUnknownState, early: true},
		{name: "valid-aud-as-array", provider: "an `aud` that is a list of one", gate: signsIn,
			act: nextIDToken(func(t *oidcgatetest.JWT) { t.Claims["aud"] = []string{suiteClient} })},
		{name: "token-endpoint-response-without-expires_in", provider: "no `expires_in`", gate: signsIn,
			act: answer(func(m map[string]any) { delete(m, "expires_in") })},
		{name: "token-type-case-insensitivity", provider: "the `token_type` dpOp", gate: signsIn,
			act: answer(func(m map[string]any) {
				if m["token_type"] != nil { // not in the demand for a nonce
					m["token_type"] = "dpOp"
				}
			})},
		{name: "ensure-jarm-without-iss-fails", provider: "a signed response without `iss`", gate: refusesCode, only: signing,
			act: object(func(t *oidcgatetest.JWT) { delete(t.Claims, "iss") }), reason: "iss_claim", early: true, keys: 1},
		{name: "ensure-jarm-with-invalid-iss-fails", provider: "a signed response with another `iss`", gate: refusesCode, only: signing,
			act: object(func(t *oidcgatetest.JWT) { t.Claims["iss"] = suiteIssuer + "1" }), reason: "iss_claim", early: true, keys: 1},
		{name: "ensure-jarm-without-aud-fails", provider: "a signed response without `aud`", gate: refusesCode, only: signing,
			act: object(func(t *oidcgatetest.JWT) { delete(t.Claims, "aud") }), reason: "aud", early: true, keys: 1},
		{name: "ensure-jarm-with-invalid-aud-fails", provider: "a signed response with another `aud`", gate: refusesCode, only: signing,
			act: object(func(t *oidcgatetest.JWT) { t.Claims["aud"] = suiteClient + "1" }), reason: "aud", early: true, keys: 1},
		{name: "ensure-jarm-without-exp-fails", provider: "a signed response without `exp`", gate: refusesCode, only: signing,
			act: object(func(t *oidcgatetest.JWT) { delete(t.Claims, "exp") }), reason: "exp", early: true, keys: 1},
		{name: "ensure-jarm-with-expired-exp-fails", provider: "a signed response that has expired", gate: refusesCode, only: signing,
			act: object(at("exp", -6*time.Minute)), reason: "exp", early: true, keys: 1},
		{name: "ensure-jarm-with-invalid-sig-fails", provider: "a response with wrong bits in its signature", gate: refusesCode, only: signing,
			act: object((*oidcgatetest.JWT).CorruptSignature), reason: "sig", early: true, keys: 2},
		{name: "ensure-jarm-signature-is-not-none", provider: "a response without a signature", gate: refusesCode, only: signing,
			act: object((*oidcgatetest.JWT).Unsigned), reason: "alg", early: true},
	}
}

// resourceModules end with a request to a resource server, which has a real address.
func resourceModules(profile oidcgate.Profile) (modules []conformanceModule) {
	for _, row := range []struct {
		name, provider, gate string
		nonces               bool
		scheme               string // in which the resource demands a nonce
	}{
		{"happy-path", "demands nonces in DPoP proofs", "signs in, and calls the resource with a bound token", true, "DPoP"},
		{"happy-path-no-dpop-nonce", "demands no nonces", "signs in, and calls the resource with a bound token", false, ""},
		{"rs-dpop-auth-scheme-case-insensitivity", "the resource demands a nonce of the scheme dpOp", "asks again with the nonce", true, "dpOp"},
	} {
		modules = append(modules, conformanceModule{fapiPrefix + row.name, "", row.provider, row.gate, func(t *testing.T) {
			s := newFAPISuite(t, profile, row.nonces)
			s.accepted(s.arrive(s.response("/app")))
			s.askedSoFar(fapiCalls(profile, row.nonces))
			s.checkPushed(profile)
			nonce := map[bool]string{true: "nonce-of-the-resource"}[row.nonces]
			accounts := newResource(t, nonce)
			accounts.scheme = row.scheme
			s.handler = s.gate.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				a, err := s.gate.Client(r.Context(), accounts.URL).Get(accounts.URL + "/open-banking/v1.1/accounts")
				if err != nil {
					t.Error(err)
					return
				}
				_ = a.Body.Close()
				if a.StatusCode != http.StatusOK {
					t.Errorf("the resource answers %d", a.StatusCode)
				}
			}))
			s.get("/")
			want := map[bool]int{false: 1, true: 2}[row.nonces]
			if len(accounts.tokens) != want || len(slices.Compact(slices.Clone(accounts.tokens))) != 1 || !strings.HasPrefix(accounts.tokens[0], "DPoP ") {
				t.Errorf("the resource got %q, want one token %d times", accounts.tokens, want)
			}
		}})
	}
	return modules
}

// checkPushed checks what the browser carried and what was pushed.
func (s *suite) checkPushed(profile oidcgate.Profile) {
	s.Helper()
	carried, pushed := s.op.LastRequest(oidcgatetest.Authorization).Form, s.op.LastRequest(oidcgatetest.PushedRequest).Form
	if len(carried) != 2 || carried.Get("client_id") != suiteClient || carried.Get("request_uri") == "" {
		s.Errorf("the browser carried %v", carried)
	}
	signed := profile == oidcgate.FAPI2MessageSigning
	if pushed.Has("request") != signed || pushed.Has("code_challenge") == signed || pushed.Get("client_assertion") == "" {
		s.Errorf("pushed %v", pushed)
	}
}
