package site_test

import (
	"strings"
	"testing"

	"github.com/oidcgate/oidcgate/internal/check"
	"github.com/oidcgate/oidcgate/internal/site"
)

// complete completes a site, and returns its faults.
func complete(s site.Site) (site.Site, check.List) {
	var l check.List
	s.Complete(&l)
	return s, l
}

// wantFaults checks that there is one fault of a field, whose text has a part; "": there is none.
func wantFaults(t *testing.T, l check.List, field, part string) {
	t.Helper()
	if len(l) != min(len(field), 1) {
		t.Fatalf("the faults %v", l)
	}
	if len(l) > 0 && (l[0].Field != field || !strings.Contains(l[0].Text, part)) {
		t.Errorf("%v, want one of %s that says %q", l[0], field, part)
	}
}

func TestBaseURL(t *testing.T) {
	tests := []struct {
		name, address string
		allowHTTP     bool
		fault         string // a part of its text; "": none
		origin, path  string
		secure, local bool
	}{
		{"https", "https://shop.example", false, "", "https://shop.example", "", true, false},
		{"C017 as browsers write it", "https://Shop.example:443/", false, "", "https://shop.example", "", true, false},
		{"a port and a path", "https://shop.example:8443/a/b/", false, "", "https://shop.example:8443", "/a/b", true, false},
		{"http on this machine", "http://localhost:8080", false, "", "http://localhost:8080", "", false, true},
		{"https on this machine", "https://127.0.0.1", false, "", "https://127.0.0.1", "", true, true},
		{"http", "http://shop.example", false, "is http", "http://shop.example", "", false, false},
		{"http where it is allowed", "http://shop.example", true, "", "http://shop.example", "", false, false},

		{"empty", "", false, "is empty", "", "", false, false},
		{"a host", "shop.example", false, `write "https://shop.example"`, "", "", false, false},
		{"this machine", "localhost:8080", false, `write "http://localhost:8080"`, "", "", false, true},
		{"an IP address", "127.0.0.1", false, `write "http://127.0.0.1"`, "", "", false, true},
		{"a host and a path", "shop.example/a", false, `write "https://shop.example"`, "", "", false, false},
		{"this machine and a path", "localhost/a", false, `write "https://shop.example"`, "", "", false, false},
		{"not even a host", "a b", false, `write "https://shop.example"`, "", "", false, false},
		{"C016 a password", "u:hush@localhost", false, `write "https://shop.example"`, "", "", false, false},
		{"a query", "https://shop.example?x", false, "has a query", "https://shop.example", "", true, false},
		{"an empty query", "https://shop.example?", false, "has a query", "https://shop.example", "", true, false},
		{"a fragment", "https://shop.example#x", false, "fragment", "", "", false, false},
		{"dots", "https://shop.example/a/../b", false, "is not plain", "https://shop.example", "/a/../b", true, false},
		{"escaped dots", "https://shop.example/%2e%2e/b", false, "is not plain", "https://shop.example", "/%2e%2e/b", true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, l := complete(site.Site{BaseURL: tt.address, AllowHTTP: tt.allowHTTP})
			field := ""
			if tt.fault != "" {
				field = "BaseURL"
			}
			wantFaults(t, l, field, tt.fault)
			if s.Origin != tt.origin || s.BasePath != tt.path || s.Secure != tt.secure || s.Local != tt.local {
				t.Errorf("%+v", s)
			}
			if len(l) > 0 && strings.Contains(l[0].Text, "hush") {
				t.Errorf("the fault shows a password: %v", l[0])
			}
		})
	}
}

func TestPaths(t *testing.T) {
	tests := []struct {
		name, prefix, path string
		field              string // of the fault; "": none
	}{
		{"the defaults", "", "", ""},
		{"given", "/a/b-c_d.e~f", "/home?x=1", ""},
		{"no slash", "auth", "", "Site.Prefix"},
		{"a slash at the end", "/auth/", "", "Site.Prefix"},
		{"two slashes", "/a//b", "", "Site.Prefix"},
		{"an escape", "/a%20b", "", "Site.Prefix"},
		{"a pattern", "/{a}", "", "Site.Prefix"},
		{"dots", "/a/..", "", "Site.Prefix"},
		{"a hidden path", "/.auth", "", "Site.Prefix"},
		{"another site", "", "//evil.example", "Site.DefaultPath"},
		{"a path of the gate", "", "/auth/login", "Site.DefaultPath"},
		{"the longest", "", "/" + strings.Repeat("x", 199), ""},
		{"too long", "", "/" + strings.Repeat("x", 200), "Site.DefaultPath"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, l := complete(site.Site{BaseURL: "https://shop.example", Prefix: tt.prefix, DefaultPath: tt.path})
			wantFaults(t, l, tt.field, "")
			if tt.prefix == "" && s.Prefix != "/auth" || tt.path == "" && s.DefaultPath != "/" {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestCookieName(t *testing.T) {
	tests := []struct {
		name, base, cookie string
		field, want, older string
	}{
		{"the default", "https://shop.example", "", "", "__Host-Http-oidcgate", "__Host-oidcgate"},
		{"the default on http", "http://localhost", "", "", "oidcgate", ""},
		{"given", "https://shop.example", "__Host-Http-id", "", "__Host-Http-id", "__Host-id"},
		{"given without Http", "https://shop.example", "__Host-id", "", "__Host-id", ""},
		{"without a prefix", "https://shop.example", "id", "Site.CookieName", "id", ""},
		{"without a prefix on http", "http://localhost", "id", "", "id", ""},
		{"a prefix on http", "http://localhost", "__Secure-id", "Site.CookieName", "__Secure-id", ""},
		{"not a name", "https://shop.example", "__Host-a b", "Site.CookieName", "__Host-a b", ""},
		{"not a name on http", "http://localhost", "a;b", "Site.CookieName", "a;b", ""},
	}
	for _, tt := range tests {
		t.Run("C104 "+tt.name, func(t *testing.T) {
			s, l := complete(site.Site{BaseURL: tt.base, CookieName: tt.cookie})
			wantFaults(t, l, tt.field, "")
			if s.CookieName != tt.want || s.OlderCookie != tt.older {
				t.Errorf("the cookies %q and %q, want %q and %q", s.CookieName, s.OlderCookie, tt.want, tt.older)
			}
		})
	}
}

func TestAddresses(t *testing.T) {
	s, _ := complete(site.Site{BaseURL: "https://shop.example/a", DefaultPath: "/home"})
	for _, tt := range []struct{ got, want string }{
		{s.ProviderPath("/callback", ""), "/auth/callback"},
		{s.ProviderPath("/callback", "x"), "/auth/callback/x"},
		{s.URL("/b"), "https://shop.example/a/b"},
		{s.Home(), "https://shop.example/a/home"},
		{s.OwnURL("/login", ""), "https://shop.example/a/auth/login"},
		{s.OwnURL("/login", "/b?c=d&e"), "https://shop.example/a/auth/login?return_to=%2Fb%3Fc%3Dd%26e"},
		{s.Name(), "https://shop.example/a\x00__Host-oidcgate"},
	} {
		if tt.got != tt.want {
			t.Errorf("%q, want %q", tt.got, tt.want)
		}
	}
	s, _ = complete(site.Site{BaseURL: "http://localhost"})
	if got, want := s.Name(), "http://localhost\x00oidcgate"; got != want {
		t.Errorf("the name %q, want %q", got, want)
	}
}
