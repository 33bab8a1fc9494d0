package returnto_test

import (
	"net/url"
	"strings"
)

// browse returns the origin and the path of the page to which a browser at
// https://app.example/auth/callback resolves ref. It follows the WHATWG URL standard, section 4.4,
// as far as is needed to tell this site from others: an address that a browser refuses has the
// origin "", a scheme without hosts has its own name as origin, and numeric hosts stay as written.
func browse(ref string) (origin, path string) {
	ref = strings.TrimFunc(ref, func(r rune) bool { return r <= ' ' })
	ref = strings.NewReplacer("\t", "", "\n", "", "\r", "").Replace(ref)
	ref, _, _ = strings.Cut(ref, "#")
	ref, _, _ = strings.Cut(ref, "?")

	scheme, rest := cutScheme(ref)
	switch scheme {
	case "", "https": // the page's own scheme: "https:x" is relative
	case "http", "ws", "wss", "ftp":
		rest = "//" + rest
	default:
		return scheme + ":", ""
	}
	if scheme == "" {
		scheme = "https"
	}

	rest = strings.ReplaceAll(rest, `\`, "/")
	if strings.HasPrefix(rest, "//") {
		authority, path, _ := strings.Cut(strings.TrimLeft(rest, "/"), "/")
		return originOf(scheme, authority), withoutDots("/" + path)
	}
	if !strings.HasPrefix(rest, "/") {
		rest = "/auth/" + rest
	}
	return "https://app.example", withoutDots(rest)
}

// cutScheme splits ref into its scheme, in lower case, and the rest. The scheme is "" if ref has
// none.
func cutScheme(ref string) (scheme, rest string) {
	before, after, found := strings.Cut(ref, ":")
	scheme = strings.ToLower(before)
	if !found || scheme == "" || scheme[0] < 'a' || scheme[0] > 'z' {
		return "", ref
	}
	if strings.Trim(scheme, "abcdefghijklmnopqrstuvwxyz0123456789+-.") != "" {
		return "", ref
	}
	return scheme, after
}

// originOf returns the origin of an authority, or "" when a browser refuses it.
func originOf(scheme, authority string) string {
	hostport := authority[strings.LastIndexByte(authority, '@')+1:]
	host, port, _ := strings.Cut(hostport, ":")
	host, err := url.PathUnescape(host)
	if err != nil {
		return ""
	}
	host = strings.ToLower(strings.Map(narrow, host))
	if host == "" || strings.ContainsAny(host, " #/<>?@[\\]^|%\x00\t\n\r\x7f") {
		return ""
	}
	if port != "" && !(scheme == "https" && port == "443") {
		host += ":" + port
	}
	return scheme + "://" + host
}

// narrow maps the full-width forms of ASCII and the ideographic full stop to ASCII, as IDNA does with hosts.
func narrow(r rune) rune {
	switch {
	case r == '\u3002':
		return '.'
	case '\uff01' <= r && r <= '\uff5e':
		return r - 0xfee0
	}
	return r
}

// withoutDots resolves the segments "." and ".." of a path, percent-encoded or not.
func withoutDots(path string) string {
	var kept []string
	segments := strings.Split(path, "/")[1:]
	for i, segment := range segments {
		last := i == len(segments)-1
		switch strings.ReplaceAll(strings.ToLower(segment), "%2e", ".") {
		case "..":
			kept = kept[:max(0, len(kept)-1)]
		case ".":
		default:
			kept = append(kept, segment)
			continue
		}
		if last {
			kept = append(kept, "")
		}
	}
	return "/" + strings.Join(kept, "/")
}
