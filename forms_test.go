package oidcgate_test

import (
	"net/http"
	"testing"
)

// The line that docs/getting-started.md gives for the application's own forms.
func TestOwnForms(t *testing.T) {
	inside := func(w *world) http.Handler {
		return w.gate.Wrap(http.NewCrossOriginProtection().Handler(w.shop()))
	}
	outside := func(w *world) http.Handler {
		return http.NewCrossOriginProtection().Handler(w.gate.Wrap(w.shop()))
	}
	t.Run("posts of other sites and of other hosts are refused, the site's own are served", func(t *testing.T) {
		w := newWorld(t)
		w.handler = inside(w)
		w.login()
		for _, row := range []struct {
			from   string
			status int
		}{
			{"Sec-Fetch-Site: same-origin", http.StatusOK},
			{"Origin: " + shopURL, http.StatusOK}, // a browser without Fetch Metadata
			{"Sec-Fetch-Site: same-site", http.StatusForbidden},
			{"Sec-Fetch-Site: cross-site", http.StatusForbidden},
			{"Origin: https://other.example", http.StatusForbidden},
		} {
			if a := w.send(w.browser, http.MethodPost, "/whoami", "x=y", row.from); a.StatusCode != row.status {
				t.Errorf("%s: %d, want %d", row.from, a.StatusCode, row.status)
			}
		}
	})
	t.Run("inside Wrap it lets the provider's post to the callback pass, outside it does not", func(t *testing.T) {
		w := newWorld(t, answering("code", "form_post"))
		w.handler = inside(w)
		address, posted := w.response("/app")
		if a := w.arrive(address, posted); a.StatusCode != http.StatusSeeOther || a.location() != shopURL+"/app" {
			t.Errorf("inside: %d to %q\n%s", a.StatusCode, a.location(), a.body)
		}
		w.handler = outside(w)
		address, posted = w.response("/app")
		if a := w.arrive(address, posted); a.StatusCode != http.StatusForbidden {
			t.Errorf("outside: %d, want 403", a.StatusCode)
		}
	})
}
