package browser_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// tourSPA uses the example of a page with script, on plain http.
func tourSPA(t *testing.T, chromium context.Context) {
	base := startSPA(t)
	v := newVisitor(t, chromium)
	a := &album{scene: &scene{T: t, chromium: chromium}, name: "spa", language: "en"}
	v.open(base + "/")
	v.wantStranger()
	a.shoot(v, "stranger")
	v.logInToNotes(base)

	v.addNote("buy <b>tea</b>")
	v.await(`document.querySelector("#list").textContent === "buy <b>tea</b>"`)
	a.shoot(v, "notes")
	v.wantNoToken(base)

	v.click("#logout button")
	v.wantAt(base + "/")
	v.wantStranger()
	v.back()
	v.wantStranger()

	// The session ends while the page is open. The next request tells, and nothing else happens.
	v.open(base + "/")
	v.logInToNotes(base)
	v.forgetCookies()
	v.addNote("sell tea")
	v.wantStranger()
	v.wantAt(base + "/")
	v.logInToNotes(base)
	v.wantText("#list", "buy <b>tea</b>")

	// The back button may show the page as it was left. The page then asks again.
	v.forgetCookies()
	evaluate[bool](v, `dispatchEvent(new PageTransitionEvent("pageshow", { persisted: true }))`)
	v.wantStranger()

	// A tab that comes back to the front asks who is signed in.
	v.logInToNotes(base)
	if name := evaluate[string](v, `fetch("/auth/session").then(answer => answer.json()).then(session => session.name)`); name != "Alice Example" {
		v.Errorf("/auth/session says %q is signed in", name)
	}
	v.forgetCookies()
	evaluate[bool](v, `dispatchEvent(new Event("visibilitychange"))`)
	v.wantStranger()
	v.wantNoProblems()

	newVisitor(t, chromium).wantScriptRefused(base)
}

// logInToNotes follows the link to the login, in the same tab, and comes back to the page.
func (v *tab) logInToNotes(base string) {
	v.Helper()
	v.wantStranger()
	v.click("#login")
	v.wantText("h1", "Who are you?")
	v.click(`button[value="alice"]`)
	v.wantAt(base + "/")
	v.await(`!document.querySelector("#notes").hidden`)
	v.wantText("#name", "Alice Example")
}

// wantStranger waits until the page offers the login, and fails the test if it still shows notes.
func (v *tab) wantStranger() {
	v.Helper()
	v.await(`!document.querySelector("#login").hidden`)
	v.wantText("#message", "You are not signed in.")
	v.wantText("#list", "")
	if evaluate[bool](v, `!document.querySelector("#notes").hidden || !document.querySelector("#logout").hidden`) {
		v.Error("a stranger sees the notes")
	}
}

func (v *tab) addNote(text string) {
	v.Helper()
	evaluate[bool](v, fmt.Sprintf(`(field => { field.value = %q; field.form.requestSubmit(); return true })(document.querySelector("#text"))`, text))
}

// await waits until an expression of the page is true.
func (v *tab) await(expression string) {
	v.Helper()
	evaluate[bool](v, `new Promise(done => { (function look() { `+expression+` ? done(true) : setTimeout(look, 20) })() })`)
}

// forgetCookies makes the browser lose all cookies.
func (v *tab) forgetCookies() {
	v.Helper()
	forget := chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, network.ClearBrowserCookies, cdp.Empty{})
		return err
	})
	run(v, "clearing the cookies", forget)
}

// wantNoToken fails the test if a script of the page can read anything of the session, or if the API
// tells it more than the page shows.
func (v *tab) wantNoToken(base string) {
	v.Helper()
	type readable struct{ Cookie, Address, Storage, Answer string }
	got := evaluate[readable](v, `fetch("/api/notes").then(async answer => ({
		Cookie: document.cookie, Address: location.href, Storage: JSON.stringify([{...localStorage}, {...sessionStorage}]),
		Answer: Object.keys(await answer.json()).sort().join(" ")}))`)
	want := readable{"", base + "/", "[{},{}]", "logout_url name notes"}
	if got != want {
		v.Errorf("readable by scripts: got %+v, want %+v", got, want)
	}
	for _, c := range v.cookies(base) {
		if !c.HTTPOnly {
			v.Errorf("scripts can read the cookie %s", c.Name)
		}
	}
}

// wantScriptRefused fails the test if the page has a script or a style of its own, or would run one.
func (v *tab) wantScriptRefused(base string) {
	v.Helper()
	v.open(base + "/")
	v.wantStranger()
	if n := evaluate[int](v, `document.querySelectorAll("script:not([src]), style, [style], [onclick], [onsubmit]").length`); n != 0 {
		v.Errorf("%d elements have script or style in the page", n)
	}
	ran := evaluate[bool](v, `(script => { script.textContent = "window.ran = true"; document.body.append(script); return window.ran === true })(document.createElement("script"))`)
	if ran {
		v.Error("a script in the page runs")
	}
}

// startSPA starts the example, and returns its address.
func startSPA(t *testing.T) string {
	t.Helper()
	addr := freeAddress(t)
	spa := exec.Command(buildExample(t, "spa"))
	spa.Env = append(os.Environ(), "ADDR="+addr, "BASE_URL=http://"+strings.Replace(addr, "127.0.0.1", "localhost", 1), "OIDC_ISSUER=")
	spa.Stderr = t.Output()
	spa.WaitDelay = patience
	if err := spa.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = spa.Process.Kill()
		_ = spa.Wait() // it was killed
	})
	awaitListener(t, addr)
	return "http://" + strings.Replace(addr, "127.0.0.1", "localhost", 1)
}

// freeAddress finds a port for a process that cannot tell which one it took.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 15000+rand.IntN(5000))
		if l, err := net.Listen("tcp", addr); err == nil {
			_ = l.Close()
			return addr
		}
	}
	t.Fatal("no free port of 127.0.0.1 from 15000 to 19999")
	return ""
}

func awaitListener(t *testing.T, addr string) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if conn, err := net.Dial("tcp", addr); err == nil {
			_ = conn.Close()
			return
		}
	}
	t.Fatalf("nobody listens on %s", addr)
}
