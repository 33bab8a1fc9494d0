package oidcgate

import (
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/oidcgate/oidcgate/internal/provider"
)

// Provider is an OpenID Provider to log in with. Issuer, ClientID and Auth are required.
type Provider struct {
	// Name tells several providers apart, in /auth/callback/NAME, which is registered at the provider and
	// should then never change. One provider of a gate may leave it empty; its callback is /auth/callback.
	// Letters, digits, "-" and "_".
	Name string

	// Issuer is the provider's identifier, byte for byte as the provider writes it in "iss" (OpenID
	// Connect Core, section 2).
	Issuer string

	// ClientID is the id the provider gave this application.
	ClientID string

	// Auth is how this application authenticates at the token endpoint. It must be what is registered
	// there: it is never guessed, because a guess sends a code twice.
	Auth ClientAuth

	// AuthorizationEndpoint, TokenEndpoint, UserinfoEndpoint, JWKSURI and EndSessionEndpoint each override
	// the one the provider announces. Where all that are needed are set, nothing is discovered.
	AuthorizationEndpoint string
	TokenEndpoint         string
	UserinfoEndpoint      string
	JWKSURI               string
	EndSessionEndpoint    string

	// Scopes are requested besides "openid", which is always sent.
	Scopes []string

	// AuthParams are sent with every authorization request, "prompt" or "ui_locales" for example. The
	// protocol's own parameters are refused.
	AuthParams map[string]string

	// ResponseMode is sent only when set. "query" is the one mode served.
	ResponseMode string

	// Userinfo says whether the userinfo endpoint is asked after the ID Token is verified. If zero, it is
	// [UserinfoOff].
	Userinfo UserinfoMode

	// UserinfoSigned says that the provider was asked to sign its userinfo answers
	// (userinfo_signed_response_alg): an unsigned one is then refused.
	UserinfoSigned bool

	// SigningAlgs are the algorithms an ID Token may be signed with. If empty, it is RS256 alone, the
	// default of OpenID Connect Dynamic Client Registration, section 2. Only asymmetric ones are accepted.
	SigningAlgs []string

	// TrustedAudiences may stand in an ID Token's "aud" beside the client, if "azp" then names the client. An ID
	// Token with any other audience is refused (OpenID Connect Core, section 3.1.3.7).
	TrustedAudiences []string

	// DiscoveryRefresh and JWKSRefresh are the ages at which metadata and keys are fetched anew, on their
	// next use. If zero, each is one hour.
	DiscoveryRefresh time.Duration
	JWKSRefresh      time.Duration
}

// UserinfoMode says whether and how strictly the userinfo endpoint is asked (OpenID Connect Core, section
// 5.3). An answer about another subject refuses the login in every mode.
type UserinfoMode int

// The userinfo modes.
const (
	UserinfoOff      = UserinfoMode(provider.UserinfoOff)      // never ask
	UserinfoOn       = UserinfoMode(provider.UserinfoOn)       // ask; a failing endpoint costs its claims, not the login
	UserinfoRequired = UserinfoMode(provider.UserinfoRequired) // ask; without an answer there is no login
)

var providerName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)

func compileProviders(f *faults, in []Provider, allowHTTP bool) []Provider {
	if len(in) == 0 {
		f.add("Provider", "is missing; give New at least one")
	}
	seen := map[string]bool{}
	out := slices.Clone(in)
	for i := range out {
		p := &out[i]
		pf := f.within(providerLabel(*p, i, len(in)))
		if p.Name != "" && !providerName.MatchString(p.Name) {
			pf.add("Name", "%q does not fit into a path; use up to 32 letters, digits, \"-\" and \"_\"", p.Name)
		}
		if seen[strings.ToLower(p.Name)] {
			pf.add("Name", "%q is used twice; every provider of a gate needs a name of its own", p.Name)
		}
		seen[strings.ToLower(p.Name)] = true
		p.compile(pf, allowHTTP)
	}
	return out
}

// providerLabel names a provider in faults: by its name, or else by its place.
func providerLabel(p Provider, i, of int) string {
	switch {
	case of == 1:
		return "Provider"
	case p.Name == "":
		return fmt.Sprintf("Provider[%d]", i)
	}
	return fmt.Sprintf("Provider[%s]", p.Name)
}

func (p *Provider) compile(f *faults, allowHTTP bool) {
	f.url("Issuer", p.Issuer, allowHTTP)
	if p.Issuer == "" {
		f.add("Issuer", "is empty; use the \"issuer\" of the provider's discovery document")
	} else if u, err := url.Parse(p.Issuer); err == nil && u.RawQuery != "" {
		f.add("Issuer", "%q has a query; an issuer has none (OpenID Connect Discovery, section 4.1)", redactURL(p.Issuer))
	} else if issuer, found := strings.CutSuffix(p.Issuer, "/.well-known/openid-configuration"); found {
		f.add("Issuer", "%q is the address of the discovery document; write %q, or as the document's \"issuer\" says", redactURL(p.Issuer), redactURL(issuer))
	}
	if p.ClientID == "" {
		f.add("ClientID", "is empty; use the id the provider gave this application")
	}
	p.Auth.check(f)
	for _, e := range []struct{ field, value string }{
		{"AuthorizationEndpoint", p.AuthorizationEndpoint},
		{"TokenEndpoint", p.TokenEndpoint},
		{"UserinfoEndpoint", p.UserinfoEndpoint},
		{"JWKSURI", p.JWKSURI},
		{"EndSessionEndpoint", p.EndSessionEndpoint},
	} {
		f.url(e.field, e.value, allowHTTP)
	}
	p.compileRequest(f)
	p.compileVerification(f)
}

// ownParams are the authorization parameters that are the gate's to set. One of them among AuthParams
// would be sent twice or replace the gate's, and leave the provider to pick.
var ownParams = []string{
	"client_id", "redirect_uri", "response_type", "response_mode", "scope", "state", "nonce",
	"code_challenge", "code_challenge_method", "request", "request_uri", "max_age", "acr_values",
	"client_secret", "client_assertion", "client_assertion_type", "code", "code_verifier", "grant_type",
	"id_token_hint", "dpop_jkt", "registration",
}

func (p *Provider) compileRequest(f *faults) {
	scopes := []string{"openid"}
	for _, s := range p.Scopes {
		switch {
		case s == "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }):
			f.add("Scopes", "%q is not one scope; give each its own element", s)
		case !slices.Contains(scopes, s):
			scopes = append(scopes, s)
		}
	}
	p.Scopes = scopes
	for name := range p.AuthParams {
		if name == "" || slices.Contains(ownParams, strings.ToLower(name)) {
			f.add("AuthParams", "%q is the gate's own parameter; leave it out", name)
		}
	}
	if p.ResponseMode != "" && p.ResponseMode != "query" {
		f.add("ResponseMode", "%q is not served; use \"query\", or leave it empty", p.ResponseMode)
	}
}

func (p *Provider) compileVerification(f *faults) {
	p.SigningAlgs = slices.Clone(p.SigningAlgs)
	if len(p.SigningAlgs) == 0 {
		p.SigningAlgs = []string{"RS256"}
	}
	for _, alg := range p.SigningAlgs {
		if !provider.Asymmetric(alg) {
			f.add("SigningAlgs", "%q is not accepted; use asymmetric ones: RS256, PS256, ES256 and their longer kin, or EdDSA", alg)
		}
	}
	if p.Userinfo < UserinfoOff || p.Userinfo > UserinfoRequired {
		f.add("Userinfo", "%d is not a mode; use UserinfoOff, UserinfoOn or UserinfoRequired", p.Userinfo)
	}
	f.duration("DiscoveryRefresh", &p.DiscoveryRefresh, time.Hour)
	f.duration("JWKSRefresh", &p.JWKSRefresh, time.Hour)
}

// client is the provider's side of p, for internal/provider.
func (p Provider) client(c *config, notify func(provider.Notice)) *provider.Client {
	return provider.New(provider.Config{
		Issuer:      p.Issuer,
		ClientID:    p.ClientID,
		RedirectURL: c.origin + c.basePath + c.providerPath("/callback", p.Name),
		Auth:        p.Auth.compiled(),
		Endpoints: provider.Endpoints{
			Authorization: p.AuthorizationEndpoint,
			Token:         p.TokenEndpoint,
			Userinfo:      p.UserinfoEndpoint,
			JWKS:          p.JWKSURI,
			EndSession:    p.EndSessionEndpoint,
		},
		Scopes:           p.Scopes,
		AuthParams:       p.authParams(),
		ResponseMode:     p.ResponseMode,
		SigningAlgs:      p.SigningAlgs,
		TrustedAudiences: slices.Clone(p.TrustedAudiences),
		Userinfo:         provider.UserinfoMode(p.Userinfo),
		UserinfoSigned:   p.UserinfoSigned,
		Leeway:           c.Leeway,
		DiscoveryRefresh: p.DiscoveryRefresh,
		JWKSRefresh:      p.JWKSRefresh,
		Timeout:          c.ProviderTimeout,
		AllowHTTP:        c.InsecureAllowHTTP,
		Transport:        c.Transport,
		RootCAs:          c.RootCAs,
		Notify:           notify,
	})
}

func (p Provider) authParams() [][2]string {
	var pairs [][2]string
	for _, name := range slices.Sorted(maps.Keys(p.AuthParams)) {
		pairs = append(pairs, [2]string{name, p.AuthParams[name]})
	}
	return pairs
}
