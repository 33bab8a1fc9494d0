package op

import (
	"net/url"
	"strings"
)

// MaxEndSessionURL is the longest logout URL that browsers and the proxies
// before providers carry without complaint, in bytes.
const MaxEndSessionURL = 4096

// EndSessionURL returns where to send the browser so that the user is logged
// out at the provider too (OpenID Connect RP-Initiated Logout, 2), or false
// when no such place is known; nobody is asked for one. Empty arguments are
// left out. The hint, an ID Token, is left out when the URL would be too long;
// client_id then says whose logout it is.
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

func withQuery(endpoint string, query url.Values) string {
	separator := "?"
	if strings.Contains(endpoint, "?") {
		separator = "&"
	}
	return endpoint + separator + query.Encode()
}

// EndSessionOrigin returns the origin that logouts lead to, or "" while it is
// not known.
func (c *Client) EndSessionOrigin() string {
	meta, _ := c.Known()
	return originOf(meta.EndSession)
}
