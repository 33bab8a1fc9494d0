package oidcgate

import (
	"cmp"
	"net/http"
	"net/url"
	"strings"

	"github.com/oidcgate/oidcgate/internal/browser"
	"github.com/oidcgate/oidcgate/internal/page"
)

// initiate begins a login that another site asks for, such as the provider's portal: GET or POST
// /auth/initiate (OpenID Connect Core, section 4). It sends the browser on to the login. Who is
// signed in stays so: a link must not put another user in their place (login CSRF).
func (g *Gate) initiate(w http.ResponseWriter, r *http.Request) {
	params := r.URL.Query()
	switch {
	case r.Method == http.MethodPost && browser.ReadForm(w, r, maxForm) == nil:
		// A post from another site has no cookies. The same as a GET has them.
		again := url.Values{}
		for _, name := range []string{"iss", "login_hint", "target_link_uri"} {
			again[name] = r.PostForm[name]
		}
		page.Redirect(w, g.config.at.OwnURL("/initiate", "")+"?"+again.Encode())
		return
	case r.Method != http.MethodGet:
		g.methodNotAllowed(w, r, "GET, POST")
		return
	}
	up := g.initiator(params["iss"])
	if up == nil {
		g.showPage(w, r, Page{
			Status: http.StatusBadRequest, Title: "Unknown login service",
			Text:  "Another site sent you here to log in, but not for a login service of this site.",
			Links: []Link{{g.config.at.Home(), "Go to the site"}},
		})
		return
	}
	target := g.returnTo(strings.TrimPrefix(params.Get("target_link_uri"), g.config.at.URL("")))
	if v := g.peek(w, r); v.mayBeSignedIn() {
		page.Redirect(w, g.config.at.URL(target))
		return
	}
	login := url.Values{"return_to": {target}, "provider": {cmp.Or(up.name, unnamed)}}
	if hint := params["login_hint"]; len(hint) == 1 {
		login["login_hint"] = hint
	}
	page.Redirect(w, g.config.at.OwnURL("/login", "")+"?"+login.Encode())
}

// initiator returns the provider with that issuer whose logins others may begin, or nil.
func (g *Gate) initiator(issuers []string) *upstream {
	for _, up := range g.providers {
		if len(issuers) == 1 && up.issuer == issuers[0] && up.thirdParty {
			return up
		}
	}
	return nil
}
