package front

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
func (f *Front) initiate(w http.ResponseWriter, r *http.Request) {
	params := r.URL.Query()
	switch {
	case r.Method == http.MethodPost:
		// A post from another site has no cookies. The same as a GET has them. What cannot be read of
		// the form counts as left out.
		_ = browser.ReadForm(w, r, maxForm)
		again := url.Values{}
		for _, name := range []string{"iss", "login_hint", "target_link_uri"} {
			again[name] = r.PostForm[name]
		}
		page.Redirect(w, f.Site.OwnURL("/initiate", "")+"?"+again.Encode())
		return
	case r.Method != http.MethodGet:
		f.methodNotAllowed(w, r, "GET, POST")
		return
	}
	var up *Provider
	if issuers := params["iss"]; len(issuers) == 1 {
		up = f.Providers.Initiator(issuers[0])
	}
	if up == nil {
		f.Show(w, r, page.Page{
			Kind: page.KindRefused, Status: http.StatusBadRequest, Say: page.LoginUnknown,
			Links: []page.Link{{URL: f.Site.Home(), Say: page.GoToSite}},
		})
		return
	}
	path := strings.TrimPrefix(params.Get("target_link_uri"), f.Site.URL(""))
	target := f.returnTo(r.Context(), path)
	if v := f.Peek(w, r); v.MayBeSignedIn() {
		page.Redirect(w, f.Site.URL(target))
		return
	}
	login := url.Values{
		"return_to": {target}, "provider": {cmp.Or(up.Name, unnamed)}, "login_hint": params["login_hint"],
	}
	page.Redirect(w, f.loginAddress(login))
}
