package oidcgatetest_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

func TestLogOut(t *testing.T) {
	for name, of := range map[string]struct{ provider, callback string }{
		"a provider without a name": {"", "/auth/callback"},
		"a provider with a name":    {"staff", "/auth/callback/staff"},
	} {
		t.Run("C125 "+name+" ends every session of the user and no other", func(t *testing.T) {
			p := oidcgatetest.NewProvider(t)
			registered := p.ProviderFor("http://localhost")
			registered.Name = of.provider
			p.AddClient(oidcgatetest.Client{
				ID: "test", Secret: "a secret of the test", RedirectURLs: []string{"http://localhost" + of.callback},
			})
			gate, err := oidcgate.New(oidcgate.Config{
				BaseURL: "http://localhost", HTTP: oidcgate.HTTPOptions{Transport: p.Transport()},
			}, registered)
			if err != nil {
				t.Fatal(err)
			}
			shop := gate.Wrap(gate.RequireAPI()(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
			bob := oidcgatetest.User{Subject: "bob"}
			first, second := p.SignIn(t, gate, shop, bob), p.SignIn(t, gate, shop, bob)
			alice := p.SignIn(t, gate, shop, oidcgatetest.User{})
			p.LogOut(t, shop, "bob")
			again := p.SignIn(t, gate, shop, bob) // at once, in the same second
			var got []int
			for _, browser := range []*http.Client{first, second, alice, again} {
				status, _ := get(t, browser, "http://localhost/")
				got = append(got, status)
			}
			if fmt.Sprint(got) != "[401 401 200 200]" {
				t.Errorf("bob's first and second session, alice's, bob's new one: %d", got)
			}
		})
	}
}

func TestSendLogout(t *testing.T) {
	p := oidcgatetest.NewProvider(t)
	p.Server()
	var handler http.Handler
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	t.Cleanup(service.Close)
	gate, err := oidcgate.New(oidcgate.Config{BaseURL: service.URL}, p.ProviderFor(service.URL))
	if err != nil {
		t.Fatal(err)
	}
	shop := gate.Wrap(gate.RequireAPI()(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
	elsewhere := http.RedirectHandler("/", http.StatusSeeOther)
	for _, row := range []struct {
		name    string
		handler http.Handler
		subject string
		want    string // of the error
		status  int    // of bob's page afterwards
	}{
		{"C125 a service that runs logs the user out", shop, "bob", "", http.StatusUnauthorized},
		{"the service redirects", elsewhere, "bob", "oidcgatetest: logging out: " + service.URL + "/auth/backchannel-logout answers 303; the gate's log says why", http.StatusOK},
		{"nobody of that name", shop, "eve", `oidcgatetest: logging out: "eve" has not logged in`, http.StatusOK},
	} {
		t.Run(row.name, func(t *testing.T) {
			handler = shop
			browser := p.SignIn(t, gate, shop, oidcgatetest.User{Subject: "bob"})
			handler = row.handler
			got := ""
			if err := p.SendLogout(t.Context(), service.Client(), row.subject); err != nil {
				got = err.Error()
			}
			if got != row.want {
				t.Errorf("the error %q, want %q", got, row.want)
			}
			if status, _ := get(t, browser, service.URL+"/"); status != row.status {
				t.Errorf("afterwards status %d, want %d", status, row.status)
			}
		})
	}
	t.Run("nobody answers", func(t *testing.T) {
		p.SignIn(t, gate, shop, oidcgatetest.User{Subject: "bob"})
		service.Close()
		err := p.SendLogout(t.Context(), http.DefaultClient, "bob")
		if err == nil || !strings.HasPrefix(err.Error(), "oidcgatetest: logging out: Post ") {
			t.Errorf("the error %v", err)
		}
	})
}

func TestLogOutFails(t *testing.T) {
	p := oidcgatetest.NewProvider(t)
	gate := newShop(t, p, nil)
	p.SignIn(t, gate, gate.Wrap(http.NotFoundHandler()), oidcgatetest.User{})
	for _, row := range []struct{ name, subject, want string }{
		{"nobody of that name", "bob", `oidcgatetest: logging out: "bob" has not logged in`},
		{"a handler that is not wrapped", "alice", "oidcgatetest: logging out: http://localhost/auth/backchannel-logout answers 404: the gate does not serve that path; is the handler gate.Wrap(...), behind http.StripPrefix where BaseURL has a path?"},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := &failing{T: t}
			defer func() {
				if recover() != f || f.said != row.want {
					t.Errorf("it said %q, want %q", f.said, row.want)
				}
			}()
			p.LogOut(f, http.NotFoundHandler(), row.subject)
		})
	}
}
