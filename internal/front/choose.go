package front

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/oidcgate/oidcgate/internal/browser"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/op"
	"github.com/oidcgate/oidcgate/internal/page"
)

// unnamed stands for the provider whose name is empty, where "" means that none is chosen.
const unnamed = "."

// emailField is what the visitor types where the application knows the providers of domains.
const emailField = "email"

// choose returns the provider of that name, or the only provider. It returns nil when the name is
// empty or unknown: then the visitor has to choose.
func (f *Front) choose(name string) *Provider {
	if all := f.Providers.All(); len(all) == 1 {
		return all[0]
	}
	return f.named(name)
}

// named returns the provider that a link or the application names, or nil.
func (f *Front) named(name string) *Provider {
	switch name {
	case "":
		return nil
	case unnamed:
		return f.Providers.Find("")
	}
	return f.Providers.Find(name)
}

// providerFor returns the provider of a login, or nil if the visitor has to choose.
func (f *Front) providerFor(v *Visit, b begun, own op.LoginOptions) (*Provider, *Failure) {
	switch {
	case !b.step.Zero():
		return f.providerOf(v), nil // a step-up goes to the provider of the session
	case own.Provider == "":
		return f.choose(b.query.Get("provider")), nil
	}
	if up := f.named(own.Provider); up != nil {
		return up, nil
	}
	return &Provider{}, &Failure{
		Status: http.StatusInternalServerError, Reason: event.ReasonLoginOptions, Hint: hintOptions,
		Err: fmt.Errorf("Provider: no provider has the name %q", own.Provider),
	}
}

const hintOptions = "mend what Config.LoginOptions, LoginURL or LoginWith asks for; the provider " +
	"without a name is \".\" there; or this replica lacks the provider: call SetProviders in each"

// chooseByEmail begins a login at the provider that has the accounts of an address: POST
// /auth/login. The address is posted, so that no log of addresses has it.
func (f *Front) chooseByEmail(w http.ResponseWriter, r *http.Request) {
	elsewhere := f.Origins.Check(r) != nil
	if elsewhere {
		f.noteElsewhere(r)
	}
	if elsewhere || browser.ReadForm(w, r, maxForm) != nil {
		f.Show(w, r, page.Page{
			Kind: page.KindRefused, Status: http.StatusForbidden, Say: page.LoginElsewhere,
			Links: []page.Link{{URL: f.Site.OwnURL("/login", ""), Say: page.LogIn}},
		})
		return
	}
	query := r.PostForm
	email := query.Get(emailField)
	plain := utf8.ValidString(email) && !strings.ContainsFunc(email, unicode.IsControl)
	if len(email) > maxEmail || !plain {
		email = ""
	}
	name, ok := f.HomeRealm(email)
	up := f.Providers.Find(name)
	if ok && up == nil {
		f.Log(r.Context(), slog.LevelWarn, "Config.HomeRealm names a provider that this gate does not "+
			"have; the visitor was told that the address is unknown", slog.String("provider", short(name)))
	}
	if !ok || up == nil {
		returnTo := f.returnTo(r.Context(), query.Get("return_to"))
		f.showChoice(w, r, choice{query: query, returnTo: returnTo, unknown: true})
		return
	}
	query.Set("provider", cmp.Or(name, unnamed))
	f.beginLogin(w, r, f.Peek(w, r), begun{query: query, hint: email})
}

// maxEmail is how long an address may be (RFC 5321, section 4.5.3.1.3).
const maxEmail = 254

// choice is the page on which a visitor chooses.
type choice struct {
	query    url.Values // of the login that was begun
	returnTo string     // of the query, checked
	unknown  bool       // nobody knows the domain of the address
}

func (f *Front) showChoice(w http.ResponseWriter, r *http.Request, c choice) {
	p := page.Page{Kind: page.KindChoose, Status: http.StatusOK, Say: page.Choose}
	last := f.lastProvider(r)
	for _, up := range f.Providers.All() {
		link := page.Link{
			URL: f.loginAt(up, c.query, c.returnTo), Say: page.ProviderLabel(up.Name), Text: up.Label,
		}
		if up == last {
			link.SayNote = page.UsedLast
			p.Links = slices.Insert(p.Links, 0, link)
			continue
		}
		p.Links = append(p.Links, link)
	}
	if f.HomeRealm != nil {
		p.Say = page.ChooseEmail
		if c.unknown {
			p.Say = page.ChooseUnknown
		}
		p.Form = &page.Form{
			Action: f.Site.OwnURL("/login", ""), Say: page.Continue, Hidden: f.hidden(c),
			Field: page.Field{Name: emailField, Type: "email", Say: page.Email},
		}
	}
	f.Show(w, r, p)
}

// hidden are the fields of the form that the visitor does not see: what the links have too, of any
// provider. The one that is chosen takes its own of them.
func (f *Front) hidden(c choice) map[string]string {
	fields := map[string]string{}
	for _, up := range f.Providers.All() {
		for name, values := range up.Client.LinkValues(c.query) {
			fields[name] = values[0]
		}
	}
	maps.Copy(fields, carried(c.query, c.returnTo))
	delete(fields, emailField)
	return fields
}

// loginAt returns the address of a login that was begun with query, at one provider. It leads to
// returnTo, which may be "".
func (f *Front) loginAt(up *Provider, query url.Values, returnTo string) string {
	q := up.Client.LinkValues(query)
	for name, value := range carried(query, returnTo) {
		if value != "" {
			q.Set(name, value)
		}
	}
	if len(f.Providers.All()) > 1 {
		q.Set("provider", cmp.Or(up.Name, unnamed))
	}
	return f.loginAddress(q)
}

// The last choice is kept in the browser. It says only which link stands first.
func (f *Front) lastCookie() string { return f.Site.CookieName + "-last" }

const lastKept = 180 * 24 * time.Hour

func (f *Front) lastProvider(r *http.Request) *Provider {
	c, err := r.Cookie(f.lastCookie())
	if err != nil || len(f.Providers.All()) == 1 {
		return nil
	}
	return f.choose(c.Value)
}

// keepChoice notes the provider of a login that succeeded, where there is a choice.
func (f *Front) keepChoice(w http.ResponseWriter, r *http.Request, up *Provider) {
	if len(f.Providers.All()) > 1 && f.lastProvider(r) != up {
		f.Cookies.Set(w, f.lastCookie(), cmp.Or(up.Name, unnamed), lastKept)
	}
}
