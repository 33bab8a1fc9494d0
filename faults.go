package oidcgate

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// faults collects what is wrong with a configuration.
type faults struct {
	prefix string
	list   *[]error
}

func newFaults() *faults { return &faults{list: new([]error)} }

func (f *faults) add(field, format string, args ...any) {
	*f.list = append(*f.list, &ConfigError{f.prefix + field, fmt.Sprintf(format, args...)})
}

// within returns a collector of the same list whose fields stand below label.
func (f *faults) within(label string) *faults {
	return &faults{prefix: label + ".", list: f.list}
}

func (f *faults) err() error {
	return errors.Join(*f.list...)
}

// duration fills in the default of a field left at zero and refuses a negative one.
func (f *faults) duration(field string, d *time.Duration, ifZero time.Duration) {
	switch {
	case *d < 0:
		f.add(field, "%v is negative; use 0 for the default of %v", *d, ifZero)
	case *d == 0:
		*d = ifZero
	}
}

// lasting refuses a time in which nobody can do anything: a number without its unit.
func (f *faults) lasting(field string, d time.Duration) {
	if 0 < d && d < time.Millisecond {
		f.add(field, "%v is next to nothing; a number alone is nanoseconds, write 30*time.Minute", d)
	}
}

// url checks an endpoint or issuer; an empty one is not its business.
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

// redactURL keeps passwords that somebody put into a URL out of messages.
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

// isLoopback reports whether host names this machine: plain http is safe to it.
func isLoopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}
