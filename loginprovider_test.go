package oidcgate_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

func TestLoginAtAProvider(t *testing.T) {
	at := func(name string) oidcgate.LoginOptions { return oidcgate.LoginOptions{Provider: name} }
	// leadsTo checks that an address of a login leads to the provider, without a choice.
	leadsTo := func(w *world, address string, op *oidcgatetest.Provider) {
		w.Helper()
		if a := w.get(address); !strings.HasPrefix(a.location(), op.Issuer()+"/") {
			w.Errorf("%s: %d to %q, want %s\n%s", address, a.StatusCode, a.location(), op.Issuer(), a.body)
		}
	}
	t.Run("LoginURL names it, also the one without a name", func(t *testing.T) {
		w, staff := severalProviders(t)
		leadsTo(w, w.gate.LoginURL("/app", at("staff")), staff)
		leadsTo(w, w.gate.LoginURL("/app", at(".")), w.op)
		leadsTo(w, w.gate.LoginURL("/app", oidcgate.LoginOptions{UILocales: []string{"de"}}, at("staff")), staff)
		if a := w.get(w.gate.LoginURL("/app", at(""))); a.StatusCode != http.StatusOK || !strings.Contains(a.body, ">staff<") {
			t.Errorf("without a provider: %d to %q\n%s", a.StatusCode, a.location(), a.body)
		}
	})
	t.Run("a wrong return path is told of once, also where the visitor chooses", func(t *testing.T) {
		w, _ := severalProviders(t)
		w.get("/auth/login?return_to=https://evil.example/")
		if got := w.eventsOf(oidcgate.EventReturnToRejected); len(got) != 1 {
			t.Errorf("%d events: %+v", len(got), got)
		}
	})
	t.Run("a guard names it, also for another account", func(t *testing.T) {
		w, staff := severalProviders(t)
		w.guardedBy(oidcgate.LoginWith(at("staff")), oidcgate.Claim("groups", "nobody has it"))
		leadsTo(w, w.get("/app").location(), staff)
		w.get(w.get(w.get(w.gate.LoginURL("/app", at("."))).location()).location())
		leadsTo(w, w.anotherAccount(w.get("/app", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document")), staff)
	})
	t.Run("C024 a login that failed is begun again at the same provider", func(t *testing.T) {
		options := oidcgate.LoginOptions{Provider: "staff", LoginHint: "bob"}
		for name, address := range map[string]func(w *world) string{
			"with the same options": func(w *world) string { return w.gate.LoginURL("/app", options) },
			"with those that the link has in sight": func(*world) string {
				return "/auth/login?provider=staff&return_to=/app&login_hint=bob"
			},
		} {
			t.Run(name+", where the provider did not answer", func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w, staff := severalProviders(t)
					provider := oidcgate.Provider{
						Name: "staff", Issuer: staff.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret),
						Request: oidcgate.RequestOptions{LinkParams: []string{"login_hint"}},
					}
					w.open(oidcgate.Provider{Issuer: w.op.Issuer(), ClientID: "shop", Auth: provider.Auth}, provider)
					staff.Inject(oidcgatetest.Discovery, oidcgatetest.Answer(503, "", ""))
					refused := w.get(address(w))
					w.denied(refused, http.StatusServiceUnavailable, oidcgate.ReasonProviderUnreachable)
					time.Sleep(time.Minute)
					again := w.get(linkTo(t, refused.body, "Log in again"))
					if !strings.HasPrefix(again.location(), staff.Issuer()) || !strings.Contains(again.location(), "login_hint=bob") {
						t.Fatalf("%d to %q\n%s", again.StatusCode, again.location(), again.body)
					}
					if end := w.get(w.get(again.location()).location()); end.location() != shopURL+"/app" {
						t.Errorf("it ends with %d at %q", end.StatusCode, end.location())
					}
				})
			})
		}
		t.Run("without other options, where the browser came back", func(t *testing.T) {
			w, staff := severalProviders(t)
			staff.Inject(oidcgatetest.Token, oidcgatetest.Answer(503, "", ""))
			refused := w.get(w.callbackURL(w.gate.LoginURL("/app", options)))
			address := linkTo(t, refused.body, "Log in again")
			if address != shopURL+"/auth/login?provider=staff&return_to=%2Fapp" {
				t.Errorf("the address is %s", address)
			}
			leadsTo(w, address, staff)
			if a := w.get("/auth/callback?code=a&state=b"); linkTo(t, a.body, "Log in again") != shopURL+"/auth/login?provider=." {
				t.Errorf("the provider without a name:\n%s", a.body)
			}
		})
		t.Run("not where the service is set up wrongly: another may work", func(t *testing.T) {
			w, staff := severalProviders(t)
			staff.Inject(oidcgatetest.Token, oidcgatetest.Answer(401, "", ""))
			refused := w.get(w.callbackURL(w.gate.LoginURL("/app", options)))
			if got := linkTo(t, refused.body, "Log in again"); got != shopURL+"/auth/login?return_to=%2Fapp" {
				t.Errorf("the address is %s", got)
			}
		})
		t.Run("and a linking is not begun again as a login", func(t *testing.T) {
			l := newLinked(t)
			l.signIn()
			l.staff.Inject(oidcgatetest.Discovery, oidcgatetest.Answer(503, "", ""))
			a := l.get(l.address())
			l.denied(a, http.StatusServiceUnavailable, oidcgate.ReasonProviderUnreachable)
			if strings.Contains(a.body, "Log in again") {
				t.Errorf("got\n%s", a.body)
			}
		})
	})
	t.Run("C025 one more login is at the provider of the session", func(t *testing.T) {
		w, _ := severalProviders(t)
		w.get(w.get(w.get(w.gate.LoginURL("/app", at("."))).location()).location())
		w.guardedBy(oidcgate.LoginWith(at("staff")), oidcgate.ACR("gold"))
		leadsTo(w, w.get("/app").location(), w.op)
	})
	t.Run("Config names it where neither LoginURL nor a guard does, and not for linkings", func(t *testing.T) {
		l := newLinked(t, func(c *oidcgate.Config) {
			c.LoginOptions = func(*http.Request) oidcgate.LoginOptions { return at(".") }
		})
		leadsTo(l.world, "/auth/login", l.op)
		leadsTo(l.world, "/auth/login?provider=staff", l.op)
		leadsTo(l.world, l.gate.LoginURL("/app", at("staff")), l.staff)
		guarded := l.gate.Wrap(l.gate.Require(oidcgate.LoginWith(at("staff")))(http.NotFoundHandler()))
		rec := httptest.NewRecorder()
		guarded.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, shopURL+"/app", nil))
		leadsTo(l.world, rec.Header().Get("Location"), l.staff)
		l.signIn()
		leadsTo(l.world, l.address(), l.staff)
	})
	t.Run("a name that the gate does not know refuses the login, and the log says so", func(t *testing.T) {
		several, _ := severalProviders(t)
		for _, w := range []*world{several, newWorld(t)} {
			w.denied(w.get(w.gate.LoginURL("", at("stuff"))), http.StatusInternalServerError, oidcgate.Reason("login_options"))
			if log := w.logged(); !strings.Contains(log, `no provider has the name \"stuff\"`) {
				t.Errorf("the log says %s", log)
			}
		}
	})
	t.Run("the login of one provider cannot name another", func(t *testing.T) {
		w := newWorld(t)
		w.config.Logger = nil
		_, err := oidcgate.New(w.config, oidcgate.Provider{
			Issuer: w.op.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret),
			Request: oidcgate.RequestOptions{Login: at("staff")},
		})
		if err == nil || !strings.Contains(err.Error(), "Request.Login.Provider: ") {
			t.Errorf("%v", err)
		}
	})
}
