package redisstore_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oidcgate/oidcgate/internal/redistest"
	"github.com/oidcgate/oidcgate/store"
	"github.com/oidcgate/oidcgate/store/redisstore"
)

// An operation on a store where "k" holds "value-0" and "set" holds "m".
type operation struct {
	name string
	do   func(ctx context.Context, s store.Store) error
}

var (
	reads = []operation{
		{"Get", func(ctx context.Context, s store.Store) error { _, err := s.Get(ctx, "k"); return err }},
		{"Members", func(ctx context.Context, s store.Store) error { _, err := s.Members(ctx, "set"); return err }},
		{"a batch of reads", func(ctx context.Context, s store.Store) error {
			return batch(ctx, s, store.Op{Action: store.OpGet, Key: "k"}, store.Op{Action: store.OpExists, Key: "k"})
		}},
	}
	writes = []operation{
		{"Create", func(ctx context.Context, s store.Store) error {
			return s.Create(ctx, "new", []byte("value-1"), time.Minute)
		}},
		{"Add", func(ctx context.Context, s store.Store) error { return s.Add(ctx, "set", "value-1", time.Minute) }},
		swap,
	}
	shared = operation{"Gets that share round trips", func(ctx context.Context, s store.Store) error {
		const n = 200
		errs := make(chan error, n)
		for range n {
			go func() { _, err := s.Get(ctx, "k"); errs <- err }()
		}
		first := <-errs
		for range n - 1 {
			if err := <-errs; (err == nil) != (first == nil) {
				return store.ErrConflict // some work and some do not
			}
		}
		return first
	}}
	growth = operation{"Swap for a value that is much longer", func(ctx context.Context, s store.Store) error {
		return s.Swap(ctx, "k", []byte("value-0"), make([]byte, 2000), time.Minute)
	}}
	swap = operation{"Swap", func(ctx context.Context, s store.Store) error {
		return s.Swap(ctx, "k", []byte("value-0"), []byte("value-1"), time.Minute)
	}}
	removals = []operation{
		{"Delete", func(ctx context.Context, s store.Store) error { return s.Delete(ctx, "k", nil) }},
		{"Delete of a value", func(ctx context.Context, s store.Store) error {
			return s.Delete(ctx, "k", []byte("value-0"))
		}},
		{"Remove", func(ctx context.Context, s store.Store) error { return s.Remove(ctx, "set", "m") }},
		{"a batch of removals", func(ctx context.Context, s store.Store) error {
			return batch(ctx, s, store.Op{Action: store.OpDelete, Key: "k"}, store.Op{Action: store.OpRemove, Key: "set", Member: "m"})
		}},
	}
)

// batch returns the first error of a batch.
func batch(ctx context.Context, s store.Store, ops ...store.Op) error {
	for _, r := range store.Do(ctx, s, ops) {
		if r.Err != nil {
			return r.Err
		}
	}
	return nil
}

func all(operations ...[]operation) (all []operation) {
	for _, o := range operations {
		all = append(all, o...)
	}
	return all
}

// fill makes the store that operations expect.
func fill(t *testing.T, s store.Store) {
	t.Helper()
	if err := s.Create(t.Context(), "k", []byte("value-0"), time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := s.Add(t.Context(), "set", "m", time.Minute); err != nil {
		t.Fatal(err)
	}
}

// wantIll fails unless err is an error that is none of the sentinel errors of package store.
func wantIll(t *testing.T, what string, err error) {
	t.Helper()
	if err == nil {
		t.Errorf("%s on a failing store: got no error", what)
	}
	for _, sentinel := range []error{store.ErrNotFound, store.ErrExists, store.ErrConflict, store.ErrFull, store.ErrTTL} {
		if errors.Is(err, sentinel) {
			t.Errorf("%s on a failing store: got %v, which the caller would take for an answer of the store", what, err)
		}
	}
}

func TestRedisThatAnswersWithErrors(t *testing.T) {
	config := func(pairs ...string) func(*testing.T, *redis.Client) {
		return func(t *testing.T, rdb *redis.Client) {
			for i := 0; i < len(pairs); i += 2 {
				if err := rdb.ConfigSet(t.Context(), pairs[i], pairs[i+1]).Err(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	replicate := func(t *testing.T, rdb *redis.Client) {
		if err := rdb.ReplicaOf(t.Context(), "127.0.0.1", "1").Err(); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name      string
		sicken    func(*testing.T, *redis.Client)
		goOn, ill []operation
	}{
		{"F18 READONLY: reads work", replicate, reads, all(writes, removals)},
		{"F18 MASTERDOWN: nothing works", func(t *testing.T, rdb *redis.Client) {
			config("replica-serve-stale-data", "no")(t, rdb)
			replicate(t, rdb)
		}, nil, all(reads, writes, removals)},
		{"F18 NOREPLICAS: reads work", config("min-replicas-to-write", "1"), reads, all(writes, removals)},
		{"F18 NOAUTH: nothing works", config("requirepass", "secret"), nil, all(reads, writes, removals, []operation{shared})},
		{"F18 WRONGPASS: nothing works", config("requirepass", "another"), nil, all(reads, writes, removals, []operation{shared})},
		{"F19 OOM: reads, swaps and removals work", config("maxmemory", "1", "maxmemory-policy", "noeviction"), all(reads, []operation{swap}, removals), append(writes[:2:2], growth)},
		{"F18 MISCONF: reads work", failToSave, reads, all(writes, removals)},
		{"F18 WRONGTYPE: nothing works but an unconditional delete", func(t *testing.T, rdb *redis.Client) {
			for _, key := range []string{"k", "new", "set"} {
				key = "ill:" + key
				rdb.Del(t.Context(), key)
				if err := rdb.HSet(t.Context(), key, "field", "v").Err(); err != nil {
					t.Fatal(err)
				}
			}
		}, removals[:1], all(reads, writes, removals[2:])},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			t.Chdir(dir)
			server := redistest.Start(t, "--dir", dir)
			newIll := func() store.Store {
				rdb := server.Client(func(o *redis.Options) {
					heedContext(o)
					o.MaxRetries = 1
					if strings.Contains(tt.name, "WRONGPASS") {
						o.Password = "secret" // any is right until there is one
					}
				})
				return redisstore.NewWith(rdb, redisstore.Config{Prefix: "ill:", Timeout: time.Minute})
			}
			fill(t, newIll())
			tt.sicken(t, server.Client(nil))
			s := newIll() // whose connections have not seen the working server
			for _, op := range tt.ill {
				wantIll(t, op.name, op.do(t.Context(), s))
			}
			for _, op := range tt.goOn {
				if err := op.do(t.Context(), s); err != nil {
					t.Errorf("%s: got error %v, want it to work", op.name, err)
				}
			}
		})
	}
}

// failToSave removes the directory of the snapshots, which is the working directory of the test and
// of the server.
func failToSave(t *testing.T, rdb *redis.Client) {
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(dir), rdb.ConfigSet(t.Context(), "save", "3600 1000000").Err(), rdb.BgSave(t.Context()).Err()); err != nil {
		t.Fatal(err)
	}
	for {
		info, err := rdb.Info(t.Context(), "persistence").Result()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(info, "rdb_last_bgsave_status:err") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestErrorRepliesAreIllness uses a scripted server for replies that a real server gives only for a
// short time.
func TestErrorRepliesAreIllness(t *testing.T) {
	replies := []string{
		"LOADING Redis is loading the dataset in memory",
		"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
		"CLUSTERDOWN Hash slot not served",
		"TRYAGAIN Multiple keys request during rehashing of slot",
		"MOVED 1234 127.0.0.1:1",
		"ASK 1234 127.0.0.1:1",
		"READONLY You can't write against a read only replica.",
		"BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
		"ERR max number of clients reached",
		"NOPERM this user has no permissions to run the 'get' command",
	}
	for _, reply := range replies {
		for i, heeds := range []bool{true, false, true, false} {
			password := []string{"", "", "secret", "secret"}[i] // with one, no connection can be made
			t.Run(fmt.Sprintf("F18 %s; the client heeds contexts: %t, it has a password: %t", reply, heeds, password != ""), func(t *testing.T) {
				rdb := redis.NewClient(&redis.Options{Addr: answerAlways(t, "-"+reply), ContextTimeoutEnabled: heeds, MaxRetries: 1, Password: password})
				t.Cleanup(func() { _ = rdb.Close() })
				s := newStore(rdb, redisstore.Config{Timeout: time.Minute})
				for _, op := range all(reads, writes, removals, []operation{shared}) {
					wantIll(t, op.name, op.do(t.Context(), s))
				}
			})
		}
	}
}

// TestRepliesOfAnotherKind has a server, or a proxy before it, that does not do what it was asked.
func TestRepliesOfAnotherKind(t *testing.T) {
	scripts := all(writes, removals[1:2])
	for _, tt := range []struct {
		reply string
		ill   []operation
	}{
		{"+OK", all(scripts, removals, reads[1:2])},
		{":7", all(scripts, reads[1:2])},
		{"*0", all(scripts, removals, reads[:1])},
		{"$-1", all(scripts, removals, reads[1:2])},
	} {
		t.Run("F18 "+tt.reply, func(t *testing.T) {
			rdb := redis.NewClient(&redis.Options{Addr: answerAlways(t, tt.reply), ContextTimeoutEnabled: true, MaxRetries: 1})
			t.Cleanup(func() { _ = rdb.Close() })
			s := newStore(rdb, redisstore.Config{Timeout: time.Minute})
			for _, op := range tt.ill {
				wantIll(t, op.name, op.do(t.Context(), s))
			}
		})
	}
}

// answerAlways serves a handshake of protocol 2 and gives every other command the same reply.
func answerAlways(t *testing.T, reply string) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go answerConn(conn, reply)
		}
	}()
	return l.Addr().String()
}

func answerConn(conn net.Conn, reply string) {
	defer func() { _ = conn.Close() }()
	for in := bufio.NewReader(conn); ; {
		args, err := readCommand(in)
		if err != nil {
			return
		}
		switch strings.ToLower(args[0]) {
		case "hello":
			_, err = fmt.Fprint(conn, "-ERR unknown command 'HELLO'\r\n")
		case "client":
			_, err = fmt.Fprint(conn, "+OK\r\n")
		default:
			_, err = fmt.Fprintf(conn, "%s\r\n", reply)
		}
		if err != nil {
			return
		}
	}
}

// readCommand reads an array of bulk strings without line breaks in them.
func readCommand(in *bufio.Reader) ([]string, error) {
	var n int
	if _, err := fmt.Fscanf(in, "*%d\r\n", &n); err != nil {
		return nil, err
	}
	args := make([]string, n)
	for i := range args {
		for range 2 { // the length, then the string
			line, err := in.ReadString('\n')
			if err != nil {
				return nil, err
			}
			args[i] = strings.TrimSpace(line)
		}
	}
	return args, nil
}

func TestLostReplies(t *testing.T) {
	server := redistest.Start(t)
	for _, op := range all(writes, removals) {
		t.Run(op.name+" succeeds when its reply is lost and go-redis sends it again", func(t *testing.T) {
			proxy := redistest.NewProxy(t, server.Addr)
			rdb := server.Client(func(o *redis.Options) { heedContext(o); o.Addr = proxy.Addr })
			s := newStore(rdb, redisstore.Config{Timeout: time.Minute})
			fill(t, s)
			proxy.CutReply("oidcgate:") // any key
			if err := op.do(t.Context(), s); err != nil {
				t.Errorf("got error %v", err)
			}
			if got := proxy.Cuts(); got != 1 {
				t.Errorf("replies lost: got %d, want 1", got)
			}
		})
	}
}

// stalling is a connection on which a command that contains "new" does not arrive.
type stalling struct {
	net.Conn
	stalls *atomic.Int32
}

func (c stalling) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("new")) {
		c.stalls.Add(1)
		return len(b), nil
	}
	return c.Conn.Write(b)
}

func TestStalledCreate(t *testing.T) {
	server := redistest.Start(t)
	for name, heeds := range map[string]bool{"a client that heeds contexts": true, "a client that ignores contexts": false} {
		t.Run("C107 a Create that does not arrive is an error and is not sent again: it may arrive late: "+name, func(t *testing.T) {
			var stalls atomic.Int32
			rdb := server.Client(func(o *redis.Options) {
				o.ContextTimeoutEnabled, o.ReadTimeout = heeds, 50*time.Millisecond
				o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
					c, err := new(net.Dialer).DialContext(ctx, network, addr)
					return stalling{c, &stalls}, err
				}
			})
			s := newStore(rdb, redisstore.Config{Timeout: 2 * time.Second})
			err := s.Create(t.Context(), "new", []byte("1"), time.Minute)
			if err == nil || stalls.Load() != 1 {
				t.Errorf("sent %d times, error %v", stalls.Load(), err)
			}
		})
	}
}

// TestHungRedis gives the client very long timeouts, so that only the timeout of the store can end
// a call.
func TestHungRedis(t *testing.T) {
	patient := func(o *redis.Options) {
		o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = time.Hour, time.Hour, time.Hour
	}
	clients := map[string]func(*redis.Options){
		"a client that ignores contexts": patient,
		"a client that heeds contexts":   func(o *redis.Options) { patient(o); heedContext(o) },
		"a client with one connection":   func(o *redis.Options) { patient(o); heedContext(o); o.PoolSize = 1 },
	}
	soon := func(ctx context.Context) (context.Context, context.CancelFunc) {
		return context.WithTimeout(ctx, 100*time.Millisecond)
	}
	for name, configure := range clients {
		server := redistest.Start(t)
		tests := []struct {
			name    string
			timeout time.Duration
			bound   func(context.Context) (context.Context, context.CancelFunc)
		}{
			{"F17 every call ends by the timeout", 100 * time.Millisecond, context.WithCancel},
			{"F17 every call ends by the deadline of its context", time.Hour, soon},
		}
		for _, tt := range tests {
			t.Run(tt.name+" with "+name, func(t *testing.T) {
				s := newStore(server.Client(configure), redisstore.Config{Timeout: time.Minute})
				fill(t, s)
				hasty := newStore(server.Client(configure), redisstore.Config{Timeout: tt.timeout})
				server.Pause()
				defer server.Resume()
				var calls sync.WaitGroup
				for _, op := range all(reads, writes, removals) {
					calls.Go(func() {
						ctx, cancel := tt.bound(t.Context())
						defer cancel()
						wantIll(t, op.name, op.do(ctx, hasty))
					})
				}
				calls.Wait()
			})
		}
	}
}

func TestCancelledCall(t *testing.T) {
	server := redistest.Start(t)
	s := newStore(server.Client(func(o *redis.Options) { o.ReadTimeout = time.Hour }), redisstore.Config{Timeout: time.Hour})
	fill(t, s)
	server.Pause()
	defer server.Resume()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := s.Get(ctx, "k"); !errors.Is(err, context.Canceled) {
		t.Errorf("Get cancelled while a goroutine of its own waits: got error %v, want context.Canceled", err)
	}
}

func TestRedisThatComesBack(t *testing.T) {
	server := redistest.Start(t)
	s := newStore(server.Client(func(o *redis.Options) {
		heedContext(o)
		o.MaxRetries, o.DialerRetries = -1, 1
	}), redisstore.Config{Timeout: time.Minute})
	fill(t, s)
	server.Stop()
	for _, op := range all(reads, writes, removals) {
		wantIll(t, "F16 "+op.name, op.do(t.Context(), s))
	}
	server.Restart()
	awaitRecovery(t, s)
	if _, err := s.Get(t.Context(), "k"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("F20 Get after a restart without persistence: got error %v, want ErrNotFound", err)
	}
	if err := everyOperation(t.Context(), s); err != nil {
		t.Errorf("every operation after a restart that forgot the scripts: %v", err)
	}
}

// awaitRecovery waits until go-redis has connected again: after many refused connections it tries
// only once a second.
func awaitRecovery(t *testing.T, s store.Store) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		_, err := s.Get(t.Context(), "k")
		if ignoreNotFound(err) == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("Get of a Redis that came back: still error %v", err)
		}
	}
}

func TestErrorsRepeatNoArguments(t *testing.T) {
	server := redistest.Start(t, "--rename-command", "EVALSHA", "", "--rename-command", "GET", "", "--rename-command", "ZREM", "")
	s := newStore(server.Client(heedContext), redisstore.Config{Timeout: time.Minute})
	_, err := s.Get(t.Context(), "secret-key")
	errs := []error{
		err,
		s.Create(t.Context(), "secret-key", []byte("secret-value"), time.Minute),
		s.Remove(t.Context(), "secret-key", "secret-member"),
	}
	for _, err := range errs {
		wantIll(t, "a call of an unknown command", err)
		for e := err; e != nil; e = errors.Unwrap(e) {
			if strings.Contains(e.Error(), "secret") || !strings.Contains(e.Error(), "unknown command") {
				t.Errorf("error: got %q, want the unknown command without its arguments", e)
			}
		}
	}
}
