package page

import (
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/words.md")

// keysInCode returns the keys that the constants of words.go stand for.
func keysInCode(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "words.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || spec.Type == nil || len(spec.Values) != 1 {
			return true
		}
		literal, ok := spec.Values[0].(*ast.BasicLit)
		if !ok {
			return true
		}
		value, _ := strconv.Unquote(literal.Value)
		switch fmt.Sprint(spec.Type) {
		case "Message":
			keys = append(keys, value+".text")
			if Message(value) != StepUp {
				keys = append(keys, value+".title")
			}
		case "Label":
			keys = append(keys, value)
		}
		return true
	})
	slices.Sort(keys)
	return keys
}

func TestEveryLanguageHasEveryText(t *testing.T) {
	want := keysInCode(t)
	if len(want) < 80 {
		t.Fatalf("only %d keys found", len(want))
	}
	files, err := filepath.Glob("words/*.json")
	if err != nil || len(files) != len(builtIn) {
		t.Fatalf("files %v for the languages %v, %v", files, builtIn, err)
	}
	english := readWords("en")
	for _, name := range builtIn {
		texts := readWords(name)
		if got := slices.Sorted(maps.Keys(texts)); !slices.Equal(got, want) {
			t.Errorf("%s:\ngot  %v\nwant %v", name, got, want)
		}
		for key, text := range texts {
			if got, want := placeholders(text), placeholders(english[key]); !slices.Equal(got, want) {
				t.Errorf("%s: %s has the placeholders %v, want %v", name, key, got, want)
			}
			if strings.TrimSpace(text) != text || text == "" || strings.Contains(text, "  ") {
				t.Errorf("%s: %s is empty or has space at its ends: %q", name, key, text)
			}
			if isSentence := strings.HasSuffix(key, ".text"); isSentence != strings.HasSuffix(strings.TrimSpace(text), ".") &&
				!strings.HasSuffix(text, "?") {
				t.Errorf("%s: %s: sentences end with a dot or a question mark, titles and labels do not: %q", name, key, text)
			}
			if name != "en" && text == english[key] {
				t.Errorf("%s: %s is English: %q", name, key, text)
			}
		}
	}
}

// TestPagesSayNothingElse holds that neither the templates nor the code that makes pages has a text
// of its own.
func TestPagesSayNothingElse(t *testing.T) {
	notText := regexp.MustCompile(`(?s)\{\{.*?\}\}|<[^>]*>|&[a-z]+;`)
	for _, name := range []string{"frame.html", "page.html", "relay.html"} {
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if rest := strings.Trim(notText.ReplaceAllString(string(source), ""), " \n·"); rest != "" {
			t.Errorf("%s says %q", name, rest)
		}
	}
	pages := 0
	for _, pattern := range []string{"../../*.go", "../front/*.go", "../arrive/*.go", "*.go"} {
		files, _ := filepath.Glob(pattern) // the pattern is good
		for _, file := range files {
			if !strings.HasSuffix(file, "_test.go") {
				pages += checkPages(t, file)
			}
		}
	}
	if pages < 15 {
		t.Errorf("only %d pages found", pages)
	}
}

var spoken = []string{"Title", "Text", "Note", "Label"}

// checkPages returns how many values of type page.Page a file has.
func checkPages(t *testing.T, name string) (pages int) {
	t.Helper()
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	imports := slices.ContainsFunc(file.Imports, func(s *ast.ImportSpec) bool { return strings.HasSuffix(s.Path.Value, `internal/page"`) })
	if !imports && file.Name.Name != "page" {
		return 0
	}
	complain := func(field string, value ast.Expr) {
		literal, ok := value.(*ast.BasicLit)
		if ok && literal.Kind == token.STRING && slices.Contains(spoken, field) &&
			literal.Value != `"insufficient_user_authentication"` { // a code of RFC 9470, for scripts
			t.Errorf("%s: %s is %s; it belongs into words/*.json", set.Position(value.Pos()), field, literal.Value)
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CompositeLit:
			if s, ok := n.Type.(*ast.SelectorExpr); ok && fmt.Sprint(s.X) == "page" && s.Sel.Name == "Page" {
				pages++
			}
			for _, e := range n.Elts {
				if pair, ok := e.(*ast.KeyValueExpr); ok {
					if field, ok := pair.Key.(*ast.Ident); ok {
						complain(field.Name, pair.Value)
					}
				}
			}
		case *ast.AssignStmt:
			for i, left := range n.Lhs {
				if s, ok := left.(*ast.SelectorExpr); ok && len(n.Lhs) == len(n.Rhs) {
					complain(s.Sel.Name, n.Rhs[i])
				}
			}
		}
		return true
	})
	return pages
}

// TestWordsPage holds that docs/words.md has all texts.
func TestWordsPage(t *testing.T) {
	var b strings.Builder
	b.WriteString("# The texts of the pages\n\nEvery text on the gate's own pages, by its key. [pages.md](pages.md) says how an application " +
		"replaces one or adds a\nlanguage. This page is made from the code: `go test ./internal/page -run TestWordsPage -update`.\n\n" +
		"`.title` and `.text` are the title of a page and what it says; the others stand on links, on buttons and beside fields.\n" +
		"A word in braces is a placeholder: every language must have it. `provider.NAME` is the label of the provider of that\n" +
		"Name; where a language has none, it is the provider's `Label`.\n\n| key | " + strings.Join(builtIn, " | ") + " |\n| --- |" +
		strings.Repeat(" --- |", len(builtIn)) + "\n")
	for _, key := range keysInOrder(t) {
		fmt.Fprintf(&b, "| `%s` |", key)
		for _, name := range builtIn {
			fmt.Fprintf(&b, " %s |", readWords(name)[key])
		}
		b.WriteString("\n")
	}
	const file = "../../docs/words.md"
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil || string(got) != b.String() {
		t.Errorf("docs/words.md is not what this test makes (%v); run: go test ./internal/page -run TestWordsPage -update", err)
	}
}

// keysInOrder returns the keys as en.json lists them.
func keysInOrder(t *testing.T) []string {
	t.Helper()
	file, err := os.Open("words/en.json")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var keys []string
	d := json.NewDecoder(file)
	for {
		token, err := d.Token()
		if err != nil {
			return keys
		}
		if key, ok := token.(string); ok {
			keys = append(keys, key)
			_, _ = d.Token() // the text
		}
	}
}
