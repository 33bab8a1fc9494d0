package oidcgate

import (
	"net/http"

	"github.com/oidcgate/oidcgate/internal/page"
)

// PageOptions set how the gate's own pages speak and look. The zero value is good: English, German
// and French by the visitor's Accept-Language, without name and logo, in blue.
type PageOptions struct {
	// Language, if set, returns the language that the visitor of r reads, as a tag such as "de" (BCP
	// 47). Where it returns "", or a language that no text is in, Accept-Language decides, and then
	// English. Return "en" to have all pages in English. Concurrent requests call it concurrently.
	Language func(r *http.Request) string `json:"-"`

	// Words are texts of the application, by language and key; docs/words.md lists the keys. They take
	// the place of the built-in ones, or add a language, such as "it" or "de-CH". A text that a new
	// language lacks is that of its parent ("de" for "de-CH"), or English.
	Words map[string]map[string]string

	// Name is the name of this service, for visitors. It stands above each page and in its title.
	Name string

	// Logo is an image above each page, in place of Name, which then is its alternative text: a path
	// below BaseURL such as "/logo.svg", which must need no login, or data:image/png;base64,... The
	// Content-Security-Policy allows no other image. It cannot be on another site: the address of the
	// callback, where a page may stand, has code and state (RFC 9700, section 4.2.4).
	Logo string

	// Accent is the colour of buttons, such as "#1d4ed8". If empty, it is blue. Texts on it are black
	// or white, whichever can be read better.
	Accent string

	// AccentDark is the same for visitors whose device is set to dark colours. If empty, it is Accent.
	AccentDark string
}

// PageLanguage returns the language in which the gate's pages speak to the visitor of r, as a tag
// such as "de" (BCP 47), so that the application's own pages can speak it too: one of those that
// are built in or of [PageOptions.Words], by [PageOptions.Language] or Accept-Language. That
// function must not call it. It sets no header: where Accept-Language decides, the answer needs
// "Vary: Accept-Language".
func (g *Gate) PageLanguage(r *http.Request) string { return g.front.Pages.Language(r) }

// Page is what the gate tells a visitor. Its texts are the gate's, or the application's from
// [Deny]; none comes from the request or from the provider.
type Page struct {
	Kind      PageKind
	Status    int
	Title     string
	Text      string // one or two sentences
	Reason    Reason // of a refused login; empty otherwise
	Reference string // is in the log too; empty if the log has nothing about this page
	Links     []Link // where to go from here
	Form      *Form  // nil: there is none
	Language  string // of the texts that are the gate's, such as "de" (BCP 47)
}

// PageKind says what a [Page] is about, such as [PageChoose].
type PageKind string

// The kinds of pages.
const (
	PageLoginFailed   = PageKind(page.KindFailed)      // a login or a linking was refused; see Reason
	PageChoose        = PageKind(page.KindChoose)      // which provider to log in with
	PageLogout        = PageKind(page.KindLogout)      // "Log out?"
	PageSignedOut     = PageKind(page.KindSignedOut)   // after a logout
	PageStillSignedIn = PageKind(page.KindStillIn)     // a logout that failed, or another site's
	PageNotSent       = PageKind(page.KindNotSent)     // a form was posted where a login is needed
	PageForbidden     = PageKind(page.KindForbidden)   // a rule of a guard refuses
	PageUnavailable   = PageKind(page.KindUnavailable) // the store does not answer
	PageRefused       = PageKind(page.KindRefused)     // the request makes no sense here
)

// Link is a link on a [Page]. Note says more about it: that a provider was used last. It is empty
// for most.
type Link struct{ URL, Text, Note string }

// Form is a form on a [Page]: a button with the text Label that posts to Action. Hidden are values
// that are posted as they are.
type Form struct {
	Action, Label string
	Hidden        map[string]string
	Field         Field // what the visitor types; the zero value: nothing
}

// Field is a field of a [Form]. Type is that of HTML's input, such as "email".
type Field struct{ Name, Type, Label string }

// publicPage returns a page as [Config.Page] gets it.
func publicPage(p page.Page) Page {
	c := Page{
		Kind: PageKind(p.Kind), Status: p.Status, Title: p.Title, Text: p.Text,
		Reason: Reason(p.Reason), Reference: p.Reference, Language: p.Language,
	}
	for _, l := range p.Links {
		c.Links = append(c.Links, Link{l.URL, l.Text, l.Note})
	}
	if f := p.Form; f != nil {
		field := Field{f.Field.Name, f.Field.Type, f.Field.Label}
		c.Form = &Form{Action: f.Action, Label: f.Label, Hidden: f.Hidden, Field: field}
	}
	return c
}
