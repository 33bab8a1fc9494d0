// Package claims keeps a JSON object in a framed binary form. The JSON is parsed once and strictly,
// at login; a request then reads claims from the frame without parsing JSON and without allocating
// memory.
//
// The strict parsing is a security measure. encoding/json matches member names without regard to
// case, takes the last of two equal names and replaces invalid text silently, so that two programs
// that read one ID Token can see two different subjects (RFC 8725, 2.8; RFC 7519, 4). [Parse]
// refuses what two programs could read differently. Every lookup, and [Decode] into Go values,
// compares names byte for byte.
//
// # The frame
//
// An object is the sequence of its members. A member is a piece with the name followed by a piece
// with the value. A piece is its length as an unsigned varint (encoding/binary) and that many
// bytes. A value is one kind byte and a body: nothing for null, '0' or '1' for a boolean, the text
// of a number, the UTF-8 of a string, the pieces of an array, the frame of an object.
package claims

import (
	"iter"
	"maps"
	"strings"
)

// maxDepth bounds the nesting of objects and arrays, the outermost object included. It is far more
// than claims in use have, and it bounds every recursion over JSON from outside.
const maxDepth = 32

// Object is a JSON object in framed form. It is immutable and safe for concurrent use, and the zero
// value is the empty object. An Object may be a substring of a larger record; values read from it
// are substrings of the Object.
//
// No method panics on a damaged frame: a member that cannot be read is treated as absent.
type Object string

// Get returns the member called name. Names are compared byte for byte.
func (o Object) Get(name string) (Value, bool) {
	for rest := string(o); rest != ""; {
		member, value, tail, ok := cutMember(rest)
		if !ok {
			return "", false
		}
		if member == name {
			return Value(value), true
		}
		rest = tail
	}
	return "", false
}

// Pointer returns the value p points to, where p is a JSON Pointer (RFC 6901) such as
// "/realm_access/roles" or "/groups/0". A pointer that does not begin with "/" finds nothing, also
// the empty one, which stands for the object itself.
func (o Object) Pointer(p string) (Value, bool) {
	if p == "" || p[0] != '/' {
		return "", false
	}
	token, rest, more := strings.Cut(p[1:], "/")
	v, ok := o.member(token)
	for ok && more {
		token, rest, more = strings.Cut(rest, "/")
		v, ok = v.child(token)
	}
	return v, ok
}

// member is Get for a reference token, in which "~1" stands for "/" and "~0" for "~" (RFC 6901, 3).
func (o Object) member(token string) (Value, bool) {
	if !strings.Contains(token, "~") {
		return o.Get(token)
	}
	for name, v := range o.All() {
		if tokenNames(token, name) {
			return v, true
		}
	}
	return "", false
}

// tokenNames reports whether the reference token, once unescaped, is name. A token in which a "~"
// is followed by neither 0 nor 1 is no name.
func tokenNames(token, name string) bool {
	for token != "" {
		c, width := token[0], 1
		if c == '~' {
			if len(token) < 2 || token[1] != '0' && token[1] != '1' {
				return false
			}
			c, width = "~/"[token[1]-'0'], 2
		}
		if name == "" || name[0] != c {
			return false
		}
		token, name = token[width:], name[1:]
	}
	return name == ""
}

// All returns the members in the order in which they were written.
func (o Object) All() iter.Seq2[string, Value] {
	return func(yield func(string, Value) bool) {
		for rest := string(o); rest != ""; {
			name, value, tail, ok := cutMember(rest)
			if !ok || !yield(name, Value(value)) {
				return
			}
			rest = tail
		}
	}
}

// Filter returns the object with only those members for whose name keep returns true.
func (o Object) Filter(keep func(name string) bool) Object {
	var kept []byte
	for name, v := range o.All() {
		if keep(name) {
			kept = appendMember(kept, name, v)
		}
	}
	return Object(kept)
}

// With returns the object with the member called name set to v. An existing member of that name is
// replaced where it stands; a new one is added at the end. It copies the object: use a [Builder] to
// make one of many members, and [Object.WithAll] to set many.
func (o Object) With(name string, v Value) Object {
	var out []byte
	replaced := false
	for member, old := range o.All() {
		if member == name {
			old, replaced = v, true
		}
		out = appendMember(out, member, old)
	}
	if !replaced {
		out = appendMember(out, name, v)
	}
	return Object(out)
}

// WithAll is With for every member of more.
func (o Object) WithAll(more Object) Object {
	set := maps.Collect(more.All())
	out := make([]byte, 0, len(o)+len(more))
	for name, v := range o.All() {
		if fresh, ok := set[name]; ok {
			v = fresh
			delete(set, name)
		}
		out = appendMember(out, name, v)
	}
	for name, v := range more.All() {
		if _, ok := set[name]; ok {
			out = appendMember(out, name, v)
		}
	}
	return Object(out)
}

// AppendJSON appends the object as JSON text, with the members in their order and the numbers digit
// for digit as they were received.
func (o Object) AppendJSON(dst []byte) []byte {
	return o.appendJSON(dst, 1)
}

func (o Object) appendJSON(dst []byte, depth int) []byte {
	dst = append(dst, '{')
	first := true
	for name, v := range o.All() {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(appendJSONString(dst, name), ':')
		dst = v.appendJSON(dst, depth+1)
	}
	return append(dst, '}')
}
