package op

import (
	"context"
	"net/http"

	"github.com/oidcgate/oidcgate/internal/apart"
	"github.com/oidcgate/oidcgate/internal/check"
	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
)

// Providers write some claims in their own way. They are brought into the usual form before
// anything else sees them.

// Shape returns the claims of an ID Token that was verified earlier as the other functions of this
// package return them.
func (c *Client) Shape(idToken claims.Object) claims.Object { return c.cfg.shapeEmail(idToken) }

// checkShape checks how claims are read.
func (cfg *Config) checkShape(f *check.List) {
	for _, origin := range cfg.FurtherOrigins {
		if f.URL("Claims.FurtherOrigins", origin, cfg.AllowHTTP); origin == "" {
			f.Add("Claims.FurtherOrigins", "has an empty element; write \"https://api.example\"")
		}
	}
	if cfg.Unwrap != "" && cfg.Userinfo == UserinfoOff {
		f.Add("Claims.Unwrap", "is for userinfo, which is not asked; set Userinfo")
	}
	if cfg.Further != nil && !cfg.wantsCode() {
		f.Add("Claims.Further", "needs an access token, and with Request.ResponseType %q there is none",
			cfg.ResponseType)
	}
}

// shapeUserinfo lifts the members of an object in userinfo. They replace no other member, and the
// claims of the protocol are left out as ever.
func (cfg *Config) shapeUserinfo(info claims.Object) claims.Object {
	inner, _ := info.Get(cfg.Unwrap)
	if members, isObject := inner.Object(); isObject && cfg.Unwrap != "" {
		outer := map[string]bool{}
		info = info.Filter(func(name string) bool {
			outer[name] = name != cfg.Unwrap
			return outer[name]
		})
		info += members.Filter(func(name string) bool { return !outer[name] })
	}
	info = info.Filter(func(name string) bool { return !claims.IsProtocol(name) })
	return cfg.shapeEmail(info)
}

// shapeEmail says whether the address is verified, as "email_verified" with true. What is not said
// clearly is not verified.
func (cfg *Config) shapeEmail(o claims.Object) claims.Object {
	if cfg.EmailVerified == "" && !cfg.EmailVerifiedText {
		return o
	}
	name := cfg.EmailVerified
	if name == "" {
		name = "email_verified"
	}
	v, there := o.Get(name)
	if _, hasEmail := o.Get("email"); !there && !hasEmail {
		return o
	}
	verified, _ := v.Bool()
	if s, ok := v.Str(); ok && cfg.EmailVerifiedText {
		verified = s == "true" || s == "1"
	}
	said, _ := claims.Of(verified) // a boolean: cannot fail
	return o.With("email_verified", said)
}

// further adds the claims that the provider has at other addresses. They replace others of
// userinfo.
func (c *Client) further(
	ctx context.Context, t *Tokens, id, info claims.Object,
) (claims.Object, error) {
	if c.cfg.Further == nil {
		return info, nil
	}
	key, err := ParseDPoPKey(t.DPoPKey)
	if err != nil {
		return "", err
	}
	send := func(r *http.Request) (*http.Response, error) {
		r = r.Clone(c.to(r.Context(), ForFurther))
		if err := c.Present(r, t.AccessToken, key); err != nil {
			return nil, err
		}
		return c.mutual.RoundTrip(r)
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	more, err := apart.Call(ctx, func() (claims.Object, error) {
		return c.cfg.Further(ctx, id, info, send)
	})
	if err != nil {
		e := invalid(event.ReasonUserinfoError, err.Error())
		e.Alone = true
		e.Hint = "the function Claims.Further of the provider failed"
		return "", e
	}
	if _, ok := more.Get("email"); ok { // the flag of another address says nothing of this one
		info = info.Filter(func(name string) bool { return name != "email_verified" })
	}
	more = more.Filter(func(name string) bool { return !claims.IsProtocol(name) })
	return info.WithAll(more), nil
}
