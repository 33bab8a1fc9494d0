package oidcgate_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/oidcgate/oidcgate/oidcgatetest"
)

func TestLoginAndLogout(t *testing.T) {
	w := newWorld(t)

	if a := w.get("/public"); a.StatusCode != http.StatusOK || a.body != "welcome" {
		t.Fatalf("/public: %d %q", a.StatusCode, a.body)
	}
	a := w.get(w.callbackURL("/app/orders?page=2"))
	if a.StatusCode != http.StatusSeeOther || a.location() != shopURL+"/app/orders?page=2" {
		t.Fatalf("after the login: %d to %q\n%s\n%s", a.StatusCode, a.location(), a.body, w.logged())
	}
	if a := w.get(a.location()); a.StatusCode != http.StatusOK || !strings.Contains(a.body, `"sub":"alice"`) {
		t.Fatalf("the page that was asked for: %d %s", a.StatusCode, a.body)
	}
	if a := w.get("/admin"); a.StatusCode != http.StatusForbidden {
		t.Errorf("/admin without the group: %d, want 403", a.StatusCode)
	}

	a = w.send(w.browser, http.MethodPost, "/auth/logout", "", "Sec-Fetch-Site: same-origin")
	if a.StatusCode != http.StatusSeeOther || !strings.HasPrefix(a.location(), w.op.Issuer()) {
		t.Fatalf("logout: %d to %q\n%s", a.StatusCode, a.location(), a.body)
	}
	if got := w.subject(); got != "" {
		t.Errorf("signed in after the logout: %q", got)
	}
	a = w.get(a.location()) // the provider's logout
	if !strings.HasPrefix(a.location(), shopURL+"/auth/logout/done?") {
		t.Fatalf("the provider's logout: %d to %q\n%s", a.StatusCode, a.location(), a.body)
	}
	if a = w.get(a.location()); a.StatusCode != http.StatusOK || !strings.Contains(a.body, "Signed out") {
		t.Errorf("after the provider's logout: %d\n%s", a.StatusCode, a.body)
	}
	if n := w.op.Count(oidcgatetest.Token); n != 1 {
		t.Errorf("%d token calls, want 1", n)
	}
}

func TestFormPostedWithoutASession(t *testing.T) {
	for _, row := range []struct{ name, referer, link string }{
		{"the login leads back to the page with the form", shopURL + "/checkout?step=2", shopURL + "/auth/login?return_to=%2Fcheckout%3Fstep%3D2"},
		{"a page of another site is nothing to go back to", "https://shop.test.evil.example/checkout", shopURL + "/auth/login"},
		{"a browser that does not say", "", shopURL + "/auth/login"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			a := w.send(w.browser, http.MethodPost, "/app", "a=b", "Sec-Fetch-Mode: navigate", "Referer: "+row.referer)
			if a.StatusCode != http.StatusUnauthorized || !strings.Contains(a.body, `href="`+row.link+`"`) {
				t.Errorf("%d, want a link to %s\n%s", a.StatusCode, row.link, a.body)
			}
		})
	}
}
