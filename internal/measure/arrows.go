package measure

import (
	"fmt"
	"slices"
	"strings"
)

// arrows are the packages of this module that a package may import. Imports point down only: the
// root speaks to browsers, internal/session to the store, internal/op to the provider, and neither
// of the last two knows the other. Where no rule names a package, "internal/..." counts for those
// in internal, and others, such as commands, may import any.
var arrows = []struct {
	within string
	may    []string
}{
	{"", []string{
		"internal/session", "internal/op", "internal/event", "internal/claims", "internal/seal",
		"internal/returnto", "internal/saver", "internal/page", "internal/values", "internal/attempt",
		"internal/browser", "internal/viascs", "internal/weburl", "internal/outside",
		"internal/site", "internal/check", "internal/present", "internal/front", "internal/bearer",
		"internal/doctor", "internal/devpage", "store",
	}},
	{"internal/devpage", []string{
		"internal/front", "internal/op", "internal/session", "internal/claims", "internal/event",
		"internal/page", "internal/browser", "internal/weburl",
	}},
	{"internal/front", []string{
		"internal/op", "internal/session", "internal/attempt", "internal/browser", "internal/page",
		"internal/site", "internal/arrive", "internal/viascs", "internal/returnto", "internal/event",
		"internal/claims", "internal/apart",
	}},
	{"internal/bearer", []string{
		"internal/op", "internal/claims", "internal/event", "internal/page",
	}},
	{"internal/attempt", []string{"internal/browser", "internal/event", "internal/seal"}},
	{"internal/outside", []string{
		"internal/session", "internal/op", "internal/claims", "internal/event",
	}},
	{"internal/viascs", []string{"internal/session"}},
	{"internal/browser", nil},
	{"internal/session", []string{"internal/claims", "internal/seal", "internal/event", "store"}},
	{"internal/op", []string{
		"internal/claims", "internal/event", "internal/weburl", "internal/check", "internal/apart",
	}},
	{"internal/site", []string{"internal/returnto", "internal/weburl", "internal/check"}},
	{"internal/check", []string{"internal/weburl"}},
	{"internal/arrive", []string{
		"internal/op", "internal/page", "internal/browser", "internal/event",
	}},
	{"internal/present", []string{"internal/weburl"}},
	{"internal/doctor", []string{
		"internal/op", "internal/claims", "internal/event", "internal/weburl", "internal/check",
	}},
	{"internal/weburl", nil},
	{"internal/apart", nil},
	{"internal/claims", nil},
	{"internal/seal", nil},
	{"internal/returnto", nil},
	{"internal/event", nil},
	{"internal/saver", nil},
	{"internal/page", []string{"internal/event", "internal/check", "internal/site"}},
	{"internal/values", []string{
		"internal/session", "internal/viascs", "internal/claims", "internal/event",
	}},
	{"internal/measure", nil},
	{"internal/...", []string{"internal/...", "store"}},
	{"store", nil},
	{"store/redisstore", []string{"store"}},
	{"store/storetest", []string{"store"}},
	{"registration", []string{"", "internal/op", "internal/claims", "internal/weburl"}},
	{"presets", []string{"", "internal/...", "store"}},
	{"oidcgatetest", []string{"", "internal/...", "store"}},
}

// untyped are the imports that circumvent types. No file of the root has one.
var untyped = []string{"unsafe", "reflect"}

// WrongImports returns the imports that the arrows do not allow.
func (m *Module) WrongImports() []string {
	var wrong []string
	for _, p := range m.Packages {
		may, limited := allowed(p.Name)
		for _, imported := range p.Imports {
			inner, ours := m.inner(imported)
			if ours && limited && !slices.ContainsFunc(may, matches(inner)) {
				wrong = append(wrong, fmt.Sprintf("%s imports %s", named(p.Name), inner))
			}
		}
	}
	return wrong
}

// UnsafeImports returns the files of the root that import unsafe or reflect.
func (m *Module) UnsafeImports() []string {
	var wrong []string
	for _, f := range m.Root() {
		for _, spec := range f.syntax.Imports {
			imported := strings.Trim(spec.Path.Value, `"`)
			if slices.Contains(untyped, imported) {
				wrong = append(wrong, fmt.Sprintf("%s imports %s", m.at(spec.Pos()), imported))
			}
		}
	}
	return wrong
}

// ForeignImports returns the imports from modules that are neither the standard library's, nor this
// module's, nor named in allowed.
func (m *Module) ForeignImports(allowed []string) []string {
	var foreign []string
	for _, p := range m.Packages {
		for _, imported := range p.Imports {
			host, _, _ := strings.Cut(imported, "/")
			if _, ours := m.inner(imported); ours || !strings.Contains(host, ".") {
				continue
			}
			if !slices.ContainsFunc(allowed, func(a string) bool { return within(imported, a) }) {
				foreign = append(foreign, fmt.Sprintf("%s imports %s", named(p.Name), imported))
			}
		}
	}
	return foreign
}

// allowed returns what the named package may import, and whether a rule says so.
func allowed(name string) (may []string, limited bool) {
	for _, a := range arrows {
		if a.within == name || a.within == "internal/..." && strings.HasPrefix(name, "internal/") {
			return a.may, true
		}
	}
	return nil, false
}

// inner returns an import path below the module's, and whether it is one of the module's at all.
func (m *Module) inner(imported string) (name string, ours bool) {
	return strings.TrimPrefix(strings.TrimPrefix(imported, m.Path), "/"), within(imported, m.Path)
}

// named returns the name of a package as a message shows it.
func named(name string) string {
	if name == "" {
		return "the root"
	}
	return name
}

func within(path, module string) bool {
	return path == module || strings.HasPrefix(path, module+"/")
}

// matches returns a function that tells whether a pattern covers name. "internal/..." covers all
// packages in internal.
func matches(name string) func(pattern string) bool {
	return func(pattern string) bool {
		if prefix, ok := strings.CutSuffix(pattern, "..."); ok {
			return strings.HasPrefix(name, prefix)
		}
		return pattern == name
	}
}
