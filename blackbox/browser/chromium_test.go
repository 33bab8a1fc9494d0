package browser_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/oidcgate/oidcgate/blackbox/internal/chromium"
)

// patience is the time limit for one visitor in one test. Only a failing test reaches it.
const patience = time.Minute

// startChromium starts a browser that ends with the test, and returns the context from which its
// tabs are created.
func startChromium(t *testing.T, flags ...chromedp.ExecAllocatorOption) context.Context {
	t.Helper()
	allocator, end := chromedp.NewExecAllocator(context.Background(), chromium.Options(t, flags...)...)
	t.Cleanup(end)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	t.Cleanup(func() { quit(t, ctx) })
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("starting chromium: %v", err)
	}
	return ctx
}

// quit asks the browser to end, so that no process still writes to the profile when it is deleted.
// If the browser does not end, the cancelled context kills it.
func quit(t *testing.T, chromium context.Context) {
	ctx, cancel := context.WithTimeout(chromium, patience)
	defer cancel()
	if err := chromedp.Cancel(ctx); err != nil {
		t.Logf("closing chromium: %v", err)
	}
}

// tab is a tab of the browser, with its network requests and the errors of its console.
type tab struct {
	*testing.T
	ctx context.Context

	mu       sync.Mutex
	requests map[network.RequestID]string // addresses of documents that are being loaded
	visited  []string                     // the same in order, including redirects
	refused  []string                     // addresses that the browser refused to show in a frame
	problems []string
}

// newVisitor opens a new browser window without cookies, cache and history.
func newVisitor(t *testing.T, chromium context.Context) *tab {
	t.Helper()
	return openTab(t, chromium, chromedp.WithNewBrowserContext())
}

// anotherTab opens a second tab with the same cookies as v.
func (v *tab) anotherTab() *tab {
	v.Helper()
	return openTab(v.T, v.ctx)
}

func openTab(t *testing.T, parent context.Context, options ...chromedp.ContextOption) *tab {
	t.Helper()
	v := &tab{T: t, requests: make(map[network.RequestID]string)}
	ctx, closeTab := chromedp.NewContext(parent, append(options, chromedp.WithListener(v.listen))...)
	t.Cleanup(closeTab)
	ctx, cancel := context.WithTimeout(ctx, patience)
	t.Cleanup(cancel)
	v.ctx = ctx
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("opening a tab: %v", err)
	}
	return v
}

// open goes to an address as if it were typed, and waits for the final page.
func (v *tab) open(address string) *network.Response {
	v.Helper()
	return v.land("opening "+address, chromedp.Navigate(address))
}

// click clicks what the selector finds, where it is on the screen, and waits for the page that
// follows. chromedp.Click does not work after the back button has restored a page, because its copy
// of the page's tree is lost then.
func (v *tab) click(selector string) *network.Response {
	v.Helper()
	type point struct{ X, Y float64 }
	at := evaluate[point](v, fmt.Sprintf(`(e => { e.scrollIntoView({block: "center", behavior: "instant"});
		const r = e.getBoundingClientRect(); return {X: r.x + r.width / 2, Y: r.y + r.height / 2} })(document.querySelector(%q))`, selector))
	return v.land("clicking "+selector, chromedp.MouseClickXY(at.X, at.Y))
}

func (v *tab) land(what string, action chromedp.Action[chromedp.Void]) *network.Response {
	v.Helper()
	response, err := chromedp.RunResponse(v.ctx, action)
	if err != nil || response == nil {
		v.Fatalf("%s: response %v, error %v; visited:\n%s", what, response, err, strings.Join(v.documents(), "\n"))
	}
	return response
}

// back presses the back button and waits for the page. chromedp.NavigateBack would wait for a load
// event, which a page restored from the back/forward cache does not fire.
func (v *tab) back() {
	v.Helper()
	entries := run(v, "reading the history", chromedp.NavigationEntries())
	if entries.CurrentIndex == 0 {
		v.Fatal("going back: this is the first page")
	}
	press := chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		id := entries.Entries[entries.CurrentIndex-1].ID
		_, err := cdp.Call(ctx, t, page.NavigateToHistoryEntry, page.NavigateToHistoryEntryParams{EntryID: id})
		return err
	})
	inMainFrame := func(e page.EventFrameNavigated) bool { return e.Frame.ParentID == "" }
	run(v, "going back", chromedp.WaitEvent(page.FrameNavigated, inMainFrame, press))
	evaluate[bool](v, `new Promise(done => document.readyState === "complete" ? done(true) : addEventListener("load", () => done(true)))`)
}

func (v *tab) reload() {
	v.Helper()
	v.land("reloading", chromedp.Reload())
}

// address returns the address in the address bar.
func (v *tab) address() string {
	v.Helper()
	entries := run(v, "reading the address", chromedp.NavigationEntries())
	return entries.Entries[entries.CurrentIndex].URL
}

// history lists the addresses that the back button can reach, and the current one.
func (v *tab) history() []string {
	v.Helper()
	var addresses []string
	for _, entry := range run(v, "reading the history", chromedp.NavigationEntries()).Entries {
		addresses = append(addresses, entry.URL)
	}
	return addresses
}

// cookies returns the cookies that the browser would send to an address.
func (v *tab) cookies(address string) []*network.Cookie {
	v.Helper()
	result, err := chromedp.Call(v.ctx, network.GetCookies, network.GetCookiesParams{URLs: []string{address}})
	if err != nil {
		v.Fatalf("reading the cookies of %s: %v", address, err)
	}
	return result.Cookies
}

func (v *tab) cookieNames(address string) []string {
	v.Helper()
	var names []string
	for _, c := range v.cookies(address) {
		names = append(names, c.Name)
	}
	return names
}

// evaluate runs a script in the page and waits for its promise, if it is one.
func evaluate[R any](v *tab, script string) R {
	v.Helper()
	return run(v, "running a script", chromedp.Evaluate[R](script, chromedp.EvalAwaitPromise))
}

func run[R any](v *tab, what string, action chromedp.Action[R]) R {
	v.Helper()
	result, err := chromedp.Run(v.ctx, action)
	if err != nil {
		v.Fatalf("%s: %v", what, err)
	}
	return result
}

// text returns the text of the first element that the selector finds, or "" if there is none.
func (v *tab) text(selector string) string {
	v.Helper()
	return evaluate[string](v, fmt.Sprintf(`document.querySelector(%q)?.textContent ?? ""`, selector))
}

// documents lists the addresses of the documents that the tab has requested since it was opened.
func (v *tab) documents() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.visited)
}

// refusedFrames lists the addresses that the browser refused to show in a frame.
func (v *tab) refusedFrames() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.refused)
}

// wantAt fails the test unless the tab shows that address.
func (v *tab) wantAt(want string) {
	v.Helper()
	if got := v.address(); got != want {
		v.Fatalf("address: got %s, want %s", got, want)
	}
}

// wantText fails the test unless the element has that text.
func (v *tab) wantText(selector, want string) {
	v.Helper()
	if got := v.text(selector); got != want {
		v.Fatalf("%s at %s: got %q, want %q", selector, v.address(), got, want)
	}
}

// wantNoProblems fails the test if the console of the tab has an error or the browser rejected a
// cookie.
func (v *tab) wantNoProblems() {
	v.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.problems) > 0 {
		v.Errorf("the browser complains:\n%s", strings.Join(v.problems, "\n"))
	}
}

func (v *tab) complain(format string, args ...any) {
	v.problems = append(v.problems, fmt.Sprintf(format, args...))
}
