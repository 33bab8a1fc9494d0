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
type codec struct {
	unknown func(name string) // is told of a value of a type that this build does not know
}

// newCodec returns a codec. It registers the types that scs takes and gob would refuse.
func newCodec(unknown func(name string)) codec {
	for _, v := range []any{time.Time{}, map[string]any{}, []any{}} {
		gob.Register(v)
	}
	return codec{unknown}
}

// Encode implements scs.Codec.
func (codec) Encode(_ time.Time, values map[string]any) ([]byte, error) {
	var all claims.Builder
	for _, name := range slices.Sorted(maps.Keys(values)) {
		value := values[name]
		var b bytes.Buffer
		if err := gob.NewEncoder(&b).Encode(&value); err != nil {
			return nil, fmt.Errorf("%w: value %q: %w", errType, name, err)
		}
		all = all.Text(name, b.String())
	}
	return []byte(claims.Object(all)), nil
}

// Decode implements scs.Codec. A value of a type that this build does not know is left out here and
// stays in the store.
func (c codec) Decode(b []byte) (time.Time, map[string]any, error) {
	values := make(map[string]any)
	for name, v := range claims.Object(b).All() {
		if value, ok := decodeValue(v); ok {
			values[name] = value
		} else {
			c.unknown(name)
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
	var good claims.Builder
	for name, v := range o.All() {
		if _, ok := decodeValue(v); ok {
			good = good.Add(name, v)
		}
	}
	return claims.Object(good)
}

// merge applies to current the changes that lead from base to mine.
func merge(base, mine, current claims.Object) claims.Object {
	was, is := maps.Collect(base.All()), maps.Collect(mine.All())
	var changed claims.Builder
	for name, v := range mine.All() {
		if old, ok := was[name]; !ok || !sameValue(old, v) {
			changed = changed.Add(name, v)
		}
	}
	return current.WithAll(claims.Object(changed)).Filter(func(name string) bool {
		_, wasThere := was[name]
		_, isThere := is[name]
		return isThere || !wasThere
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
