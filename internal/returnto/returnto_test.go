package returnto_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/oidcgate/oidcgate/internal/returnto"
)

const (
	site      = "https://app.example"
	ownPrefix = "/auth"
)

// An entry is one line of the corpus: a value, where a browser goes with it, and what Check must say.
type entry struct {
	ID      string
	In      text
	Browser string
	Expect  string
	Reason  returnto.Reason
}

// text is a string, or {"repeat": [p, c, n]}: p followed by n times c.
type text string

func (t *text) UnmarshalJSON(b []byte) error {
	if b[0] == '"' {
		return json.Unmarshal(b, (*string)(t))
	}
	var long struct{ Repeat []any }
	if err := json.Unmarshal(b, &long); err != nil {
		return err
	}
	*t = text(long.Repeat[0].(string) + strings.Repeat(long.Repeat[1].(string), int(long.Repeat[2].(float64))))
	return nil
}

func corpus(t testing.TB) []entry {
	t.Helper()
	file, err := os.Open("testdata/return-to.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var entries []entry
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		var e entry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatalf("%s: %v", lines.Text(), err)
		}
		entries = append(entries, e)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if len(entries) == 0 {
		t.Fatal("the corpus is empty")
	}
	return entries
}

func TestCorpus(t *testing.T) {
	for _, e := range corpus(t) {
		t.Run(fmt.Sprintf("%s %s %s", e.ID, e.Expect, string(e.Reason)), func(t *testing.T) {
			wantPath, wantErr := "", error(e.Reason)
			if e.Expect == "accept" {
				wantPath, _, _ = strings.Cut(string(e.In), "#")
				wantErr = nil
			}
			check(t, string(e.In), ownPrefix, wantPath, wantErr)
		})
	}
}

func TestCheck(t *testing.T) {
	tests := []struct {
		name, value, ownPrefix string
		wantPath               string
		wantErr                error
	}{
		{"bytes that are not UTF-8 are refused", "/\xff", "/auth", "", returnto.ForbiddenByte},
		{"a lone continuation byte is refused", "/a\x80b", "/auth", "", returnto.ForbiddenByte},
		{"an escape whose first digit is none is refused", "/%g1", "/auth", "", returnto.BadEscape},
		{"an escape whose second digit is none is refused", "/%1g", "/auth", "", returnto.BadEscape},
		{"an escape that is cut off is refused", "/a%1", "/auth", "", returnto.BadEscape},
		{"a longer prefix guards its own routes", "/sso/oidc/login", "/sso/oidc", "", returnto.OwnRoute},
		{"a longer prefix leaves the folder above it free", "/sso/other", "/sso/oidc", "/sso/other", nil},
		{"a prefix that ends in a slash guards the same routes", "/auth/login", "/auth/", "", returnto.OwnRoute},
		{"a prefix that ends in a slash guards its own path", "/auth", "/auth/", "", returnto.OwnRoute},
		{"a letter that folds to one of the prefix is one of the prefix", "/%C5%BFso/login", "/sso", "", returnto.OwnRoute},
		{"without a prefix every path is the application's", "/auth/login", "", "/auth/login", nil},
		{"with the root as prefix every path is the application's", "/auth/login", "/", "/auth/login", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { check(t, tt.value, tt.ownPrefix, tt.wantPath, tt.wantErr) })
	}
}

func check(t *testing.T, value, ownPrefix, wantPath string, wantErr error) {
	t.Helper()
	path, err := returnto.Check(value, ownPrefix)
	if path != wantPath || err != wantErr {
		t.Errorf("Check(%.80q, %q) = %.80q, %v; want %.80q, %v", value, ownPrefix, path, err, wantPath, wantErr)
	}
}

func TestReasonsRepeatNothingOfTheValue(t *testing.T) {
	_, err := returnto.Check("//evil.example", ownPrefix)
	if got, want := err.Error(), "return path refused: network_path"; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
}

// TestStandInBrowserGoesWhereBrowsersGo checks that browse gives the results that the corpus records for real browsers.
// FuzzCheck depends on it.
func TestStandInBrowserGoesWhereBrowsersGo(t *testing.T) {
	for _, e := range corpus(t) {
		want := strings.TrimSuffix(e.Browser, " (userinfo)") == site
		if got, _ := browse(string(e.In)); (got == site) != want {
			t.Errorf("%s: browse(%.80q) goes to %q, a browser to %q", e.ID, e.In, got, e.Browser)
		}
	}
}

// FuzzCheck checks that every accepted path is on this site and outside the gate's own routes, and
// that a browser and net/http read it in the same way.
func FuzzCheck(f *testing.F) {
	for _, e := range corpus(f) {
		f.Add(string(e.In))
	}
	f.Fuzz(func(t *testing.T, value string) {
		path, err := returnto.Check(value, ownPrefix)
		if err != nil {
			if path != "" {
				t.Errorf("Check(%q) refuses with %v and still gives %q", value, err, path)
			}
			return
		}
		if again, err := returnto.Check(path, ownPrefix); again != path || err != nil {
			t.Errorf("Check(%q) = %q, but checked again it is %q, %v", value, path, again, err)
		}
		leadsHere(t, path)
		routesToApplication(t, path)
	})
}

// leadsHere fails unless a browser stays on the site and requests exactly the path that was
// checked: as a relative reference, after the origin as the gate sends it, and after a base path.
func leadsHere(t *testing.T, path string) {
	t.Helper()
	plain, _, _ := strings.Cut(path, "?")
	for _, before := range []struct{ origin, base string }{{"", ""}, {site, ""}, {site, "/shop"}} {
		gotOrigin, gotPath := browse(before.origin + before.base + path)
		if gotOrigin != site || gotPath != before.base+plain {
			t.Errorf("%q behind %q leads a browser to %q on %q", path, before.origin+before.base, gotPath, gotOrigin)
		}
	}
}

// routesToApplication fails when net/http cannot parse path, or when its router sends it to the
// gate or redirects it to a cleaned path.
func routesToApplication(t *testing.T, path string) {
	t.Helper()
	u, err := url.ParseRequestURI(path)
	if err != nil {
		t.Fatalf("net/http refuses %q: %v", path, err)
	}
	mux := http.NewServeMux()
	mux.Handle(ownPrefix+"/", http.NotFoundHandler())
	mux.Handle("/", http.NotFoundHandler())
	r := &http.Request{Method: http.MethodGet, URL: u}
	if _, pattern := mux.Handler(r); pattern != "/" {
		t.Errorf("%q is routed to %q", path, pattern)
	}
}

func BenchmarkCheck(b *testing.B) {
	for _, path := range []string{"/account/orders?page=2", "/caf%C3%A9/menu"} {
		b.Run(path, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := returnto.Check(path, ownPrefix); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
