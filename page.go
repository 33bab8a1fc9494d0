package oidcgate

import "github.com/oidcgate/oidcgate/internal/page"

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
}

// PageKind says what a [Page] is about.
type PageKind string

// The kinds of pages.
const (
	PageLoginFailed   = PageKind(page.KindFailed)      // a login or a linking was refused; see Reason
	PageChoose        = PageKind(page.KindChoose)      // which provider to log in with
	PageLogout        = PageKind(page.KindLogout)      // "Log out?"
	PageSignedOut     = PageKind(page.KindSignedOut)   // after a logout
	PageStillSignedIn = PageKind(page.KindStillIn)     // a logout that failed, or another site's
	PageNotSent       = PageKind(page.KindNotSent)     // a form was posted without a session
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
		Reason: Reason(p.Reason), Reference: p.Reference,
	}
	for _, l := range p.Links {
		c.Links = append(c.Links, Link(l))
	}
	if f := p.Form; f != nil {
		c.Form = &Form{Action: f.Action, Label: f.Label, Hidden: f.Hidden, Field: Field(f.Field)}
	}
	return c
}
