package browser_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// screen is the screen of a visitor's device.
type screen struct {
	name          string
	width, height int64
	scheme        string // prefers-color-scheme
	options       []chromedp.EmulateViewportOption
}

var screens = []screen{
	{"desktop", 1280, 800, "light", nil},
	{"phone", 390, 844, "light", []chromedp.EmulateViewportOption{chromedp.EmulateMobile, chromedp.EmulateTouch}},
	{"phone-dark", 390, 844, "dark", []chromedp.EmulateViewportOption{chromedp.EmulateMobile, chromedp.EmulateTouch}},
}

// tourDemo clicks through the demo on plain http and takes a screenshot of each page. The
// screenshots are stored in the directory that SCREENSHOTS names, or in a temporary one.
func tourDemo(t *testing.T, chromium context.Context) {
	album := os.Getenv("SCREENSHOTS")
	if album == "" {
		album = t.TempDir()
	}
	for _, s := range screens {
		t.Run(s.name, func(t *testing.T) {
			shop := startDemo(t)
			v := &tourist{newVisitor(t, chromium), s, album, shop}
			v.look()
			v.manager()
			v.customer()
			v.lost()
			v.wantNoProblems()
			v = &tourist{newVisitor(t, chromium), s, album, shop}
			v.look()
			v.linker()
			v.wantNoProblems()
		})
	}
}

// tourist is a visitor that takes screenshots.
type tourist struct {
	*tab
	screen screen
	album  string
	shop   string
}

// look visits the pages that need no login.
func (v *tourist) look() {
	v.Helper()
	run(v.tab, "setting the screen", chromedp.EmulateViewport(v.screen.width, v.screen.height, v.screen.options...))
	scheme := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: v.screen.scheme}}}
	if _, err := chromedp.Call(v.ctx, emulation.SetEmulatedMedia, scheme); err != nil {
		v.Fatalf("setting the colour scheme: %v", err)
	}
	v.open(v.shop + "/")
	v.shoot("1-home")
	v.click("#login")
	v.wantText("h1", "Log in")
	v.shoot("2-choice")
	v.choose("Teahouse ID")
	v.shoot("2-login")
}

// manager logs in as a user who may see every page, and logs out again.
func (v *tourist) manager() {
	v.Helper()
	v.logIn("ada")
	v.wantAt(v.shop + "/")
	v.click(".tea button")
	v.wantText(".basket", "1 in basket")
	v.shoot("3-home-signed-in")
	v.visit("/account", 200, "Ada Lindqvist")
	v.shoot("4-account")
	v.visit("/office", 200, "Back office")
	v.shoot("5-office")
	v.visit("/auth/logout", 200, "Log out?")
	v.shoot("6-logout")
	v.visit("/account", 200, "Ada Lindqvist")
	v.click("#logout")
	v.wantAt(v.shop + "/?done=logout")
	v.wantText(".notice", "You are logged out.")
	v.wantText("#login", "Log in")
	v.visit("/auth/logout", 200, "Signed out")
	v.shoot("7-signed-out")
}

// customer is refused twice: a login that is cancelled at the provider, and the back office without
// the right group.
func (v *tourist) customer() {
	v.Helper()
	v.visit("/office", 200, "Log in")
	v.choose("Teahouse ID")
	if response := v.click(`button[value=""]`); response.Status != 403 {
		v.Errorf("status of a login refused: got %d, want 403", response.Status)
	}
	v.wantText("h1", "Login cancelled")
	v.shoot("8-cancelled")
	v.visit("/office", 200, "Log in")
	v.choose("Teahouse ID")
	if response := v.logIn("ben"); response.Status != 403 {
		v.Errorf("status of the office for a customer: got %d, want 403", response.Status)
	}
	v.wantAt(v.shop + "/office")
	v.wantText("h1", "No access")
	v.shoot("9-no-access")
}

// linker is Ben. He links a second login, and is the same customer with it. Chiara may not link it
// too.
func (v *tourist) linker() {
	v.Helper()
	v.logIn("ben")
	v.visit("/account", 200, "Ben Okafor")
	v.shoot("10-link")
	v.click("#link")
	v.wantText(".kicker strong", "Harbour Pass")
	v.shoot("10-link-login")
	v.logIn("p114")
	v.wantAt(v.shop + "/account")
	v.wantText("#link", "")
	v.shoot("10-linked")
	v.click("#logout")
	v.visit("/account", 200, "Log in")
	v.shoot("10-choice-again")
	v.choose("Harbour Pass")
	v.logIn("p114")
	v.wantAt(v.shop + "/account")
	v.wantText("h1", "Ben Okafor")
	v.shoot("10-account-linked")
	v.click("#logout")

	v.visit("/account", 200, "Log in")
	v.choose("Teahouse ID")
	v.logIn("chiara")
	v.click("#link")
	if response := v.logIn("p114"); response.Status != 403 {
		v.Errorf("status of a login that is another customer's: got %d, want 403", response.Status)
	}
	v.shoot("10-link-refused")
	v.visit("/account", 200, "Chiara Conti")
	v.click("#logout")
}

// choose chooses a provider.
func (v *tourist) choose(provider string) {
	v.Helper()
	v.wantText("h1", "Log in")
	i := evaluate[int](v.tab, fmt.Sprintf(`[...document.querySelectorAll(".choice strong")].findIndex(e => e.textContent === %q)`, provider))
	v.click(fmt.Sprintf(".choice li:nth-child(%d) a", i+1))
	v.wantText("h1", "Who are you?")
	v.wantText(".kicker strong", provider)
}

// lost requests a page that does not exist.
func (v *tourist) lost() {
	v.Helper()
	v.visit("/nowhere", 404, "Nothing here")
	v.shoot("11-not-found")
	v.visit("/auth/callback?code=c&state=s", 400, "Login failed")
	v.shoot("12-login-failed")
}

func (v *tourist) logIn(person string) *network.Response {
	v.Helper()
	return v.click(`button[value="` + person + `"]`)
}

// visit opens a page of the shop.
func (v *tourist) visit(path string, status int64, title string) {
	v.Helper()
	if response := v.open(v.shop + path); response.Status != status {
		v.Errorf("status of %s: got %d, want %d", path, response.Status, status)
	}
	v.wantText("h1", title)
}

// shoot takes a picture of the whole page, which must not be wider than the screen.
func (v *tourist) shoot(name string) {
	v.Helper()
	if got := evaluate[int64](v.tab, "document.documentElement.scrollWidth"); got > v.screen.width {
		v.Errorf("%s: the page is %d pixels wide and scrolls sideways on a screen of %d", name, got, v.screen.width)
	}
	picture := run(v.tab, "taking a picture", chromedp.FullScreenshot(100))
	if err := os.WriteFile(filepath.Join(v.album, v.screen.name+"-"+name+".png"), picture, 0o644); err != nil {
		v.Fatal(err)
	}
}

// startDemo builds the demo, starts it on free ports, and returns the address it prints. At the end
// of the test it sends the signal of Ctrl-C, and the demo must end without an error.
func startDemo(t *testing.T) string {
	t.Helper()
	demo := exec.Command(buildExample(t, "demo"))
	demo.Env = append(os.Environ(), "ADDR=127.0.0.1:0", "PROVIDER_ADDR=127.0.0.1:0", "REDIS_URL=", "OIDC_ISSUER=", "OIDC_CLIENT_ID=", "OIDC_CLIENT_SECRET=")
	demo.Stderr = t.Output()
	demo.WaitDelay = patience
	output, err := demo.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := demo.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopDemo(t, demo) })
	return printedAddress(t, output)
}

// buildExample builds a program of the module examples, and returns the path of its binary.
func buildExample(t *testing.T, name string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), name)
	build := exec.Command("go", "build", "-o", binary, "./"+name)
	build.Dir = filepath.Join("..", "..", "examples")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v\n%s", name, err, out)
	}
	return binary
}

func stopDemo(t *testing.T, demo *exec.Cmd) {
	kill := time.AfterFunc(patience, func() { _ = demo.Process.Kill() })
	defer kill.Stop()
	if err := demo.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("stopping the demo: %v", err)
	}
	if err := demo.Wait(); err != nil {
		t.Errorf("the demo ended with %v", err)
	}
}

// printedAddress reads the output of the demo up to its address. The rest of the output is short
// enough for the pipe's buffer.
func printedAddress(t *testing.T, output io.Reader) string {
	t.Helper()
	for lines := bufio.NewScanner(output); lines.Scan(); {
		if i := strings.Index(lines.Text(), "http://"); i >= 0 {
			return strings.TrimSpace(lines.Text()[i:])
		}
	}
	t.Fatal("the demo printed no address")
	return ""
}
