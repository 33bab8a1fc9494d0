package examples_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// packages are those that code in the docs may use without an import.
var packages = map[string]string{
	"context": "context", "errors": "errors", "fmt": "fmt", "log": "log", "os": "os", "slog": "log/slog", "time": "time",
	"http": "net/http", "httptest": "net/http/httptest", "testing": "testing", "strings": "strings", "slices": "slices", "template": "html/template",
	"html": "html", "sync": "sync", "synctest": "testing/synctest",
	"chi": "github.com/go-chi/chi/v5", "gin": "github.com/gin-gonic/gin", "redis": "github.com/redis/go-redis/v9",
	"oidcgate": "github.com/oidcgate/oidcgate", "oidcgatetest": "github.com/oidcgate/oidcgate/oidcgatetest",
	"presets": "github.com/oidcgate/oidcgate/presets", "redisstore": "github.com/oidcgate/oidcgate/store/redisstore",
	"store": "github.com/oidcgate/oidcgate/store",
}

// around is what stands around the code: names that it uses and does not declare.
var around = map[string]string{
	"addr": "var addr string", "config": "var config oidcgate.Config", "ctx": "var ctx context.Context",
	"p": "var p *oidcgatetest.Provider", "gate": "var gate *oidcgate.Gate", "mux": "var mux *http.ServeMux", "provider": "var provider oidcgate.Provider",
	"rdb": "var rdb *redis.Client", "router": "var router http.Handler", "t": "var t *testing.T", "w": "var w http.ResponseWriter",
	"r": "var r *http.Request", "id": "var id *oidcgate.Identity", "key": "var key *ecdsa.PrivateKey",
	"clientID": "var clientID string", "servicesID": "var servicesID string", "team": "var team string",
	"keyID": "var keyID string", "secret": "var secret string", "tenantGUID": "var tenantGUID string",
	"blocked": "func blocked(string) bool { return false }",
	"users":   "var users table\n\ntype table struct{}\n\nfunc (table) Upsert(ctx context.Context, issuer, subject string) error { return nil }\nfunc (table) Link(ctx context.Context, first, second *oidcgate.Identity) error { return nil }",
	"accounts": "var accounts linker\n\ntype linker interface {\n" +
		"\tOnLogin(context.Context, *oidcgate.Login) error\n\tOnLink(context.Context, *oidcgate.Linking) error\n}",
	"drafts":        "var drafts interface{ forget(issuer, subject, session string) error }",
	"customerOf":    "func customerOf(*http.Request) (int, bool) { return 0, false }",
	"checkPassword": "func checkPassword(http.ResponseWriter, *http.Request) bool { return false }",
	"isPassword":    "func isPassword(customer int, password string) bool { return false }",
	"endOwnSession": "func endOwnSession(http.ResponseWriter, *http.Request) {}",
	"owners":        "var owners interface{ add(issuer, subject string, customer int) bool }",
	"identity":      "type identity struct{ issuer, subject string }", "keyOf": "func keyOf(*oidcgate.Identity) identity { return identity{} }",
	"keys": "var keys oidcgate.Keys", "partner": "var partner oidcgate.Provider",
	"home": "func home(http.ResponseWriter, *http.Request) {}", "admin": "func admin(http.ResponseWriter, *http.Request) {}",
	"form": "func form(http.ResponseWriter, *http.Request) {}", "payment": "func payment(http.ResponseWriter, *http.Request) {}",
	"isStaff": "var isStaff oidcgate.Rule",
	"withID":  "type withID struct{ slog.Handler }",
	"account": "func account(http.ResponseWriter, *http.Request) {}", "cart": "func cart(http.ResponseWriter, *http.Request) {}",
	"notes": "func notes(http.ResponseWriter, *http.Request) {}", "report": "func report(http.ResponseWriter, *http.Request) {}",
}

// aroundGin is the same in code for gin.
var aroundGin = map[string]string{"account": "func account(*gin.Context) {}", "notes": "func notes(*gin.Context) {}"}

// TestCodeInTheDocs vets every block of Go in the README and in docs, and runs each that is a test
// and uses no variable from around it. A block is a file, or
// declarations, or statements, or statements with functions after them. "..." in a line of its own
// leaves something out.
func TestCodeInTheDocs(t *testing.T) {
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	module, blocks := newModule(t), 0
	for _, pattern := range []string{"README.md", "docs/*.md", "docs/providers/*.md"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, file := range files {
			name, _ := filepath.Rel(root, file) // both are absolute
			if name == "docs/metrics.md" {
				continue // its code is for the module oidcgateotel, and stands in an example there
			}
			for line, block := range blocksOf(t, file) {
				blocks++
				dir := filepath.Join(module, fmt.Sprintf("%s_%d", strings.NewReplacer("/", "_", ".", "_").Replace(name), line))
				if err := os.Mkdir(dir, 0o755); err != nil {
					t.Fatal(err)
				}
				code, err := compilable(block)
				if err != nil {
					t.Errorf("%s:%d: %v", name, line, err)
					continue
				}
				file := "code.go"
				if strings.Contains(code, "\nfunc Test") && !strings.Contains(code, "\nvar ") {
					file = "code_test.go"
				}
				if err := os.WriteFile(filepath.Join(dir, file), []byte(code), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if blocks < 15 {
		t.Errorf("%d blocks of code were found", blocks)
	}
	goIn(t, module, "vet", "./...")
	said := goIn(t, module, "test", "-v", "./...")
	for _, name := range []string{"TestLinking", "TestAddLogin"} {
		if !strings.Contains(said, "--- PASS: "+name) {
			t.Errorf("%s did not run:\n%s", name, said)
		}
	}
}

var fence = regexp.MustCompile("(?ms)^```go\n(.*?)^```$")

// blocksOf returns the blocks of Go in a file, by the line where they begin.
func blocksOf(t *testing.T, file string) map[int]string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	blocks := map[int]string{}
	for _, at := range fence.FindAllSubmatchIndex(text, -1) {
		line := strings.Count(string(text[:at[2]]), "\n") + 1
		blocks[line] = string(text[at[2]:at[3]])
	}
	return blocks
}

var (
	leftOut   = regexp.MustCompile(`(?m)^\s*\.\.\.$`)
	importing = regexp.MustCompile(`(?s)^import (\(.*?\n\)|"[^"\n]*")\n`)
	function  = regexp.MustCompile(`(?ms)^func .*?^}\n`)
)

// compilable makes a file of a block.
func compilable(block string) (string, error) {
	block = leftOut.ReplaceAllString(block, "")
	if strings.HasPrefix(block, "package ") {
		return block, nil
	}
	imports := importing.FindString(block)
	block = strings.TrimPrefix(block, imports)
	declared := function.FindAllString(block, -1)
	statements := function.ReplaceAllString(block, "")
	rest := strings.Join(declared, "\n")
	if _, err := parser.ParseFile(token.NewFileSet(), "", "package p\n"+statements, 0); err == nil {
		rest += statements // types and variables
	} else {
		rest += "func _() {\n" + statements + "\n}\n"
	}
	file, err := parser.ParseFile(token.NewFileSet(), "", "package p\n"+rest, 0)
	if err != nil {
		return "", err
	}
	needs := map[string]bool{}
	for _, name := range file.Unresolved {
		needs[name.Name] = true
	}
	last := file.Decls[len(file.Decls)-1]
	if f, ok := last.(*ast.FuncDecl); ok && f.Name.Name == "_" {
		rest = strings.TrimSuffix(rest, "}\n") + defined(f.Body.List) + "}\n"
	}
	surroundings := ""
	for _, name := range slices.Sorted(maps.Keys(around)) {
		decl := around[name]
		if other, ok := aroundGin[name]; ok && needs["gin"] {
			decl = other
		}
		if needs[name] {
			surroundings += decl + "\n"
		}
	}
	head := "package p\n"
	for _, name := range slices.Sorted(maps.Keys(packages)) {
		used := needs[name] || regexp.MustCompile(`\b`+name+`\.`).MatchString(surroundings)
		if path := packages[name]; used && !strings.Contains(imports, `"`+path+`"`) {
			head += fmt.Sprintf("import %s %q\n", name, path)
		}
	}
	if strings.Contains(surroundings, "ecdsa.") {
		head += "import \"crypto/ecdsa\"\n"
	}
	return head + imports + surroundings + rest, nil
}

// defined returns statements that use what these define.
func defined(statements []ast.Stmt) (uses string) {
	for _, s := range statements {
		assign, ok := s.(*ast.AssignStmt)
		if !ok || assign.Tok != token.DEFINE {
			continue
		}
		for _, left := range assign.Lhs {
			if name, ok := left.(*ast.Ident); ok && name.Name != "_" {
				uses += "_ = " + name.Name + "\n"
			}
		}
	}
	return uses
}
