package blackbox_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/blackbox/internal/idp"
	"github.com/oidcgate/oidcgate/blackbox/internal/rp"
	"github.com/oidcgate/oidcgate/blackbox/internal/visitor"
	"github.com/oidcgate/oidcgate/blackbox/internal/walk"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// choosable is one of several providers of a service. Users are alice, bob and carol; the passwords are the names.
type choosable struct {
	name    string
	options rp.Options
	spy     *spy
	asks    bool // after a logout it asks for the password again
	posts   bool // its responses

	identity func(user string) walk.Identity
}

func fullName(user string) string { return strings.ToUpper(user[:1]) + user[1:] + " Adams" }

// claimsOf are the claims of a user at every provider.
func claimsOf(user string) map[string]any {
	return map[string]any{"name": fullName(user), "email": user + "@example.com", "email_verified": true}
}

func identityAt(issuer, prefix string) func(user string) walk.Identity {
	return func(user string) walk.Identity {
		return walk.Identity{Issuer: issuer, Subject: prefix + user, Name: fullName(user), Email: user + "@example.com", EmailVerified: true, Groups: []string{}}
	}
}

var people = []string{"alice", "bob", "carol"}

// newNPM returns the npm provider.
func newNPM(t *testing.T, base string) *choosable {
	t.Helper()
	client := idp.NewClient("at-npm", "secret of npm", "client_secret_basic", base)
	client.RedirectURLs = []string{base + "/auth/callback/npm"}
	var users []idp.User
	for _, name := range people {
		claims := claimsOf(name)
		claims["sub"] = "npm-" + name
		users = append(users, idp.User{Login: name, Password: name, Claims: claims})
	}
	op, spy := startBehindSpy(t, idp.Config{Clients: []idp.Client{client}, Users: users, AlwaysRefreshToken: true, TTL: map[string]int{"AccessToken": 2}})
	return &choosable{name: "npm", spy: spy, asks: true, identity: identityAt(op.Issuer, "npm-"), options: rp.Options{
		"OIDC_ISSUER": op.Issuer, "OIDC_CLIENT_ID": client.ID, "OIDC_CLIENT_SECRET": client.Secret, "OIDC_SCOPES": "profile email", "OIDC_USERINFO": "required", "OIDC_PUSHED": "off",
	}}
}

// newHub returns a server of OAuth 2.0 in the way of GitHub: numbers as ids, no ID Tokens, no logout.
func newHub(t *testing.T) *choosable {
	t.Helper()
	p := &plainProvider{
		authorize: "/login/oauth/authorize", token: "/login/oauth/access_token", userinfo: "/user", auth: "post", pkce: true, users: map[string]string{},
		answer: map[string]any{"token_type": "bearer", "expires_in": 2, "scope": "read:user,user:email"},
	}
	for i, name := range people {
		p.users[name] = fmt.Sprintf(`{"id":%d,"login":%q,"name":%q}`, 583231+i, name, fullName(name))
	}
	spy := &spy{token: p.token}
	p.front = spy.in
	p.start(t)
	p.iss = p.url
	options := p.options(t, "id", "OIDC_SCOPES", "read:user user:email")
	return &choosable{name: "hub", spy: spy, options: options, identity: func(user string) walk.Identity {
		return walk.Identity{Issuer: p.url, Subject: fmt.Sprint(583231 + slices.Index(people, user)), Name: fullName(user), Groups: []string{}}
	}}
}

// newTest returns a provider of oidcgatetest.
func newTest(t *testing.T, base, name string, config oidcgatetest.Config, more ...string) *choosable {
	t.Helper()
	spy := &spy{token: "/token"}
	config.AccessTokenLifetime = 2 * time.Second
	p := &product{config: config, front: spy.in, users: map[string]oidcgatetest.User{}, endpoints: map[string]oidcgatetest.Endpoint{
		"/authorize": oidcgatetest.Authorization, "/token": oidcgatetest.Token, "/userinfo": oidcgatetest.Userinfo, "/jwks": oidcgatetest.JWKS, "/logout": oidcgatetest.EndSession,
	}}
	for _, user := range people {
		p.users[user] = oidcgatetest.User{Subject: name + "-" + user, Claims: claimsOf(user)}
	}
	p.start(t)
	p.AddClient(oidcgatetest.Client{ID: "at-" + name, Secret: "secret of " + name, RedirectURLs: []string{base + "/auth/callback/" + name}, PostLogoutRedirectURLs: []string{base + "/auth/logout/done"}})
	options := rp.Options{"OIDC_ISSUER": p.Issuer(), "OIDC_CLIENT_ID": "at-" + name, "OIDC_CLIENT_SECRET": "secret of " + name, "OIDC_SCOPES": "profile email"}
	return &choosable{name: name, spy: spy, asks: true, identity: identityAt(p.Issuer(), name+"-"), options: options.With(more...)}
}

// four is a service with providers that come and go.
type four struct {
	*rp.Replica
	dir string
	all []*choosable
}

func startFour(t *testing.T) *four {
	t.Helper()
	base := rp.NewBaseURL(t)
	two := newTest(t, base, "two", oidcgatetest.Config{Algorithm: "ES256"}, "OIDC_SIGNING_ALGS", "ES256", "OIDC_RESPONSE_MODE", "form_post")
	two.posts = true
	f := &four{dir: t.TempDir(), all: []*choosable{newNPM(t, base), newHub(t), newTest(t, base, "one", oidcgatetest.Config{}), two}}
	for _, c := range f.all {
		f.add(t, c)
	}
	f.Replica = rp.Start(t, rp.Options{"BASE_URL": base, "SESSION_KEYS": rp.NewKey(), "PROVIDERS": f.dir, "LINK": "true"})
	return f
}

func (f *four) add(t testing.TB, c *choosable) {
	t.Helper()
	writeProvider(t, f.dir, c.name, c.options.With("OIDC_LABEL", "Sign in with "+c.name))
}

// takeAway removes the file of a provider.
func (f *four) takeAway(t testing.TB, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(f.dir, name+".env")); err != nil {
		t.Fatal(err)
	}
}

// readAgain has the service read the files of its providers, and checks which there are.
func (f *four) readAgain(t testing.TB, want ...string) {
	t.Helper()
	resp, err := http.Post(f.URL+"/providers", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var answer struct{ Providers []string }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || !slices.Equal(answer.Providers, want) {
		t.Fatalf("/providers answers %d %q (%v), want %q", resp.StatusCode, answer.Providers, err, want)
	}
}

// choose opens a guarded page and chooses a provider.
func (f *four) choose(t testing.TB, v *visitor.Visitor, c *choosable) *visitor.Page {
	t.Helper()
	choice := v.Get(t, f.URL+"/app?color=blue")
	link := choice.Link("Sign in with " + c.name)
	if link == "" {
		t.Fatalf("the visitor cannot choose %s at %s:\n%s", c.name, choice.URL, choice.Body)
	}
	return v.Get(t, link)
}

func (f *four) logIn(t testing.TB, c *choosable, user string) *visitor.Visitor {
	t.Helper()
	v := visitor.New()
	if p := v.LogIn(t, f.choose(t, v, c), user, user); p.URL.String() != f.URL+"/app?color=blue" || p.Status != http.StatusOK {
		t.Fatalf("logging in with %s ends at %s with %d:\n%s\n%s", c.name, p.URL, p.Status, p.Body, f.Stderr())
	}
	return v
}

// One service has four providers: choose, log in, attach, log out, and replace them while visitors
// use the service. Codes of one provider never reach another.
func TestFourProviders(t *testing.T) {
	f := startFour(t)
	for _, c := range f.all {
		t.Run("choose, log in, refresh, log out: "+c.name, func(t *testing.T) { f.checkLife(t, c) })
	}
	t.Run("one account has an identity of each", f.checkAccount)
	for _, from := range f.all {
		for _, to := range f.all {
			if from != to && !from.posts { // what is posted passes through no address that can be changed
				t.Run("C032 a code of "+from.name+" at the callback of "+to.name, func(t *testing.T) { f.checkMixUp(t, from, to) })
			}
		}
	}
	t.Run("one is taken away and one is added while visitors use the service", f.checkTraffic)
	for _, c := range f.all {
		if c.spy.wantOwnCodes(t) == 0 {
			t.Errorf("C032 %s got no code", c.name)
		}
		for _, r := range c.spy.tokenRequests(t, "") {
			id, _, basic := (&http.Request{Header: r.header}).BasicAuth()
			if !basic {
				id = parseForm(t, r.body).Get("client_id")
			}
			if id != c.options["OIDC_CLIENT_ID"] || !strings.Contains(r.header.Get("Accept"), "application/json") {
				t.Errorf("C032 the token endpoint of %s got a request of %q with %v", c.name, id, r.header)
			}
		}
	}
}

func (f *four) checkLife(t *testing.T, c *choosable) {
	v := f.logIn(t, c, "alice")
	wantWhoami(t, v, f.URL, c.identity("alice"))
	awaitNewToken(t, v, f.URL)
	wantWhoami(t, v, f.URL, c.identity("alice"))
	if len(c.spy.tokenRequests(t, "refresh_token")) == 0 {
		t.Error("the provider was not asked to refresh")
	}
	cookies := v.Cookies(f.URL)
	if end := walk.LogOut(t, v, f.URL); end.URL.String() != f.URL+"/public" {
		t.Errorf("logging out ends at %s:\n%s", end.URL, end.Body)
	}
	walk.Status(t, v, f.URL+"/whoami", http.StatusUnauthorized)
	thief := visitor.New()
	thief.SetCookies(f.URL, cookies)
	walk.Status(t, thief, f.URL+"/whoami", http.StatusUnauthorized)
	if again := f.choose(t, v, c); (again.FormWith("password") != nil) != c.asks {
		t.Errorf("after a logout the next login leads to %s:\n%s", again.URL, again.Body)
	}
}

// checkAccount has bob attach the identities of all providers to that of the first, and log in with
// each.
func (f *four) checkAccount(t *testing.T) {
	first := f.logIn(t, f.all[0], "bob")
	number := accountOf(t, first, f.URL).Number
	for _, c := range f.all[1:] {
		link := accountOf(t, first, f.URL).Links[c.name]
		if end := first.LogIn(t, first.Get(t, link), "bob", "bob"); end.URL.String() != f.URL+"/account" || end.Status != http.StatusOK {
			t.Fatalf("attaching %s ends at %s with %d:\n%s", c.name, end.URL, end.Status, end.Body)
		}
		wantWhoami(t, first, f.URL, f.all[0].identity("bob"))
	}
	for _, c := range f.all {
		v := f.logIn(t, c, "bob")
		wantWhoami(t, v, f.URL, c.identity("bob"))
		if got := accountOf(t, v, f.URL); got.Number != number || len(got.Identities) != len(f.all) {
			t.Errorf("with %s the account is %+v, want number %d", c.name, got, number)
		}
	}
}

// checkMixUp takes the response of one provider to the callback of another, as a provider that wants
// the code of the other does (RFC 9700, section 4.4).
func (f *four) checkMixUp(t *testing.T, from, to *choosable) {
	v := visitor.New()
	mine, other := f.URL+"/auth/callback/"+from.name, f.URL+"/auth/callback/"+to.name
	v.HoldAt(mine + "?")
	held := v.LogIn(t, f.choose(t, v, from), "carol", "carol").Location()
	v.HoldAt("")
	if !strings.HasPrefix(held, mine+"?") {
		t.Fatalf("logging in with %s leads to %q", from.name, held)
	}
	before := len(to.spy.tokenRequests(t, ""))
	u, _ := url.Parse(held) // cannot fail
	withoutIss := u.Query()
	withoutIss.Del("iss")
	for _, response := range []string{withoutIss.Encode(), u.RawQuery} {
		if end := v.Get(t, other+"?"+response); end.Status < 400 || end.Status > 499 {
			t.Errorf("the response %q ends at %s with %d:\n%s", response, end.URL, end.Status, end.Body)
		}
	}
	walk.Status(t, v, f.URL+"/whoami", http.StatusUnauthorized)
	if n := len(to.spy.tokenRequests(t, "")); n != before {
		t.Errorf("the token endpoint of %s got %d requests", to.name, n-before)
	}
	f.injectCode(t, v, u.Query(), to)
}

// injectCode puts the code of a response into a response to a login at another provider.
func (f *four) injectCode(t *testing.T, v *visitor.Visitor, q url.Values, to *choosable) {
	t.Helper()
	if to.posts {
		return
	}
	state := ""
	p := f.choose(t, v, to)
	if p.FormWith("password") == nil {
		t.Fatalf("%s asks for no password, at %s", to.name, p.URL)
	}
	other := f.URL + "/auth/callback/" + to.name
	v.HoldAt(other + "?")
	if u, err := url.Parse(v.LogIn(t, p, "carol", "carol").Location()); err == nil {
		state = u.Query().Get("state")
	}
	v.HoldAt("")
	q.Set("state", state)
	responses := []string{q.Encode()}
	if to.name != "hub" { // which does not announce iss, so that a response may be without
		q.Del("iss")
		responses = []string{q.Encode(), responses[0]}
	}
	before := len(to.spy.tokenRequests(t, ""))
	for _, response := range responses {
		if end := v.Get(t, other+"?"+response); state == "" || end.Status < 400 || end.Status > 499 {
			t.Errorf("the response %q ends at %s with %d:\n%s", response, end.URL, end.Status, end.Body)
		}
	}
	walk.Status(t, v, f.URL+"/whoami", http.StatusUnauthorized)
	if n := len(to.spy.tokenRequests(t, "")); n != before {
		t.Errorf("the token endpoint of %s got %d requests", to.name, n-before)
	}
}

// checkTraffic takes the last provider away, adds a fifth, and brings the last back, while visitors
// of the others load pages.
func (f *four) checkTraffic(t *testing.T) {
	last := f.all[3]
	guest, beginner := f.logIn(t, last, "carol"), visitor.New()
	stop := f.browse(t)
	beginner.HoldAt(f.URL + "/auth/callback/hub?")
	held := beginner.LogIn(t, f.choose(t, beginner, f.all[1]), "carol", "carol").Location()
	beginner.HoldAt("")

	fifth := newTest(t, f.URL, "five", oidcgatetest.Config{})
	f.takeAway(t, last.name)
	f.add(t, fifth)
	f.readAgain(t, "five", "hub", "npm", "one")
	walk.Status(t, guest, f.URL+"/whoami", http.StatusUnauthorized)
	if page := visitor.New().Get(t, f.URL+"/app"); page.Link("Sign in with "+last.name) != "" || page.Link("Sign in with five") == "" {
		t.Errorf("the visitor chooses at %s:\n%s", page.URL, page.Body)
	}
	if end := beginner.Get(t, held); end.URL.String() != f.URL+"/app?color=blue" || end.Status != http.StatusOK {
		t.Errorf("a login that began before ends at %s with %d:\n%s", end.URL, end.Status, end.Body)
	}
	f.checkLife(t, fifth)

	f.takeAway(t, fifth.name)
	f.add(t, last)
	f.readAgain(t, "hub", "npm", "one", "two")
	wantWhoami(t, guest, f.URL, last.identity("carol"))
	stop()
	if fifth.spy.wantOwnCodes(t) != 1 {
		t.Error("the fifth provider got more or less than one code")
	}
}

// browse has visitors of three providers load pages until stop is called, which checks that each of
// them was signed in all the time.
func (f *four) browse(t *testing.T) (stop func()) {
	t.Helper()
	var group sync.WaitGroup
	var ended atomic.Bool
	counts := make([]atomic.Int64, 3)
	t.Cleanup(func() {
		ended.Store(true)
		group.Wait()
	})
	for i, c := range f.all[:3] {
		v := f.logIn(t, c, "alice")
		group.Go(func() {
			for !ended.Load() {
				for _, page := range []string{"/whoami", "/app", "/token"} {
					resp, err := v.Client().Get(f.URL + page)
					if err != nil {
						t.Errorf("a visitor of %s loads %s: %v", c.name, page, err)
						return
					}
					_ = resp.Body.Close()
					if resp.StatusCode != http.StatusOK {
						t.Errorf("a visitor of %s gets %d from %s", c.name, resp.StatusCode, page)
						return
					}
				}
				counts[i].Add(1)
			}
		})
	}
	return func() {
		eventually(t, "a visitor has loaded no page", func() bool {
			return !slices.ContainsFunc([]int{0, 1, 2}, func(i int) bool { return counts[i].Load() == 0 }) || t.Failed()
		})
		ended.Store(true)
		group.Wait()
	}
}
