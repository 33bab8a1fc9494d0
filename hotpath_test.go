package oidcgate_test

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/internal/redistest"
)

// commands notes what a client sends to Redis.
type commands struct {
	mu   sync.Mutex
	sent []string
}

func (c *commands) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *commands) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.note(cmds...)
		return next(ctx, cmds)
	}
}

func (c *commands) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.note(cmd)
		return next(ctx, cmd)
	}
}

func (c *commands) note(cmds ...redis.Cmder) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, cmd := range cmds {
		c.sent = append(c.sent, cmd.Name())
	}
}

// during returns what was sent while f ran.
func (c *commands) during(f func()) []string {
	c.mu.Lock()
	c.sent = nil
	c.mu.Unlock()
	f()
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.sent)
}

// newRedisWorld opens a shop that keeps its sessions in a real Redis.
func newRedisWorld(t *testing.T, changes ...func(*oidcgate.Config, *oidcgate.Provider)) (*world, *commands) {
	t.Helper()
	seen := new(commands)
	rdb := redistest.Start(t).Client(func(o *redis.Options) { o.ContextTimeoutEnabled = true })
	if err := rdb.Ping(t.Context()).Err(); err != nil { // what opening a connection takes is no request's doing
		t.Fatal(err)
	}
	rdb.AddHook(seen)
	inRedis := func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Store = patient(rdb) }
	return newWorld(t, append(changes, inRedis)...), seen
}

func TestRedisCommandsOfARequest(t *testing.T) {
	withValues := func(c *oidcgate.Config, _ *oidcgate.Provider) { c.EnableValues = true }
	const noSession = "__Host-Http-oidcgate=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA."
	tests := []struct {
		name   string
		change func(*oidcgate.Config, *oidcgate.Provider)
		login  bool
		second bool // somebody else came just now
		path   string
		cookie string
		want   []string
	}{
		{name: "a visitor without a cookie costs none", path: "/public"},
		{name: "a visitor without a cookie costs none with values either", change: withValues, path: "/public"},
		{name: "a visitor with cookies of others costs none", path: "/public", cookie: "theme=dark; session=x"},
		{name: "a cookie that can be no session costs none", path: "/public", cookie: "__Host-Http-oidcgate=short"},
		{name: "a cookie of no session costs one read", path: "/public", cookie: noSession, want: []string{"get"}},
		{name: "a stranger at a guarded page costs none", path: "/app"},
		{name: "a stranger who begins to log in costs one read, which shows that Redis answers", path: "/auth/login", second: true, want: []string{"get"}},
		{name: "a signed-in visitor costs one read", login: true, path: "/public", want: []string{"get"}},
		{name: "a signed-in visitor at a guarded page costs one read", login: true, path: "/app", want: []string{"get"}},
		{name: "a signed-in visitor with values costs two reads", change: withValues, login: true, path: "/app", want: []string{"get", "get"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var changes []func(*oidcgate.Config, *oidcgate.Provider)
			if tt.change != nil {
				changes = append(changes, tt.change)
			}
			w, seen := newRedisWorld(t, changes...)
			if tt.login {
				w.login()
			}
			if tt.second {
				w.get(tt.path)
			}
			var headers []string
			if tt.cookie != "" {
				headers = []string{"Cookie: " + tt.cookie}
			}
			got := seen.during(func() { w.get(tt.path, headers...) })
			if !slices.Equal(got, tt.want) {
				t.Errorf("GET %s sent Redis %q, want %q", tt.path, got, tt.want)
			}
		})
	}
}

func TestUseIsNotedOnceInAWhile(t *testing.T) {
	t.Parallel() // it waits
	w, seen := newRedisWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.IdleTimeout = 16 * time.Second })
	w.login()
	time.Sleep(4*time.Second + 50*time.Millisecond) // a quarter of the idle limit: use is noted now
	tests := []struct {
		name string
		want []string
	}{
		{"the first request after a while reads and notes the use", []string{"get", "evalsha", "eval"}}, // whole, for Redis has not seen the script
		{"the next one only reads", []string{"get"}},
	}
	for _, tt := range tests {
		got := seen.during(func() {
			if a := w.get("/app"); a.StatusCode != http.StatusOK {
				t.Fatalf("/app: status %d", a.StatusCode)
			}
		})
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: sent %q, want %q", tt.name, got, tt.want)
		}
	}
}
