package front

import (
	"cmp"
	"maps"
	"net/url"
	"time"

	"github.com/oidcgate/oidcgate/internal/op"
)

// The application may choose options for the login behind one link. They stand in its address,
// sealed: nobody else can choose them, and nobody can read them.

// optionsParam is the parameter of the login's address that has them.
const optionsParam = "with"

// sealedOptions are all fields of op.LoginOptions. In the browser it does not keep these four.
type sealedOptions struct {
	op.LoginOptions
	Provider    string        `json:"v,omitempty"`
	MaxAge      time.Duration `json:"x,omitempty"`
	ACRValues   []string      `json:"r,omitempty"`
	IDTokenHint string        `json:"i,omitempty"`
}

// LoginURL returns the address of a login that asks for these options and then leads to returnTo.
func (f *Front) LoginURL(returnTo string, o op.LoginOptions) string {
	query := url.Values{}
	if returnTo != "" {
		query.Set("return_to", returnTo)
	}
	f.addOptions(query, o)
	return f.loginAddress(query)
}

// addOptions seals options into the query of a login's address. Without randomness, which always is
// there, it adds none.
func (f *Front) addOptions(query url.Values, o op.LoginOptions) {
	sealed := sealedOptions{o, o.Provider, o.MaxAge, o.ACRValues, o.IDTokenHint}
	if text, err := f.Attempts.SealOptions(sealed); err == nil {
		query.Set(optionsParam, text)
	}
}

// optionsOf returns the options of a link. Those that somebody changed, or that a replaced key
// sealed, count for nothing.
func (f *Front) optionsOf(query url.Values) op.LoginOptions {
	var o sealedOptions
	text := query.Get(optionsParam)
	if text == "" || !f.Attempts.OpenOptions(text, &o) {
		return op.LoginOptions{}
	}
	o.LoginOptions.MaxAge, o.LoginOptions.ACRValues = o.MaxAge, o.ACRValues
	o.LoginOptions.Provider, o.LoginOptions.IDTokenHint = o.Provider, o.IDTokenHint
	return o.LoginOptions
}

// goneParam says what a guard found in place of a session. The page on which the visitor chooses
// carries it on as wasGoneParam: by then there may be a session, of a login in another tab.
const (
	goneParam    = "gone"
	wasGoneParam = "was"
)

// withoutGone returns the parameters of a login without what was gone before it.
func withoutGone(query url.Values) url.Values {
	query = maps.Clone(query)
	query.Del(goneParam)
	query.Del(wasGoneParam)
	return query
}

// carried returns the parameters of a login's address that the choice of a provider passes on,
// whichever it is.
func carried(query url.Values, returnTo string) map[string]string {
	q := map[string]string{"return_to": returnTo}
	for _, name := range []string{optionsParam, op.AnotherAccount} {
		if query.Has(name) {
			q[name] = query.Get(name)
		}
	}
	if gone := cmp.Or(query.Get(goneParam), query.Get(wasGoneParam)); gone != "" {
		q[wasGoneParam] = gone
	}
	return q
}
