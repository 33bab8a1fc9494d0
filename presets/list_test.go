package presets_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/presets"
)

// functions returns the functions of this package that make a provider, with their parameters. One
// that changes a provider is none.
func functions(t *testing.T) map[string][]string {
	t.Helper()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]string{}
	for _, name := range names {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Recv != nil || !f.Name.IsExported() || !returnsProvider(f) {
				continue
			}
			var params []string
			for _, p := range f.Type.Params.List {
				for _, name := range p.Names {
					params = append(params, name.Name)
				}
			}
			if !slices.Equal(params, []string{"p"}) {
				all[f.Name.Name] = params
			}
		}
	}
	return all
}

func returnsProvider(f *ast.FuncDecl) bool {
	if f.Type.Results == nil || len(f.Type.Results.List) != 1 {
		return false
	}
	s, ok := f.Type.Results.List[0].Type.(*ast.SelectorExpr)
	return ok && s.Sel.Name == "Provider"
}

var inBraces = regexp.MustCompile(`\{([a-z]\w*)\}`)

// given are what a call has in braces besides answers.
var given = []string{"clientID", "auth", "keys", "key"}

func TestListHasEachPresetOnce(t *testing.T) {
	funcs := functions(t)
	if len(funcs) < 20 {
		t.Fatalf("only %d functions found", len(funcs))
	}
	seen := map[string]bool{}
	for _, p := range presets.List() {
		name, _, _ := strings.Cut(p.Call, "(")
		params, ok := funcs[name]
		if !ok {
			t.Errorf("%s calls %s, which is no function, or is called by another entry", p.Name, name)
			continue
		}
		delete(funcs, name)
		if seen[p.Name] || p.Name != strings.ToLower(p.Name) || p.Register == "" || p.Method == "" {
			t.Errorf("its name, what to register or the method is missing or wrong: %+v", p)
		}
		seen[p.Name] = true

		asked := slices.Clone(given)
		for _, q := range p.Ask {
			asked = append(asked, q.Name)
			if q.Example == "" || !strings.Contains(p.Call, "{"+q.Name+"}") {
				t.Errorf("%s asks for %+v: it has no example, or the call does not use it", p.Name, q)
			}
		}
		var used []string
		for _, m := range inBraces.FindAllStringSubmatch(p.Call, -1) {
			used = append(used, m[1])
			if !slices.Contains(asked, m[1]) {
				t.Errorf("%s does not ask for %s", p.Name, m[1])
			}
		}
		if name != "Apple" && !slices.Equal(normal(used), normal(params)) {
			t.Errorf("the call of %s has %q, the function %q", name, used, params)
		}
	}
	if len(funcs) > 0 {
		t.Errorf("not in the list: %q", slices.Sorted(maps.Keys(funcs)))
	}
}

// normal names the authentication as most functions do.
func normal(params []string) []string {
	params = slices.Clone(params)
	if i := slices.Index(params, "secret"); i >= 0 {
		params[i] = "auth"
	}
	return params
}

func TestListMakesTheProviders(t *testing.T) {
	want := all(t)
	for _, p := range presets.List() {
		answers := map[string]string{}
		for _, q := range p.Ask {
			answers[q.Name] = q.Example
		}
		got := p.Provider(answers, "shop", oidcgate.ClientSecretPost("a secret"))
		name, _, _ := strings.Cut(p.Call, "(")
		if got.Label != want[name].Label || got.ClientID != "shop" || got.Issuer == "" {
			t.Errorf("%s: got %q, %q at %q, want the one that %s makes", p.Name, got.Label, got.ClientID, got.Issuer, name)
		}
		for _, q := range p.Ask { // each answer goes somewhere
			changed := maps.Clone(answers)
			changed[q.Name] = "https://other.example"
			other := p.Provider(changed, "shop", oidcgate.ClientSecretPost("a secret"))
			if p.Name != "apple" && same(got, other) {
				t.Errorf("%s: the answer %s changes nothing", p.Name, q.Name)
			}
		}
	}
}

// same compares what answers go into.
func same(a, b oidcgate.Provider) bool {
	return a.Issuer == b.Issuer && a.Endpoints == b.Endpoints &&
		slices.Equal(a.Verification.Tenants, b.Verification.Tenants) &&
		maps.Equal(a.Request.Params, b.Request.Params) &&
		slices.Equal(a.Request.Login.ACRValues, b.Request.Login.ACRValues)
}
