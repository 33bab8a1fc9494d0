package oidcgate_test

import (
	"cmp"
	"crypto/ed25519"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

var update = flag.Bool("update", false, "write docs/conformance.md")

// conformancePlan is a test plan of the OpenID Foundation, as docs/conformance.md lists it.
type conformancePlan struct {
	name    string // also the name of the subtest
	setup   string // how the gate is configured, for the page
	like    string // the plan with the same modules, of which this is the one with form_post
	modules []conformanceModule
}

// conformanceModule is one test of a plan. Its texts are those of the page.
type conformanceModule struct {
	name     string // in full
	holds    string // "" stands for "yes"
	provider string // what the provider does
	gate     string // what the gate must do
	run      func(t *testing.T)
}

// conformancePlans are all plans, in the order of the page.
func conformancePlans() []conformancePlan {
	return slices.Concat(loginPlans(), initiatePlans(), logoutPlans(), fapiPlans())
}

// TestConformance has the tests of the OpenID Foundation for relying parties as its model. Those
// watch only which requests come. Here a test checks what the browser sees, too.
func TestConformance(t *testing.T) {
	for _, plan := range conformancePlans() {
		t.Run(plan.name, func(t *testing.T) {
			for _, m := range plan.modules {
				t.Run(m.name, m.run)
			}
		})
	}
}

// modulesLeftOut are the modules without a test, and why.
var modulesLeftOut = []struct{ names, reason string }{
	{"`oidcc-client-test-userinfo-bearer-body`", "The access token is sent in the `Authorization` header. That module and " +
		"`oidcc-client-test-userinfo-bearer-header` exclude each other."},
	{"`oidcc-client-test-request-uri-signed-rs256`, `oidcc-client-test-request-uri-signed-none`", "The gate serves no request objects at an " +
		"address of its own."},
	{"`oidcc-client-test-dynamic-registration`", "The client is registered by hand."},
	{"`oidcc-client-test-discovery-webfinger-acct`, `oidcc-client-test-discovery-webfinger-url`", "The issuer is configured. A user cannot choose it."},
	{"`oidcc-client-test-aggregated-claims`, `oidcc-client-test-distributed-claims`", "`_claim_sources` reach the application as they are. " +
		"The gate fetches and verifies no claims of other providers."},
	{"`oidcc-client-test-session-management`", "The gate has no page that polls `check_session_iframe`: browsers withhold the provider's cookie from such a frame."},
	{"`oidcc-client-test-invalid-athash`, `oidcc-client-test-missing-athash`, and each module with `id_token token`, `code token` or " +
		"`code id_token token`", "`New` refuses response types that send an access token through the browser (RFC 9700, 2.1.2)."},
	{"The FAPI 2.0 modules with certificates in place of `private_key_jwt` or DPoP", "Not repeated here. Certificates are tested in " +
		"TestCertificateBoundTokens and in the tests of rule C091."},
	{"`fapi2-security-profile-final-client-test-invalid-openbanking-intent-id`, `fapi2-security-profile-final-client-refresh-token-test`",
		"They belong to profiles of single countries."},
}

// conformancePage is docs/conformance.md.
func conformancePage() string {
	var b strings.Builder
	b.WriteString(`# The OpenID Foundation's tests for relying parties

The tests named TestConformance are modelled on the OpenID Foundation's tests for relying parties. No certification is claimed: the
Foundation's own suite has not judged oidcgate.

Each module of a test plan is one subtest. The provider is that of package oidcgatetest, and it acts as the module describes. The
Foundation's suite watches which requests arrive. The subtests check this too: which requests come, in which order, and that none
follows a bad answer. They also check what the browser sees: a refused login is a page with a status of 400 or more, without a
session; an accepted one is signed in, with the right claims.

In all plans the provider is as difficult as the Foundation's. The issuer ends in a slash. The client's id and secret are full of
punctuation. The discovery document lists response types in an unusual order, the algorithm "none", and no PKCE methods. The key set
has several keys of each kind without "alg", keys for encryption, and a curve that Go does not know. Tokens have no "typ".

This page is written by a test: ` + "`go test . -run TestConformancePage -update`" + `.
`)
	for _, plan := range conformancePlans() {
		run := fmt.Sprintf("Run it with `go test . -run 'TestConformance/^%s$'`.", strings.ReplaceAll(plan.name, " ", "_"))
		if plan.like != "" {
			fmt.Fprintf(&b, "\n## %s\n\nThe modules of %s, with the response mode `form_post`. All hold as they do there. %s\n", plan.name, plan.like, run)
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s %s\n\n", plan.name, plan.setup, run)
		b.WriteString("| Module | Holds | The provider | The gate |\n| --- | --- | --- | --- |\n")
		for _, m := range plan.modules {
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.name, cmp.Or(m.holds, "yes"), m.provider, m.gate)
		}
	}
	b.WriteString("\n## Modules without a test\n\n| Module | Reason |\n| --- | --- |\n")
	for _, m := range modulesLeftOut {
		fmt.Fprintf(&b, "| %s | %s |\n", m.names, m.reason)
	}
	return b.String()
}

// TestConformancePage holds that the page lists the modules that are tested, and no others.
func TestConformancePage(t *testing.T) {
	const name = "docs/conformance.md"
	modules := map[string]string{}
	for _, plan := range conformancePlans() {
		seen := map[string]bool{}
		for _, m := range plan.modules {
			if seen[m.name] || m.run == nil || m.provider == "" || m.gate == "" {
				t.Errorf("%s: %s stands there twice or lacks something", plan.name, m.name)
			}
			seen[m.name] = true
			modules[plan.name] += fmt.Sprintln(m.name, m.holds, m.provider, m.gate)
		}
		if plan.like != "" && modules[plan.like] != modules[plan.name] {
			t.Errorf("%s has other modules than %s", plan.name, plan.like)
		}
	}
	if *update {
		if err := os.WriteFile(name, []byte(conformancePage()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	page, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if string(page) != conformancePage() {
		t.Errorf("%s is not up to date; run go test . -run TestConformancePage -update", name)
	}
}

const (
	suiteIssuer = "https://id.test/test/a/oidcgate/"
	suiteUser   = "user-subject-1234531"

	// The Foundation's suite makes ids and secrets of random punctuation.
	suiteClient = `shop !"#$%&'()*+,-./:;<=>?@[\]^_{|}~`
	suiteSecret = `%3A +/&=: "the" client's secret; 32 bytes or more~`
)

// suite is a world whose provider acts like the OpenID Foundation's suite, and records the order of
// the requests that it gets.
type suite struct {
	*world
	keysAt   string         // the last part of the path of the keys
	metadata map[string]any // members of the discovery document; nil removes one

	mu    sync.Mutex
	calls []string // the last parts of paths
}

// newSuite opens a shop at such a provider. It asks userinfo after a login, if it can.
func newSuite(t *testing.T, config oidcgatetest.Config, changes ...change) *suite {
	t.Helper()
	s := &suite{keysAt: "jwks", metadata: map[string]any{
		"response_types_supported":              []string{"id_token code", "code", "id_token", "token id_token", "code token id_token", "code token"},
		"id_token_signing_alg_values_supported": []string{"none", "RS256", "PS256", "ES256", "ES256K", "EdDSA"},
		"token_endpoint_auth_methods_supported": []string{"client_secret_basic"},
		"code_challenge_methods_supported":      nil,

		"authorization_response_iss_parameter_supported": nil,
	}}
	config.Issuer = suiteIssuer
	op := oidcgatetest.NewProvider(t, config)
	first := func(c *oidcgate.Config, p *oidcgate.Provider) {
		c.HTTP.Transport = oidcgatetest.NewTransport(map[string]http.Handler{"id.test": s.recorder(op)})
		p.ClientID, p.Auth, p.Userinfo = suiteClient, oidcgate.ClientSecretBasic(suiteSecret), oidcgate.UserinfoRequired
	}
	last := func(_ *oidcgate.Config, p *oidcgate.Provider) {
		if p.Request.ResponseType == "id_token" {
			p.Userinfo = oidcgate.UserinfoOff // there is no access token to ask with
		}
	}
	s.world = newWorldOf(t, op, slices.Concat([]change{first}, changes, []change{last})...)
	s.op.AddClient(oidcgatetest.Client{
		ID: suiteClient, Secret: suiteSecret, RedirectURLs: []string{shopURL + "/auth/callback"},
		PostLogoutRedirectURLs: []string{shopURL + "/auth/logout/done"},
	})
	s.browser = s.newSuiteBrowser()
	s.actLikeTheFoundations(config)
	return s
}

// recorder is the provider behind a record of what is asked.
func (s *suite) recorder(op *oidcgatetest.Provider) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.calls = append(s.calls, path.Base(r.URL.Path))
		if path.Base(r.URL.Path) == s.keysAt {
			r.URL.Path = path.Dir(r.URL.Path) + "/jwks"
		}
		s.mu.Unlock()
		op.ServeHTTP(rw, r)
	})
}

// newSuiteBrowser is a browser whose requests to the provider are recorded.
func (s *suite) newSuiteBrowser() *http.Client {
	browser := s.newBrowser()
	browser.Transport = oidcgatetest.NewTransport(map[string]http.Handler{
		"id.test":   s.recorder(s.op),
		"shop.test": http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(rw, r) }),
	})
	return browser
}

// actLikeTheFoundations gives the provider the peculiarities of the Foundation's suite.
func (s *suite) actLikeTheFoundations(config oidcgatetest.Config) {
	s.op.SetUser(suiteAccount("code"))
	for _, algorithm := range []string{"ES256", "ES256", "RS256"} { // and the RS256 key that is there
		s.op.AddKey(algorithm)
	}
	s.op.Always(oidcgatetest.Discovery, oidcgatetest.EditJSON(func(m map[string]any) {
		for name, value := range s.metadata {
			if m[name] = value; value == nil {
				delete(m, name)
			}
		}
	}))
	s.op.Always(oidcgatetest.JWKS, oidcgatetest.EditJSON(func(m map[string]any) { m["keys"] = suiteKeys(s.T, m["keys"].([]any)) }))
	s.op.Always(oidcgatetest.Token, oidcgatetest.EditJSON(func(m map[string]any) {
		delete(m, "expires_in")
		delete(m, "refresh_token")
	}))
	s.op.EveryIDToken(func(t *oidcgatetest.JWT) {
		delete(t.Header, "typ")
		delete(t.Claims, "auth_time")
		delete(t.Claims, "sid")
	})
	if config.PushedRequests {
		return // FAPI demands iss
	}
	for range 10 {
		s.op.NextResponse(func(v url.Values) { v.Del("iss"); v.Set("session_state", "x.y") })
	}
}

// suiteAccount is the user. Without a token endpoint there is no userinfo, and the ID Token has all
// claims.
func suiteAccount(responseType string) oidcgatetest.User {
	claims := map[string]any{
		"name": "Demo T. User", "email": "user@example.com", "email_verified": false,
		"phone_number": "+1 555 5550000", "phone_number_verified": false,
	}
	if responseType == "id_token" {
		return oidcgatetest.User{Subject: suiteUser, Claims: claims}
	}
	return oidcgatetest.User{Subject: suiteUser, UserinfoClaims: claims}
}

// suiteKeys puts the keys of the Foundation's suite round those of the provider.
func suiteKeys(t *testing.T, list []any) []any {
	public, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Error(err)
	}
	all := []any{
		map[string]any{"kty": "EC", "crv": "secp256k1", "kid": "k1", "use": "sig", "x": strings.Repeat("A", 43), "y": strings.Repeat("B", 43)},
		jose.JSONWebKey{Key: public, KeyID: "ed", Use: "sig"},
	}
	encrypts := map[string]string{"RSA": "RSA-OAEP", "EC": "ECDH-ES"}
	for _, k := range list {
		key := k.(map[string]any)
		kty := key["kty"].(string)
		delete(key, "alg")
		all = append(all, key)
		if encrypts[kty] == "" {
			continue
		}
		other := map[string]any{}
		for name, value := range key {
			other[name] = value
		}
		other["use"], other["alg"], other["kid"] = "enc", encrypts[kty], "enc-"+kty
		all = slices.Insert(all, 0, any(other))
		encrypts[kty] = ""
	}
	return all
}

// asked checks the requests that the provider has got so far, and that a minute brings no other.
func (s *suite) asked(want string) {
	s.Helper()
	time.Sleep(time.Minute)
	synctest.Wait()
	s.askedSoFar(want)
}

// askedSoFar is asked without the wait, for tests outside a synctest bubble.
func (s *suite) askedSoFar(want string) {
	s.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if got := strings.Join(s.calls, " "); got != want {
		s.Errorf("the provider was asked:\n%s, want\n%s", got, want)
	}
}

// forget lets the record begin anew.
func (s *suite) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = nil
}

// accepted checks a login that must succeed.
func (s *suite) accepted(a answer) {
	s.Helper()
	if a.StatusCode != http.StatusSeeOther || a.location() != shopURL+"/app" {
		s.Fatalf("status %d to %q\n%s\n%s", a.StatusCode, a.location(), a.body, s.logged())
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(s.get("/whoami").body), &got); err != nil {
		s.Fatal(err)
	}
	want := map[string]any{"iss": suiteIssuer, "sub": suiteUser, "name": "Demo T. User", "email": "user@example.com", "verified": false}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		s.Errorf("signed in: %v, want %v", got, want)
	}
}

// refused checks a login that must fail.
func (s *suite) refused(a answer, status int, reason oidcgate.Reason) {
	s.Helper()
	s.denied(a, status, reason)
	if got := s.get("/whoami"); got.StatusCode != http.StatusUnauthorized || s.cookie("__Host-Http-oidcgate") != "" {
		s.Errorf("/whoami: status %d; the session cookie %q", got.StatusCode, s.cookie("__Host-Http-oidcgate"))
	}
}

// backchannel sends a logout token as the provider's server does, without cookies, and an unknown
// parameter beside it.
func (s *suite) backchannel(token string) *httptest.ResponseRecorder {
	form := url.Values{"logout_token": {token}, "foo": {"bar"}}
	r := httptest.NewRequest(http.MethodPost, shopURL+"/auth/backchannel-logout", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	rec := httptest.NewRecorder()
	s.handler.ServeHTTP(rec, r)
	return rec
}
