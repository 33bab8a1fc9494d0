package oidcgate

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
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

// url checks an endpoint or issuer if it is not empty.
func (f *faults) url(field, value string, allowHTTP bool) {
	if value == "" {
		return
	}
	u, err := url.Parse(value)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		f.add(field, "%q is not an absolute URL; write \"https://id.example/...\"", redactURL(value))
	case u.User != nil || u.Fragment != "" || strings.HasSuffix(value, "#"):
		f.add(field, "%q has user information or a fragment; leave them out", redactURL(value))
	case u.Scheme == "http" && !isLoopback(u.Hostname()) && !allowHTTP:
		f.add(field, "%q is http; use https, or set InsecureAllowHTTP for a network you trust", value)
	}
}

// redactURL hides the user name and password of a URL that a message shows.
func redactURL(value string) string {
	if i := strings.LastIndex(value, "@"); i >= 0 {
		scheme, _, found := strings.Cut(value, "://")
		if found {
			return scheme + "://" + redacted + value[i:]
		}
		return redacted + value[i:]
	}
	return value
}

// isLoopback reports whether host names this machine. Plain http to it crosses no network.
func isLoopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}
