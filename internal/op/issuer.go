package op

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/oidcgate/oidcgate/internal/check"
	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/weburl"
)

// tenantMark stands in the issuer of a provider that serves many tenants under one client, as
// Microsoft Entra writes it. Each token names its tenant in tid, and its iss has the tenant in
// place of the mark. We call such an issuer a template.
const tenantMark = "{tenantid}"

func (cfg *Config) isTemplate() bool { return strings.Contains(cfg.Issuer, tenantMark) }

// inTenant returns the issuer of one tenant.
func inTenant(template, tenant string) string {
	return strings.ReplaceAll(template, tenantMark, tenant)
}

// tenantOf returns the allowed tenant that iss is the issuer of, or "".
func (cfg *Config) tenantOf(iss string) string {
	for _, tenant := range cfg.Tenants {
		if inTenant(cfg.Issuer, tenant) == iss {
			return tenant
		}
	}
	return ""
}

// Issues reports whether iss is the issuer of users of this provider, as the claims of a login have
// it: the configured one, or that of an allowed tenant.
func (c *Client) Issues(iss string) bool { return c.cfg.issues(iss) }

func (cfg *Config) issues(iss string) bool {
	if cfg.isTemplate() {
		return cfg.tenantOf(iss) != ""
	}
	return iss == cfg.Issuer
}

// Accepts reports whether iss may stand in tokens of this provider.
func (c *Client) Accepts(iss string) bool { return c.cfg.accepts(iss) }

func (cfg *Config) accepts(iss string) bool {
	return cfg.issues(iss) || slices.Contains(cfg.Issuers, iss)
}

// IsElsewhere reports whether other names its users by the same issuer as cfg, while somebody
// else vouches for it, at other addresses or with a client secret, or while it names them by
// another claim. Two clients of one provider may well be at one gate.
func (cfg *Config) IsElsewhere(other *Config) bool {
	same := cfg.Issuer == other.Issuer || slices.ContainsFunc(cfg.issuers(), other.accepts) ||
		slices.ContainsFunc(other.issuers(), cfg.accepts)
	if !same {
		return false
	}
	a, b := cfg.Endpoints, other.Endpoints
	return a.Discovery != b.Discovery || a.Token != b.Token || a.JWKS != b.JWKS ||
		a.Userinfo != b.Userinfo || cfg.SubjectClaim != other.SubjectClaim ||
		cfg.signedWithSecret() || other.signedWithSecret() // nobody can compare the secrets
}

// issuers returns every issuer of users of this provider, as the claims of a login have it.
func (cfg *Config) issuers() []string {
	if !cfg.isTemplate() {
		return []string{cfg.Issuer}
	}
	var all []string
	for _, tenant := range cfg.Tenants {
		all = append(all, inTenant(cfg.Issuer, tenant))
	}
	return all
}

// checkIssuer checks who issued a token: the configured issuer, one that is accepted beside it, or
// that of an allowed tenant. It compares byte for byte.
func (c *Client) checkIssuer(kind *tokenKind, doc claims.Object) error {
	iss := text(doc, "iss")
	if c.cfg.isTemplate() {
		return c.checkTenant(kind, doc, iss)
	}
	if iss != c.cfg.Issuer && !slices.Contains(c.cfg.Issuers, iss) {
		return invalidf(event.ReasonIssuer, "iss is %q, want %q", bounded(iss), c.cfg.Issuer)
	}
	return nil
}

// checkTenant checks the issuer of a token where the configured one is a template. The tenant must
// be an allowed one. Otherwise everybody could make a tenant of their own, and in it a user with
// any name and address.
func (c *Client) checkTenant(kind *tokenKind, doc claims.Object, iss string) error {
	tenant := c.cfg.tenantOf(iss)
	if _, ok := doc.Get("tid"); ok || kind.hasTenant {
		tenant = text(doc, "tid")
		if !slices.Contains(c.cfg.Tenants, tenant) {
			return otherTenant(kind, tenant)
		}
	}
	if tenant == "" || iss != inTenant(c.cfg.Issuer, tenant) {
		return invalidf(event.ReasonIssuer, "iss is %q, want that of an allowed tenant in %q",
			bounded(iss), c.cfg.Issuer)
	}
	return nil
}

func otherTenant(kind *tokenKind, tenant string) error {
	e := invalidf(event.ReasonClaimRequired, "tid is %q, which is no allowed tenant", bounded(tenant))
	if kind.hasTenant {
		e.Status = http.StatusForbidden // the user, and not the provider, is at the wrong place
	}
	e.Hint = "if the users of this tenant may log in, add it to Verification.Tenants"
	return e
}

// checkKeyIssuer checks that the key that signed a token may sign those of its issuer. A provider
// with many tenants says in its key set which issuer a key is for; a key of one tenant must not
// sign for another. issuers are those of the key; there are none where the set does not say.
func (c *Client) checkKeyIssuer(issuers []string, iss string) error {
	if !c.cfg.isTemplate() || len(issuers) == 0 {
		return nil
	}
	tenant := c.cfg.tenantOf(iss)
	for _, of := range issuers {
		if inTenant(of, tenant) == iss {
			return nil
		}
	}
	return invalid(event.ReasonIssuer, "the key that signed the token is for those of another issuer")
}

// withOneIssuer returns the claims of a verified token with the configured issuer in place of one
// that is accepted beside it. So a user has one key, however the provider writes iss.
func (c *Client) withOneIssuer(doc claims.Object) claims.Object {
	if slices.Contains(c.cfg.Issuers, text(doc, "iss")) {
		return doc.With("iss", claims.Text(c.cfg.Issuer))
	}
	return doc
}

// checkRequired checks the claims that must have one of some values. It is the proof of what was
// only asked for in the request, such as hd or organization: whoever sits at the browser can change
// that.
func (c *Client) checkRequired(id claims.Object) error {
	for _, name := range slices.Sorted(maps.Keys(c.cfg.RequireClaims)) {
		v, there := id.Get(name)
		values := c.cfg.RequireClaims[name]
		if isOneOf(v, values) {
			continue
		}
		e := invalidf(event.ReasonClaimRequired, "%s is missing, want one of %q", name, values)
		if there {
			e = invalidf(event.ReasonClaimRequired, "%s is another, want one of %q", name, values)
		}
		e.Status = http.StatusForbidden
		e.Hint = "the user is none of those that Verification.RequireClaims allows; " +
			"if the claim is missing, have the provider put it into the ID Token"
		return e
	}
	return nil
}

// CloneLists returns a deep copy of RequireClaims.
func CloneLists(lists map[string][]string) map[string][]string {
	lists = maps.Clone(lists)
	for name, values := range lists {
		lists[name] = slices.Clone(values)
	}
	return lists
}

// isOneOf reports whether a claim is one of some texts, or a list that has one of them.
func isOneOf(v claims.Value, texts []string) bool {
	if s, ok := v.Str(); ok {
		return slices.Contains(texts, s)
	}
	return slices.ContainsFunc(v.Strings(), func(s string) bool { return slices.Contains(texts, s) })
}

// hintParameters are parameters of the authorization request that ask for users of one
// organization, and the claims that prove it (Google, Auth0).
var hintParameters = map[string]string{"hd": "hd", "organization": "org_id"}

// unproven names a parameter that asks for users of one organization without a required claim that
// proves it, or returns "".
func (cfg *Config) unproven() string {
	for _, p := range slices.Concat(cfg.AuthParams, SortedParams(cfg.Login.Params)) {
		claim := hintParameters[p[0]]
		if claim != "" && p[1] != "*" && len(cfg.RequireClaims[claim]) == 0 {
			return "the parameter " + p[0] + " is only a request, which the user can change: to refuse " +
				"others, set Verification.RequireClaims for the claim " + claim
		}
	}
	return ""
}

// checkIssuers checks the configured issuer and what is accepted in its place.
func (cfg *Config) checkIssuers(f *check.List) {
	f.URL("Issuer", cfg.Issuer, cfg.AllowHTTP)
	u, err := url.Parse(cfg.Issuer)
	issuer, isDocument := strings.CutSuffix(cfg.Issuer, wellKnown)
	switch {
	case cfg.Issuer == "":
		f.Add("Issuer", "is empty; use the \"issuer\" of the provider's discovery document")
	case err == nil && u.RawQuery != "":
		f.Add("Issuer", "%q has a query; an issuer has none (OpenID Connect Discovery, section 4.1)",
			weburl.Redact(cfg.Issuer))
	case isDocument:
		f.Add("Issuer", "%q is the address of the discovery document; write %q, or the \"issuer\" "+
			"in that document", weburl.Redact(cfg.Issuer), weburl.Redact(issuer))
	}
	for _, other := range cfg.Issuers {
		if other == cfg.Issuer || !isHeaderSafe(other) || cfg.isTemplate() {
			f.Add("Verification.Issuers", "%q is empty, Issuer itself, or beside an Issuer with %s; give "+
				"what the provider writes in \"iss\" in place of Issuer", weburl.Redact(other), tenantMark)
		}
	}
	for name, values := range cfg.RequireClaims {
		if name == "" || len(values) == 0 || slices.Contains(values, "") {
			f.Add("Verification.RequireClaims", "%q has no values, or an empty one; give those that the "+
				"claim may have", name)
		}
	}
	cfg.checkTenants(f)
}

// checkTenants checks that an issuer that is a template comes with what it needs, and no other.
func (cfg *Config) checkTenants(f *check.List) {
	if !cfg.isTemplate() {
		if len(cfg.Tenants) > 0 {
			f.Add("Verification.Tenants", "has no use, because Issuer has no %s; leave it out", tenantMark)
		}
		return
	}
	if strings.Count(cfg.Issuer, tenantMark) > 1 {
		f.Add("Issuer", "has %s twice; write the \"issuer\" of the discovery document", tenantMark)
	}
	if len(cfg.Tenants) == 0 {
		f.Add("Verification.Tenants", "is empty, and Issuer has %s; list the tenants whose users may "+
			"log in, as their ID Tokens have them in \"tid\"", tenantMark)
	}
	for _, tenant := range cfg.Tenants {
		if tenant == "" || strings.ContainsFunc(tenant, notInTenant) {
			f.Add("Verification.Tenants", "%q is no tenant; write it as \"tid\" of ID Tokens has it", tenant)
		}
	}
	if cfg.Endpoints.Discovery == "" && !cfg.needsNoDiscovery() {
		f.Add("Endpoints.Discovery", "is empty, and Issuer has %s, so it is no address; give the "+
			"discovery document that has this issuer", tenantMark)
	}
	asserts := cfg.Auth.Method == AuthSecretJWT ||
		cfg.Auth.Method == AuthKeyJWT && cfg.Auth.Secret == nil
	if asserts && cfg.AssertionAudience == "" {
		f.Add("TokenRequest.AssertionAudience", "is empty, and Issuer has %s, so it is no audience; use "+
			"the address of the token endpoint", tenantMark)
	}
	if cfg.Object != ObjectOff {
		f.Add("Request.Object", "needs an audience, and Issuer has %s; use ObjectOff", tenantMark)
	}
}

// notInTenant reports whether the name of a tenant, which is one segment of a path, must not
// contain r.
func notInTenant(r rune) bool {
	return r != '-' && r != '.' && r != '_' &&
		(r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
}
