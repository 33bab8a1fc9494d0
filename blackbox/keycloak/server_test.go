//go:build interop

package keycloak_test

import (
	"archive/zip"
	"bytes"
	"crypto/x509"
	_ "embed"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"text/template"

	"github.com/oidcgate/oidcgate/blackbox/internal/process"
	"github.com/oidcgate/oidcgate/blackbox/internal/rp"
)

// server is a running Keycloak that has only its master realm.
type server struct {
	url    string
	client *http.Client // trusts its certificate
	roots  *x509.CertPool
	caFile string
}

const adminPassword = "of an administrator who lives as long as the test"

// startServer unpacks and starts Keycloak with an empty database in memory. It uses https, because
// its cookies are Secure.
func startServer(t *testing.T) *server {
	t.Helper()
	archive := os.Getenv("KEYCLOAK_ZIP")
	if archive == "" {
		t.Fatal("KEYCLOAK_ZIP is not set; `make interop` fetches Keycloak and runs this test")
	}
	home := unpack(t, archive)
	certFile, keyFile, roots := rp.WriteCertificate(t, "127.0.0.1")
	port := strconv.Itoa(process.FreePort(t))
	cmd := exec.Command(filepath.Join(home, "bin", "kc.sh"), "start-dev", "--db=dev-mem",
		"--http-host=127.0.0.1", "--http-port="+strconv.Itoa(process.FreePort(t)), "--https-port="+port,
		"--https-certificate-file="+certFile, "--https-certificate-key-file="+keyFile)
	cmd.Env = append(os.Environ(), "KC_BOOTSTRAP_ADMIN_USERNAME=admin", "KC_BOOTSTRAP_ADMIN_PASSWORD="+adminPassword)
	process.Start(t, cmd, func(p *process.Process) bool { return strings.Contains(p.Stdout(), "Listening on:") })

	client := &http.Client{Transport: rp.NewTransport(roots)}
	return &server{url: "https://127.0.0.1:" + port, client: client, roots: roots, caFile: certFile}
}

// unpack unpacks the archive and returns its only directory. Each run has its own copy, because
// Keycloak writes into it.
func unpack(t *testing.T, archive string) string {
	t.Helper()
	r, err := zip.OpenReader(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	dir := t.TempDir()
	for _, f := range r.File {
		if err := extract(dir, f); err != nil {
			t.Fatalf("unpacking %s: %v", f.Name, err)
		}
	}
	top, _, _ := strings.Cut(r.File[0].Name, "/")
	return filepath.Join(dir, top)
}

func extract(dir string, f *zip.File) error {
	if !filepath.IsLocal(f.Name) {
		return errors.New("it leads out of the archive")
	}
	path := filepath.Join(dir, f.Name)
	if f.FileInfo().IsDir() {
		return os.MkdirAll(path, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	src, err := f.Open()
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }()
	dst, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, f.Mode())
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Close())
}

//go:embed realm.json
var realmText string

var realmTemplate = template.Must(template.New("realm.json").Parse(realmText))

// addRealm creates the realm shop, with clients for a service at baseURL, and returns its issuer.
// For the client shop-backchannel, Keycloak sends logout tokens to receiver, a host:port.
func (s *server) addRealm(t *testing.T, baseURL, receiver string) string {
	t.Helper()
	var realm bytes.Buffer
	if err := realmTemplate.Execute(&realm, struct{ BaseURL, Receiver string }{baseURL, receiver}); err != nil {
		t.Fatal(err)
	}
	s.admin(t, http.MethodPost, "", &realm, http.StatusCreated)
	return s.url + "/realms/shop"
}

// admin sends a request to a path below the realms of the admin interface and returns the answer's body.
func (s *server) admin(t *testing.T, method, path string, body io.Reader, want int) []byte {
	t.Helper()
	r, err := http.NewRequest(method, s.url+"/admin/realms"+path, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+s.adminToken(t)) // a new token each time, because it is valid for one minute
	return s.send(t, r, want)
}

func (s *server) adminToken(t *testing.T) string {
	t.Helper()
	form := url.Values{"grant_type": {"password"}, "client_id": {"admin-cli"}, "username": {"admin"}, "password": {adminPassword}}
	r, err := http.NewRequest(http.MethodPost, s.url+"/realms/master/protocol/openid-connect/token", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	var token struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal(s.send(t, r, http.StatusOK), &token); err != nil {
		t.Fatal(err)
	}
	return token.AccessToken
}

func (s *server) send(t *testing.T, r *http.Request, want int) []byte {
	t.Helper()
	resp, err := s.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != want {
		t.Fatalf("%s %s answers %d (%v), want %d:\n%s", r.Method, r.URL, resp.StatusCode, err, want, body)
	}
	return body
}
