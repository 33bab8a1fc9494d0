package visitor

import (
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// Page is a response with its whole body.
type Page struct {
	URL    *url.URL // after all redirects
	Status int
	Header http.Header
	Body   string

	forms []*Form
	links map[string]string // addresses by text
}

// Form is a form of a page with the values it came with.
type Form struct {
	ID     string
	Method string
	Action *url.URL
	Fields url.Values

	foreign      bool // it was posted from a page of another host
	fromFragment bool // what the page's fragment has is posted too
}

// NewForm returns a form without fields that is sent to an address, like a form of a page that was
// opened earlier.
func NewForm(address string) *Form {
	u, err := url.Parse(address)
	if err != nil {
		panic(err)
	}
	return &Form{Method: http.MethodPost, Action: u, Fields: url.Values{}}
}

func newPage(t testing.TB, resp *http.Response) *Page {
	t.Helper()
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("reading %s: %v", resp.Request.URL, err)
	}
	p := &Page{URL: resp.Request.URL, Status: resp.StatusCode, Header: resp.Header, Body: string(body)}
	if !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
		return p
	}
	root, err := html.Parse(strings.NewReader(p.Body))
	if err != nil {
		t.Fatalf("parsing %s: %v", p.URL, err)
	}
	p.readForms(t, root)
	p.readLinks(t, root)
	return p
}

// Link returns the address of the link with a text, or "".
func (p *Page) Link(text string) string { return p.links[text] }

// Location returns the target of a redirect that was not followed, or "".
func (p *Page) Location() string {
	u, err := p.URL.Parse(p.Header.Get("Location"))
	if p.Header.Get("Location") == "" || err != nil {
		return ""
	}
	return u.String()
}

// Form returns a copy of the form with an id, or nil.
func (p *Page) Form(id string) *Form {
	return p.find(func(f *Form) bool { return f.ID == id })
}

// FormWith returns a copy of the first form with a field, or nil.
func (p *Page) FormWith(field string) *Form {
	return p.find(func(f *Form) bool { return f.Fields.Has(field) })
}

// FormTo returns a copy of the first form whose action has a path, or nil.
func (p *Page) FormTo(path string) *Form {
	return p.find(func(f *Form) bool { return f.Action.Path == path })
}

// submits are how the pages of several providers, and ours, post a form by script.
var submits = []string{"forms[0].submit()", "submit.call(form)", `onload="document.acsForm.submit();"`, "/common/js/redirect.min.js"}

// posted returns the form that a script of the page posts at once, or nil.
func (p *Page) posted() *Form {
	if !slices.ContainsFunc(submits, func(s string) bool { return strings.Contains(p.Body, s) }) {
		return nil
	}
	f := p.find(func(*Form) bool { return true })
	if f == nil {
		return nil
	}
	f.foreign = f.Action.Hostname() != p.URL.Hostname()
	if more, err := url.ParseQuery(p.URL.EscapedFragment()); err == nil && f.fromFragment {
		for name, values := range more {
			f.Fields[name] = values
		}
	}
	return f
}

func (p *Page) find(match func(*Form) bool) *Form {
	for _, f := range p.forms {
		if match(f) {
			c := *f
			c.Fields = make(url.Values, len(f.Fields))
			for name, values := range f.Fields {
				c.Fields[name] = append([]string(nil), values...)
			}
			return &c
		}
	}
	return nil
}

func (p *Page) readForms(t testing.TB, root *html.Node) {
	t.Helper()
	for n := range root.Descendants() {
		if n.Type != html.ElementNode || n.Data != "form" {
			continue
		}
		action, err := p.URL.Parse(attribute(n, "action"))
		if err != nil {
			t.Fatalf("a form of %s has the action %q: %v", p.URL, attribute(n, "action"), err)
		}
		f := &Form{ID: attribute(n, "id"), Method: strings.ToUpper(attribute(n, "method")), Action: action, Fields: url.Values{}}
		f.fromFragment = slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == "data-fragment" })
		for field := range n.Descendants() {
			if isTextField(field) {
				f.Fields.Add(attribute(field, "name"), attribute(field, "value"))
			}
		}
		p.forms = append(p.forms, f)
	}
}

func (p *Page) readLinks(t testing.TB, root *html.Node) {
	t.Helper()
	p.links = make(map[string]string)
	for n := range root.Descendants() {
		if n.Type != html.ElementNode || n.Data != "a" {
			continue
		}
		to, err := p.URL.Parse(attribute(n, "href"))
		if err != nil {
			t.Fatalf("a link of %s leads to %q: %v", p.URL, attribute(n, "href"), err)
		}
		p.links[textOf(n)] = to.String()
	}
}

// textOf returns the text of an element without that of the elements in it, such as a note.
func textOf(n *html.Node) string {
	var text strings.Builder
	for d := range n.ChildNodes() {
		if d.Type == html.TextNode {
			text.WriteString(d.Data)
		}
	}
	return strings.TrimSpace(text.String())
}

// isTextField excludes buttons, checkboxes and radio buttons, which a browser sends only if they were
// pressed or chosen.
func isTextField(n *html.Node) bool {
	if n.Type != html.ElementNode || n.Data != "input" || attribute(n, "name") == "" {
		return false
	}
	switch attribute(n, "type") {
	case "submit", "button", "image", "reset", "checkbox", "radio":
		return false
	}
	return true
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}
