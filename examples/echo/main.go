// Command echo is an example of oidcgate around an existing router of echo. It needs only Go, and
// logs in at a provider of its own:
//
//	go run ./echo
//
// With OIDC_ISSUER, OIDC_CLIENT_ID and OIDC_CLIENT_SECRET it logs in at yours. Register
// http://localhost:8080/auth/callback there.
package main

import (
	"cmp"
	"log"
	"net/http"
	"os"

	"github.com/labstack/echo/v4"

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
	require := func(rules ...oidcgate.Rule) echo.MiddlewareFunc {
		return echo.WrapMiddleware(gate.Require(rules...))
	}
	e := echo.New() // the router that was there before
	e.GET("/", home)
	e.GET("/account", account, require())
	admin := e.Group("/admin", require(oidcgate.Claim("groups", "admin")))
	admin.GET("", func(c echo.Context) error { return c.String(http.StatusOK, "You are an admin.\n") })
	log.Print("open ", base)
	log.Fatal(http.ListenAndServe(addr, gate.Wrap(e)))
}

func home(c echo.Context) error {
	name := "stranger"
	if id, ok := oidcgate.FromContext(c.Request().Context()); ok {
		name = id.Name()
	}
	return c.String(http.StatusOK, "Welcome, "+name+".\n")
}

func account(c echo.Context) error {
	id, _ := oidcgate.FromContext(c.Request().Context()) // require admits only signed-in users
	return c.String(http.StatusOK, "You are "+id.Subject()+" at "+id.Issuer()+".\n")
}
