package browser_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
	"github.com/oidcgate/oidcgate/store"
)

// TestPagesInChromium shows the gate's own pages in each language and on each screen: nothing is
// wider than the screen, what is clicked is as large as a finger, texts can be read, and the browser
// has nothing to complain about. With SCREENSHOTS it stores pictures in the directory of that name.
func TestPagesInChromium(t *testing.T) {
	sites := startSites(t)
	chromium := startChromium(t, sites.flags()...)
	looks := []struct {
		name  string
		pages oidcgate.PageOptions
	}{
		{"name", oidcgate.PageOptions{Name: "Donaudampfschifffahrtsgesellschaftskapitänsmützen"}},
		{"logo", oidcgate.PageOptions{Name: "Tide & Leaf", Logo: leaf, Accent: "#ffcc33", AccentDark: "#14171c"}},
	}
	for _, look := range looks {
		for _, language := range []string{"en", "de", "fr"} {
			t.Run(look.name+" "+language, func(t *testing.T) {
				a := &album{scene: &scene{T: t, chromium: chromium, sites: sites}, name: look.name + "-" + language, language: language}
				a.openShop(look.pages)
				a.visitPages()
				a.openShop(look.pages, "fragment")
				a.visitRelay()
				a.openShop(look.pages, "form_post")
				a.visitRelay()
			})
		}
	}
}

// leaf is a picture that is wider than a phone.
const leaf = "data:image/svg+xml;base64,PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmciIHdpZHRoPSI5MDAiIGhlaWdodD0iMTIwIj48cmVjdCB3aWR0aD0iOTAwIiBoZWlnaHQ9IjEyMCIgcng9IjMwIiBmaWxsPSIjMWY1YzQ2Ii8+PC9zdmc+"

// album takes pictures of pages.
type album struct {
	*scene
	name, language string
	ill            *illStore
}

// illStore is a store that can fail.
type illStore struct {
	store.Memory
	ill atomic.Bool
}

func (s *illStore) Get(ctx context.Context, key string) ([]byte, error) {
	if s.ill.Load() {
		return nil, errors.New("the store is ill")
	}
	return s.Memory.Get(ctx, key)
}

// openShop serves a shop with three providers: one that works, one with a long name that does not
// answer, and one that is set up wrongly. With a mode there is the first alone.
func (a *album) openShop(pages oidcgate.PageOptions, mode ...string) {
	op := oidcgatetest.NewProvider(a.T, oidcgatetest.Config{Issuer: idURL, Algorithm: "ES256", LoginPage: loginPage})
	op.AddClient(oidcgatetest.Client{ID: "shop", Secret: "the shop's secret", RedirectURLs: []string{shopURL + "/auth/callback"}})
	good := oidcgate.Provider{
		Issuer: idURL, Label: "Teahouse ID", ClientID: "shop", Auth: oidcgate.ClientSecretBasic("the shop's secret"),
		Scopes: []string{"profile"}, Verification: oidcgate.Verification{SigningAlgs: []string{"ES256"}},
		Request: oidcgate.RequestOptions{ThirdParty: true},
	}
	down := oidcgate.Provider{
		Name: "down", Label: "Donaudampfschifffahrtsgesellschaft Mitarbeiterverzeichnis", Issuer: "https://down.test", ClientID: "shop",
		Auth: oidcgate.ClientSecretBasic("secret"),
	}
	wrong := good
	wrong.Name, wrong.Label = "wrong", "Harbour Pass"
	wrong.Auth = oidcgate.ClientAssertion(func(context.Context) (string, error) { return "", errors.New("no assertion") })
	wrong.Request.Pushed = oidcgate.PushedRequired
	wrong.Endpoints.PushedAuthorization = idURL + "/par"
	providers := []oidcgate.Provider{good, down, wrong}
	if len(mode) > 0 {
		good.Request.ResponseMode = mode[0]
		providers = []oidcgate.Provider{good}
	}
	a.ill = new(illStore)
	gate, err := oidcgate.New(oidcgate.Config{
		BaseURL: shopURL, Store: a.ill, Keys: newKeys(a.T), Pages: pages,
		HTTP:      oidcgate.HTTPOptions{Transport: a.sites.transport(a.T)},
		Logger:    slog.New(slog.NewTextHandler(a.Output(), nil)),
		HomeRealm: func(string) (string, bool) { return "", false },
	}, providers...)
	if err != nil {
		a.Fatal(err)
	}
	a.Cleanup(func() { closeGate(a.T, gate) })
	mux := http.NewServeMux()
	mux.Handle("/", gate.Wrap(shop(gate)))
	mux.Handle("/admin", gate.Wrap(gate.Require(oidcgate.Claim("groups", "admin"))(shop(gate))))
	mux.Handle("/bare", gate.Require()(shop(gate)))
	a.sites.id.serve(op)
	a.sites.shop.serve(mux)
	a.sites.evil.serve(http.HandlerFunc(serveEvil))
}

// visitPages visits pages of every kind.
func (a *album) visitPages() {
	v := a.reader()
	v.open(shopURL + "/")
	v.click("#order")
	a.shoot(v, "not-sent")
	v.open(shopURL + "/auth/login?return_to=/account")
	a.shoot(v, "choose")
	evaluate[bool](v, `document.querySelector("input[type=email]").value = "ada@nowhere.test", true`)
	v.click("button")
	a.shoot(v, "choose-unknown")
	for _, p := range []struct{ name, path string }{
		{"failed-unknown", "/auth/callback?code=c&state=s"},
		{"failed-down", "/auth/login?provider=down"},
		{"failed-site", "/auth/login?provider=wrong"},
		{"refused-issuer", "/auth/initiate?iss=https://x.test"},
		{"refused-bare", "/bare"},
	} {
		v.open(shopURL + p.path)
		a.shoot(v, p.name)
	}
	v.open(shopURL + "/auth/login?provider=.")
	v.click("#nobody")
	a.shoot(v, "failed-cancelled")
	v.open(shopURL + "/auth/login?provider=.&return_to=/account")
	v.click("#alice")
	v.wantText("#who", "Alice Example")
	for _, p := range []struct{ name, path string }{
		{"forbidden", "/admin"}, {"logout", "/auth/logout"},
	} {
		v.open(shopURL + p.path)
		a.shoot(v, p.name)
	}
	v.open(evil("form", "/auth/logout"))
	v.click("#go")
	a.shoot(v, "still-in")
	a.ill.ill.Store(true)
	v.open(shopURL + "/account")
	a.shoot(v, "unavailable")
	a.ill.ill.Store(false)
	v.open(shopURL + "/auth/logout/done")
	a.shoot(v, "signed-out")
}

// visitRelay stops at the page that posts a response, because scripts are off.
func (a *album) visitRelay() {
	v := a.reader()
	v.open(shopURL + "/account")
	off := emulation.SetScriptExecutionDisabledParams{Value: true}
	if _, err := chromedp.Call(v.ctx, emulation.SetScriptExecutionDisabled, off); err != nil {
		a.Fatal(err)
	}
	v.click("#alice")
	name := "relay-fragment"
	if !strings.Contains(v.address(), "/auth/callback") {
		v.click("button") // the provider's own page
		name = "relay-form-post"
	}
	a.shoot(v, name)
}

// reader opens a browser of somebody who reads that language.
func (a *album) reader() *tab {
	v := newVisitor(a.T, a.chromium)
	header := network.SetExtraHTTPHeadersParams{Headers: network.Headers{"Accept-Language": a.language}}
	if _, err := chromedp.Call(v.ctx, network.SetExtraHTTPHeaders, header); err != nil {
		a.Fatal(err)
	}
	return v
}

var pageScreens = append([]screen{
	{"desktop-dark", 1280, 800, "dark", nil},
	{"phone-narrow", 320, 568, "light", []chromedp.EmulateViewportOption{chromedp.EmulateMobile, chromedp.EmulateTouch}},
}, screens...)

// shoot checks a page on every screen, and takes pictures of it.
func (a *album) shoot(v *tab, name string) {
	a.Helper()
	if got := evaluate[string](v, "document.documentElement.lang"); got != a.language {
		a.Errorf("%s is in %q", name, got)
	}
	for _, s := range pageScreens {
		run(v, "setting the screen", chromedp.EmulateViewport(s.width, s.height, s.options...))
		scheme := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: s.scheme}}}
		if _, err := chromedp.Call(v.ctx, emulation.SetEmulatedMedia, scheme); err != nil {
			a.Fatal(err)
		}
		faults := evaluate[[]string](v, fmt.Sprintf(pageFaults, s.width))
		if s.width < 350 && a.ill != nil { // it is the gate's own page
			faults = append(faults, evaluate[[]string](v, narrowFaults)...)
		}
		for _, fault := range faults {
			a.Errorf("%s on a %s: %s", name, s.name, fault)
		}
		dir := os.Getenv("SCREENSHOTS")
		if dir == "" {
			continue
		}
		picture := run(v, "taking a picture", chromedp.FullScreenshot(100))
		file := fmt.Sprintf("pages-%s-%s-%s.png", a.name, s.name, name)
		if err := os.WriteFile(filepath.Join(dir, file), picture, 0o644); err != nil {
			a.Fatal(err)
		}
	}
}

// narrowFaults lists the buttons of the gate's page that do not use the width of a narrow phone.
const narrowFaults = `[...document.querySelectorAll("main a, main button")]
	.filter(e => e.offsetWidth < document.querySelector("main p").offsetWidth).map(e => "narrower than its place: " + e.textContent)`

// pageFaults lists what is wrong with the layout of a page: anything wider than its card or header,
// targets that are too small (WCAG 2.2, 2.5.5), and texts whose contrast is too low (1.4.3).
const pageFaults = `(width => {
	const faults = [], page = document.documentElement
	if (page.scrollWidth > width) faults.push("it scrolls sideways: " + page.scrollWidth)
	const light = c => { const [r, g, b] = c.match(/[\d.]+/g).map(v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
		return .2126 * r + .7152 * g + .0722 * b }
	const ground = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor
		if (!c.endsWith(", 0)")) return c } return "rgb(255, 255, 255)" }
	for (const e of document.querySelectorAll("main, main *, header, header *")) {
		const r = e.getBoundingClientRect(), what = e.tagName + " " + e.textContent.trim().slice(0, 30)
		const card = e.closest("main, header").getBoundingClientRect()
		if (!r.width || ["SCRIPT", "NOSCRIPT", "FORM"].includes(e.tagName)) continue
		if (r.left < card.left || r.right > card.right + .5 || e.scrollWidth > Math.ceil(r.width) + 1) faults.push("wider than its place: " + what)
		if (["A", "BUTTON", "INPUT"].includes(e.tagName) && r.height < 44) faults.push("only " + r.height + " high: " + what)
		const a = light(getComputedStyle(e).color), b = light(ground(e)), contrast = (Math.max(a, b) + .05) / (Math.min(a, b) + .05)
		if (contrast < 4.5) faults.push("contrast " + contrast.toFixed(2) + ": " + what)
	}
	return faults
})(%d)`
