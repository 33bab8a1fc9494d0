package examples_test

import (
	"bufio"
	"bytes"
	"fmt"
	"html"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/oidcgate/oidcgate/oidcgatetest"
	"github.com/oidcgate/oidcgate/presets"
)

// methods are those that oidcgate init writes code for.
var methods = []string{
	"client_secret_basic", "client_secret_post", "none", "client_secret_jwt", "private_key_jwt",
}

// TestInitWritesProgramsThatCompile makes a program for each preset, and for each combination of
// router, method and store, all in one module that has this repository in place of a release, and vets them.
func TestInitWritesProgramsThatCompile(t *testing.T) {
	command := buildCommand(t)
	module := newModule(t)
	for _, p := range presets.List() {
		provider := p.Name
		for _, q := range p.Ask {
			provider += " " + q.Example
		}
		initialize(t, command, filepath.Join(module, "preset_"+p.Name), []string{"mux", "", provider, "shop", "memory"})
	}
	for _, router := range []string{"mux", "chi", "gin"} {
		for _, method := range methods {
			for _, store := range []string{"memory", "redis"} {
				dir := filepath.Join(module, router+"_"+method+"_"+store)
				answers := []string{router, "", "google", "shop " + method, store}
				initialize(t, command, dir, answers)
			}
		}
	}
	goIn(t, module, "vet", "./...")
	if out := goIn(t, module, "list", "./..."); strings.Count(out, "\n") != 30+len(presets.List()) {
		t.Errorf("programs:\n%s", out)
	}
}

// TestInitWritesAProgramThatLogsIn answers the five questions, fills in the secret, starts the
// program with its .env, and logs in.
func TestInitWritesAProgramThatLogsIn(t *testing.T) {
	command := buildCommand(t)
	for _, row := range []struct{ router, preset string }{{"mux", ""}, {"chi", ""}, {"gin", ""}, {"mux", "okta"}} {
		t.Run(strings.TrimSpace(row.router+" "+row.preset), func(t *testing.T) {
			op := oidcgatetest.NewProvider(t)
			issuer := op.Server().URL
			addr := freeAddress(t)
			shop := "http://" + addr
			module := newModule(t)
			dir := filepath.Join(module, "shop")
			todo := initialize(t, command, dir, []string{row.router, shop, row.preset + " " + issuer, "shop", "memory"})
			op.AddClient(oidcgatetest.Client{
				ID: "shop", Secret: "a secret", RedirectURLs: []string{registered(t, todo)},
				PostLogoutRedirectURLs: []string{shop + "/auth/logout/done"},
			})
			doctor := exec.Command(command, "doctor", "-issuer", issuer, "-client-id", "shop",
				"-base-url", shop, "-auth", "client_secret_basic", "-timeout", "1m")
			if out, err := doctor.CombinedOutput(); err != nil {
				t.Errorf("doctor: %v\n%s", err, out)
			}
			goIn(t, module, "build", "-o", "shop.bin", "./shop")
			startProgram(t, filepath.Join(module, "shop.bin"), environment(t, dir, "a secret")...)
			await(t, addr)

			jar, _ := cookiejar.New(nil) // without options it cannot fail
			browser := &http.Client{Jar: jar}
			wants := func(address, want string) (page string) {
				t.Helper()
				status, body := get(t, browser, address)
				if status != 200 || !strings.Contains(body, want) {
					t.Errorf("%s: got %d %q, want %q", address, status, body, want)
				}
				return body
			}
			page := wants(shop+"/", "Welcome, stranger.")
			page = wants(html.UnescapeString(found(t, page, `<a href="([^"]*)">Log in</a>`)), "Welcome, Alice Example.")
			wants(shop+"/account", "You are alice at "+issuer+".\n")
			out, err := browser.PostForm(html.UnescapeString(found(t, page, `<form method="post" action="([^"]*)"><button>Log out</button>`)), nil)
			if err != nil {
				t.Fatal(err)
			}
			_ = out.Body.Close()
			if out.Request.URL.String() != shop+"/" {
				t.Errorf("the logout ends at %s", out.Request.URL)
			}
			wants(shop+"/", "Welcome, stranger.")
		})
	}
}

// found returns the part of a page that a pattern has in parentheses.
func found(t *testing.T, page, pattern string) string {
	t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(page)
	if m == nil {
		t.Fatalf("no %s in:\n%s", pattern, page)
	}
	return m[1]
}

// buildCommand builds oidcgate.
func buildCommand(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "oidcgate")
	out, err := exec.Command("go", "build", "-o", binary, "github.com/oidcgate/oidcgate/cmd/oidcgate").CombinedOutput()
	if err != nil {
		t.Fatalf("building oidcgate: %v\n%s", err, out)
	}
	return binary
}

// newModule makes a module with the dependencies of the examples, so that nothing is fetched.
func newModule(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	sum, err := os.ReadFile("go.sum")
	if err != nil {
		t.Fatal(err)
	}
	mod = bytes.Replace(mod, []byte("=> ../"), fmt.Appendf(nil, "=> %q", root), 1)
	for name, text := range map[string][]byte{"go.mod": mod, "go.sum": sum} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// initialize answers the five questions, and returns what to do.
func initialize(t *testing.T, command, dir string, answers []string) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(command, "init", "-dir", dir)
	c.Stdin = strings.NewReader(strings.Join(answers, "\n") + "\n")
	var out, errOut bytes.Buffer
	c.Stdout, c.Stderr = &out, &errOut
	if err := c.Run(); err != nil {
		t.Fatalf("init with %q: %v\n%s", answers, err, errOut.String())
	}
	return out.String()
}

// registered returns the redirect URI that init says is to be registered.
func registered(t *testing.T, todo string) string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^  redirect URI +(\S+)$`).FindStringSubmatch(todo)
	if m == nil {
		t.Fatalf("no redirect URI in:\n%s", todo)
	}
	return m[1]
}

// environment returns the settings in .env as a shell reads them, with the secret filled in.
func environment(t *testing.T, dir, secret string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, ".env"))
	if err != nil {
		t.Fatal(err)
	}
	filled := strings.Replace(string(text), "OIDC_CLIENT_SECRET=''", "OIDC_CLIENT_SECRET='"+secret+"'", 1)
	if filled == string(text) {
		t.Fatalf("no place for the secret in:\n%s", text)
	}
	file := filepath.Join(dir, ".env")
	if err := os.WriteFile(file, []byte(filled), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("sh", "-c", "set -a; . \"$0\"; set +a; env", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	var env []string
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		env = append(env, lines.Text())
	}
	return env
}

// goIn runs go in a module without the network.
func goIn(t *testing.T, dir string, args ...string) string {
	t.Helper()
	c := exec.Command("go", args...)
	c.Dir = dir
	c.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off")
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}
