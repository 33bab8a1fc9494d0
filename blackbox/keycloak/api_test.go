//go:build interop

package keycloak_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oidcgate/oidcgate/blackbox/internal/rp"
)

// testAPI shows the service access tokens as Keycloak issues them by default, and other tokens in the
// place of one. All are for the client, which is the service too: Keycloak says of tokens that are
// not for the client that asks that they are not active.
func testAPI(t *testing.T, server *server, issuer string, options rp.Options) {
	const secret = "a secret of client and Keycloak"
	server.addClient(t, client{
		ID: "api-client", Secret: secret, Direct: true, RedirectURLs: []string{options["BASE_URL"] + "/auth/callback"},
		Attributes: map[string]string{},
		Mappers: []any{mapper("oidc-audience-mapper", map[string]string{
			"included.client.audience": "api-client", "access.token.claim": "true",
		})},
	})
	answer := server.passwordGrant(t, issuer, url.Values{
		"grant_type": {"password"}, "client_id": {"api-client"}, "client_secret": {secret}, "scope": {"openid email"},
		"username": {alice.Login}, "password": {alice.Password},
	})
	plain := options.With("OIDC_CLIENT_ID", "api-client", "OIDC_CLIENT_SECRET", secret, "API_AUDIENCE", "api-client",
		"OIDC_PLAIN_ACCESS_TOKENS", "true")
	start := func(more ...string) string {
		return rp.Start(t, plain.With("BASE_URL", rp.NewBaseURL(t)).With(more...)).URL
	}
	shops := map[string]string{
		"plain":        start(),
		"introspected": start("API_INTROSPECT", "true"),
		"strict":       start("OIDC_PLAIN_ACCESS_TOKENS", "false"),
	}
	for _, row := range []struct {
		name, shop, token string
		want              int
	}{
		{"an access token", "plain", answer.AccessToken, http.StatusOK},
		{"an access token, and Keycloak is asked", "introspected", answer.AccessToken, http.StatusOK},
		{"an access token where RFC 9068 counts", "strict", answer.AccessToken, http.StatusUnauthorized},
		{"an ID Token", "plain", answer.IDToken, http.StatusUnauthorized},
		{"a refresh token", "plain", answer.RefreshToken, http.StatusUnauthorized},
	} {
		t.Run(row.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, shops[row.shop]+"/api", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+row.token)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != row.want {
				t.Errorf("got %s, %s; want %d", resp.Status, resp.Header.Get("WWW-Authenticate"), row.want)
			}
		})
	}
}

type tokenAnswer struct {
	AccessToken  string `json:"access_token"`
	IDToken      string `json:"id_token"`
	RefreshToken string `json:"refresh_token"`
}

func (s *server) passwordGrant(t *testing.T, issuer string, form url.Values) (answer tokenAnswer) {
	t.Helper()
	resp, err := s.client.PostForm(issuer+"/protocol/openid-connect/token", form)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.IDToken == "" {
		t.Fatalf("the token endpoint answered %s, error %v", resp.Status, err)
	}
	return answer
}

// testDoctor asks the doctor about a healthy client, one whose redirect URI is not registered, one
// with a wrong secret, and a realm that is not there.
func testDoctor(t *testing.T, server *server, issuer, baseURL string) {
	program := filepath.Join(t.TempDir(), "oidcgate")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./cmd/oidcgate")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, row := range []struct {
		name, issuer, baseURL, secret string
		status                        int
		says                          string
	}{
		{"healthy", issuer, baseURL, "a secret of client and Keycloak", 0, "OK     token"},
		{"without a secret", issuer, baseURL, "", 0, "SKIP   token"},
		{"a wrong secret", issuer, baseURL, "guessed", 1, "FAULT  authentication"}, // the request is pushed
		{"a redirect URI that is not registered", issuer, "https://other.example", "", 1, "redirect"},
		{"a realm that is not there", issuer + "s", baseURL, "", 1, "404"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Setenv("OIDC_CLIENT_SECRET", row.secret)
			out, status := runDoctor(t.Context(), t, program, "doctor", "-ca", server.caFile, "-issuer", row.issuer,
				"-client-id", "shop", "-base-url", row.baseURL, "-auth", "client_secret_basic")
			if status != row.status || !strings.Contains(out, row.says) {
				t.Errorf("status %d, want %d, and %q in:\n%s", status, row.status, row.says, out)
			}
		})
	}
}

func runDoctor(ctx context.Context, t *testing.T, program string, args ...string) (out string, status int) {
	t.Helper()
	text, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return string(text), exit.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(text), 0
}
