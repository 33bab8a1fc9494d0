package page

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
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
	Login        string     // where a visitor without scripts can begin again
}

// Relayed is a field that every such form has beside the response.
const Relayed = "oidcgate_relayed"

//go:embed relay.html
var relaySource string

//go:embed relay.js
var relayScript string

var (
	relayPage       = template.Must(template.New("relay").Parse(relaySource))
	relayScriptHash = sha256.Sum256([]byte(relayScript))
)

// ShowRelay answers with p. The page loads and runs nothing but its own style and script. It has no
// form-action, for the reason that [Policy] gives: the answer to its form may lead to the provider.
func ShowRelay(w http.ResponseWriter, p Relay) error {
	Headers(w)
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src "+source(styleHash)+
		"; script-src "+source(relayScriptHash)+"; base-uri 'none'; frame-ancestors 'none'")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	return relayPage.Execute(w, struct {
		Relay
		Relayed string
		Style   template.CSS
		Script  template.JS
	}{p, Relayed, template.CSS(style), template.JS(relayScript)})
}

// source is what a Content-Security-Policy calls an inline style or script of that hash.
func source(hash [sha256.Size]byte) string {
	return "'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) + "'"
}
