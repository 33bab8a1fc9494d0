package doctor

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/op"
	"github.com/oidcgate/oidcgate/internal/weburl"
)

// issuer compares the issuer that the document names with the configured one. Both are shown byte
// for byte.
func (r *report) issuer() {
	announced, ours := r.text("issuer"), r.cfg.Issuer
	if reasonOf(r.seen.Refused) != event.ReasonIssuerMismatch {
		if announced != "" {
			r.ok("issuer", "%s", quoted(announced))
		}
		return
	}
	r.fault("issuer", fmt.Sprintf("the document says %s, configured is %s", quoted(announced),
		quoted(ours)), issuerCure(announced, ours))
}

func issuerCure(announced, ours string) string {
	set := "set Issuer to " + quoted(announced)
	switch {
	case announced == "":
		return "the document has no issuer: this is not an OpenID Provider, or not its document"
	case strings.Contains(announced, "{"):
		return "this address serves all tenants: write the id of your own in it, such as " +
			"https://login.microsoftonline.com/TENANT-ID/v2.0, or set Issuer to " + quoted(announced) +
			", Endpoints.Discovery to this address, and Verification.Tenants"
	case announced == ours+"/":
		return set + ": the only difference is the slash at its end"
	case announced+"/" == ours:
		return set + ": the only difference is the slash at its end, which does not belong there"
	case strings.EqualFold(announced, ours):
		return set + ": capital and small letters differ"
	case announced == "http://"+strings.TrimPrefix(ours, "https://"):
		return "the provider believes that it is reached over http: tell it its public address, or " +
			"the proxy in front of it to send X-Forwarded-Proto"
	}
	return set + ", after you have made sure that this is your provider: a proxy or a wrong setting " +
		"of its public address can be the cause too"
}

// endpoints says which endpoints are missing or cannot be used.
func (r *report) endpoints() {
	e := r.cfg.Endpoints
	good := true
	for _, x := range []struct {
		name, field, configured string
		needed                  bool
	}{
		{"authorization_endpoint", "Authorization", e.Authorization, true},
		{"token_endpoint", "Token", e.Token, r.cfg.ResponseType != op.TypeIDToken},
		{"jwks_uri", "JWKS", e.JWKS, r.cfg.NeedsKeys()},
		{"userinfo_endpoint", "Userinfo", e.Userinfo, false}, // see userinfo
		{"end_session_endpoint", "EndSession", e.EndSession, false},
		{"revocation_endpoint", "", "", false},
		{"pushed_authorization_request_endpoint", "PushedAuthorization", e.PushedAuthorization, false},
	} {
		found := r.text(x.name)
		if x.configured != "" || found == "" && !x.needed || r.cfg.Usable(found) {
			continue
		}
		good = false
		r.endpoint(x.name, x.field, found)
	}
	if good {
		r.ok("endpoints", "all that are needed are announced, and can be used")
	}
}

func (r *report) endpoint(name, field, found string) {
	instead := ""
	if field != "" {
		instead = ", or set Endpoints." + field
	}
	_, err := weburl.Check(found, false)
	switch {
	case found == "":
		r.fault("endpoints", "the document has no "+name, "turn it on at the provider"+instead)
	case errors.Is(err, weburl.ErrHTTP) || err == nil:
		r.fault("endpoints", name+" "+quoted(found)+" is http, and the issuer is https",
			"tell the provider its public address, or the proxy in front of it to send "+
				"X-Forwarded-Proto"+instead)
	default:
		r.fault("endpoints", name+" "+quoted(found)+" is not an absolute https address of a plain host",
			"correct it at the provider"+instead)
	}
}

func (r *report) pkce() {
	methods := r.list("code_challenge_methods_supported")
	switch {
	case r.cfg.WithoutPKCE && slices.Contains(methods, "S256"):
		r.fault("pkce", "the provider announces S256, and Request.WithoutPKCE keeps it from being sent",
			"leave out Request.WithoutPKCE")
	case r.cfg.WithoutPKCE:
		r.warn("pkce", "not sent (Request.WithoutPKCE): only the nonce protects the code",
			"leave out Request.WithoutPKCE as soon as the provider takes PKCE")
	case methods == nil:
		r.warn("pkce", "the provider does not announce PKCE; it is sent all the same",
			"look into the provider's manual whether it checks PKCE (S256), and turn it on if it can")
	case !slices.Contains(methods, "S256"):
		r.fault("pkce", "the provider announces "+joined(methods)+" and not S256, so nothing would "+
			"protect the code", "turn on PKCE with S256 at the provider; other methods protect nothing")
	default:
		r.ok("pkce", "S256, always used")
	}
}

func (r *report) algorithms() {
	const name = "algorithms"
	announced, ours := r.list("id_token_signing_alg_values_supported"), r.cfg.SigningAlgs
	common := intersection(announced, ours)
	switch {
	case announced == nil:
		r.warn(name, "the provider does not announce by which algorithms it signs ID Tokens; accepted "+
			"is "+joined(ours), "look into its manual, and set Verification.SigningAlgs if it is another")
	case len(common) == 0:
		r.fault(name, "the provider signs ID Tokens by "+joined(announced)+", accepted is "+joined(ours),
			algorithmCure(announced))
	default:
		r.ok(name, "ID Tokens may be signed by %s; the provider announces %s", joined(common),
			joined(announced))
	}
}

func algorithmCure(announced []string) string {
	for _, alg := range announced {
		if op.Asymmetric(alg) {
			return fmt.Sprintf("set Verification.SigningAlgs to []string{%q}, if that is the algorithm of "+
				"this client at the provider", plain(alg))
		}
	}
	if slices.Contains(announced, "HS256") {
		return "choose RS256 for this client at the provider (Auth0, authentik, Nextcloud and Django " +
			"OAuth Toolkit have a setting), or set Verification.SigningAlgs to HS256 with a secret of 32 " +
			"bytes or more"
	}
	return "choose RS256 or ES256 at the provider"
}

// constructors make the authentication that a method names.
var constructors = []struct{ method, name string }{
	{op.AuthBasic, "ClientSecretBasic"}, {op.AuthPost, "ClientSecretPost"},
	{op.AuthKeyJWT, "PrivateKeyJWT"}, {op.AuthSecretJWT, "ClientSecretJWT"},
	{op.AuthTLS, "TLSClientAuth"}, {op.AuthSelfSigned, "SelfSignedTLSClientAuth"},
	{op.AuthNone, "PublicClient"},
}

func (r *report) authentication() {
	const name, member = "authentication", "token_endpoint_auth_methods_supported"
	announced, ours := r.list(member), r.cfg.Auth.Method
	if announced == nil {
		announced = []string{op.AuthBasic} // OpenID Connect Discovery, 3
	}
	var usable []string
	for _, c := range constructors {
		if slices.Contains(announced, c.method) {
			usable = append(usable, c.name)
		}
	}
	cure := "use " + strings.Join(usable, " or ") + ", as the client is registered at the provider"
	if len(usable) == 0 {
		cure = "the provider has no method that is supported here; look whether others can be turned on"
	}
	text := "the provider announces " + joined(announced) + ", configured is " + ours
	switch {
	case ours == "":
		r.ok(name, "the provider announces %s", joined(announced))
	case slices.Contains(announced, ours):
		r.ok(name, "%s; the provider announces %s", ours, joined(announced))
	case ours == op.AuthNone || r.list(member) == nil:
		r.warn(name, text, cure+"; not all providers announce all that they take")
	default:
		r.fault(name, text, cure)
	}
}

// bindings says whether tokens can be bound as configured.
func (r *report) bindings() {
	algs := r.list("dpop_signing_alg_values_supported")
	switch {
	case !r.cfg.DPoP:
	case algs == nil:
		r.warn("dpop", "the provider does not announce DPoP, so it may give tokens that are not bound",
			"turn DPoP on at the provider, or leave TokenRequest.Binding empty")
	case len(intersection(algs, []string{"ES256", "EdDSA"})) == 0:
		r.fault("dpop", "the provider takes DPoP proofs by "+joined(algs)+", not by ES256 and EdDSA",
			"turn ES256 on at the provider, or leave TokenRequest.Binding empty")
	default:
		r.ok("dpop", "tokens are bound to a key of the session")
	}
	if r.cfg.Certificate != nil && !r.flag("tls_client_certificate_bound_access_tokens") {
		r.warn("mtls", "the provider does not announce tokens that are bound to a certificate",
			"turn it on at the provider, or leave TokenRequest.Binding empty")
	}
}

// request says how the authorization request would be sent.
func (r *report) request() {
	const name = "request"
	types, modes := r.list("response_types_supported"), r.list("response_modes_supported")
	ours, mode := r.cfg.ResponseType, r.cfg.ResponseMode
	if types != nil && !slices.ContainsFunc(types, func(t string) bool { return sameWords(t, ours) }) {
		r.fault(name, "the provider announces the response types "+joined(types)+", configured is "+ours,
			"allow "+ours+" for this client at the provider, or set Request.ResponseType")
	}
	if mode != "" && modes != nil && !slices.Contains(modes, mode) {
		r.fault(name, "the provider announces the response modes "+joined(modes)+", configured is "+mode,
			"set Request.ResponseMode to one of them, or leave it empty")
	}
	if r.flag("require_signed_request_object") && r.cfg.Object == op.ObjectOff {
		r.fault(name, "the provider takes only signed requests", "set ClientKeys and Request.Object")
	}
	required := r.flag("require_pushed_authorization_requests")
	pushes := r.text("pushed_authorization_request_endpoint") != ""
	if required && r.cfg.Pushed == op.PushedOff {
		r.fault(name, "the provider takes only pushed requests, and Request.Pushed is PushedOff",
			"leave Request.Pushed at zero")
	} else if (required || r.cfg.Pushed == op.PushedRequired) && !pushes &&
		r.cfg.Endpoints.PushedAuthorization == "" {
		r.fault(name, "requests must be pushed, and the document has no "+
			"pushed_authorization_request_endpoint",
			"set Endpoints.PushedAuthorization, or turn pushed requests (PAR) on at the provider")
	}
	how := "through the browser"
	if pushes && r.cfg.Pushed != op.PushedOff {
		how = "pushed by this service first"
	}
	r.ok(name, "response_type %s, %s", ours, how)
}

func sameWords(a, b string) bool {
	as, bs := strings.Fields(a), strings.Fields(b)
	slices.Sort(as)
	slices.Sort(bs)
	return slices.Equal(as, bs)
}

// standard are the scopes of OpenID Connect Core, 5.4 and 11. A provider that lists its scopes and
// not one of these has none of that name. Others it may leave out (RFC 8414, section 2).
var standard = []string{"openid", "profile", "email", "address", "phone", "offline_access"}

func (r *report) scopes() {
	announced := r.list("scopes_supported")
	missing := slices.DeleteFunc(slices.Clone(r.cfg.Scopes), func(s string) bool {
		return slices.Contains(announced, s)
	})
	unknown := slices.DeleteFunc(slices.Clone(missing), func(s string) bool {
		return !slices.Contains(standard, s)
	})
	switch {
	case announced == nil || len(missing) == 0:
		r.ok("scopes", "%s", joined(r.cfg.Scopes))
	case slices.Contains(missing, "openid"):
		r.warn("scopes", "the provider announces "+joined(announced)+" and not openid",
			"look whether this is an OpenID Provider or one for OAuth 2.0 alone, which has no ID Tokens")
	case len(unknown) > 0:
		r.warn("scopes", "the provider does not announce "+joined(unknown)+", only "+joined(announced),
			"leave out what the provider does not know: some refuse the login")
	default:
		r.ok("scopes", "%s; the provider does not announce %s, and need not announce all",
			joined(r.cfg.Scopes), joined(missing))
	}
}

func (r *report) userinfo() {
	const name, cure = "userinfo", "set Userinfo to UserinfoOff, or Endpoints.Userinfo to its address"
	found := r.text("userinfo_endpoint") != "" || r.cfg.Endpoints.Userinfo != ""
	switch {
	case !found && r.cfg.Userinfo == op.UserinfoRequired:
		r.fault(name, "the provider announces no userinfo_endpoint, and logins need it", cure)
	case !found && r.cfg.Userinfo == op.UserinfoOptional:
		r.warn(name, "the provider announces no userinfo_endpoint", cure)
	case !found:
		r.ok(name, "not announced, and not asked")
	case r.cfg.Userinfo == op.UserinfoOff:
		r.ok(name, "announced, and not asked: claims come from the ID Token alone")
	default:
		r.ok(name, "asked at each login")
	}
}

// reread says where nobody may be asked for newer claims: a provider that knows offline_access
// mostly gives refresh tokens for it alone.
func (r *report) reread(o Options) {
	const offline = "offline_access"
	asks := r.cfg.Userinfo != op.UserinfoOff || slices.Contains(r.cfg.Scopes, offline) ||
		r.isKeycloak() // which gives refresh tokens with every code
	if o.Reread && !asks && slices.Contains(r.list("scopes_supported"), offline) {
		r.warn("claims", "Tokens.ClaimsMaxAge has claims read again, but userinfo is off and "+
			"offline_access is not asked for: most providers then give no refresh token, and nobody can "+
			"be asked",
			"set Userinfo, or add the scope offline_access; nothing, if logins bring refresh tokens")
	}
}

func (r *report) logout() {
	if r.cfg.Logout == op.LogoutOff {
		r.ok("logout", "a logout ends the session here alone, as configured")
		return
	}
	if r.text("end_session_endpoint") == "" && r.cfg.Endpoints.EndSession == "" {
		r.warn("logout", "the provider announces no end_session_endpoint: a logout ends the session "+
			"here, and the next login may need no password",
			"nothing, if that is enough; otherwise set Endpoints.EndSession")
		return
	}
	more := ""
	if r.isKeycloak() && !r.cfg.WithoutRevocation {
		more = "; Keycloak tells other applications, and a provider behind it, only with " +
			"Logout.WithoutRevocation, which presets.Keycloak sets"
	}
	r.ok("logout", "a logout ends the session at the provider too%s", more)
}

func (r *report) isKeycloak() bool {
	return strings.HasSuffix(r.text("revocation_endpoint"), "/protocol/openid-connect/revoke")
}

// supports lists what the provider announces beyond what every provider has.
func (r *report) supports() {
	var all []string
	add := func(has bool, what string) {
		if has {
			all = append(all, what)
		}
	}
	add(r.text("pushed_authorization_request_endpoint") != "", "pushed requests")
	add(r.list("request_object_signing_alg_values_supported") != nil, "signed requests")
	add(r.flag("authorization_response_iss_parameter_supported"), "iss in responses")
	add(slices.Contains(r.list("response_modes_supported"), "jwt"), "signed responses")
	add(r.list("dpop_signing_alg_values_supported") != nil, "DPoP")
	add(r.flag("tls_client_certificate_bound_access_tokens"), "tokens bound to certificates")
	add(slices.Contains(r.list("grant_types_supported"), "refresh_token"), "refresh tokens")
	add(slices.Contains(r.list("scopes_supported"), "offline_access"), "offline_access")
	add(r.text("revocation_endpoint") != "", "revocation")
	add(r.text("introspection_endpoint") != "", "introspection")
	add(r.text("registration_endpoint") != "", "registration of clients")
	add(r.flag("backchannel_logout_supported"), "back-channel logout")
	add(r.flag("frontchannel_logout_supported"), "front-channel logout")
	add(r.list("id_token_encryption_alg_values_supported") != nil, "encrypted ID Tokens")
	if len(all) > 0 {
		r.ok("supports", "%s", strings.Join(all, ", "))
	}
}

// refused says why logins would not use the metadata, where nothing before has said so.
func (r *report) refused() {
	if r.seen.Refused == nil || !Healthy(r.found) {
		return
	}
	cure := "compare the discovery document with the configuration"
	if e, ok := errors.AsType[*op.Error](r.seen.Refused); ok && e.Hint != "" {
		cure = e.Hint
	}
	r.fault("metadata", "no login would use this provider: "+plain(errorText(r.seen.Refused)), cure)
}

func intersection(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return !slices.Contains(b, s) })
}
