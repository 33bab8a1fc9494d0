package oidcgate

import (
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/oidcgate/oidcgate/internal/op"
)

// Provider is an OpenID Provider to log in with. Issuer, ClientID and Auth are required.
type Provider struct {
	// Name tells several providers apart, in /auth/callback/NAME, which is registered at the
	// provider and should then never change. One provider of a gate may leave it empty; its callback
	// is /auth/callback. Letters, digits, "-" and "_".
	Name string

	// Issuer is the provider's identifier, byte for byte as the provider writes it in "iss" (OpenID
	// Connect Core, section 2).
	Issuer string

	// ClientID is the id the provider gave this application.
	ClientID string

	// Auth is how this application authenticates at the token endpoint. It must be what is
	// registered there: it is never guessed, because a guess sends a code twice.
	Auth ClientAuth

	// Scopes are requested besides "openid", which is always sent.
	Scopes []string

	// Userinfo says whether the userinfo endpoint is asked after the ID Token is verified. If zero,
	// it is [UserinfoOff].
	Userinfo UserinfoMode

	// What follows has defaults that fit most providers.

	Endpoints    Endpoints      // in place of those that the provider announces
	Request      RequestOptions // of the authorization request
	Verification Verification   // of what the provider signs
}

// Endpoints are addresses of a provider. Each that is set overrides the one the provider announces.
// Where all that are needed are set, nothing is discovered (OpenID Connect Discovery, section 3).
type Endpoints struct {
	Authorization string
	Token         string
	Userinfo      string
	JWKS          string
	EndSession    string

	// MaxAge is the age at which discovered endpoints are fetched anew, on their next use. If zero,
	// it is one hour.
	MaxAge time.Duration
}

// RequestOptions are about the authorization request (OpenID Connect Core, section 3.1.2.1).
type RequestOptions struct {
	// Params are sent with every authorization request, "prompt" or "ui_locales" for example. The
	// protocol's own parameters are refused.
	Params map[string]string

	// ResponseMode is sent only when set. "query" is the one mode served.
	ResponseMode string
}

// Verification says what is accepted of what the provider signs.
type Verification struct {
	// SigningAlgs are the algorithms an ID Token may be signed with. If empty, it is RS256 alone,
	// the default of OpenID Connect Dynamic Client Registration, section 2. Only asymmetric ones are
	// accepted.
	SigningAlgs []string

	// TrustedAudiences may stand in an ID Token's "aud" beside the client, if "azp" then names the
	// client. An ID Token with any other audience is refused (OpenID Connect Core, section 3.1.3.7).
	TrustedAudiences []string

	// SignedUserinfo says that the provider was asked to sign its userinfo answers
	// (userinfo_signed_response_alg): an unsigned one is then refused.
	SignedUserinfo bool

	// KeysMaxAge is the age at which the provider's keys are fetched anew, on their next use. If
	// zero, it is one hour.
	KeysMaxAge time.Duration
}

// UserinfoMode says whether and how strictly the userinfo endpoint is asked (OpenID Connect Core,
// section 5.3). An answer about another subject refuses the login in every mode.
type UserinfoMode int

// The userinfo modes.
const (
	// UserinfoOff never asks.
	UserinfoOff = UserinfoMode(op.UserinfoOff)

	// UserinfoOptional asks. An endpoint that fails costs its claims and not the login.
	UserinfoOptional = UserinfoMode(op.UserinfoOn)

	// UserinfoRequired asks. Without an answer there is no login.
	UserinfoRequired = UserinfoMode(op.UserinfoRequired)
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
		{"Endpoints.Authorization", p.Endpoints.Authorization},
		{"Endpoints.Token", p.Endpoints.Token},
		{"Endpoints.Userinfo", p.Endpoints.Userinfo},
		{"Endpoints.JWKS", p.Endpoints.JWKS},
		{"Endpoints.EndSession", p.Endpoints.EndSession},
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
	for name := range p.Request.Params {
		if name == "" || slices.Contains(ownParams, strings.ToLower(name)) {
			f.add("Request.Params", "%q is the gate's own parameter; leave it out", name)
		}
	}
	if p.Request.ResponseMode != "" && p.Request.ResponseMode != "query" {
		f.add("Request.ResponseMode", "%q is not served; use \"query\", or leave it empty", p.Request.ResponseMode)
	}
}

func (p *Provider) compileVerification(f *faults) {
	p.Verification.SigningAlgs = slices.Clone(p.Verification.SigningAlgs)
	if len(p.Verification.SigningAlgs) == 0 {
		p.Verification.SigningAlgs = []string{"RS256"}
	}
	for _, alg := range p.Verification.SigningAlgs {
		if !op.Asymmetric(alg) {
			f.add("Verification.SigningAlgs", "%q is not accepted; use asymmetric ones: RS256, PS256, ES256 and their longer kin, or EdDSA", alg)
		}
	}
	if p.Userinfo < UserinfoOff || p.Userinfo > UserinfoRequired {
		f.add("Userinfo", "%d is not a mode; use UserinfoOff, UserinfoOptional or UserinfoRequired", p.Userinfo)
	}
	f.duration("Endpoints.MaxAge", &p.Endpoints.MaxAge, time.Hour)
	f.duration("Verification.KeysMaxAge", &p.Verification.KeysMaxAge, time.Hour)
}

// client is the provider's side of p, for internal/provider.
func (p Provider) client(c *config, notify func(op.Notice)) *op.Client {
	return op.New(op.Config{
		Issuer:      p.Issuer,
		ClientID:    p.ClientID,
		RedirectURL: c.origin + c.basePath + c.providerPath("/callback", p.Name),
		Auth:        p.Auth.compiled(),
		Endpoints: op.Endpoints{
			Authorization: p.Endpoints.Authorization,
			Token:         p.Endpoints.Token,
			Userinfo:      p.Endpoints.Userinfo,
			JWKS:          p.Endpoints.JWKS,
			EndSession:    p.Endpoints.EndSession,
		},
		Scopes:           p.Scopes,
		AuthParams:       p.authParams(),
		ResponseMode:     p.Request.ResponseMode,
		SigningAlgs:      p.Verification.SigningAlgs,
		TrustedAudiences: slices.Clone(p.Verification.TrustedAudiences),
		Userinfo:         op.UserinfoMode(p.Userinfo),
		UserinfoSigned:   p.Verification.SignedUserinfo,
		Leeway:           c.Limits.ClockSkew,
		DiscoveryRefresh: p.Endpoints.MaxAge,
		JWKSRefresh:      p.Verification.KeysMaxAge,
		Timeout:          c.HTTP.Timeout,
		AllowHTTP:        c.InsecureAllowHTTP,
		Transport:        c.HTTP.Transport,
		RootCAs:          c.HTTP.RootCAs,
		Notify:           notify,
	})
}

func (p Provider) authParams() [][2]string {
	var pairs [][2]string
	for _, name := range slices.Sorted(maps.Keys(p.Request.Params)) {
		pairs = append(pairs, [2]string{name, p.Request.Params[name]})
	}
	return pairs
}
