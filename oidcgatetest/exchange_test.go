package oidcgatetest_test

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// newLedger returns an API that takes access tokens for audience, and says whose they are.
func newLedger(t *testing.T, p *oidcgatetest.Provider, audience string, introspects bool) http.Handler {
	t.Helper()
	p.AddClient(oidcgatetest.Client{ID: "ledger", Secret: "the ledger's secret"})
	gate, err := oidcgate.New(oidcgate.Config{
		BaseURL: "http://localhost:9090", HTTP: oidcgate.HTTPOptions{Transport: p.Transport()},
		API: oidcgate.APIOptions{Audience: []string{audience}, Introspect: introspects},
	}, oidcgate.Provider{
		Issuer: p.Issuer(), ClientID: "ledger", Auth: oidcgate.ClientSecretBasic("the ledger's secret"),
	})
	if err != nil {
		t.Fatal(err)
	}
	books := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := oidcgate.FromContext(r.Context())
		_, _ = io.WriteString(w, "the books of "+id.Subject())
	})
	return gate.Wrap(gate.RequireToken(oidcgate.Scope("books:read"))(books))
}

func TestExchangedTokenOpensTheServiceThatItIsFor(t *testing.T) {
	const address = "http://localhost:9090"
	for _, form := range []struct {
		name   string
		config oidcgatetest.Config
	}{
		{"JWTs", oidcgatetest.Config{JWTAccessTokens: true}},
		{"JWTs that are introspected, too", oidcgatetest.Config{JWTAccessTokens: true, Introspection: true}},
		{"opaque tokens", oidcgatetest.Config{Introspection: true}},
	} {
		for _, row := range []struct {
			name     string
			audience string // of the ledger
			x        oidcgate.TokenExchange
			want     int
		}{
			{"by its audience", "ledger", oidcgate.TokenExchange{Audience: "ledger"}, 200},
			{"by its address", address, oidcgate.TokenExchange{Resource: address}, 200},
			{"by both", address, oidcgate.TokenExchange{Audience: "ledger", Resource: address}, 200},
			{"for another service", "ledger", oidcgate.TokenExchange{Audience: "payroll"}, 401},
		} {
			t.Run(form.name+" "+row.name, func(t *testing.T) {
				p := oidcgatetest.NewProvider(t, form.config)
				ledger := newLedger(t, p, row.audience, form.config.Introspection)
				provider := p.ProviderFor("http://localhost")
				p.AllowExchange(provider.ClientID, "ledger", address)
				p.AllowExchange(provider.ClientID, "payroll")
				gate, err := oidcgate.New(oidcgate.Config{BaseURL: "http://localhost", HTTP: oidcgate.HTTPOptions{
					Transport:         p.Transport(),
					ResourceTransport: oidcgatetest.NewTransport(map[string]http.Handler{"localhost:9090": ledger}),
				}}, provider)
				if err != nil {
					t.Fatal(err)
				}
				row.x.Scopes = []string{"books:read"}
				shop := gate.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					resp, err := gate.ExchangeClient(r.Context(), row.x, address).Get(address + "/books")
					if err != nil {
						http.Error(w, err.Error(), http.StatusInternalServerError)
						return
					}
					defer func() { _ = resp.Body.Close() }()
					w.WriteHeader(resp.StatusCode)
					_, _ = io.Copy(w, resp.Body)
				}))
				bob := p.SignIn(t, gate, shop, oidcgatetest.User{Subject: "bob"})
				status, body := get(t, bob, "http://localhost/")
				if status != row.want || (status == 200) != (body == "the books of bob") {
					t.Errorf("got %d %q, want %d", status, body, row.want)
				}
			})
		}
	}
}

func TestExchangedTokenSaysWhatWasAskedFor(t *testing.T) {
	for _, jwts := range []bool{false, true} {
		p, rp := newProvider(t, oidcgatetest.Config{JWTAccessTokens: jwts, Introspection: true})
		rp.client.Exchanges = []string{"ledger", "https://ledger.test"}
		p.AddClient(rp.client)
		tokens, _ := rp.login(t)
		exchange := func(more url.Values) answer {
			form := url.Values{
				"grant_type":         {"urn:ietf:params:oauth:grant-type:token-exchange"},
				"subject_token_type": {"urn:ietf:params:oauth:token-type:access_token"},
				"subject_token":      {tokens["access_token"].(string)},
			}
			for name, values := range more {
				form[name] = values
			}
			return rp.token(t, form)
		}
		for _, row := range []struct {
			name  string
			asked url.Values
			aud   any
			scope string
			error string
		}{
			{"an audience", url.Values{"audience": {"ledger"}}, "ledger", "openid profile email", ""},
			{"a scope", url.Values{"audience": {"ledger"}, "scope": {"read write"}}, "ledger", "read write", ""},
			{"a resource", url.Values{"resource": {"https://ledger.test"}}, "https://ledger.test", "openid profile email", ""},
			{"both", url.Values{"audience": {"ledger"}, "resource": {"https://ledger.test"}}, []any{"ledger", "https://ledger.test"}, "openid profile email", ""},
			{"one that it may not ask for", url.Values{"audience": {"ledger"}, "resource": {"https://payroll.test"}}, nil, "", "invalid_target"},
			{"nothing", nil, nil, "", "invalid_target"},
		} {
			t.Run(fmt.Sprintf("JWTs %v: asked for %s", jwts, row.name), func(t *testing.T) {
				a := exchange(row.asked)
				if row.error != "" {
					if a.status != http.StatusBadRequest || a.members(t)["error"] != row.error {
						t.Errorf("%d %s, want %s", a.status, a.body, row.error)
					}
					return
				}
				token, _ := a.members(t)["access_token"].(string)
				if isJWT := strings.Count(token, ".") == 2; isJWT != jwts {
					t.Errorf("the token is %q", token)
				}
				says := rp.do(t, rp.tokenRequest(rp.metadata(t, "introspection_endpoint"), url.Values{"token": {token}})).members(t)
				if says["active"] != true || fmt.Sprint(says["aud"]) != fmt.Sprint(row.aud) || says["scope"] != row.scope || says["sub"] != "alice" {
					t.Errorf("it says %v, want the audience %v and the scope %q", says, row.aud, row.scope)
				}
			})
		}
	}
}
