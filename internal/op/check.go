package op

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/oidcgate/oidcgate/internal/check"
)

// Scopes returns openid and the given scopes, each once.
func Scopes(more []string) []string {
	scopes := []string{"openid"}
	for _, s := range more {
		if !slices.Contains(scopes, s) {
			scopes = append(scopes, s)
		}
	}
	return scopes
}

// Complete fills in the defaults, those of the profile among them.
func (cfg *Config) Complete() {
	if cfg.hasIDTokens() {
		cfg.Scopes = Scopes(cfg.Scopes)
	}
	cfg.ResponseType = cmp.Or(cfg.ResponseType, TypeCode)
	cfg.applyProfile()
	if len(cfg.SigningAlgs) == 0 { // OpenID Connect Dynamic Client Registration, 2
		cfg.SigningAlgs = []string{"RS256"}
	}
	if cfg.ThirdParty {
		cfg.LinkParams = append(slices.Clone(cfg.LinkParams), "login_hint")
	}
}

// Faults returns all that is wrong with a configuration.
func (cfg *Config) Faults() check.List {
	var f check.List
	cfg.checkIssuers(&f)
	if cfg.ClientID == "" {
		f.Add("ClientID", "is empty; use the id the provider gave this application")
	}
	e := cfg.Endpoints
	f.URL("Endpoints.Discovery", e.Discovery, cfg.AllowHTTP)
	f.URL("Endpoints.Authorization", e.Authorization, cfg.AllowHTTP)
	f.URL("Endpoints.Token", e.Token, cfg.AllowHTTP)
	f.URL("Endpoints.Userinfo", e.Userinfo, cfg.AllowHTTP)
	f.URL("Endpoints.JWKS", e.JWKS, cfg.AllowHTTP)
	f.URL("Endpoints.EndSession", e.EndSession, cfg.AllowHTTP)
	f.URL("Endpoints.Introspection", e.Introspection, cfg.AllowHTTP)
	f.URL("Endpoints.PushedAuthorization", e.PushedAuthorization, cfg.AllowHTTP)
	cfg.checkOAuth2(&f)
	cfg.checkShape(&f)
	cfg.checkLogout(&f)
	cfg.checkClientKeys(&f)
	cfg.checkAuth(&f)
	cfg.checkProfile(&f)
	cfg.checkRequest(&f)
	cfg.checkAPI(&f)
	cfg.checkVerification(&f)
	return f
}

func (cfg *Config) checkClientKeys(f *check.List) {
	if cfg.ClientKeys == nil || !cfg.FixedKeys {
		return
	}
	keys, _ := cfg.ClientKeys(context.Background()) // fixed ones never fail
	for i := range keys {
		if err := keys[i].Complete(); err != nil {
			f.Add(fmt.Sprintf("ClientKeys[%d]", i), "%v", err)
		}
	}
}

// checkAuth checks that the method of client authentication has what it needs.
func (cfg *Config) checkAuth(f *check.List) {
	if cfg.Auth.Method == AuthKeyJWT && cfg.Auth.Secret == nil && !cfg.hasSigningKey() {
		f.Add("ClientKeys", "is not set, and PrivateKeyJWT needs a key that signs; use NewClientKeys")
	}
	if cfg.SecretLength > 0 {
		secret, _ := cfg.Auth.Secret(context.Background()) // a fixed one never fails
		checkSecret(f, secret)
	}
	if cfg.ToResources != nil && cfg.Certificate != nil {
		if _, ok := cfg.mutual(cfg.ToResources); !ok {
			f.Add("TokenRequest.Binding", "needs a transport that can show a certificate, and "+
				"HTTP.ResourceTransport is a %T; use an *http.Transport", cfg.ToResources)
		}
	}
	if cfg.Transport == nil {
		return
	}
	if _, ok := cfg.mutual(cfg.Transport); !ok {
		f.Add("Auth", "needs a transport that can show a certificate, and HTTP.Transport is a %T; leave "+
			"HTTP.Transport empty, or use an *http.Transport", cfg.Transport)
	}
}

// checkSecret refuses a secret with white space around it, which is mostly the newline of a file.
// It does not remove it: a secret may end in a space at the provider, and a function can give that.
func checkSecret(f *check.List, secret string) {
	if !hasSpaceAround(secret) {
		return
	}
	where := "begins with white space"
	if strings.TrimRightFunc(secret, unicode.IsSpace) != secret {
		where = "ends in white space (a newline of the file?)"
	}
	f.Add("Auth", "has a secret that %s; use strings.TrimSpace on what is read from a file", where)
}

func hasSpaceAround(secret string) bool { return strings.TrimSpace(secret) != secret }

// checkAPI checks that the provider can be asked about access tokens, if all of them are
// introspected.
func (cfg *Config) checkAPI(f *check.List) {
	if !cfg.Introspect {
		return
	}
	if cfg.Auth.Method == AuthNone {
		f.Add("Auth", "is PublicClient, and Config.API.Introspect needs a client that authenticates "+
			"itself (RFC 7662, section 2.1); use another method")
	}
	if cfg.needsNoDiscovery() && cfg.Endpoints.Introspection == "" {
		f.Add("Endpoints.Introspection", "is empty, nothing is discovered, and Config.API.Introspect "+
			"needs it; set it")
	}
}

func (cfg *Config) checkRequest(f *check.List) {
	for _, s := range cfg.Scopes {
		if !AreScopes([]string{s}) {
			f.Add("Scopes", "%q is not one scope; give each scope its own element", s)
		}
	}
	for _, p := range cfg.AuthParams {
		if p[0] == "" || isOurs(p[0]) {
			f.Add("Request.Params", "%q is the gate's own parameter; leave it out", p[0])
		}
	}
	if cfg.Pushed < PushedIfAnnounced || cfg.Pushed > PushedOff {
		f.Add("Request.Pushed", "%d is not a mode; use PushedIfAnnounced, PushedRequired or PushedOff",
			cfg.Pushed)
	}
	if cfg.Pushed == PushedOff && cfg.Endpoints.PushedAuthorization != "" {
		f.Add("Endpoints.PushedAuthorization", "has no use with Request.Pushed PushedOff; leave it out")
	}
	if cfg.WithoutPKCE && cfg.Auth.Method == AuthNone {
		f.Add("Request.WithoutPKCE", "leaves nothing that protects the code of a client without a "+
			"secret; use another client authentication, or leave it out")
	}
	cfg.checkOptions(f)
	cfg.checkObject(f)
	cfg.checkResponse(f)
}

// AreScopes reports whether each element is one scope.
func AreScopes(list []string) bool {
	return !slices.ContainsFunc(list, func(s string) bool {
		return s == "" || strings.ContainsFunc(s, notInScope)
	})
}

// notInScope reports whether a scope must not contain r (RFC 6749, 3.3).
func notInScope(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }

func (cfg *Config) checkVerification(f *check.List) {
	cfg.checkSigningAlgs(f)
	cfg.checkEncryption(f)
	cfg.checkNonce(f)
	if cfg.ResponseIss < IssIfAnnounced || cfg.ResponseIss > IssOptional {
		f.Add("Verification.ResponseIss", "%d is not a mode; use IssIfAnnounced, IssRequired, "+
			"IssInCodes or IssOptional", cfg.ResponseIss)
	}
	if cfg.Userinfo < UserinfoOff || cfg.Userinfo > UserinfoRequired {
		f.Add("Userinfo", "%d is not a mode; use UserinfoOff, UserinfoOptional or UserinfoRequired",
			cfg.Userinfo)
	}
	if !cfg.wantsCode() && cfg.Userinfo != UserinfoOff {
		f.Add("Userinfo", "needs an access token, and with Request.ResponseType %q there is none; use "+
			"UserinfoOff", TypeIDToken)
	}
}

// checkNonce checks that a login without nonce is protected by something else: a code comes from
// the token endpoint, and PKCE binds it to the browser that began the login (RFC 9700, 2.1.1).
func (cfg *Config) checkNonce(f *check.List) {
	if !cfg.WithoutNonce {
		return
	}
	if cfg.WithoutPKCE {
		f.Add("Verification.WithoutNonce", "stands beside Request.WithoutPKCE, and then a stolen code "+
			"opens a session here; leave out one of them")
	}
	if cfg.wantsIDToken() {
		f.Add("Verification.WithoutNonce", "is for Request.ResponseType \"code\" alone; an ID Token "+
			"that comes through the browser needs its nonce")
	}
}
