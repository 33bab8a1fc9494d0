package oidcgate_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/store"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// Each test of this file is about something that a real provider does. Strict is the default.

// failedLogin returns the event of the one login that failed.
func (w *world) failedLogin() oidcgate.Event {
	w.Helper()
	failed := w.eventsOf(oidcgate.EventLoginFailed)
	if len(failed) != 1 {
		w.Fatalf("%d events login.failed", len(failed))
	}
	return failed[0]
}

// explains checks that the event of the failed login has all parts in its detail or hint.
func (w *world) explains(parts ...string) {
	w.Helper()
	e := w.failedLogin()
	for _, part := range parts {
		if !strings.Contains(e.Detail+" | "+e.Hint, part) {
			w.Errorf("%q is neither in the detail %q nor in the hint %q", part, e.Detail, e.Hint)
		}
	}
}

// query sets parameters of an authorization response. An empty value removes one.
func query(pairs ...string) func(url.Values) {
	return func(q url.Values) {
		for i := 0; i < len(pairs); i += 2 {
			q.Set(pairs[i], pairs[i+1])
			if pairs[i+1] == "" {
				q.Del(pairs[i])
			}
		}
	}
}

func TestProviderRefusesTheClient(t *testing.T) {
	const json, clientHint = "application/json", "check client id, secret and authentication method"
	for _, row := range []struct {
		name   string
		status int
		body   string
	}{
		{"401 with a code of its own, as Apereo CAS", 401, `{"error":"no_such_thing"}`},
		{"401 without a word", 401, ""},
		{"200 with a code of its own, as GitHub", 200, `{"error":"incorrect_client_credentials"}`},
		{"400 invalid_client", 400, `{"error":"invalid_client"}`},
	} {
		t.Run("C054 "+row.name, func(t *testing.T) {
			w := newWorld(t)
			w.op.Always(oidcgatetest.Token, oidcgatetest.Answer(row.status, json, row.body))
			w.denied(w.get(w.callbackURL("/app")), http.StatusBadGateway, "token_endpoint_error")
			w.explains(clientHint)
		})
	}
	t.Run("C054 a secret that Basic encodes is a cause, as Canaille, LemonLDAP::NG and Glewlwyd have it", func(t *testing.T) {
		w := newWorld(t, func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Auth = oidcgate.ClientSecretBasic("a:b+c d%") })
		w.op.Always(oidcgatetest.Token, oidcgatetest.Answer(401, json, `{"error":"invalid_client"}`))
		w.denied(w.get(w.callbackURL("/app")), http.StatusBadGateway, "token_endpoint_error")
		w.explains("try client_secret_post")
	})
	t.Run("C054 a method that the provider does not announce is named", func(t *testing.T) {
		w := newWorld(t)
		w.op.Always(oidcgatetest.Discovery, oidcgatetest.EditJSON(func(m map[string]any) {
			m["token_endpoint_auth_methods_supported"] = []string{"private_key_jwt"}
			m["id_token_signing_alg_values_supported"] = []string{"RS256"}
		}))
		w.op.Always(oidcgatetest.Token, oidcgatetest.Answer(401, json, `{"error":"invalid_client"}`))
		w.denied(w.get(w.callbackURL("/app")), http.StatusBadGateway, "token_endpoint_error")
		w.explains("private_key_jwt", "client_secret_basic")
		if e := w.eventsOf(oidcgate.EventProviderReady); len(e) != 1 || !strings.Contains(e[0].Hint, "private_key_jwt") {
			t.Errorf("events %+v", e)
		}
	})
	t.Run("C016 C054 the provider's description is in the log without what it quotes, and on no page", func(t *testing.T) {
		w := newWorld(t)
		w.op.Always(oidcgatetest.Token, func(http.Handler) http.Handler {
			return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				_, password, _ := r.BasicAuth()
				rw.Header().Set("Content-Type", json)
				rw.WriteHeader(http.StatusBadRequest)
				_, _ = rw.Write([]byte(`{"error":"invalid_grant","error_description":"no code \n` + r.FormValue("code") + ` of ` + password + `"}`))
			})
		})
		a := w.get(w.callbackURL("/app"))
		w.denied(a, http.StatusBadGateway, "token_endpoint_error")
		w.explains(`"no code ?[hidden] of [hidden]"`)
		if strings.Contains(a.body, "no code") {
			t.Errorf("the page:\n%s", a.body)
		}
	})
	t.Run("F09 a null error is none", func(t *testing.T) {
		w := newWorld(t)
		w.op.Always(oidcgatetest.Token, oidcgatetest.EditJSON(func(m map[string]any) { m["error"], m["scope"] = nil, nil }))
		w.login()
	})
}

func TestProviderRepeatsAndLeavesOut(t *testing.T) {
	announced := oidcgatetest.EditJSON(func(m map[string]any) { m["authorization_response_iss_parameter_supported"] = true })
	t.Run("C033 an error and a state that stand twice are read once, as Apereo CAS sends them", func(t *testing.T) {
		w := newWorld(t)
		a := w.get(edited(t, w.callbackURL("/app"), func(q url.Values) {
			failed("error", "access_denied")(q)
			q.Add("error", "access_denied")
			q.Add("state", q.Get("state"))
		}))
		w.denied(a, http.StatusForbidden, "op_error:access_denied")
	})
	tolerant := func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Verification.ResponseIss = oidcgate.IssInCodes }
	without := func(q url.Values) {
		failed("error", "access_denied")(q)
		q.Del("iss")
	}
	t.Run("C031 an error without the iss that is announced, as Canaille sends it, is refused, and the log names the field", func(t *testing.T) {
		w := newWorld(t)
		w.op.Always(oidcgatetest.Discovery, announced)
		w.denied(w.get(edited(t, w.callbackURL("/app"), without)), http.StatusBadRequest, "iss_missing")
		w.explains("Verification.ResponseIss", "IssInCodes")
	})
	t.Run("C031 with IssInCodes it is read", func(t *testing.T) {
		w := newWorld(t, tolerant)
		w.op.Always(oidcgatetest.Discovery, announced)
		w.denied(w.get(edited(t, w.callbackURL("/app"), without)), http.StatusForbidden, "op_error:access_denied")
	})
	t.Run("C031 with IssInCodes a code needs its iss all the same", func(t *testing.T) {
		w := newWorld(t, tolerant)
		w.op.Always(oidcgatetest.Discovery, announced)
		w.denied(w.get(edited(t, w.callbackURL("/app"), query("iss", ""))), http.StatusBadRequest, "iss_missing")
	})
	t.Run("C035 a code with bytes that no code has is not claimed and not sent", func(t *testing.T) {
		f := newFleet(t, 1)
		to := f.callbackURL("/app")
		for _, call := range f.drill.during(func() {
			f.denied(f.get(edited(t, to, query("code", "a\x00b"))), http.StatusBadRequest, "response_invalid")
		}) {
			if strings.Contains(call, " a:") {
				t.Errorf("the store was asked to %s", call)
			}
		}
		f.tokenCalls(0)
	})
}

func TestProviderWithoutInteraction(t *testing.T) {
	silent := func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Request.Params = map[string]string{"prompt": "none"} }
	t.Run("C036 invalid_request begins one login that may ask, as Glewlwyd needs it", func(t *testing.T) {
		w := newWorld(t, silent)
		a := w.get(edited(t, w.callbackURL("/app"), failed("error", "invalid_request")))
		if a.StatusCode != http.StatusSeeOther || strings.Contains(a.location(), "prompt=none") {
			t.Fatalf("%d to %q", a.StatusCode, a.location())
		}
		a = w.get(edited(t, w.get(a.location()).location(), failed("error", "invalid_request")))
		w.denied(a, http.StatusBadGateway, "op_error:invalid_request")
	})
	t.Run("C119 prompt=none names the user who is signed in", func(t *testing.T) {
		w := newWorld(t, silent)
		if a := w.get("/auth/login"); strings.Contains(a.location(), "id_token_hint") {
			t.Errorf("a stranger is sent to %q", a.location())
		}
		w.login()
		if a := w.get("/auth/login"); !strings.Contains(a.location(), "id_token_hint=") {
			t.Errorf("alice is sent to %q", a.location())
		}
	})
	t.Run("C119 a login that may ask does not name the user who is signed in", func(t *testing.T) {
		w := newWorld(t)
		w.login()
		if q := w.authorization("/auth/login").Query(); q.Has("id_token_hint") {
			t.Errorf("asked with %v", q)
		}
	})
	t.Run("C119 the hint of the application wins over that of the session", func(t *testing.T) {
		w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.LoginOptions = func(*http.Request) oidcgate.LoginOptions {
				return oidcgate.LoginOptions{Prompt: "none", IDTokenHint: "of.the.application"}
			}
		})
		w.login()
		if got := w.authorization("/auth/login").Query()["id_token_hint"]; !slices.Equal(got, []string{"of.the.application"}) {
			t.Errorf("id_token_hint %q", got)
		}
	})
	for name, change := range map[string]func(w *world, ill *drill){
		"the tokens cannot be read": func(_ *world, ill *drill) { ill.fail(on("get t:", errIll), nil) },
		"the ID Token is too long": func(w *world, _ *drill) {
			w.op.EveryIDToken(func(j *oidcgatetest.JWT) { j.Claims["long"] = strings.Repeat("x", 2<<10) })
			w.browser = w.newBrowser()
			w.login()
		},
	} {
		t.Run("C119 prompt=none goes without a hint when "+name, func(t *testing.T) {
			ill := &drill{Store: &store.Memory{}}
			w := newWorld(t, silent, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Store = ill })
			w.login()
			change(w, ill)
			if q := w.authorization("/auth/login").Query(); q.Has("id_token_hint") || q.Get("prompt") != "none" {
				t.Errorf("asked with %v", q)
			}
		})
	}
	t.Run("C036 consent_required in a login that may ask is a user who refuses, as LemonLDAP::NG has it", func(t *testing.T) {
		w := newWorld(t)
		a := w.get(edited(t, w.callbackURL("/app"), failed("error", "consent_required", "error_description", "no consent")))
		w.denied(a, http.StatusForbidden, "op_error:consent_required")
		if !strings.Contains(a.body, "Login cancelled") || strings.Contains(a.body, "no consent") {
			t.Errorf("the page:\n%s", a.body)
		}
		w.explains(`"no consent"`, "the user refused")
	})
}

// stepUp begins a login that must be fresh, or have an acr, and returns where the browser goes.
func (w *world) sentUp(rule oidcgate.Rule) string {
	w.Helper()
	w.handler = w.gate.Wrap(w.gate.Require(rule)(http.HandlerFunc(w.whoami)))
	return w.get(w.get("/app", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document").location()).location()
}

func TestProviderIgnoresWhatItIsAsked(t *testing.T) {
	inBubble(t, "C025 max_age is ignored, as by Spring Authorization Server: a page of its own, and the cure", func(t *testing.T) {
		w := newWorld(t)
		w.op.EveryIDToken(func(j *oidcgatetest.JWT) { j.Claims["auth_time"] = 946684800 - 3600 })
		w.login()
		a := w.finishLogin(w.sentUp(oidcgate.MaxAge(time.Minute)))
		w.denied(a, http.StatusForbidden, "auth_time")
		if !strings.Contains(a.body, "A fresh login is needed") {
			t.Errorf("the page:\n%s", a.body)
		}
		w.explains("Request.PromptLogin", "1999-12-31T23:00:00Z")
	})
	t.Run("C025 PromptLogin adds prompt=login where there is a max_age", func(t *testing.T) {
		w := newWorld(t, func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Request.PromptLogin = true })
		if a := w.get("/auth/login"); strings.Contains(a.location(), "prompt=") {
			t.Errorf("%q", a.location())
		}
		w.op.EveryIDToken(func(j *oidcgatetest.JWT) { j.Claims["auth_time"] = time.Now().Add(-time.Hour).Unix() })
		w.login()
		if to := w.sentUp(oidcgate.MaxAge(time.Minute)); !strings.Contains(to, "prompt=login") || !strings.Contains(to, "max_age=60") {
			t.Errorf("%q", to)
		}
	})
	t.Run("C024 another acr than asked for, as from LemonLDAP::NG: 403, and the log names both", func(t *testing.T) {
		w := newWorld(t)
		w.op.EveryIDToken(func(j *oidcgatetest.JWT) { j.Claims["acr"] = "bronze\n" })
		w.login()
		a := w.finishLogin(w.sentUp(oidcgate.ACR("gold")))
		w.denied(a, http.StatusForbidden, "acr")
		if !strings.Contains(a.body, "A stronger login is needed") {
			t.Errorf("the page:\n%s", a.body)
		}
		w.explains(`"bronze?"`, `"gold"`)
	})
}

func TestTokensOfAnotherKind(t *testing.T) {
	for _, row := range []struct {
		name  string
		spoil func(*oidcgatetest.JWT)
		parts []string
	}{
		{"C058 iss", func(j *oidcgatetest.JWT) { j.Claims["iss"] = "https://other.test" }, []string{"https://other.test", "https://id.test"}},
		{"C059 aud", func(j *oidcgatetest.JWT) { j.Claims["aud"] = []string{"other"} }, []string{"other", "shop"}},
		{"C071 encrypted", func(j *oidcgatetest.JWT) { j.Finish = func(string) string { return "a.b.c.d.e" } }, []string{"is encrypted", "id_token_encrypted_response_alg"}},
		{"C067 none", (*oidcgatetest.JWT).Unsigned, []string{`"none"`, "id_token_signed_response_alg"}},
		{"C067 HS256", func(j *oidcgatetest.JWT) { j.Header["alg"] = "HS256" }, []string{`"HS256"`, "id_token_signed_response_alg"}},
	} {
		t.Run(row.name+": the log says what came and what was wanted", func(t *testing.T) {
			w := newWorld(t)
			w.op.NextIDToken(row.spoil)
			w.get(w.callbackURL("/app"))
			w.explains(row.parts...)
		})
	}
}

func TestProviderThatCannotBeReached(t *testing.T) {
	const document = "https://id.test/.well-known/openid-configuration"
	t.Run("F01 the login, the provider's event and Ready have the same hint and address", func(t *testing.T) {
		w := newWorld(t)
		w.op.Always(oidcgatetest.Discovery, oidcgatetest.Answer(404, "", ""))
		w.get("/auth/login")
		w.explains(document, "compare Issuer")
		told := append(w.eventsOf(oidcgate.EventProviderUnreachable), w.eventsOf(oidcgate.EventProviderRejected)...)
		if len(told) != 1 || told[0].Hint != w.failedLogin().Hint || !strings.Contains(told[0].Detail, document) {
			t.Errorf("events %+v", told)
		}
		if err := w.gate.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), document) || !strings.Contains(err.Error(), w.failedLogin().Hint) {
			t.Errorf("Ready: %v", err)
		}
	})
	t.Run("F02 keys that cannot be had", func(t *testing.T) {
		w := newWorld(t)
		w.op.Always(oidcgatetest.JWKS, oidcgatetest.Answer(500, "", ""))
		w.get(w.callbackURL("/app"))
		w.explains("https://id.test/", "jwks_uri")
		if e := w.eventsOf(oidcgate.EventJWKSRefreshFailed); len(e) == 0 || !strings.Contains(e[0].Hint, "jwks_uri") {
			t.Errorf("events %+v", e)
		}
	})
	t.Run("C117 explicit endpoints without EndSession: New says that a logout is local", func(t *testing.T) {
		w := newWorld(t, func(_ *oidcgate.Config, p *oidcgate.Provider) {
			p.Endpoints = oidcgate.Endpoints{Authorization: "https://id.test/oidc/authorize", Token: "https://id.test/oidc/accessToken", JWKS: "https://id.test/oidc/jwks"}
		})
		if !strings.Contains(w.logged(), "Endpoints.EndSession is not set") {
			t.Errorf("the log:\n%s", w.logged())
		}
	})
}
