package redisstore_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oidcgate/oidcgate/internal/redistest"
	"github.com/oidcgate/oidcgate/store"
	"github.com/oidcgate/oidcgate/store/redisstore"
)

func readAtPace(s *redisstore.Store, keys []string, n int, d time.Duration) (good, bad int64) {
	var g, b atomic.Int64
	var wg sync.WaitGroup
	end := time.Now().Add(d)
	for i := range n {
		wg.Go(func() {
			for k := i; time.Now().Before(end); k++ {
				if _, err := s.Get(context.Background(), keys[k%len(keys)]); err != nil {
					b.Add(1)
				} else {
					g.Add(1)
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	wg.Wait()
	return g.Load(), b.Load()
}

// One of three machines of a cluster hangs: reads of the keys of the other two must not fail with it.
func TestF08OneMachineOfAClusterHangs(t *testing.T) {
	nodes := redistest.StartCluster(t)
	var addrs []string
	for _, n := range nodes {
		addrs = append(addrs, n.Addr)
	}
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, ContextTimeoutEnabled: true, DisableRoutingPolicies: true})
	defer rdb.Close()
	s := redisstore.NewWith(rdb, redisstore.Config{Timeout: time.Second})
	var healthy, sick []string
	for i := 0; len(healthy) < 60 || len(sick) < 30; i++ {
		key := fmt.Sprintf("s:%d", i)
		slot, err := rdb.ClusterKeySlot(t.Context(), "oidcgate:"+key).Result()
		if err != nil {
			t.Fatal(err)
		}
		if slot >= 2*16384/3 { // the third node's
			sick = append(sick, key)
		} else {
			healthy = append(healthy, key)
		}
		if err := s.Create(t.Context(), key, []byte("value"), time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	nodes[2].Pause()
	defer nodes[2].Resume()
	var wg sync.WaitGroup
	wg.Go(func() { readAtPace(s, sick, 15, 4*time.Second) })
	time.Sleep(700 * time.Millisecond)
	good, bad := readAtPace(s, healthy, 30, 3*time.Second)
	wg.Wait()
	if bad > good/20 {
		t.Errorf("of the keys on machines that are well %d were read and %d not", good, bad)
	}
}

// One of three machines of a cluster hangs: a batch must not fail the operations of the other two.
func TestF08OneMachineHangsInABatch(t *testing.T) {
	for name, options := range map[string]redis.ClusterOptions{
		"with default options":         {},
		"that heeds context deadlines": {ContextTimeoutEnabled: true, DisableRoutingPolicies: true},
	} {
		t.Run("F08 a client "+name, func(t *testing.T) {
			nodes := redistest.StartCluster(t)
			for _, n := range nodes {
				options.Addrs = append(options.Addrs, n.Addr)
			}
			rdb := redis.NewClusterClient(&options)
			defer rdb.Close()
			s := redisstore.NewWith(rdb, redisstore.Config{Timeout: 2 * time.Second})
			var ops []store.Op
			sick := map[string]bool{}
			for i := range 60 {
				key := fmt.Sprintf("s:%d", i)
				slot, err := rdb.ClusterKeySlot(t.Context(), "oidcgate:"+key).Result()
				if err != nil {
					t.Fatal(err)
				}
				sick[key] = slot >= 2*16384/3 // the third node's
				if err := s.Create(t.Context(), key, []byte("value"), time.Hour); err != nil {
					t.Fatal(err)
				}
				ops = append(ops, store.Op{Action: store.OpGet, Key: key})
			}
			nodes[2].Pause()
			defer nodes[2].Resume()
			for i, r := range store.Do(t.Context(), s, ops) {
				if key := ops[i].Key; sick[key] != (r.Err != nil) || r.Err == nil && string(r.Value) != "value" {
					t.Errorf("%s, whose machine hangs: %v: %q, %v", key, sick[key], r.Value, r.Err)
				}
			}
		})
	}
}

// A batch must not say of what was not carried out that it was.
func TestBatchThatIsNotCarriedOut(t *testing.T) {
	slots := func(context.Context) ([]redis.ClusterSlot, error) { // of two machines that are down
		return []redis.ClusterSlot{
			{Start: 0, End: 8191, Nodes: []redis.ClusterNode{{Addr: "127.0.0.1:1"}}},
			{Start: 8192, End: 16383, Nodes: []redis.ClusterNode{{Addr: "127.0.0.1:2"}}},
		}, nil
	}
	for name, tt := range map[string]struct {
		slots func(context.Context) ([]redis.ClusterSlot, error)
		hook  redis.Hook
		heeds bool // the client heeds contexts; otherwise every call has a goroutine
	}{
		"F18 the map of the cluster cannot be loaded":  {nil, nil, true},
		"F18 all machines are down":                    {slots, nil, true},
		"F34 a hook panics":                            {slots, faultyHook{}, true},
		"F34 a hook panics, in a goroutine of its own": {slots, faultyHook{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			rdb := redis.NewClusterClient(&redis.ClusterOptions{
				Addrs: []string{"127.0.0.1:1"}, ClusterSlots: tt.slots, MaxRedirects: -1, DialerRetries: 1,
				ContextTimeoutEnabled: tt.heeds, DisableRoutingPolicies: true,
			})
			defer rdb.Close()
			if tt.hook != nil {
				rdb.AddHook(tt.hook)
			}
			s := redisstore.NewWith(rdb, redisstore.Config{Timeout: time.Minute})
			var ops []store.Op
			for i := range 20 { // at both machines
				ops = append(ops, store.Op{Action: store.OpDelete, Key: fmt.Sprintf("s:%d", i)})
			}
			for i, r := range store.Do(t.Context(), s, ops) {
				wantIll(t, ops[i].Key, r.Err)
			}
		})
	}
}

func TestBatchOnAClusterWithoutAMap(t *testing.T) {
	for name, hang := range map[string]func(context.Context){
		"until the deadline": func(ctx context.Context) {
			select {
			case <-ctx.Done():
			case <-time.After(time.Hour): // where go-redis loads it anew by itself
			}
		},
		"for ever": func(context.Context) { time.Sleep(time.Hour) },
	} {
		for _, heeds := range []bool{true, false} {
			if heeds && name == "for ever" {
				continue // nothing that heeds contexts does
			}
			t.Run(fmt.Sprintf("F17 the map hangs %s; the client heeds contexts is %v", name, heeds), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					rdb := redis.NewClusterClient(&redis.ClusterOptions{
						ClusterSlots: func(ctx context.Context) ([]redis.ClusterSlot, error) {
							hang(ctx)
							return nil, context.DeadlineExceeded
						},
						MaxRedirects: -1, ContextTimeoutEnabled: heeds, DisableRoutingPolicies: true,
					})
					s := redisstore.NewWith(rdb, redisstore.Config{Timeout: time.Second})
					begun := time.Now()
					for _, r := range s.Batch(t.Context(), []store.Op{{Action: store.OpGet, Key: "1"}, {Action: store.OpGet, Key: "2"}}) {
						wantIll(t, "a read", r.Err)
					}
					if took := time.Since(begun); took > time.Second {
						t.Errorf("the batch took %v", took)
					}
					_ = rdb.Close()
					time.Sleep(3 * time.Hour) // lets end what hangs
				})
			})
		}
	}
}

type forgotten struct {
	net.Conn
	dead *atomic.Bool
}

func (c *forgotten) Write(b []byte) (int, error) {
	if c.dead.Load() {
		return len(b), nil // as behind a firewall that forgot the connection
	}
	return c.Conn.Write(b)
}

// Connections that died silently fail one read each, and not one batch after the other.
func TestF08ConnectionsDieSilently(t *testing.T) {
	server := redistest.Start(t)
	var mu sync.Mutex
	var conns []*atomic.Bool
	rdb := redis.NewClient(&redis.Options{
		Addr: server.Addr, ContextTimeoutEnabled: true, PoolSize: 40,
		Dialer: func(_ context.Context, network, addr string) (net.Conn, error) {
			c, err := net.Dial(network, addr)
			dead := &atomic.Bool{}
			mu.Lock()
			conns = append(conns, dead)
			mu.Unlock()
			return &forgotten{c, dead}, err
		},
	})
	defer rdb.Close()
	s := redisstore.NewWith(rdb, redisstore.Config{Timeout: time.Second})
	if err := s.Create(t.Context(), "k", []byte("v"), time.Hour); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 30 {
		wg.Go(func() { rdb.Do(context.Background(), "BLPOP", "nothing", "0.2") })
	}
	wg.Wait()
	mu.Lock()
	n := len(conns)
	for _, c := range conns {
		c.Store(true)
	}
	mu.Unlock()
	var bad atomic.Int64
	begin := time.Now()
	for range 60 {
		wg.Go(func() {
			for time.Since(begin) < 5*time.Second {
				if _, err := s.Get(context.Background(), "k"); err != nil {
					bad.Add(1)
				}
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	wg.Wait()
	if bad.Load() > int64(2*n) {
		t.Errorf("%d connections died: %d reads failed", n, bad.Load())
	}
}

// faultyHook is a hook of the application's, for tracing say, that panics.
type faultyHook struct{}

func (faultyHook) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (faultyHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (faultyHook) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(context.Context, []redis.Cmder) error { panic("a fault of the hook") }
}

// A panic in a pipeline, which net/http would catch in a handler, must not end the process when a browser has left
// meanwhile, nor have the others in line wait for their deadline.
func TestF34APanicInAHookEndsNoProcess(t *testing.T) {
	if os.Getenv("LINE_CHILD") == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestF34APanicInAHookEndsNoProcess$")
		cmd.Env = append(os.Environ(), "LINE_CHILD=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			text := string(out)
			t.Errorf("the process ended: %v\n%.400s", err, text[max(0, strings.Index(text, "panic: ")):])
		}
		return
	}
	rdb := redistest.Start(t).Client(func(o *redis.Options) { o.ContextTimeoutEnabled = true })
	rdb.AddHook(faultyHook{})
	s := redisstore.NewWith(rdb, redisstore.Config{Timeout: time.Second})
	end := time.Now().Add(3 * time.Second)
	var wg sync.WaitGroup
	for range 60 {
		wg.Go(func() {
			for time.Now().Before(end) {
				func() {
					defer func() { _ = recover() }() // as net/http does for every request
					ctx, cancel := context.WithCancel(context.Background())
					defer cancel()
					time.AfterFunc(time.Duration(rand.N(800))*time.Microsecond, cancel) // a browser that leaves
					_, _ = s.Get(ctx, "x")
				}()
			}
		})
	}
	wg.Wait()
}

func TestC127AClientThatCachesReadsIsRefused(t *testing.T) {
	addr := redistest.Start(t).Addr
	for name, change := range map[string]func(*redis.Options){
		"ClientSideCacheConfig": func(o *redis.Options) { o.ClientSideCacheConfig = &redis.ClientSideCacheConfig{} },
		"ClientSideCache":       func(o *redis.Options) { o.ClientSideCache = redis.NewLocalCache(redis.CacheConfig{}) },
	} {
		o := &redis.Options{Addr: addr, ContextTimeoutEnabled: true}
		change(o)
		rdb := redis.NewClient(o)
		t.Cleanup(func() { _ = rdb.Close() })
		func() {
			defer func() {
				if text := fmt.Sprint(recover()); !strings.Contains(text, "without ClientSideCacheConfig") {
					t.Errorf("a client with %s: %s", name, text)
				}
			}()
			redisstore.New(rdb)
		}()
	}
}
