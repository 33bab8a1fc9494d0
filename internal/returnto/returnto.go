// Package returnto checks that a return path, the path a browser is sent to after login or logout,
// leads to this site.
//
// The return path is part of a link, and anybody can write a link, so it is hostile input. The
// attack is the open redirect (RFC 9700, section 4.11): a link to this site that, after a genuine
// login, sends the browser to a page of the attacker. Such attacks use differences between parsers:
// the check, the browser, a proxy and a router may each read the same path differently. So the
// rules accept only paths that all of them read in the same way, and an accepted path is sent byte
// for byte, never parsed and written again.
package returnto

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxLen is the greatest length of a value that Check accepts, in bytes, including the fragment.
const MaxLen = 2048

// A Reason says why a value was refused. It is the error that Check returns. Its text is a stable
// code for use in events and contains nothing of the value.
type Reason string

const (
	// Empty: there is no value.
	Empty Reason = "empty"
	// TooLong: the value is longer than MaxLen bytes.
	TooLong Reason = "too_long"
	// ForbiddenByte: some parsers drop this byte or read it as a slash, or it could end an HTML
	// attribute.
	ForbiddenByte Reason = "forbidden_byte"
	// NotRooted: the value does not begin with a slash, so it has a scheme or is relative to the
	// callback.
	NotRooted Reason = "not_rooted"
	// NetworkPath: the value begins with "//", so a browser reads a host name after it.
	NetworkPath Reason = "network_path"
	// BadEscape: a % in the path is not followed by two hexadecimal digits.
	BadEscape Reason = "bad_escape"
	// InvalidUTF8: the path decodes to bytes that are not UTF-8, such as an overlong slash.
	InvalidUTF8 Reason = "invalid_utf8"
	// EncodedControl: the path decodes to a control character or a backslash.
	EncodedControl Reason = "encoded_control"
	// BidiControl: the path decodes to a bidirectional control character, which can make the
	// address look like another.
	BidiControl Reason = "bidi_control"
	// EmptySegment: the path contains "//", which path cleaning turns into another path.
	EmptySegment Reason = "empty_segment"
	// DotSegment: a segment is "." or "..", which browsers and routers resolve to another path.
	DotSegment Reason = "dot_segment"
	// OwnRoute: the path is a route of the gate. It would cause a redirect loop, or a logout by a
	// link.
	OwnRoute Reason = "own_route"
	// EncodedSlash: the path decodes to more slashes, and routers disagree whether those separate
	// segments.
	EncodedSlash Reason = "encoded_slash"
)

// Error returns the reason as a sentence fragment for a log.
func (r Reason) Error() string { return "return path refused: " + string(r) }

// Check returns value without its fragment if it is a path on this site, with or without a query,
// that a browser may be sent to. Otherwise it returns "" and an error that is a [Reason].
//
// ownPrefix is the path above the gate's own routes, such as "/auth". It is compared segment by
// segment, ignoring letter case. If it is empty or "/", no path counts as a route of the gate.
//
// The rules for the path are applied to the path undecoded, decoded once and decoded twice, because
// a proxy in front of the service or a router behind it may decode once more than the browser did.
// Only the rules on bytes apply to the query, because no parser takes the host from it.
//
// The caller puts its origin, and its base path if it has one, in front of the path and sets the
// Location header itself. http.Redirect must not be used: it cleans and rewrites paths, so the path
// that is sent would differ from the path that was checked. A stored path, even if it was
// encrypted, must be checked again before use. Check accepts its own result and returns it
// unchanged.
func Check(value, ownPrefix string) (string, error) {
	if value == "" {
		return "", Empty
	}
	if len(value) > MaxLen {
		return "", TooLong
	}
	if !onlyPlainBytes(value) {
		return "", ForbiddenByte
	}
	if value[0] != '/' {
		return "", NotRooted
	}
	if strings.HasPrefix(value, "//") {
		return "", NetworkPath
	}
	value, _, _ = strings.Cut(value, "#")
	path, _, _ := strings.Cut(value, "?")
	if !wellEscaped(path) {
		return "", BadEscape
	}
	if err := checkPath(path, strings.TrimSuffix(ownPrefix, "/")); err != nil {
		return "", err
	}
	return value, nil
}

// onlyPlainBytes reports whether s is printable ASCII without the characters that parsers read in
// different ways. Browsers drop tab, CR and LF anywhere, trim spaces and control characters at both
// ends, and read a backslash as a slash (WHATWG URL, section 4.4). The other excluded characters
// are not allowed in URLs (RFC 3986, section 2) and could end an HTML attribute.
func onlyPlainBytes(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c <= ' ' || c >= 0x7f:
			return false
		case strings.IndexByte("\\<>\"{}|^`", c) >= 0:
			return false
		}
	}
	return true
}

// wellEscaped reports whether every % of path is followed by two hexadecimal digits. net/http
// answers 400 to any other path.
func wellEscaped(path string) bool {
	for i := range len(path) {
		if path[i] == '%' && !isEscape(path[i:]) {
			return false
		}
	}
	return true
}

// checkPath applies checkDecoded to path undecoded, decoded once and decoded twice.
func checkPath(path, ownPrefix string) error {
	slashes := strings.Count(path, "/")
	for decoded := 0; ; decoded++ {
		if err := checkDecoded(path, ownPrefix); err != nil {
			return err
		}
		if strings.Count(path, "/") != slashes {
			return EncodedSlash
		}
		if decoded == 2 || strings.IndexByte(path, '%') < 0 {
			return nil
		}
		path = unescape(path)
	}
}

// checkDecoded applies the rules that hold for every number of decodings. path begins with a slash.
func checkDecoded(path, ownPrefix string) error {
	if err := checkCharacters(path); err != nil {
		return err
	}
	// One slash at the end is allowed ("/folder/"); two slashes in a row are not.
	if strings.Contains(path, "//") {
		return EmptySegment
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return DotSegment
		}
	}
	if isUnder(path, ownPrefix) {
		return OwnRoute
	}
	return nil
}

// checkCharacters refuses characters that onlyPlainBytes refuses too, but that can appear after
// decoding.
func checkCharacters(path string) error {
	if !utf8.ValidString(path) {
		return InvalidUTF8
	}
	for _, c := range path {
		if c == '\\' || unicode.IsControl(c) {
			return EncodedControl
		}
		if c > unicode.MaxASCII && unicode.Is(unicode.Bidi_Control, c) {
			return BidiControl
		}
	}
	return nil
}

// isUnder reports whether path equals prefix or is below it, ignoring letter case. "/authx" is not
// under "/auth". No path is under "".
func isUnder(path, prefix string) bool {
	for end := 1; end <= len(path); end++ {
		atBoundary := end == len(path) || path[end] == '/'
		if atBoundary && strings.EqualFold(path[:end], prefix) {
			return true
		}
	}
	return false
}

// unescape decodes every escape of s once. It keeps a % that does not begin an escape: "/100%25"
// decoded once is "/100%", which has a literal percent sign.
func unescape(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		if !isEscape(s[i:]) {
			b.WriteByte(s[i])
			continue
		}
		b.WriteByte(hexDigit(s[i+1])<<4 | hexDigit(s[i+2]))
		i += 2
	}
	return b.String()
}

// isEscape reports whether s begins with a percent-encoded byte (RFC 3986, section 2.1).
func isEscape(s string) bool {
	return len(s) >= 3 && s[0] == '%' && hexDigit(s[1]) < 16 && hexDigit(s[2]) < 16
}

// hexDigit returns the value of the hexadecimal digit c, or 16 if c is not one.
func hexDigit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10
	}
	return 16
}
