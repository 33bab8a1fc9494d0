// Package site knows where a service is for browsers: its address, the paths of the gate's own
// routes, and the name of its cookie.
package site

import (
	"cmp"
	"errors"
	"net/url"
	"regexp"
	"strings"

	"github.com/oidcgate/oidcgate/internal/check"
	"github.com/oidcgate/oidcgate/internal/returnto"
	"github.com/oidcgate/oidcgate/internal/weburl"
)

// Site is where a service is. [Site.Complete] fills in the second half.
type Site struct {
	BaseURL   string
	AllowHTTP bool // also off this machine

	Prefix      string // of the gate's own routes
	DefaultPath string // where a login without a return path leads
	LoginPage   string // the application's; "" if it has none
	CookieName  string // of the session

	Origin      string // scheme://host[:port] of BaseURL
	BasePath    string // path of BaseURL, without a slash at its end
	Secure      bool   // BaseURL is https
	Local       bool   // BaseURL is on this machine
	OlderCookie string // the name without "Http-"; "" if CookieName has no such prefix
}

// Complete checks the first half, fills in its defaults, and the second half.
func (s *Site) Complete(f *check.List) {
	s.completeBaseURL(f)
	s.completePaths(f)
	s.completeCookie(f)
	u, err := url.Parse(s.BaseURL)
	if s.Origin == "" {
		u, err = url.Parse(suggestURL(s.BaseURL)) // the scheme may be missing
	}
	s.Local = err == nil && weburl.IsLoopback(u.Hostname())
}

func (s *Site) completeBaseURL(f *check.List) {
	u, err := weburl.Check(s.BaseURL, s.AllowHTTP)
	shown := weburl.Redact(s.BaseURL)
	switch {
	case s.BaseURL == "":
		f.Add("BaseURL", "is empty; write the address browsers use, such as \"https://shop.example\"")
	case errors.Is(err, weburl.ErrNotAbsolute):
		f.Add("BaseURL", "%q is not an absolute URL; write %q", shown, suggestURL(s.BaseURL))
	case err != nil:
		f.Add("BaseURL", "%q %v", shown, err)
	case u.RawQuery != "" || u.ForceQuery:
		f.Add("BaseURL", "%q has a query; leave it out", shown)
	}
	if u == nil {
		return
	}
	s.Secure = u.Scheme == "https"
	s.Origin = weburl.Origin(u) // without a default port, as browsers and providers write it
	s.BasePath = strings.TrimRight(u.EscapedPath(), "/")
	if s.BasePath != "" {
		if _, err := returnto.Check(s.BasePath, ""); err != nil {
			f.Add("BaseURL", "path %q is not plain (%v); write it without dots, double slashes "+
				"and escapes", s.BasePath, err)
		}
	}
}

// suggestURL returns the URL that an address without a scheme probably stands for.
func suggestURL(address string) string {
	u, err := url.Parse("https://" + address)
	switch {
	case err != nil || u.Host != address || u.User != nil:
		return "https://shop.example"
	case weburl.IsLoopback(u.Hostname()):
		return "http://" + address
	}
	return "https://" + address
}

// maxDefaultPath leaves room for the other fields of an attempt in its cookie.
const maxDefaultPath = 200

var plainPrefix = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)+$`)

func (s *Site) completePaths(f *check.List) {
	if s.Prefix == "" {
		s.Prefix = "/auth"
	}
	if !plainPrefix.MatchString(s.Prefix) || strings.Contains(s.Prefix, "/.") {
		f.Add("Site.Prefix", "%q is not a plain path; write one such as \"/auth\"", s.Prefix)
	}
	if s.DefaultPath == "" {
		s.DefaultPath = "/"
	}
	if _, err := returnto.Check(s.DefaultPath, s.Prefix); err != nil {
		f.Add("Site.DefaultPath", "%.80q cannot be a return path (%v); write a path of this site "+
			"such as \"/\"", s.DefaultPath, err)
	}
	if _, err := returnto.Check(s.LoginPage, s.Prefix); s.LoginPage != "" &&
		(err != nil || strings.ContainsAny(s.LoginPage, "?%#")) {
		f.Add("Site.LoginPage", "%.80q is not a plain path of the application; write one such as "+
			"\"/sign-in\"", s.LoginPage)
	}
	if len(s.DefaultPath) > maxDefaultPath {
		f.Add("Site.DefaultPath", "has %d bytes, too many for the cookie of a login; use at most %d",
			len(s.DefaultPath), maxDefaultPath)
	}
}

// cookieToken matches the cookie names that RFC 6265, section 4.1.1 allows.
var cookieToken = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

func (s *Site) completeCookie(f *check.List) {
	if s.CookieName == "" {
		s.CookieName = "oidcgate"
		if s.Secure {
			s.CookieName = "__Host-Http-oidcgate"
		}
	}
	name := s.CookieName
	if rest, ok := strings.CutPrefix(name, "__Host-Http-"); ok {
		s.OlderCookie = "__Host-" + rest
	}
	switch {
	case !cookieToken.MatchString(name):
		f.Add("Site.CookieName", "%q is not a cookie name; use letters, digits, \"-\" and \"_\"", name)
	case s.Secure && !strings.HasPrefix(name, "__Host-"):
		f.Add("Site.CookieName", "%q can be set by other hosts; write \"__Host-Http-%[1]s\"", name)
	case !s.Secure && strings.HasPrefix(name, "__"):
		f.Add("Site.CookieName", "%q has a prefix that browsers refuse on http; leave it out", name)
	}
}

// ProviderPath returns the path of a route that exists once for each provider.
func (s *Site) ProviderPath(route, name string) string {
	if name == "" {
		return s.Prefix + route
	}
	return s.Prefix + route + "/" + name
}

// Name distinguishes this gate from others that share its store and keys. The prefix "Http-" is
// left out: who begins to use it keeps the sessions.
func (s *Site) Name() string {
	return s.Origin + s.BasePath + "\x00" + cmp.Or(s.OlderCookie, s.CookieName)
}

// URL returns the absolute address of a checked path on this site.
func (s *Site) URL(path string) string { return s.Origin + s.BasePath + path }

// Home returns the address of the default path.
func (s *Site) Home() string { return s.URL(s.DefaultPath) }

// OwnURL returns the address of a route of the gate that leads on to returnTo.
func (s *Site) OwnURL(route, returnTo string) string {
	u := s.URL(s.Prefix + route)
	if returnTo == "" {
		return u
	}
	return u + "?" + url.Values{"return_to": {returnTo}}.Encode()
}
