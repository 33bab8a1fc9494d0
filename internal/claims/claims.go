// Package claims keeps a JSON object in a framed binary form: parsed strictly
// once, at login, and then read on every request without parsing JSON and
// without allocating.
//
// The strictness is a security measure. encoding/json matches member names
// without regard to case, lets the last of two equal names win and replaces
// broken text silently, so that two readers of one ID Token can see two
// different subjects (RFC 8725, 2.8; RFC 7519, 4). [Parse] refuses what two
// readers could read differently, and every lookup here is exact.
//
// # The frame
//
// An object is its members one after the other, each a piece with the name
// followed by a piece with the value. A piece is its length as an unsigned
// varint (encoding/binary) and that many bytes. A value is one kind byte and a
// body: nothing for null, '0' or '1' for a boolean, the text of a number, the
// UTF-8 of a string, the pieces of an array, the frame of an object.
package claims

import (
	"iter"
	"strings"
)

// maxDepth bounds the nesting of objects and arrays, the outermost object
// included. No claim set in use comes near it, and it keeps every recursion
// over a stranger's JSON shallow.
const maxDepth = 32

// Object is a JSON object in framed form. It is immutable and safe for
// concurrent use, and the zero value is the empty object. An Object may be a
// substring of a larger record; values read from it are substrings in turn.
//
// No method panics, whatever the frame holds: what cannot be read is not there.
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

// Pointer returns the value p points to, where p is a JSON Pointer (RFC 6901)
// such as "/realm_access/roles" or "/groups/0". It finds only what is below the
// object: a pointer that does not begin with "/" finds nothing.
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

// member is Get for a reference token, in which "~1" stands for "/" and "~0"
// for "~" (RFC 6901, 3).
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

// tokenNames reports whether the reference token, once unescaped, is name.
// A "~" that is followed by neither 0 nor 1 names nothing.
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

// Filter returns the object with those members for whose name keep is true.
func (o Object) Filter(keep func(name string) bool) Object {
	var kept []byte
	for name, v := range o.All() {
		if keep(name) {
			kept = appendMember(kept, name, v)
		}
	}
	return Object(kept)
}

// With returns the object with the member called name set to v. A member of
// that name is replaced where it stands, a new one goes to the end.
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

// AppendJSON appends the object as JSON text, its members in their order and
// its numbers digit for digit as they came.
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
