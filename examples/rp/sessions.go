package main

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"time"

	"github.com/oidcgate/oidcgate"
)

// sessionAnswer is one session of the user in JSON.
type sessionAnswer struct {
	ID       string    `json:"id"`
	Provider string    `json:"provider"`
	Label    string    `json:"label"`
	Created  time.Time `json:"created"`
	Current  bool      `json:"current"`
}

// sessions lists the sessions of the user, the newest first.
func (s *service) sessions(w http.ResponseWriter, r *http.Request) {
	list, err := s.gate.Sessions().List(r.Context())
	if s.failed(w, err) {
		return
	}
	answer := make([]sessionAnswer, 0, len(list))
	for _, session := range list {
		answer = append(answer, sessionAnswer(session))
	}
	s.writeJSON(w, http.StatusOK, answer)
}

// endSession ends the session of the user that the query names. It may be the current session.
func (s *service) endSession(w http.ResponseWriter, r *http.Request) {
	if s.anonymous(w, r) {
		return
	}
	err := s.gate.Sessions().End(r.Context(), r.URL.Query().Get("id"))
	switch {
	case errors.Is(err, oidcgate.ErrNoSession):
		s.writeError(w, http.StatusNotFound, "no session of yours has this id")
	case !s.failed(w, err):
		w.WriteHeader(http.StatusNoContent)
	}
}

func (s *service) endOtherSessions(w http.ResponseWriter, r *http.Request) {
	ended, err := s.gate.Sessions().EndOthers(r.Context())
	s.writeEnded(w, ended, err)
}

// endUser ends all sessions of the user given by iss and sub. With iss and sid instead, it ends the
// sessions that belong to one session at the provider. The caller need not be signed in, so that
// tests can call it; only requests from this machine are accepted. This is for demonstration only:
// behind a proxy on the same machine every request has a loopback address. A real service would
// allow only administrators.
func (s *service) endUser(w http.ResponseWriter, r *http.Request) {
	if !fromThisMachine(r) {
		s.writeError(w, http.StatusForbidden, "only for requests from the machine this runs on")
		return
	}
	q := r.URL.Query()
	iss, sub, sid := q.Get("iss"), q.Get("sub"), q.Get("sid")
	if iss == "" || (sub == "") == (sid == "") {
		s.writeError(w, http.StatusBadRequest, "the query needs iss=ISSUER, and sub=SUBJECT or sid=SESSION")
		return
	}
	end, name := s.gate.Sessions().EndUser, sub
	if sid != "" {
		end, name = s.gate.Sessions().EndProviderSession, sid
	}
	ended, err := end(r.Context(), iss, name)
	s.writeEnded(w, ended, err)
}

func fromThisMachine(r *http.Request) bool {
	addr, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && addr.Addr().Unmap().IsLoopback()
}

func (s *service) writeEnded(w http.ResponseWriter, ended int, err error) {
	if !s.failed(w, err) {
		s.writeJSON(w, http.StatusOK, map[string]int{"ended": ended})
	}
}

// failed answers the request and returns true if err is not nil. The status is 401 if there is no
// session or no valid token any more, 404 if there never was a token, and 503 if the store or the provider cannot answer at the
// moment, so that the same request may succeed later.
func (s *service) failed(w http.ResponseWriter, err error) bool {
	switch {
	case err == nil:
		return false
	case errors.Is(err, oidcgate.ErrNoSession), errors.Is(err, oidcgate.ErrTokenExpired):
		s.writeError(w, http.StatusUnauthorized, err.Error())
	case errors.Is(err, oidcgate.ErrProviderUnavailable):
		s.unavailable(w, "the provider gives no new access token at the moment")
	case errors.Is(err, oidcgate.ErrStoreUnavailable), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		s.unavailable(w, "the session store is unavailable")
	default: // the login brought no access token
		s.writeError(w, http.StatusNotFound, err.Error())
	}
	return true
}

// label names a new session after the browser that logged in. It does not change the name when the
// claims are read again.
func label(login *oidcgate.Login) {
	if r := login.Request(); r != nil {
		login.SetLabel(r.UserAgent())
	}
}
