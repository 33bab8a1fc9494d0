package oidcgate

import (
	"fmt"
	"maps"
	"path"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/oidcgate/oidcgate/internal/attempt"
	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/op"
)

// Rule says who may enter. [Claim], [EmailDomain], [Match], [ACR], [MaxAge] and [Scope] make one;
// [LoginWith] says how to log in. A guard with the zero Rule panics.
type Rule struct {
	name   string   // for the log: what the rule looks at
	anyOf  []string // for the log: what it wants; nil where only a function knows
	allows func(id *Identity, leeway time.Duration) bool
	step   attempt.Step  // what a new login must bring if the rule refuses; zero: no login helps
	scopes []string      // of Scope
	ask    *LoginOptions // of LoginWith

	// about says whether there is what the rule looks at, and more for the log; nil: nobody knows.
	about func(*Identity) (isThere bool, more string)
}

// refusal says for the log why the rule refuses. It names claims, and does not repeat their values.
func (r Rule) refusal(id *Identity) string {
	isThere, more := true, ""
	if r.about != nil {
		isThere, more = r.about(id)
	}
	switch {
	case r.anyOf == nil:
		return r.name + " refuses"
	case !isThere:
		return fmt.Sprintf("there is no %s, want one of %s%s", r.name, r.anyOf, more)
	case r.isScope() && !id.token:
		return fmt.Sprintf("scope lacks one of %s; it is for RequireToken and RequireEither", r.anyOf)
	case r.isScope():
		return fmt.Sprintf("scope lacks one of %s", r.anyOf)
	}
	return fmt.Sprintf("%s is none of %s%s", r.name, r.anyOf, more)
}

// Claim allows those whose claim is one of anyOf, or is a list that contains one of them. The name
// is the exact name of a claim, or an RFC 6901 pointer when it begins with "/":
// "/realm_access/roles". Values are compared exactly and as strings: the number 1 is not "1" and
// the boolean true is not "true"; use [Match] for these. Claim panics when the name or a value is
// empty or no value is given, so that a guard that guards nothing is noticed when it is built. A
// gate with several providers takes the claim from any of them; see [Identity.ProviderName].
func Claim(name string, anyOf ...string) Rule {
	if name == "" || len(anyOf) == 0 || slices.Contains(anyOf, "") {
		panic("oidcgate: Claim needs a name and values that are not empty")
	}
	anyOf = slices.Clone(anyOf)
	return Rule{
		name: "claim " + name, anyOf: anyOf,
		allows: func(id *Identity, _ time.Duration) bool {
			v, ok := id.record().Claim(name)
			return ok && holds(v, anyOf)
		},
		about: func(id *Identity) (isThere bool, more string) {
			if isThere, more = id.record().About(name); id.token {
				more = "" // nothing of a token is told
			}
			return isThere, more
		},
	}
}

func holds(v claims.Value, anyOf []string) bool {
	if s, ok := v.Str(); ok {
		return slices.Contains(anyOf, s)
	}
	for e := range v.Elements() {
		if s, _ := e.Str(); slices.Contains(anyOf, s) { // anyOf has no ""
			return true
		}
	}
	return false
}

// EmailDomain allows those with a verified e-mail address (see [Identity.Email]) at one of the
// domains, compared without regard to case. It panics when no domain is given or one is not plain
// ASCII: write internationalised domains in their "xn--" form.
func EmailDomain(anyOf ...string) Rule {
	domains := make([]string, 0, len(anyOf))
	for _, d := range anyOf {
		if !wellFormed("a@" + d) {
			panic("oidcgate: EmailDomain needs domains such as \"shop.example\"")
		}
		domains = append(domains, strings.ToLower(d))
	}
	if len(domains) == 0 {
		panic("oidcgate: EmailDomain needs a domain")
	}
	allows := func(id *Identity, _ time.Duration) bool {
		address, verified := id.Email()
		_, domain, _ := strings.Cut(address, "@")
		return verified && slices.Contains(domains, strings.ToLower(domain))
	}
	return Rule{
		name: "domain of the verified e-mail address", anyOf: domains, allows: allows,
		about: func(id *Identity) (bool, string) { _, verified := id.Email(); return verified, "" },
	}
}

// Match allows those for whom f returns true. f is called, concurrently, for every request that the
// rule guards. The log of a refusal names the line that calls Match. Match panics when f is nil.
func Match(f func(*Identity) bool) Rule {
	if f == nil {
		panic("oidcgate: Match needs a function")
	}
	name := "Match"
	if _, file, line, ok := runtime.Caller(1); ok {
		name = fmt.Sprintf("Match at %s:%d", path.Base(file), line)
	}
	return Rule{name: name, allows: func(id *Identity, _ time.Duration) bool { return f(id) }}
}

// ACR allows those whose authentication context class is one of anyOf. Others are sent to log in
// once more, with anyOf as acr_values, and the new ID Token must then carry one of them (OpenID
// Connect Core, section 3.1.2.1). ACR panics when no value is given or one is empty or has a space.
func ACR(anyOf ...string) Rule {
	isBad := func(class string) bool { return class == "" || strings.Contains(class, " ") }
	if len(anyOf) == 0 || slices.ContainsFunc(anyOf, isBad) {
		panic("oidcgate: ACR needs values that are not empty and have no spaces")
	}
	anyOf = slices.Clone(anyOf)
	return Rule{
		allows: func(id *Identity, _ time.Duration) bool { return slices.Contains(anyOf, id.ACR()) },
		step:   attempt.Step{ACR: anyOf},
	}
}

// MaxAge allows those who authenticated at the provider within d, plus [Limits.ClockSkew] for
// clocks that differ. Others are sent to log in once more, with max_age, and so are those whose
// "auth_time" is later than now by more than ClockSkew. ClockSkew is added at that login too;
// otherwise a fresh login could be refused again (OpenID Connect Core, section 3.1.2.1). MaxAge
// panics when d is less than a second.
func MaxAge(d time.Duration) Rule {
	if d < time.Second {
		panic("oidcgate: MaxAge needs at least a second")
	}
	return Rule{
		allows: func(id *Identity, leeway time.Duration) bool {
			t := id.AuthTime()
			age := time.Since(t)
			return !t.IsZero() && -leeway <= age && age <= d+leeway
		},
		step: attempt.Step{MaxAge: &d},
	}
}

// LoginWith allows everybody who is signed in, and has the guard's login ask for o: the language,
// an account, one more parameter. It is [Gate.LoginURL]'s way for those whom the guard sends. Of
// two rules the first wins, field by field. What a login must bring is for [ACR] and [MaxAge],
// which check it also for those who are signed in already. LoginWith panics when o has what cannot
// be sent.
func LoginWith(o LoginOptions) Rule {
	asked := op.LoginOptions(o)
	if field, text := asked.Fault(); field != "" {
		panic("oidcgate: LoginWith: " + field + " " + text)
	}
	o.ACRValues, o.UILocales = slices.Clone(o.ACRValues), slices.Clone(o.UILocales)
	o.Params = maps.Clone(o.Params)
	return Rule{ask: &o, allows: func(*Identity, time.Duration) bool { return true }}
}

// loginOptions returns what the rules have a login ask for, or nil.
func loginOptions(rules []Rule) *op.LoginOptions {
	var all *op.LoginOptions
	for _, rule := range rules {
		switch {
		case rule.ask == nil:
		case all == nil:
			all = new(op.LoginOptions(*rule.ask))
		default:
			all = new(all.Or(op.LoginOptions(*rule.ask)))
		}
	}
	return all
}

// Scope allows access tokens that have every one of these scopes. Others get 403 with the code
// insufficient_scope (RFC 6750, section 3.1). It reads the claim "scope", which ID Tokens do not
// have: [Gate.Require] and [Gate.Admit] refuse a session, and [Gate.RequireEither] and
// [Gate.AdmitEither] leave the rule out for it. Scope panics when no scope is given or one is not a
// scope (RFC 6749, section 3.3).
func Scope(all ...string) Rule {
	if len(all) == 0 || !op.AreScopes(all) {
		panic("oidcgate: Scope needs scopes such as \"orders:read\", each as an argument of its own")
	}
	all = slices.Clone(all)
	allows := func(id *Identity, _ time.Duration) bool {
		has := strings.Fields(id.protocol("scope"))
		return !slices.ContainsFunc(all, func(s string) bool { return !slices.Contains(has, s) })
	}
	return Rule{name: "scope", anyOf: all, scopes: all, allows: allows}
}

func (r Rule) isScope() bool { return len(r.scopes) > 0 }

// scopesOf returns the scopes that all rules ask for, if refusing is one for scopes.
func scopesOf(refusing Rule, rules []Rule) (all []string) {
	for _, rule := range rules {
		if refusing.isScope() {
			all = append(all, rule.scopes...)
		}
	}
	return all
}

func checkRules(rules []Rule) {
	for _, rule := range rules {
		if rule.allows == nil {
			panic("oidcgate: the zero Rule decides nothing; " +
				"make rules with Claim, EmailDomain, Match, ACR, MaxAge, Scope or LoginWith")
		}
	}
}
