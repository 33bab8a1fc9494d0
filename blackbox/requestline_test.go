package blackbox_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/blackbox/internal/idp"
	"github.com/oidcgate/oidcgate/blackbox/internal/rp"
	"github.com/oidcgate/oidcgate/blackbox/internal/visitor"
	"github.com/oidcgate/oidcgate/blackbox/internal/walk"
)

// targets are request targets that would send a browser to another site if they were used as
// Location.
var targets = []string{
	"//evil.example/x",
	`/\evil.example/x`,
	`/\/evil.example/x`,
	`\\evil.example/x`,
	"///evil.example/x",
	"/%2f/evil.example/x",
	"/%5cevil.example/x",
	"/mounted//evil.example/x",
	`/mounted/\evil.example/x`,
	"/app/..//evil.example/x",
	"http://evil.example/x",
	"/auth/login?return_to=//evil.example/x",
	"/auth/login?return_to=/%5cevil.example/x",
	"/auth/login?return_to=http://evil.example/x",
	"/auth/logout?return_to=//evil.example/x",
	"//evil.example/auth/login",
	"//evil.example/app",
	"http://evil.example/app",
	`/\evil.example/../app`,
}

// A redirect leads only to this site or to the provider, never to a host that the request line
// names.
func TestRequestLinesThatNameAnotherSite(t *testing.T) {
	options, client := newShop(t)
	op := idp.Start(t, idp.Config{Clients: []idp.Client{client}})
	for _, router := range []string{"mux", "chi", "gin"} {
		t.Run(router, func(t *testing.T) {
			shop := rp.Start(t, options.With("OIDC_ISSUER", op.Issuer, "ROUTER", router))
			alice := visitor.New()
			walk.LogIn(t, alice, shop.URL+"/app", idp.Alice)
			for who, cookies := range map[string][]*http.Cookie{"a stranger": nil, "a customer": alice.Cookies(shop.URL)} {
				for _, target := range targets {
					t.Run(who+" sends GET "+target, func(t *testing.T) {
						resp := sendLine(t, shop, target, cookies)
						wantHere(t, resp, shop.URL, op.Issuer)
					})
				}
			}
			wantReturnHere(t, shop)
		})
	}
}

// sendLine sends a request line unchanged. The clients of the standard library would change it.
func sendLine(t *testing.T, shop *rp.Replica, target string, cookies []*http.Cookie) *http.Response {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(exchange(t, shop.URL, target, cookies))), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp
}

// exchange returns the bytes of the response to a request for target.
func exchange(t *testing.T, base, target string, cookies []*http.Cookie) []byte {
	t.Helper()
	host := strings.TrimPrefix(base, "http://")
	conn, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	request := "GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\nAccept: text/html\r\nConnection: close\r\n"
	for _, c := range cookies {
		request += fmt.Sprintf("Cookie: %s=%s\r\n", c.Name, c.Value)
	}
	if _, err := io.WriteString(conn, request+"\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// wantHere resolves the Location as browsers do, which read a backslash as a slash, and fails if it
// leads to another site.
func wantHere(t *testing.T, resp *http.Response, base, issuer string) {
	t.Helper()
	location := resp.Header.Get("Location")
	if location == "" {
		if resp.StatusCode >= 500 {
			t.Errorf("answers %d", resp.StatusCode)
		}
		return
	}
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	to, err := u.Parse(strings.ReplaceAll(location, `\`, "/"))
	if err != nil {
		t.Fatalf("Location %q: %v", location, err)
	}
	if origin := to.Scheme + "://" + to.Host; origin != base && origin != issuer {
		t.Errorf("answers %d with Location %q, which leads to %s", resp.StatusCode, location, origin)
	}
}

// wantReturnHere logs in with a return path that names another site and fails unless the login ends
// on this site.
func wantReturnHere(t *testing.T, shop *rp.Replica) {
	t.Helper()
	for _, returnTo := range []string{"//evil.example/x", `/\evil.example/x`, "http://evil.example/x"} {
		v := visitor.New()
		p := v.Get(t, shop.URL+"/auth/login?return_to="+url.QueryEscape(returnTo))
		if p = v.LogIn(t, p, idp.Bob.Login, idp.Bob.Password); p.URL.String() != shop.URL+"/" {
			t.Errorf("a login that was to return to %s ends at %s, want the home page", returnTo, p.URL)
		}
	}
}
