package browser_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net/http"
	"testing"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
	"github.com/oidcgate/oidcgate/store"
)

// The users on the provider's login page.
var users = map[string]oidcgatetest.User{
	"alice": {Subject: "alice", Claims: map[string]any{"name": "Alice Example"}},
	"bob":   {Subject: "bob", Claims: map[string]any{"name": "Bob Example"}},
}

// openShop serves a shop with a new gate at shop.test and a provider with a login page at id.test,
// and returns the provider. It serves pages of an attacker at evil.test. Each change edits what the
// gate knows of the provider.
func openShop(
	t *testing.T, s *sites, sessions store.Store, changes ...func(*oidcgate.Provider),
) *oidcgatetest.Provider {
	t.Helper()
	op := oidcgatetest.NewProvider(t, oidcgatetest.Config{Issuer: idURL, Algorithm: "ES256", LoginPage: loginPage})
	op.AddClient(oidcgatetest.Client{
		ID:                     "shop",
		Secret:                 "the shop's secret",
		RedirectURLs:           []string{shopURL + "/auth/callback"},
		PostLogoutRedirectURLs: []string{shopURL + "/auth/logout/done"},
	})
	provider := oidcgate.Provider{
		Issuer:       idURL,
		ClientID:     "shop",
		Auth:         oidcgate.ClientSecretBasic("the shop's secret"),
		Scopes:       []string{"profile"},
		Verification: oidcgate.Verification{SigningAlgs: []string{"ES256"}},
	}
	for _, change := range changes {
		change(&provider)
	}
	gate, err := oidcgate.New(oidcgate.Config{
		BaseURL: shopURL,
		Store:   sessions,
		Keys:    newKeys(t),
		HTTP:    oidcgate.HTTPOptions{Transport: s.transport(t)},
		Logger:  slog.New(slog.NewTextHandler(t.Output(), nil)),
	}, provider)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeGate(t, gate) })
	s.id.serve(op)
	s.shop.serve(gate.Wrap(shop(gate)))
	s.evil.serve(http.HandlerFunc(serveEvil))
	return op
}

// closeGate waits for the gate's events, which are logged to the test.
func closeGate(t *testing.T, gate *oidcgate.Gate) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := gate.Wait(ctx); err != nil {
		t.Errorf("closing the gate: %v", err)
	}
}

func newKeys(t *testing.T) oidcgate.Keys {
	t.Helper()
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	keys, err := oidcgate.ParseKeys(base64.StdEncoding.EncodeToString(key))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// loginPage has a button for each user and a button to cancel.
func loginPage(w http.ResponseWriter, r *http.Request, login *oidcgatetest.Login) {
	if r.Method != http.MethodPost {
		writePage(w, "Who are you?", `<form method="post">
			<button id="alice" name="user" value="alice">Alice</button>
			<button id="bob" name="user" value="bob">Bob</button>
			<button id="nobody" name="user" value="">Cancel</button></form>`)
		return
	}
	user, ok := users[r.PostForm.Get("user")]
	if !ok {
		login.Refuse("access_denied", "")
		return
	}
	login.Proceed(user)
}

// shop is an application with a home page for everybody, and an account page and orders for
// signed-in users.
func shop(gate *oidcgate.Gate) http.Handler {
	logout := fmt.Sprintf(`<form method="post" action="%s"><button id="logout">Log out</button></form>`, gate.LogoutURL(""))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", showPage("Home", `<a id="account" href="/account">Account</a>
		<form method="post" action="/orders"><input name="item" value="tea"><button id="order">Order</button></form>`))
	mux.Handle("GET /account", gate.Require()(showPage("Account", logout)))
	mux.Handle("GET /orders", gate.Require()(showPage("Orders", logout)))
	mux.Handle("POST /orders", gate.Require()(showPage("Ordered", "")))
	mux.HandleFunc("GET /embeds", showPage("Embeds", `<img src="/account" alt=""><iframe src="/account"></iframe>
		<script src="/account"></script>`))
	return mux
}

// showPage says who is signed in, above the rest of its body.
func showPage(title, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		who := "nobody"
		if id, ok := oidcgate.FromContext(r.Context()); ok {
			who = id.Name()
		}
		writePage(w, title, `<p id="who">`+html.EscapeString(who)+`</p>`+body)
	}
}

func writePage(w http.ResponseWriter, title, body string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = io.WriteString(w, `<!DOCTYPE html><html lang="en"><title>`+title+`</title><link rel="icon" href="data:,"><h1>`+title+`</h1>`+body)
}

// serveEvil shows what another site can do with an address of the shop: link to it, show it as an image, post
// a form to it, put it into a frame.
func serveEvil(w http.ResponseWriter, r *http.Request) {
	target := html.EscapeString(r.URL.Query().Get("to"))
	body, ok := map[string]string{
		"/link":  `<a id="go" href="%s">A prize</a>`,
		"/image": `<img src="%s" alt="">`,
		"/form":  `<form method="post" action="%s"><button id="go">A prize</button></form>`,
		"/frame": `<iframe src="%s"></iframe>`,
	}[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	writePage(w, "Evil", fmt.Sprintf(body, target))
}

// evil returns the address of a page at evil.test that uses an address of the shop in the given
// way.
func evil(what, path string) string { return evilURL + "/" + what + "?to=" + shopURL + path }
