package page

import (
	"crypto/sha256"
	_ "embed"
	"html/template"
	"net/http"
	"net/url"
)

// Relay is a page that posts an authorization response to the callback, from the callback's own
// site. A script does that at once. If the response is in the form, a button does it too.
type Relay struct {
	Action       string     // where it posts
	Fields       url.Values // the response
	FromFragment bool       // the response is in the page's fragment, not in Fields
	Back         string     // where a visitor without scripts can go
}

// Relayed is a field that every such form has beside the response.
const Relayed = "oidcgate_relayed"

//go:embed relay.html
var relaySource string

//go:embed relay.js
var relayScript string

var (
	relayPage = template.Must(
		template.Must(template.New("relay").Parse(frameSource)).Parse(relaySource))
	relayScriptHash = sha256.Sum256([]byte(relayScript))
)

// ShowRelay answers with p. The page loads and runs nothing but its own style and script, and the
// logo. It has no form-action, for the reason that [Pages.policy] gives: the answer to its form may
// lead to the provider.
func (s *Pages) ShowRelay(w http.ResponseWriter, r *http.Request, p Relay) error {
	Headers(w)
	say, button := relayMessage, Continue
	if p.FromFragment {
		say, button = relayScriptMessage, Back
	}
	t, h := s.in(w, r), w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", t.language)
	h.Set("Content-Security-Policy", s.policyWith("; script-src "+source(relayScriptHash)))
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	w.WriteHeader(http.StatusOK) // that of gin is 404, where it has no route
	return relayPage.Execute(w, struct {
		Relay
		Relayed, Language, Title, Text, Button string
		Look                                   look
		Script                                 template.JS
	}{
		p, Relayed, t.language, t.title(say), t.text(say), t.label(button),
		s.look, template.JS(relayScript),
	})
}
