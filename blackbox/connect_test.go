package blackbox_test

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/blackbox/internal/process"
	"github.com/oidcgate/oidcgate/blackbox/internal/rp"
	"github.com/oidcgate/oidcgate/blackbox/internal/visitor"
	"github.com/oidcgate/oidcgate/blackbox/internal/walk"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// social is a social network, behind a provider that lets visitors log in there. It sends them back
// with a code of its own.
type social struct {
	url string

	mu    sync.Mutex
	codes map[string]string // the user, by code; each is good once
	asked int
}

func newSocial(t *testing.T) *social {
	t.Helper()
	s := &social{codes: make(map[string]string)}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func (s *social) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	user := r.PostFormValue("username")
	if user == "" || user != r.PostFormValue("password") {
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprint(w, `<form method="post"><input name="username"><input name="password"></form>`)
		return
	}
	code := rand.Text()
	s.codes[code] = user
	http.Redirect(w, r, r.URL.Query().Get("back")+"&social_code="+code, http.StatusSeeOther)
}

// visits returns how many requests there were.
func (s *social) visits() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// user returns the user of a code, once.
func (s *social) user(code string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	user := s.codes[code]
	delete(s.codes, code)
	return user
}

// newConnect starts a provider for several applications of one company, in the way of Fewlines
// Connect: its login page leads to a social network.
func newConnect(t *testing.T, network *social) *product {
	t.Helper()
	p := &product{
		config: oidcgatetest.Config{AccessTokenLifetime: 2 * time.Second},
		endpoints: map[string]oidcgatetest.Endpoint{
			"/oauth/authorize": oidcgatetest.Authorization, "/oauth/token": oidcgatetest.Token, "/oauth/userinfo": oidcgatetest.Userinfo,
			"/.well-known/jwks.json": oidcgatetest.JWKS,
		},
		users: map[string]oidcgatetest.User{"alice": {Subject: "2f7c-alice", Claims: map[string]any{"name": "Alice Adams", "email": "alice@example.com", "email_verified": true}}},
	}
	p.first = func(w http.ResponseWriter, r *http.Request) {
		if name := network.user(r.URL.Query().Get("social_code")); name != "" {
			r.AddCookie(&http.Cookie{Name: p.cookie(), Value: name})
		}
	}
	p.loginPage = func(w http.ResponseWriter, r *http.Request) {
		back := url.Values{"back": {p.url + "/oauth/authorize?" + r.URL.RawQuery}}
		_, _ = fmt.Fprintf(w, `<a href="%s/login?%s">Log in with the network</a>`, network.url, back.Encode())
	}
	p.start(t)
	return p
}

// application starts a service that is a client of its own at the provider, on a host of its own, so
// that it shares no cookie.
func (p *product) application(t *testing.T, name string) *rp.Replica {
	t.Helper()
	port := strconv.Itoa(process.FreePort(t))
	base := "http://" + name + ".localhost:" + port
	p.AddClient(oidcgatetest.Client{ID: name, Secret: name + "'s secret", RedirectURLs: []string{base + "/auth/callback"}})
	return rp.Start(t, rp.Options{
		"BASE_URL": base, "ADDR": "127.0.0.1:" + port, "SESSION_KEYS": rp.NewKey(), "OIDC_PRESET": "fewlines", "OIDC_ISSUER": p.Issuer(),
		"OIDC_CLIENT_ID": name, "OIDC_CLIENT_SECRET": name + "'s secret",
	})
}

// Two applications log in at one provider, which has a social network behind it.
func TestConnectStyle(t *testing.T) {
	network := newSocial(t)
	p := newConnect(t, network)
	one, two := p.application(t, "one"), p.application(t, "two")
	alice := visitor.New()
	for _, a := range []*rp.Replica{one, two} {
		alice.Route(a.URL, a.Addr)
	}
	want := walk.Identity{Issuer: p.Issuer(), Subject: "2f7c-alice", Name: "Alice Adams", Email: "alice@example.com", EmailVerified: true}

	t.Run("C018 a link in the same tab leads through provider and network, and back with a code", func(t *testing.T) {
		home := alice.Get(t, one.URL+"/public")
		if strings.Contains(home.Body, "target=") {
			t.Errorf("the link opens another tab:\n%s", home.Body)
		}
		choice := alice.Get(t, home.Link("Log in"))
		asked := alice.Get(t, choice.Link("Log in with the network"))
		alice.HoldAt(one.URL + "/auth/callback")
		held := alice.LogIn(t, asked, "alice", "alice").Location()
		alice.HoldAt("")
		u, err := url.Parse(held)
		if err != nil || !strings.HasPrefix(held, one.URL+"/auth/callback?") || u.Query().Get("code") == "" || u.Query().Has("social_code") {
			t.Fatalf("logging in leads to %q", held)
		}
		if end := alice.Get(t, held); end.URL.String() != one.URL+"/app" || end.Status != http.StatusOK {
			t.Fatalf("logging in ends at %s with %d:\n%s", end.URL, end.Status, end.Body)
		}
		wantWhoami(t, alice, one.URL, want)
	})
	pages, visits := p.shown(), network.visits()
	t.Run("the other application shows no page", func(t *testing.T) {
		walk.Status(t, alice, two.URL+"/whoami", http.StatusUnauthorized)
		if end := alice.Get(t, two.URL+"/app?color=blue"); end.URL.String() != two.URL+"/app?color=blue" || end.Status != http.StatusOK {
			t.Errorf("/app of the other ends at %s with %d:\n%s", end.URL, end.Status, end.Body)
		}
		wantWhoami(t, alice, two.URL, want)
	})
	t.Run("C051 each refreshes the tokens of its own client", func(t *testing.T) {
		awaitNewToken(t, alice, one.URL)
		awaitNewToken(t, alice, two.URL)
		p.checkApplications(t)
	})
	t.Run("C117 a logout of one leaves the other", func(t *testing.T) {
		cookies := alice.Cookies(one.URL)
		if end := walk.LogOut(t, alice, one.URL); end.URL.String() != one.URL+"/public" {
			t.Errorf("logging out ends at %s", end.URL)
		}
		walk.Status(t, alice, one.URL+"/whoami", http.StatusUnauthorized)
		thief := visitor.New()
		thief.Route(one.URL, one.Addr)
		thief.SetCookies(one.URL, cookies)
		walk.Status(t, thief, one.URL+"/whoami", http.StatusUnauthorized)
		wantWhoami(t, alice, two.URL, want)
		if end := alice.Get(t, one.URL+"/app"); end.URL.String() != one.URL+"/app" || end.Status != http.StatusOK {
			t.Errorf("the provider's session is over: /app ends at %s with %d", end.URL, end.Status)
		}
	})
	if p.shown() != pages || network.visits() != visits {
		t.Errorf("after the first login the provider showed %d pages more, and the network got %d requests more", p.shown()-pages, network.visits()-visits)
	}
}

// checkApplications checks that both clients have sent a code and a refresh token, each with its own
// secret.
func (p *product) checkApplications(t *testing.T) {
	t.Helper()
	var sent []string
	for _, r := range p.requests(oidcgatetest.Token) {
		name, secret, _ := (&http.Request{Header: r.header}).BasicAuth()
		if secret, _ = url.QueryUnescape(secret); secret != name+"'s secret" {
			t.Errorf("a token request has %q with %q", name, secret)
		}
		sent = append(sent, name+" "+parseForm(t, r.body).Get("grant_type"))
	}
	for _, want := range []string{"one authorization_code", "one refresh_token", "two authorization_code", "two refresh_token"} {
		if !slices.Contains(sent, want) {
			t.Errorf("the token requests are %q, want %q among them", sent, want)
		}
	}
}
