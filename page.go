package oidcgate

import (
	"net/http"

	"github.com/oidcgate/oidcgate/internal/browser"
	"github.com/oidcgate/oidcgate/internal/page"
)

// Page is what the gate tells a visitor. Its texts are the gate's, or the application's from
// [Deny]; none comes from the request or from the provider.
type Page struct {
	Status    int
	Title     string
	Text      string // one or two sentences
	Reason    Reason // of a refused login; empty otherwise
	Reference string // is in the log too; empty if the log has nothing about this page
	Links     []Link // where to go from here
	form      *page.Form
}

// Link is a link on a [Page].
type Link struct{ URL, Text string }

// retryAfter is the number of seconds after which a client may try again after a 503.
const retryAfter = "5"

// showPage answers with a page, or with problem+json (RFC 9457) if the client is a script.
func (g *Gate) showPage(w http.ResponseWriter, r *http.Request, p Page) {
	page.Headers(w)
	if browser.IsScript(r) {
		g.written(page.Problem(w, p.content()))
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	if p.Status >= http.StatusBadRequest && g.config.ErrorPage != nil {
		g.config.ErrorPage(w, r, p) // sets a Content-Security-Policy that fits its own styles
		return
	}
	g.written(page.Show(w, p.content()))
}

func (p Page) content() page.Page {
	c := page.Page{
		Status: p.Status, Title: p.Title, Text: p.Text, Reason: string(p.Reason),
		Reference: p.Reference, Form: p.form,
	}
	for _, l := range p.Links {
		c.Links = append(c.Links, page.Link(l))
	}
	return c
}

// written logs that an answer could not be sent. Most often the browser has left.
func (g *Gate) written(err error) {
	if err != nil {
		g.config.Logger.Debug("oidcgate: writing an answer", "err", err)
	}
}

func (g *Gate) methodNotAllowed(w http.ResponseWriter, r *http.Request, allow string) {
	w.Header().Set("Allow", allow)
	g.showPage(w, r, Page{
		Status: http.StatusMethodNotAllowed, Title: "Wrong method",
		Text: "This address does not accept requests of this kind.",
	})
}
