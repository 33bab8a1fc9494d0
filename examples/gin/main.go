// Command gin is an example of oidcgate with the router gin. Register
// http://localhost:8080/auth/callback at the provider, and http://localhost:8080/auth/logout/done for
// logouts.
package main

import (
	"cmp"
	"log"
	"net/http"
	"os"

	"github.com/gin-gonic/gin"
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
	require := func(rules ...oidcgate.Rule) gin.HandlerFunc {
		return func(c *gin.Context) {
			if !gate.Admit(c.Writer, c.Request, rules...) {
				c.Abort()
			}
		}
	}
	r := gin.Default()
	r.GET("/", home)
	r.GET("/account", require(), account)
	r.GET("/admin", require(oidcgate.Claim("groups", "admin")), func(c *gin.Context) { c.String(http.StatusOK, "You are an admin.\n") })
	log.Fatal(http.ListenAndServe(cmp.Or(os.Getenv("ADDR"), "localhost:8080"), gate.Wrap(r)))
}

func home(c *gin.Context) {
	name := "stranger"
	if id, ok := oidcgate.FromContext(c.Request.Context()); ok {
		name = id.Name()
	}
	c.String(http.StatusOK, "Welcome, %s.\n", name)
}

func account(c *gin.Context) {
	id, _ := oidcgate.FromContext(c.Request.Context()) // require admits only signed-in users
	c.String(http.StatusOK, "You are %s at %s.\n", id.Subject(), id.Issuer())
}
