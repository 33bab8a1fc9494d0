// Package examples_test builds the small examples, runs them and logs in.
package examples_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/internal/redistest"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

func TestSmallExamplesLogIn(t *testing.T) {
	rdb := redistest.Start(t)
	for _, name := range []string{"nethttp", "chi", "gin", "echo"} {
		t.Run(name, func(t *testing.T) {
			op := oidcgatetest.NewProvider(t)
			issuer := op.Server().URL
			addr := freeAddress(t)
			shop := "http://" + addr
			op.AddClient(oidcgatetest.Client{ID: "shop", Secret: "a secret", RedirectURLs: []string{shop + "/auth/callback"}})
			start(t, name,
				"ADDR="+addr, "BASE_URL="+shop, "REDIS_ADDR="+rdb.Addr,
				"OIDC_ISSUER="+issuer, "OIDC_CLIENT_ID=shop", "OIDC_CLIENT_SECRET=a secret")
			await(t, addr)

			jar, _ := cookiejar.New(nil) // without options it cannot fail
			browser := &http.Client{Jar: jar}
			for _, row := range []struct {
				path   string
				status int
				body   string // "" is any
			}{
				{"/", 200, "Welcome, stranger.\n"},
				{"/account", 200, "You are alice at " + issuer + ".\n"},
				{"/", 200, "Welcome, Alice Example.\n"},
				{"/admin", 403, ""},
			} {
				status, body := get(t, browser, shop+row.path)
				if status != row.status || row.body != "" && body != row.body {
					t.Errorf("%s: got %d %q, want %d %q", row.path, status, body, row.status, row.body)
				}
			}
		})
	}
}

// freeAddress finds a port for a process that cannot tell which one it took.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 15000+rand.IntN(5000))
		l, err := net.Listen("tcp", addr)
		if err == nil {
			_ = l.Close()
			return addr
		}
	}
	t.Fatal("no free port of 127.0.0.1 from 15000 to 19999")
	return ""
}

// start builds and runs an example, as a user would, until the test ends.
func start(t *testing.T, name string, env ...string) {
	t.Helper()
	binary := filepath.Join(t.TempDir(), name)
	if out, err := exec.Command("go", "build", "-o", binary, "./"+name).CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v\n%s", name, err, out)
	}
	startProgram(t, binary, env...)
}

// startProgram runs a program until the test ends.
func startProgram(t *testing.T, binary string, env ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, binary)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was killed
	})
}

// patience is how long something may take on a busy machine.
const patience = time.Minute

// await waits until somebody listens.
func await(t *testing.T, addr string) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if conn, err := net.Dial("tcp", addr); err == nil {
			_ = conn.Close()
			return
		}
	}
	t.Fatalf("nobody listens on %s", addr)
}

// get asks again for as long as the answer is 503, as a browser's user does: on a busy machine Redis may be late.
func get(t *testing.T, browser *http.Client, url string) (status int, body string) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if status, body = getOnce(t, browser, url); status != http.StatusServiceUnavailable {
			break
		}
	}
	return status, body
}

func getOnce(t *testing.T, browser *http.Client, url string) (int, string) {
	t.Helper()
	resp, err := browser.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}
