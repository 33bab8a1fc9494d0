package op

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/oidcgate/oidcgate/internal/check"
	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/weburl"
)

// LoginOptions are parameters of an authorization request that the application chooses (OpenID
// Connect Core, 3.1.2.1), for every login or for one. Zero fields send nothing.
type LoginOptions struct {
	Provider             string            `json:"-"` // its name; the request is sent there
	Prompt               string            `json:"p,omitempty"`
	MaxAge               time.Duration     `json:"-"` // sent as AuthorizationRequest.MaxAge
	ACRValues            []string          `json:"-"` // sent as AuthorizationRequest.ACRValues
	LoginHint            string            `json:"h,omitempty"`
	IDTokenHint          string            `json:"-"` // sent as AuthorizationRequest.IDTokenHint
	UILocales            []string          `json:"l,omitempty"`
	Display              string            `json:"d,omitempty"`
	Claims               string            `json:"c,omitempty"`
	AuthorizationDetails string            `json:"a,omitempty"`
	Params               map[string]string `json:"m,omitempty"`
}

// promptCreate asks the provider to register a new user (Initiating User Registration via OpenID
// Connect 1.0, 4).
const promptCreate = "create"

const (
	maxOption    = 8 << 10 // of what the application gives
	maxLinkValue = 256     // of what stands in a link
	maxACR       = 1000    // of the configured acr values, which lie in the attempt's cookie
)

// atOnce as MaxAge asks for a login now, whatever the Prompt is. Nobody configures it, because
// Fault refuses ages below a second.
const atOnce = time.Nanosecond

// Or returns o with the fields of less where its own are empty.
func (o LoginOptions) Or(less LoginOptions) LoginOptions {
	o.Provider = cmp.Or(o.Provider, less.Provider)
	o.Prompt = cmp.Or(o.Prompt, less.Prompt)
	o.MaxAge = cmp.Or(o.MaxAge, less.MaxAge)
	o.LoginHint = cmp.Or(o.LoginHint, less.LoginHint)
	o.IDTokenHint = cmp.Or(o.IDTokenHint, less.IDTokenHint)
	o.Display = cmp.Or(o.Display, less.Display)
	o.Claims = cmp.Or(o.Claims, less.Claims)
	o.AuthorizationDetails = cmp.Or(o.AuthorizationDetails, less.AuthorizationDetails)
	if len(o.ACRValues) == 0 {
		o.ACRValues = less.ACRValues
	}
	if len(o.UILocales) == 0 {
		o.UILocales = less.UILocales
	}
	if len(less.Params) > 0 {
		all := maps.Clone(less.Params)
		maps.Copy(all, o.Params)
		o.Params = all
	}
	return o
}

// Options returns the options of one login: those that the application chose, then those of the
// link, then the configured ones. A link asks for no weaker login than the configuration does. It
// fails with an *Error if one of the application's cannot be sent.
func (c *Client) Options(query url.Values, own LoginOptions) (LoginOptions, error) {
	if field, text := own.Fault(); field != "" {
		return LoginOptions{}, &Error{
			Reason: event.ReasonLoginOptions, Status: http.StatusInternalServerError,
			Hint: "mend what Config.LoginOptions, LoginURL or LinkURL asks for",
			Err:  fmt.Errorf("%s %s", field, text),
		}
	}
	link := fromLink(c.linkValues(query))
	if field, _ := link.Fault(); field != "" {
		link = LoginOptions{} // somebody tries something
	}
	o := own.Or(link.within(c.demanded(own))).Or(c.cfg.Login)
	if own.Prompt == "" && asksForLogin(c.cfg.Login.Prompt) {
		o.MaxAge = atOnce // also with a prompt of the link
	}
	// What the claims parameter demands must come, too: whoever sits at the browser can change the
	// request.
	if classes, essential := acrOf(o.Claims); essential && len(classes) > 0 {
		other := func(acr string) bool { return !slices.Contains(classes, acr) }
		o.ACRValues = slices.DeleteFunc(slices.Clone(o.ACRValues), other)
		if len(o.ACRValues) == 0 {
			o.ACRValues = classes
		}
	}
	return o, nil
}

// demanded returns the options beside which a link may only ask for more: the configured ones, with
// a prompt of Params, and with the classes that the claims parameter of the login names.
func (c *Client) demanded(own LoginOptions) LoginOptions {
	o := c.cfg.Login
	for _, p := range c.cfg.AuthParams {
		if p[0] == "prompt" {
			o.Prompt = cmp.Or(o.Prompt, p[1])
		}
	}
	both, _ := acrOf(cmp.Or(own.Claims, o.Claims))
	if len(o.ACRValues) > 0 {
		both = slices.DeleteFunc(both, func(acr string) bool {
			return !slices.Contains(o.ACRValues, acr)
		})
	}
	if len(both) > 0 {
		o.ACRValues = both
	}
	return o
}

// within returns o, which a link chose, without what is weaker than the configuration: a longer
// max_age, and acr_values that are not among the configured ones. A configured prompt stays beside
// that of the link, unless it is none, or the link is one to register.
func (o LoginOptions) within(configured LoginOptions) LoginOptions {
	if configured.MaxAge > 0 && o.MaxAge > configured.MaxAge {
		o.MaxAge = 0
	}
	if len(configured.ACRValues) > 0 {
		o.ACRValues = slices.DeleteFunc(o.ACRValues, func(acr string) bool {
			return !slices.Contains(configured.ACRValues, acr)
		})
	}
	if o.Prompt != "" && o.Prompt != promptCreate && configured.Prompt != "none" {
		words := strings.Fields(configured.Prompt)
		for _, word := range strings.Fields(o.Prompt) {
			if !slices.Contains(words, word) {
				words = append(words, word)
			}
		}
		o.Prompt = strings.Join(words, " ")
	}
	return o
}

func asksForLogin(prompt string) bool { return slices.Contains(strings.Fields(prompt), "login") }

// LinkValues returns those parameters of a link to the login that count.
func (c *Client) LinkValues(query url.Values) url.Values {
	values := url.Values{}
	for _, p := range c.linkValues(query) {
		values.Set(p[0], p[1])
	}
	if query.Has(AnotherAccount) {
		values.Del("prompt") // follows from it
		values.Set(AnotherAccount, "1")
	}
	return values
}

// linkValues are those parameters of a link to the login that count: prompt=create, which is a link
// to register, another, which is one for another account, and those that the configuration names.
// Each stands there once, is short and has no control characters; otherwise it is left out.
func (c *Client) linkValues(query url.Values) (pairs [][2]string) {
	if v := query["prompt"]; len(v) == 1 && v[0] == promptCreate {
		pairs = append(pairs, [2]string{"prompt", v[0]})
	}
	if query.Has(AnotherAccount) {
		pairs = append(pairs, [2]string{"prompt", c.promptForAnother()})
	}
	for _, name := range c.cfg.LinkParams {
		v := query[name]
		if len(v) == 1 && v[0] != "" && len(v[0]) <= maxLinkValue && isPlain(v[0]) {
			pairs = append(pairs, [2]string{name, v[0]})
		}
	}
	return pairs
}

// AnotherAccount is the parameter of a link to the login that asks the provider to let the user
// choose an account: without it, whoever is logged in there comes back as the same user at once.
const AnotherAccount = "another"

// promptForAnother returns the prompt for a user who wants to log in as somebody else. Most
// providers know select_account. One that says that it does not gets login.
func (c *Client) promptForAnother() string {
	const choose = "select_account"
	m, known := c.Known()
	if known && m.PromptValues != nil && !slices.Contains(m.PromptValues, choose) {
		return "login"
	}
	return choose
}

// fromLink returns the options for the parameters of a link. prompt=none is left out, because only
// the application knows whether a login may fail for want of a page.
func fromLink(values [][2]string) LoginOptions {
	var o LoginOptions
	for _, p := range values {
		name, value := p[0], p[1]
		switch name {
		case "prompt":
			if !slices.Contains(strings.Fields(value), "none") {
				o.Prompt = value
			}
		case "max_age":
			if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
				o.MaxAge = time.Duration(seconds) * time.Second
			}
		case "acr_values":
			o.ACRValues = strings.Fields(value)
		case "login_hint":
			o.LoginHint = value
		case "ui_locales":
			o.UILocales = strings.Fields(value)
		case "display":
			o.Display = value
		default:
			if o.Params == nil {
				o.Params = map[string]string{}
			}
			o.Params[name] = value
		}
	}
	return o
}

// Fresh returns how long ago the user may have logged in at the provider, or nil. With prompt=login
// that is not at all: max_age=0 is sent with it, so that the ID Token has an auth_time to check.
func (o LoginOptions) Fresh() *time.Duration {
	switch {
	case asksForLogin(o.Prompt), o.MaxAge == atOnce:
		return new(time.Duration)
	case o.MaxAge > 0:
		return new(o.MaxAge)
	}
	return nil
}

// IsSilent reports whether a login with these options is sent with prompt=none.
func (c *Client) IsSilent(o LoginOptions) bool {
	if o.Prompt != "" {
		return o.Prompt == "none"
	}
	return slices.Contains(c.cfg.AuthParams, [2]string{"prompt", "none"})
}

// Kept is Encode without what the configuration says too: AuthorizationURL adds that again. So it
// needs no room in the browser.
func (c *Client) Kept(o LoginOptions) json.RawMessage { return o.without(c.cfg.Login).Encode() }

// without returns o without what it has in common with less, and Or(less) adds again.
func (o LoginOptions) without(less LoginOptions) LoginOptions {
	for field, same := range map[*string]string{
		&o.Prompt: less.Prompt, &o.LoginHint: less.LoginHint, &o.Display: less.Display,
		&o.Claims: less.Claims, &o.AuthorizationDetails: less.AuthorizationDetails,
	} {
		if *field == same {
			*field = ""
		}
	}
	if slices.Equal(o.UILocales, less.UILocales) {
		o.UILocales = nil
	}
	o.Params = maps.Clone(o.Params)
	maps.DeleteFunc(o.Params, func(name, value string) bool {
		same, ok := less.Params[name]
		return ok && same == value
	})
	return o
}

// Encode returns what AuthorizationRequest.Options takes: nil for those that send nothing.
func (o LoginOptions) Encode() json.RawMessage {
	if o.sendsNothing() {
		return nil
	}
	text, _ := json.Marshal(o) // strings only: cannot fail
	return text
}

// sendsNothing reports whether the options have no parameter of their own. So an ordinary login
// spends no time on them.
func (o *LoginOptions) sendsNothing() bool {
	return o.Prompt == "" && o.LoginHint == "" && len(o.UILocales) == 0 && o.Display == "" &&
		o.Claims == "" && o.AuthorizationDetails == "" && len(o.Params) == 0
}

// params returns the parameters that the options send.
func (o *LoginOptions) params() map[string]string {
	all := map[string]string{
		"prompt": o.Prompt, "login_hint": o.LoginHint, "ui_locales": strings.Join(o.UILocales, " "),
		"display": o.Display, "claims": o.Claims, "authorization_details": o.AuthorizationDetails,
	}
	maps.DeleteFunc(all, func(_, value string) bool { return value == "" })
	for name, value := range o.Params {
		if _, ok := all[name]; !ok {
			all[name] = value
		}
	}
	return all
}

// checkPrompt refuses a prompt that the provider does not have, if it says which it has.
func (m *Metadata) checkPrompt(prompt string) error {
	for _, word := range strings.Fields(prompt) {
		if m.PromptValues != nil && !slices.Contains(m.PromptValues, word) {
			return &Error{
				Reason: event.ReasonPromptUnsupported, Status: http.StatusBadRequest,
				Hint: "the provider announces the prompts " +
					bounded(strings.Join(m.PromptValues, ", ")),
				Err: fmt.Errorf("prompt=%s is not supported", bounded(word)),
			}
		}
	}
	return nil
}

// Fault returns the first field that cannot be sent and what is wrong with it, or "".
func (o *LoginOptions) Fault() (field, text string) {
	isBad := func(word string) bool { return word == "" || strings.ContainsFunc(word, notInWord) }
	switch prompts := strings.Fields(o.Prompt); {
	case slices.Contains(prompts, "none") && len(prompts) > 1:
		return "Prompt", "has none beside others (OpenID Connect Core, section 3.1.2.1)"
	case slices.ContainsFunc(prompts, isBad) || o.Prompt != strings.Join(prompts, " "):
		return "Prompt", "is not a list of words with one space between two"
	case o.MaxAge < 0 || 0 < o.MaxAge && o.MaxAge < time.Second:
		return "MaxAge", "is less than a second; for a login in any case use the Prompt login"
	case slices.ContainsFunc(o.ACRValues, isBad):
		return "ACRValues", "has an empty value or one with a space; give each value its own element"
	case slices.ContainsFunc(o.UILocales, isBad):
		return "UILocales", "has an empty tag or one with a space; give each tag its own element"
	case len(o.IDTokenHint) > MaxEndSessionURL/2:
		return "IDTokenHint", "is too long for an address"
	case o.Claims != "" && !isJSONObject(o.Claims):
		return "Claims", "is not one JSON object (OpenID Connect Core, section 5.5)"
	case o.AuthorizationDetails != "" && !areDetails(o.AuthorizationDetails):
		return "AuthorizationDetails", "is not a JSON array of objects with a type (RFC 9396, section 2)"
	}
	if o.sendsNothing() {
		return "", ""
	}
	for name, value := range o.params() {
		switch {
		case name == "":
			return "Params", "has a parameter without a name"
		case len(value) > maxOption || !isPlain(value) && name != "claims" && !isDetails(name):
			return "Params", strconv.Quote(name) + " is too long or has control characters"
		case o.Params[name] != "" && (isOurs(name) || hasField(name)):
			return "Params", strconv.Quote(name) + " is the gate's own parameter, or has its own field"
		}
	}
	return "", ""
}

// hasField reports whether an option of its own sets a parameter that links may set too. In Params
// it would lose to a link.
func hasField(name string) bool {
	fields := []string{"prompt", "login_hint", "ui_locales", "display"}
	return slices.Contains(fields, strings.ToLower(name))
}

func isDetails(name string) bool { return name == "authorization_details" }

// notInWord reports whether a word of a list must not contain r.
func notInWord(r rune) bool { return r <= ' ' || r > '~' }

// isPlain reports whether s is text without control characters.
func isPlain(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

func isJSONObject(s string) bool {
	_, err := claims.Parse([]byte(s))
	return err == nil
}

// areDetails reports whether s is what RFC 9396, 2, describes.
func areDetails(s string) bool {
	if !json.Valid([]byte(s)) {
		return false
	}
	doc, _ := claims.Parse([]byte(`{"list":` + s + `}`)) // empty after an error
	list, _ := doc.Get("list")
	if list.Kind() != claims.Array {
		return false
	}
	for detail := range list.Elements() {
		if o, _ := detail.Object(); text(o, "type") == "" {
			return false
		}
	}
	return true
}

// linkNames are the parameters of the login's address that have another meaning there.
var linkNames = []string{
	"provider", "return_to", "step", "gone", "was", "link", "with", AnotherAccount,
}

// checkOptions checks the options of every login, what links may choose, and the resources.
func (cfg *Config) checkOptions(f *check.List) {
	if field, text := cfg.Login.Fault(); field != "" {
		f.Add("Request.Login."+field, "%s", text)
	}
	if cfg.Login.Provider != "" {
		f.Add("Request.Login.Provider", "has no meaning here, because these logins are at this "+
			"provider; leave it out")
	}
	if n := len(strings.Join(cfg.Login.ACRValues, " ")); n > maxACR {
		f.Add("Request.Login.ACRValues", "has %d bytes, and what a login must bring is kept in a "+
			"cookie; name fewer, at most %d bytes", n, maxACR)
	}
	for _, name := range cfg.LinkParams {
		own := isOurs(name) && name != "max_age" && name != "acr_values"
		if name == "" || own || slices.Contains(linkNames, name) {
			f.Add("Request.LinkParams", "%q is the gate's own parameter, which no link may choose; leave "+
				"it out", name)
		}
	}
	for _, resource := range cfg.Resources {
		u, err := url.Parse(resource)
		if err != nil || !u.IsAbs() || strings.Contains(resource, "#") || !isHeaderSafe(resource) {
			f.Add("Request.Resources", "%q is not an absolute URI without a fragment (RFC 8707, section "+
				"2)", weburl.Redact(resource))
		}
	}
}

// SortedParams returns parameters in the order of their names.
func SortedParams(params map[string]string) (pairs [][2]string) {
	for _, name := range slices.Sorted(maps.Keys(params)) {
		pairs = append(pairs, [2]string{name, params[name]})
	}
	return pairs
}
