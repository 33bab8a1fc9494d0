package op

import (
	"context"
	"encoding/base64"
	"net/url"
	"strings"
	"time"

	"github.com/oidcgate/oidcgate/internal/check"
	"github.com/oidcgate/oidcgate/internal/claims"
)

// MaxEndSessionURL is the longest logout URL, in bytes, that browsers and the proxies in front of
// providers always accept.
const MaxEndSessionURL = 4096

// LogoutStyle is how a browser is sent to the provider's logout.
type LogoutStyle int

// The styles.
const (
	LogoutStandard    LogoutStyle = iota // OpenID Connect RP-Initiated Logout
	LogoutCognito                        // client_id and logout_uri
	LogoutAuth0                          // client_id and returnTo
	LogoutKinde                          // redirect
	LogoutOff                            // the provider's session stays
	LogoutWithoutHint                    // the standard's, without id_token_hint
)

// checkLogout checks how the browser is sent to the provider's logout.
func (cfg *Config) checkLogout(f *check.List) {
	switch style := cfg.Logout; {
	case style < LogoutStandard || style > LogoutWithoutHint:
		f.Add("Logout.Style", "%d is no style; use LogoutStandard, LogoutCognito, LogoutAuth0, "+
			"LogoutKinde, LogoutWithoutHint or LogoutOff", style)
	case style == LogoutAuth0 && cfg.Endpoints.EndSession == "":
		f.Add("Endpoints.EndSession", "is empty; LogoutAuth0 needs https://TENANT/v2/logout, and the "+
			"discovery document has another address")
	case style != LogoutStandard && cfg.FreshHint:
		f.Add("Logout.FreshHint", "has no use with this Logout.Style, which sends no id_token_hint")
	}
}

// KeepsState reports whether the browser comes back from the provider's logout with the state.
func (c *Client) KeepsState() bool {
	return c.cfg.Logout == LogoutStandard || c.cfg.Logout == LogoutWithoutHint
}

// EndSessionURL returns where to send the browser so that the user is logged out at the provider
// too (OpenID Connect RP-Initiated Logout, 2), or false when no such address is known. It asks
// nobody. Empty arguments are left out. The hint is an ID Token and is left out when the URL would
// be too long; client_id then says which client asks for the logout. Styles that are not the
// standard's have neither hint nor state.
func (c *Client) EndSessionURL(hint, state, postLogoutRedirectURL string) (string, bool) {
	meta, _ := c.Known()
	if meta.EndSession == "" || c.cfg.Logout == LogoutOff {
		return "", false
	}
	query := url.Values{"client_id": {c.cfg.ClientID}}
	switch c.cfg.Logout {
	case LogoutCognito:
		query.Set("logout_uri", postLogoutRedirectURL)
		return withQuery(meta.EndSession, query), true
	case LogoutAuth0:
		query.Set("returnTo", postLogoutRedirectURL)
		return withQuery(meta.EndSession, query), true
	case LogoutKinde:
		return withQuery(meta.EndSession, url.Values{"redirect": {postLogoutRedirectURL}}), true
	case LogoutWithoutHint:
		hint = ""
	}
	for name, value := range map[string]string{
		"id_token_hint":            hint,
		"state":                    state,
		"post_logout_redirect_uri": postLogoutRedirectURL,
	} {
		if value != "" {
			query.Set(name, value)
		}
	}
	full := withQuery(meta.EndSession, query)
	if len(full) > MaxEndSessionURL {
		query.Del("id_token_hint")
		full = withQuery(meta.EndSession, query)
	}
	return full, true
}

// withQuery adds parameters to an endpoint, which may have a query of its own.
func withQuery(endpoint string, query url.Values) string {
	separator := "?"
	if strings.Contains(endpoint, "?") {
		separator = "&"
	}
	return endpoint + separator + query.Encode()
}

// EndSessionOrigin returns the origin that logouts lead to, or "" while it is not known.
func (c *Client) EndSessionOrigin() string {
	meta, _ := c.Known()
	return originOf(meta.EndSession)
}

// WantsFreshHint reports whether the provider takes no ID Token that has expired.
func (c *Client) WantsFreshHint() bool { return c.cfg.FreshHint }

// FreshHint returns an ID Token that has not expired, for a logout at a provider that takes no
// other, and the refresh token that came with it, if one did. The session of t ends, so its refresh
// token is used up. Without a better one it returns the ID Token of t.
func (c *Client) FreshHint(ctx context.Context, t *Tokens, o Original) (hint, refreshToken string) {
	if t.RefreshToken == "" || !c.expired(t.IDToken) {
		return t.IDToken, ""
	}
	fresh, _ := c.Refresh(ctx, t.RefreshToken, t.DPoPKey)
	if fresh == nil {
		return t.IDToken, ""
	}
	_, signed, err := c.VerifyRefreshed(ctx, fresh.IDToken, fresh.AccessToken, o)
	if err != nil {
		return t.IDToken, fresh.RefreshToken
	}
	return signed, fresh.RefreshToken
}

// expired reports whether an ID Token that was verified once expires within the next seconds.
func (c *Client) expired(raw string) bool {
	payload, err := base64.RawURLEncoding.DecodeString(middle(raw))
	if err != nil {
		return false
	}
	doc, err := claims.Parse(payload)
	if err != nil {
		return false
	}
	exp, _ := doc.Get("exp")
	at, isTime := exp.Time()
	return isTime && time.Until(at) < hintMargin
}

// hintMargin is what the browser needs on its way to the provider.
const hintMargin = 10 * time.Second

// middle returns the second of the parts of a JWT.
func middle(raw string) string {
	_, rest, _ := strings.Cut(raw, ".")
	payload, _, _ := strings.Cut(rest, ".")
	return payload
}
