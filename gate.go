package oidcgate

import (
	"cmp"
	"fmt"
	"io"
	"net/http"

	"github.com/alexedwards/scs/v2"

	"github.com/oidcgate/oidcgate/internal/attempt"
	"github.com/oidcgate/oidcgate/internal/browser"
	"github.com/oidcgate/oidcgate/internal/op"
	"github.com/oidcgate/oidcgate/internal/session"
	"github.com/oidcgate/oidcgate/internal/viascs"
)

// Gate puts OpenID Connect login in front of a handler. [New] makes it, [Gate.Wrap] puts it around
// a router, [Gate.Admit] and [Gate.Require] decide who may enter. All methods may be called
// concurrently. A gate keeps no visitor's state in memory: any number of replicas with the same
// configuration, store and keys work as one gate.
type Gate struct {
	config      config
	providers   []*upstream
	cookies     browser.Cookies
	attempts    *attempt.Keeper
	keeper      *session.Keeper
	sessions    *viascs.Sessions
	values      *scs.SessionManager // nil unless Config.EnableValues
	events      *events
	crossOrigin *http.CrossOriginProtection
	routes      map[string]http.HandlerFunc
}

// upstream is one provider of a gate.
type upstream struct {
	name   string
	label  string // shown to people: the name, or the issuer's host
	issuer string
	origin string // of the issuer
	client *op.Client

	clientID string
	hasKeys  bool // the client has keys of its own

	thirdParty bool // others may begin its logins
}

// provider returns the provider of that name, or nil.
func (g *Gate) provider(name string) *upstream {
	for _, up := range g.providers {
		if up.name == name {
			return up
		}
	}
	return nil
}

// LoginURL returns the address that logs a visitor in and then leads to returnTo, a path of this
// site below BaseURL, as the browser sees it. Use it for links that open in the same tab.
func (g *Gate) LoginURL(returnTo string) string { return g.config.at.OwnURL("/login", returnTo) }

// RegisterURL is LoginURL for visitors without an account: the provider shows its page to register
// (prompt=create). A provider that announces its prompts must announce this one.
func (g *Gate) RegisterURL(returnTo string) string {
	return g.config.at.OwnURL("/login", cmp.Or(returnTo, g.config.at.DefaultPath)) + "&prompt=create"
}

// LogoutURL returns the address to POST to for logging out; a GET of it asks for confirmation
// first. After the logout the browser goes to returnTo or, if that is empty, to a page "signed
// out".
func (g *Gate) LogoutURL(returnTo string) string { return g.config.at.OwnURL("/logout", returnTo) }

// Format prints the gate without its configuration, which contains secrets.
func (g *Gate) Format(s fmt.State, _ rune) {
	_, _ = io.WriteString(s, "oidcgate.Gate("+g.config.at.URL("")+")")
}
