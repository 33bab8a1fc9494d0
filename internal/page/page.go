// Package page writes the gate's own answers: pages in HTML, problems for scripts, redirects, and
// what they tell.
//
//	pages.go    how the pages of one gate look and speak
//	words.go    what pages say, in all languages
//	look.go     name, logo and colours
//	answer.go   headers, redirects and problems
//	page.go     HTML
//	relay.go    a page that posts an authorization response to the callback
//	failure.go  what is said of a login that was refused
package page

import (
	_ "embed"
	"html/template"
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
	KindNotSent     Kind = "not_sent"    // a form that was posted where a login is needed
	KindRequired    Kind = "required"    // a login is required; for scripts
	KindForbidden   Kind = "forbidden"   // a rule of a guard refuses
	KindUnavailable Kind = "unavailable" // the store does not answer
	KindRefused     Kind = "refused"     // the request makes no sense, or the service is not set up
)

// Page is the content of a page. All of it is plain text, which is escaped. Where a text is empty,
// [Pages.Speak] fills in that of Say, in the visitor's language.
type Page struct {
	Kind              Kind
	Status            int
	Say               Message
	Title, Text       string
	Reason, Reference string // may be empty
	Links             []Link
	Form              *Form // may be nil

	Language string // of the texts, a tag (BCP 47)
	words    texts
}

// Link is a link on a [Page]. Note says more about it, and may be empty.
type Link struct {
	URL        string
	Say        Label
	Text, Note string
	SayNote    Label
}

// Form is a button that posts to Action: what is hidden, and what is typed into the field, if there
// is one.
type Form struct {
	Action string
	Say    Label
	Label  string
	Hidden map[string]string
	Field  Field // the zero value: none
}

// Field is where the visitor types. Type is that of HTML.
type Field struct {
	Name, Type string
	Say        Label
	Label      string
}

// ReferenceLine is how the page names its reference.
func (p Page) ReferenceLine() string { return p.words.reference(p.Reference) }

//go:embed page.css
var style string

//go:embed frame.html
var frameSource string

//go:embed page.html
var pageSource string

var parsed = template.Must(template.Must(template.New("page").Parse(frameSource)).Parse(pageSource))
