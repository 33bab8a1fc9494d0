package browser

import (
	"errors"
	"net/http"
	"time"
)

// Cookies writes the cookies of a site: all of them are for every path, hidden from scripts, and
// not sent with requests that other sites make, navigations aside.
type Cookies struct {
	Secure bool // the site is https
}

// Set sets a cookie for maxAge, a time of at least a second.
func (c Cookies) Set(w http.ResponseWriter, name, value string, maxAge time.Duration) {
	http.SetCookie(w, &http.Cookie{
		Name:     name,
		Value:    value,
		Path:     "/",
		MaxAge:   int(maxAge.Seconds()),
		Secure:   c.Secure,
		HttpOnly: true,
		SameSite: http.SameSiteLaxMode,
	})
}

// Clear deletes a cookie.
func (c Cookies) Clear(w http.ResponseWriter, name string) { c.Set(w, name, "", -time.Second) }

// Why [Only] returns no value.
var (
	ErrMalformed = errors.New("the cookie is malformed")
	ErrDuplicate = errors.New("there are two cookies of that name")
)

// Only returns the value of the cookie of that name, or "" if there is none. A value that is quoted
// or not valid is refused. If two different values come, both are refused: one of them was set by
// another site (cookie tossing from a neighbouring domain), and nothing shows which one.
func Only(r *http.Request, name string, valid func(value string) bool) (string, error) {
	if r.Header["Cookie"] == nil {
		return "", nil
	}
	only := ""
	for _, c := range r.CookiesNamed(name) {
		switch {
		case c.Quoted || !valid(c.Value):
			return "", ErrMalformed
		case only != "" && only != c.Value:
			return "", ErrDuplicate
		}
		only = c.Value
	}
	return only, nil
}
