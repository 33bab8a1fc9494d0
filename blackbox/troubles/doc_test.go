package troubles_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/oidcgate/oidcgate/blackbox/internal/process"
)

// A quotation that no test makes would stay as it is when the program says something else.
func TestEveryQuotationIsMade(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(process.ModuleDir(t), "..", "docs", "troubleshooting.md"))
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile("(?m)^<!-- made by a test: (.*) -->$").FindAllSubmatch(page, -1)
	if blocks := strings.Count(string(page), "```text\n"); blocks != len(names) || blocks == 0 {
		t.Errorf("%d blocks and %d names of tests", blocks, len(names))
	}
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var tests strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		tests.Write(text)
	}
	for _, name := range names {
		if !strings.Contains(tests.String(), `"`+string(name[1])+`"`) {
			t.Errorf("no test makes the quotation %q", name[1])
		}
	}
}
