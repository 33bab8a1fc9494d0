package troubles_test

import (
	"html"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/blackbox/internal/process"
)

// quote is what a trouble looks like, as docs/troubleshooting.md shows it.
type quote struct {
	words *strings.Replacer // stable words for what is another at every run
	text  strings.Builder
}

// newQuote returns an empty quote. words are pairs: what is another at every run, and what stands
// for it.
func newQuote(words ...string) *quote { return &quote{words: strings.NewReplacer(words...)} }

var (
	heading   = regexp.MustCompile(`<h1>(.*?)</h1><p>(.*?)</p>`)
	attribute = regexp.MustCompile(`([a-z_]+)=("(?:[^"\\]|\\.)*"|\S*)`)
	anyName   = regexp.MustCompile(`^(reference|sub_hash|session_ref)=.+`)
	minutes   = regexp.MustCompile(`\b(\d+)m(\d+)s\b`)
)

// stable returns an attribute with the same word for every reference and hash, and with whole
// minutes: a test takes a moment. Times are written as the program writes them.
func stable(attribute string) string {
	attribute = anyName.ReplaceAllString(attribute, "$1=...")
	return minutes.ReplaceAllStringFunc(attribute, func(s string) string {
		d, err := time.ParseDuration(s)
		if err != nil {
			return s
		}
		return d.Round(time.Minute).String()
	})
}

// page quotes a page of the gate.
func (q *quote) page(t *testing.T, status int, body string) {
	t.Helper()
	m := heading.FindStringSubmatch(body)
	if m == nil {
		t.Fatalf("no page of the gate, with status %d:\n%s", status, body)
	}
	q.text.WriteString("page: " + strconv.Itoa(status) + " " + html.UnescapeString(m[1]) + "\n  " + html.UnescapeString(m[2]) + "\n")
}

// line quotes the first line of a log that has all of some texts. It waits for it: events are
// logged in the background.
func (q *quote) line(t *testing.T, log func() string, texts ...string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		for line := range strings.Lines(log()) {
			if has(line, texts) && strings.HasSuffix(line, "\n") {
				q.attributes(t, line)
				return
			}
		}
	}
	t.Fatalf("no line has %q:\n%s", texts, log())
}

func has(line string, texts []string) bool {
	for _, text := range texts {
		if !strings.Contains(line, text) {
			return false
		}
	}
	return true
}

// attributes writes one attribute of a log line on each line.
func (q *quote) attributes(t *testing.T, line string) {
	t.Helper()
	indent := "log:  "
	for _, a := range attribute.FindAllString(line, -1) {
		if strings.HasPrefix(a, "time=") {
			continue
		}
		q.text.WriteString(indent + q.words.Replace(stable(a)) + "\n")
		indent = "      "
	}
}

// check compares the quote with the one of that name in docs/troubleshooting.md, or writes it.
func (q *quote) check(t *testing.T, name string) {
	t.Helper()
	file := filepath.Join(process.ModuleDir(t), "..", "docs", "troubleshooting.md")
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	begin := "<!-- made by a test: " + name + " -->\n```text\n"
	before, rest, ok := strings.Cut(string(page), begin)
	quoted, after, closed := strings.Cut(rest, "```\n")
	if !ok || !closed {
		t.Fatalf("docs/troubleshooting.md has no %q; the program says:\n%s", begin, q.text.String())
	}
	if quoted == q.text.String() {
		return
	}
	if !*update {
		t.Errorf("docs/troubleshooting.md quotes\n%s\nand the program says\n%s\nIf that is right, run in blackbox: "+
			"go test ./troubles -update", quoted, q.text.String())
		return
	}
	if err := os.WriteFile(file, []byte(before+begin+q.text.String()+"```\n"+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
