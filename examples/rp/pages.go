package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/oidcgate/oidcgate"
)

func (s *service) pages() []page {
	admin := []oidcgate.Rule{oidcgate.Claim("groups", s.options.adminGroup)}
	domain := []oidcgate.Rule{oidcgate.EmailDomain(s.options.emailDomain)}
	fresh := []oidcgate.Rule{oidcgate.MaxAge(s.options.stepUpAge)}
	pages := []page{
		{path: "/", serve: s.home},
		{path: "/public", serve: s.public},
		{path: "/app", serve: s.app, guarded: true},
		{path: "/admin", serve: s.app, guarded: true, rules: admin},
		{path: "/domain", serve: s.app, guarded: true, rules: domain},
		{path: "/fresh", serve: s.app, guarded: true, rules: fresh},
		{path: "/me", serve: s.whoami},
		{path: "/whoami", serve: s.whoami},
		{path: "/token", serve: s.token},
		{path: "/sessions", serve: s.sessions},
		{path: "/sessions/end", serve: s.endSession, post: true},
		{path: "/sessions/end-others", serve: s.endOtherSessions, post: true},
		{path: "/sessions/end-user", serve: s.endUser, post: true},
		{path: "/providers", serve: s.setProviders, post: true},
		{path: "/put", serve: s.put, guarded: true},
		{path: "/get", serve: s.get, guarded: true},
		{path: "/slow", serve: s.slow},
		{path: "/hint103", serve: s.hint103},
		{path: "/flushfirst", serve: s.flushFirst},
		{path: "/hijack", serve: s.hijack},
		{path: "/panic", serve: s.panics},
		{path: "/sse", serve: s.sse},
		{path: "/file", serve: s.file},
	}
	if s.options.link {
		pages = append(pages, page{path: "/account", serve: s.account})
	}
	if path := s.options.config.Site.LoginPage; path != "" {
		pages = append(pages, page{path: path, serve: s.signIn})
	}
	if len(s.options.config.API.Audience) > 0 {
		pages = append(pages,
			page{path: "/api", serve: s.api(s.gate.AdmitToken)},
			page{path: "/either", serve: s.api(s.gate.AdmitEither)})
	}
	return pages
}

// api serves /api, for access tokens, and /either, for access tokens and for scripts with a session.
func (s *service) api(
	admit func(http.ResponseWriter, *http.Request, ...oidcgate.Rule) bool,
) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if admit(w, r) {
			s.whoami(w, r)
		}
	}
}

// mountedPages are served below /mounted by a separate router. Its handlers see a path without
// /mounted, unlike the browser.
func (s *service) mountedPages() []page {
	return []page{
		{path: "/app", serve: s.app, guarded: true},
		{path: "/whoami", serve: s.whoami},
	}
}

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// view is the data of page.html.
type view struct {
	Title     string
	Name      string // of the signed-in user, or ""
	Home      string
	LoginURL  string
	LogoutURL string
	Links     []string
}

func (s *service) show(w http.ResponseWriter, r *http.Request, v view) {
	v.Home = strings.TrimRight(s.options.config.BaseURL, "/")
	if id, ok := oidcgate.FromContext(r.Context()); ok {
		v.Name, v.LogoutURL = id.Name(), s.gate.LogoutURL("/public")
	} else {
		v.LoginURL = cmp.Or(v.LoginURL, s.gate.LoginURL("/app"))
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err := pageTemplate.Execute(w, v); err != nil {
		s.logger.Debug("rp: writing a page", "err", err)
	}
}

func (s *service) home(w http.ResponseWriter, r *http.Request) {
	v := view{Title: "Relying party"}
	for _, p := range s.pages() {
		if p.path != "/" && p.path != "/panic" && !p.post {
			v.Links = append(v.Links, p.path)
		}
	}
	s.show(w, r, v)
}

// signIn is where guards lead with LOGIN_PAGE. Here a service with passwords of its own asks for one.
func (s *service) signIn(w http.ResponseWriter, r *http.Request) {
	s.show(w, r, view{Title: "Sign in", LoginURL: s.gate.LoginURL(s.gate.ReturnPath(r))})
}

func (s *service) public(w http.ResponseWriter, r *http.Request) {
	s.show(w, r, view{Title: "Public page"})
}

// app serves /app, /admin and /domain. The guard has already checked the user.
func (s *service) app(w http.ResponseWriter, r *http.Request) {
	s.show(w, r, view{Title: "Guarded page"})
}

// whoamiAnswer is the identity in JSON.
type whoamiAnswer struct {
	Issuer        string    `json:"iss"`
	Subject       string    `json:"sub"`
	SessionID     string    `json:"sid"`
	AuthTime      *int64    `json:"auth_time"` // null if the provider did not send it
	ACR           string    `json:"acr"`
	Name          string    `json:"name"`
	Email         string    `json:"email"`
	EmailVerified bool      `json:"email_verified"`
	Groups        []string  `json:"groups"`
	Provider      string    `json:"provider"`
	Created       time.Time `json:"created"`
	Expires       time.Time `json:"expires"`
	IdleExpires   time.Time `json:"idle_expires"`
}

// whoami has no guard. Like an API it answers 401 itself, instead of starting a login.
func (s *service) whoami(w http.ResponseWriter, r *http.Request) {
	if s.anonymous(w, r) {
		return
	}
	id, _ := oidcgate.FromContext(r.Context())
	answer := whoamiAnswer{
		Issuer: id.Issuer(), Subject: id.Subject(), SessionID: id.ProviderSessionID(), ACR: id.ACR(),
		Name: id.Name(), Groups: groupsOf(id), Provider: id.ProviderName(),
		Created: id.Created(), Expires: id.Expires(), IdleExpires: id.IdleExpires(),
	}
	answer.Email, answer.EmailVerified = id.Email()
	if t := id.AuthTime(); !t.IsZero() {
		seconds := t.Unix()
		answer.AuthTime = &seconds
	}
	s.writeJSON(w, http.StatusOK, answer)
}

// anonymous answers the request and returns true if no user is signed in. The status is 401, or 503
// if the session could not be read, in which case the user may be signed in.
func (s *service) anonymous(w http.ResponseWriter, r *http.Request) bool {
	if s.failed(w, s.gate.SessionErr(r.Context())) {
		return true
	}
	if _, ok := oidcgate.FromContext(r.Context()); ok {
		return false
	}
	s.writeError(w, http.StatusUnauthorized, "not signed in")
	return true
}

func (s *service) unavailable(w http.ResponseWriter, message string) {
	w.Header().Set("Retry-After", "5")
	s.writeError(w, http.StatusServiceUnavailable, message)
}

// groupsOf returns the claim groups. Some providers send a single group as a string. The result is
// never nil.
func groupsOf(id *oidcgate.Identity) []string {
	var claims struct {
		Groups any `json:"groups"`
	}
	groups := []string{}
	if id.Decode(&claims) != nil {
		return groups
	}
	switch v := claims.Groups.(type) {
	case string:
		return append(groups, v)
	case []any:
		for _, e := range v {
			if group, ok := e.(string); ok {
				groups = append(groups, group)
			}
		}
	}
	return groups
}

// token answers with a hash of the access token, so that a test can see whether it has changed. The
// gate refreshes the token when that is due.
func (s *service) token(w http.ResponseWriter, r *http.Request) {
	token, err := s.gate.Token(r.Context())
	if s.failed(w, err) {
		return
	}
	sum := sha256.Sum256([]byte(token.AccessToken))
	s.writeJSON(w, http.StatusOK, map[string]string{"sha256": hex.EncodeToString(sum[:])})
}

func (s *service) healthz(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }

// readyTimeout is shorter than the usual timeout of a readiness probe.
const readyTimeout = 5 * time.Second

func (s *service) readyz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	if err := s.gate.Ready(ctx); err != nil {
		s.logger.Warn("rp: not ready", "err", err) // it may name addresses
		http.Error(w, "not ready", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
}

func (s *service) writeError(w http.ResponseWriter, status int, message string) {
	s.writeJSON(w, status, map[string]string{"error": message})
}

func (s *service) writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		s.logger.Debug("rp: writing an answer", "err", err)
	}
}
