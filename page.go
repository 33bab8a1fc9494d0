package oidcgate

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"html/template"
	"log/slog"
	"net/http"
	"strings"
)

// Page is what the browser is told. Everything in it is the gate's own text (or the application's, from
// [Deny]); nothing comes from the request or from the provider.
type Page struct {
	Status    int
	Title     string
	Text      string // one or two sentences
	Reason    Reason // of a refused login; empty otherwise
	Reference string // stands in the log too; empty where there is nothing to look up
	Links     []Link // where to go from here
	form      *form
}

// Link is a way on from a [Page].
type Link struct{ URL, Text string }

// form is a button that posts.
type form struct{ Action, Label, ReturnTo, FormAction string }

// retryAfter is the number of seconds after which a 503 may be tried again.
const retryAfter = "5"

// ownHeaders sets what every answer of the gate's own has, redirects included: it stays out of caches and
// frames, tells the next site nothing of its address, and is what its Content-Type says.
func ownHeaders(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Content-Security-Policy", "frame-ancestors 'none'")
}

// redirect sends the browser to an address the gate made: an absolute one, set directly. http.Redirect would
// rewrite it, so that what was checked is not what is sent.
func redirect(w http.ResponseWriter, location string) {
	ownHeaders(w)
	w.Header().Set("Location", location)
	w.WriteHeader(http.StatusSeeOther)
}

// showPage answers with a page, or with problem+json (RFC 9457) where the client is a script.
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
		g.config.ErrorPage(w, r, p) // the policy for content is the application's, which has styles of its own
		return
	}
	h.Set("Content-Security-Policy", contentPolicy(p.form))
	if p.form != nil {
		// With no-referrer browsers post "Origin: null", which the check of the origin refuses.
		h.Set("Referrer-Policy", "same-origin")
	}
	w.WriteHeader(p.Status)
	if err := pageTemplate.Execute(w, pageData{Page: p, Style: template.CSS(pageStyle), Form: p.form}); err != nil {
		g.config.Logger.Debug("oidcgate: writing a page", slog.Any("err", err))
	}
}

func (g *Gate) writeProblem(w http.ResponseWriter, p Page) {
	problem := map[string]any{"type": "about:blank", "title": p.Title, "status": p.Status, "detail": p.Text}
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
		g.config.Logger.Debug("oidcgate: writing an answer", slog.Any("err", err))
	}
}

// contentPolicy lets a page do nothing but show its own style and, where it has a form, post it here and be
// redirected to the provider, which browsers count as part of the form's action.
func contentPolicy(f *form) string {
	action := "'none'"
	if f != nil {
		action = strings.TrimSpace("'self' " + f.FormAction)
	}
	return "default-src 'none'; style-src 'sha256-" + pageStyleHash + "'; form-action " + action +
		"; base-uri 'none'; frame-ancestors 'none'"
}

func (g *Gate) methodNotAllowed(w http.ResponseWriter, r *http.Request, allow string) {
	w.Header().Set("Allow", allow)
	g.showPage(w, r, Page{Status: http.StatusMethodNotAllowed, Title: "Not like this", Text: "This address does not answer to this kind of request."})
}

type pageData struct {
	Page
	Style template.CSS
	Form  *form
}

const pageStyle = `
:root{color-scheme:light dark}
body{margin:0;min-height:100vh;display:grid;place-items:center;font:1.05rem/1.5 system-ui,sans-serif;background:#f4f5f7;color:#1c2430}
main{max-width:26rem;margin:1rem;padding:2rem;background:#fff;border-radius:.8rem;box-shadow:0 1px 3px #0002,0 8px 24px #0001}
h1{margin:0 0 .6rem;font-size:1.4rem}
p{margin:.6rem 0}
a,button{display:inline-block;margin:.6rem .6rem 0 0;padding:.55rem 1.1rem;border:0;border-radius:.45rem;background:#1d4ed8;color:#fff;font:inherit;text-decoration:none;cursor:pointer}
form{display:inline}
form~a{background:none;color:inherit;box-shadow:inset 0 0 0 1px currentColor}
a:focus-visible,button:focus-visible{outline:3px solid #93b4ff;outline-offset:2px}
small{display:block;margin-top:1.4rem;color:#5b6675}
@media(prefers-color-scheme:dark){body{background:#12161c;color:#e6e9ee}main{background:#1c222b}small{color:#9aa5b4}}
`

var pageStyleHash = func() string {
	sum := sha256.Sum256([]byte(pageStyle))
	return base64.StdEncoding.EncodeToString(sum[:])
}()

var pageTemplate = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="robots" content="noindex"><title>{{.Title}}</title><style>{{.Style}}</style></head>
<body><main><h1>{{.Title}}</h1><p>{{.Text}}</p>
{{- with .Form}}<form method="post" action="{{.Action}}">{{if .ReturnTo}}<input type="hidden" name="return_to" value="{{.ReturnTo}}">{{end}}<button>{{.Label}}</button></form>{{end}}
{{- range .Links}}<a href="{{.URL}}">{{.Text}}</a>{{end}}
{{- if .Reference}}<small>Reference: {{.Reference}}{{if .Reason}} &middot; {{.Reason}}{{end}}</small>{{end}}
</main></body></html>
`))
