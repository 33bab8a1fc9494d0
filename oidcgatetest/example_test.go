package oidcgatetest_test

import (
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"

	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// A test of a whole login: a browser, the service and the provider in one process, with
// nothing listening. In a test, NewProvider(t) takes the place of New and Close.
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

	// The service stands for a handler behind oidcgate, whose own requests to the
	// provider go through provider.Transport().
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

// The first request for keys gets a page of a load balancer, and the second one works.
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

// The discovery document loses a member for as long as the provider runs.
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

// One ID Token is for somebody else, and the next one has a signature that does not fit.
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
