// Package devpage is a page for developers that shows what the gate knows: its providers, the
// visitor's session, claims and tokens, and the last events. It is for a service on a loopback host
// alone. It shows no token that could be used, no secret and no session id.
//
//	page.go       who gets the page, and its buttons
//	view.go       what the page has
//	session.go    the visitor's session
//	providers.go  the providers
//	recent.go     the last events
//	values.go     claims and times in words
package devpage

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"html/template"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/oidcgate/oidcgate/internal/browser"
	"github.com/oidcgate/oidcgate/internal/front"
	"github.com/oidcgate/oidcgate/internal/page"
	"github.com/oidcgate/oidcgate/internal/session"
	"github.com/oidcgate/oidcgate/internal/weburl"
)

// Page serves the page. Every field is needed.
type Page struct {
	Front  *front.Front
	Recent *Recent

	Idle         time.Duration // after which a session that is not used ends
	ClaimsMaxAge time.Duration // after which claims are read again; zero: never
}

//go:embed page.css
var style string

//go:embed page.html
var source string

var (
	parsed    = template.Must(template.New("dev").Parse(source))
	styleHash = sha256.Sum256([]byte(style))
)

// policy lets the page load its own style and post to this site, and nothing else.
var policy = "default-src 'none'; style-src 'sha256-" +
	base64.StdEncoding.EncodeToString(styleHash[:]) +
	"'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// Serve answers a request for the page. It needs no login: whoever works on a login that fails has
// none.
func (p *Page) Serve(w http.ResponseWriter, r *http.Request) {
	if why := p.stranger(r); why != "" {
		p.refuse(w, r, http.StatusForbidden, "Not for you", why)
		return
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		p.show(w, r)
	case http.MethodPost:
		p.act(w, r)
	default:
		w.Header().Set("Allow", "GET, POST")
		p.refuse(w, r, http.StatusMethodNotAllowed, "Wrong method",
			"This address does not accept requests of this kind.")
	}
}

// stranger says why a request does not come from the developer's own browser, or "". Another site
// may have a name that leads to this machine (DNS rebinding): its requests have that name as their
// host. Programs of other machines can write any host, but not come from this machine.
func (p *Page) stranger(r *http.Request) string {
	scheme, host, _ := strings.Cut(p.Front.Site.Origin, "://")
	switch {
	case weburl.Origin(&url.URL{Scheme: scheme, Host: r.Host}) != p.Front.Site.Origin:
		return "This page is at " + p.address() + " alone: open it there. The request named a host " +
			"other than " + host + ", which is that of BaseURL."
	case isRemote(r.RemoteAddr):
		return "This page is for browsers on the machine on which the service runs, and the request " +
			"came from another one, or from outside of a container."
	case isForeign(r):
		return "Another site asked for this page. Open it yourself."
	case r.Method == http.MethodPost && p.Front.Origins.Check(r) != nil:
		return "Another site posted this form. Nothing was done."
	}
	return ""
}

// isRemote reports whether an address of http.Request.RemoteAddr is one of another machine. One
// that is none, as of a Unix socket, is not.
func isRemote(address string) bool {
	a, err := netip.ParseAddrPort(address)
	return err == nil && !a.Addr().IsLoopback()
}

// isForeign reports whether a page of another origin loads this one as a part of itself: as a
// script, a frame or an image (W3C Fetch Metadata). A link may lead here.
func isForeign(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
		return false
	}
	return !browser.IsNavigation(r)
}

func (p *Page) address() string { return p.Front.Site.OwnURL("/dev", "") }

// refuse answers with a page that shows nothing of the gate.
func (p *Page) refuse(w http.ResponseWriter, r *http.Request, status int, title, text string) {
	p.Front.Show(w, r, page.Page{Kind: page.KindRefused, Status: status, Title: title, Text: text})
}

func (p *Page) show(w http.ResponseWriter, r *http.Request) {
	v := p.Front.Peek(w, r)
	p.Front.Forget(w, r, v)
	page.Headers(w)
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", policy)
	h.Set("Referrer-Policy", "same-origin") // forms that are posted have an origin
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	w.WriteHeader(http.StatusOK) // that of gin is 404, where it has no route
	if err := parsed.Execute(w, p.view(r, v)); err != nil {
		p.Front.Logger.Debug("oidcgate: writing an answer", "err", err)
	}
}

// The buttons.
const (
	doRenew = "renew"
	doEnd   = "end"
)

// outcomes say what came of a button. The address of the page has the name of one.
var outcomes = map[string]string{
	"renewed": "Done. The times are new; the events say what happened.",
	"refused": "The session has ended: the provider or OnLogin refused it. The events say why.",
	"failed":  "That did not work. The events say why, and what to do.",
	"ended":   "The session has ended here. At the provider it goes on.",
	"kept":    "The session could not be ended. The events say why, and what to do.",
	"nobody":  "Nobody is signed in any more.",
}

// act does what a button says, and leads back to the page.
func (p *Page) act(w http.ResponseWriter, r *http.Request) {
	const maxForm = 4 << 10
	if browser.ReadForm(w, r, maxForm) != nil {
		p.refuse(w, r, http.StatusBadRequest, "Not understood", "The form could not be read.")
		return
	}
	outcome := "nobody"
	if s := p.Front.Peek(w, r).Session; s != nil {
		switch r.PostForm.Get("do") {
		case doRenew:
			outcome = renewed(p.Front.Keeper.Renew(r.Context(), s))
		case doEnd:
			outcome = p.end(r.Context(), s)
		default:
			p.refuse(w, r, http.StatusBadRequest, "Not understood", "There is no such button.")
			return
		}
	}
	page.Redirect(w, p.address()+"?"+url.Values{"done": {outcome}}.Encode())
}

func renewed(err error) (outcome string) {
	switch {
	case err == nil:
		return "renewed"
	case errors.Is(err, session.ErrGone):
		return "refused"
	}
	return "failed"
}

func (p *Page) end(ctx context.Context, s *session.Session) (outcome string) {
	ctx, cancel := session.Detached(ctx)
	defer cancel()
	if _, err := p.Front.Keeper.LogOut(ctx, s); err != nil {
		return "kept"
	}
	return "ended"
}
