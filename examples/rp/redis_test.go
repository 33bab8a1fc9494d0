package main

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oidcgate/oidcgate/internal/redistest"
)

func TestSessionsInEveryKindOfRedis(t *testing.T) {
	for _, row := range []struct {
		name string
		url  func(t *testing.T) string
	}{
		{"one Redis with a password", func(t *testing.T) string {
			return "redis://:p%40ss@" + redistest.Start(t, "--requirepass", "p@ss").Addr + "/1"
		}},
		{"Sentinel", func(t *testing.T) string {
			master := redistest.Start(t)
			return "redis+sentinel://127.0.0.1:1," + startSentinel(t, "shop", master.Addr) + "/shop?db=2"
		}},
		{"Cluster", func(t *testing.T) string {
			nodes := redistest.StartCluster(t)
			return "redis+cluster://" + nodes[0].Addr + "," + nodes[1].Addr
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			url := row.url(t)
			w := start(t, map[string]string{"REDIS_URL": url})
			w.wants(w.get("/app"), http.StatusOK, "hello Ann")
			w.wants(w.get("/sessions"), http.StatusOK, `"current":true`)
			w.wants(w.post("/sessions/end-others"), http.StatusOK, `{"ended":0}`)
			wantNoWarning(t, url)
		})
	}
}

// wantNoWarning fails if the store logs a warning about the settings of the client.
func wantNoWarning(t *testing.T, redisURL string) {
	t.Helper()
	env := map[string]string{"OIDC_ISSUER": "https://id.test", "OIDC_CLIENT_ID": "rp", "OIDC_CLIENT_AUTH": "none", "REDIS_URL": redisURL,
		"SESSION_KEYS": "cKDdY1k9L3Gd0W0gKHCSFGJQnQxaBYVtLUgZAv2m3vY="}
	o, err := readOptions(nil, func(name string) string { return env[name] }, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var log output
	s, err := newService(o, slog.New(slog.NewTextHandler(&log, nil)), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	s.close()
	if log.String() != "" {
		t.Errorf("got log %q, want none", log.String())
	}
}

// startSentinel starts a Sentinel for a Redis and returns its address. The Sentinel runs until the
// test ends.
func startSentinel(t *testing.T, name, master string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String()
	_ = listener.Close() // another process may take the port; then the Sentinel does not answer below
	host, port, _ := net.SplitHostPort(master)
	_, own, _ := net.SplitHostPort(addr)
	file := filepath.Join(t.TempDir(), "sentinel.conf")
	config := "bind 127.0.0.1\nport " + own + "\ndir " + filepath.Dir(file) + "\nsentinel monitor " + name + " " + host + " " + port + " 1\n"
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	sentinel := exec.Command("redis-server", file, "--sentinel")
	if err := sentinel.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = sentinel.Process.Kill()
		_ = sentinel.Wait() // it was killed
	})
	awaitSentinel(t, addr, name)
	return addr
}

func awaitSentinel(t *testing.T, addr, name string) {
	t.Helper()
	sentinel := redis.NewSentinelClient(&redis.Options{Addr: addr})
	defer func() { _ = sentinel.Close() }()
	var err error
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err = sentinel.GetMasterAddrByName(t.Context(), name).Err(); err == nil {
			return
		}
	}
	t.Fatalf("the Sentinel at %s does not answer: %v", addr, err)
}

func TestRedisURLsThatAreRefused(t *testing.T) {
	for _, url := range []string{
		"localhost:6379",
		"http://:hunter2@localhost:6379",
		"redis://:hunter2@localhost:6379/shop",
		"redis+sentinel://:hunter2@localhost:26379",
		"redis+sentinel://:hunter2@localhost:26379/",
		"redis+sentinel://:hunter2@localhost,localhost:26379/shop",
		"redis+sentinel://:hunter2@localhost:26379,/shop",
		"redis+sentinel://:hunter2@localhost:26379/shop?db=many",
		"redis+sentinel://:hunter2@localhost:26379/shop?db=-1",
		"redis+sentinel://:hunter2@localhost:26379/shop?pool=1",
		"redis+sentinel://:hunter2%@localhost:26379/shop",
		"redis+cluster://",
		"redis+cluster://:hunter2@:6379",
		"redis+cluster://:hunter2@localhost:6379/shop",
		"redis+cluster://:hunter2@localhost:6379?db=1",
	} {
		rdb, err := newRedis(url)
		if err == nil {
			_ = rdb.Close()
			t.Errorf("%s was accepted", url)
			continue
		}
		if !strings.Contains(err.Error(), "rp: REDIS_URL") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got error %v, want one that names REDIS_URL and shows no password", url, err)
		}
	}
}

func TestLoginAtManyRedisNodes(t *testing.T) {
	o, err := parseNodes("shop:p%40ss@one:1,[::1]:2/master?db=3")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(o.Addrs, " "); got != "one:1 [::1]:2" || o.Username != "shop" || o.Password != "p@ss" || o.MasterName != "master" || o.DB != 3 {
		t.Errorf("got addresses %s, user %s, password %s, master %s and database %d", got, o.Username, o.Password, o.MasterName, o.DB)
	}
}
