// Command providers is an example of oidcgate with several providers: two presets, the page on which
// visitors choose one, and customers who log in with either. It needs only Go, and logs in at
// providers of its own:
//
//	go run ./providers
//
// With OKTA_ISSUER, OKTA_CLIENT_ID and OKTA_CLIENT_SECRET, and with those of GITLAB, it logs in at
// yours. Register http://localhost:8080/auth/callback/staff at Okta, and
// http://localhost:8080/auth/callback/gitlab at GitLab.
package main

import (
	"cmp"
	"context"
	"fmt"
	"html/template"
	"log"
	"net/http"
	"os"
	"sync"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/examples/internal/tryout"
	"github.com/oidcgate/oidcgate/presets"
)

func main() {
	addr := cmp.Or(os.Getenv("ADDR"), "localhost:8080")
	base := cmp.Or(os.Getenv("BASE_URL"), "http://"+addr)
	tryout.Provider(tryout.Options{Env: "OKTA", BaseURL: base, Name: "staff"})
	tryout.Provider(tryout.Options{Env: "GITLAB", BaseURL: base, Name: "gitlab"})

	okta := presets.Okta(os.Getenv("OKTA_ISSUER"), os.Getenv("OKTA_CLIENT_ID"),
		oidcgate.ClientSecretBasic(os.Getenv("OKTA_CLIENT_SECRET")))
	okta.Name, okta.Label = "staff", "Staff" // the name is in the callback, the label on the page
	gitlab := presets.GitLab(os.Getenv("GITLAB_ISSUER"), os.Getenv("GITLAB_CLIENT_ID"),
		oidcgate.ClientSecretBasic(os.Getenv("GITLAB_CLIENT_SECRET")))
	gitlab.Name = "gitlab"

	s := &shop{customers: customers{numbers: map[identity]int{}}}
	var err error
	s.gate, err = oidcgate.New(oidcgate.Config{
		BaseURL: base, // on a loopback host: sessions are in memory, and the key is random
		OnLink:  s.customers.link,
	}, okta, gitlab)
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.home) // its link to the login leads to the page with the choice
	mux.Handle("GET /account", s.gate.Require()(http.HandlerFunc(s.account)))
	log.Print("open ", base)
	log.Fatal(http.ListenAndServe(addr, s.gate.Wrap(mux)))
}

type shop struct {
	gate      *oidcgate.Gate
	customers customers
}

// identity is the key of a user: a subject counts at its issuer only. An e-mail address is no key.
type identity struct{ issuer, subject string }

func keyOf(id *oidcgate.Identity) identity { return identity{id.Issuer(), id.Subject()} }

// customers says which customer an identity is. A service has this table in its database.
type customers struct {
	mu      sync.Mutex
	numbers map[identity]int
	last    int
}

// number returns the number of a customer, who is new if nobody knows the identity.
func (c *customers) number(id *oidcgate.Identity) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.numbers[keyOf(id)] == 0 {
		c.last++
		c.numbers[keyOf(id)] = c.last
	}
	return c.numbers[keyOf(id)]
}

// link is Config.OnLink: the user has just logged in with the second identity.
func (c *customers) link(_ context.Context, linking *oidcgate.Linking) error {
	first := c.number(linking.First())
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := c.numbers[keyOf(linking.Second())]; n != 0 && n != first {
		return oidcgate.Deny("That login belongs to another customer.")
	}
	c.numbers[keyOf(linking.Second())] = first
	return nil
}

var page = template.Must(template.New("").Parse(`<!DOCTYPE html>
<html lang="en"><meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">
<title>{{.Title}}</title>
<h1>{{.Title}}</h1>
<p>{{.Text}}</p>
{{range .Links}}<p><a href="{{.URL}}">{{.Text}}</a></p>{{end}}
{{with .LogoutURL}}<form method="post" action="{{.}}"><button>Log out</button></form>{{end}}
`))

// view is the data of a page.
type view struct {
	Title, Text, LogoutURL string
	Links                  []oidcgate.Link
}

func (s *shop) home(w http.ResponseWriter, r *http.Request) {
	v := view{Title: "Welcome, stranger.", Links: []oidcgate.Link{{URL: s.gate.LoginURL("/account"), Text: "Log in"}}}
	if id, ok := oidcgate.FromContext(r.Context()); ok {
		v.Title, v.Links[0] = "Welcome, "+id.Name()+".", oidcgate.Link{URL: "/account", Text: "Your account"}
	}
	show(w, v)
}

func (s *shop) account(w http.ResponseWriter, r *http.Request) {
	id, _ := oidcgate.FromContext(r.Context()) // Require admits only signed-in users
	v := view{
		Title: fmt.Sprintf("You are customer %d.", s.customers.number(id)), LogoutURL: s.gate.LogoutURL("/"),
		Text: fmt.Sprintf("You are %s at %s.", id.Subject(), id.Issuer()),
	}
	for name, text := range map[string]string{"staff": "Link your staff account", "gitlab": "Link GitLab"} {
		if name == id.ProviderName() {
			continue
		}
		address, err := s.gate.LinkURL(r.Context(), name, "/account")
		if err != nil {
			http.Error(w, "Try again.", http.StatusServiceUnavailable)
			return
		}
		v.Links = append(v.Links, oidcgate.Link{URL: address, Text: text})
	}
	show(w, v)
}

func show(w http.ResponseWriter, v view) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = page.Execute(w, v) // an error means that the browser has left
}
