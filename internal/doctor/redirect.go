package doctor

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/op"
)

// redirect says which redirect URI has to be registered, and tries whether it is.
func (r *report) redirect(ctx context.Context, o Options) {
	const name = "redirect"
	look := "look whether " + r.cfg.RedirectURL + " is registered at the provider"
	switch {
	case r.cfg.RedirectURL == "":
		r.warn(name, "the redirect URI follows from the base URL, which is not given",
			"give BaseURL (-base-url)")
	case o.WithoutLogin:
		r.skip(name, "not tried, because there is no client id", look)
	case r.seen.Refused != nil:
		r.skip(name, "not tried, because of the faults above", look)
	case o.WithoutSecret && r.seen.Metadata.PushedRequired:
		r.skip(name, "not tried, because the provider takes only pushed requests, which need the "+
			"client's secret or key", look)
	default:
		h, err := r.seen.TryLogin(ctx, !o.WithoutSecret)
		if err != nil {
			r.notTried(err)
			return
		}
		r.reaction(h)
		r.token(ctx, o)
	}
}

// token tries whether the token endpoint takes the client.
func (r *report) token(ctx context.Context, o Options) {
	const name = "token"
	switch {
	case r.cfg.ResponseType == op.TypeIDToken:
	case o.WithoutSecret:
		r.skip(name, "not tried: how the client authenticates, or its secret, is not given",
			"log in once, or give -auth with OIDC_CLIENT_SECRET or -key")
	default:
		r.tried(r.seen.TryCode(ctx))
	}
}

// tried reads what the token endpoint says of a code that nobody has.
func (r *report) tried(refusal error) {
	const name = "token"
	e, ok := errors.AsType[*op.Error](refusal)
	switch {
	case refusal == nil:
		r.fault(name, "the token endpoint gives tokens for a code that nobody has",
			"do not use this provider: anybody could log in")
	case ok && e.Code == "invalid_grant":
		r.ok(name, "the token endpoint refuses a code that nobody has, and not the client")
	case ok && (e.Code == "invalid_client" || e.Code == "unauthorized_client"):
		r.fault(name, "the token endpoint refuses the client: "+e.Code+described(e.Description), e.Hint)
	case ok && e.Reason == event.ReasonClientSecret:
		r.fault(name, plain(errorText(e)), cmp.Or(e.Hint, "look at the function that gives the client "+
			"its secret or key"))
	case ok && e.Address != "":
		r.fault(name, plain(errorText(e)+", at "+e.Address), cmp.Or(e.Hint, "compare the address of "+
			"the token endpoint with the provider's manual, and try to reach it from here"))
	default:
		r.warn(name, "the token endpoint answers a code that nobody has with "+
			plain(errorText(refusal))+"; nothing follows from that", "log in once")
	}
}

// register is the cure for a redirect URI that the provider does not know.
func (r *report) register() string {
	return "register " + r.cfg.RedirectURL + " at the provider, letter for letter, for the client " +
		quoted(r.cfg.ClientID)
}

// notTried says why no authorization request could be made. A provider that takes pushed requests
// tells then what is wrong with the client.
func (r *report) notTried(err error) {
	const name = "redirect"
	e, ok := errors.AsType[*op.Error](err)
	switch {
	case ok && (e.Code == "invalid_client" || e.Code == "unauthorized_client"):
		r.fault("authentication", "the provider refuses the client when a request is pushed: "+e.Code+
			described(e.Description), "check client id, secret and authentication method")
	case ok && e.Code != "":
		r.fault(name, "the provider refuses the pushed request: "+e.Code+described(e.Description),
			r.register()+", and compare the scopes and parameters that are allowed for it")
	default:
		r.warn(name, "whether "+r.cfg.RedirectURL+" is registered could not be tried: "+
			plain(errorText(err)), r.register())
	}
}

func described(text string) string {
	if text == "" {
		return ""
	}
	return " (" + quoted(text) + ")"
}

// reaction reads what a provider does with an authorization request with prompt=none from a browser
// that it does not know. If all is registered, it sends the browser back with login_required.
func (r *report) reaction(h op.Heard) {
	const name = "redirect"
	switch {
	case h.Status >= 300 && h.Status < 400 && r.isOurs(h.Location):
		r.sentBack(errorCode(h.Location))
	case h.Status >= 300 && h.Status < 400 && names(redirectURI, []byte(unescaped(h.Location))):
		r.fault(name, "the provider leads to a page of its own about redirect_uri", r.register())
	case h.Status >= 300 && h.Status < 400:
		r.warn(name, "the provider leads to "+quoted(withoutQuery(h.Location))+" in place of "+
			r.cfg.RedirectURL+"; nothing follows from that", r.register())
	case names(redirectURI, h.Body):
		r.fault(name, fmt.Sprintf("the provider shows an error page about redirect_uri (status %d)",
			h.Status), r.register())
	case h.Status == http.StatusOK && bytes.Contains(h.Body, []byte(r.cfg.RedirectURL)):
		r.ok(name, "%s is registered: the provider posts its answer there", r.cfg.RedirectURL)
	case h.Status >= 400 && names(client, h.Body):
		r.fault("client", fmt.Sprintf("the provider shows an error page about the client (status %d)",
			h.Status), "check the client id "+quoted(r.cfg.ClientID)+" and that the client is enabled")
	case h.Status == http.StatusNotFound && r.cfg.Endpoints.Authorization != "":
		r.fault(name, plain(h.Address)+" answers with status 404",
			"compare Endpoints.Authorization with the authorization_endpoint in the provider's manual; "+
				"if it is right, "+r.register()+", and check the client id")
	case h.Status >= 400:
		r.fault(name, fmt.Sprintf("the provider shows an error page (status %d)", h.Status),
			r.register()+", and check the client id")
	default:
		r.warn(name, "the provider shows a page in place of sending the browser back; nothing follows "+
			"from that", r.register())
	}
}

// sentBack says what the provider thinks of a request whose redirect URI it knows.
func (r *report) sentBack(code string) {
	known := r.cfg.RedirectURL + " is registered"
	switch code {
	case "", "login_required", "interaction_required", "consent_required",
		"account_selection_required":
		r.ok("redirect", "%s", known)
	case "invalid_scope":
		r.fault("scopes", known+", but the provider refuses the scopes "+joined(r.cfg.Scopes),
			"allow them for this client at the provider, or leave out what it does not know")
	case "unauthorized_client", "unsupported_response_type":
		r.fault("client", known+", but the client may not use response_type "+r.cfg.ResponseType+
			": "+code, "allow the authorization code flow for this client at the provider")
	default:
		r.warn("redirect", known+"; the provider refuses the request with "+plain(code),
			"look into the provider's log; some answer so to a request that may ask nobody (prompt=none)")
	}
}

// isOurs reports whether a redirect leads to the redirect URI.
func (r *report) isOurs(location string) bool { return withoutQuery(location) == r.cfg.RedirectURL }

func withoutQuery(location string) string {
	if i := strings.IndexAny(location, "?#"); i >= 0 {
		return location[:i]
	}
	return location
}

// errorCode returns the error of an authorization response. A signed response hides it.
func errorCode(location string) string {
	u, err := url.Parse(location)
	if err != nil {
		return ""
	}
	fragment, _ := url.ParseQuery(u.Fragment)
	if code := fragment.Get("error"); code != "" {
		return code
	}
	return u.Query().Get("error")
}

var (
	redirectURI = regexp.MustCompile(`(?i)(redirect|callback|return)[\s_-]?(uri|url)s?`)
	client      = regexp.MustCompile(`(?i)client`)
)

// names reports whether a page speaks of something. A parameter in an address, or a field of a form
// or of JSON, is no word of the page.
func names(what *regexp.Regexp, page []byte) bool {
	for _, at := range what.FindAllIndex(page, -1) {
		rest := page[at[1]:]
		if !bytes.HasPrefix(rest, []byte("=")) && !bytes.HasPrefix(rest, []byte("%3")) {
			return true
		}
	}
	return false
}

func unescaped(s string) string {
	if plain, err := url.QueryUnescape(s); err == nil {
		return plain
	}
	return s
}
