package claims

import (
	"encoding/binary"
	"strconv"
)

// Text returns s as a string value. Unlike [Of] it cannot fail, and it does not check that s is
// UTF-8: use it for text that was checked when it was received.
func Text(s string) Value { return Value(string(rune(String)) + s) }

// Int returns n as a number.
func Int(n int64) Value {
	return Value(strconv.AppendInt([]byte{byte(Number)}, n, 10))
}

// Value returns o as a value, to be kept as a member of another object.
func (o Object) Value() Value { return Value(string(rune(Members)) + string(o)) }

// Builder is the frame of an object to which members are appended. The zero value is the empty
// object. Each call copies only what it appends, where [Object.With] copies the whole object.
//
// It does not look for equal names: the caller adds each name once.
type Builder []byte

// Add appends a member.
func (b Builder) Add(name string, v Value) Builder { return appendMember(b, name, v) }

// Text appends a member whose value is [Text] of s.
func (b Builder) Text(name, s string) Builder { return b.add(name, String, s) }

// Object appends a member whose value is an object.
func (b Builder) Object(name string, o Object) Builder { return b.add(name, Members, string(o)) }

// add appends a member without making its value first.
func (b Builder) add(name string, kind Kind, body string) Builder {
	b = appendPiece(b, name)
	b = binary.AppendUvarint(b, uint64(1+len(body)))
	return append(append(b, byte(kind)), body...)
}
