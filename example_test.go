package oidcgate_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"

	"github.com/redis/go-redis/v9"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
	"github.com/oidcgate/oidcgate/store/redisstore"
)

// A service behind a gate: one page for everybody, one for those who are logged in, one for administrators.
func Example() {
	keys, err := oidcgate.ParseKeys(os.Getenv("SESSION_KEYS")) // openssl rand -base64 32
	if err != nil {
		log.Fatal(err)
	}
	rdb := redis.NewClient(&redis.Options{Addr: "localhost:6379", ContextTimeoutEnabled: true})
	gate, err := oidcgate.New(oidcgate.Config{
		BaseURL: "https://shop.example",
		Store:   redisstore.New(rdb),
		Keys:    keys,
	}, oidcgate.Provider{
		Issuer:   "https://id.example/realms/shop",
		ClientID: "shop",
		Auth:     oidcgate.ClientSecretBasic(os.Getenv("OIDC_CLIENT_SECRET")),
		Scopes:   []string{"profile", "email"}, // besides "openid"
	})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", home)
	mux.Handle("/account", gate.Require()(http.HandlerFunc(account)))
	mux.Handle("/admin", gate.Require(oidcgate.Claim("groups", "admin"))(http.HandlerFunc(account)))
	log.Fatal(http.ListenAndServe("localhost:8080", gate.Wrap(mux)))
}

func home(w http.ResponseWriter, r *http.Request) {
	if id, ok := oidcgate.FromContext(r.Context()); ok {
		_, _ = fmt.Fprintf(w, "Hello, %s.", id.Name())
		return
	}
	_, _ = io.WriteString(w, "Hello, stranger.")
}

func account(w http.ResponseWriter, r *http.Request) {
	id, _ := oidcgate.FromContext(r.Context()) // Require let only visitors in who have one
	_, _ = fmt.Fprintf(w, "The account of %s.", id.Name())
}

// exampleGate is a gate as a program on a developer's machine has it: without store and keys.
func exampleGate(c oidcgate.Config) *oidcgate.Gate {
	c.BaseURL = "http://localhost:8080"
	c.Logger = slog.New(slog.DiscardHandler)
	gate, err := oidcgate.New(c, oidcgate.Provider{
		Issuer: "https://id.test", ClientID: "shop", Auth: oidcgate.ClientSecretBasic("a secret"),
	})
	if err != nil {
		log.Fatal(err)
	}
	return gate
}

// visit shows what a service answers to a visitor: signed in as the user, or a stranger if user is nil.
func visit(gate *oidcgate.Gate, service http.Handler, path string, user *oidcgatetest.User) {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	if user != nil {
		r = oidcgatetest.WithIdentity(r, gate, *user)
	}
	w := httptest.NewRecorder()
	service.ServeHTTP(w, r)
	if to := w.Header().Get("Location"); to != "" {
		fmt.Println(w.Code, to)
		return
	}
	if w.Code >= http.StatusBadRequest {
		fmt.Println(w.Code)
		return
	}
	fmt.Println(w.Code, w.Body)
}

// Require is a middleware, so routers take it as it is: r.With(gate.Require()).Get(...) in chi.
func ExampleGate_Require() {
	gate := exampleGate(oidcgate.Config{})
	mux := http.NewServeMux()
	mux.HandleFunc("/", home)
	mux.Handle("/account", gate.Require()(http.HandlerFunc(account)))
	mux.Handle("/admin", gate.Require(oidcgate.Claim("groups", "admin"))(http.HandlerFunc(account)))
	service := gate.Wrap(mux)

	alice := &oidcgatetest.User{Subject: "alice"}
	visit(gate, service, "/", nil)
	visit(gate, service, "/account", nil)
	visit(gate, service, "/account", alice)
	visit(gate, service, "/admin", alice)
	// Output:
	// 200 Hello, stranger.
	// 303 http://localhost:8080/auth/login?return_to=%2Faccount
	// 200 The account of alice.
	// 403
}

// The usual mistake: a guard on a route, and nothing round the router. Without Wrap there are no routes for
// the login and no sessions. Nobody gets in, and the log names the cure.
func ExampleGate_Require_incorrect() {
	gate := exampleGate(oidcgate.Config{})
	mux := http.NewServeMux()
	mux.Handle("/account", gate.Require()(http.HandlerFunc(account)))

	visit(gate, mux, "/account", nil)            // wrong
	visit(gate, gate.Wrap(mux), "/account", nil) // right
	// Output:
	// 500
	// 303 http://localhost:8080/auth/login?return_to=%2Faccount
}

// Frameworks whose middleware is of another shape ask Admit. In gin, w and r are c.Writer and c.Request, and
// where it returns false the middleware calls c.Abort().
func ExampleGate_Admit() {
	gate := exampleGate(oidcgate.Config{})
	service := gate.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !gate.Admit(w, r, oidcgate.EmailDomain("shop.example")) {
			return // Admit has answered
		}
		account(w, r)
	}))

	visit(gate, service, "/account", &oidcgatetest.User{Subject: "alice", Claims: map[string]any{
		"email": "alice@shop.example", "email_verified": true,
	}})
	visit(gate, service, "/account", &oidcgatetest.User{Subject: "mallory", Claims: map[string]any{
		"email": "mallory@shop.example", "email_verified": false,
	}})
	// Output:
	// 200 The account of alice.
	// 403
}

// OnLogin has the last word on a login, and may keep the session small.
func ExampleDeny() {
	onLogin := func(_ context.Context, login *oidcgate.Login) error {
		if _, verified := login.Identity().Email(); !verified {
			return oidcgate.Deny("Confirm your e-mail address first, then log in again.")
		}
		login.Drop("picture", "groups")
		return login.Set("plan", "gold")
	}
	_ = exampleGate(oidcgate.Config{OnLogin: onLogin})

	id, err := oidcgate.NewIdentity("https://id.test", "alice", map[string]any{"email": "alice@shop.example"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(onLogin(context.Background(), oidcgate.NewLogin(id, "/")))
	// Output:
	// denied: Confirm your e-mail address first, then log in again.
}

// A handler reads a claim by its name, or by a pointer into it. A claim that is absent, or of another kind, is false.
func ExampleIdentity_ClaimStrings() {
	gate := exampleGate(oidcgate.Config{})
	service := gate.Wrap(gate.Require()(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := oidcgate.FromContext(r.Context()) // never nil behind Require
		groups, _ := id.ClaimStrings("groups")
		roles, _ := id.ClaimStrings("/realm_access/roles")
		_, ok := id.ClaimStrings("entitlements")
		_, _ = fmt.Fprintln(w, id.Name(), groups, roles, ok)
	})))

	visit(gate, service, "/account", &oidcgatetest.User{Subject: "alice", Claims: map[string]any{
		"groups":       []string{"staff"},
		"realm_access": map[string]any{"roles": []string{"admin", "editor"}},
	}})
	// Output:
	// 200 alice [staff] [admin editor] false
}

// Decode reads many claims at once. Each field has a tag, and the tag is compared with the claim letter for letter.
func ExampleIdentity_Decode() {
	id, err := oidcgate.NewIdentity("https://id.test", "alice", map[string]any{
		"locale": "en-GB", "address": map[string]any{"country": "NZ"},
	})
	if err != nil {
		log.Fatal(err)
	}
	var claims struct {
		Locale  string `json:"locale"`
		Address struct {
			Country string `json:"country"`
		} `json:"address"`
	}
	if err := id.Decode(&claims); err != nil {
		log.Fatal(err)
	}
	fmt.Println(claims.Locale, claims.Address.Country)
	// Output:
	// en-GB NZ
}

// Two providers: one must be asked to answer in the query, the other has a public client and addresses set by hand.
func ExampleProvider() {
	_, err := oidcgate.New(oidcgate.Config{BaseURL: "http://localhost:8080"}, oidcgate.Provider{
		Name:     "unidy",
		Issuer:   "https://yourname.unidy.de",
		ClientID: "shop",
		Auth:     oidcgate.ClientSecretPost("a secret"),
		Request:  oidcgate.RequestOptions{ResponseMode: "query"},
		Userinfo: oidcgate.UserinfoOptional,
	}, oidcgate.Provider{
		Name:     "unikname",
		Issuer:   "https://connect.unikname.com/oidc",
		ClientID: "shop",
		Auth:     oidcgate.PublicClient(),
		Endpoints: oidcgate.Endpoints{
			Authorization: "https://connect.unikname.com/oidc/authorize",
			Token:         "https://connect.unikname.com/oidc/accessToken",
			Userinfo:      "https://connect.unikname.com/oidc/profile",
		}, // the others are discovered
		Userinfo: oidcgate.UserinfoOptional,
	})
	fmt.Println(err)
	// Output:
	// <nil>
}

// Values are the application's own, in the session of a visitor who is signed in.
func ExampleGate_Values() {
	gate := exampleGate(oidcgate.Config{EnableValues: true})
	service := gate.Wrap(gate.Require()(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		values := gate.Values()
		values.Put(r.Context(), "seen", values.GetInt(r.Context(), "seen")+1)
		_, _ = fmt.Fprintf(w, "Visit %d.", values.GetInt(r.Context(), "seen"))
	})))

	visit(gate, service, "/account", &oidcgatetest.User{Subject: "alice"})
	// Output:
	// 200 Visit 1.
}

// An API: its clients send access tokens of the provider, which are for this service. Scripts of the pages
// beside it call the same routes with the session of their visitor.
func ExampleGate_RequireEither() {
	provider, err := oidcgatetest.New(oidcgatetest.Config{AccessTokenAudience: "https://shop.example/api"})
	if err != nil {
		log.Fatal(err)
	}
	defer provider.Close()
	gate := exampleGate(oidcgate.Config{
		HTTP: oidcgate.HTTPOptions{Transport: provider.Transport()},
		API:  oidcgate.APIOptions{Audience: []string{"https://shop.example/api"}},
	})
	mux := http.NewServeMux()
	mux.Handle("/api/report", gate.RequireToken(oidcgate.Scope("orders:report"))(http.HandlerFunc(account)))
	mux.Handle("/api/orders", gate.RequireEither(oidcgate.Scope("orders:read"))(http.HandlerFunc(account)))
	service := gate.Wrap(mux)

	call := func(path string, claims map[string]any) {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		if claims != nil {
			r.Header.Set("Authorization", "Bearer "+provider.NewAccessToken(claims).Compact())
		}
		w := httptest.NewRecorder()
		service.ServeHTTP(w, r)
		fmt.Println(w.Code)
	}
	call("/api/report", nil)
	call("/api/report", map[string]any{"scope": "orders:read"})
	call("/api/report", map[string]any{"scope": "orders:report"})
	call("/api/orders", map[string]any{"scope": "orders:read"})
	call("/api/orders", nil) // neither a token nor a session: the answer names both ways
	// Output:
	// 401
	// 403
	// 200
	// 200
	// 401
}
