package claims

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"unicode/utf8"
)

// The reasons for which [Parse] refuses a text. They do not quote the text: it may be the payload
// of an ID Token, and errors are logged.
var (
	errSyntax     = errors.New("claims: not one JSON value")
	errNotObject  = errors.New("claims: not a JSON object")
	errUTF8       = errors.New("claims: text is not UTF-8")
	errSurrogate  = errors.New("claims: lone surrogate in a string")
	errDuplicate  = errors.New("claims: two members of one object have the same name")
	errTooDeep    = errors.New("claims: nested too deeply")
	errTokenOrder = errors.New("claims: unexpected token")
)

// Parse reads a text that is one JSON object. It refuses text after the object, text that is not
// UTF-8, strings with half a surrogate pair, two equal member names in one object at any depth, and
// nesting deeper than 32. Names that differ in case are different names. Numbers keep their text.
//
// The caller bounds the length of the text.
func Parse(text []byte) (Object, error) {
	return object(parse(text, 1, false))
}

// ParseRepeated is Parse for a text whose outermost object may have a member again with an equal
// value, which every reader reads alike.
func ParseRepeated(text []byte) (Object, error) {
	return object(parse(text, 1, true))
}

func object(v Value, err error) (Object, error) {
	if err != nil {
		return "", err
	}
	o, ok := v.Object()
	if !ok {
		return "", errNotObject
	}
	return o, nil
}

// parseValue is Parse for a value of any kind that will be a member of an object. The depth
// includes that object.
func parseValue(text []byte) (Value, error) {
	return parse(text, 2, false)
}

func parse(text []byte, depth int, repeated bool) (Value, error) {
	if !utf8.Valid(text) {
		return "", errUTF8
	}
	// The decoder below checks the grammar token by token and does not read what follows the value;
	// json.Valid checks the whole text.
	if !json.Valid(text) {
		return "", errSyntax
	}
	if hasLoneSurrogate(text) {
		return "", errSurrogate
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	p := parser{dec, repeated}
	v, err := p.value(depth)
	return Value(v), err
}

// hasLoneSurrogate reports whether valid JSON text has an escape such as \ud800 without the other
// half of the pair. encoding/json replaces each with U+FFFD, so that different subjects become
// equal.
func hasLoneSurrogate(text []byte) bool {
	for {
		i := bytes.IndexByte(text, '\\')
		if i < 0 {
			return false
		}
		text = text[i:]
		unit, escaped := unicodeEscape(text)
		switch {
		case !escaped:
			text = text[2:]
		case unit < 0xd800 || unit > 0xdfff:
			text = text[6:]
		case unit > 0xdbff:
			return true
		default:
			low, ok := unicodeEscape(text[6:])
			if !ok || low < 0xdc00 || low > 0xdfff {
				return true
			}
			text = text[12:]
		}
	}
}

// unicodeEscape returns the code unit of the \uXXXX that text begins with.
func unicodeEscape(text []byte) (unit uint64, ok bool) {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0, false
	}
	unit, err := strconv.ParseUint(string(text[2:6]), 16, 16)
	return unit, err == nil
}

// parser converts the tokens of the decoder into frames.
type parser struct {
	dec      *json.Decoder
	repeated bool // members of the outermost object may stand there again, with an equal value
}

func (p parser) value(depth int) ([]byte, error) {
	token, err := p.dec.Token()
	if err != nil {
		return nil, errSyntax
	}
	switch t := token.(type) {
	case nil:
		return []byte{byte(Null)}, nil
	case bool:
		if t {
			return []byte{byte(Bool), '1'}, nil
		}
		return []byte{byte(Bool), '0'}, nil
	case json.Number:
		return append([]byte{byte(Number)}, t...), nil
	case string:
		return append([]byte{byte(String)}, t...), nil
	case json.Delim:
		return p.nested(t, depth)
	default:
		return nil, errTokenOrder
	}
}

func (p parser) nested(open json.Delim, depth int) ([]byte, error) {
	if depth > maxDepth {
		return nil, errTooDeep
	}
	if open == '[' {
		return p.array(depth)
	}
	return p.object(depth)
}

func (p parser) array(depth int) ([]byte, error) {
	out := []byte{byte(Array)}
	for p.dec.More() {
		element, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		out = appendPiece(out, element)
	}
	return out, p.end()
}

func (p parser) object(depth int) ([]byte, error) {
	out := []byte{byte(Members)}
	seen := make(map[string]string)
	for p.dec.More() {
		name, err := p.name()
		if err != nil {
			return nil, err
		}
		before, again := seen[name]
		if again && !(p.repeated && depth == 1) {
			return nil, errDuplicate
		}
		value, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		if again {
			if before != string(value) {
				return nil, errDuplicate
			}
			continue
		}
		seen[name] = string(value)
		out = appendPiece(appendPiece(out, name), value)
	}
	return out, p.end()
}

func (p parser) name() (string, error) {
	token, err := p.dec.Token()
	if err != nil {
		return "", errSyntax
	}
	name, ok := token.(string)
	if !ok {
		return "", errTokenOrder
	}
	return name, nil
}

// end reads the closing delimiter.
func (p parser) end() error {
	if _, err := p.dec.Token(); err != nil {
		return errSyntax
	}
	return nil
}
