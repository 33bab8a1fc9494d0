package oidcgate

import "github.com/oidcgate/oidcgate/internal/page"

// Page is what the gate tells a visitor. Its texts are the gate's, or the application's from
// [Deny]; none comes from the request or from the provider.
type Page struct {
	Status    int
	Title     string
	Text      string // one or two sentences
	Reason    Reason // of a refused login; empty otherwise
	Reference string // is in the log too; empty if the log has nothing about this page
	Links     []Link // where to go from here
}

// Link is a link on a [Page].
type Link struct{ URL, Text string }

// publicPage returns a page as [Config.ErrorPage] gets it.
func publicPage(p page.Page) Page {
	c := Page{
		Status: p.Status, Title: p.Title, Text: p.Text, Reason: Reason(p.Reason), Reference: p.Reference,
	}
	for _, l := range p.Links {
		c.Links = append(c.Links, Link(l))
	}
	return c
}
