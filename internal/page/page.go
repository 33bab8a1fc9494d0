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

// Kind says what a page is about.
type Kind string

// The kinds.
const (
	KindFailed      Kind = "login_failed" // a login or a linking was refused; Reason says why
	KindChoose      Kind = "choose"       // which provider to log in with
	KindLogout      Kind = "logout"       // "Log out?"
	KindSignedOut   Kind = "signed_out"
	KindStillIn     Kind = "still_in"    // a logout that failed, or was not asked for here
	KindNotSent     Kind = "not_sent"    // a form that was posted without a session
	KindRequired    Kind = "required"    // a login is required; for scripts
	KindForbidden   Kind = "forbidden"   // a rule of a guard refuses
	KindUnavailable Kind = "unavailable" // the store does not answer
	KindRefused     Kind = "refused"     // the request makes no sense, or the service is not set up
)

// Page is the content of a page. All of it is plain text, which [Write] escapes.
type Page struct {
	Kind              Kind
	Status            int
	Title, Text       string
	Reason, Reference string // may be empty
	Links             []Link
	Form              *Form // may be nil
}

// Link is a link on a [Page]. Note says more about it, and may be empty.
type Link struct{ URL, Text, Note string }

// Form is a button that posts to Action: what is hidden, and what is typed into the field, if there
// is one.
type Form struct {
	Action, Label string
	Hidden        map[string]string
	Field         Field // the zero value: none
}

// Field is where the visitor types. Type is that of HTML.
type Field struct{ Name, Type, Label string }

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
