package oidcgate

import "net/http"

// LogoutURL returns the address to POST to for logging out; a GET of it asks for confirmation
// first. After the logout the browser goes to returnTo, a path as in [Gate.LoginURL], or, if that
// is empty, to a page "signed out".
func (g *Gate) LogoutURL(returnTo string) string { return g.config.at.OwnURL("/logout", returnTo) }

// Logout signs the visitor out from a handler of the application, as POST /auth/logout does: it
// ends the session here, then sends the browser to the provider's logout. The provider sends it
// back to returnTo, a path as in [Gate.LoginURL], or to a page that says "signed out" when returnTo
// is empty. The handler must not write after it. Logout does not check the request: call it only
// for a POST behind [http.CrossOriginProtection]. It ends the session of the request's cookie, also
// where an access token has admitted the request, or the context is of [Gate.NewContext].
func (g *Gate) Logout(w http.ResponseWriter, r *http.Request, returnTo string) {
	v := visitFrom(r.Context(), g)
	for v != nil && v.found.CookieID == "" { // NewContext knows no cookie
		v = visitFrom(v.Context, g)
	}
	if v != nil {
		g.front.SignOut(w, r, &v.found, returnTo)
		return
	}
	g.front.SignOut(w, r, g.front.Peek(w, r), returnTo)
}
