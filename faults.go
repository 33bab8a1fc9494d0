package oidcgate

import (
	"errors"
	"fmt"
	"time"
)

// faults collects the faults of a configuration.
type faults struct {
	prefix string
	list   *[]error
}

func newFaults() *faults { return &faults{list: new([]error)} }

func (f *faults) add(field, format string, args ...any) {
	*f.list = append(*f.list, &ConfigError{f.prefix + field, fmt.Sprintf(format, args...)})
}

// within returns a collector for the same list that puts label in front of every field.
func (f *faults) within(label string) *faults {
	return &faults{prefix: label + ".", list: f.list}
}

func (f *faults) err() error {
	return errors.Join(*f.list...)
}

// duration fills in the default of a field left at zero. It refuses a negative duration, and one
// below a millisecond, which is a number whose unit was forgotten.
func (f *faults) duration(field string, d *time.Duration, ifZero time.Duration) {
	switch {
	case *d < 0:
		f.add(field, "%v is negative; use 0 for the default of %v", *d, ifZero)
	case 0 < *d && *d < time.Millisecond:
		f.add(field, "%v is too short; a number without a unit is nanoseconds, write 30*time.Minute", *d)
	case *d == 0:
		*d = ifZero
	}
}
