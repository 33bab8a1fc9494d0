package op

import "github.com/oidcgate/oidcgate/internal/claims"

// memberReader reads members that must have a certain type. A member that is absent or null has the
// zero value.
type memberReader struct {
	doc   claims.Object
	wrong string // the name of the first member that had another type
}

func (r *memberReader) get(name string) (claims.Value, bool) {
	v, ok := r.doc.Get(name)
	return v, ok && v.Kind() != claims.Null
}

func (r *memberReader) check(name string, ok bool) {
	if !ok && r.wrong == "" {
		r.wrong = name
	}
}

func (r *memberReader) text(name string) string {
	v, ok := r.get(name)
	if !ok {
		return ""
	}
	s, ok := v.Str()
	r.check(name, ok)
	return s
}

func (r *memberReader) flag(name string) bool {
	v, ok := r.get(name)
	if !ok {
		return false
	}
	b, ok := v.Bool()
	r.check(name, ok)
	return b
}

func (r *memberReader) list(name string) []string {
	v, ok := r.get(name)
	if !ok {
		return nil
	}
	list, ok := textList(v)
	r.check(name, ok)
	return list
}

// textList returns the strings of an array of strings, never nil if v is one.
func textList(v claims.Value) ([]string, bool) {
	if v.Kind() != claims.Array {
		return nil, false
	}
	list := []string{}
	for e := range v.Elements() {
		s, ok := e.Str()
		if !ok {
			return nil, false
		}
		list = append(list, s)
	}
	return list, true
}
