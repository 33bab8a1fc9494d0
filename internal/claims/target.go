package claims

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
	"sync"
	"unicode"
)

// target is a Go value in which encoding/json is about to store an object or an array. It is only
// read: a nil pointer stands for the zero value that encoding/json would make.
type target struct {
	value  reflect.Value    // what pointers and interfaces lead to; if invalid, all is passed on
	fields map[string][]int // if value is a struct: the index of each field, by its JSON name
}

// targetOf follows pointers, and interfaces that hold a pointer, as encoding/json does.
func targetOf(v reflect.Value) target {
	// encoding/json looks for the methods of *T where it has a *T, and where it can take the address
	// of a T with a name.
	methods := v.Type().Name() != ""
	for range maxDepth { // a pointer may lead to itself
		switch {
		case v.Kind() == reflect.Interface && v.Elem().Kind() == reflect.Pointer && !v.Elem().IsNil():
			v = v.Elem()
		case v.Kind() == reflect.Pointer:
			methods = v.Type().Name() == ""
			v = pointee(v)
		default:
			return newTarget(v, methods)
		}
	}
	return target{}
}

func pointee(v reflect.Value) reflect.Value {
	if v.IsNil() {
		return reflect.Zero(v.Type().Elem())
	}
	return v.Elem()
}

func newTarget(v reflect.Value, methods bool) target {
	switch v.Kind() {
	case reflect.Struct, reflect.Map, reflect.Slice, reflect.Array:
	default:
		return target{}
	}
	s := shapeOf(v.Type())
	if methods && s.decodesItself {
		return target{}
	}
	return target{v, s.fields}
}

// member returns where the member called name is stored, and false when it must not be passed on.
// The returned value is invalid if the member may be passed on with everything in it.
func (t target) member(name string) (into reflect.Value, ok bool) {
	switch t.value.Kind() {
	case reflect.Struct:
		index, ok := t.fields[name]
		if !ok {
			return reflect.Value{}, false
		}
		return field(t.value, index), true
	case reflect.Map:
		return reflect.Zero(t.value.Type().Elem()), true
	default:
		return reflect.Value{}, true
	}
}

// field is Value.FieldByIndex for a value in which embedded pointers may be nil.
func field(v reflect.Value, index []int) reflect.Value {
	for _, i := range index {
		if v.Kind() == reflect.Pointer {
			v = pointee(v)
		}
		v = v.Field(i)
	}
	return v
}

// element returns where element i of an array is stored. The returned value is invalid if the
// element may be passed on with everything in it, or is not stored at all.
func (t target) element(i int) reflect.Value {
	v := t.value
	switch v.Kind() {
	case reflect.Slice:
		// encoding/json reuses the elements of the slice, also those between length and capacity.
		if i >= v.Cap() {
			return reflect.Zero(v.Type().Elem())
		}
		return v.Slice(0, v.Cap()).Index(i)
	case reflect.Array:
		if i < v.Len() {
			return v.Index(i)
		}
	}
	return reflect.Value{}
}

// shape is what encoding/json sees in a type.
type shape struct {
	decodesItself bool             // by a method of the pointer to it
	fields        map[string][]int // of a struct
}

// shapes caches a *shape for each reflect.Type.
var shapes sync.Map

var (
	unmarshaler     = reflect.TypeFor[json.Unmarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
)

func shapeOf(t reflect.Type) *shape {
	if s, ok := shapes.Load(t); ok {
		return s.(*shape)
	}
	p := reflect.PointerTo(t)
	s := &shape{decodesItself: p.Implements(unmarshaler) || p.Implements(textUnmarshaler)}
	if t.Kind() == reflect.Struct {
		s.fields = fieldsOf(t)
	}
	shapes.Store(t, s)
	return s
}

// candidate is a field that may be the one encoding/json uses for a name.
type candidate struct {
	index  []int
	tagged bool
	tied   bool // with an equal one: neither is used
}

// fieldsOf returns the fields of a struct that encoding/json uses, by name. The fields of embedded
// structs are promoted: of several with one name the least nested is used, then the one whose tag
// says the name. Where that leaves two, none is used.
func fieldsOf(t reflect.Type) map[string][]int {
	c := make(candidates)
	visited := make(map[reflect.Type]bool)
	for level := []embedded{{typ: t, count: 1}}; len(level) > 0; {
		var next []embedded
		for _, s := range level {
			if !visited[s.typ] {
				visited[s.typ] = true
				next = c.addFields(s, next)
			}
		}
		level = next
	}
	fields := make(map[string][]int, len(c))
	for name, f := range c {
		if !f.tied {
			fields[name] = f.index
		}
	}
	return fields
}

// embedded is a struct type and how often it is embedded at one level.
type embedded struct {
	typ   reflect.Type
	index []int
	count int
}

type candidates map[string]candidate

// addFields adds the fields of s and appends the structs embedded in it to next.
func (c candidates) addFields(s embedded, next []embedded) []embedded {
	for i := range s.typ.NumField() {
		f := s.typ.Field(i)
		inner, isStruct := embeddedStruct(f)
		tag := f.Tag.Get("json")
		if tag == "-" || !f.IsExported() && !isStruct {
			continue
		}
		name, _, _ := strings.Cut(tag, ",")
		tagged := isTagName(name)
		index := append(s.index[:len(s.index):len(s.index)], i)
		switch {
		case tagged:
			c.add(name, candidate{index, true, s.count > 1})
		case isStruct:
			next = addEmbedded(next, embedded{inner, index, 1})
		default:
			c.add(f.Name, candidate{index, false, s.count > 1})
		}
	}
	return next
}

func embeddedStruct(f reflect.StructField) (reflect.Type, bool) {
	t := f.Type
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t, f.Anonymous && t.Kind() == reflect.Struct
}

func addEmbedded(level []embedded, s embedded) []embedded {
	for i := range level {
		if level[i].typ == s.typ {
			level[i].count++
			return level
		}
	}
	return append(level, s)
}

func (c candidates) add(name string, f candidate) {
	old, ok := c[name]
	switch {
	case !ok:
		c[name] = f
	case len(old.index) < len(f.index) || old.tagged && !f.tagged:
	case f.tagged && !old.tagged:
		c[name] = f
	default:
		old.tied = true
		c[name] = old
	}
}

// isTagName reports whether encoding/json accepts the name in a tag. If not, it uses the name of
// the field.
func isTagName(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(c rune) bool {
		return !unicode.IsLetter(c) && !unicode.IsDigit(c) &&
			!strings.ContainsRune("!#$%&()*+-./:;<=>?@[]^_{|}~ ", c)
	})
}
