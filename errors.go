package oidcgate

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// ErrUnavailable is wrapped by what [Gate.Err], [Gate.Token], [Gate.Ready] and [Sessions] return while the store
// cannot answer.
var ErrUnavailable = errors.New("oidcgate: the session store is unavailable")

// ErrNoSession is returned where a signed-in visitor is needed and there is none.
var ErrNoSession = errors.New("oidcgate: no session")

// ConfigError is one fault of a [Config] or [Provider]. [New] reports all of them joined; errors.As finds
// the first.
type ConfigError struct {
	Field   string // "BaseURL", "Provider.ClientID", "Provider[staff].Issuer"
	Problem string // what is wrong with its value, and the cure
}

func (e *ConfigError) Error() string { return "oidcgate: " + e.Field + ": " + e.Problem }

// LoginError is why a login was refused: the Err of its [Event]. The browser sees a [Page] with the same
// reference.
type LoginError struct {
	Status    int    // the HTTP status answered
	Reason    Reason // stable, for alerts and tests
	Reference string // stands on the page, in the log and in the event
	Hint      string // what an operator can do about it; may be empty
	Err       error  // the cause; may be nil

	text  string // for the page in place of the sentence that goes with Reason
	retry string // path the page's link leads to after a new login; empty: the default path
}

func (e *LoginError) Error() string {
	if e.Err == nil {
		return "oidcgate: login refused: " + string(e.Reason)
	}
	return "oidcgate: login refused: " + string(e.Reason) + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *LoginError) Unwrap() error { return e.Err }

// ProviderError is an error the provider answered with instead of a code or a token (RFC 6749, sections
// 4.1.2.1 and 5.2; OpenID Connect Core, section 3.1.2.6).
type ProviderError struct {
	Code string // as registered, or "other": a provider's own text is never passed on
}

func (e *ProviderError) Error() string { return "the provider answered with the error " + e.Code }

// Deny returns an error by which [Config.OnLogin] refuses a visitor: the browser gets status 403 and the
// text, which should say what to do ("Ask the office for an account").
func Deny(text string) error { return &denial{text} }

type denial struct{ text string }

func (d *denial) Error() string { return "denied by OnLogin: " + d.text }

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
