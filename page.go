package oidcgate

import (
	"encoding/json"
	"net/http"

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

// ownHeaders sets the headers of every answer that the gate itself makes, redirects included: it is
// not cached, not framed, not named in a Referer, and read only as its Content-Type says.
func ownHeaders(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Content-Security-Policy", "frame-ancestors 'none'")
}

// redirect sends the browser to an absolute address that the gate made. It does not use
// http.Redirect, which may rewrite the address after it was checked.
func redirect(w http.ResponseWriter, location string) {
	ownHeaders(w)
	w.Header().Set("Location", location)
	w.WriteHeader(http.StatusSeeOther)
}

// showPage answers with a page, or with problem+json (RFC 9457) if the client is a script.
func (g *Gate) showPage(w http.ResponseWriter, r *http.Request, p Page) {
	ownHeaders(w)
	if isScript(r) {
		g.writeProblem(w, p)
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
	h.Set("Content-Security-Policy", page.Policy(p.form))
	if p.form != nil {
		// With no-referrer, browsers post "Origin: null", which the check of the origin refuses.
		h.Set("Referrer-Policy", "same-origin")
	}
	w.WriteHeader(p.Status)
	if err := page.Write(w, p.html()); err != nil {
		g.config.Logger.Debug("oidcgate: writing a page", "err", err)
	}
}

func (p Page) html() page.Page {
	h := page.Page{
		Title: p.Title, Text: p.Text, Reason: string(p.Reason), Reference: p.Reference, Form: p.form,
	}
	for _, l := range p.Links {
		h.Links = append(h.Links, page.Link(l))
	}
	return h
}

func (g *Gate) writeProblem(w http.ResponseWriter, p Page) {
	problem := map[string]any{
		"type": "about:blank", "title": p.Title, "status": p.Status, "detail": p.Text,
	}
	if p.Reference != "" {
		problem["reference"] = p.Reference
	}
	if p.Reason != "" {
		problem["reason"] = p.Reason
	}
	if p.Status == http.StatusUnauthorized && len(p.Links) > 0 {
		problem["login_url"] = p.Links[0].URL
	}
	body, _ := json.Marshal(problem) // strings and a number: cannot fail
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	if _, err := w.Write(append(body, '\n')); err != nil {
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
