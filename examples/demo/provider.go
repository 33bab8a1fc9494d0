package main

import (
	"errors"
	"net"
	"net/http"
	"slices"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// upstream is the provider: the built-in one, or an external one, which has no handler.
type upstream struct {
	issuer   string
	clientID string
	auth     oidcgate.ClientAuth

	handler  http.Handler
	listener net.Listener
	close    func()
}

func openProvider(o options, shopURL string) (*upstream, error) {
	if issuer := o.getenv("OIDC_ISSUER"); issuer != "" {
		if o.getenv("OIDC_CLIENT_ID") == "" {
			return nil, errors.New("demo: OIDC_CLIENT_ID: is empty, but OIDC_ISSUER is set; set it to the id that the provider gave this client")
		}
		return &upstream{issuer: issuer, clientID: o.getenv("OIDC_CLIENT_ID"), auth: clientAuth(o.getenv("OIDC_CLIENT_SECRET")), close: func() {}}, nil
	}
	if o.getenv("OIDC_CLIENT_ID") != "" || o.getenv("OIDC_CLIENT_SECRET") != "" {
		return nil, errors.New("demo: OIDC_ISSUER: is empty, but OIDC_CLIENT_ID or OIDC_CLIENT_SECRET is set; set OIDC_ISSUER too, or none of them")
	}
	listener, err := listen(o.providerAddr, "-provider-addr", "PROVIDER_ADDR")
	if err != nil {
		return nil, err
	}
	u, err := builtIn(listener, shopURL)
	if err != nil {
		_ = listener.Close()
		return nil, err
	}
	return u, nil
}

func clientAuth(secret string) oidcgate.ClientAuth {
	if secret == "" {
		return oidcgate.PublicClient()
	}
	return oidcgate.ClientSecretBasic(secret)
}

// The registration of the shop at the built-in provider. The secret protects nothing, because
// anybody who reaches this provider can log in as any user.
const (
	builtInClientID = "tea-shop"
	builtInSecret   = "not a secret: the provider is for this demonstration only"
)

func builtIn(listener net.Listener, shopURL string) (*upstream, error) {
	page := &loginPage{shopURL: shopURL, host: localURL(listener)}
	op, err := oidcgatetest.New(oidcgatetest.Config{Issuer: localURL(listener), LoginPage: page.serve})
	if err != nil {
		return nil, err
	}
	op.AddClient(oidcgatetest.Client{
		ID: builtInClientID, Secret: builtInSecret,
		RedirectURLs:           []string{shopURL + "/auth/callback"},
		PostLogoutRedirectURLs: []string{shopURL + "/auth/logout/done"},
	})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /style.css", serveStyle)
	mux.Handle("/", op)
	return &upstream{
		issuer: op.Issuer(), clientID: builtInClientID, auth: oidcgate.ClientSecretBasic(builtInSecret),
		handler: mux, listener: listener,
		close: func() { op.Close(); _ = listener.Close() },
	}, nil
}

// person is a user of the built-in provider.
type person struct {
	ID, Name, About string
	email           string
	verified        bool
	groups          []string
}

var people = []person{
	{ID: "ada", Name: "Ada Lindqvist", About: "Manager of the shop; may enter the back office", email: "ada@teashop.example", verified: true, groups: []string{"staff", "managers"}},
	{ID: "ben", Name: "Ben Okafor", About: "A customer of many years", email: "ben@mail.example", verified: true, groups: []string{"customers"}},
	{ID: "chiara", Name: "Chiara Conti", About: "New here; has not confirmed her e-mail address", email: "chiara@mail.example", groups: []string{"customers"}},
}

func (p person) user() oidcgatetest.User {
	return oidcgatetest.User{
		Subject: p.ID,
		Claims: map[string]any{
			"name": p.Name, "preferred_username": p.ID, "groups": p.groups,
			"email": p.email, "email_verified": p.verified,
		},
		UserinfoClaims: map[string]any{"locale": "en-GB"},
	}
}

// loginPage lets the visitor choose a user. It checks no password.
type loginPage struct{ shopURL, host string }

func (l *loginPage) serve(w http.ResponseWriter, r *http.Request, login *oidcgatetest.Login) {
	if r.Method != http.MethodPost {
		l.show(w)
		return
	}
	i := slices.IndexFunc(people, func(p person) bool { return p.ID == r.PostForm.Get("person") })
	if i < 0 {
		login.Refuse("access_denied", "")
		return
	}
	login.Proceed(people[i].user())
}

func (l *loginPage) show(w http.ResponseWriter) {
	// The response to the form is a redirect to the shop, and browsers apply form-action to it too.
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; frame-ancestors 'none'; form-action 'self' "+l.shopURL)
	w.Header().Set("Cache-Control", "no-store")
	render(w, http.StatusOK, "login.html", map[string]any{"Title": "Who are you?", "People": people, "Host": l.host})
}
