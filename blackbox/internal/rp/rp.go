// Package rp runs the relying party of examples/rp for tests.
package rp

import (
	"bufio"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/oidcgate/oidcgate/blackbox/internal/process"
)

// binary is the path of the program, after it was built.
var binary struct {
	once sync.Once
	dir  string
	err  error
}

// Run runs the tests of a package that uses [Start], from its TestMain, and removes the program
// built for them.
func Run(m *testing.M) int {
	defer func() { _ = os.RemoveAll(binary.dir) }()
	return m.Run()
}

// program builds the relying party once, with the race detector, so that a data race in any replica
// fails the test that caused it.
func program(t testing.TB) string {
	t.Helper()
	binary.once.Do(func() {
		if binary.dir, binary.err = os.MkdirTemp("", "oidcgate-rp-"); binary.err != nil {
			return
		}
		build := exec.Command("go", "build", "-race", "-o", binary.dir, "./rp")
		build.Dir = filepath.Join(process.ModuleDir(t), "..", "examples")
		if out, err := build.CombinedOutput(); err != nil {
			binary.err = fmt.Errorf("%w\n%s", err, out)
		}
	})
	if binary.err != nil {
		t.Fatalf("building the relying party: %v", binary.err)
	}
	return filepath.Join(binary.dir, "rp")
}

// Options are the environment variables of the program, such as "ROUTER": "chi".
type Options map[string]string

// With returns a copy with more options, given as name, value, name, value.
func (o Options) With(more ...string) Options {
	c := maps.Clone(o)
	for i := 0; i < len(more); i += 2 {
		c[more[i]] = more[i+1]
	}
	return c
}

// Replica is a running relying party.
type Replica struct {
	*process.Process
	URL  string // BASE_URL
	Addr string // host:port it listens on
}

// NewBaseURL returns a free address for a service. It is at localhost, because providers are at
// 127.0.0.1 and cookies do not depend on the port.
func NewBaseURL(t testing.TB) string {
	t.Helper()
	return fmt.Sprintf("http://localhost:%d", process.FreePort(t))
}

// NewKey returns a random key for SESSION_KEYS.
func NewKey() string {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return base64.StdEncoding.EncodeToString(key)
}

// Start starts a relying party that ends with the test. The option BASE_URL is required. Without
// ADDR it listens at the port of BASE_URL.
func Start(t testing.TB, options Options) *Replica {
	t.Helper()
	base := options["BASE_URL"]
	r := &Replica{URL: base, Addr: options["ADDR"]}
	if r.Addr == "" {
		r.Addr = net.JoinHostPort("127.0.0.1", base[strings.LastIndex(base, ":")+1:])
	}
	cmd := exec.Command(program(t))
	cmd.Env = []string{"ADDR=" + r.Addr, "GORACE=atexit_sleep_ms=0"} // otherwise the race detector sleeps at exit
	for name, value := range options {
		if name != "ADDR" {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	t.Cleanup(func() { r.reportRaces(t) }) // runs after the process has ended
	listening := "rp: listening on "
	r.Process = process.Start(t, cmd, func(p *process.Process) bool { return strings.Contains(p.Stderr(), listening) })
	return r
}

func (r *Replica) reportRaces(t testing.TB) {
	if r.Process == nil {
		return
	}
	if _, race, found := strings.Cut(r.Stderr(), "WARNING: DATA RACE"); found {
		t.Errorf("the race detector found in the relying party:\n%s", race)
	}
}

// Event is one line of the program's standard output.
type Event struct {
	Name   string `json:"event"`
	Reason string `json:"reason"`
}

// Events returns the events so far.
func (r *Replica) Events(t testing.TB) []Event {
	t.Helper()
	var events []Event
	lines := bufio.NewScanner(strings.NewReader(r.Stdout()))
	for lines.Scan() {
		var e Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil || e.Name == "" {
			t.Fatalf("standard output has the line %q (%v), want an event in JSON", lines.Text(), err)
		}
		events = append(events, e)
	}
	return events
}

// Ready reports whether the readiness probe of a replica succeeds.
func (r *Replica) Ready() bool {
	resp, err := http.Get("http://" + r.Addr + "/readyz")
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}
