// Command api is an example of an API that takes access tokens, and of a shop that logs users in and
// calls the API in their name. It needs only Go, and logs in at a provider of its own:
//
//	go run ./api
//
// With OIDC_ISSUER, OIDC_CLIENT_ID and OIDC_CLIENT_SECRET it logs in at yours. Register
// http://localhost:8080/auth/callback there. The provider must put API_AUDIENCE ("orders") into
// "aud" of access tokens, and know the scopes orders:read and orders:write.
package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/examples/internal/tryout"
)

func main() {
	addr := cmp.Or(os.Getenv("ADDR"), "localhost:8080")
	base := cmp.Or(os.Getenv("BASE_URL"), "http://"+addr)
	apiURL := cmp.Or(os.Getenv("API_URL"), "http://localhost:8081")
	audience := cmp.Or(os.Getenv("API_AUDIENCE"), "orders")
	tryout.Provider(tryout.Options{BaseURL: base, Audience: audience})

	api, err := newAPI(apiURL, audience)
	if err != nil {
		log.Fatal(err)
	}
	shop, err := newShop(base, apiURL)
	if err != nil {
		log.Fatal(err)
	}
	go func() { log.Fatal(http.ListenAndServe(cmp.Or(os.Getenv("API_ADDR"), "localhost:8081"), api)) }()
	log.Print("open ", base)
	log.Fatal(http.ListenAndServe(addr, shop))
}

// provider is the same for both. An API may be a client of its own at the provider.
func provider(scopes ...string) oidcgate.Provider {
	return oidcgate.Provider{
		Issuer: os.Getenv("OIDC_ISSUER"), ClientID: os.Getenv("OIDC_CLIENT_ID"),
		Auth:   oidcgate.ClientSecretBasic(os.Getenv("OIDC_CLIENT_SECRET")),
		Scopes: scopes,
	}
}

// newAPI returns the API. Its gate logs nobody in: it takes access tokens, and asks the provider
// about each (introspection), so that a token that was revoked is refused.
func newAPI(apiURL, audience string) (http.Handler, error) {
	gate, err := oidcgate.New(oidcgate.Config{
		BaseURL: apiURL,
		// The shop has its cookie on the same host. Leave this out where the API has a host of its own:
		// on https, names begin with "__Host-".
		Site: oidcgate.SiteOptions{CookieName: "api"},
		API:  oidcgate.APIOptions{Audience: []string{audience}, Introspect: true},
	}, provider())
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /orders", gate.RequireToken(oidcgate.Scope("orders:read"))(http.HandlerFunc(orders)))
	mux.Handle("DELETE /orders", gate.RequireToken(oidcgate.Scope("orders:write"))(http.HandlerFunc(cancel)))
	return gate.Wrap(mux), nil
}

func orders(w http.ResponseWriter, r *http.Request) {
	id, _ := oidcgate.FromContext(r.Context()) // whose token it is
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{ // an error means that the client has left
		"customer": id.Subject(), "orders": []string{"tea", "a pot"},
	})
}

func cancel(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }

// newShop returns the shop. Its users log in, and their access tokens stay on the server.
func newShop(base, apiURL string) (http.Handler, error) {
	gate, err := oidcgate.New(oidcgate.Config{
		BaseURL: base, // on a loopback host: sessions are in memory, and the key is random
	}, provider("profile", "orders:read")) // it may read orders only
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", home)
	mux.Handle("GET /orders", gate.Require()(relay(gate, http.MethodGet, apiURL)))
	mux.Handle("GET /cancel", gate.Require()(relay(gate, http.MethodDelete, apiURL))) // the API refuses it
	return gate.Wrap(mux), nil
}

func home(w http.ResponseWriter, r *http.Request) {
	name := "stranger"
	if id, ok := oidcgate.FromContext(r.Context()); ok {
		name = id.Name()
	}
	fmt.Fprintf(w, "Welcome, %s.\n", name)
}

// relay calls the API with the visitor's access token, and shows what it answers.
func relay(gate *oidcgate.Gate, method, apiURL string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		req, err := http.NewRequestWithContext(r.Context(), method, apiURL+"/orders", nil)
		if err != nil {
			http.Error(w, "The address of the API is wrong.", http.StatusInternalServerError)
			return
		}
		resp, err := gate.Client(r.Context(), apiURL).Do(req) // the token goes to this origin only
		if err != nil {
			log.Print(err)
			http.Error(w, "The API does not answer.", http.StatusBadGateway)
			return
		}
		defer func() { _ = resp.Body.Close() }()
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprintln(w, "The API answers", resp.Status)
		_, _ = io.Copy(w, io.LimitReader(resp.Body, 1<<20)) // an error means that somebody has left
	}
}
