package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oidcgate/oidcgate/internal/redistest"
	"github.com/oidcgate/oidcgate/store"
	"github.com/oidcgate/oidcgate/store/redisstore"
	"github.com/oidcgate/oidcgate/store/storetest"
)

func TestConformance(t *testing.T) {
	server := redistest.Start(t)
	tests := []struct {
		name      string
		configure func(*redis.Options)
	}{
		{"a client with default options", nil},
		{"a client that heeds context deadlines", heedContext},
		{"a client with protocol 2", func(o *redis.Options) { heedContext(o); o.Protocol = 2 }},
		{"a user with no more rights than documented", func(o *redis.Options) {
			heedContext(o)
			o.Username, o.Password = "gate", "password"
		}},
	}
	setUser(t, server.Client(nil), documentedUser(t))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conform(t, server.Client(tt.configure), server)
		})
	}
}

func TestConformanceOfCluster(t *testing.T) {
	nodes := redistest.StartCluster(t)
	tests := []struct {
		name    string
		options redis.ClusterOptions
	}{
		{"a client with default options", redis.ClusterOptions{}},
		{"a client that heeds context deadlines", redis.ClusterOptions{
			ContextTimeoutEnabled: true, DisableRoutingPolicies: true,
		}},
		{"a user with no more rights than documented", redis.ClusterOptions{
			ContextTimeoutEnabled: true, DisableRoutingPolicies: true,
			Username: "gate", Password: "password",
		}},
	}
	for _, node := range nodes {
		setUser(t, node.Client(nil), append(documentedUser(t), "+cluster|slots", "+asking"))
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.options.Addrs = []string{nodes[0].Addr} // the others are found
			rdb := redis.NewClusterClient(&tt.options)
			t.Cleanup(func() { _ = rdb.Close() })
			conform(t, rdb, nodes...)
		})
	}
}

// conform runs the conformance test with a separate prefix for each subtest, and checks the keys
// that the subtest left in the servers.
func conform(t *testing.T, rdb redis.UniversalClient, servers ...*redistest.Server) {
	storetest.Run(t, func(t *testing.T) store.Store {
		t.Cleanup(func() {
			for _, server := range servers {
				wantNoImmortalKey(t, server)
			}
		})
		return newStore(rdb, redisstore.Config{Timeout: time.Minute})
	})
}

var stores atomic.Int64

// newStore returns an empty store.
func newStore(rdb redis.UniversalClient, config redisstore.Config) *redisstore.Store {
	config.Prefix = fmt.Sprintf("oidcgate:%d:", stores.Add(1))
	config.Logger = slog.New(slog.DiscardHandler)
	return redisstore.NewWith(rdb, config)
}

func heedContext(o *redis.Options) { o.ContextTimeoutEnabled = true }

// documentedUser returns the arguments of ACL SETUSER from the package comment.
func documentedUser(t *testing.T) []string {
	t.Helper()
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, after, found := strings.Cut(string(doc), "ACL SETUSER ")
	command, _, ended := strings.Cut(after, "\n//\n")
	if !found || !ended {
		t.Fatal("doc.go shows no ACL SETUSER command")
	}
	return strings.Fields(strings.ReplaceAll(command, "//", " "))
}

func setUser(t *testing.T, rdb *redis.Client, user []string) {
	t.Helper()
	if err := rdb.ACLSetUser(t.Context(), user[0], user[1:]...).Err(); err != nil {
		t.Fatalf("ACL SETUSER %q: %v", user, err)
	}
}

// wantNoImmortalKey fails if any key of the server has no TTL.
func wantNoImmortalKey(t *testing.T, server *redistest.Server) {
	t.Helper()
	ctx := context.Background() // in a cleanup, t.Context() has ended
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr})
	defer func() { _ = rdb.Close() }()
	for keys := rdb.Scan(ctx, 0, "*", 1000).Iterator(); keys.Next(ctx); {
		ttl, err := rdb.PTTL(ctx, keys.Val()).Result()
		if err != nil {
			t.Fatalf("PTTL: %v", err)
		}
		if ttl == -1 { // no TTL; -2 would mean that the key has expired
			t.Errorf("C106 key %q has no TTL", keys.Val())
		}
	}
}

func TestEachDocumentedRightIsNeeded(t *testing.T) {
	server := redistest.Start(t)
	admin := server.Client(nil)
	user := documentedUser(t)
	rights := slices.DeleteFunc(slices.Clone(user), func(s string) bool { return s[0] != '+' })
	if len(rights) == 0 {
		t.Fatal("no rights are documented")
	}
	for _, right := range rights {
		t.Run("without "+right+" something fails and nothing immortal is left", func(t *testing.T) {
			setUser(t, admin, append(slices.Clone(user), "-"+right[1:]))
			admin.ScriptFlush(t.Context()) // because EVAL is sent only when EVALSHA finds no script
			rdb := server.Client(func(o *redis.Options) {
				heedContext(o)
				o.Username, o.Password = "gate", "password"
			})
			if err := everyOperation(t.Context(), newStore(rdb, redisstore.Config{Timeout: time.Minute})); err == nil {
				t.Error("every operation succeeded")
			}
			wantNoImmortalKey(t, server)
		})
	}
}

// everyOperation calls each method so that it reaches each of its commands.
func everyOperation(ctx context.Context, s store.Store) error {
	a, b := []byte("a"), []byte("b")
	errs := []error{
		s.Create(ctx, "k", a, time.Minute),
		s.Swap(ctx, "k", a, b, time.Minute),
		s.Delete(ctx, "k", b),
		s.Delete(ctx, "k", nil),
		s.Add(ctx, "set", "m", time.Minute),
		s.Add(ctx, "set", "n", time.Minute),
		s.Remove(ctx, "set", "m"),
	}
	if _, err := s.Get(ctx, "k"); !errors.Is(err, store.ErrNotFound) {
		errs = append(errs, err)
	}
	for _, r := range store.Do(ctx, s, []store.Op{{Action: store.OpExists, Key: "k"}}) {
		errs = append(errs, r.Err)
	}
	_, err := s.Members(ctx, "set")
	return errors.Join(append(errs, err)...)
}

func TestClientSettings(t *testing.T) {
	const (
		enable   = "ContextTimeoutEnabled: true"
		routing  = "DisableRoutingPolicies: true"
		negative = "no negative ReadTimeout"
		itself   = "itself"
		replicas = "RouteByLatency"
		sentinel = "ReadTimeout: time.Second"
	)
	failover := func(o redis.FailoverOptions) redis.UniversalClient {
		o.ContextTimeoutEnabled, o.SentinelAddrs = true, []string{"127.0.0.1:1"}
		return redis.NewFailoverClient(&o)
	}
	single := func(o redis.Options) redis.UniversalClient { return redis.NewClient(&o) }
	cluster := func(o redis.ClusterOptions) redis.UniversalClient { return redis.NewClusterClient(&o) }
	ring := func(o redis.RingOptions) redis.UniversalClient { return redis.NewRing(&o) }
	type wrapped struct{ redis.UniversalClient }

	tests := []struct {
		name  string
		rdb   redis.UniversalClient
		cures []string
	}{
		{"a client that heeds contexts needs no cure", single(redis.Options{ContextTimeoutEnabled: true}), nil},
		{"a client with default options", single(redis.Options{}), []string{enable}},
		{"a client without socket deadlines", single(redis.Options{ContextTimeoutEnabled: true, ReadTimeout: -2}), []string{negative}},
		{"a client without a read deadline", single(redis.Options{ContextTimeoutEnabled: true, ReadTimeout: -2, WriteTimeout: time.Second}), []string{negative}},
		{"a client without a write deadline", single(redis.Options{ContextTimeoutEnabled: true, WriteTimeout: -2}), []string{negative}},
		{"a client with no timeout but that of the context needs no cure", single(redis.Options{ContextTimeoutEnabled: true, ReadTimeout: -1}), nil},
		{"F18 a client of Sentinel with default options", failover(redis.FailoverOptions{}), []string{sentinel}},
		{"F18 one without a read deadline", failover(redis.FailoverOptions{ReadTimeout: -1}), []string{sentinel}},
		{"F18 one whose questions take as long as it has time", failover(redis.FailoverOptions{ReadTimeout: time.Second, MaxRetries: 4}), []string{sentinel}},
		{"F18 one whose questions end in time needs no cure", failover(redis.FailoverOptions{ReadTimeout: time.Second}), nil},
		{"F18 one that asks once needs no cure", failover(redis.FailoverOptions{MaxRetries: -1, ReadTimeout: 4 * time.Second}), nil},
		{"F18 one with enough time needs no cure", failover(redis.FailoverOptions{DialTimeout: 21 * time.Second}), nil},
		{"a cluster client with default options", cluster(redis.ClusterOptions{}), []string{enable}},
		{"a cluster client that asks for the list of commands", cluster(redis.ClusterOptions{ContextTimeoutEnabled: true}), []string{routing}},
		{"a cluster client that heeds contexts needs no cure", cluster(redis.ClusterOptions{ContextTimeoutEnabled: true, DisableRoutingPolicies: true}), nil},
		{"a cluster client that reads from replicas", cluster(redis.ClusterOptions{ContextTimeoutEnabled: true, DisableRoutingPolicies: true, RouteRandomly: true}), []string{"ReadOnly: false", replicas}},
		{"a ring with default options", ring(redis.RingOptions{}), []string{enable}},
		{"a ring that heeds contexts needs no cure", ring(redis.RingOptions{ContextTimeoutEnabled: true}), nil},
		{"a client of an unknown type", wrapped{single(redis.Options{ContextTimeoutEnabled: true})}, []string{itself}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Cleanup(func() { _ = tt.rdb.Close() })
			var log strings.Builder
			redisstore.NewWith(tt.rdb, redisstore.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
			lines := slices.Collect(strings.Lines(log.String()))
			if len(lines) != len(tt.cures) {
				t.Fatalf("log: got %q, want %d lines", lines, len(tt.cures))
			}
			for i, cure := range tt.cures {
				if !strings.Contains(lines[i], "level=WARN") || !strings.Contains(lines[i], cure) {
					t.Errorf("log line %d: got %q, want a warning with %q", i, lines[i], cure)
				}
			}
		})
	}
}

type contextKey struct{}

// spy is a hook of go-redis that records commands.
type spy struct {
	commands []string
	values   []any
}

func (s *spy) DialHook(next redis.DialHook) redis.DialHook { return next }

func (s *spy) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (s *spy) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		s.commands = append(s.commands, cmd.Name())
		s.values = append(s.values, ctx.Value(contextKey{}))
		return next(ctx, cmd)
	}
}

func TestCommands(t *testing.T) {
	server := redistest.Start(t)
	for _, configure := range []func(*redis.Options){nil, heedContext} {
		rdb := server.Client(configure)
		s := newStore(rdb, redisstore.Config{Timeout: time.Minute})
		ctx := context.WithValue(t.Context(), contextKey{}, "trace")
		if err := everyOperation(ctx, s); err != nil { // loads the scripts
			t.Fatal(err)
		}
		tests := []struct {
			name string
			op   func() error
			want string
		}{
			{"a load is one GET", func() error { _, err := s.Get(ctx, "absent"); return ignoreNotFound(err) }, "get"},
			{"a create is one command", func() error { return s.Create(ctx, "k", []byte("a"), time.Minute) }, "evalsha"},
			{"a list is one command", func() error { _, err := s.Members(ctx, "set"); return err }, "evalsha"},
			{"a delete is one DEL", func() error { return s.Delete(ctx, "k", nil) }, "del"},
		}
		seen := new(spy)
		rdb.AddHook(seen)
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				*seen = spy{}
				if err := tt.op(); err != nil {
					t.Fatal(err)
				}
				if want := []string{tt.want}; !slices.Equal(seen.commands, want) {
					t.Errorf("commands: got %q, want %q", seen.commands, want)
				}
				if want := []any{"trace"}; !slices.Equal(seen.values, want) {
					t.Errorf("values of the caller's context: got %q, want %q", seen.values, want)
				}
			})
		}
	}
}

func ignoreNotFound(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

func TestKeysHaveTheDefaultPrefix(t *testing.T) {
	rdb := redistest.Start(t).Client(heedContext)
	s := redisstore.New(rdb)
	if err := s.Create(t.Context(), "k", []byte("a"), time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := s.Add(t.Context(), "set", "m", time.Minute); err != nil {
		t.Fatal(err)
	}
	keys, err := rdb.Keys(t.Context(), "*").Result()
	slices.Sort(keys)
	if want := []string{"oidcgate:k", "oidcgate:set"}; !slices.Equal(keys, want) || err != nil {
		t.Errorf("keys: got %q, error %v; want %q", keys, err, want)
	}
}
