package page

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"slices"

	"github.com/oidcgate/oidcgate/internal/check"
	"github.com/oidcgate/oidcgate/internal/site"
)

// Options are what the application chooses. The zero value is good.
type Options struct {
	Language   func(*http.Request) string
	Words      map[string]map[string]string
	Name       string
	Logo       string
	Accent     string
	AccentDark string
}

// Pages writes the pages of one gate. It may be used concurrently.
type Pages struct {
	words    words
	language func(*http.Request) string // may be nil
	look     look
	styles   string // as the Content-Security-Policy names them
	lacks    []string
}

// Compile checks the options. With a fault the result is of no use.
func Compile(f *check.List, o Options, s *site.Site) *Pages {
	p := &Pages{language: o.Language}
	var faults check.List
	p.words, p.lacks = compileWords(&faults, o.Words)
	p.look = compileLook(&faults, &o, s)
	f.Within("Pages", faults)
	p.styles = source(sha256.Sum256([]byte(p.look.Style)))
	return p
}

// Lacks returns, for each language of the application that lacks texts, their keys.
func (s *Pages) Lacks() []string { return s.lacks }

// Speak fills in the texts of p in the language of a request. It sets no header but Vary.
func (s *Pages) Speak(w http.ResponseWriter, r *http.Request, p Page) Page {
	p.words = s.in(w, r)
	p.Language = p.words.language
	p.Title = cmp.Or(p.Title, p.words.title(p.Say))
	p.Text = cmp.Or(p.Text, p.words.text(p.Say))
	p.Links = slices.Clone(p.Links)
	for i := range p.Links {
		l := &p.Links[i]
		l.Text, l.Note = cmp.Or(p.words.label(l.Say), l.Text), cmp.Or(l.Note, p.words.label(l.SayNote))
	}
	if p.Form != nil {
		form := *p.Form
		form.Label = cmp.Or(form.Label, p.words.label(form.Say))
		form.Field.Label = cmp.Or(form.Field.Label, p.words.label(form.Field.Say))
		p.Form = &form
	}
	return p
}

// Language returns the language of the texts for a request, a tag (BCP 47).
func (s *Pages) Language(r *http.Request) string {
	t, _ := s.choose(r)
	return t.language
}

// in returns the texts for a request.
func (s *Pages) in(w http.ResponseWriter, r *http.Request) texts {
	t, byHeader := s.choose(r)
	if byHeader {
		w.Header().Add("Vary", "Accept-Language")
	}
	return t
}

// choose returns the texts for a request, and whether they were chosen by its Accept-Language.
func (s *Pages) choose(r *http.Request) (t texts, byHeader bool) {
	wanted := ""
	if s.language != nil {
		wanted = s.language(r)
	}
	return s.words.in(r, wanted)
}

// Show answers with p in HTML. [Headers] and [Pages.Speak] were called before.
func (s *Pages) Show(w http.ResponseWriter, p Page) error {
	w.Header().Set("Content-Language", p.Language)
	w.Header().Set("Content-Security-Policy", s.policy(p.Form))
	w.WriteHeader(p.Status)
	return s.write(w, p)
}

func (s *Pages) write(w io.Writer, p Page) error {
	return parsed.Execute(w, struct {
		Page
		Look look
	}{p, s.look})
}

// policy returns the Content-Security-Policy of a page with that form, which may be nil. The page
// may load its own style, the logo and nothing else. A page without a form can post nothing. One
// with a form has no form-action: browsers apply that to every address to which the answer is
// redirected, and a provider's logout may pass addresses that nobody here knows. No other form can
// come into the page: all of its texts are escaped.
func (s *Pages) policy(f *Form) string {
	if f != nil {
		return s.policyWith("")
	}
	return s.policyWith("; form-action 'none'")
}

// policyWith returns the Content-Security-Policy of every page, with more in it.
func (s *Pages) policyWith(more string) string {
	image := ""
	if s.look.imageSource != "" {
		image = "; img-src " + s.look.imageSource
	}
	return "default-src 'none'; style-src " + s.styles + image + more +
		"; base-uri 'none'; frame-ancestors 'none'"
}

// source is what a Content-Security-Policy calls an inline style or script of that hash.
func source(hash [sha256.Size]byte) string {
	return "'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) + "'"
}
