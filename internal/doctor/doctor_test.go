package doctor_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"flag"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/internal/doctor"
	"github.com/oidcgate/oidcgate/internal/op"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

var update = flag.Bool("update", false, "write the golden files")

const redirectURL = "https://shop.example/auth/callback"

// patience is how long an answer may take on a busy machine.
const patience = time.Minute

// ward is a provider on a TLS server, and the client that looks at it.
type ward struct {
	*oidcgatetest.Provider
	url string
	cfg op.Config
}

// newWard starts a healthy provider.
func newWard(t *testing.T, config ...oidcgatetest.Config) *ward {
	t.Helper()
	p := oidcgatetest.NewProvider(t, config...)
	return (&ward{Provider: p}).at(p.TLSServer())
}

// withCertificate starts a healthy provider whose server has another certificate than its clients
// expect.
func withCertificate(t *testing.T, change func(*x509.Certificate)) *ward {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := oidcgatetest.NewProvider(t, oidcgatetest.Config{Issuer: "https://" + listener.Addr().String()})
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "id.example"},
		NotBefore: time.Now().Add(-365 * 24 * time.Hour), NotAfter: time.Now().Add(365 * 24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	change(template)
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(p)
	_ = server.Listener.Close()
	server.Listener = listener
	server.Config.ErrorLog = quiet()
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	server.StartTLS()
	t.Cleanup(server.Close)
	w := (&ward{Provider: p}).at(server)
	w.cfg.RootCAs = x509.NewCertPool()
	w.cfg.RootCAs.AddCert(cert)
	return w
}

func (w *ward) at(server *httptest.Server) *ward {
	server.Config.ErrorLog = quiet()
	w.url = server.URL
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	w.AddClient(oidcgatetest.Client{ID: "shop", Secret: "secret", RedirectURLs: []string{redirectURL}})
	w.cfg = op.Config{
		Issuer: w.Issuer(), ClientID: "shop", RedirectURL: redirectURL, RootCAs: roots,
		Auth: withSecret("secret"), Scopes: []string{"profile"},
		Leeway: time.Minute, Timeout: patience, Notify: func(op.Notice) {},
	}
	return w
}

// edit changes the discovery document.
func (w *ward) edit(change func(map[string]any)) {
	w.Always(oidcgatetest.Discovery, oidcgatetest.EditJSON(change))
}

func (w *ward) set(name string, value any) {
	w.edit(func(doc map[string]any) { doc[name] = value })
}

// examine returns what there is to say, with the provider's address as https://id.example.
func (w *ward) examine(t *testing.T) []doctor.Finding {
	t.Helper()
	w.cfg.Complete()
	found := doctor.Examine(t.Context(), op.New(w.cfg), doctor.Options{})
	for i := range found {
		for _, s := range []*string{&found[i].Text, &found[i].Cure} {
			*s = strings.ReplaceAll(*s, w.url, "https://id.example")
			*s = strings.ReplaceAll(*s, strings.TrimPrefix(w.url, "https://"), "id.example")
		}
	}
	return found
}

// table returns the findings as a table.
func table(t *testing.T, found []doctor.Finding) string {
	t.Helper()
	var b bytes.Buffer
	if err := doctor.WriteTable(&b, found); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// want is a finding: its text and cure have these words.
type want struct {
	name       string
	level      doctor.Level
	text, cure string
}

func expect(t *testing.T, found []doctor.Finding, w want) {
	t.Helper()
	if !slices.ContainsFunc(found, func(f doctor.Finding) bool {
		return f.Name == w.name && f.Level == w.level && strings.Contains(f.Text, w.text) &&
			strings.Contains(f.Cure, w.cure) && (f.Cure != "" || f.Level == doctor.OK)
	}) {
		t.Errorf("no finding %+v in:\n%s", w, table(t, found))
	}
	if doctor.Healthy(found) != (w.level != doctor.Fault) {
		t.Errorf("healthy is %t:\n%s", doctor.Healthy(found), table(t, found))
	}
}

func TestHealthyProvider(t *testing.T) {
	w := newWard(t)
	found := w.examine(t)
	for _, f := range found {
		if f.Level != doctor.OK {
			t.Errorf("%+v", f)
		}
	}
	for _, x := range []want{
		{"redirect", doctor.OK, redirectURL + " is registered", ""},
		{"keys", doctor.OK, "RS256", ""},
		{"clock", doctor.OK, "agree", ""},
		{"issuer", doctor.OK, `"https://id.example"`, ""},
		{"tls", doctor.OK, "valid until", ""},
	} {
		expect(t, found, x)
	}
	golden(t, "healthy.txt", found)
}

// TestBrokenProviders has one provider for each thing that can be wrong.
func TestBrokenProviders(t *testing.T) {
	discovery := oidcgatetest.Discovery
	elsewhere := func(status int, location string) func(*ward) {
		return func(w *ward) { w.Always(discovery, oidcgatetest.Redirect(status, location)) }
	}
	for _, row := range []struct {
		what string
		do   func(*ward)
		want want
	}{
		{"clock ten minutes ahead", dated(10 * time.Minute),
			want{"clock", doctor.Fault, "ahead of this machine's; up to 1m0s is accepted", "NTP"}},
		{"clock ten minutes behind", dated(-10 * time.Minute),
			want{"clock", doctor.Fault, "behind this machine's", "NTP"}},
		{"clock half a minute behind", func(w *ward) {
			w.cfg.Leeway = time.Hour
			dated(-30 * time.Second)(w)
		}, want{"clock", doctor.Warn, "behind this machine's", "NTP"}},
		{"wrong issuer", func(w *ward) { w.set("issuer", "https://other.example") },
			want{"issuer", doctor.Fault, `says "https://other.example", configured is "https://id.example"`,
				`set Issuer to "https://other.example"`}},
		{"issuer with a slash", func(w *ward) { w.set("issuer", w.url+"/") },
			want{"issuer", doctor.Fault, `says "https://id.example/"`, "the only difference is the slash at its end"}},
		{"issuer without the slash", func(w *ward) { w.cfg.Issuer += "/" },
			want{"issuer", doctor.Fault, `configured is "https://id.example/"`, "slash at its end, which does not belong"}},
		{"issuer in capitals", func(w *ward) { w.set("issuer", strings.ToUpper(w.url)) },
			want{"issuer", doctor.Fault, "HTTPS://", "capital and small letters"}},
		{"issuer over http", func(w *ward) { w.set("issuer", strings.Replace(w.url, "https", "http", 1)) },
			want{"issuer", doctor.Fault, `"http://id.example"`, "X-Forwarded-Proto"}},
		{"issuer of all tenants", func(w *ward) { w.set("issuer", "https://login.example/{tenantid}/v2.0") },
			want{"issuer", doctor.Fault, "{tenantid}", "Verification.Tenants"}},
		{"C019 PKCE that is not sent for nothing", func(w *ward) { w.cfg.WithoutPKCE = true },
			want{"pkce", doctor.Fault, "Request.WithoutPKCE", "leave out"}},
		{"C019 PKCE that is not sent", func(w *ward) {
			w.cfg.WithoutPKCE = true
			w.edit(func(doc map[string]any) { delete(doc, "code_challenge_methods_supported") })
		}, want{"pkce", doctor.Warn, "only the nonce", "as soon as"}},
		{"no issuer", func(w *ward) { w.edit(func(doc map[string]any) { delete(doc, "issuer") }) },
			want{"issuer", doctor.Fault, `says ""`, "not an OpenID Provider"}},
		{"no S256", func(w *ward) { w.set("code_challenge_methods_supported", []string{"plain"}) },
			want{"pkce", doctor.Fault, "announces plain and not S256", "turn on PKCE with S256"}},
		{"PKCE not announced", func(w *ward) {
			w.edit(func(doc map[string]any) { delete(doc, "code_challenge_methods_supported") })
		}, want{"pkce", doctor.Warn, "does not announce PKCE", "manual"}},
		{"unreachable keys", func(w *ward) { w.set("jwks_uri", "https://127.0.0.1:1/jwks") },
			want{"keys", doctor.Fault, "https://127.0.0.1:1/jwks: cannot connect", "firewall"}},
		{"keys elsewhere", func(w *ward) { w.set("jwks_uri", w.url+"/keys") },
			want{"keys", doctor.Fault, "https://id.example/keys answers with status 404", "Endpoints.JWKS"}},
		{"empty keys", func(w *ward) {
			w.Always(oidcgatetest.JWKS, oidcgatetest.Answer(200, "application/json", `{"keys":[]}`))
		}, want{"keys", doctor.Fault, "has no keys", "create a signing key"}},
		{"keys for nothing that is accepted", func(w *ward) { w.cfg.SigningAlgs = []string{"ES256"} },
			want{"keys", doctor.Fault, "fits ES256: they are RS256", "Verification.SigningAlgs"}},
		{"keys that are junk", func(w *ward) {
			w.Always(oidcgatetest.JWKS, oidcgatetest.Answer(200, "text/html", "<p>hello"))
		}, want{"keys", doctor.Fault, "text/html", "the provider's keys"}},
		{"token endpoint over http", func(w *ward) { w.set("token_endpoint", "http://id.example/token") },
			want{"endpoints", doctor.Fault, `token_endpoint "http://id.example/token" is http`, "Endpoints.Token"}},
		{"no authorization endpoint", func(w *ward) {
			w.edit(func(doc map[string]any) { delete(doc, "authorization_endpoint") })
		}, want{"endpoints", doctor.Fault, "no authorization_endpoint", "Endpoints.Authorization"}},
		{"endpoint without a host", func(w *ward) { w.set("end_session_endpoint", "/logout") },
			want{"endpoints", doctor.Fault, `end_session_endpoint "/logout"`, "correct it"}},
		{"404", func(w *ward) { w.Always(discovery, oidcgatetest.Answer(404, "text/html", "nothing")) },
			want{"discovery", doctor.Fault,
				"https://id.example/.well-known/openid-configuration answers with status 404", "/realms/NAME"}},
		{"403", func(w *ward) { w.Always(discovery, oidcgatetest.Answer(403, "", "")) },
			want{"discovery", doctor.Fault, "status 403", "without a login"}},
		{"502", func(w *ward) { w.Always(discovery, oidcgatetest.Answer(502, "", "")) },
			want{"discovery", doctor.Fault, "the provider is down", "log"}},
		{"junk", func(w *ward) { w.Always(discovery, oidcgatetest.Answer(200, "text/html", "<p>hello")) },
			want{"discovery", doctor.Fault, "text/html that is not a JSON object", "single-page application"}},
		{"a document without members", func(w *ward) {
			w.Always(discovery, oidcgatetest.Answer(200, "application/json", "{}"))
		}, want{"metadata", doctor.Fault, "no login would use this provider", "compare"}},
		{"a flag of the wrong type", func(w *ward) { w.set("authorization_response_iss_parameter_supported", "true") },
			want{"metadata", doctor.Fault, "iss_parameter_supported has the wrong type", "compare"}},
		{"redirect to another issuer", elsewhere(301, "https://new.example/.well-known/openid-configuration"),
			want{"discovery", doctor.Fault, "redirect to \"https://new.example/", `probably "https://new.example"`}},
		{"redirect to a login page", elsewhere(302, "/login?next=1"),
			want{"discovery", doctor.Fault, "status 302", "final document"}},
		{"a break of the connection", func(w *ward) { w.Always(discovery, oidcgatetest.Reset()) },
			want{"discovery", doctor.Fault, "the connection broke", "curl"}},
		{"no answer in time", func(w *ward) {
			w.cfg.Timeout = 50 * time.Millisecond
			w.Always(discovery, oidcgatetest.Hang())
		}, want{"discovery", doctor.Fault, "no answer in time", "HTTP.Transport"}},
		{"nobody listens", func(w *ward) { w.cfg.Issuer = "https://127.0.0.1:1" },
			want{"discovery", doctor.Fault, "cannot connect", "is the provider running"}},
		{"a cloud's metadata service", func(w *ward) { w.cfg.Issuer = "https://169.254.169.254" },
			want{"discovery", doctor.Fault, "link-local", "running"}},
		{"the system gives up", func(w *ward) {
			w.cfg.Transport = roundTrip(func(*http.Request) (*http.Response, error) {
				return nil, &net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}
			})
		}, want{"discovery", doctor.Fault, "no answer in time", "HTTP.Transport"}},
		{"no such host", func(w *ward) {
			w.cfg.Transport = roundTrip(func(*http.Request) (*http.Response, error) {
				return nil, &net.DNSError{Err: "no such host", Name: "id.invalid", IsNotFound: true}
			})
		},
			want{"discovery", doctor.Fault, `id.invalid" cannot be resolved`, "host name"}},
		{"missing authentication method", func(w *ward) {
			w.set("token_endpoint_auth_methods_supported", []string{"client_secret_post", "private_key_jwt"})
		}, want{"authentication", doctor.Fault, "configured is client_secret_basic", "ClientSecretPost or PrivateKeyJWT"}},
		{"authentication not announced", func(w *ward) {
			w.cfg.Auth.Method = op.AuthPost
			w.AddClient(oidcgatetest.Client{
				ID: "shop", Secret: "secret", RedirectURLs: []string{redirectURL},
				AuthMethod: oidcgatetest.ClientSecretPost,
			})
			w.edit(func(doc map[string]any) { delete(doc, "token_endpoint_auth_methods_supported") })
		}, want{"authentication", doctor.Warn, "configured is client_secret_post", "ClientSecretBasic"}},
		{"RS256 missing", func(w *ward) { w.set("id_token_signing_alg_values_supported", []string{"ES256"}) },
			want{"algorithms", doctor.Fault, "signs ID Tokens by ES256, accepted is RS256", `[]string{"ES256"}`}},
		{"HS256 alone", func(w *ward) { w.set("id_token_signing_alg_values_supported", []string{"HS256"}) },
			want{"algorithms", doctor.Fault, "HS256", "choose RS256 for this client at the provider (Auth0"}},
		{"userinfo missing", func(w *ward) {
			w.cfg.Userinfo = op.UserinfoRequired
			w.edit(func(doc map[string]any) { delete(doc, "userinfo_endpoint") })
		}, want{"userinfo", doctor.Fault, "announces no userinfo_endpoint", "UserinfoOff"}},
		{"no logout", func(w *ward) { w.edit(func(doc map[string]any) { delete(doc, "end_session_endpoint") }) },
			want{"logout", doctor.Warn, "no end_session_endpoint", "Endpoints.EndSession"}},
		{"logout turned off", func(w *ward) { w.cfg.Logout = op.LogoutOff },
			want{"logout", doctor.OK, "as configured", ""}},
		{"logout at Keycloak", func(w *ward) { w.set("revocation_endpoint", "https://id.test/realms/x/protocol/openid-connect/revoke") },
			want{"logout", doctor.OK, "only with Logout.WithoutRevocation", ""}},
		{"a scope of the specification that is not announced", func(w *ward) {
			w.cfg.Scopes = []string{"openid", "phone", "reports:read"}
			w.set("scopes_supported", []string{"openid"})
		}, want{"scopes", doctor.Warn, "does not announce phone, only openid", "leave out"}},
		{"a scope of an API that is not announced", func(w *ward) {
			w.cfg.Scopes = []string{"openid", "reports:read"}
		}, want{"scopes", doctor.OK, "does not announce reports:read, and need not announce all", ""}},
		{"response type", func(w *ward) { w.set("response_types_supported", []string{"id_token"}) },
			want{"request", doctor.Fault, "response types id_token", "allow code"}},
		{"response mode", func(w *ward) {
			w.cfg.ResponseMode = "form_post"
			w.set("response_modes_supported", []string{"query"})
		}, want{"request", doctor.Fault, "response modes query", "Request.ResponseMode"}},
		{"signed requests only", func(w *ward) { w.set("require_signed_request_object", true) },
			want{"request", doctor.Fault, "takes only signed requests", "Request.Object"}},
		{"pushed requests only", func(w *ward) { w.set("require_pushed_authorization_requests", true) },
			want{"request", doctor.Fault, "requests must be pushed", "PAR"}},
		{"no DPoP", func(w *ward) {
			w.cfg.DPoP = true
			w.edit(func(doc map[string]any) { delete(doc, "dpop_signing_alg_values_supported") })
		}, want{"dpop", doctor.Warn, "does not announce DPoP", "TokenRequest.Binding"}},
		{"DPoP by other algorithms", func(w *ward) {
			w.cfg.DPoP = true
			w.set("dpop_signing_alg_values_supported", []string{"RS256"})
		}, want{"dpop", doctor.Fault, "DPoP proofs by RS256", "turn ES256 on"}},
		{"no tokens bound to certificates", func(w *ward) {
			w.cfg.Certificate = &op.Certificate{Current: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &tls.Certificate{}, nil }}
			w.set("tls_client_certificate_bound_access_tokens", false)
		}, want{"mtls", doctor.Warn, "bound to a certificate", "TokenRequest.Binding"}},
		{"no OpenID Connect", func(w *ward) { w.set("scopes_supported", []string{"read", "write"}) },
			want{"scopes", doctor.Warn, "announces read, write and not openid", "OAuth 2.0 alone"}},
		{"pushed requests only, and turned off", func(w *ward) {
			w.cfg.Pushed = op.PushedOff
			w.set("require_pushed_authorization_requests", true)
		}, want{"request", doctor.Fault, "Request.Pushed is PushedOff", "leave Request.Pushed at zero"}},
		{"client may not log in", func(w *ward) {
			w.Always(oidcgatetest.Authorization, oidcgatetest.Redirect(302, redirectURL+"?error=unauthorized_client"))
		}, want{"client", doctor.Fault, "may not use response_type code", "authorization code flow"}},
		{"scopes refused in the fragment", func(w *ward) {
			w.cfg.ResponseMode = "fragment"
			w.Always(oidcgatetest.Authorization, oidcgatetest.Redirect(302, redirectURL+"#error=invalid_scope"))
		}, want{"scopes", doctor.Fault, "refuses the scopes openid, profile", "leave out"}},
		{"another error", func(w *ward) {
			w.Always(oidcgatetest.Authorization, oidcgatetest.Redirect(302, redirectURL+"?error=server_error"))
		}, want{"redirect", doctor.Warn, "is registered; the provider refuses the request with server_error", "log"}},
		{"an error page", func(w *ward) {
			w.Always(oidcgatetest.Authorization, oidcgatetest.Answer(500, "text/html", "something went wrong"))
		}, want{"redirect", doctor.Fault, "shows an error page (status 500)", "register " + redirectURL}},
		{"a login page at once", func(w *ward) {
			w.Always(oidcgatetest.Authorization,
				oidcgatetest.Answer(200, "text/html", "<form action='?redirect_uri=https%3A%2F%2Fshop.example'>"))
		}, want{"redirect", doctor.Warn, "shows a page in place of", "register"}},
		{"redirect URI not registered", func(w *ward) { w.cfg.RedirectURL = "https://shop.example/callback" },
			want{"redirect", doctor.Fault, "an error page about redirect_uri (status 400)",
				`register https://shop.example/callback at the provider, letter for letter, for the client "shop"`}},
		{"unknown client", func(w *ward) { w.cfg.ClientID = "shopp" },
			want{"client", doctor.Fault, "error page about the client", `check the client id "shopp"`}},
		{"an error page on another address", func(w *ward) {
			w.Always(oidcgatetest.Authorization, oidcgatetest.Redirect(302, "/error?reason=redirect_uri+mismatch"))
		}, want{"redirect", doctor.Fault, "leads to a page of its own about redirect_uri", "register " + redirectURL}},
		{"scopes refused", func(w *ward) {
			w.Always(oidcgatetest.Authorization, oidcgatetest.Redirect(302, redirectURL+"?error=invalid_scope"))
		}, want{"scopes", doctor.Fault, "refuses the scopes openid, profile", "leave out"}},
		{"a login page", func(w *ward) {
			w.Always(oidcgatetest.Authorization, oidcgatetest.Redirect(302, "/login?redirect_uri="+redirectURL))
		}, want{"redirect", doctor.Warn, `leads to "/login"`, "register"}},
	} {
		t.Run(row.what, func(t *testing.T) {
			w := newWard(t)
			row.do(w)
			expect(t, w.examine(t), row.want)
		})
	}
}

func TestBrokenCertificates(t *testing.T) {
	for _, row := range []struct {
		what   string
		change func(*x509.Certificate)
		do     func(*ward)
		want   want
	}{
		{"expired", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) }, nil,
			want{"tls", doctor.Fault, "the certificate has expired", "renew the certificate"}},
		{"not yet valid", func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }, nil,
			want{"tls", doctor.Fault, "valid only from", "this machine's clock"}},
		{"soon expired", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(24 * time.Hour) }, nil,
			want{"tls", doctor.Warn, "only", "renew it"}},
		{"unknown authority", func(*x509.Certificate) {}, func(w *ward) { w.cfg.RootCAs = x509.NewCertPool() },
			want{"tls", doctor.Fault, "an authority that this machine does not know", "-ca FILE"}},
		{"wrong name", func(c *x509.Certificate) {
			c.IPAddresses, c.DNSNames = nil, []string{"login.example"}
		}, nil, want{"tls", doctor.Fault, "is for login.example and not for", "use a host name"}},
	} {
		t.Run(row.what, func(t *testing.T) {
			w := withCertificate(t, row.change)
			if row.do != nil {
				row.do(w)
			}
			expect(t, w.examine(t), row.want)
		})
	}
	t.Run("no TLS", func(t *testing.T) {
		w := newWard(t)
		plain := httptest.NewServer(http.NotFoundHandler())
		t.Cleanup(plain.Close)
		w.cfg.Issuer = strings.Replace(plain.URL, "http", "https", 1)
		expect(t, w.examine(t), want{"tls", doctor.Fault, "does not speak TLS", "correct the port"})
	})
}

// TestFormPost has a provider that posts its answer.
func TestFormPost(t *testing.T) {
	w := newWard(t)
	w.cfg.ResponseMode = "form_post"
	expect(t, w.examine(t), want{"redirect", doctor.OK, "the provider posts its answer there", ""})
}

// TestConnectionsAreNew holds that no old connection hides a certificate, and none stays.
func TestConnectionsAreNew(t *testing.T) {
	w := newWard(t)
	w.examine(t)
	for _, e := range []oidcgatetest.Endpoint{
		oidcgatetest.Discovery, oidcgatetest.JWKS, oidcgatetest.Authorization,
	} {
		if got := w.LastRequest(e).Header.Get("Connection"); got != "close" {
			t.Errorf("%s: Connection is %q", e, got)
		}
	}
}

func TestPushedRequests(t *testing.T) {
	pushing := func(t *testing.T, secret string) *ward {
		w := newWard(t, oidcgatetest.Config{PushedRequests: true, RequirePushedRequests: true})
		w.cfg.Auth = withSecret(secret)
		return w
	}
	t.Run("healthy", func(t *testing.T) {
		w := pushing(t, "secret")
		found := w.examine(t)
		expect(t, found, want{"request", doctor.OK, "pushed by this service first", ""})
		expect(t, found, want{"redirect", doctor.OK, "is registered", ""})
	})
	t.Run("wrong secret", func(t *testing.T) {
		expect(t, pushing(t, "wrong").examine(t),
			want{"authentication", doctor.Fault, "invalid_client", "authentication method"})
	})
	t.Run("redirect URI not registered", func(t *testing.T) {
		w := pushing(t, "secret")
		w.cfg.RedirectURL = "https://shop.example/callback"
		expect(t, w.examine(t), want{"redirect", doctor.Fault, "redirect_uri", "register https://shop.example/callback"})
	})
}

// TestTokenEndpoint has one provider for each thing that its token endpoint may say of a code that
// nobody has.
func TestTokenEndpoint(t *testing.T) {
	answers := func(status int, body string) func(*ward) {
		return func(w *ward) {
			w.Always(oidcgatetest.Token, oidcgatetest.Answer(status, "application/json", body))
		}
	}
	for name, c := range map[string]struct {
		change func(*ward)
		want
	}{
		"good": {func(*ward) {}, want{"token", doctor.OK, "refuses a code that nobody has, and not the client", ""}},
		"DPoP": {func(w *ward) { w.cfg.DPoP = true }, want{"token", doctor.OK, "and not the client", ""}},
		"public client": {func(w *ward) {
			w.AddClient(oidcgatetest.Client{ID: "shop", RedirectURLs: []string{redirectURL}})
			w.cfg.Auth = op.Auth{Method: op.AuthNone}
		}, want{"token", doctor.OK, "and not the client", ""}},
		"wrong secret": {func(w *ward) { w.cfg.Auth = withSecret("guess") }, want{
			"token", doctor.Fault, `invalid_client ("wrong secret")`, "check client id, secret and authentication method",
		}},
		"no secret to be had": {func(w *ward) {
			w.cfg.Auth.Secret = func(context.Context) (string, error) { return "", errors.New("vault is sealed") }
		}, want{"token", doctor.Fault, "vault is sealed", "secret"}},
		"not this grant": {answers(400, `{"error":"unauthorized_client"}`), want{
			"token", doctor.Fault, "unauthorized_client", "check client id",
		}},
		"nothing there": {answers(404, ""), want{
			"token", doctor.Fault, "status 404, at https://id.example/token", "there is no such endpoint at that address",
		}},
		"overloaded": {answers(503, ""), want{"token", doctor.Fault, "status 503, at https://id.example/token", "overloaded"}},
		"no answer": {func(w *ward) { w.Always(oidcgatetest.Token, oidcgatetest.Reset()) }, want{
			"token", doctor.Fault, "the connection broke, at https://id.example/token", "compare the address of the token endpoint",
		}},
		"another refusal": {answers(400, `{"error":"invalid_request"}`), want{
			"token", doctor.Warn, "nothing follows from that", "log in once",
		}},
		"tokens for anybody": {
			answers(200, `{"access_token":"a","token_type":"Bearer","id_token":"x"}`),
			want{"token", doctor.Fault, "gives tokens for a code that nobody has", "do not use this provider"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWard(t)
			c.change(w)
			expect(t, w.examine(t), c.want)
			if n := w.Count(oidcgatetest.Token); n != 1 && name != "no secret to be had" {
				t.Errorf("%d codes were sent", n)
			}
		})
	}
	t.Run("without a secret nothing is sent", func(t *testing.T) {
		w := newWard(t)
		w.cfg.Complete()
		found := doctor.Examine(t.Context(), op.New(w.cfg), doctor.Options{WithoutSecret: true})
		expect(t, found, want{"token", doctor.Skip, "is not given", "log in once"})
		if n := w.Count(oidcgatetest.Token); n != 0 {
			t.Errorf("%d codes were sent", n)
		}
	})
	t.Run("C113 claims to be read again, and nobody to ask", func(t *testing.T) {
		for name, row := range map[string]struct {
			change func(*ward)
			reread bool
			level  doctor.Level
		}{
			"":                          {func(*ward) {}, true, doctor.Warn},
			"they are not":              {func(*ward) {}, false, ""},
			"but for the refresh token": {func(w *ward) { w.cfg.Scopes = []string{"profile", "offline_access"} }, true, ""},
			"but for userinfo":          {func(w *ward) { w.cfg.Userinfo = op.UserinfoOptional }, true, ""},
			"which knows no such scope": {func(w *ward) { w.set("scopes_supported", []string{"openid", "profile"}) }, true, ""},
			"which announces no scopes": {func(w *ward) { w.edit(func(doc map[string]any) { delete(doc, "scopes_supported") }) }, true, ""},
		} {
			t.Run(name, func(t *testing.T) {
				w := newWard(t)
				row.change(w)
				w.cfg.Complete()
				found := doctor.Examine(t.Context(), op.New(w.cfg), doctor.Options{Reread: row.reread})
				at := slices.IndexFunc(found, func(f doctor.Finding) bool { return f.Name == "claims" })
				if (at < 0) != (row.level == "") || at >= 0 && (found[at].Level != row.level || !strings.Contains(found[at].Cure, "offline_access")) {
					t.Errorf("it says\n%s", table(t, found))
				}
			})
		}
	})
	t.Run("a client without codes", func(t *testing.T) {
		w := newWard(t)
		w.cfg.ResponseType = op.TypeIDToken
		w.examine(t)
		if n := w.Count(oidcgatetest.Token); n != 0 {
			t.Errorf("%d codes were sent", n)
		}
	})
}

// TestAllFaultsAtOnce shows several faults of one provider in one report.
func TestAllFaultsAtOnce(t *testing.T) {
	w := newWard(t)
	w.Always(oidcgatetest.JWKS, date(-10*time.Minute), oidcgatetest.EditJSON(func(set map[string]any) {
		set["keys"] = []any{}
	}))
	w.Always(oidcgatetest.Discovery, date(-10*time.Minute), oidcgatetest.EditJSON(func(doc map[string]any) {
		doc["issuer"] = w.url + "/"
		doc["code_challenge_methods_supported"] = []string{"plain"}
		doc["token_endpoint"] = "http://id.example/token"
		doc["id_token_signing_alg_values_supported"] = []string{"ES256"}
		doc["token_endpoint_auth_methods_supported"] = []string{"private_key_jwt"}
	}))
	found := w.examine(t)
	for i, f := range found {
		if f.Name == "clock" { // the time of the request is in it
			found[i].Text = strings.Replace(f.Text, between(f.Text, " is ", " behind"), "10m0s", 1)
		}
	}
	golden(t, "broken.txt", found)
}

// TestNothingHidesOnATerminal holds that what a provider sends gets to no terminal as it is.
func TestNothingHidesOnATerminal(t *testing.T) {
	w := newWard(t)
	const evil = "\x1b]0;owned\x07\u202e"
	w.edit(func(doc map[string]any) {
		for name := range doc {
			if _, ok := doc[name].(string); ok {
				doc[name] = "https://id.example/" + evil
			} else {
				doc[name] = []string{evil}
			}
		}
		doc["scopes_supported"] = []string{evil}
	})
	text := table(t, w.examine(t))
	if i := strings.IndexFunc(text, func(c rune) bool { return c != '\n' && (c < ' ' || c > '~') }); i >= 0 {
		t.Errorf("it shows %q", text[i:min(len(text), i+40)])
	}
}

// TestNothingIsFollowed holds that no redirect leads the report elsewhere.
func TestNothingIsFollowed(t *testing.T) {
	asked := 0
	other := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }))
	t.Cleanup(other.Close)
	for _, e := range []oidcgatetest.Endpoint{
		oidcgatetest.Discovery, oidcgatetest.JWKS, oidcgatetest.Authorization,
	} {
		w := newWard(t)
		w.cfg.RootCAs.AddCert(other.Certificate())
		w.Always(e, oidcgatetest.Redirect(302, other.URL))
		w.examine(t)
		if w.Count(e) != 1 {
			t.Errorf("%s was asked %d times", e, w.Count(e))
		}
	}
	if asked != 0 {
		t.Errorf("the other server was asked %d times", asked)
	}
}

// TestClock has answers that come from a cache, or say no time.
func TestClock(t *testing.T) {
	both := func(w *ward, faults ...oidcgatetest.Fault) []doctor.Finding {
		w.Always(oidcgatetest.Discovery, faults...)
		w.Always(oidcgatetest.JWKS, faults...)
		return w.examine(t)
	}
	cached := func(age string) oidcgatetest.Fault {
		return oidcgatetest.Edit(func(r *oidcgatetest.Response) { r.Header.Set("Age", age) })
	}
	t.Run("an answer that lay in a cache for ten minutes", func(t *testing.T) {
		found := both(newWard(t), cached("600"), date(-10*time.Minute))
		expect(t, found, want{"clock", doctor.OK, "agree", ""})
	})
	t.Run("one that says nonsense about the cache", func(t *testing.T) {
		found := both(newWard(t), cached("-600"), date(-10*time.Minute))
		expect(t, found, want{"clock", doctor.Fault, "behind", "NTP"})
	})
	t.Run("only one answer is old", func(t *testing.T) {
		w := newWard(t)
		w.Always(oidcgatetest.Discovery, date(-10*time.Minute))
		expect(t, w.examine(t), want{"clock", doctor.OK, "agree", ""})
	})
	t.Run("no time", func(t *testing.T) {
		found := both(newWard(t), oidcgatetest.Edit(func(r *oidcgatetest.Response) { r.Header["Date"] = nil }))
		expect(t, found, want{"clock", doctor.Skip, "not compared, because the provider's answers have no Date", "timedatectl"})
	})
}

// TestNoAnswer has nothing to say but that, and what to register.
func TestNoAnswer(t *testing.T) {
	w := newWard(t)
	w.cfg.Issuer = "https://127.0.0.1:1"
	var names []string
	for _, f := range w.examine(t) {
		names = append(names, f.Name)
	}
	if !slices.Equal(names, []string{"discovery", "redirect"}) {
		t.Errorf("it speaks of %v", names)
	}
}

func TestWithoutAnything(t *testing.T) {
	w := newWard(t)
	w.cfg.Complete()
	found := doctor.Examine(t.Context(), op.New(w.cfg), doctor.Options{WithoutLogin: true})
	expect(t, found, want{"redirect", doctor.Skip, "not tried, because there is no client id", redirectURL})
	if text := table(t, found); !strings.HasSuffix(text, "\n0 faults, 0 warnings, 1 not tried: logins should work\n") {
		t.Errorf("the last line of:\n%s", text)
	}
	if n := w.Count(oidcgatetest.Authorization); n != 0 {
		t.Errorf("%d authorization requests", n)
	}
	w.cfg.RedirectURL = ""
	expect(t, w.examine(t), want{"redirect", doctor.Warn, "base URL", "-base-url"})

	w.cfg.RedirectURL = redirectURL
	w.cfg.Endpoints = op.Endpoints{
		Authorization: w.url + "/authorize", Token: w.url + "/token", JWKS: w.url + "/jwks",
	}
	found = w.examine(t)
	expect(t, found, want{"discovery", doctor.OK, "nothing is discovered", ""})
	expect(t, found, want{"redirect", doctor.OK, "is registered", ""})
}

// TestConfiguredEndpoints has nobody look into a discovery document for an address that the
// configuration has.
func TestConfiguredEndpoints(t *testing.T) {
	w := newWard(t)
	good := op.Endpoints{Authorization: w.url + "/authorize", Token: w.url + "/token", JWKS: w.url + "/jwks"}
	w.cfg.Endpoints = good
	w.cfg.Endpoints.JWKS = w.url + "/keys"
	found := w.examine(t)
	expect(t, found, want{"keys", doctor.Fault, "https://id.example/keys answers with status 404", "Endpoints.JWKS with the jwks_uri"})
	w.cfg.Endpoints = good
	w.cfg.Endpoints.Authorization = w.url + "/login"
	found = w.examine(t)
	expect(t, found, want{"redirect", doctor.Fault, "https://id.example/login answers with status 404", "compare Endpoints.Authorization with the authorization_endpoint"})
	expect(t, found, want{"redirect", doctor.Fault, "status 404", "if it is right, register " + redirectURL})
	w.cfg.Endpoints = op.Endpoints{}
	w.set("authorization_endpoint", w.url+"/login")
	expect(t, w.examine(t), want{"redirect", doctor.Fault, "status 404", "register " + redirectURL})
	for text, code := range map[string]int{"no such page": 403, "redirect_uri is unknown": 404, "unknown client": 404} {
		w.Always(oidcgatetest.Authorization, oidcgatetest.Answer(code, "text/html", text))
		w.cfg.Endpoints = good
		for _, f := range w.examine(t) {
			if strings.Contains(f.Cure, "Endpoints.") {
				t.Errorf("status %d, %q: %+v", code, text, f)
			}
		}
	}
}

func golden(t *testing.T, name string, found []doctor.Finding) {
	t.Helper()
	for i, f := range found {
		if f.Name == "tls" { // it is a certificate of net/http/httptest
			found[i].Text = "the certificate is valid until 2084-01-29"
		}
	}
	file := filepath.Join("testdata", name)
	got := table(t, found)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// date sets what an answer says about the time.
func date(ahead time.Duration) oidcgatetest.Fault {
	return oidcgatetest.Edit(func(r *oidcgatetest.Response) {
		r.Header.Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
	})
}

func dated(ahead time.Duration) func(*ward) {
	return func(w *ward) {
		w.Always(oidcgatetest.Discovery, date(ahead))
		w.Always(oidcgatetest.JWKS, date(ahead))
	}
}

func between(s, before, after string) string {
	_, rest, _ := strings.Cut(s, before)
	word, _, _ := strings.Cut(rest, after)
	return word
}
