package main

import (
	"context"
	"html"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/oidcgate/oidcgate/internal/redistest"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// visitor is a browser that uses a running demo.
type visitor struct {
	*testing.T
	shop    string
	browser *http.Client
}

var address = regexp.MustCompile(`http://localhost:\d+`)

// visit runs the demo on free ports, with the environment env, until the test ends.
func visit(t *testing.T, env map[string]string) *visitor {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	output, stdout := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, []string{"-addr", "127.0.0.1:0", "-provider-addr", "127.0.0.1:0"}, func(name string) string { return env[name] }, stdout)
		_ = stdout.Close()
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the demo ended with %v", err)
		}
	})
	welcome := make([]byte, 4096)
	n, _ := output.Read(welcome) // if run fails, there is no address in it
	shop := address.FindString(string(welcome[:n]))
	if shop == "" {
		t.Fatalf("the demo printed no address: %q", welcome[:n])
	}
	jar, _ := cookiejar.New(nil) // without options it cannot fail
	return &visitor{t, shop, &http.Client{Jar: jar}}
}

// page is the final response to a request, after redirects.
type page struct {
	status int
	url    *url.URL
	body   string
}

func (v *visitor) read(resp *http.Response, err error) page {
	v.Helper()
	if err != nil {
		v.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		v.Fatal(err)
	}
	return page{resp.StatusCode, resp.Request.URL, string(body)}
}

func (v *visitor) open(path string) page {
	v.Helper()
	return v.read(v.browser.Get(v.shop + path))
}

// choose requests a page of the shop, and chooses Teahouse ID and a person there.
func (v *visitor) choose(path, person string) page {
	v.Helper()
	return v.chooseAt("Teahouse ID", path, person)
}

// chooseAt requests a page of the shop, and chooses a provider and a person there.
func (v *visitor) chooseAt(provider, path, person string) page {
	v.Helper()
	choice := v.open(path)
	v.wants(choice, 200, "/auth/login", "Choose where you have your account.")
	if strings.Contains(choice.body, `id="login"`) {
		v.Error("the page that asks where to log in has another link to the login")
	}
	return v.login(v.follow(choice, provider), person)
}

// follow follows the link with that text or label.
func (v *visitor) follow(p page, text string) page {
	v.Helper()
	link := regexp.MustCompile(`<a [^>]*href="([^"]+)"(?: aria-label="` + text + `">|><strong>` + text + `<)`)
	m := link.FindStringSubmatch(p.body)
	if m == nil {
		v.Fatalf("no link %q at %s: %s", text, p.url, p.body)
	}
	return v.read(v.browser.Get(html.UnescapeString(m[1])))
}

// login chooses a person on a login page.
func (v *visitor) login(p page, person string) page {
	v.Helper()
	if !strings.Contains(p.body, "Who are you?") {
		v.Fatalf("got %d %s, want a login page", p.status, p.url)
	}
	return v.read(v.browser.PostForm(p.url.String(), url.Values{"person": {person}}))
}

func (v *visitor) logOut() {
	v.Helper()
	v.wants(v.read(v.browser.PostForm(v.shop+"/auth/logout?return_to=/", nil)), 200, "/", "Tea worth the voyage.")
}

func (v *visitor) wants(p page, status int, path, part string) {
	v.Helper()
	if p.status != status || p.url.Path != path || !strings.Contains(p.body, part) {
		v.Errorf("got %d %s %s, want %d %s with %q", p.status, p.url, p.body, status, path, part)
	}
	if !strings.Contains(p.body, "Tide &amp; Leaf</span>") {
		v.Errorf("%s is not in the style of the shop: %s", p.url, p.body)
	}
}

func TestAManagerEntersTheBackOffice(t *testing.T) {
	v := visit(t, nil)
	v.wants(v.choose("/office", "ada"), 200, "/office", "For managers only")
	v.wants(v.open("/"), 200, "/", "Good to see you, Ada Lindqvist.")
	account := v.open("/account")
	v.wants(account, 200, "/account", "ada@teashop.example")
	for _, part := range []string{"Ends if idle", `<span class="tag good">verified</span>`, `<span class="tag">managers</span>`, "userinfo", "preferred_username"} {
		if !strings.Contains(account.body, part) {
			t.Errorf("the account page lacks %q: %s", part, account.body)
		}
	}
}

func TestACustomerDoesNotEnterTheBackOffice(t *testing.T) {
	v := visit(t, nil)
	v.wants(v.choose("/account", "chiara"), 200, "/account", "not verified")
	v.wants(v.open("/office"), 403, "/office", "not for your account")
}

func TestARefusedCustomerLogsOutWithOneClick(t *testing.T) {
	v := visit(t, nil)
	v.choose("/account", "ben")
	refused := v.open("/office")
	_, card, _ := strings.Cut(refused.body, `<section class="card message"`)
	m := regexp.MustCompile(`<form method="post" action="([^"]+)"><button class="button">Log out<`).FindStringSubmatch(card)
	if m == nil {
		t.Fatalf("no button logs out: %s", card)
	}
	v.wants(v.read(v.browser.PostForm(html.UnescapeString(m[1]), nil)), 200, "/", "You are logged out.")
	if p := v.open("/"); strings.Contains(p.body, "You are logged out.") {
		t.Error("the next page says so again")
	}
}

func TestDevelopersSeeWhatTheGateKnows(t *testing.T) {
	v := visit(t, nil)
	v.choose("/account", "ben")
	if p := v.open("/"); !strings.Contains(p.body, `href="/auth/dev"`) {
		t.Errorf("no link to the page: %s", p.body)
	}
	p := v.open("/auth/dev")
	for _, part := range []string{"What the gate knows", "Ben Okafor", "Teahouse ID", "Harbour Pass", "login.succeeded", "Refresh tokens and re-read claims"} {
		if p.status != 200 || !strings.Contains(p.body, part) {
			t.Errorf("%d, and the page lacks %q: %s", p.status, part, p.body)
		}
	}
	p = v.read(v.browser.PostForm(v.shop+"/auth/dev", url.Values{"do": {"renew"}}))
	if !strings.Contains(p.body, "Done.") || !strings.Contains(p.body, "Ben Okafor") {
		t.Errorf("the tokens are not refreshed: %d %s", p.status, p.body)
	}
}

func TestWhoeverIsNobodyIsRefused(t *testing.T) {
	v := visit(t, nil)
	v.wants(v.choose("/account", ""), 403, "/auth/callback", "access_denied")
	v.wants(v.open("/"), 200, "/", "Tea worth the voyage.")
}

func TestABasketLastsAsLongAsTheSession(t *testing.T) {
	v := visit(t, nil)
	add := func() page {
		return v.read(v.browser.PostForm(v.shop+"/basket", url.Values{"tea": {"lapsang"}}))
	}
	v.choose("/account", "ben")
	v.wants(add(), 200, "/", "1 in basket")
	v.wants(add(), 200, "/", "2 in basket")
	v.wants(v.open("/basket"), 200, "/basket", "2 × € 11.00")
	v.wants(v.open("/basket"), 200, "/basket", "€ 22.00")
	v.logOut()
	v.wants(v.choose("/account", "ben"), 200, "/account", "Ben Okafor")
	v.wants(v.open("/basket"), 200, "/basket", "It is empty.")
	if p := v.open("/"); strings.Contains(p.body, "in basket") {
		t.Errorf("the basket of the last session is still there: %s", p.body)
	}
}

func TestAnotherProviderAndRedisTakeThePlaceOfTheBuiltIn(t *testing.T) {
	op := oidcgatetest.NewProvider(t)
	server := redistest.Start(t)
	v := visit(t, map[string]string{
		"OIDC_ISSUER": op.Server().URL, "OIDC_CLIENT_ID": "mine", "OIDC_CLIENT_SECRET": "a secret",
		"REDIS_URL": "redis://" + server.Addr, "ADMIN_GROUP": "board",
	})
	op.AddClient(oidcgatetest.Client{ID: "mine", Secret: "a secret", RedirectURLs: []string{v.shop + "/auth/callback"}})
	op.SetUser(oidcgatetest.User{Subject: "eve", Claims: map[string]any{"groups": []string{"board"}}})
	v.wants(v.open("/office"), 200, "/office", "For managers only")
	account := v.open("/account")
	v.wants(account, 200, "/account", op.Issuer())
	if strings.Contains(account.body, "Ways to log in") {
		t.Error("with one provider the account page has other ways to log in")
	}
	if n := server.Client(nil).DBSize(t.Context()).Val(); n == 0 {
		t.Error("Redis has no key, want the session there")
	}
}

func TestPagesForEverybody(t *testing.T) {
	v := visit(t, nil)
	v.wants(v.open("/nowhere"), 404, "/nowhere", "Nothing here")
	if p := v.open("/style.css"); p.status != 200 || !strings.Contains(p.body, ".provider") {
		t.Errorf("the stylesheet: got %d %q", p.status, p.body)
	}
}

func TestWhatTheDemoRefusesToStartWith(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	for _, row := range []struct {
		name string
		env  map[string]string
		want string
	}{
		{"a port of the shop that is taken", map[string]string{"ADDR": taken.Addr().String()}, "port " + port + " is in use by another program; stop that program, or choose another port with -addr or ADDR"},
		{"a port of the provider that is taken", map[string]string{"PROVIDER_ADDR": taken.Addr().String()}, "port " + port + " is in use by another program; stop that program, or choose another port with -provider-addr or PROVIDER_ADDR"},
		{"an address others can reach", map[string]string{"ADDR": "0.0.0.0:0"}, "other machines can reach"},
		{"every address of the machine", map[string]string{"ADDR": ":0"}, "other machines can reach"},
		{"no address", map[string]string{"ADDR": "8080"}, "is not an address"},
		{"a client without its provider", map[string]string{"OIDC_CLIENT_ID": "shop"}, "OIDC_ISSUER"},
		{"a provider without its client", map[string]string{"OIDC_ISSUER": "https://id.test"}, "demo: OIDC_CLIENT_ID: is empty"},
		{"a Redis that is no URL", map[string]string{"REDIS_URL": "localhost:6379"}, "REDIS_URL"},
		{"keys that are none", map[string]string{"SESSION_KEYS": "short"}, "SESSION_KEYS"},
	} {
		t.Run(row.name, func(t *testing.T) {
			getenv := func(name string) string {
				if value, ok := row.env[name]; ok {
					return value
				}
				return map[string]string{"ADDR": "127.0.0.1:0", "PROVIDER_ADDR": "127.0.0.1:0"}[name]
			}
			if err := run(t.Context(), nil, getenv, io.Discard); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got error %v, want %q in it", err, row.want)
			}
		})
	}
}
