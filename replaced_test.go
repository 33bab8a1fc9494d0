package oidcgate_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// otherServer is a server at https://evil.test that notes what it is sent.
type otherServer struct {
	mu   sync.Mutex
	seen []string
}

func (e *otherServer) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	e.mu.Lock()
	e.seen = append(e.seen, r.URL.Path+" "+string(body))
	e.mu.Unlock()
	if strings.HasPrefix(r.URL.Path, "/.well-known/") {
		const at = "https://evil.test"
		rw.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(rw).Encode(map[string]any{
			"issuer": at, "authorization_endpoint": at + "/authorize", "token_endpoint": at + "/token", "jwks_uri": at + "/jwks",
			"userinfo_endpoint": at + "/userinfo", "revocation_endpoint": at + "/revoke", "response_types_supported": []string{"code"},
			"subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"RS256"},
			"code_challenge_methods_supported":      []string{"S256"},
			"token_endpoint_auth_methods_supported": []string{"client_secret_post"},
		})
		return
	}
	if r.URL.Path == "/token" {
		rw.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(rw, `{"access_token":"evil-at","token_type":"Bearer","expires_in":3600}`)
		return
	}
	rw.WriteHeader(http.StatusOK)
}

func (e *otherServer) all() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return strings.Join(e.seen, "\n")
}

// replacedWorld is a shop with a second provider, and what takes its name and client id later: another
// server.
func replacedWorld(t *testing.T, staffConfig oidcgatetest.Config, refresh bool) (*world, *otherServer, oidcgate.Provider) {
	t.Helper()
	w := newWorld(t)
	staffConfig.Issuer = "https://staff.test"
	staff := oidcgatetest.NewProvider(t, staffConfig)
	staff.SetUser(oidcgatetest.User{Subject: "bob"})
	staff.AddClient(oidcgatetest.Client{
		ID: "shop", Secret: secret, RedirectURLs: []string{shopURL + "/auth/callback/staff"},
	})
	e := &otherServer{}
	hosts := map[string]http.Handler{"id.test": w.op, "staff.test": staff, "evil.test": e}
	w.config.HTTP.Transport = oidcgatetest.NewTransport(hosts)
	scopes := []string{}
	if refresh {
		scopes = append(scopes, "offline_access")
	} else { // a provider without RFC 9207
		staff.Always(oidcgatetest.Authorization, oidcgatetest.EditRedirect(func(q url.Values) { q.Del("iss") }))
		staff.Always(oidcgatetest.Discovery, oidcgatetest.EditJSON(func(m map[string]any) {
			delete(m, "authorization_response_iss_parameter_supported")
		}))
	}
	w.open(oidcgate.Provider{Issuer: w.op.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)},
		oidcgate.Provider{Name: "staff", Issuer: staff.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret), Scopes: scopes})
	hosts["shop.test"] = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.handler.ServeHTTP(rw, r) })
	w.browser.Transport = oidcgatetest.NewTransport(hosts)
	moved := oidcgate.Provider{
		Name: "staff", Issuer: "https://evil.test", ClientID: "shop", Auth: oidcgate.ClientSecretPost("other secret, of evil"),
	}
	return w, e, moved
}

// move gives the name of the second provider to another.
func (w *world) move(moved oidcgate.Provider) {
	w.Helper()
	first := oidcgate.Provider{Issuer: w.op.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)}
	if err := w.gate.SetProviders(first, moved); err != nil {
		w.Fatal(err)
	}
}

// A name may pass to another issuer while the gate serves: what is of the old one never reaches it.
func TestReplacedProvider(t *testing.T) {
	t.Run("C032 the code of a login under way", func(t *testing.T) {
		w, other, moved := replacedWorld(t, oidcgatetest.Config{}, false)
		back := w.get(w.get("/auth/login?provider=staff").location()).location()
		w.move(moved)
		w.denied(w.get(back), http.StatusBadRequest, oidcgate.ReasonIssMismatch)
		if got := other.all(); strings.Contains(got, "/token") {
			t.Errorf("the other server got\n%s", got)
		}
	})
	t.Run("C032 another client id", func(t *testing.T) {
		w, _, _ := replacedWorld(t, oidcgatetest.Config{}, false)
		back := w.get(w.get("/auth/login?provider=staff").location()).location()
		w.move(oidcgate.Provider{Name: "staff", Issuer: "https://staff.test", ClientID: "blog", Auth: oidcgate.ClientSecretBasic(secret)})
		w.denied(w.get(back), http.StatusBadRequest, oidcgate.ReasonIssMismatch)
	})
	t.Run("C032 the same issuer and client with other settings goes on", func(t *testing.T) {
		w, _, _ := replacedWorld(t, oidcgatetest.Config{}, false)
		back := w.get(w.get("/auth/login?provider=staff&return_to=/app").location()).location()
		w.move(oidcgate.Provider{Name: "staff", Issuer: "https://staff.test", ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret), Label: "Staff"})
		if a := w.get(back); a.location() != shopURL+"/app" {
			t.Errorf("%d to %q\n%s", a.StatusCode, a.location(), a.body)
		}
	})
	t.Run("C032 the refresh token, by a request that takes longer than the change", func(t *testing.T) {
		w, other, moved := replacedWorld(t, oidcgatetest.Config{AccessTokenLifetime: time.Second}, true)
		var token *oauth2.Token
		var err error
		before := w.handler
		w.handler = w.gate.Wrap(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/long" {
				before.ServeHTTP(rw, r)
				return
			}
			time.Sleep(1100 * time.Millisecond) // the access token expires
			w.move(moved)
			token, err = w.gate.Token(r.Context())
		}))
		w.get(w.get(w.get("/auth/login?provider=staff").location()).location())
		w.get("/long")
		if err == nil || token != nil {
			t.Errorf("the handler got %v, %v", token, err)
		}
		if got := other.all(); strings.Contains(got, "/token") {
			t.Errorf("the other server got\n%s", got)
		}
	})
}
