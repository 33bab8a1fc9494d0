// Command nethttp is an example of oidcgate with http.ServeMux. Register
// http://localhost:8080/auth/callback at the provider, and http://localhost:8080/auth/logout/done for
// logouts.
package main

import (
	"cmp"
	"fmt"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/store/redisstore"
)

func main() {
	keys, err := oidcgate.ParseKeys(os.Getenv("SESSION_KEYS")) // openssl rand -base64 32
	if err != nil {
		log.Fatal(err)
	}
	rdb := redis.NewClient(&redis.Options{Addr: os.Getenv("REDIS_ADDR"), ContextTimeoutEnabled: true})
	gate, err := oidcgate.New(oidcgate.Config{
		BaseURL: cmp.Or(os.Getenv("BASE_URL"), "http://localhost:8080"),
		Store:   redisstore.New(rdb),
		Keys:    keys,
	}, oidcgate.Provider{
		Issuer: os.Getenv("OIDC_ISSUER"), ClientID: os.Getenv("OIDC_CLIENT_ID"),
		Auth:   oidcgate.ClientSecretBasic(os.Getenv("OIDC_CLIENT_SECRET")),
		Scopes: []string{"profile", "email"},
	})
	if err != nil {
		log.Fatal(err)
	}

	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", home)
	mux.Handle("GET /account", gate.Require()(http.HandlerFunc(account)))
	mux.Handle("GET /clock", gate.Require()(clock(gate)))
	mux.Handle("GET /admin", gate.Require(oidcgate.Claim("groups", "admin"))(http.HandlerFunc(admin)))
	log.Fatal(http.ListenAndServe(cmp.Or(os.Getenv("ADDR"), "localhost:8080"), gate.Wrap(mux)))
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

// clock sends server-sent events until the visitor leaves or the session ends.
func clock(gate *oidcgate.Gate) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, stop := gate.Watch(r.Context())
		defer stop()
		w.Header().Set("Content-Type", "text/event-stream")
		ticks := time.NewTicker(time.Second)
		defer ticks.Stop()
		for {
			fmt.Fprintf(w, "data: %s\n\n", time.Now().Format(time.TimeOnly))
			if err := http.NewResponseController(w).Flush(); err != nil {
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-ticks.C:
			}
		}
	}
}

func admin(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "You are an admin.") }
