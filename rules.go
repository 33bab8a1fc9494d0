package oidcgate

import (
	"slices"
	"strings"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
)

// Rule says who may enter. It is made by [Claim], [EmailDomain], [Match], [ACR] and [MaxAge]; the zero
// value is none of them, and a guard built with it panics.
type Rule struct {
	name   string // for the log
	allows func(id *Identity, leeway time.Duration) bool
	step   stepUp // what a new login must bring where the rule does not allow; zero: none helps
}

// Claim allows those whose claim is one of anyOf, or is a list that holds one. The name is a claim's, letter
// for letter, or an RFC 6901 pointer when it begins with "/": "/realm_access/roles". Values are compared as
// strings, exactly; the number 1 and the boolean true are not the strings "1" and "true", for these use
// [Match]. It panics when the name or a value is empty or no value is given: a guard that guards nothing is
// found when it is built.
func Claim(name string, anyOf ...string) Rule {
	if name == "" || len(anyOf) == 0 || slices.Contains(anyOf, "") {
		panic("oidcgate: Claim needs a name and values that are not empty")
	}
	anyOf = slices.Clone(anyOf)
	return Rule{name: "claim " + name, allows: func(id *Identity, _ time.Duration) bool {
		v, ok := id.lookup(name)
		return ok && holds(v, anyOf)
	}}
}

func holds(v claims.Value, anyOf []string) bool {
	if s, ok := v.Str(); ok {
		return slices.Contains(anyOf, s)
	}
	for e := range v.Elements() {
		if s, ok := e.Str(); ok && slices.Contains(anyOf, s) {
			return true
		}
	}
	return false
}

// EmailDomain allows those with a verified e-mail address (see [Identity.Email]) at one of the domains,
// compared without regard to case. It panics when no domain is given or one is not plain ASCII: write
// internationalised domains in their "xn--" form.
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
	return Rule{name: "e-mail domain", allows: func(id *Identity, _ time.Duration) bool {
		address, verified := id.Email()
		_, domain, _ := strings.Cut(address, "@")
		return verified && slices.Contains(domains, strings.ToLower(domain))
	}}
}

// wellFormed refuses the addresses in which two readers see two domains: "a@evil.example@shop.example".
func wellFormed(address string) bool {
	local, domain, ok := strings.Cut(address, "@")
	if !ok || local == "" || domain == "" || strings.Contains(domain, "@") {
		return false
	}
	return !strings.ContainsFunc(address, func(r rune) bool { return r <= ' ' || r > '~' })
}

// Match allows those for whom f is true. f is called on every request that the rule guards, concurrently. It
// panics when f is nil.
func Match(f func(*Identity) bool) Rule {
	if f == nil {
		panic("oidcgate: Match needs a function")
	}
	return Rule{name: "Match", allows: func(id *Identity, _ time.Duration) bool { return f(id) }}
}

// ACR allows those whose authentication context class is one of anyOf. Others are sent to log in once more,
// with these classes as acr_values, and the ID Token must then carry one (OpenID Connect Core, section
// 3.1.2.1). It panics when no value is given or one is empty or has a space.
func ACR(anyOf ...string) Rule {
	if len(anyOf) == 0 || slices.ContainsFunc(anyOf, func(s string) bool { return s == "" || strings.Contains(s, " ") }) {
		panic("oidcgate: ACR needs values without spaces")
	}
	anyOf = slices.Clone(anyOf)
	return Rule{
		allows: func(id *Identity, _ time.Duration) bool { return slices.Contains(anyOf, id.ACR()) },
		step:   stepUp{ACR: anyOf},
	}
}

// MaxAge allows those who authenticated at the provider within d, and [Limits.ClockSkew] more for clocks that
// differ. Others are sent to log in once more, with max_age, and auth_time is then checked with the same leeway,
// so that who passes there passes here (OpenID Connect Core, section 3.1.2.1). It panics when d is less than a
// second.
func MaxAge(d time.Duration) Rule {
	if d < time.Second {
		panic("oidcgate: MaxAge needs at least a second")
	}
	return Rule{
		allows: func(id *Identity, leeway time.Duration) bool {
			t := id.AuthTime()
			return !t.IsZero() && time.Since(t) <= d+leeway
		},
		step: stepUp{MaxAge: &d},
	}
}

func checkRules(rules []Rule) {
	for _, rule := range rules {
		if rule.allows == nil {
			panic("oidcgate: a zero Rule guards nothing; make rules with Claim, EmailDomain, Match, ACR or MaxAge")
		}
	}
}
