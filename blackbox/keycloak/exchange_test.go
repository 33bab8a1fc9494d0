//go:build interop

package keycloak_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/oidcgate/oidcgate"
)

// testExchange has an API exchange the token that a program sent it for one of another API, and
// sends it there. It holds what docs/apis.md says that Keycloak wants.
func testExchange(t *testing.T, server *server, issuer string) {
	const secret = "a secret of client and Keycloak"
	audiences := func(names ...string) (mappers []any) {
		for _, name := range names {
			m := mapper("oidc-audience-mapper", map[string]string{
				"included.client.audience": name, "access.token.claim": "true",
			}).(map[string]any)
			m["name"] = "for " + name
			mappers = append(mappers, m)
		}
		return mappers
	}
	allowed := func() map[string]string { return map[string]string{"standard.token.exchange.enabled": "true"} }
	for _, c := range []client{
		{ID: "ledger", Attributes: map[string]string{}},
		{ID: "orders", Attributes: allowed(), Mappers: audiences("ledger")},
		{ID: "orders-off", Attributes: map[string]string{}, Mappers: audiences("ledger")},
		{ID: "orders-alone", Attributes: allowed()},
		{ID: "program", Direct: true, Attributes: map[string]string{}, Mappers: audiences("orders", "orders-off", "orders-alone")},
		{ID: "program-elsewhere", Direct: true, Attributes: map[string]string{}, Mappers: audiences("ledger")},
	} {
		c.Secret, c.RedirectURLs = secret, []string{"https://unused.example"}
		server.addClient(t, c)
	}
	tokenOf := func(program string) string {
		return server.passwordGrant(t, issuer, url.Values{
			"grant_type": {"password"}, "client_id": {program}, "client_secret": {secret}, "scope": {"openid"},
			"username": {alice.Login}, "password": {alice.Password},
		}).AccessToken
	}
	api := func(clientID string, audience []string, h func(*oidcgate.Gate) http.HandlerFunc) *httptest.Server {
		gate, err := oidcgate.New(oidcgate.Config{
			BaseURL: "http://localhost:8080", API: oidcgate.APIOptions{Audience: audience},
			HTTP: oidcgate.HTTPOptions{RootCAs: server.roots},
		}, oidcgate.Provider{
			Issuer: issuer, ClientID: clientID, Auth: oidcgate.ClientSecretBasic(secret),
			Verification: oidcgate.Verification{PlainAccessTokens: true},
		})
		if err != nil {
			t.Fatal(err)
		}
		s := httptest.NewServer(gate.Wrap(gate.RequireToken()(h(gate))))
		t.Cleanup(s.Close)
		return s
	}
	ledger := api("ledger", []string{"ledger"}, func(*oidcgate.Gate) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			id, _ := oidcgate.FromContext(r.Context())
			w.Header().Set("X-User", id.Subject())
		}
	})
	for _, row := range []struct {
		name, service, program string
		audience               []string
		wrong                  string // in the error; "" if the exchange is good
	}{
		{"good", "orders", "program", []string{"orders"}, ""},
		{"not allowed at the client", "orders-off", "program", []string{"orders-off"}, "invalid_request"},
		{"the other service is no audience of the client", "orders-alone", "program", []string{"orders-alone"}, "invalid_request"},
		{"the sent token is not for the client", "orders", "program-elsewhere", []string{"ledger"}, "access_denied"},
	} {
		t.Run(row.name, func(t *testing.T) {
			orders := api(row.service, row.audience, func(gate *oidcgate.Gate) http.HandlerFunc {
				return func(_ http.ResponseWriter, r *http.Request) {
					c := gate.ExchangeClient(r.Context(), oidcgate.TokenExchange{Audience: "ledger"}, ledger.URL)
					resp, err := c.Get(ledger.URL)
					if row.wrong != "" {
						if err == nil || !strings.Contains(err.Error(), row.wrong) {
							t.Errorf("error %v, want one with %q", err, row.wrong)
						}
						return
					}
					if err != nil {
						t.Error(err)
						return
					}
					_ = resp.Body.Close()
					if resp.StatusCode != http.StatusOK || resp.Header.Get("X-User") != alice.Claims["sub"] {
						t.Errorf("the other service answers %s to %q", resp.Status, resp.Header.Get("X-User"))
					}
				}
			})
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, orders.URL, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer "+tokenOf(row.program))
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Errorf("got %s, %s", resp.Status, resp.Header.Get("WWW-Authenticate"))
			}
		})
	}
}
