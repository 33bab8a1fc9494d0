package oidcgate

import (
	"cmp"
	"fmt"
	"io"
	"net/http"

	"github.com/oidcgate/oidcgate/internal/bearer"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/front"
	"github.com/oidcgate/oidcgate/internal/op"
	"github.com/oidcgate/oidcgate/internal/session"
	"github.com/oidcgate/oidcgate/internal/values"
)

// Gate puts OpenID Connect login in front of a handler. [New] makes it, [Gate.Wrap] puts it around
// a router, [Gate.Admit] and [Gate.Require] decide who may enter. All methods may be called
// concurrently. A gate keeps no visitor's state in memory: any number of replicas with the same
// configuration, store and keys work as one gate.
type Gate struct {
	config    config
	providers front.Providers
	front     *front.Front
	keeper    *session.Keeper
	values    *values.Values // nil unless Config.EnableValues
	events    *event.Sink
	logouts   *event.Queue[Logout] // nil without Config.OnLogout

	bearer       *bearer.Guard
	metadataPath string // of the API's metadata; "" if it has none
}

// LoginURL returns the address that logs a visitor in and then leads to returnTo, a path of this
// site without the path of BaseURL, as handlers see it. Use it for links that open in the same tab.
//
// The options are for the login behind this link: who logs in, in which language, at once or not.
// Fields of the first win over those of the next, and all over Config.LoginOptions. They are sealed
// in the address, which nobody can read or change; who has it can use it. Once the key that sealed
// them is removed from Keys, the address leads to a login without them. What stands after "#" in
// returnTo is dropped. Options that cannot be sent refuse the login, with a log line that says why.
func (g *Gate) LoginURL(returnTo string, options ...LoginOptions) string {
	if all := together(options); all != nil {
		return g.front.LoginURL(returnTo, *all)
	}
	return g.config.at.OwnURL("/login", returnTo)
}

// ReturnPath returns the path in the parameter return_to of r, if a login may lead there, and else
// [SiteOptions.DefaultPath]. It is for a [SiteOptions.LoginPage], which passes it to LoginURL, and
// leads there after a login of its own. It has no path of BaseURL.
func (g *Gate) ReturnPath(r *http.Request) string { return g.front.ReturnPath(r) }

// together returns all options in one, or nil if there are none. Fields of the first win.
func together(options []LoginOptions) *op.LoginOptions {
	if len(options) == 0 {
		return nil
	}
	var all op.LoginOptions
	for _, o := range options {
		all = all.Or(op.LoginOptions(o))
	}
	return &all
}

// RegisterURL is LoginURL for visitors without an account: the provider shows its page to register
// (prompt=create). A provider that announces its prompts must announce this one.
func (g *Gate) RegisterURL(returnTo string) string {
	return g.config.at.OwnURL("/login", cmp.Or(returnTo, g.config.at.DefaultPath)) + "&prompt=create"
}

// SubjectHash returns what stands for a user in events (Event.SubjectHash), for the application's
// own logs. It is a keyed hash, the same on replicas with one first key, BaseURL and CookieName.
func (g *Gate) SubjectHash(id *Identity) string { return g.keeper.UserRef(id.record().User()) }

// Format prints the gate without its configuration, which contains secrets.
func (g *Gate) Format(s fmt.State, _ rune) {
	_, _ = io.WriteString(s, "oidcgate.Gate("+g.config.at.URL("")+")")
}
