package measure

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// small is a module that breaks each rule at least once.
var small = map[string]string{
	"go.mod": "module example.org/gate\n\ngo 1.26.0\n",
	"gate.go": `package gate

import (
	"context"
	"reflect"
	_ "unsafe"

	"example.org/gate/internal/op"
	"example.org/gate/store"
)

const Limit = op.Limit

type Gate struct {
	Store store.Store
	seen  bool
}

func (g *Gate) Find(ctx context.Context, a, b, c, d string) error {
	get := g.Store.Get
	return get(step(a))
}

func (g Gate) String() string { return reflect.TypeOf(g).Name() }
`,
	"step.go": "package gate\n\nfunc step(key string) string { return key + new(Gate).String() }\n",
	"values.go": `package gate

import "reflect"

// ` + strings.Repeat("ä", 97) + `
func same(g, h Gate) bool { return g.seen == h.seen && reflect.DeepEqual(g, h) && step("") == "" }
`,
	"gate_test.go": "package gate\n\nfunc (g *Gate) fake(a, b, c, d, e int) { g.Store.Get(\"\") }\n",
	"ignored.go":   "//go:build never\n\npackage gate\n\nfunc (g *Gate) never() {}\n",
	"store/store.go": `package store

type Store interface { Get(key string) error }
`,
	"internal/op/op.go": `package op

import _ "example.org/gate/internal/session"

const Limit = 1
`,
	"internal/session/session.go": "package session\n",
	"cmd/gate/main.go":            "package main\n\nimport _ \"example.org/gate\"\n\nfunc main() {}\n",
}

func load(t *testing.T, files map[string]string) *Module {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("GOWORK", "off")
	m, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestMeasures(t *testing.T) {
	m := load(t, small)
	for _, row := range []struct {
		name      string
		got, want []string
	}{
		{"wrong imports", m.WrongImports(), []string{"internal/op imports internal/session"}},
		{"unsafe imports", m.UnsafeImports(),
			[]string{"gate.go:5 imports reflect", "gate.go:6 imports unsafe",
				"values.go:3 imports reflect"}},
		{"foreign imports", m.ForeignImports(nil), nil},
		{"store calls, also as a value", m.StoreCalls(), []string{"gate.go:20: Get"}},
		{"100 characters are 100 columns", LongLines(m.Root(), 100), nil},
		{"one column too many", LongLines(m.Root(), 99), []string{"values.go:5: 100 columns"}},
		{"pairs", pairs(m),
			[]string{"gate.go and step.go: gate.go uses step; step.go uses Gate, String"}},
		{"methods", m.MethodsOn("Gate"),
			[]string{"gate.go:19: Gate.Find", "gate.go:24: Gate.String", "ignored.go:5: Gate.never"}},
		{"parameters", m.ManyParameters(m.Root(), 5, false), []string{"gate.go:19: Gate.Find: 5"}},
		{"parameters, ctx aside", m.ManyParameters(m.Root(), 5, true), nil},
		{"exported", m.Exported(),
			[]string{"Gate", "Gate.Find", "Gate.String", "Gate.Store", "Limit"}},
		{"constants", m.Constants(), []string{"Limit"}},
		{"longest function", m.LongestFunctions(m.Root(), 1),
			[]string{"gate.go:19: Gate.Find: 2 lines"}},
		{"long files", LongFiles(m.Root(), 20), []string{"gate.go: 24 lines"}},
	} {
		if !reflect.DeepEqual(row.got, row.want) {
			t.Errorf("%s:\ngot  %q\nwant %q", row.name, row.got, row.want)
		}
	}
}

func pairs(m *Module) []string {
	var all []string
	for _, p := range m.Pairs() {
		all = append(all, p.String())
	}
	return all
}
