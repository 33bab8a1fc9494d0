package op

import (
	"context"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/oidcgate/oidcgate/internal/event"
)

// AuthorizationRequest is what differs from one login to the next.
type AuthorizationRequest struct {
	State        string
	Nonce        string
	CodeVerifier string         // only its S256 hash is sent
	MaxAge       *time.Duration // in whole seconds; nil asks for nothing, zero for a new login
	ACRValues    []string       // in the order of preference
	Interactive  bool           // without a configured prompt=none: the provider may ask the user
	IDTokenHint  string         // whom the provider is asked about; "" names nobody
	DPoPKey      *DPoPKey       // to which the code will be bound; nil if it is not

	Options json.RawMessage // made by Client.Kept or LoginOptions.Encode
}

// AuthorizationURL returns where to send the browser (OpenID Connect Core, 3.1.2.1). It discovers
// the provider first if its metadata is not known. It signs the request if that is configured, and
// pushes it where the provider takes pushed requests.
func (c *Client) AuthorizationURL(ctx context.Context, r AuthorizationRequest) (string, error) {
	meta, err := c.metadataInTurn(ctx)
	if err != nil {
		return "", err
	}
	chosen, err := c.chosen(&r, meta)
	if err == nil {
		err = c.canProve(&r)
	}
	if err != nil {
		return "", err
	}
	if meta.PushedAuthorization == "" && c.cfg.Object == ObjectOff {
		return c.requestURL(meta.Authorization, r, chosen), nil
	}
	login, err := url.ParseQuery(strings.TrimPrefix(c.requestURL("", r, chosen), "?"))
	if err != nil {
		return "", err
	}
	params, err := c.signAndPush(ctx, meta, login)
	if err != nil {
		return "", err
	}
	return withQuery(meta.Authorization, params), nil
}

// signAndPush returns what the browser carries in place of the parameters of a login: a signed
// object, or a reference to what was pushed.
//
// As many logins at a time do this as may send a code, and they take no turn from those: anybody
// can begin a login, and a provider or a key service that is slow here must not hold up who comes
// back from it.
func (c *Client) signAndPush(
	ctx context.Context, meta Metadata, login url.Values,
) (params url.Values, err error) {
	release, err := take(ctx, c.pushes)
	if err != nil {
		return nil, err
	}
	defer release()
	ctx = context.WithoutCancel(ctx) // see take
	params = login
	if c.cfg.Object != ObjectOff {
		params, err = c.requestObject(ctx, meta, login)
	}
	if err == nil && meta.PushedAuthorization != "" {
		params, err = c.push(ctx, meta, params, login)
	}
	return params, err
}

// chosen returns the parameters of the request's options, and of the configured ones beside them.
func (c *Client) chosen(r *AuthorizationRequest, meta Metadata) (map[string]string, error) {
	if len(r.Options) == 0 && c.cfg.Login.sendsNothing() {
		return nil, nil
	}
	var o LoginOptions
	if len(r.Options) > 0 {
		if err := json.Unmarshal(r.Options, &o); err != nil {
			return nil, err
		}
	}
	o = o.Or(c.cfg.Login)
	if r.Interactive && o.Prompt == "none" {
		o.Prompt = ""
	}
	if err := meta.checkPrompt(o.Prompt); err != nil {
		return nil, err
	}
	params := o.params()
	if u, err := url.Parse(meta.Authorization); err == nil {
		for name := range u.Query() {
			if _, twice := params[name]; twice { // RFC 6749, 3.1
				return nil, reject(event.ReasonEndpointInvalid,
					"authorization_endpoint has a parameter of the login in its query")
			}
		}
	}
	return params, nil
}

// requestURL returns an authorization request as an address. Each parameter stands there once,
// except resource.
func (c *Client) requestURL(
	endpoint string, r AuthorizationRequest, chosen map[string]string,
) string {
	conf := oauth2.Config{
		ClientID:    c.cfg.ClientID,
		RedirectURL: c.cfg.RedirectURL,
		Scopes:      c.cfg.Scopes,
		Endpoint:    oauth2.Endpoint{AuthURL: endpoint},
	}
	address := conf.AuthCodeURL(r.State, c.requestOptions(r, chosen)...)
	if len(c.cfg.Resources) > 0 { // x/oauth2 sets each parameter once
		address += "&" + url.Values{"resource": c.cfg.Resources}.Encode()
	}
	return address
}

// requestOptions are the parameters that x/oauth2 does not set by itself; a later one replaces an
// earlier one of its name. What the request asks for wins over the configured extra parameters, and
// what was chosen for this login over both.
func (c *Client) requestOptions(
	r AuthorizationRequest, chosen map[string]string,
) []oauth2.AuthCodeOption {
	var options []oauth2.AuthCodeOption
	set := func(name, value string) {
		if value != "" {
			options = append(options, oauth2.SetAuthURLParam(name, value))
		}
	}
	for _, p := range c.cfg.AuthParams {
		if r.Interactive && p == [2]string{"prompt", "none"} {
			continue
		}
		set(p[0], p[1])
	}
	for name, value := range chosen {
		set(name, value)
	}
	set("response_type", c.cfg.ResponseType)
	set("response_mode", c.cfg.ResponseMode)
	if c.cfg.hasIDTokens() {
		set("nonce", r.Nonce)
	}
	set("acr_values", strings.Join(r.ACRValues, " "))
	if c.cfg.EssentialACR && len(r.ACRValues) > 0 {
		set("claims", essentialACR(chosen["claims"], r.ACRValues))
	}
	set("id_token_hint", r.IDTokenHint)
	if r.DPoPKey != nil {
		set("dpop_jkt", r.DPoPKey.thumbprint)
	}
	if r.MaxAge != nil {
		set("max_age", strconv.FormatInt(int64(*r.MaxAge/time.Second), 10))
		if c.cfg.PromptLogin && chosen["prompt"] == "" {
			set("prompt", "login")
		}
	}
	if c.cfg.wantsCode() && !c.cfg.WithoutPKCE {
		options = append(options, oauth2.S256ChallengeOption(r.CodeVerifier))
	}
	return options
}

// AuthorizationOrigin returns the origin that logins lead to, or "" while it is not known.
func (c *Client) AuthorizationOrigin() string {
	meta, _ := c.Known()
	return originOf(meta.Authorization)
}
