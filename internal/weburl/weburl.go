// Package weburl has the rules for the addresses of other servers and of this one: which may be
// used, and what their origin is. They are the same for addresses in the configuration and for
// those that a provider names in its metadata.
package weburl

import (
	"errors"
	"net/netip"
	"net/url"
	"strings"
)

// The errors of Check. The text of each is the rest of a sentence that begins with the address.
var (
	ErrNotAbsolute = errors.New(`is not an absolute URL; write "https://id.example/..."`)
	ErrParts       = errors.New("has user information or a fragment; leave them out")
	ErrHost        = errors.New("has a host with characters that no host has; correct it")
	ErrTooLong     = errors.New("is longer than 2048 bytes; use a shorter one")
	ErrHTTP        = errors.New(
		"is http; use https, or set InsecureAllowHTTP for a network you trust")
)

// maxLength is the longest address, in bytes, that is accepted.
const maxLength = 2048

// Check parses an address. It must be an absolute https URL without user information and fragment.
// http is accepted on loopback hosts, and on every host if allowHTTP is true. Together with ErrHTTP
// it returns the URL too, so that the caller can check it further.
func Check(address string, allowHTTP bool) (*url.URL, error) {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "":
		return nil, ErrNotAbsolute
	case u.User != nil || strings.Contains(address, "#"):
		return nil, ErrParts
	case len(address) > maxLength:
		return nil, ErrTooLong
	case !isPlainHost(u.Host):
		return nil, ErrHost
	case u.Scheme == "http" && !allowHTTP && !IsLoopback(u.Hostname()):
		return u, ErrHTTP
	}
	return u, nil
}

// isPlainHost reports whether a host, with its port, has only the characters of names, IPv4 and
// IPv6 addresses. url.Parse also accepts ";", "," and "*", which mean something else in a
// Content-Security-Policy: there "x,y" would end the policy.
func isPlainHost(host string) bool {
	for _, c := range []byte(host) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9',
			c == '.', c == '-', c == '_', c == ':', c == '[', c == ']':
		default:
			return false
		}
	}
	return true
}

// IsLoopback reports whether a host, without port, is this machine. Plain http to it crosses no
// network. Names below localhost are this machine, too (RFC 6761, 6.3).
func IsLoopback(host string) bool {
	host = strings.ToLower(host)
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// Origin returns scheme, host and port of a URL in the form in which browsers compare them
// (RFC 6454, 6.2), or "" if there is no host.
func Origin(u *url.URL) string {
	if u.Host == "" {
		return ""
	}
	port := map[string]string{"https": ":443", "http": ":80"}[u.Scheme]
	host := strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(u.Host), port), ":")
	return u.Scheme + "://" + host
}

// Redact hides the user name and password of an address that a message shows.
func Redact(address string) string {
	if i := strings.LastIndex(address, "@"); i >= 0 {
		scheme, _, found := strings.Cut(address, "://")
		if found {
			return scheme + "://REDACTED" + address[i:]
		}
		return "REDACTED" + address[i:]
	}
	return address
}
