// Package tryout gives the small examples a provider where the environment names none: one in the
// same process, at which anybody may log in as anybody.
package tryout

import (
	"cmp"
	"embed"
	"fmt"
	"html/template"
	"log"
	"net"
	"net/http"
	"os"
	"slices"

	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// Options say what an example wants of the provider.
type Options struct {
	Env      string // the beginning of the variables' names; if empty, it is OIDC
	BaseURL  string // of the example
	Name     string // Provider.Name
	Audience string // of access tokens
}

// Provider starts a provider, unless OIDC_ISSUER is set, and sets OIDC_ISSUER, OIDC_CLIENT_ID and
// OIDC_CLIENT_SECRET. It serves until the process ends. With a real provider you need none of this.
func Provider(o Options) {
	env := cmp.Or(o.Env, "OIDC")
	if os.Getenv(env+"_ISSUER") != "" {
		return
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	issuer := fmt.Sprintf("http://localhost:%d", listener.Addr().(*net.TCPAddr).Port)
	op, err := oidcgatetest.New(oidcgatetest.Config{
		Issuer: issuer, LoginPage: askWho, Introspection: true, AccessTokenAudience: o.Audience,
	})
	if err != nil {
		log.Fatal(err)
	}
	client := oidcgatetest.Client{
		ID: "example", Secret: "not a secret",
		RedirectURLs:           []string{o.BaseURL + "/auth/callback"},
		PostLogoutRedirectURLs: []string{o.BaseURL + "/auth/logout/done"},
	}
	if o.Name != "" {
		client.RedirectURLs[0] += "/" + o.Name
	}
	op.AddClient(client)
	for name, value := range map[string]string{
		"_ISSUER": issuer, "_CLIENT_ID": client.ID, "_CLIENT_SECRET": client.Secret,
	} {
		_ = os.Setenv(env+name, value) // fails for names that cannot be
	}
	go func() { log.Fatal(http.Serve(listener, op)) }()
}

// users are those who may log in.
var users = []oidcgatetest.User{
	{Subject: "alice", Claims: map[string]any{
		"name": "Alice Example", "email": "alice@shop.example", "email_verified": true,
		"groups": []string{"staff", "admin"},
	}},
	{Subject: "bob", Claims: map[string]any{
		"name": "Bob Example", "email": "bob@mail.example", "email_verified": true,
		"groups": []string{"staff"},
	}},
}

//go:embed login.html
var files embed.FS

var page = template.Must(template.ParseFS(files, "login.html"))

func askWho(w http.ResponseWriter, r *http.Request, login *oidcgatetest.Login) {
	if r.Method != http.MethodPost {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_ = page.Execute(w, map[string]any{"Users": users, "Host": r.Host}) // an error: the browser has left
		return
	}
	of := func(u oidcgatetest.User) bool { return u.Subject == r.PostForm.Get("user") }
	if i := slices.IndexFunc(users, of); i >= 0 {
		login.Proceed(users[i])
		return
	}
	login.Refuse("access_denied", "")
}
