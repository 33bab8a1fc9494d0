//go:build interop

package interop_test

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/oidcgate/oidcgate/blackbox/internal/idp"
	"github.com/oidcgate/oidcgate/blackbox/internal/process"
	"github.com/oidcgate/oidcgate/blackbox/internal/rp"
	"github.com/oidcgate/oidcgate/blackbox/internal/walk"
)

const springSecret = "a secret of client and Spring"

// startSpring starts the Spring Authorization Server of spring/Server.java.
func startSpring(t *testing.T, base string) *server {
	t.Helper()
	home := fetched(t, "SPRING_HOME")
	port := strconv.Itoa(process.FreePort(t))
	s := &server{issuer: "http://127.0.0.1:" + port}
	config, err := json.Marshal(map[string]any{
		"issuer": s.issuer, "base": base, "secret": springSecret, "users": []idp.User{idp.Alice, idp.Bob},
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("java", "-Xmx300m", "-XX:TieredStopAtLevel=1", "-cp", home+"/classes:"+home+"/lib/*", "shop.Server",
		"--server.address=127.0.0.1", "--server.port="+port)
	cmd.Env = append(os.Environ(), "CONFIG="+write(t, t.TempDir(), "spring.json", string(config)))
	process.Start(t, cmd, func(p *process.Process) bool { return strings.Contains(p.Stdout(), "Started Server in") })
	return s
}

// TestSpring logs in at a Spring Authorization Server.
func TestSpring(t *testing.T) {
	base := rp.NewBaseURL(t)
	spring := startSpring(t, base)
	options := spring.options(t, base).With("OIDC_CLIENT_ID", "shop", "OIDC_CLIENT_SECRET", springSecret)
	for name, client := range map[string]rp.Options{
		"client_secret_basic":          options.With("OIDC_CLIENT_AUTH", "basic"),
		"client_secret_post":           options.With("OIDC_CLIENT_AUTH", "post"),
		"requests that are not pushed": options.With("OIDC_PUSHED", "off"),
		"PKCE alone":                   options.With("OIDC_CLIENT_AUTH", "none", "OIDC_CLIENT_ID", "shop-public", "OIDC_CLIENT_SECRET", ""),
	} {
		t.Run(name, func(t *testing.T) {
			shop, v := spring.logIn(t, client, idp.Alice)
			walk.WantIdentity(t, walk.Whoami(t, v, shop.URL), spring.issuer, idp.Alice)
			walk.Status(t, v, shop.URL+"/admin", http.StatusOK)
			if client["OIDC_CLIENT_SECRET"] != "" { // it gives public clients no refresh token
				wantRefreshed(t, shop, v)
			}
			spring.wantLoggedOut(t, shop, v)
		})
	}
}
