package oidcgate_test

import (
	"net/http"
	"strings"
	"testing"

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
	t.Run("a guard names it, also for another account", func(t *testing.T) {
		w, staff := severalProviders(t)
		w.guardedBy(oidcgate.LoginWith(at("staff")), oidcgate.Claim("groups", "nobody has it"))
		leadsTo(w, w.get("/app").location(), staff)
		w.get(w.get(w.get(w.gate.LoginURL("/app", at("."))).location()).location())
		leadsTo(w, w.anotherAccount(w.get("/app", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document")), staff)
	})
	t.Run("C025 one more login is at the provider of the session", func(t *testing.T) {
		w, _ := severalProviders(t)
		w.get(w.get(w.get(w.gate.LoginURL("/app", at("."))).location()).location())
		w.guardedBy(oidcgate.LoginWith(at("staff")), oidcgate.ACR("gold"))
		leadsTo(w, w.get("/app").location(), w.op)
	})
	t.Run("Config names it for all logins, whatever a link says, but not for linkings", func(t *testing.T) {
		l := newLinked(t, func(c *oidcgate.Config) {
			c.LoginOptions = func(*http.Request) oidcgate.LoginOptions { return at(".") }
		})
		leadsTo(l.world, "/auth/login", l.op)
		leadsTo(l.world, "/auth/login?provider=staff", l.op)
		leadsTo(l.world, l.gate.LoginURL("/app", at("staff")), l.staff)
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
