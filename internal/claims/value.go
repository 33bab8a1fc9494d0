package claims

import (
	"encoding/json"
	"iter"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Kind is one of the six kinds of JSON values.
type Kind byte

// The kinds of JSON values.
const (
	Null    Kind = 'n'
	Bool    Kind = 'b'
	Number  Kind = 'd'
	String  Kind = 's'
	Array   Kind = 'a'
	Members Kind = 'o' // an object; its frame is an [Object]
)

// Value is a JSON value in framed form. It is immutable and safe for concurrent use, and the zero
// value is null. No method panics on a damaged frame.
type Value string

// Of returns v in framed form, as encoding/json writes it. It fails where json.Marshal fails and
// where [Parse] would refuse the result.
func Of(v any) (Value, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	return parseValue(text)
}

// Kind returns the kind of v. A value whose kind is unknown is Null.
func (v Value) Kind() Kind {
	if v == "" {
		return Null
	}
	switch k := Kind(v[0]); k {
	case Bool, Number, String, Array, Members:
		return k
	default:
		return Null
	}
}

// body returns what follows the kind byte, if v is of kind k.
func (v Value) body(k Kind) (string, bool) {
	if v == "" || Kind(v[0]) != k {
		return "", false
	}
	return string(v[1:]), true
}

// Str returns the text of a string.
func (v Value) Str() (string, bool) { return v.body(String) }

// Bool returns the value of a boolean. The string "true" is not a boolean.
func (v Value) Bool() (value, ok bool) {
	body, ok := v.body(Bool)
	if !ok || body != "0" && body != "1" {
		return false, false
	}
	return body == "1", true
}

// Number returns the text of a number, exactly as it was received.
func (v Value) Number() (text string, ok bool) { return v.body(Number) }

// Object returns the members of an object.
func (v Value) Object() (Object, bool) {
	body, ok := v.body(Members)
	return Object(body), ok
}

// Elements returns the elements of an array in their order. A value of another kind has none.
func (v Value) Elements() iter.Seq[Value] {
	return func(yield func(Value) bool) {
		rest, _ := v.body(Array)
		for rest != "" {
			element, tail, ok := cut(rest)
			if !ok || !yield(Value(element)) {
				return
			}
			rest = tail
		}
	}
}

// Strings returns the elements of an array that are strings, and nil when there are none.
func (v Value) Strings() []string {
	var out []string
	for e := range v.Elements() {
		if s, ok := e.Str(); ok {
			out = append(out, s)
		}
	}
	return out
}

// child returns the member or the element that the reference token names.
func (v Value) child(token string) (Value, bool) {
	if o, ok := v.Object(); ok {
		return o.member(token)
	}
	return v.element(token)
}

// element returns the element that an array index names: decimal digits without a leading zero (RFC
// 6901, 4).
func (v Value) element(token string) (Value, bool) {
	n, err := strconv.ParseUint(token, 10, 32)
	if err != nil || len(token) > 1 && token[0] == '0' {
		return "", false
	}
	for e := range v.Elements() {
		if n == 0 {
			return e, true
		}
		n--
	}
	return "", false
}

// endOfTime is the first second of the year 10000, which the JSON of time.Time and most databases
// refuse.
const endOfTime = 253402300800

// Time returns a NumericDate (RFC 7519, 2), a number of seconds since 1970 with or without a
// fraction, in UTC. Only a JSON number from 1970 to the end of the year 9999 is accepted. A string
// of digits is not, nor is 1e300: as an expiry it would never pass, or overflow to a time in the
// past.
func (v Value) Time() (time.Time, bool) {
	text, ok := v.Number()
	if !ok {
		return time.Time{}, false
	}
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil {
		if seconds < 0 || seconds >= endOfTime {
			return time.Time{}, false
		}
		return time.Unix(seconds, 0).UTC(), true
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil || !(seconds >= 0 && seconds < endOfTime) {
		return time.Time{}, false
	}
	whole, fraction := math.Modf(seconds)
	return time.Unix(int64(whole), int64(fraction*1e9)).UTC(), true
}

// AppendJSON appends v as JSON text, a number digit for digit as it was received.
func (v Value) AppendJSON(dst []byte) []byte {
	return v.appendJSON(dst, 2)
}

func (v Value) appendJSON(dst []byte, depth int) []byte {
	if depth > maxDepth+1 {
		return append(dst, "null"...)
	}
	switch v.Kind() {
	case Bool:
		truth, _ := v.Bool()
		return strconv.AppendBool(dst, truth)
	case Number:
		return appendJSONNumber(dst, string(v[1:]))
	case String:
		return appendJSONString(dst, string(v[1:]))
	case Array:
		return v.appendJSONArray(dst, depth)
	case Members:
		return Object(v[1:]).appendJSON(dst, depth)
	default:
		return append(dst, "null"...)
	}
}

func (v Value) appendJSONArray(dst []byte, depth int) []byte {
	dst = append(dst, '[')
	first := true
	for e := range v.Elements() {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = e.appendJSON(dst, depth+1)
	}
	return append(dst, ']')
}

func appendJSONNumber(dst []byte, text string) []byte {
	if !isNumber(text) {
		return append(dst, "null"...)
	}
	return append(dst, text...)
}

// appendJSONString appends s as encoding/json writes it.
func appendJSONString(dst []byte, s string) []byte {
	if isPlain(s) {
		dst = append(dst, '"')
		dst = append(dst, s...)
		return append(dst, '"')
	}
	quoted, _ := json.Marshal(s) // a string always marshals
	return append(dst, quoted...)
}

// isPlain returns true only if encoding/json writes s without an escape. It may return false for
// some such texts.
func isPlain(s string) bool {
	ascii := true
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ', c == '"', c == '\\', c == '<', c == '>', c == '&':
			return false
		case c == 0xe2: // the first byte of U+2028 and U+2029, which are escaped
			return false
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return ascii || utf8.ValidString(s)
}

// isNumber reports whether text is a number in the grammar of RFC 8259, 6.
func isNumber(text string) bool {
	text = strings.TrimPrefix(text, "-")
	digits, rest := leadingDigits(text)
	if digits == "" || len(digits) > 1 && digits[0] == '0' {
		return false
	}
	if fraction, ok := strings.CutPrefix(rest, "."); ok {
		if digits, rest = leadingDigits(fraction); digits == "" {
			return false
		}
	}
	if rest == "" {
		return true
	}
	if rest[0] != 'e' && rest[0] != 'E' {
		return false
	}
	exponent := rest[1:]
	if exponent != "" && (exponent[0] == '+' || exponent[0] == '-') {
		exponent = exponent[1:]
	}
	digits, rest = leadingDigits(exponent)
	return digits != "" && rest == ""
}

func leadingDigits(s string) (digits, rest string) {
	i := 0
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	return s[:i], s[i:]
}
