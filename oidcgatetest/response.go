package oidcgatetest

import (
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// The response types and modes (OpenID Connect Core, 3; OAuth 2.0 Form Post Response Mode; JARM).
var (
	responseTypes = []string{"code", "code id_token", "id_token"}
	responseModes = []string{
		"query", "fragment", "form_post", "jwt", "query.jwt", "fragment.jwt", "form_post.jwt",
	}
)

// responseType returns the response type with its words in alphabetical order: their order has no
// meaning (OAuth 2.0 Multiple Response Type Encoding Practices, 3).
func responseType(params url.Values) string {
	words := strings.Fields(params.Get("response_type"))
	slices.Sort(words)
	return strings.Join(words, " ")
}

// responseMode returns the mode by which the request is answered, without ".jwt", and whether the
// response is a signed object.
func responseMode(params url.Values) (mode string, signed bool) {
	mode, signed = strings.CutSuffix(params.Get("response_mode"), "jwt")
	mode = strings.TrimSuffix(mode, ".")
	switch {
	case mode != "":
		return mode, signed
	case strings.Contains(params.Get("response_type"), "id_token"):
		return "fragment", signed
	}
	return "query", signed
}

// isResponseMode reports whether the mode exists and fits the type: no ID Token is written into a
// query.
func isResponseMode(params url.Values) bool {
	if !params.Has("response_mode") {
		return true
	}
	mode, _ := responseMode(params)
	return slices.Contains(responseModes, params.Get("response_mode")) &&
		(mode != "query" || responseType(params) == "code")
}

// newResponse logs the user in and returns what the response type asks for.
func (p *Provider) newResponse(params url.Values, u User) url.Values {
	g := p.newGrant(params, u)
	response := url.Values{}
	hashes := map[string]any{}
	if responseType(params) != "id_token" {
		code := p.newCode(g)
		response.Set("code", code)
		hashes["c_hash"] = halfHash(p.hashAlgorithm(g.clientID), code)
	}
	if responseType(params) != "code" {
		response.Set("id_token", p.newIDToken(g, g.nonce, hashes))
	}
	return response
}

// respond sends the authorization response, with iss against mix-up (RFC 9207).
func (l *Login) respond(response url.Values) {
	p := l.provider
	if state := l.Params.Get("state"); state != "" {
		response.Set("state", state)
	}
	mode, signed := responseMode(l.Params)
	if signed {
		response = url.Values{"response": {p.newResponseObject(l.ClientID, response)}}
	} else if !hasTenants(p.Issuer()) {
		response.Set("iss", p.Issuer())
	}
	if change := first(p, &p.nextResponses); change != nil {
		change(response)
	}
	to := l.Params.Get("redirect_uri")
	switch mode {
	case "form_post":
		postTo(l.w, to, response)
	case "fragment":
		redirectTo(l.w, to+"#"+response.Encode(), nil)
	default:
		redirectTo(l.w, to, response)
	}
}

// newResponseObject signs a response (JARM, 2.1).
func (p *Provider) newResponseObject(clientID string, response url.Values) string {
	claims := map[string]any{
		"iss": p.Issuer(), "aud": clientID, "exp": time.Now().Add(5 * time.Minute).Unix(),
	}
	for name := range response {
		claims[name] = response.Get(name)
	}
	c, _ := p.client(clientID)
	object := p.newJWT(claims, c.Response, c)
	if change := first(p, &p.nextObjects); change != nil {
		change(object)
	}
	return object.Compact()
}

// NextResponse calls change with the parameters of the next authorization response just before it
// is sent. Each further call applies to one further response.
func (p *Provider) NextResponse(change func(url.Values)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.nextResponses = append(p.nextResponses, change)
}

// NextResponseObject is like [Provider.NextResponse] for signed responses: it calls change with the
// JWT just before it is signed.
func (p *Provider) NextResponseObject(change func(*JWT)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.nextObjects = append(p.nextObjects, change)
}

// first removes the first of a list and returns it, or the zero value if the list is empty.
func first[T any](p *Provider, list *[]T) T {
	p.mu.Lock()
	defer p.mu.Unlock()
	var one T
	if len(*list) > 0 {
		one, *list = (*list)[0], (*list)[1:]
	}
	return one
}

var postPage = template.Must(template.New("post").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>One moment</title></head>
<body onload="document.forms[0].submit()"><form method="post" action="{{.Action}}">
{{- range $name, $values := .Fields}}{{range $values}}
<input type="hidden" name="{{$name}}" value="{{.}}">{{end}}{{end}}
<noscript><button>Continue</button></noscript></form></body></html>
`))

// postTo has the browser post the response to a registered URL (OAuth 2.0 Form Post Response Mode,
// 2).
func postTo(w http.ResponseWriter, registered string, response url.Values) {
	noStore(w)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = postPage.Execute(w, struct {
		Action string
		Fields url.Values
	}{registered, response})
}

// redirectTo redirects the browser to a registered URL and adds query to the URL's own query. The
// status is 303, because after a 307 the browser would post the login form, with the password, to
// the client (RFC 9700, 4.12).
func redirectTo(w http.ResponseWriter, registered string, query url.Values) {
	separator := "?"
	if strings.Contains(registered, "?") {
		separator = "&"
	}
	if len(query) > 0 {
		registered += separator + query.Encode()
	}
	noStore(w)
	w.Header().Set("Referrer-Policy", "no-referrer")
	w.Header().Set("Location", registered)
	w.WriteHeader(http.StatusSeeOther)
}
