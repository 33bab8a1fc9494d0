package front

import (
	"cmp"
	"net/http"

	"github.com/oidcgate/oidcgate/internal/page"
)

// unnamed is the value of the parameter provider for the provider whose name is empty.
const unnamed = "."

// choose returns the provider of that name, or the only provider. It returns nil when the name is
// empty or unknown: then the visitor has to choose.
func (f *Front) choose(name string) *Provider {
	switch all := f.Providers.All(); {
	case len(all) == 1:
		return all[0]
	case name == "":
		return nil
	case name == unnamed:
		return f.Providers.Find("")
	}
	return f.Providers.Find(name)
}

func (f *Front) showChoice(w http.ResponseWriter, r *http.Request, returnTo string) {
	p := page.Page{Status: http.StatusOK, Title: "Log in", Text: "Choose where you have your account."}
	for _, up := range f.Providers.All() {
		q := up.Client.LinkValues(r.URL.Query())
		q.Set("return_to", returnTo)
		q.Set("provider", cmp.Or(up.Name, unnamed))
		to := f.Site.OwnURL("/login", "") + "?" + q.Encode()
		p.Links = append(p.Links, page.Link{URL: to, Text: up.Label})
	}
	f.Show(w, r, p)
}
