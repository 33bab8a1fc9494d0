package claims

import (
	"encoding/binary"
	"errors"
	"unicode/utf8"
)

// errFrame is the error for a frame that this package did not write.
var errFrame = errors.New("claims: damaged frame")

// Valid returns o as an Object, or an error when o is not the frame of one: a piece ends outside
// the piece around it, a kind is unknown, a number does not have the form of one, text is not
// UTF-8, or the nesting is too deep. Use it on a frame that comes from outside the process. It does
// not allocate memory.
//
// It does not check for equal member names, which [Parse] refuses: lookups return the first member
// of that name.
func Valid(o string) (Object, error) {
	if !validObject(o, 1) {
		return "", errFrame
	}
	return Object(o), nil
}

func validObject(o string, depth int) bool {
	if depth > maxDepth {
		return false
	}
	for o != "" {
		name, value, rest, ok := cutMember(o)
		if !ok || !utf8.ValidString(name) || !validValue(value, depth+1) {
			return false
		}
		o = rest
	}
	return true
}

func validArray(a string, depth int) bool {
	if depth > maxDepth {
		return false
	}
	for a != "" {
		element, rest, ok := cut(a)
		if !ok || !validValue(element, depth+1) {
			return false
		}
		a = rest
	}
	return true
}

func validValue(v string, depth int) bool {
	if v == "" {
		return false
	}
	body := v[1:]
	switch Kind(v[0]) {
	case Null:
		return body == ""
	case Bool:
		return body == "0" || body == "1"
	case Number:
		return isNumber(body)
	case String:
		return utf8.ValidString(body)
	case Array:
		return validArray(body, depth)
	case Members:
		return validObject(body, depth)
	default:
		return false
	}
}

// cut splits s after its first piece.
func cut(s string) (piece, rest string, ok bool) {
	var length uint64
	for i := 0; i < len(s) && i < binary.MaxVarintLen32; i++ {
		length |= uint64(s[i]&0x7f) << (7 * i)
		if s[i] < 0x80 {
			s = s[i+1:]
			if length > uint64(len(s)) {
				return "", "", false
			}
			return s[:length], s[length:], true
		}
	}
	return "", "", false
}

func cutMember(s string) (name, value, rest string, ok bool) {
	if name, s, ok = cut(s); !ok {
		return "", "", "", false
	}
	value, rest, ok = cut(s)
	return name, value, rest, ok
}

func appendPiece[T ~string | ~[]byte](dst []byte, piece T) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(piece)))
	return append(dst, piece...)
}

func appendMember(dst []byte, name string, v Value) []byte {
	if v == "" {
		v = Value(Null)
	}
	return appendPiece(appendPiece(dst, name), v)
}
