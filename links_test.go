package oidcgate_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

// markdownLink finds the addresses of links in Markdown: [text](address).
var markdownLink = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// TestLinksInTheDocs holds that each link to a file of this repository leads to one, and to a
// heading of it where it names one.
func TestLinksInTheDocs(t *testing.T) {
	found := 0
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/providers/*.md"} {
		pages, err := filepath.Glob(pattern)
		if err != nil || len(pages) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, page := range pages {
			for _, m := range markdownLink.FindAllStringSubmatch(prose(t, page), -1) {
				if strings.Contains(m[1], "://") {
					continue
				}
				found++
				path, anchor, _ := strings.Cut(m[1], "#")
				target := page
				if path != "" {
					target = filepath.Join(filepath.Dir(page), path)
				}
				if _, err := os.Stat(target); err != nil {
					t.Errorf("%s: %s leads to no file", page, m[1])
				} else if anchor != "" && !anchors(t, target)[anchor] {
					t.Errorf("%s: %s leads to no heading", page, m[1])
				}
			}
		}
	}
	if found < 50 {
		t.Errorf("only %d links found", found)
	}
}

// prose returns a page without its blocks of code.
func prose(t *testing.T, page string) string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	code := false
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			code = !code
		} else if !code {
			b.WriteString(line)
		}
	}
	return b.String()
}

// anchors returns what the headings of a page are called in addresses: small letters, digits,
// hyphens and underscores, with a hyphen for each space, as GitHub makes them.
func anchors(t *testing.T, page string) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for line := range strings.Lines(prose(t, page)) {
		if !strings.HasPrefix(line, "#") {
			continue
		}
		heading := strings.ToLower(strings.TrimSpace(strings.TrimLeft(line, "#")))
		all[strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-', r == '_', unicode.IsLetter(r), unicode.IsDigit(r):
				return r
			}
			return -1
		}, heading)] = true
	}
	return all
}
