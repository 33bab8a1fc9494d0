package front

import (
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"
)

// A login or a session may be of a provider that only another replica has: there SetProviders was
// called, or a newer configuration is deployed. A login ends in the application's 404 then, and a
// visitor with a session is sent to the login. Nothing but the log can tell the operator why.

const (
	tellAgain      = time.Hour // after that the log has a provider once more
	maxUnknown     = 16        // providers that are told of in that time
	sameEverywhere = "give all replicas the same providers, and call SetProviders in each; " +
		"a provider that was removed, or has another Name now, is not known by its old name"
)

// unknown remembers the providers that the log was told of. The zero value remembers none.
type unknown struct {
	mu     sync.Mutex
	told   map[string]time.Time
	posted time.Time // when a POST was told of
}

// firstPost reports whether a POST is to be told of now.
func (u *unknown) firstPost() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if time.Since(u.posted) < time.Minute {
		return false
	}
	u.posted = time.Now()
	return true
}

// first reports whether the name is to be told of now.
func (u *unknown) first(name string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	maps.DeleteFunc(u.told, func(_ string, at time.Time) bool { return time.Since(at) >= tellAgain })
	if _, told := u.told[name]; told || len(u.told) >= maxUnknown {
		return false
	}
	if u.told == nil {
		u.told = map[string]time.Time{}
	}
	u.told[name] = time.Now()
	return true
}

// noteUnknownCallback tells of a login that came back to the address of a provider that this gate
// does not have. The application answers the request. A stranger can send a GET for any name, so
// the browser must have the cookie of a login there. A POST of the provider's page brings no
// cookie, so one in a minute is told of, at level INFO.
func (f *Front) noteUnknownCallback(r *http.Request) {
	path, ours := strings.CutPrefix(r.URL.Path, f.Site.Prefix)
	name, isCallback := strings.CutPrefix(path, "/callback")
	if !ours || !isCallback || name != "" && name[0] != '/' {
		return
	}
	name = strings.TrimPrefix(name, "/")
	if f.Providers.Find(name) != nil {
		return
	}
	level, tell := slog.LevelWarn, false
	if r.Method == http.MethodPost {
		level, tell = slog.LevelInfo, f.unknown.firstPost()
	} else {
		tell = f.Attempts.AnyAt(r, name) && f.unknown.first("login "+name)
	}
	if tell {
		f.Log(r.Context(), level, "a login came back to the address of a provider that this "+
			"gate does not have, and cannot end here: "+sameEverywhere,
			slog.String("path", short(r.URL.Path)))
	}
}

// noteUnknownName tells of a link to the login that names a provider that this gate does not have.
func (f *Front) noteUnknownName(r *http.Request, name string) {
	if name != "" && f.links.first(name) {
		f.Log(r.Context(), slog.LevelInfo, "a link to the login names a provider that this gate does "+
			"not have, so the visitor chooses: mind the spelling, or "+sameEverywhere,
			slog.String("provider", short(name)))
	}
}

// short bounds what the log has of a request.
func short(text string) string { return fmt.Sprintf("%.200s", text) }

// noteUnknownSession tells of a session of a provider that this gate does not have.
func (f *Front) noteUnknownSession(r *http.Request, name string) {
	if f.unknown.first("session " + name) {
		f.Log(r.Context(), slog.LevelWarn, "a session is of a provider that this gate does not have, "+
			"and is not accepted here: "+sameEverywhere, slog.String("provider", name))
	}
}
