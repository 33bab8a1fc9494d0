// Package check collects what is wrong with a configuration.
package check

import (
	"fmt"
	"reflect"
	"time"

	"github.com/oidcgate/oidcgate/internal/weburl"
)

// Fault is what is wrong with a field, and what to write there.
type Fault struct{ Field, Text string }

// List is a list of faults.
type List []Fault

// Add adds a fault of a field.
func (l *List) Add(field, format string, args ...any) {
	*l = append(*l, Fault{field, fmt.Sprintf(format, args...)})
}

// Within adds the faults of other, with label in front of every field.
func (l *List) Within(label string, other List) {
	for _, f := range other {
		*l = append(*l, Fault{label + "." + f.Field, f.Text})
	}
}

// URL checks the address of another server, if it is not empty.
func (l *List) URL(field, value string, allowHTTP bool) {
	if value == "" {
		return
	}
	if _, err := weburl.Check(value, allowHTTP); err != nil {
		l.Add(field, "%q %v", weburl.Redact(value), err)
	}
}

// IsNil refuses a value that is a nil pointer within an interface, and reports whether it is one:
// it would panic when it is used.
func (l *List) IsNil(field string, v any) bool {
	r := reflect.ValueOf(v)
	is := r.Kind() == reflect.Pointer && r.IsNil()
	if is {
		l.Add(field, "is a nil %T; leave it out for the default", v)
	}
	return is
}

// longest is the longest duration of a field. Sums of a few do not overflow.
const longest = 10 * 365 * 24 * time.Hour

// Duration fills in the default of a field left at zero. It refuses a negative duration, one below
// a millisecond, which is a number whose unit was forgotten, and one of more than ten years.
func (l *List) Duration(field string, d *time.Duration, ifZero time.Duration) {
	switch {
	case *d < 0 && ifZero == 0:
		l.Add(field, "%v is negative; use 0 for none", *d)
	case *d < 0:
		l.Add(field, "%v is negative; use 0 for the default of %v", *d, ifZero)
	case 0 < *d && *d < time.Millisecond:
		l.Add(field, "%v is too short; a number without a unit is nanoseconds: multiply it by "+
			"time.Second or time.Minute", *d)
	case *d > longest:
		l.Add(field, "%v is longer than ten years", *d)
	case *d == 0:
		*d = ifZero
	}
}
