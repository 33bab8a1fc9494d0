package oidcgatetest_test

import (
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"

	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// A complete login: browser, service and provider run in one process and no port is opened. In a
// test, use NewProvider(t) instead of New and Close.
func Example() {
	provider, err := oidcgatetest.New(oidcgatetest.Config{Issuer: "https://id.test"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer provider.Close()
	provider.AddClient(oidcgatetest.Client{
		ID:           "shop",
		Secret:       "a secret",
		RedirectURLs: []string{"https://shop.test/auth/callback"},
	})
	provider.SetUser(oidcgatetest.User{
		Subject: "bob",
		Claims:  map[string]any{"email": "bob@example.com", "groups": []string{"staff"}},
	})

	// This service takes the place of a handler with oidcgate, which would send its requests to the
	// provider through provider.Transport().
	service := http.NewServeMux()
	service.Handle("/account", http.RedirectHandler("https://id.test/authorize?"+url.Values{
		"client_id":             {"shop"},
		"response_type":         {"code"},
		"scope":                 {"openid"},
		"redirect_uri":          {"https://shop.test/auth/callback"},
		"state":                 {"af0ifjsldkj"},
		"code_challenge":        {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"},
		"code_challenge_method": {"S256"},
	}.Encode(), http.StatusSeeOther))
	service.HandleFunc("/auth/callback", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "welcome")
	})

	jar, _ := cookiejar.New(nil)
	browser := &http.Client{Jar: jar, Transport: oidcgatetest.NewTransport(map[string]http.Handler{
		"shop.test": service,
		"id.test":   provider,
	})}
	resp, err := browser.Get("https://shop.test/account")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status, resp.Request.URL.Path, resp.Request.URL.Query().Get("iss"))
	fmt.Println("logins:", provider.Count(oidcgatetest.Authorization))
	// Output:
	// 200 OK /auth/callback https://id.test
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
