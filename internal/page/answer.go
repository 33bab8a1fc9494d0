package page

import (
	"encoding/json"
	"net/http"
)

// Headers sets the headers of every answer that the gate itself makes, redirects included: it is
// not cached, not framed, not named in a Referer, and read only as its Content-Type says.
func Headers(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Content-Security-Policy", "frame-ancestors 'none'")
}

// Redirect sends the browser to an absolute address that the gate made. It does not use
// http.Redirect, which may rewrite the address after it was checked.
func Redirect(w http.ResponseWriter, location string) {
	Headers(w)
	w.Header().Set("Location", location)
	w.WriteHeader(http.StatusSeeOther)
	_, _ = w.Write(nil) // gin sends the status with the first write, and whoever writes may change it
}

// Problem answers with p as problem+json (RFC 9457), for scripts. With status 401 the first link is
// the address of the login. Title and detail are in the language of p, if it has one (RFC 9457,
// section 3.1): a page with script may show them to the visitor.
func Problem(w http.ResponseWriter, p Page) error {
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
	if p.Language != "" {
		w.Header().Set("Content-Language", p.Language)
	}
	w.WriteHeader(p.Status)
	_, err := w.Write(append(body, '\n'))
	return err
}
