package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/store/redisstore"
)

const baseURL = "https://shop.test"

// A shop is a service behind a gate. Requests are made by calling its handler: what is measured is the gate, and
// neither sockets nor HTTP.
type shop struct {
	gate    *oidcgate.Gate
	handler http.Handler
}

func newShop(rdb redis.UniversalClient, p *provider, onEvent func(oidcgate.Event)) (*shop, error) {
	keys, err := oidcgate.ParseKeys("cKDdY1k9L3Gd0W0gKHCSFGJQnQxaBYVtLUgZAv2m3vY=")
	if err != nil {
		return nil, err
	}
	gate, err := oidcgate.New(oidcgate.Config{
		BaseURL:      baseURL,
		Store:        redisstore.New(rdb),
		Keys:         keys,
		Limits:       oidcgate.Limits{LoginTimeout: attemptTTL, ClockSkew: leeway},
		HTTP:         oidcgate.HTTPOptions{Transport: p},
		Logger:       slog.New(slog.NewTextHandler(io.Discard, nil)),
		OnEvent:      onEvent,
		EnableValues: onEvent != nil,

		IdleTimeout: 12 * time.Hour, // filling Redis may take longer than the usual one
		Tokens:      oidcgate.TokenOptions{LockLease: 3 * time.Second},
	}, oidcgate.Provider{
		Issuer: issuer, ClientID: clientID, Auth: oidcgate.PublicClient(),
		Verification: oidcgate.Verification{SigningAlgs: []string{"ES256"}},
	})
	if err != nil {
		return nil, err
	}
	s := &shop{gate: gate}
	mux := http.NewServeMux()
	mux.HandleFunc("/me", s.me)
	mux.HandleFunc("/token", s.token)
	if onEvent != nil {
		mux.Handle("/put", gate.Require()(http.HandlerFunc(s.put)))
	}
	s.handler = gate.Wrap(mux)
	return s, nil
}

// These are short, because the mark of a login that was used stays in Redis for about so long, and is not what is to
// be weighed.
const (
	attemptTTL = 10 * time.Second
	leeway     = time.Second
)

func (s *shop) me(w http.ResponseWriter, r *http.Request) {
	if err := s.gate.SessionErr(r.Context()); err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	id, ok := oidcgate.FromContext(r.Context())
	if !ok {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	_, _ = io.WriteString(w, id.Subject())
}

func (s *shop) token(w http.ResponseWriter, r *http.Request) {
	if _, err := s.gate.Token(r.Context()); err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

func (s *shop) put(_ http.ResponseWriter, r *http.Request) {
	s.gate.Values().Put(r.Context(), "at", time.Now().String())
}

// logIn goes the way of a browser: to the gate's login, past the provider, to the gate's callback. It returns the
// session's cookie.
func (s *shop) logIn(ctx context.Context, subject, sid string) (string, error) {
	start := s.ask(ctx, http.MethodGet, "/auth/login", "")
	to, err := url.Parse(start.Header.Get("Location"))
	if err != nil || start.StatusCode != http.StatusSeeOther {
		return "", fmt.Errorf("the login answers %s", start.Status)
	}
	code, err := json.Marshal(grant{subject, sid, to.Query().Get("nonce")})
	if err != nil {
		return "", err
	}
	q := url.Values{"code": {string(code)}, "state": {to.Query().Get("state")}}
	done := s.ask(ctx, http.MethodGet, "/auth/callback?"+q.Encode(), cookiesOf(start))
	cookie := cookiesOf(done)
	if done.StatusCode != http.StatusSeeOther || cookie == "" {
		return "", fmt.Errorf("the callback answers %s", done.Status)
	}
	return cookie, nil
}

// cookiesOf returns the header Cookie that follows from an answer.
func cookiesOf(resp *http.Response) string {
	var cookies []string
	for _, c := range resp.Cookies() {
		if c.MaxAge >= 0 && c.Value != "" {
			cookies = append(cookies, c.Name+"="+c.Value)
		}
	}
	return strings.Join(cookies, "; ")
}

func (s *shop) ask(ctx context.Context, method, path, cookie string) *http.Response {
	r := httptest.NewRequestWithContext(ctx, method, baseURL+path, nil)
	r.Header.Set("Accept", "text/html")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if cookie != "" {
		r.Header.Set("Cookie", cookie)
	}
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	return w.Result()
}

func wantStatus(resp *http.Response, want int) error {
	if resp.StatusCode != want {
		return fmt.Errorf("the shop answers %s, want %d", resp.Status, want)
	}
	return nil
}
