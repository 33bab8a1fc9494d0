package values

import (
	"bytes"
	"encoding/gob"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
)

// errType is wrapped where gob cannot encode a value.
var errType = errors.New("oidcgate: a value cannot be encoded")

// codec is what scs encodes values with. It encodes each value on its own, with gob, so that the
// changes of two requests can be merged by key.
type codec struct{}

// newCodec returns a codec. It registers the types that scs takes and gob would refuse.
func newCodec() codec {
	for _, v := range []any{time.Time{}, map[string]any{}, []any{}} {
		gob.Register(v)
	}
	return codec{}
}

// Encode implements scs.Codec.
func (codec) Encode(_ time.Time, values map[string]any) ([]byte, error) {
	var o claims.Object
	for _, name := range slices.Sorted(maps.Keys(values)) {
		value := values[name]
		var b bytes.Buffer
		if err := gob.NewEncoder(&b).Encode(&value); err != nil {
			return nil, fmt.Errorf("%w: value %q: %w", errType, name, err)
		}
		o = o.With(name, claims.Text(b.String()))
	}
	return []byte(o), nil
}

// Decode implements scs.Codec. A value of a type that this build does not know is left out here and
// stays in the store.
func (codec) Decode(b []byte) (time.Time, map[string]any, error) {
	values := make(map[string]any)
	for name, v := range claims.Object(b).All() {
		if value, ok := decodeValue(v); ok {
			values[name] = value
		}
	}
	return time.Now().Add(time.Hour), values, nil
}

func decodeValue(v claims.Value) (any, bool) {
	text, _ := v.Str()
	var value any
	err := gob.NewDecoder(bytes.NewReader([]byte(text))).Decode(&value)
	return value, err == nil
}

// known returns those of the values whose types this build knows.
func known(o claims.Object) claims.Object {
	return o.Filter(func(name string) bool {
		v, _ := o.Get(name)
		_, ok := decodeValue(v)
		return ok
	})
}

// merge applies to current the changes that lead from base to mine.
func merge(base, mine, current claims.Object) claims.Object {
	for name, v := range mine.All() {
		if old, ok := base.Get(name); !ok || !sameValue(old, v) {
			current = current.With(name, v)
		}
	}
	return current.Filter(func(name string) bool {
		_, was := base.Get(name)
		_, is := mine.Get(name)
		return is || !was
	})
}

// sameValue compares two encoded values. It decodes them, because gob writes the keys of equal maps
// in any order.
func sameValue(a, b claims.Value) bool {
	if a == b {
		return true
	}
	x, okX := decodeValue(a)
	y, okY := decodeValue(b)
	return okX && okY && reflect.DeepEqual(x, y)
}
