package op

import (
	"slices"
	"strings"

	"github.com/oidcgate/oidcgate/internal/check"
)

// The response types: what an authorization response brings (OpenID Connect Core, 3). None brings
// an access token, because what passes through the browser can be stolen and injected there (RFC
// 9700, 2.1.2).
const (
	TypeCode    = "code"
	TypeHybrid  = "code id_token"
	TypeIDToken = "id_token"
)

// A Channel is the way of an authorization response through the browser.
type Channel int

// The channels. A response that comes by another than the agreed one is not read.
const (
	Query    Channel = iota // in the callback's query
	FormPost                // posted to the callback (OAuth 2.0 Form Post Response Mode)
	Fragment                // in the callback's fragment, which the server does not see
)

// responseModes are the values of response_mode (OAuth 2.0 Multiple Response Type Encoding
// Practices, 2.1; JARM, 2.3). The default depends on the response type.
var responseModes = map[string]Channel{
	"query": Query, "form_post": FormPost, "fragment": Fragment,
	"query.jwt": Query, "form_post.jwt": FormPost, "fragment.jwt": Fragment,
}

// checkResponse checks the response type and the response mode.
func (cfg *Config) checkResponse(f *check.List) {
	words := strings.Fields(cfg.ResponseType)
	channel, known := responseModes[cfg.ResponseMode]
	switch {
	case slices.Contains(words, "token"):
		f.Add("Request.ResponseType", "%q has the access token pass through the browser, where it can "+
			"be stolen and replaced (RFC 9700, section 2.1.2); use %q or %q",
			cfg.ResponseType, TypeCode, TypeHybrid)
	case !slices.Contains([]string{TypeCode, TypeHybrid, TypeIDToken}, cfg.ResponseType):
		f.Add("Request.ResponseType", "%q is not supported; use %q, %q or %q",
			cfg.ResponseType, TypeCode, TypeHybrid, TypeIDToken)
	case !known && cfg.ResponseMode != "" && cfg.ResponseMode != "jwt":
		f.Add("Request.ResponseMode", "%q is not supported; use \"query\", \"form_post\" or "+
			"\"fragment\", each with or without \".jwt\" at its end", cfg.ResponseMode)
	case known && channel == Query && cfg.wantsIDToken():
		f.Add("Request.ResponseMode", "%q would write an ID Token into logs and the browser's history; "+
			"use \"form_post\" or \"fragment\"", cfg.ResponseMode)
	}
}

// Channel returns the way that responses take.
func (c *Client) Channel() Channel { return c.cfg.responseChannel() }

func (cfg *Config) responseChannel() Channel {
	if channel, ok := responseModes[cfg.ResponseMode]; ok {
		return channel
	}
	if cfg.wantsIDToken() { // "jwt" and no mode at all stand for the default of the type
		return Fragment
	}
	return Query
}

// wantsCode reports whether a response brings a code.
func (cfg *Config) wantsCode() bool { return cfg.ResponseType != TypeIDToken }

// wantsIDToken reports whether a response brings an ID Token.
func (cfg *Config) wantsIDToken() bool { return cfg.ResponseType != TypeCode }

// wantsObject reports whether a response is a signed object (JARM).
func (cfg *Config) wantsObject() bool { return strings.HasSuffix(cfg.ResponseMode, "jwt") }
