package oidcgate

import (
	"net/http"
	"slices"
	"time"

	"github.com/oidcgate/oidcgate/internal/bearer"
	"github.com/oidcgate/oidcgate/internal/session"
)

// RequireToken returns [Gate.AdmitToken] as a middleware.
func (g *Gate) RequireToken(rules ...Rule) func(http.Handler) http.Handler {
	return g.guardAPI(g.AdmitToken, rules)
}

// RequireEither returns [Gate.AdmitEither] as a middleware.
func (g *Gate) RequireEither(rules ...Rule) func(http.Handler) http.Handler {
	return g.guardAPI(g.AdmitEither, rules)
}

func (g *Gate) guardAPI(
	admit func(http.ResponseWriter, *http.Request, ...Rule) bool, rules []Rule,
) func(http.Handler) http.Handler {
	g.checkAPI()
	own := guard(admit, rules)
	return func(next http.Handler) http.Handler {
		next = own(next)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if v := visitFrom(r.Context(), g); v != nil && v.given {
				r = r.WithContext(r.Context()) // see useToken: the caller's stays as it is
			}
			next.ServeHTTP(w, r)
		})
	}
}

// AdmitToken is the guard of a route of an API. It returns true when the request brings a valid
// access token, issued by a provider of this gate for one of Config.API.Audience, and every rule
// allows. The identity in the context is then that of the token; see [Identity.FromAccessToken]. A
// session that the request has too does not count. Otherwise AdmitToken answers the request itself
// and returns false, and the handler must return. It never redirects; all of its answers are
// problem+json:
//
//   - 401 without an access token, or with one that is not valid, or whose login is too weak or too
//     long ago for [ACR] or [MaxAge] (RFC 9470). WWW-Authenticate says which (RFC 6750, section 3).
//   - 403 with the reference of the log if a rule refuses; insufficient_scope if that is [Scope].
//   - 400 if the request has several tokens, or one in its query or in a parsed form: it is taken
//     from the Authorization header alone.
//   - 503 with Retry-After if the provider or, for DPoP, the store cannot be asked.
//
// A token is a JWT (RFC 9068), signed by one of Verification.SigningAlgs, or opaque; then the
// provider is asked (RFC 7662), with Endpoints.Introspection and the client's authentication. A
// gate with several providers takes JWTs alone, because an opaque token names no provider; of
// several with one issuer, the settings of the first count. A token that is bound to a key needs
// the scheme DPoP and a proof, which is good once, for the address that BaseURL and the path make
// (RFC 9449, section 7). One that is bound to a certificate needs a connection that shows it (RFC
// 8705, section 3): TLS must end in this process. From a provider with a [Profile] each token must
// be bound.
//
// The request must have passed through [Gate.Wrap]; otherwise the answer is 500, and the log has
// the cure. An identity from [Gate.NewContext] does not count, as a session does not. Outside Wrap,
// in a test of one handler, it counts as that of a token, and a token that the request has too is
// not looked at. AdmitToken panics without Config.API.Audience.
func (g *Gate) AdmitToken(w http.ResponseWriter, r *http.Request, rules ...Rule) bool {
	checkRules(rules)
	g.checkAPI()
	v := visitFrom(r.Context(), g)
	if v == nil {
		g.notWrapped(w, r)
		return false
	}
	if !v.hasToken() { // another guard of this gate may have verified the token, and its proof
		token, refusal := g.bearer.Verify(r, g.config.at.URL(v.path(r)))
		if refusal != nil {
			g.answerToken(w, refusal)
			return false
		}
		v = g.useToken(r, v, token)
	}
	verdict := judge(v.identity, rules, g.config.Limits.ClockSkew)
	if verdict.allowed {
		w.Header().Set("Cache-Control", "private, no-store")
		return true
	}
	g.answerToken(w, g.refusalOf(r, v, verdict))
	return false
}

// AdmitEither is the guard of a route of an API that programs call with an access token, and
// scripts of the site's own pages with the visitor's session. With an access token in the
// Authorization header it is [Gate.AdmitToken], and otherwise [Gate.AdmitAPI], with two
// differences: its 401 names both ways in WWW-Authenticate, and [Scope] rules are left out for a
// session. They limit tokens only.
//
// An identity from [Gate.NewContext] counts as a session, unless it is that of a token
// ([Identity.FromAccessToken]). AdmitEither panics without Config.API.Audience.
func (g *Gate) AdmitEither(w http.ResponseWriter, r *http.Request, rules ...Rule) bool {
	checkRules(rules)
	g.checkAPI()
	v := visitFrom(r.Context(), g)
	verified := v != nil && v.identity != nil && v.identity.token // by another guard
	if verified || bearer.Presented(r) {
		return g.AdmitToken(w, r, rules...)
	}
	rules = slices.DeleteFunc(slices.Clone(rules), Rule.isScope)
	return g.admitAPI(w, r, rules, answers{asScript: true, nameTokens: true})
}

func (g *Gate) checkAPI() {
	if len(g.config.API.Audience) == 0 {
		panic("oidcgate: guards for access tokens need Config.API.Audience: " +
			"the names of this service in the aud of access tokens")
	}
}

// withoutSession reports whether there is an identity and no session: that of an access token, or
// of NewContext.
func (v *visit) withoutSession() bool { return v.identity != nil && v.found.Session == nil }

// hasToken reports whether the identity is that of an access token. Behind Wrap one of NewContext
// is not: an application gives it to whoever has a cookie of its own, and browsers send cookies
// with requests of other sites too.
func (v *visit) hasToken() bool {
	return v.withoutSession() && (v.identity.token || !v.wrapped.Load())
}

// useToken gives the request the identity of its token. A session that it has too, and the values
// in it, may be those of another user. A context of NewContext may be that of a connection, with
// many requests: it stays as it is, and the request gets another. useToken returns the request's
// visit.
func (g *Gate) useToken(r *http.Request, v *visit, t *bearer.Token) *visit {
	if v.given {
		ctx := g.NewContext(r.Context(), nil)
		*r = *r.WithContext(ctx)
		v = visitFrom(ctx, g)
		v.given = false
	}
	iat, _ := t.Claims.Get("iat")
	created, _ := iat.Time()
	expires := t.Expires
	if expires.IsZero() {
		expires = time.Now()
	}
	v.identity = &Identity{
		rec:     &session.Identity{Provider: t.Provider, IDToken: t.Claims, Created: created},
		expires: expires, idleExpires: expires, token: true,
	}
	v.sent = t
	v.found.Session, v.found.LoadErr, v.found.Gone = nil, nil, ""
	if g.values != nil {
		g.values.Drop(r.Context())
	}
	return v
}

// What an operator can do for the sender of a good token that a rule refuses.
const (
	hintScope = "have the client ask for the scope, and the provider grant it to that client"
	hintToken = "Nothing, or give the user at the provider what the rule asks for, and have the " +
		"provider put it into its access tokens"
)

// refusalOf is the refusal of a token whose identity the rules do not allow.
func (g *Gate) refusalOf(r *http.Request, v *visit, verdict verdict) *bearer.Refusal {
	if verdict.refusal == "" {
		return bearer.StepUp(verdict.step.Params())
	}
	if len(verdict.scopes) == 0 {
		return bearer.Forbidden(g.denied(r, v, verdict.refusal, hintToken))
	}
	why := verdict.refusal
	if client, ok := v.identity.ClaimString("client_id"); ok {
		why += ", client_id " + client
	}
	return bearer.Scopes(verdict.scopes, g.denied(r, v, why, hintScope))
}

// metadataPathOf returns the path of the API's metadata, or "" if it has none.
func metadataPathOf(c *config) string {
	if !c.API.Metadata {
		return ""
	}
	return bearer.MetadataPath(c.API.Audience[0], c.at.URL(""))
}

// serveMetadata answers a request for the metadata of the API. If it returns false, the path is the
// application's.
func (g *Gate) serveMetadata(w http.ResponseWriter, r *http.Request) bool {
	if g.metadataPath == "" || r.URL.Path != g.metadataPath {
		return false
	}
	g.bearer.ServeMetadata(w, r)
	return true
}

func (g *Gate) answerToken(w http.ResponseWriter, f *bearer.Refusal) {
	if err := g.bearer.Answer(w, f); err != nil { // most often the client has left
		g.config.Logger.Debug("oidcgate: writing an answer", "err", err)
	}
}

func (g *Gate) bearerProviders() []bearer.Provider {
	all := g.providers.All()
	providers := make([]bearer.Provider, 0, len(all))
	for _, up := range all {
		providers = append(providers, bearer.Provider{
			Name: up.Name, Issuer: up.Issuer, Client: up.Client,
		})
	}
	return providers
}

func newBearer(g *Gate) *bearer.Guard {
	c := bearer.Config{
		Providers:  g.bearerProviders,
		Introspect: g.config.API.Introspect, MaxAge: g.config.API.IntrospectMaxAge,
		Leeway: g.config.Limits.ClockSkew, Once: g.keeper.UseProof, Tell: g.events.Emit,
		Realm: g.config.at.URL(""), Audience: g.config.API.Audience,
	}
	if g.metadataPath != "" {
		c.MetadataURL = g.config.at.URL(g.metadataPath)
	}
	return bearer.New(c)
}
