package claims

import (
	"encoding/json"
	"reflect"
	"slices"
)

// Decode stores the members of the sources in v as json.Unmarshal would. Of members with the same
// name only the first is stored, so that an earlier source has precedence over a later one.
//
// Unlike json.Unmarshal it compares names byte for byte, at every depth. encoding/json takes a
// member "Groups", or "\u017fub" with the long s, for the fields named "groups" and "sub", and the
// last of them wins. At a provider that lets a user name a claim, the user could thereby replace
// the claims on which an application decides. A member whose name is no field's name is therefore
// not given to json.Unmarshal at all. Types that decode themselves (json.Unmarshaler) and empty
// interfaces get every member.
//
// The errors are those of json.Unmarshal. The time is linear in the size of the sources.
func Decode(v any, sources ...Object) error {
	into := reflect.ValueOf(v)
	if into.Kind() != reflect.Pointer || into.IsNil() {
		return &json.InvalidUnmarshalError{Type: reflect.TypeOf(v)}
	}
	t := targetOf(into)
	if !t.value.IsValid() {
		sources = []Object{lastFirst(sources)}
	}
	return json.Unmarshal(appendMembers(make([]byte, 0, 512), t, 1, sources...), v)
}

// lastFirst returns the members that Decode stores, those of the last source first. It is for types
// that decode themselves. Such a type often calls json.Unmarshal, which takes the last of several
// members whose names differ only in case. In this order a name in userinfo cannot replace a claim
// of the ID Token.
func lastFirst(sources []Object) Object {
	owners := make(map[string]int)
	for i, source := range slices.Backward(sources) {
		for name := range source.All() {
			owners[name] = i
		}
	}
	var b Builder
	for i, source := range slices.Backward(sources) {
		for name, v := range source.All() {
			if owners[name] == i {
				b = b.Add(name, v)
			}
		}
	}
	return Object(b)
}

// appendMembers appends an object with the members that the target takes.
func appendMembers(dst []byte, t target, depth int, sources ...Object) []byte {
	dst = append(dst, '{')
	written := make(map[string]bool)
	for _, source := range sources {
		for name, v := range source.All() {
			into, ok := t.member(name)
			if !ok || written[name] {
				continue
			}
			if len(written) > 0 {
				dst = append(dst, ',')
			}
			written[name] = true
			dst = append(appendJSONString(dst, name), ':')
			dst = appendFor(dst, v, into, depth+1)
		}
	}
	return append(dst, '}')
}

// appendFor appends v without the members that encoding/json must not see when it stores v in into.
func appendFor(dst []byte, v Value, into reflect.Value, depth int) []byte {
	if depth > maxDepth+1 || !into.IsValid() {
		return v.appendJSON(dst, depth)
	}
	switch v.Kind() {
	case Members:
		o, _ := v.Object()
		return appendMembers(dst, targetOf(into), depth, o)
	case Array:
		return appendElements(dst, targetOf(into), depth, v)
	default:
		return v.appendJSON(dst, depth)
	}
}

func appendElements(dst []byte, t target, depth int, array Value) []byte {
	dst = append(dst, '[')
	i := 0
	for e := range array.Elements() {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendFor(dst, e, t.element(i), depth+1)
		i++
	}
	return append(dst, ']')
}
