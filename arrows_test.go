package oidcgate_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/oidcgate/oidcgate"

// dependencies are the modules the root may use; each of another needs a paragraph of why.
var dependencies = []string{
	"github.com/alexedwards/scs/v2",
	"github.com/coreos/go-oidc/v3",
	"github.com/go-jose/go-jose/v4",
	"github.com/redis/go-redis/v9",
	"golang.org/x/oauth2",
}

// arrows are the packages of this module that a package may import: imports point down only. A package of the
// longest prefix counts; one that is not named may import any.
var arrows = []struct {
	within string
	may    []string
}{
	{"", []string{"internal/...", "store"}},
	{"internal/...", []string{"internal/...", "store"}},
	{"store", nil},
	{"store/redisstore", []string{"store"}},
	{"store/storetest", []string{"store"}},
	{"presets", []string{"", "internal/...", "store"}},
	{"oidcgatetest", []string{"", "internal/...", "store"}},
}

type goPackage struct {
	ImportPath string
	Imports    []string
}

func TestImportsPointDown(t *testing.T) {
	rules := map[string][]string{}
	for _, a := range arrows {
		rules[a.within] = a.may
	}
	for _, p := range packages(t) {
		name := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		may, known := rules[name]
		if !known && strings.HasPrefix(name, "internal/") {
			may, known = rules["internal/..."], true
		}
		for _, imported := range p.Imports {
			inner, ours := strings.CutPrefix(imported+"/", module+"/")
			inner = strings.TrimSuffix(inner, "/")
			switch {
			case ours && known && !slices.ContainsFunc(may, func(m string) bool { return matches(m, inner) }):
				t.Errorf("%s imports %s", p.ImportPath, imported)
			case !ours && strings.Contains(strings.Split(imported, "/")[0], ".") && !slices.ContainsFunc(dependencies, func(d string) bool { return within(imported, d) }):
				t.Errorf("%s imports %s, which is no dependency of the root", p.ImportPath, imported)
			}
		}
	}
}

func within(path, module string) bool { return path == module || strings.HasPrefix(path, module+"/") }

func matches(pattern, name string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "..."); ok {
		return strings.HasPrefix(name, prefix)
	}
	return pattern == name
}

// packages lists the packages of the root module, without their tests.
func packages(t *testing.T) []goPackage {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var list []goPackage
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	if len(list) < 8 {
		t.Fatalf("go list found only %d packages", len(list))
	}
	return list
}
