package main

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"time"

	"github.com/oidcgate/oidcgate"
)

// sessionAnswer is a session of the visitor's in JSON.
type sessionAnswer struct {
	ID       string    `json:"id"`
	Provider string    `json:"provider"`
	Label    string    `json:"label"`
	Created  time.Time `json:"created"`
	Current  bool      `json:"current"`
}

// sessions lists the sessions of the visitor, the newest first.
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

// endSession ends the session of the visitor's that the query names, which may be this one.
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

// endUser ends the sessions of the user iss, sub or, with iss and sid, those that came of one session of the
// provider's. It asks nobody who he is, so that tests may call it without logging in, and answers this machine
// alone. That is a demonstration: behind a proxy on the same machine everybody has a loopback address, and a
// real service would let in administrators only.
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

// failed answers when err is not nil: 401 when the visitor has no session, or no token any more, and 503 when
// store or provider cannot answer at the moment and the same request may succeed later.
func (s *service) failed(w http.ResponseWriter, err error) bool {
	switch {
	case err == nil:
		return false
	case errors.Is(err, oidcgate.ErrNoSession), errors.Is(err, oidcgate.ErrTokenExpired):
		s.writeError(w, http.StatusUnauthorized, err.Error())
	case errors.Is(err, oidcgate.ErrProviderUnavailable):
		s.unavailable(w, "the provider gives no new access token at the moment")
	default:
		s.unavailable(w, "the session store is unavailable")
	}
	return true
}

// userAgent is the key under which a request's context has its User-Agent.
type userAgent struct{}

// keepUserAgent goes round the gate: OnLogin sees the context of the callback's request, and not the request.
func keepUserAgent(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), userAgent{}, r.UserAgent())))
	})
}

// label calls a new session by the browser that logged in. When claims are read again, it stays what it was.
func label(ctx context.Context, login *oidcgate.Login) {
	if name, ok := ctx.Value(userAgent{}).(string); ok && !login.Again() {
		login.SetLabel(name)
	}
}
