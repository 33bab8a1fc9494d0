package examples_test

import (
	"cmp"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// visitor is a browser that uses a running example. At the login page of the example's own provider
// it chooses the user as.
type visitor struct {
	*testing.T
	base string
	as   string
	http *http.Client
}

// page is the last answer to a request, after redirects and the login.
type page struct {
	status int
	path   string
	body   string
	header http.Header
}

// try builds and runs an example with what it has of its own, and env.
func try(t *testing.T, name string, env ...string) *visitor {
	t.Helper()
	addr := freeAddress(t)
	base := "http://" + addr
	start(t, name, append([]string{
		"ADDR=" + addr, "BASE_URL=" + base, "OIDC_ISSUER=", "OKTA_ISSUER=", "GITLAB_ISSUER=",
	}, env...)...)
	await(t, addr)
	return newVisitor(t, base)
}

func newVisitor(t *testing.T, base string) *visitor {
	jar, _ := cookiejar.New(nil) // without options it cannot fail
	return &visitor{T: t, base: base, as: "alice", http: &http.Client{Jar: jar}}
}

// send sends a request to the example, or to an absolute address. header are lines.
func (v *visitor) send(method, address, body string, header ...string) page {
	v.Helper()
	if strings.HasPrefix(address, "/") {
		address = v.base + address
	}
	r, err := http.NewRequestWithContext(v.Context(), method, address, strings.NewReader(body))
	if err != nil {
		v.Fatal(err)
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	p, at := v.read(v.http.Do(r))
	if strings.Contains(p.body, "Who are you?") {
		p, _ = v.read(v.http.PostForm(at.String(), url.Values{"user": {v.as}}))
	}
	return p
}

func (v *visitor) open(address string) page { v.Helper(); return v.send(http.MethodGet, address, "") }

// logOut posts the form that logs out.
func (v *visitor) logOut() page {
	v.Helper()
	return v.send(http.MethodPost, "/auth/logout?return_to=/", "", "Sec-Fetch-Site: same-origin")
}

func (v *visitor) read(resp *http.Response, err error) (page, *url.URL) {
	v.Helper()
	if err != nil {
		v.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		v.Fatal(err)
	}
	return page{resp.StatusCode, resp.Request.URL.Path, string(body), resp.Header}, resp.Request.URL
}

func (v *visitor) wants(p page, status int, path, part string) {
	v.Helper()
	if p.status != status || p.path != path || !strings.Contains(p.body, part) {
		v.Errorf("got %d %s %q, want %d %s with %q", p.status, p.path, p.body, status, path, part)
	}
}

func TestEchoWithItsOwnProvider(t *testing.T) {
	v := try(t, "echo")
	v.wants(v.open("/"), 200, "/", "Welcome, stranger.")
	v.wants(v.open("/account"), 200, "/account", "You are alice at http://localhost:")
	v.wants(v.open("/admin"), 200, "/admin", "You are an admin.")
	v.wants(v.logOut(), 200, "/", "Welcome, stranger.")
	v.as = "bob"
	v.wants(v.open("/admin"), 403, "/admin", "")
	v.wants(v.open("/"), 200, "/", "Welcome, Bob Example.")
}

func TestGroupsOfRoutes(t *testing.T) {
	v := try(t, "groups")
	v.wants(v.open("/"), 200, "/", "Welcome, stranger.")
	v.as = "" // nobody
	for _, path := range []string{"/account/", "/account/orders", "/account/nothing", "/staff/rota", "/staff/admin/"} {
		v.wants(v.open(path), 403, "/auth/callback", "Login cancelled")
	}
	v.as = "alice"
	v.wants(v.open("/staff/rota"), 200, "/staff/rota", "You work on Monday.")
	for path, text := range map[string]string{
		"/account/": "You are alice", "/account/orders": "You have no orders.",
		"/staff/": "You are one of the staff.", "/staff/admin/": "You are an admin.",
	} {
		v.wants(v.open(path), 200, path, text)
	}
	v.wants(v.open("/staff/nothing"), 404, "/staff/nothing", "")
	v.wants(v.logOut(), 200, "/", "Welcome, stranger.")
	v.as = "bob"
	v.wants(v.open("/staff/admin/"), 403, "/staff/admin/", "")
	v.wants(v.open("/staff/"), 200, "/staff/", "You are one of the staff.")
}

// linkTo returns the address of the link with that text.
func (v *visitor) linkTo(p page, text string) string {
	v.Helper()
	m := regexp.MustCompile(`<a [^>]*href="([^"]+)"[^>]*>` + regexp.QuoteMeta(text) + `[< ]`).FindStringSubmatch(p.body)
	if m == nil {
		v.Fatalf("no link %q in %s", text, p.body)
	}
	return strings.ReplaceAll(m[1], "&amp;", "&")
}

func TestProvidersAreChosenAndLinked(t *testing.T) {
	v := try(t, "providers")
	choice := v.open(v.linkTo(v.open("/"), "Log in"))
	v.wants(choice, 200, "/auth/login", "Choose where you have your account.")
	account := v.open(v.linkTo(choice, "GitLab"))
	v.wants(account, 200, "/account", "You are customer 1.")

	linked := v.open(v.linkTo(account, "Link your staff account"))
	v.wants(linked, 200, "/account", "You are customer 1.")
	v.wants(v.logOut(), 200, "/", "Welcome, stranger.")

	choice = v.open("/account")
	v.wants(choice, 200, "/auth/login", "used last time")
	again := v.open(v.linkTo(choice, "Staff"))
	v.wants(again, 200, "/account", "You are customer 1.")
	if linked.body == again.body {
		t.Error("the second login is with the first provider")
	}

	other := newVisitor(t, v.base)
	other.as = "bob"
	account = other.open(other.linkTo(other.open("/account"), "GitLab"))
	other.wants(account, 200, "/account", "You are customer 2.")
	other.as = "alice"
	taken := other.open(other.linkTo(account, "Link your staff account"))
	other.wants(taken, 403, "/auth/callback/staff", "That login belongs to another customer.")
	other.wants(other.open("/account"), 200, "/account", "You are customer 2.")
}

func TestProvidersOfTheEnvironment(t *testing.T) {
	addr := freeAddress(t)
	base := "http://" + addr
	env := []string{"ADDR=" + addr, "BASE_URL=" + base}
	for _, p := range []struct{ env, name string }{{"OKTA", "staff"}, {"GITLAB", "gitlab"}} {
		op := oidcgatetest.NewProvider(t)
		op.AddClient(oidcgatetest.Client{ID: "shop", Secret: p.name, RedirectURLs: []string{base + "/auth/callback/" + p.name}})
		op.SetUser(oidcgatetest.User{Subject: "user of " + p.name})
		env = append(env, p.env+"_ISSUER="+op.Server().URL, p.env+"_CLIENT_ID=shop", p.env+"_CLIENT_SECRET="+p.name)
	}
	start(t, "providers", env...)
	await(t, addr)
	for _, name := range []string{"staff", "gitlab"} {
		v := newVisitor(t, base)
		v.wants(v.open("/auth/login?return_to=/account&provider="+name), 200, "/account", "You are user of "+name)
	}
}

// tryAPI runs the example of an API, and returns the API's address too.
func tryAPI(t *testing.T, env ...string) (shop *visitor, api string) {
	t.Helper()
	addr := freeAddress(t)
	api = "http://" + addr
	v := try(t, "api", append([]string{"API_ADDR=" + addr, "API_URL=" + api}, env...)...)
	await(t, addr)
	return v, api
}

func TestShopCallsTheAPI(t *testing.T) {
	v, api := tryAPI(t)
	v.wants(v.open("/"), 200, "/", "Welcome, stranger.")
	v.wants(v.open("/orders"), 200, "/orders", "The API answers 200 OK\n"+`{"customer":"alice","orders":["tea","a pot"]}`)
	v.wants(v.open("/cancel"), 200, "/cancel", "The API answers 403 Forbidden\n")
	v.wants(v.open("/"), 200, "/", "Welcome, Alice Example.")
	stranger := v.open(api + "/orders") // with the session's cookie, which counts for nothing here
	v.wants(stranger, 401, "/orders", "")
	if got := stranger.header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "Bearer ") {
		t.Errorf("without a token: WWW-Authenticate is %q", got)
	}
	v.wants(v.logOut(), 200, "/", "Welcome, stranger.")
}

func TestAPITakesTokensOfTheProvider(t *testing.T) {
	op := oidcgatetest.NewProvider(t, oidcgatetest.Config{Introspection: true, AccessTokenAudience: "orders"})
	op.AddClient(oidcgatetest.Client{ID: "shop", Secret: "a secret"})
	v, api := tryAPI(t, "OIDC_ISSUER="+op.Server().URL, "OIDC_CLIENT_ID=shop", "OIDC_CLIENT_SECRET=a secret")
	token := func(changes map[string]any) string { return op.NewOpaqueToken(changes) }
	revoked := op.NewAccessToken(map[string]any{"scope": "orders:read"}).Compact()
	op.RevokeAccessToken(revoked)
	for _, row := range []struct {
		name, method, token string
		status              int
		challenge           string
	}{
		{"a token with both scopes reads", "GET", token(map[string]any{"scope": "orders:read orders:write"}), 200, ""},
		{"a token with both scopes cancels", "DELETE", token(map[string]any{"scope": "orders:read orders:write"}), 204, ""},
		{"a token to read does not cancel", "DELETE", token(map[string]any{"scope": "orders:read"}), 403, "insufficient_scope"},
		{"a token for another API", "GET", token(map[string]any{"scope": "orders:read", "aud": "mail"}), 401, "invalid_token"},
		{"a JWT", "GET", op.NewAccessToken(map[string]any{"scope": "orders:read"}).Compact(), 200, ""},
		{"a revoked JWT", "GET", revoked, 401, "invalid_token"},
		{"no token of the provider", "GET", "made-up", 401, "invalid_token"},
	} {
		t.Run(row.name, func(t *testing.T) {
			v := &visitor{T: t, base: v.base, http: v.http}
			p := v.send(row.method, api+"/orders", "", "Authorization: Bearer "+row.token)
			if got := p.header.Get("WWW-Authenticate"); p.status != row.status || !strings.Contains(got, row.challenge) {
				t.Errorf("got %d, %q; want %d with %q", p.status, got, row.status, row.challenge)
			}
		})
	}
}

// fetch sends what a script of the page sends, and decodes the JSON that comes back.
func (v *visitor) fetch(method, body string, header ...string) (status int, answer map[string]any) {
	v.Helper()
	header = append([]string{"Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty", "Sec-Fetch-Site: same-origin", "Referer: " + v.base + "/"}, header...)
	p := v.send(method, "/api/notes", body, header...)
	_ = json.Unmarshal([]byte(p.body), &answer) // an answer that is no JSON has none of the members
	return p.status, answer
}

func TestSPA(t *testing.T) {
	v := try(t, "spa")
	index := v.open("/")
	v.wants(index, 200, "/", `<script src="/app.js" type="module"></script>`)
	policy := index.header.Get("Content-Security-Policy")
	if !strings.Contains(policy, "default-src 'none'; script-src 'self';") || strings.Contains(policy, "unsafe") {
		t.Errorf("Content-Security-Policy is %q", policy)
	}

	status, problem := v.fetch("GET", "")
	login, err := url.Parse(cmp.Or(text(problem["login_url"]), "://"))
	if status != 401 || err != nil || login.Path != "/auth/login" {
		t.Fatalf("a stranger gets %d %v", status, problem)
	}
	if status, _ := v.fetch("POST", `{"text": "a stranger's"}`); status != 401 {
		t.Errorf("a stranger's note: got %d, want 401", status)
	}
	if back := login.Query().Get("return_to"); back != "/" {
		t.Errorf("the login leads back to %q, want the page", back)
	}
	v.wants(v.open(login.String()), 200, "/", "<title>Notes</title>")

	status, notes := v.fetch("POST", `{"text": "buy tea"}`)
	if status != 200 || notes["name"] != "Alice Example" {
		t.Errorf("a note: got %d %v", status, notes)
	}
	if status, _ := v.fetch("POST", `{"text": "a prank"}`, "Sec-Fetch-Site: cross-site"); status != 403 {
		t.Errorf("a note of another site's: got %d, want 403", status)
	}
	status, notes = v.fetch("GET", "")
	if list, _ := notes["notes"].([]any); status != 200 || len(list) != 1 || list[0] != "buy tea" {
		t.Errorf("the notes: got %d %v", status, notes)
	}

	out := v.send("POST", text(notes["logout_url"]), "", "Sec-Fetch-Site: same-origin")
	v.wants(out, 200, "/", "<title>Notes</title>")
	if status, _ := v.fetch("GET", ""); status != 401 {
		t.Errorf("after the logout: got %d, want 401", status)
	}
}

func text(v any) string { s, _ := v.(string); return s }
