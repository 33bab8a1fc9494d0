package oidcgatetest_test

import (
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/cookiejar"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// A complete login: browser, service and provider run in one process and no port is opened. In a
// test, use NewProvider(t) instead of New and Close.
func Example() {
	p, err := oidcgatetest.New(oidcgatetest.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()
	p.AddClient(oidcgatetest.Client{
		ID: "shop", Secret: "a secret",
		RedirectURLs:           []string{"http://localhost/auth/callback"},
		PostLogoutRedirectURLs: []string{"http://localhost/auth/logout/done"},
	})
	p.SetUser(oidcgatetest.User{Subject: "bob", Claims: map[string]any{"groups": []string{"staff"}}})

	gate, err := oidcgate.New(oidcgate.Config{
		BaseURL: "http://localhost", // a loopback address needs neither Store nor Keys
		HTTP:    oidcgate.HTTPOptions{Transport: p.Transport()},
		Logger:  slog.New(slog.DiscardHandler),
	}, oidcgate.Provider{
		Issuer: p.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic("a secret"),
	})
	if err != nil {
		log.Fatal(err)
	}
	account := func(w http.ResponseWriter, r *http.Request) {
		id, _ := oidcgate.FromContext(r.Context())
		groups, _ := id.ClaimStrings("groups")
		fmt.Fprint(w, id.Subject(), " ", groups)
	}
	shop := gate.Wrap(gate.Require()(http.HandlerFunc(account)))

	jar, _ := cookiejar.New(nil)
	browser := &http.Client{Jar: jar, Transport: oidcgatetest.NewTransport(map[string]http.Handler{
		"localhost": shop,
		"id.test":   p,
	})}
	resp, err := browser.Get("http://localhost/account")
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	page, _ := io.ReadAll(resp.Body)
	fmt.Printf("%s %s %s\n", resp.Status, resp.Request.URL.Path, page)
	fmt.Println("logins:", p.Count(oidcgatetest.Authorization))
	// Output:
	// 200 OK /account bob [staff]
	// logins: 1
}

// The first request for the keys gets the error page of a load balancer; the second succeeds.
func ExampleProvider_Inject() {
	provider, err := oidcgatetest.New(oidcgatetest.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer provider.Close()
	provider.Inject(oidcgatetest.JWKS, oidcgatetest.Answer(502, "text/html", "<h1>Bad Gateway</h1>"))

	client := &http.Client{Transport: provider.Transport()}
	for range 2 {
		resp, err := client.Get(provider.Issuer() + "/jwks")
		if err != nil {
			fmt.Println(err)
			return
		}
		resp.Body.Close()
		fmt.Println(resp.Status, resp.Header.Get("Content-Type"))
	}
	// Output:
	// 502 Bad Gateway text/html
	// 200 OK application/json
}

// Every discovery document lacks one member.
func ExampleProvider_Always() {
	provider, err := oidcgatetest.New(oidcgatetest.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer provider.Close()
	provider.Always(oidcgatetest.Discovery, oidcgatetest.EditJSON(func(members map[string]any) {
		delete(members, "code_challenge_methods_supported")
	}))
}

// The first ID Token is for another client, and the second has an invalid signature.
func ExampleProvider_NextIDToken() {
	provider, err := oidcgatetest.New(oidcgatetest.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer provider.Close()
	provider.NextIDToken(func(t *oidcgatetest.JWT) { t.Claims["aud"] = "another client" })
	provider.NextIDToken((*oidcgatetest.JWT).CorruptSignature)
}
