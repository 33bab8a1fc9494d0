package weburl_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/oidcgate/oidcgate/internal/weburl"
)

func TestCheck(t *testing.T) {
	for _, row := range []struct {
		name, address string
		allowHTTP     bool
		want          error
	}{
		{"C003 https", "https://id.example/authorize?x=1", false, nil},
		{"C003 a port", "https://id.example:8443/", false, nil},
		{"C003 an IPv6 address", "https://[2001:db8::1]:8443/", false, nil},
		{"C003 a name with an underscore", "https://my_keycloak:8443/", false, nil},
		{"C003 a name of another script, as DNS has it", "https://xn--bcher-kva.example/", false, nil},
		{"C003 http on loopback", "http://127.0.0.1:8080/", false, nil},
		{"C003 http on localhost", "http://localhost/", false, nil},
		{"C003 http on LOCALHOST", "http://LOCALHOST/", false, nil},
		{"C003 http on a name below localhost", "http://id.localhost:8080/", false, nil},
		{"C003 http on ::1", "http://[::1]/", false, nil},
		{"C003 http where it is allowed", "http://id.example/", true, nil},

		{"C003 http", "http://id.example/", false, weburl.ErrHTTP},
		{"C003 http on a name like localhost", "http://notlocalhost/", false, weburl.ErrHTTP},
		{"C003 http on a name that begins like localhost", "http://localhost.example/", false, weburl.ErrHTTP},
		{"C003 empty", "", false, weburl.ErrNotAbsolute},
		{"C003 no scheme", "id.example/authorize", false, weburl.ErrNotAbsolute},
		{"C003 another scheme", "ftp://id.example/", true, weburl.ErrNotAbsolute},
		{"C003 no host", "https:///authorize", false, weburl.ErrNotAbsolute},
		{"C003 a port alone", "https://:443/", false, weburl.ErrNotAbsolute},
		{"C003 a line break", "https://id.example/\n", false, weburl.ErrNotAbsolute},
		{"C003 user information", "https://user@id.example/", false, weburl.ErrParts},
		{"C003 a fragment", "https://id.example/#x", false, weburl.ErrParts},
		{"C003 an empty fragment", "https://id.example/#", false, weburl.ErrParts},
		{"C003 2049 bytes", "https://id.example/" + strings.Repeat("x", 2049-19), false, weburl.ErrTooLong},
		{"C003 2048 bytes", "https://id.example/" + strings.Repeat("x", 2048-19), false, nil},

		{"C003 a host that ends a directive", "https://x;sandbox/", false, weburl.ErrHost},
		{"C003 a host that ends a policy", "https://x,evil/", false, weburl.ErrHost},
		{"C003 a host that is any host", "https://*/", false, weburl.ErrHost},
		{"C003 a host with a quote", "https://x'y/", false, weburl.ErrHost},
		{"C003 a host with a double quote", "https://x\"y/", false, weburl.ErrHost},
		{"C003 a host with an encoded byte", "https://x%C3%BC/", false, weburl.ErrHost},
		{"C003 a zone with a semicolon", "https://[fe80::1%25x;sandbox]/", false, weburl.ErrHost},
		{"C003 a host with a space", "https://x y/", false, weburl.ErrNotAbsolute},
	} {
		t.Run(row.name, func(t *testing.T) {
			u, err := weburl.Check(row.address, row.allowHTTP)
			if !errors.Is(err, row.want) {
				t.Errorf("Check(%q) returned %v, want %v", row.address, err, row.want)
			}
			if known := u != nil; known != (row.want == nil || row.want == weburl.ErrHTTP) {
				t.Errorf("Check(%q) returned the URL %v", row.address, u)
			}
		})
	}
}

func TestOrigin(t *testing.T) {
	for address, want := range map[string]string{
		"https://ID.example/x?y":     "https://id.example",
		"https://id.example:443/x":   "https://id.example",
		"https://id.example:/x":      "https://id.example",
		"https://id.example:80/x":    "https://id.example:80",
		"http://id.example:80":       "http://id.example",
		"https://[2001:DB8::1]:443/": "https://[2001:db8::1]",
		"/x":                         "",
	} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		if got := weburl.Origin(u); got != want {
			t.Errorf("the origin of %s is %q, want %q", address, got, want)
		}
	}
}
