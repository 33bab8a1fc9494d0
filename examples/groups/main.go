// Command groups is an example of oidcgate with groups of routes in http.ServeMux: a mux within a
// mux, and one guard for all routes of a group. It needs only Go, and logs in at a provider of its
// own:
//
//	go run ./groups
//
// With OIDC_ISSUER, OIDC_CLIENT_ID and OIDC_CLIENT_SECRET it logs in at yours. Register
// http://localhost:8080/auth/callback there.
package main

import (
	"cmp"
	"fmt"
	"log"
	"net/http"
	"os"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/examples/internal/tryout"
)

func main() {
	addr := cmp.Or(os.Getenv("ADDR"), "localhost:8080")
	base := cmp.Or(os.Getenv("BASE_URL"), "http://"+addr)
	tryout.Provider(tryout.Options{BaseURL: base})
	gate, err := oidcgate.New(oidcgate.Config{
		BaseURL: base, // on a loopback host: sessions are in memory, and the key is random
	}, oidcgate.Provider{
		Issuer: os.Getenv("OIDC_ISSUER"), ClientID: os.Getenv("OIDC_CLIENT_ID"),
		Auth:   oidcgate.ClientSecretBasic(os.Getenv("OIDC_CLIENT_SECRET")),
		Scopes: []string{"profile", "email"},
	})
	if err != nil {
		log.Fatal(err)
	}
	log.Print("open ", base)
	log.Fatal(http.ListenAndServe(addr, gate.Wrap(routes(gate))))
}

// routes are those of the whole service. A group is a mux of its own, and the guard stands where it
// is mounted: a route that is added to the group later is guarded too.
func routes(gate *oidcgate.Gate) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", home)
	mux.Handle("/account/", gate.Require()(accountRoutes()))
	staff := gate.Require(oidcgate.Claim("groups", "staff"))
	mux.Handle("/staff/", staff(http.StripPrefix("/staff", staffRoutes(gate))))
	return mux
}

// accountRoutes are for everybody who is signed in.
func accountRoutes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /account/{$}", account)
	mux.HandleFunc("GET /account/orders", says("You have no orders."))
	return mux
}

// staffRoutes do not know where they are mounted. Within them is a group with a further rule.
func staffRoutes(gate *oidcgate.Gate) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", says("You are one of the staff."))
	mux.HandleFunc("GET /rota", says("You work on Monday."))
	admin := gate.Require(oidcgate.Claim("groups", "admin"))
	mux.Handle("/admin/", admin(http.StripPrefix("/admin", adminRoutes())))
	return mux
}

// adminRoutes are for those of the staff who are admins too: the request passed both guards.
func adminRoutes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", says("You are an admin."))
	return mux
}

func home(w http.ResponseWriter, r *http.Request) {
	name := "stranger"
	if id, ok := oidcgate.FromContext(r.Context()); ok {
		name = id.Name()
	}
	fmt.Fprintf(w, "Welcome, %s.\n", name)
}

func account(w http.ResponseWriter, r *http.Request) {
	id, _ := oidcgate.FromContext(r.Context()) // Require admits only signed-in users
	fmt.Fprintf(w, "You are %s at %s.\n", id.Subject(), id.Issuer())
}

func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, text) }
}
