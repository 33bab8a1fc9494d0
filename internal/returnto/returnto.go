// Package returnto decides which path is safe to send a browser back to.
//
// A return path comes from whoever wrote the link, so it is hostile. The attack is the open redirect (RFC 9700,
// section 4.11): a link to this site that ends, after a genuine login, on a page of somebody else. It lives on
// disagreement: between what was checked and what the browser, a proxy or a router makes of it. So the rules accept
// only what all of them read alike, and what is accepted is sent as it stands, never parsed and written anew.
package returnto

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxLen is the longest value that Check accepts, in bytes, its fragment included.
const MaxLen = 2048

// A Reason is why a value was refused. It is the error that Check returns, a stable code fit for an event, and holds
// nothing of the value.
type Reason string

const (
	Empty          Reason = "empty"           // no value at all: nothing was asked for
	TooLong        Reason = "too_long"        // more than MaxLen bytes
	ForbiddenByte  Reason = "forbidden_byte"  // a byte that some parser drops, turns into a slash, or that leaves an attribute
	NotRooted      Reason = "not_rooted"      // does not begin with a slash: another scheme, or relative to the callback
	NetworkPath    Reason = "network_path"    // "//host": another site under this scheme
	BadEscape      Reason = "bad_escape"      // a % in the path that two hexadecimal digits do not follow
	InvalidUTF8    Reason = "invalid_utf8"    // decodes to bytes that are not UTF-8, an overlong slash among them
	EncodedControl Reason = "encoded_control" // decodes to a control character or a backslash
	BidiControl    Reason = "bidi_control"    // decodes to a character that makes the address read as another
	EmptySegment   Reason = "empty_segment"   // "//" within the path, which path cleaning turns into another path
	DotSegment     Reason = "dot_segment"     // "." or ".." as a segment, which browsers and routers resolve
	OwnRoute       Reason = "own_route"       // a route of the gate: a loop, or a logout by link
	EncodedSlash   Reason = "encoded_slash"   // decodes to a slash: routers disagree about where the segment ends
)

// Error returns the reason as a sentence fragment for a log.
func (r Reason) Error() string { return "return path refused: " + string(r) }

// Check returns value without its fragment when that is a path, with or without a query, that is safe to send a browser
// to on this site. Otherwise the path is empty and the error is a [Reason].
//
// ownPrefix is the path under which the gate's own routes lie, such as "/auth"; it is compared in any letter case, and
// whole segments only. If empty or "/", no path is the gate's own.
//
// The rules for the path hold for it as it stands and decoded once and twice, because a proxy in front or a router behind
// may decode once more than the browser did. The query is free but for the rules on bytes: nobody finds a site in it.
//
// The caller puts its origin, and its base path if it has one, in front of the path and sets the Location header itself:
// http.Redirect cleans and rewrites, so that what was checked is not what is sent. A path that was kept, even sealed, is
// checked again before use. Check returns what it accepted unchanged when given it again.
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

// onlyPlainBytes reports whether s is printable ASCII without the characters that parsers treat each in their own way.
// Browsers drop tab, CR and LF anywhere, trim spaces and control characters at the ends, and read a backslash as a slash
// (WHATWG URL, section 4.4). The others are no URL characters (RFC 3986, section 2) and useful only to leave an HTML attribute.
func onlyPlainBytes(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c <= ' ' || c >= 0x7f:
			return false
		case c == '\\' || c == '<' || c == '>' || c == '"' || c == '{' || c == '}' || c == '|' || c == '^' || c == '`':
			return false
		}
	}
	return true
}

// wellEscaped reports whether two hexadecimal digits follow every % of path. net/http answers 400 to any other path.
func wellEscaped(path string) bool {
	for i := range len(path) {
		if path[i] == '%' && !isEscape(path[i:]) {
			return false
		}
	}
	return true
}

// checkPath applies checkDecoded to path as it stands, decoded once and decoded twice.
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

// checkDecoded applies the rules that hold however often a path is decoded. It begins with a slash.
func checkDecoded(path, ownPrefix string) error {
	if err := checkCharacters(path); err != nil {
		return err
	}
	// A slash at the end is the page of a folder and no empty segment, but one before it would be.
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

// checkCharacters refuses what may come out of a decoding although onlyPlainBytes kept it from being written plainly.
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

// isUnder reports whether path is prefix, in any letter case, or lies below it: "/authx" is not under "/auth", and
// nothing is under "".
func isUnder(path, prefix string) bool {
	for end := 1; end <= len(path); end++ {
		atBoundary := end == len(path) || path[end] == '/'
		if atBoundary && strings.EqualFold(path[:end], prefix) {
			return true
		}
	}
	return false
}

// unescape decodes every escape of s once and leaves a % that begins none: in "/100%25", decoded once, the sign is meant.
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

// hexDigit returns the value of the hexadecimal digit c, or 16 when it is none.
func hexDigit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10
	}
	return 16
}
