//go:build unix

package main

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/alexedwards/scs/goredisstore"
	"github.com/alexedwards/scs/v2"
	"github.com/redis/go-redis/v9"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/store"
	"github.com/oidcgate/oidcgate/store/redisstore"
)

// A subject is an implementation of GET /me for a signed-in visitor. The response has the claim
// sub, the verified e-mail address and one group.
type subject struct {
	name string
	open func(ctx context.Context, rdb *redis.Client) (*site, error)
}

// A site is a subject that is ready to serve.
type site struct {
	handler http.Handler
	cookie  string // the Cookie header of the signed-in visitor
}

// subjects are the implementations that are measured. The floor stands next to the gate, which is
// compared with it.
var subjects = []subject{
	{plainName, openPlain},
	{"gate, memory store", openMemoryGate},
	{floorName, openFloor},
	{gateName, openRedisGate},
	{"scs, goredisstore, gob", openSCS},
	{"scs, the same with idle timeout", openIdleSCS},
}

const (
	plainName = "plain handler"
	floorName = "handler with one Redis GET"
	gateName  = "gate, Redis store"
)

func findSubject(name string) (subject, error) {
	for _, s := range subjects {
		if s.name == name {
			return s, nil
		}
	}
	return subject{}, fmt.Errorf("no subject is called %q", name)
}

// newClient returns a client of Redis, with the same settings for all subjects. It respects the
// deadlines of contexts and has so many connections that no request waits for one.
func newClient(addr string) *redis.Client {
	return redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true, PoolSize: 64})
}

// answer writes the response, which is the same for every subject.
func answer(w http.ResponseWriter, subject, email, group string) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"sub":"`+subject+`","email":"`+email+`","group":"`+group+`"}`)
}

func fail(w http.ResponseWriter) {
	http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
}

func openPlain(ctx context.Context, rdb *redis.Client) (*site, error) {
	s, err := openRedisGate(ctx, rdb) // for a cookie as long and a heap as large as those of the others
	if err != nil {
		return nil, err
	}
	s.handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		answer(w, userSubject, userEmail, userGroup)
	})
	return s, nil
}

// openFloor reads the same record as the gate and does nothing with it. No session that can be
// ended at once on all replicas costs less.
func openFloor(ctx context.Context, rdb *redis.Client) (*site, error) {
	s, err := openRedisGate(ctx, rdb)
	if err != nil {
		return nil, err
	}
	key, err := sessionRecord(ctx, rdb)
	if err != nil {
		return nil, err
	}
	s.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if b, err := rdb.Get(r.Context(), key).Bytes(); err != nil || len(b) == 0 {
			fail(w)
			return
		}
		answer(w, userSubject, userEmail, userGroup)
	})
	return s, nil
}

// sessionRecord returns the key of the record that a request reads.
func sessionRecord(ctx context.Context, rdb *redis.Client) (string, error) {
	keys, err := rdb.Keys(ctx, "oidcgate:s:*").Result()
	if err != nil {
		return "", err
	}
	if len(keys) == 0 {
		return "", errors.New("a login left no session in Redis")
	}
	return keys[0], nil
}

func openMemoryGate(ctx context.Context, _ *redis.Client) (*site, error) {
	return openGate(ctx, &store.Memory{})
}

func openRedisGate(ctx context.Context, rdb *redis.Client) (*site, error) {
	return openGate(ctx, redisstore.New(rdb))
}

// openGate signs a visitor in at a shop.
func openGate(ctx context.Context, s store.Store) (*site, error) {
	shop, err := newShop(s)
	if err != nil {
		return nil, err
	}
	defer shop.provider.Close()
	cookie, err := shop.login(ctx)
	return &site{shop.handler, cookie}, err
}

// me is the handler of the gate's subject. The guard has already checked the group.
func me(w http.ResponseWriter, r *http.Request) {
	id, ok := oidcgate.FromContext(r.Context())
	if !ok {
		fail(w)
		return
	}
	email, verified := id.Email()
	if !verified {
		fail(w)
		return
	}
	answer(w, id.Subject(), email, userGroup)
}

// openSCS uses scs as its documentation shows it, with the same session content.
func openSCS(ctx context.Context, rdb *redis.Client) (*site, error) {
	gob.Register(map[string]any{})
	gob.Register([]any{})
	m := scs.New()
	m.Store = goredisstore.New(rdb)
	return signInSCS(ctx, m)
}

// openIdleSCS uses scs with an idle timeout, which the gate has too.
func openIdleSCS(ctx context.Context, rdb *redis.Client) (*site, error) {
	s, err := openSCS(ctx, rdb)
	if err != nil {
		return nil, err
	}
	m := scs.New()
	m.Store = goredisstore.New(rdb)
	m.IdleTimeout = sessionIdle
	s.handler = m.LoadAndSave(meOfSCS(m))
	return s, nil
}

func signInSCS(ctx context.Context, m *scs.SessionManager) (*site, error) {
	claims, err := sessionClaims(ctx)
	if err != nil {
		return nil, err
	}
	login := m.LoadAndSave(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		m.Put(r.Context(), "claims", claims)
		m.Put(r.Context(), "id_token", strings.Repeat("i", idTokenSize))
		m.Put(r.Context(), "access_token", accessToken)
		m.Put(r.Context(), "refresh_token", refreshToken)
	}))
	rec := httptest.NewRecorder()
	login.ServeHTTP(rec, httptest.NewRequestWithContext(ctx, http.MethodPost, "/login", nil))
	for _, c := range rec.Result().Cookies() {
		return &site{m.LoadAndSave(meOfSCS(m)), c.Name + "=" + c.Value}, nil
	}
	return nil, fmt.Errorf("scs set no cookie: status %d", rec.Code)
}

func meOfSCS(m *scs.SessionManager) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := m.Get(r.Context(), "claims").(map[string]any)
		subject, _ := claims["sub"].(string)
		email, _ := claims["email"].(string)
		verified, _ := claims["email_verified"].(bool)
		groups, _ := claims["groups"].([]any)
		for _, g := range groups {
			if g == userGroup && verified {
				answer(w, subject, email, userGroup)
				return
			}
		}
		fail(w)
	})
}
