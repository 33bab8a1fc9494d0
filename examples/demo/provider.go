package main

import (
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// upstream are the providers: the two built-in ones, or an external one, which has no handler.
type upstream struct {
	providers []oidcgate.Provider

	handler  http.Handler
	listener net.Listener
	close    func()
}

func openProvider(o options, shopURL string) (*upstream, error) {
	if issuer := o.getenv("OIDC_ISSUER"); issuer != "" {
		if o.getenv("OIDC_CLIENT_ID") == "" {
			return nil, errors.New("demo: OIDC_CLIENT_ID: is empty, but OIDC_ISSUER is set; set it to the id that the provider gave this client")
		}
		p := newProvider(issuer, o.getenv("OIDC_CLIENT_ID"), clientAuth(o.getenv("OIDC_CLIENT_SECRET")))
		return &upstream{providers: []oidcgate.Provider{p}, close: func() {}}, nil
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

func newProvider(issuer, clientID string, auth oidcgate.ClientAuth) oidcgate.Provider {
	return oidcgate.Provider{
		Issuer: issuer, ClientID: clientID, Auth: auth,
		Scopes: []string{"profile", "email"}, Userinfo: oidcgate.UserinfoOptional,
	}
}

func clientAuth(secret string) oidcgate.ClientAuth {
	if secret == "" {
		return oidcgate.PublicClient()
	}
	return oidcgate.ClientSecretBasic(secret)
}

// The registration of the shop at the built-in providers. The secret protects nothing, because
// anybody who reaches these providers can log in as any user.
const (
	builtInClientID = "tea-shop"
	builtInSecret   = "not a secret: the provider is for this demonstration only"
)

// registry is a built-in provider: its Provider.Name and Label, and who has an account there.
type registry struct {
	name, label string
	people      []person
}

// Both are on the same port, the second below a path.
var registries = []registry{{"", "Teahouse ID", people}, {"harbour", "Harbour Pass", pilots}}

func builtIn(listener net.Listener, shopURL string) (*upstream, error) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /style.css", serveStyle)
	u := &upstream{handler: mux, listener: listener}
	var ops []*oidcgatetest.Provider
	u.close = func() {
		for _, op := range ops {
			op.Close()
		}
		_ = listener.Close()
	}
	for _, r := range registries {
		op, p, err := r.open(localURL(listener), shopURL)
		if err != nil {
			u.close()
			return nil, err
		}
		ops, u.providers = append(ops, op), append(u.providers, p)
		mux.Handle(r.path()+"/", op)
	}
	return u, nil
}

// path is empty, or the path of the provider's issuer.
func (r registry) path() string {
	if r.name == "" {
		return ""
	}
	return "/" + r.name
}

// open returns the provider, and what the gate has to know of it.
func (r registry) open(base, shopURL string) (*oidcgatetest.Provider, oidcgate.Provider, error) {
	page := &loginPage{registry: r, shopURL: shopURL, host: strings.TrimPrefix(base, "http://") + r.path()}
	op, err := oidcgatetest.New(oidcgatetest.Config{Issuer: base + r.path(), LoginPage: page.serve})
	if err != nil {
		return nil, oidcgate.Provider{}, err
	}
	op.AddClient(oidcgatetest.Client{
		ID: builtInClientID, Secret: builtInSecret,
		RedirectURLs:           []string{shopURL + "/auth/callback" + r.path()},
		PostLogoutRedirectURLs: []string{shopURL + "/auth/logout/done"},
	})
	p := newProvider(op.Issuer(), builtInClientID, oidcgate.ClientSecretBasic(builtInSecret))
	p.Name, p.Label = r.name, r.label
	return op, p, nil
}

// person is a user of a built-in provider.
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

// pilots are others, or the same persons with another account.
var pilots = []person{
	{ID: "p114", Name: "B. Okafor", About: "Ben's account here; link it to the one he has at the teahouse", email: "okafor@harbour.example", verified: true},
	{ID: "p207", Name: "Mette Holm", About: "Pilot; has an account only here", email: "holm@harbour.example", verified: true},
}

func (p person) user() oidcgatetest.User {
	return oidcgatetest.User{
		Subject: p.ID,
		Claims: map[string]any{
			"name": p.Name, "preferred_username": p.ID, "groups": append([]string{}, p.groups...),
			"email": p.email, "email_verified": p.verified,
		},
		UserinfoClaims: map[string]any{"locale": "en-GB"},
	}
}

// loginPage lets the visitor choose a user. It checks no password.
type loginPage struct {
	registry
	shopURL, host string
}

func (l *loginPage) serve(w http.ResponseWriter, r *http.Request, login *oidcgatetest.Login) {
	if r.Method != http.MethodPost {
		l.show(w)
		return
	}
	i := slices.IndexFunc(l.people, func(p person) bool { return p.ID == r.PostForm.Get("person") })
	if i < 0 {
		login.Refuse("access_denied", "")
		return
	}
	login.Proceed(l.people[i].user())
}

func (l *loginPage) show(w http.ResponseWriter) {
	// The response to the form is a redirect to the shop, and browsers apply form-action to it too.
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; frame-ancestors 'none'; form-action 'self' "+l.shopURL)
	w.Header().Set("Cache-Control", "no-store")
	render(w, http.StatusOK, "login.html", map[string]any{"Title": "Who are you?", "People": l.people, "Label": l.label, "Host": l.host})
}
