package op

import (
	"net/url"
	"strings"
)

// MaxEndSessionURL is the longest logout URL, in bytes, that browsers and the proxies in front of
// providers always accept.
const MaxEndSessionURL = 4096

// EndSessionURL returns where to send the browser so that the user is logged out at the provider
// too (OpenID Connect RP-Initiated Logout, 2), or false when no such address is known. It asks
// nobody. Empty arguments are left out. The hint is an ID Token and is left out when the URL would
// be too long; client_id then says which client asks for the logout.
func (c *Client) EndSessionURL(hint, state, postLogoutRedirectURL string) (string, bool) {
	meta, _ := c.Known()
	if meta.EndSession == "" {
		return "", false
	}
	query := url.Values{"client_id": {c.cfg.ClientID}}
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
