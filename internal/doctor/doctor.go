// Package doctor looks at a provider and says what it supports, what a configuration would use of
// it, what is wrong, and how to mend it. It is for people who set up or run a service: a report
// shows what the provider sent, which errors of logins do not.
//
//	doctor.go     Examine: all that is looked at, in the order of a report
//	answer.go     the answers: connection, certificate, clock, redirects and junk
//	metadata.go   what the provider announces, beside what the configuration asks for
//	redirect.go   whether the provider knows the redirect URI
//	table.go      the report as a table
package doctor

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/oidcgate/oidcgate/internal/check"
	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/op"
)

// Level says how bad a finding is.
type Level string

// The levels.
const (
	OK    Level = "ok"    // as it should be
	Warn  Level = "warn"  // logins may work; somebody should look at it
	Fault Level = "fault" // logins fail
	Skip  Level = "skip"  // not looked at
)

// Finding is one result. Cure is what to do, and empty if there is nothing to do.
type Finding struct {
	Name  string
	Level Level
	Text  string
	Cure  string
}

// Options say what is looked at.
type Options struct {
	// WithoutLogin sends no authorization request, because there is no client id to send.
	WithoutLogin bool

	// WithoutSecret pushes no request and sends no code, because the client cannot authenticate
	// itself.
	WithoutSecret bool

	// Reread says that claims are to be read again.
	Reread bool
}

// report collects findings about one provider.
type report struct {
	cfg   op.Config
	seen  *op.Inspection
	found []Finding
}

// Examine asks the provider for its metadata and its keys, sends an authorization request with
// prompt=none and a code that nobody has, and returns what there is to say about the answers.
func Examine(ctx context.Context, c *op.Client, o Options) []Finding {
	r := &report{cfg: c.Config(), seen: c.Inspect(ctx)}
	r.discovery()
	r.certificate()
	r.clock()
	if r.hasDocument() {
		r.issuer()
		r.endpoints()
		r.pkce()
	}
	r.keys()
	if r.hasDocument() {
		r.algorithms()
		r.authentication()
		r.bindings()
		r.request()
		r.scopes()
		r.userinfo()
		r.reread(o)
		r.logout()
		r.supports()
	}
	r.refused()
	r.redirect(ctx, o)
	return r.found
}

// Store returns what there is to say of the store, after a try of what a login needs of it.
func Store(err error) Finding {
	if err != nil {
		return Finding{"store", Fault, "a login could not be kept: " + err.Error(),
			"look whether the store runs, can be reached from here, and takes writes"}
	}
	return Finding{"store", OK, "it answers, and takes writes", ""}
}

// Configuration returns the faults of a configuration as findings.
func Configuration(faults check.List) []Finding {
	var found []Finding
	for _, f := range faults {
		text, cure, _ := strings.Cut(f.Text, "; ")
		found = append(found, Finding{"configuration", Fault, f.Field + " " + text, cure})
	}
	return found
}

// Healthy reports whether no finding is a fault.
func Healthy(found []Finding) bool {
	return !slices.ContainsFunc(found, func(f Finding) bool { return f.Level == Fault })
}

func (r *report) ok(name, format string, args ...any) {
	r.found = append(r.found, Finding{name, OK, fmt.Sprintf(format, args...), ""})
}

func (r *report) warn(name, text, cure string) {
	r.found = append(r.found, Finding{name, Warn, text, cure})
}

func (r *report) skip(name, text, cure string) {
	r.found = append(r.found, Finding{name, Skip, text, cure})
}

func (r *report) fault(name, text, cure string) {
	r.found = append(r.found, Finding{name, Fault, text, cure})
}

// hasDocument reports whether the provider sent a discovery document, of whatever content.
func (r *report) hasDocument() bool {
	_, any := firstOf(r.seen.Document)
	return any && r.seen.Discovery.Status == 200
}

func firstOf(doc claims.Object) (name string, any bool) {
	for name := range doc.All() {
		return name, true
	}
	return "", false
}

// text returns a member of the document that is a string, or "".
func (r *report) text(name string) string {
	v, _ := r.seen.Document.Get(name)
	s, _ := v.Str()
	return s
}

// list returns a member of the document that is a list of strings. It is nil if there is none.
func (r *report) list(name string) []string {
	v, ok := r.seen.Document.Get(name)
	if !ok || v.Kind() != claims.Array {
		return nil
	}
	all := []string{}
	for e := range v.Elements() {
		if s, ok := e.Str(); ok {
			all = append(all, s)
		}
	}
	return all
}

func (r *report) flag(name string) bool {
	v, _ := r.seen.Document.Get(name)
	b, _ := v.Bool()
	return b
}

// maxShown is how much is shown of a text from the provider.
const maxShown = 300

// quoted returns a text from elsewhere byte for byte, with escapes for what a terminal would hide
// or obey.
func quoted(s string) string {
	return strconv.QuoteToASCII(s[:min(len(s), maxShown)])
}

// joined returns a list from the provider as one text.
func joined(list []string) string {
	if len(list) == 0 {
		return "nothing"
	}
	return plain(strings.Join(list, ", "))
}

// plain returns a text from elsewhere with "?" in place of what is not printable ASCII.
func plain(s string) string {
	shown := strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return '?'
		}
		return c
	}, s[:min(len(s), maxShown)])
	if len(s) > maxShown {
		shown += "..."
	}
	return shown
}
