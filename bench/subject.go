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
	"slices"
	"strings"

	"github.com/alexedwards/scs/goredisstore"
	"github.com/alexedwards/scs/v2"
	"github.com/redis/go-redis/v9"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/store"
	"github.com/oidcgate/oidcgate/store/redisstore"
)

// A subject is a way of answering GET /me to a visitor who is signed in: with the subject, the verified
// e-mail address and one group.
type subject struct {
	name    string
	open    func(ctx context.Context, rdb *redis.Client) (*site, error)
	program string // that serves it under this name; "" is this program
}

// A site is a subject that is ready to be asked.
type site struct {
	handler http.Handler
	cookie  string // what the signed-in visitor sends in the header Cookie
}

// subjects are what is measured. The floor stands beside the gate that is measured by it.
var subjects = []subject{
	{name: plainName, open: openPlain},
	{name: "gate, memory store", open: openMemoryGate},
	{name: floorName, open: openFloor},
	{name: gateName, open: openRedisGate},
	{name: claimsName, open: openClaimsGate},
	{name: ignoringName, open: openIgnoringGate},
	{name: "scs, goredisstore, gob", open: openSCS},
	{name: "scs, the same with idle timeout", open: openIdleSCS},
}

const (
	plainName  = "plain handler"
	floorName  = "handler with one Redis GET"
	gateName   = "gate, Redis store"
	claimsName = "gate, a handler that reads three claims of its own"

	ignoringName = "gate, a Redis client that ignores deadlines"
)

// all returns the subjects, and with -before the gates of the other program beside them.
func (o options) all() []subject {
	all := slices.Clone(subjects)
	if o.before != "" {
		for _, name := range []string{gateName, claimsName} {
			all = append(all, subject{name: name, program: o.before})
		}
	}
	return all
}

// title is what the report calls a subject.
func (s subject) title() string {
	if s.program != "" {
		return s.name + ", before"
	}
	return s.name
}

func findSubject(name string) (subject, error) {
	for _, s := range subjects {
		if s.name == name {
			return s, nil
		}
	}
	return subject{}, fmt.Errorf("no subject is called %q", name)
}

// newClient returns a client of Redis, the same for all subjects but one: it heeds the deadlines of contexts,
// and no request of the load waits for a connection.
func newClient(addr string) *redis.Client {
	return redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true, PoolSize: 64})
}

// answer writes what every subject answers.
func answer(w http.ResponseWriter, subject, email, group string) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"sub":"`+subject+`","email":"`+email+`","group":"`+group+`"}`)
}

func fail(w http.ResponseWriter) {
	http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
}

func openPlain(ctx context.Context, rdb *redis.Client) (*site, error) {
	s, err := openRedisGate(ctx, rdb) // for a cookie as long as the others', and a heap like theirs
	if err != nil {
		return nil, err
	}
	s.handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		answer(w, userSubject, userEmail, userGroup)
	})
	return s, nil
}

// openFloor reads the very record that the gate reads and does nothing with it: no session that can be ended
// at once, on all replicas, costs less.
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

// sessionRecord returns the key of a record that a request reads.
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

// openIgnoringGate has a client as redis.ParseURL alone makes it, without ContextTimeoutEnabled.
func openIgnoringGate(ctx context.Context, rdb *redis.Client) (*site, error) {
	ignoring := redis.NewClient(&redis.Options{Addr: rdb.Options().Addr, PoolSize: rdb.Options().PoolSize})
	return openGate(ctx, redisstore.New(ignoring))
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

// openClaimsGate is a gate whose handler reads claims that the guard and the gate do not read.
func openClaimsGate(ctx context.Context, rdb *redis.Client) (*site, error) {
	shop, err := newShop(redisstore.New(rdb))
	if err != nil {
		return nil, err
	}
	defer shop.provider.Close()
	cookie, err := shop.login(ctx)
	guarded := shop.gate.Require(oidcgate.Claim("groups", userGroup))(http.HandlerFunc(meWithClaims))
	return &site{shop.gate.Wrap(guarded), cookie}, err
}

func meWithClaims(w http.ResponseWriter, r *http.Request) {
	id, ok := oidcgate.FromContext(r.Context())
	if !ok {
		fail(w)
		return
	}
	name, named := id.ClaimString("preferred_username")
	locale, known := id.ClaimString("locale")
	groups, grouped := id.ClaimStrings("groups")
	if !named || !known || !grouped || name == "" || locale == "" || len(groups) == 0 {
		fail(w)
		return
	}
	me(w, r)
}

// me is the handler behind a gate. The guard has read the group.
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

// openSCS is scs as its documentation shows it, with the same content in its session.
func openSCS(ctx context.Context, rdb *redis.Client) (*site, error) {
	gob.Register(map[string]any{})
	gob.Register([]any{})
	m := scs.New()
	m.Store = goredisstore.New(rdb)
	return signInSCS(ctx, m)
}

// openIdleSCS has what the gate has: a session that ends when it is not used.
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
