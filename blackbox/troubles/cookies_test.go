package troubles_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/oidcgate/oidcgate/blackbox/internal/chromium"
	"github.com/oidcgate/oidcgate/blackbox/internal/rp"
)

// A Chromium whose settings block all cookies.
func TestTroublesWithCookies(t *testing.T) {
	base := rp.NewBaseURL(t)
	op := startProvider(t, base)
	shop, q := rp.Start(t, options(base, op.Issuer())), newQuote(words(base, op.Issuer())...)
	status, body := openWithoutCookies(t, base+"/app")
	q.page(t, status, body)
	q.line(t, shop.Stderr, "login.failed")
	q.check(t, "cookies blocked")
}

// openWithoutCookies opens an address and returns the page at which the browser ends.
func openWithoutCookies(t *testing.T, address string) (status int, body string) {
	t.Helper()
	profile := t.TempDir()
	if err := os.Mkdir(filepath.Join(profile, "Default"), 0o700); err != nil {
		t.Fatal(err)
	}
	settings := `{"profile":{"default_content_setting_values":{"cookies":2}}}`
	if err := os.WriteFile(filepath.Join(profile, "Default", "Preferences"), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	allocator, end := chromedp.NewExecAllocator(context.Background(), chromium.Options(t, chromedp.UserDataDir(profile))...)
	t.Cleanup(end)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(cancel)
	response, err := chromedp.RunResponse(ctx, chromedp.Navigate(address))
	if err != nil {
		t.Fatal(err)
	}
	body, err = chromedp.Run(ctx, chromedp.Evaluate[string]("document.documentElement.outerHTML"))
	if err != nil {
		t.Fatal(err)
	}
	if err := chromedp.Cancel(ctx); err != nil { // no process still writes to the profile when it is deleted
		t.Log(err)
	}
	return int(response.Status), body
}
