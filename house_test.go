package oidcgate_test

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode"

	"github.com/oidcgate/oidcgate/internal/measure"
)

// columns is how wide a line may be. A tab is one column.
const columns = 100

// limits hold how the code is arranged: each find returns what breaks a rule, and at most so many
// may. internal/measure says which package may import which; make measures prints the numbers.
var limits = []struct {
	rule string
	most int
	find func(*measure.Module) []string
}{
	{"packages import only packages below them", 0, (*measure.Module).WrongImports},
	{"the root imports neither unsafe nor reflect", 0, (*measure.Module).UnsafeImports},
	{"other modules are imported only if listed", 0, foreignImports},
	{"the root does not call the store", 0, (*measure.Module).StoreCalls},
	{"lines of the root are short", 0, longInRoot},
	{"lines of internal, store, oidcgatetest, registration and presets are short", 0, longBelow},
	{"few files of the root use each other", 3, mutualPairs},
	{"doc.go explains files that use each other", 0, unexplainedPairs},
	{"the architecture lists each file of the root and of internal/front once", 0, wronglyListed},
	{"the architecture lists files as a request passes them", 0, outOfOrder},
}

// dependencies are the modules that the packages of this one may import. Another one needs a
// paragraph of why.
//
// golang.org/x/text/language chooses the language of a page: which of the languages that are there
// suits a list of preferences is decided by data of the Unicode consortium (gsw is served by de),
// not by equal beginnings. It is of the Go authors, brings no other module, and works only when a
// page is shown.
var dependencies = []string{
	"github.com/alexedwards/scs/v2",
	"github.com/coreos/go-oidc/v3",
	"github.com/go-jose/go-jose/v4",
	"github.com/redis/go-redis/v9",
	"golang.org/x/oauth2",
	"golang.org/x/text",
}

// architecture is the page that lists the files.
const architecture = "docs/architecture.md"

// stages are the files that a login passes, in the order in which the page lists them:
// configuration, every request, who may enter, to the provider, back, out, and what is told.
var stages = []string{
	"config.go", "middleware.go", "internal/front/visit.go", "require.go", "internal/front/login.go",
	"internal/front/callback.go", "internal/front/logout.go", "event.go",
}

// house reads the code once for all tests.
var house = sync.OnceValues(func() (*measure.Module, error) { return measure.Load(".") })

func TestHouse(t *testing.T) {
	m, err := house()
	if err != nil {
		t.Fatal(err)
	}
	if n := len(m.Packages); n < 8 {
		t.Fatalf("go list found only %d packages", n)
	}
	for _, l := range limits {
		t.Run(l.rule, func(t *testing.T) {
			if found := l.find(m); len(found) > l.most {
				t.Errorf("found %d, want at most %d:\n%s", len(found), l.most, firstFew(found))
			}
		})
	}
}

// TestRulesNameFiles holds that docs/rules.md says of every rule which files keep it, and that they
// exist. A name without a slash is a file or directory of the root.
func TestRulesNameFiles(t *testing.T) {
	page, err := os.ReadFile("docs/rules.md")
	if err != nil {
		t.Fatal(err)
	}
	rules := 0
	for line := range strings.Lines(string(page)) {
		if !strings.HasPrefix(line, "- **C") && !strings.HasPrefix(line, "- **F") {
			continue
		}
		rules++
		_, held, ok := strings.Cut(strings.TrimSpace(line), " Held in ")
		if !ok || !strings.HasSuffix(held, ".") {
			t.Errorf("it does not end with the files that keep it: %.60s", line)
			continue
		}
		held = strings.ReplaceAll(strings.TrimSuffix(held, "."), " and ", ", ")
		for name := range strings.SplitSeq(held, ", ") {
			if _, err := os.Stat(name); err != nil {
				t.Errorf("%.10s names a file that does not exist: %v", line, err)
			}
		}
	}
	if rules < 150 {
		t.Errorf("only %d rules found", rules)
	}
}

// firstFew joins the findings that fit on a screen.
func firstFew(found []string) string {
	const most = 25
	if len(found) > most {
		found = append(slices.Clone(found[:most]), fmt.Sprintf("and %d more", len(found)-most))
	}
	return "\t" + strings.Join(found, "\n\t")
}

func foreignImports(m *measure.Module) []string { return m.ForeignImports(dependencies) }

func longInRoot(m *measure.Module) []string { return measure.LongLines(m.Root(), columns) }

func longBelow(m *measure.Module) []string {
	return measure.LongLines(m.Below("internal", "store", "oidcgatetest", "registration", "presets"), columns)
}

func mutualPairs(m *measure.Module) []string {
	var all []string
	for _, p := range m.Pairs() {
		all = append(all, p.String())
	}
	return all
}

// unexplainedPairs returns the pairs of files that no sentence of doc.go names as "a.go and b.go".
func unexplainedPairs(m *measure.Module) []string {
	text := docText(m)
	var missing []string
	for _, p := range m.Pairs() {
		one, other := p.A+" and "+p.B, p.B+" and "+p.A
		if !strings.Contains(text, one) && !strings.Contains(text, other) {
			missing = append(missing, one)
		}
	}
	return missing
}

// wronglyListed returns the files of the root and of internal/front that the page does not list
// exactly once, and listed files that do not exist. A file below the root is listed with its path.
func wronglyListed(m *measure.Module) []string {
	list, err := fileList()
	if err != nil {
		return []string{err.Error()}
	}
	times := map[string]int{}
	for _, name := range list {
		times[name]++
	}
	var wrong []string
	for _, f := range slices.Concat(m.Root(), m.Below("internal")) {
		inRoot, inFront := !strings.Contains(f.Name, "/"), strings.HasPrefix(f.Name, "internal/front/")
		if n := times[f.Name]; (inRoot || inFront) && n != 1 && f.Name != "doc.go" {
			wrong = append(wrong, fmt.Sprintf("%s is listed %d times", f.Name, n))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(times)) {
		if !exists(m, name) {
			wrong = append(wrong, name+" is listed and does not exist")
		}
	}
	return wrong
}

func exists(m *measure.Module, name string) bool {
	return slices.ContainsFunc(m.Packages, func(p *measure.Package) bool {
		return slices.ContainsFunc(p.Files, func(f *measure.File) bool { return f.Name == name })
	})
}

// outOfOrder returns the stages that the page does not list, or lists before an earlier one.
func outOfOrder(*measure.Module) []string {
	list, err := fileList()
	if err != nil {
		return []string{err.Error()}
	}
	var wrong []string
	last := -1
	for _, name := range stages {
		at := slices.Index(list, name)
		if at <= last {
			wrong = append(wrong, name+" is missing or stands too early")
		}
		last = max(last, at)
	}
	return wrong
}

// fileList returns the files that the page names below "The files", in the lines that are indented.
func fileList() ([]string, error) {
	page, err := os.ReadFile(architecture)
	var names []string
	within := false
	for line := range strings.Lines(string(page)) {
		if heading, ok := strings.CutPrefix(line, "## "); ok {
			within = strings.TrimSpace(heading) == "The files"
		}
		if !within || !strings.HasPrefix(line, "    ") {
			continue
		}
		for _, word := range strings.FieldsFunc(line, separates) {
			if word = strings.TrimRight(word, "."); strings.HasSuffix(word, ".go") {
				names = append(names, word)
			}
		}
	}
	return names, err
}

func separates(r rune) bool {
	return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("._-/", r)
}

// docText returns the sentences of doc.go, without its lists and code.
func docText(m *measure.Module) string {
	var words []string
	for _, line := range docLines(m) {
		if !strings.HasPrefix(line, "//\t") {
			words = append(words, strings.Fields(strings.TrimPrefix(line, "//"))...)
		}
	}
	return strings.Join(words, " ")
}

func docLines(m *measure.Module) []string {
	for _, f := range m.Root() {
		if f.Name == "doc.go" {
			return f.Lines
		}
	}
	return nil
}
