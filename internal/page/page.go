// Package page writes the gate's own answers: pages in HTML, problems for scripts, redirects, and
// what they tell.
//
//	answer.go   headers, redirects and problems
//	page.go     HTML
//	relay.go    a page that posts an authorization response to the callback
//	failure.go  what is said of a login that was refused
package page

import (
	"crypto/sha256"
	_ "embed"
	"html/template"
	"io"
)

// Page is the content of a page. All of it is plain text, which [Write] escapes.
type Page struct {
	Status            int
	Title, Text       string
	Reason, Reference string // may be empty
	Links             []Link
	Form              *Form // may be nil
}

// Link is a link on a [Page].
type Link struct{ URL, Text string }

// Form is a button that posts to Action.
type Form struct {
	Action, Label string
	ReturnTo      string // posted as return_to, if it is not empty
}

//go:embed page.css
var style string

//go:embed page.html
var pageSource string

var (
	parsed    = template.Must(template.New("page").Parse(pageSource))
	styleHash = sha256.Sum256([]byte(style))
)

// Write writes p. The caller sets the Content-Security-Policy that [Policy] returns.
func Write(w io.Writer, p Page) error {
	return parsed.Execute(w, struct {
		Page
		Style template.CSS
	}{p, template.CSS(style)})
}

// Policy returns the Content-Security-Policy of a page with that form, which may be nil. The page
// may load its own style and nothing else. A page without a form can post nothing. One with a form
// has no form-action: browsers apply that to every address to which the answer is redirected, and a
// provider's logout may pass addresses that nobody here knows. No other form can come into the
// page: all of its texts are escaped.
func Policy(f *Form) string {
	action := " form-action 'none';"
	if f != nil {
		action = ""
	}
	return "default-src 'none'; style-src " + source(styleHash) + ";" + action +
		" base-uri 'none'; frame-ancestors 'none'"
}
