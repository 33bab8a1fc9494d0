package oidcgate_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/oidcgate/oidcgate"
)

// feature is a row of docs/features.md. The page's last column has the tests that show its rules.
type feature struct {
	what  string
	names string // of fields and functions, separated by spaces
	spec  string
	rules string
}

var features = []struct {
	title string
	rows  []feature
}{
	{"Logging in", []feature{
		{"authorization code flow with PKCE, state and nonce", "New", "OpenID Connect Core 3.1, RFC 7636", "C019 C020 C021 C029 C030"},
		{"hybrid flow and implicit flow with an ID Token alone", "Request.ResponseType", "OpenID Connect Core 3.2, 3.3", "C038 C039 C040"},
		{"answers in the query, by form_post and in the fragment", "Request.ResponseMode", "OAuth 2.0 Multiple Response Types, Form Post Response Mode", "C034 C040 C043"},
		{"signed answers", "Request.ResponseMode", "JARM", "C041 C042"},
		{"protection against mix-up", "Verification.ResponseIss", "RFC 9207", "C031 C032"},
		{"pushed requests", "Request.Pushed Endpoints.PushedAuthorization", "RFC 9126", "C096 C097 C098"},
		{"signed and encrypted requests", "Request.Object", "RFC 9101", "C099"},
		{"parameters of each login", "Config.LoginOptions Login.Prompt Request.Params Request.LinkParams", "OpenID Connect Core 3.1.2.1", "C024 C025"},
		{"registration of a new user", "Gate.RegisterURL", "Initiating User Registration via OpenID Connect", "C024"},
		{"claims parameter, rich requests", "Login.Claims Login.AuthorizationDetails", "OpenID Connect Core 5.5, RFC 9396", "C024"},
		{"resource indicators", "Request.Resources", "RFC 8707", "C024 C049"},
		{"step-up by class and by age", "ACR MaxAge Request.PromptLogin Request.EssentialACR", "OpenID Connect Core 3.1.2.1, RFC 9470", "C025 C067 C110"},
		{"login without interaction", "Request.Params", "OpenID Connect Core 3.1.2.1", "C036"},
		{"logins that another site begins", "Request.ThirdParty", "OpenID Connect Core 4", "C027 C028"},
		{"claims that a provider writes in its own way, or has elsewhere", "Claims.Unwrap Claims.EmailVerified Claims.EmailVerifiedText Claims.Further Claims.FurtherOrigins", "OpenID Connect Core 5.1", "C073 C075 C079"},
		{"logouts that a provider does in its own way", "Logout.Style Logout.FreshHint Logout.WithoutRevocation", "", "C117"},
		{"token answers that are not as they should be", "TokenRequest.LenientAnswers", "RFC 6749 5", "C053"},
		{"providers that fail on PKCE, or drop or change the nonce", "Request.WithoutPKCE Verification.WithoutNonce Verification.AnyNonceAtRefresh", "RFC 9700 2.1.1", "C019 C065"},
		{"a discovery document that is not at the issuer", "Endpoints.Discovery", "OpenID Connect Discovery 4", "C001 C002"},
		{"issuers with tenants, and several issuers of one provider", "Verification.Tenants Verification.Issuers", "OpenID Connect Core 3.1.3.7", "C058"},
		{"users of one organization alone", "Verification.RequireClaims", "", "C067"},
		{"several providers", "Provider.Name Login.Provider", "RFC 9700 4.4", "C032"},
		{"providers without ID Tokens", "OAuth2 Identity.HasIDToken", "RFC 6749 4.1, RFC 7636", "C020 C026 C066"},
		{"FAPI 2.0", "Provider.Profile", "FAPI 2.0 Security Profile, FAPI 2.0 Message Signing", "C130 C131 C132"},
	}},
	{"The client", []feature{
		{"a secret, in the header or in the form", "ClientSecretBasic ClientSecretPost TokenRequest.RawBasic", "RFC 6749 2.3.1", "C049 C050 C051"},
		{"no secret", "PublicClient", "RFC 7636", "C049"},
		{"assertions by key or secret", "PrivateKeyJWT ClientSecretJWT TokenRequest.AssertionAudience", "RFC 7523", "C088 C090"},
		{"assertions that another service signs", "ClientAssertion AssertionFile", "RFC 7523 2.2", "C016"},
		{"certificates", "TLSClientAuth SelfSignedTLSClientAuth", "RFC 8705 2", "C091"},
		{"keys of the client, their rotation, and their address", "Provider.ClientKeys NewClientKeys", "RFC 7517", "C090 C132"},
		{"token requests as JSON", "TokenRequest.JSON", "", "C049"},
		{"registration by the client itself", "registration.Endpoint registration.Register registration.Read registration.Update registration.Delete", "RFC 7591, RFC 7592", "C180 C181 C182 C183"},
		{"the issuer of an e-mail address", "registration.FindIssuer", "OpenID Connect Discovery 2, RFC 7033", "C184"},
	}},
	{"Tokens", []feature{
		{"ID Tokens", "Verification.SigningAlgs Verification.TrustedAudiences", "OpenID Connect Core 3.1.3.7", "C058 C059 C060 C061 C062 C063 C064 C065 C066 C068"},
		{"ID Tokens signed with the client secret", "Verification.SigningAlgs", "OpenID Connect Core 3.1.3.7", "C014"},
		{"encrypted ID Tokens, userinfo and answers", "Verification.EncryptedIDTokens Verification.EncryptedUserinfo Verification.EncryptedResponses Verification.CompressedTokens", "RFC 7516, OpenID Connect Core 10.2", "C071"},
		{"key rotation", "Verification.KeysMaxAge", "OpenID Connect Core 10.1.1", "C008 C009 C010 C011 C012 C013"},
		{"userinfo, plain and signed", "Provider.Userinfo Verification.SignedUserinfo", "OpenID Connect Core 5.3", "C074 C075 C076 C077 C078 C079"},
		{"aggregated and distributed claims, as they come", "Identity.ClaimJSON", "OpenID Connect Core 5.6.2", "C072"},
		{"access tokens for handlers, refreshed when due", "Gate.Token Tokens.RefreshMargin Tokens.Lifetime Tokens.LockLease", "RFC 6749 6, RFC 9700 4.14", "C080 C081 C082 C083 C084"},
		{"calls in the user's name", "Gate.Client", "RFC 6750", "C055"},
		{"tokens for other services", "Gate.ExchangeToken Gate.ExchangeClient", "RFC 8693", "F40 C053 C092"},
		{"tokens bound to a key of the session", "TokenRequest.Binding DPoP", "RFC 9449", "C092 C093 C094 C095"},
		{"tokens bound to a certificate", "TokenRequest.Binding MutualTLS", "RFC 8705 3", "C091"},
		{"claims that are read again", "Tokens.ClaimsMaxAge Tokens.KeepRefused Tokens.EndWithAccessToken", "OpenID Connect Core 12, 5.3", "C113 C085"},
	}},
	{"APIs", []feature{
		{"sessions at routes of scripts", "Gate.RequireAPI Gate.AdmitAPI", "RFC 9457, W3C Fetch Metadata", "C172"},
		{"access tokens in place of a session: [APIs](apis.md)", "Gate.RequireToken Gate.AdmitToken API.Audience Identity.FromAccessToken", "RFC 9068, RFC 6750", "C160 C161 C162 C166"},
		{"access tokens that do not follow RFC 9068", "Verification.PlainAccessTokens", "", "C171"},
		{"opaque access tokens, and revoked ones", "API.Introspect API.IntrospectMaxAge Endpoints.Introspection", "RFC 7662", "C163 C164"},
		{"access tokens bound to a key or to a certificate", "Gate.RequireToken", "RFC 9449 7, RFC 8705 3", "C165"},
		{"scopes as a rule, and step-up", "Scope ACR MaxAge", "RFC 6750 3.1, RFC 9470", "C168"},
		{"a session or an access token", "Gate.RequireEither Gate.AdmitEither", "", "C169"},
		{"metadata of the API", "API.Metadata", "RFC 9728", "C170"},
	}},
	{"Sessions and logout", []feature{
		{"sessions in a store, encrypted", "Config.Store Config.Keys", "", "C102 C103 C105 C106"},
		{"requests that need no session", "Config.WithoutSession", "", "C108"},
		{"the application's values in a session", "Config.EnableValues Gate.Values", "", "F37 F18 C046"},
		{"lists of sessions, and ending them", "Gate.Sessions Limits.UserSessions", "", "C114 C107"},
		{"long answers that end with the session", "Gate.Watch Limits.WatchInterval", "", "C107"},
		{"logout here and at the provider", "Gate.Logout Gate.LogoutURL Endpoints.EndSession", "OpenID Connect RP-Initiated Logout", "C116 C117 C118 C119"},
		{"logout by the provider, server to server", "Verification.LogoutTypeJWT Verification.LogoutWithoutExp", "OpenID Connect Back-Channel Logout", "C121 C122 C123 C124 C125 C126 C128 C129"},
		{"logout by the provider, in a frame", "Gate.Wrap", "OpenID Connect Front-Channel Logout", "C120"},
		{"what the application forgets after a logout", "Config.OnLogout", "", "C134"},
		{"an end that the provider sets", "Gate.Wrap", "OpenID Connect Enterprise Extensions, session_expiry", "C105"},
	}},
	{"Who may enter", []feature{
		{"guards and rules", "Gate.Require Gate.Admit Claim EmailDomain Match LoginWith", "", "C110 C111 C112"},
		{"the application decides about a login", "Config.OnLogin Deny", "", "F34 C079 C113"},
		{"a second identity for an account", "Gate.LinkURL Config.OnLink", "", "C047"},
		{"several providers, replaced while the gate serves", "Gate.SetProviders Config.HomeRealm", "", "C032"},
		{"a page of the application on which visitors choose how to log in", "Site.LoginPage Gate.ReturnPath", "", "C110"},
		{"who is signed in", "FromContext Gate.NewContext", "", "C111"},
		{"who is signed in, for scripts of a page", "Site.SessionInfo Site.SessionClaims", "", "C172"},
	}},
	{"Running it", []feature{
		{"what is wrong with the store and the providers, and the cure", "Gate.Check", "", ""},
		{"pages in the visitor's language, in the looks of the service", "Pages.Language Gate.PageLanguage Pages.Words Pages.Name Pages.Logo Pages.Accent Pages.AccentDark", "RFC 9110 12.5.4", "C044"},
		{"a page for developers", "Config.DevPage", "", "C190"},
		{"metrics and traces (module oidcgateotel)", "HTTP.Wrap Gate.Route ProviderRequestFromContext", "OpenTelemetry", ""},
	}},
}

// basics are fields that belong to no feature of the protocol.
var basics = strings.Fields(`Config.BaseURL Config.IdleTimeout Config.SessionLifetime Config.InsecureAllowHTTP Config.Logger
	Config.OnEvent Config.Page Site.Prefix Site.DefaultPath Site.CookieName HTTP.Timeout HTTP.Transport HTTP.RootCAs HTTP.ResourceTransport
	Limits.ClockSkew Limits.LoginTimeout Limits.SessionBytes Provider.Label Provider.Issuer Provider.ClientID Provider.Auth Provider.Scopes
	Endpoints.Authorization Endpoints.Token Endpoints.Userinfo Endpoints.JWKS Endpoints.MaxAge
	Login.MaxAge Login.ACRValues Login.LoginHint Login.IDTokenHint Login.UILocales Login.Display Login.Params`)

// fieldsOf lists the fields of a configuration: those of its small structs by the struct's field.
func fieldsOf(prefix string, t reflect.Type) []string {
	var names []string
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() {
			continue
		}
		small := f.Type.Kind() == reflect.Struct && f.Type.NumField() > 0 && f.Type.Field(0).IsExported()
		if small {
			names = append(names, fieldsOf(f.Name, f.Type)...)
		} else {
			names = append(names, prefix+"."+f.Name)
		}
	}
	return names
}

func TestFeaturesPage(t *testing.T) {
	api, err := os.ReadFile("api.txt")
	if err != nil {
		t.Fatal(err)
	}
	fields := append(fieldsOf("Config", reflect.TypeFor[oidcgate.Config]()), fieldsOf("Provider", reflect.TypeFor[oidcgate.Provider]())...)
	exists := func(name string) bool {
		method := regexp.MustCompile(`(?m)^oidcgate: (func|method \(\*?` + strings.Replace(name, ".", `\) `, 1) + `\(|func ` + name + `[\[(])`)
		if owner, _, ok := strings.Cut(name, "."); ok && owner != "Gate" && owner != "Identity" && owner != "registration" {
			return slices.Contains(fields, name)
		}
		if f, ok := strings.CutPrefix(name, "registration."); ok {
			return strings.Contains(string(api), "\nregistration: func "+f+"(")
		}
		if !strings.Contains(name, ".") {
			method = regexp.MustCompile(`(?m)^oidcgate: func ` + name + `[\[(]`)
		}
		return method.Match(api)
	}
	named := map[string]bool{}
	for _, name := range basics {
		named[name] = true
	}
	for _, section := range features {
		for _, row := range section.rows {
			for _, name := range strings.Fields(row.names) {
				named[name] = true
			}
		}
	}
	for name := range named {
		if !exists(name) {
			t.Errorf("there is no %s", name)
		}
	}
	for _, name := range fields {
		if !named[name] {
			t.Errorf("%s stands in no row and not among the basics", name)
		}
	}
	page := featuresPage(t, testsOfRules(t))
	const file = "docs/features.md"
	if *update {
		if err := os.WriteFile(file, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if withoutTests(string(got)) != withoutTests(page) {
		t.Errorf("%s is not what this test makes; run: go test . -run TestFeaturesPage -update", file)
	}
	checkNamedTests(t, string(got), testsOfRules(t))
}

var lastColumn = regexp.MustCompile(`(?m)\| ([^|\n]*) \|$`)

// withoutTests returns the page without the names of tests, of which new ones come every day.
func withoutTests(page string) string {
	page, _, _ = strings.Cut(page, "## Not offered")
	return lastColumn.ReplaceAllString(page, "|")
}

// checkNamedTests checks that the tests that the page names still show the rules of their row.
func checkNamedTests(t *testing.T, page string, tests map[string][]string) {
	t.Helper()
	for _, line := range strings.Split(page, "\n") {
		columns := strings.Split(line, " | ")
		if len(columns) != 5 || !ruleNumber.MatchString(columns[3]) {
			continue
		}
		for _, name := range strings.Split(strings.TrimSuffix(columns[4], " |"), ", ") {
			if !slices.ContainsFunc(strings.Fields(columns[3]), func(rule string) bool { return slices.Contains(tests[rule], name) }) {
				t.Errorf("%s shows no rule of %q; run: go test . -run TestFeaturesPage -update", name, columns[0])
			}
		}
	}
}

func featuresPage(t *testing.T, tests map[string][]string) string {
	var b strings.Builder
	b.WriteString("# Features\n\nWhat oidcgate does, by which field or function, and which tests show it, the first four of each. [rules.md](rules.md) explains the rules.\n" +
		"This page is made from the code: `go test . -run TestFeaturesPage -update`.\n")
	for _, section := range features {
		fmt.Fprintf(&b, "\n## %s\n\n| feature | field or function | specification | rules | tests |\n| --- | --- | --- | --- | --- |\n", section.title)
		for _, row := range section.rows {
			var shown []string
			for _, rule := range strings.Fields(row.rules) {
				if len(tests[rule]) == 0 {
					t.Errorf("%s: no test shows %s", row.what, rule)
				}
				for _, test := range tests[rule] {
					if !slices.Contains(shown, test) {
						shown = append(shown, test)
					}
				}
			}
			shown = shown[:min(len(shown), 4)]
			fmt.Fprintf(&b, "| %s | `%s` | %s | %s | %s |\n", row.what, strings.Join(strings.Fields(row.names), "`, `"), row.spec, row.rules, strings.Join(shown, ", "))
		}
	}
	b.WriteString(notOffered)
	return b.String()
}

const notOffered = `
## Not offered

| what | why | use in its place |
| --- | --- | --- |
| OpenID Connect Session Management (an iframe that polls the provider) | Browsers keep the provider's cookies from frames of other sites, so the frame says "changed" for ever, or nothing. | back-channel logout; ` + "`Tokens.ClaimsMaxAge`" + `, which asks the provider again from time to time |
| access tokens through the browser (` + "`token`, `id_token token`, `code token`" + `) | They can be stolen and replaced there (RFC 9700, section 2.1.2). | ` + "`code`" + ` |
| request objects by reference to this service (` + "`request_uri`" + ` of OpenID Connect Core, 6.2) | Every login that a stranger begins would write to the store. | ` + "`Request.Pushed`" + ` |
| fetching of distributed claims | Their sources are addresses that a token chooses, and their signers are unknown. | ` + "`Identity.ClaimJSON`" + `, and a request of the application |
| access tokens in a form or in an address | They stand in logs (RFC 6750, section 5.3). | the header, as ` + "`Gate.Client`" + ` sends them |
| tokens of the service itself, for a job in the night (client credentials, RFC 6749, section 4.4) | Nobody is signed in, so there is nothing to guard or to keep. | package ` + "`golang.org/x/oauth2/clientcredentials`" + ` |
`

var ruleNumber = regexp.MustCompile(`\b[CF]\d{2,3}\b`)

// testsOfRules finds the tests of each rule by the rule numbers in their subtests' names, those with
// the most first.
func testsOfRules(t *testing.T) map[string][]string {
	t.Helper()
	count := map[string]map[string]int{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git") {
			return cmpOr(err, filepath.SkipDir)
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || !strings.HasPrefix(f.Name.Name, "Test") {
				continue
			}
			ast.Inspect(f, func(n ast.Node) bool {
				literal, ok := n.(*ast.BasicLit)
				if !ok || literal.Kind != token.STRING {
					return true
				}
				text, _ := strconv.Unquote(literal.Value)
				for _, rule := range ruleNumber.FindAllString(text, -1) {
					if count[rule] == nil {
						count[rule] = map[string]int{}
					}
					count[rule][f.Name.Name]++
				}
				return true
			})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string][]string{}
	for rule, found := range count {
		for name := range found {
			tests[rule] = append(tests[rule], name)
		}
		slices.SortFunc(tests[rule], func(a, b string) int {
			if found[a] != found[b] {
				return found[b] - found[a]
			}
			return strings.Compare(a, b)
		})
	}
	return tests
}

// cmpOr returns err, or other if there is none.
func cmpOr(err, other error) error {
	if err != nil {
		return err
	}
	return other
}
