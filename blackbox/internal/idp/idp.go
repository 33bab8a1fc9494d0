// Package idp runs the oidc-provider of ../../provider for tests.
package idp

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/oidcgate/oidcgate/blackbox/internal/process"
)

// Config is the configuration of provider.mjs. If Issuer and Port are zero, it serves http on a
// free port of 127.0.0.1. A service under test should use localhost, so that it does not share
// cookies with the provider.
type Config struct {
	Issuer             string         `json:"issuer"`
	Port               int            `json:"port"`
	TLS                *TLS           `json:"tls,omitempty"`
	Clients            []Client       `json:"clients"`
	Users              []User         `json:"users"`
	ClaimsInIDToken    bool           `json:"claimsInIDToken"`
	AlwaysRefreshToken bool           `json:"alwaysRefreshToken"`
	RotateRefreshToken bool           `json:"rotateRefreshToken"`
	TTL                map[string]int `json:"ttl,omitempty"`          // seconds, by oidc-provider's name of the token
	RefreshedTTL       int            `json:"refreshedTTL,omitempty"` // seconds; if zero, TTL's
	DPoPNonces         bool           `json:"dpopNonces"`
	RequirePushed      bool           `json:"requirePushed,omitempty"`
	RequestObjects     bool           `json:"requestObjects,omitempty"`
	FAPI               bool           `json:"fapi,omitempty"`
	Resources          []string       `json:"resources,omitempty"`
	Register           bool           `json:"register,omitempty"` // prompt=create
	Watched            bool           `json:"watched,omitempty"`  // record figures for Watch
}

// TLS names the files of a certificate and its key.
type TLS struct {
	Cert string `json:"cert"`
	Key  string `json:"key"`
}

// Client is a registered client, with the names of RFC 7591.
type Client struct {
	ID                     string              `json:"client_id"`
	Secret                 string              `json:"client_secret,omitempty"`
	AuthMethod             string              `json:"token_endpoint_auth_method"`
	RedirectURLs           []string            `json:"redirect_uris"`
	PostLogoutRedirectURLs []string            `json:"post_logout_redirect_uris,omitempty"`
	BackchannelLogoutURL   string              `json:"backchannel_logout_uri,omitempty"`
	BackchannelSID         bool                `json:"backchannel_logout_session_required,omitempty"`
	GrantTypes             []string            `json:"grant_types"`
	ResponseTypes          []string            `json:"response_types,omitempty"` // if empty, code
	Keys                   *jose.JSONWebKeySet `json:"jwks,omitempty"`
	AuthAlgorithm          string              `json:"token_endpoint_auth_signing_alg,omitempty"`
	DPoPBound              bool                `json:"dpop_bound_access_tokens,omitempty"`
	CertificateBound       bool                `json:"tls_client_certificate_bound_access_tokens,omitempty"`
	TLSSubject             string              `json:"tls_client_auth_subject_dn,omitempty"`
	ApplicationType        string              `json:"application_type,omitempty"` // "native" may use http with "implicit"

	// How what the provider sends is signed and encrypted. If empty, userinfo is not signed, and
	// nothing is encrypted.
	RequestSigned     string `json:"request_object_signing_alg,omitempty"`
	IDTokenSigned     string `json:"id_token_signed_response_alg,omitempty"`
	IDTokenEncrypted  string `json:"id_token_encrypted_response_alg,omitempty"`
	IDTokenContent    string `json:"id_token_encrypted_response_enc,omitempty"`
	UserinfoSigned    string `json:"userinfo_signed_response_alg,omitempty"`
	UserinfoEncrypted string `json:"userinfo_encrypted_response_alg,omitempty"`
	UserinfoContent   string `json:"userinfo_encrypted_response_enc,omitempty"`
	ResponseSigned    string `json:"authorization_signed_response_alg,omitempty"`
	ResponseEncrypted string `json:"authorization_encrypted_response_alg,omitempty"`
	ResponseContent   string `json:"authorization_encrypted_response_enc,omitempty"`
}

// NewClient returns the client for a service at baseURL, with the gate's routes below /auth.
func NewClient(id, secret, authMethod, baseURL string) Client {
	return Client{
		ID: id, Secret: secret, AuthMethod: authMethod,
		RedirectURLs:           []string{baseURL + "/auth/callback"},
		PostLogoutRedirectURLs: []string{baseURL + "/auth/logout/done"},
		GrantTypes:             []string{"authorization_code", "refresh_token"},
	}
}

// User is a user of the provider.
type User struct {
	Login    string         `json:"login"`
	Password string         `json:"password"`
	Claims   map[string]any `json:"claims"` // "sub" among them
}

// Alice is an administrator with a verified e-mail address.
var Alice = User{Login: "alice", Password: "alice's password", Claims: map[string]any{
	"sub": "alice-0001", "name": "Alice Adams", "email": "alice@example.com", "email_verified": true,
	"groups": []string{"admin", "staff"},
}}

// Bob is not in the group admin, and his e-mail address is not verified.
var Bob = User{Login: "bob", Password: "bob's password", Claims: map[string]any{
	"sub": "bob-0002", "name": "Bob Brown", "email": "bob@example.com", "email_verified": false,
	"groups": []string{"staff"},
}}

// Provider is a running provider.
type Provider struct {
	*process.Process
	Issuer string

	local string // its own address, even if there is a proxy in front of it
}

// Start starts a provider that ends with the test. Without Users it has [Alice] and [Bob].
func Start(t testing.TB, c Config) *Provider {
	t.Helper()
	if c.Port == 0 {
		c.Port = process.FreePort(t)
	}
	if c.Issuer == "" && c.TLS != nil {
		c.Issuer = fmt.Sprintf("https://127.0.0.1:%d", c.Port)
	}
	if c.Issuer == "" {
		c.Issuer = fmt.Sprintf("http://127.0.0.1:%d", c.Port)
	}
	if c.Users == nil {
		c.Users = []User{Alice, Bob}
	}
	dir := filepath.Join(process.ModuleDir(t), "provider")
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "oidc-provider")); err != nil {
		t.Fatal("the npm provider is not installed; `make setup` installs what the tests need")
	}
	file := writeConfig(t, c)
	command := func() *exec.Cmd { return exec.Command("node", filepath.Join(dir, "provider.mjs"), file) }
	ready := "ready " + c.Issuer
	p := process.StartAgain(t, time.Minute, command, func(p *process.Process) bool { return strings.Contains(p.Stdout(), ready) })
	return &Provider{Process: p, Issuer: c.Issuer, local: fmt.Sprintf("http://127.0.0.1:%d", c.Port)}
}

// Watch holds what a provider with Config.Watched has recorded: refreshes by sub, and access tokens
// by their SHA-256 in hex.
type Watch struct {
	Refreshes map[string]int   `json:"refreshes"` // successful ones
	Refused   map[string]int   `json:"refused"`   // refused ones; sub may be "nobody"
	Reused    map[string]int   `json:"reused"`    // refused because the refresh token had been used before
	Tokens    map[string]Token `json:"tokens"`
}

// Token is an access token that was issued at some time. Times are in seconds since 1970.
type Token struct {
	Subject  string  `json:"sub"`
	Expires  float64 `json:"exp"`
	Revoked  float64 `json:"revoked"` // zero: not revoked
	Audience string  `json:"aud"`     // the resource that it is for; empty: userinfo
}

// Watch returns what the provider has recorded so far.
func (p *Provider) Watch(t testing.TB) Watch {
	t.Helper()
	resp, err := http.Get(p.local + "/watch")
	if err != nil {
		t.Fatalf("asking the provider what it saw: %v", err)
	}
	defer func() { _ = resp.Body.Close() }()
	var w Watch
	if err := json.NewDecoder(resp.Body).Decode(&w); err != nil {
		t.Fatalf("asking the provider what it saw: %v", err)
	}
	return w
}

func writeConfig(t testing.TB, c Config) string {
	t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatalf("configuring the provider: %v", err)
	}
	file := filepath.Join(t.TempDir(), "provider.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatalf("configuring the provider: %v", err)
	}
	return file
}
