//go:build interop

package interop_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/oidcgate/oidcgate/blackbox/internal/idp"
	"github.com/oidcgate/oidcgate/blackbox/internal/process"
	"github.com/oidcgate/oidcgate/blackbox/internal/rp"
	"github.com/oidcgate/oidcgate/blackbox/internal/walk"
)

// hydra is a running Ory Hydra. Its pages are those of the test, as they are its operator's.
type hydra struct {
	server
	admin string
	users map[string]idp.User // by login
}

// startHydra starts Hydra with its data in memory.
func startHydra(t *testing.T) *hydra {
	t.Helper()
	binary := fetched(t, "HYDRA")
	public, admin := strconv.Itoa(process.FreePort(t)), strconv.Itoa(process.FreePort(t))
	h := &hydra{
		server: server{issuer: "http://127.0.0.1:" + public}, admin: "http://127.0.0.1:" + admin + "/admin/oauth2/auth/requests/",
		users: map[string]idp.User{idp.Alice.Login: idp.Alice, idp.Bob.Login: idp.Bob},
	}
	pages := httptest.NewServer(h.pages(t))
	t.Cleanup(pages.Close)
	cmd := exec.Command(binary, "serve", "all", "--dev", "--sqa-opt-out")
	cmd.Env = []string{
		"DSN=memory", "SECRETS_SYSTEM=of a server that lives as long as the test",
		"SERVE_PUBLIC_HOST=127.0.0.1", "SERVE_PUBLIC_PORT=" + public, "SERVE_ADMIN_HOST=127.0.0.1", "SERVE_ADMIN_PORT=" + admin,
		"URLS_SELF_ISSUER=" + h.issuer, "URLS_LOGIN=" + pages.URL + "/login", "URLS_CONSENT=" + pages.URL + "/consent",
		"URLS_LOGOUT=" + pages.URL + "/logout", "TTL_ACCESS_TOKEN=8s", "OIDC_SUBJECT_IDENTIFIERS_SUPPORTED_TYPES=public",
		"WEBFINGER_OIDC_DISCOVERY_SUPPORTED_SCOPES=profile,email", "HOME=" + t.TempDir(), "LOG_LEVEL=warn",
	}
	process.Start(t, cmd, func(*process.Process) bool {
		resp, err := http.Get(h.issuer + "/health/ready")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return h
}

// addClient registers a client.
func (h *hydra) addClient(t *testing.T, c idp.Client) {
	t.Helper()
	body := map[string]any{
		"client_id": c.ID, "client_secret": c.Secret, "token_endpoint_auth_method": c.AuthMethod,
		"redirect_uris": c.RedirectURLs, "post_logout_redirect_uris": c.PostLogoutRedirectURLs,
		"grant_types": c.GrantTypes, "response_types": []string{"code"}, "scope": "openid profile email offline_access",
		"backchannel_logout_uri": c.BackchannelLogoutURL,
	}
	origin, _, _ := strings.Cut(h.admin, "/admin/")
	h.send(t, http.MethodPost, origin+"/admin/clients", body)
}

// send sends a request to Hydra's admin interface.
func (h *hydra) send(t testing.TB, method, address string, body any) map[string]any {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequest(method, address, bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= http.StatusBadRequest {
		t.Errorf("%s %s answers %d %s (%v)", method, address, resp.StatusCode, answer, err)
	}
	var parsed map[string]any
	_ = json.Unmarshal(answer, &parsed)
	return parsed
}

// pages serves the login, and consents to everything.
func (h *hydra) pages(t *testing.T) http.Handler {
	mux := http.NewServeMux()
	accept := func(w http.ResponseWriter, r *http.Request, kind string, body any) {
		challenge := r.FormValue(kind + "_challenge")
		answer := h.send(t, http.MethodPut, h.admin+kind+"/accept?"+url.Values{kind + "_challenge": {challenge}}.Encode(), body)
		to, _ := answer["redirect_to"].(string)
		http.Redirect(w, r, to, http.StatusSeeOther)
	}
	mux.HandleFunc("GET /login", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintf(w, `<form method="post" action="/login"><input name="login"><input name="password" type="password">`+
			`<input name="login_challenge" type="hidden" value="%s"></form>`, r.FormValue("login_challenge"))
	})
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		u, ok := h.users[r.FormValue("login")]
		if !ok || u.Password != r.FormValue("password") {
			http.Error(w, "wrong password", http.StatusForbidden)
			return
		}
		accept(w, r, "login", map[string]any{"subject": u.Claims["sub"], "context": u.Login})
	})
	mux.HandleFunc("GET /consent", func(w http.ResponseWriter, r *http.Request) {
		query := url.Values{"consent_challenge": {r.FormValue("consent_challenge")}}
		asked := h.send(t, http.MethodGet, h.admin+"consent?"+query.Encode(), nil)
		u := h.users[asked["context"].(string)]
		accept(w, r, "consent", map[string]any{
			"grant_scope": asked["requested_scope"], "session": map[string]any{"id_token": u.Claims},
		})
	})
	mux.HandleFunc("GET /logout", func(w http.ResponseWriter, r *http.Request) { accept(w, r, "logout", nil) })
	return mux
}

// TestHydra logs in at Ory Hydra.
func TestHydra(t *testing.T) {
	base := rp.NewBaseURL(t)
	h := startHydra(t)
	const secret = "a secret of client and Hydra"
	for id, method := range map[string]string{"basic": "client_secret_basic", "post": "client_secret_post", "none": "none"} {
		c := idp.NewClient(id, secret, method, base)
		c.BackchannelLogoutURL = base + "/auth/backchannel-logout"
		if method == "none" {
			c.Secret = ""
		}
		h.addClient(t, c)
		t.Run(method, func(t *testing.T) {
			shop, v := h.logIn(t, h.options(t, base).With("OIDC_CLIENT_ID", id, "OIDC_CLIENT_SECRET", c.Secret, "OIDC_CLIENT_AUTH", id,
				"OIDC_SCOPES", "profile email offline_access", "OIDC_LOGOUT_WITHOUT_EXP", "true"), idp.Alice)
			walk.WantIdentity(t, walk.Whoami(t, v, shop.URL), h.issuer, idp.Alice)
			walk.Status(t, v, shop.URL+"/admin", http.StatusOK)
			wantRefreshed(t, shop, v)
			h.wantLoggedOut(t, shop, v)
		})
	}
}
