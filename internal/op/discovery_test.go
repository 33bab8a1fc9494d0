package op_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oidcgate/oidcgate/internal/op"
)

func TestDiscoveryDocument(t *testing.T) {
	const evil = "https://evil.example/x"
	tests := []struct {
		name    string
		changes map[string]any
		reason  string
	}{
		{"a good document", nil, ""},
		{"C006 null is absent", map[string]any{"end_session_endpoint": json.RawMessage("null")}, ""},
		{"C006 an endpoint is an object", map[string]any{"end_session_endpoint": struct{}{}},
			"metadata_invalid"},
		{"C003 endpoints at other hosts", map[string]any{"token_endpoint": evil, "jwks_uri": evil}, ""},
		{"a query in the authorization endpoint",
			map[string]any{"authorization_endpoint": "https://id.example/authorize?p=b2c"}, ""},
		{"C019 no list of challenge methods", map[string]any{"code_challenge_methods_supported": nil}, ""},
		{"C019 S256 among the methods",
			map[string]any{"code_challenge_methods_supported": []string{"plain", "S256"}}, ""},
		{"C019 plain alone", map[string]any{"code_challenge_methods_supported": []string{"plain"}},
			"pkce_unsupported"},
		{"C019 no method at all", map[string]any{"code_challenge_methods_supported": []string{}},
			"pkce_unsupported"},
		{"C019 s256 in lower case", map[string]any{"code_challenge_methods_supported": []string{"s256"}},
			"pkce_unsupported"},
		{"C006 methods are a string", map[string]any{"code_challenge_methods_supported": "S256"},
			"metadata_invalid"},
		{"C006 methods are numbers", map[string]any{"code_challenge_methods_supported": []int{256}},
			"metadata_invalid"},
		{"C006 the iss flag is a string",
			map[string]any{"authorization_response_iss_parameter_supported": "true"}, "metadata_invalid"},
		{"C006 the iss flag is a number",
			map[string]any{"authorization_response_iss_parameter_supported": 1}, "metadata_invalid"},
		{"C006 algs are a string", map[string]any{"id_token_signing_alg_values_supported": "RS256"},
			"metadata_invalid"},
		{"C006 auth methods are a string",
			map[string]any{"token_endpoint_auth_methods_supported": "none"}, "metadata_invalid"},
		{"C006 an endpoint is a number", map[string]any{"end_session_endpoint": 1}, "metadata_invalid"},
		{"C001 issuer with a slash", map[string]any{"issuer": issuer + "/"}, "issuer_mismatch"},
		{"C001 issuer with a port",
			map[string]any{"issuer": strings.Replace(issuer, "id.example", "id.example:443", 1)},
			"issuer_mismatch"},
		{"C001 issuer with a host in capitals",
			map[string]any{"issuer": strings.Replace(issuer, "id.example", "ID.example", 1)},
			"issuer_mismatch"},
		{"C001 issuer of another realm", map[string]any{"issuer": "https://id.example/realms/other"},
			"issuer_mismatch"},
		{"C001 issuer on http", map[string]any{"issuer": strings.Replace(issuer, "https", "http", 1)},
			"issuer_mismatch"},
		{"C001 issuer missing", map[string]any{"issuer": nil}, "issuer_mismatch"},
		{"C069 ISSUER in place of issuer", map[string]any{"issuer": nil, "ISSUER": issuer},
			"issuer_mismatch"},
		{"C003 authorization endpoint on http",
			map[string]any{"authorization_endpoint": "http://id.example/authorize"}, "endpoint_invalid"},
		{"C003 token endpoint on our loopback",
			map[string]any{"token_endpoint": "http://127.0.0.1/token"}, "endpoint_invalid"},
		{"C003 token endpoint without scheme", map[string]any{"token_endpoint": "//id.example/token"},
			"endpoint_invalid"},
		{"C003 token endpoint relative", map[string]any{"token_endpoint": "/token"}, "endpoint_invalid"},
		{"C003 token endpoint missing", map[string]any{"token_endpoint": nil}, "endpoint_invalid"},
		{"C003 a file for keys", map[string]any{"jwks_uri": "file:///etc/passwd"}, "endpoint_invalid"},
		{"C003 keys with user information",
			map[string]any{"jwks_uri": "https://id.example@evil.example/jwks"}, "endpoint_invalid"},
		{"C003 keys with a fragment", map[string]any{"jwks_uri": "https://id.example/jwks#"},
			"endpoint_invalid"},
		{"C003 a very long URL",
			map[string]any{"jwks_uri": "https://id.example/" + strings.Repeat("x", 2048)},
			"endpoint_invalid"},
		{"C003 keys without host", map[string]any{"jwks_uri": "https:///jwks"}, "endpoint_invalid"},
		{"C003 logout in script", map[string]any{"end_session_endpoint": "javascript:alert(1)"},
			"endpoint_invalid"},
		{"C003 userinfo on http", map[string]any{"userinfo_endpoint": "http://id.example/userinfo"},
			"endpoint_invalid"},
		{"C003 a host that ends a directive of a Content-Security-Policy",
			map[string]any{"end_session_endpoint": "https://x;sandbox/logout"}, "endpoint_invalid"},
		{"C003 a host that ends a policy", map[string]any{"end_session_endpoint": "https://x,evil/logout"},
			"endpoint_invalid"},
		{"C003 a host that means all hosts", map[string]any{"end_session_endpoint": "https://*/logout"},
			"endpoint_invalid"},
		{"C003 a host with a quote", map[string]any{"end_session_endpoint": "https://x'y/logout"},
			"endpoint_invalid"},
		{"C024 a client secret in the authorization endpoint",
			map[string]any{"authorization_endpoint": "https://id.example/a?client_secret=x"}, "endpoint_invalid"},
		{"C024 a protocol parameter in other letters",
			map[string]any{"authorization_endpoint": "https://id.example/a?STATE=x"}, "endpoint_invalid"},
		{"C024 a configured parameter in the authorization endpoint",
			map[string]any{"authorization_endpoint": "https://id.example/a?ui_locales=fr"}, "endpoint_invalid"},
		{"C024 a protocol parameter in the authorization endpoint", map[string]any{"authorization_endpoint": "https://id.example/a?redirect_uri=https://evil.example"}, "endpoint_invalid"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := newOP()
			o.set("discovery", answerJSON(metadata(tt.changes)))
			c := o.client(func(cfg *op.Config) {
				cfg.Userinfo = op.UserinfoOptional
				cfg.AuthParams = [][2]string{{"ui_locales", "de"}}
			})
			_, err := c.AuthorizationURL(t.Context(), op.AuthorizationRequest{State: "s"})
			event := "provider.ready"
			if e := wantReason(t, err, tt.reason); e != nil {
				event = "provider.rejected " + tt.reason
				if e.Status != 503 {
					t.Errorf("status %d, want 503", e.Status)
				}
			}
			if got := o.events(); !slices.Equal(got, []string{event}) {
				t.Errorf("events %q, want %q", got, event)
			}
			if o.total() != 1 {
				t.Errorf("C003 %d calls, want the discovery alone", o.total())
			}
			if _, known := c.Known(); known != (tt.reason == "") {
				t.Errorf("Known says %v", known)
			}
		})
	}
}

func TestIssuerMismatchSaysWhatCame(t *testing.T) {
	const compare = "the provider's metadata is not what the configuration expects; compare its discovery document"
	long := "https://x/" + strings.Repeat("y", 190)
	for name, tt := range map[string]struct{ announced, shown, hint string }{
		"C001 another realm": {"https://id.example/realms/other", "https://id.example/realms/other",
			`if that is your provider, set Issuer to "https://id.example/realms/other", as it writes it`},
		"C001 a slash too few":             {issuer + "/", issuer + "/", "set Issuer with a slash at its end, as the provider writes it"},
		"C001 none":                        {"", "", compare},
		"C001 one that would forge a line": {"https://x\nlogin ok", "https://x\nlogin ok", `if that is your provider, set Issuer to "https://x\nlogin ok", as it writes it`},
		"C001 one with a query":            {"https://x/y?secret=z", "https://x/y", compare},
		"C001 a long one":                  {long + strings.Repeat("y", 1000), long, compare},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOP()
			o.set("discovery", answerJSON(metadata(map[string]any{"issuer": tt.announced})))
			_, err := o.client().Metadata(t.Context())
			e := wantReason(t, err, "issuer_mismatch")
			if want := fmt.Sprintf("the metadata says issuer %q, Issuer is %q", tt.shown, issuer); e.Err.Error() != want {
				t.Errorf("got %q, want %q", e.Err, want)
			}
			if e.Hint != tt.hint {
				t.Errorf("the hint is %q, want %q", e.Hint, tt.hint)
			}
		})
	}
}

func TestDiscoveryAnswer(t *testing.T) {
	good := encode(metadata(nil))
	tests := []struct {
		name   string
		h      http.HandlerFunc
		reason string
		status int
		event  string
	}{
		{"F10 status 500", answerText(500, "text/plain", "hush"), "provider_unreachable", 503,
			"provider.unreachable"},
		{"F10 status 404", answerText(404, "text/html", "hush"), "metadata_invalid", 503,
			"provider.rejected"},
		{"status 201", answerText(201, "application/json", good), "metadata_invalid", 503,
			"provider.rejected"},
		{"HTML", answerText(200, "text/html", "<p>hush</p>"), "metadata_invalid", 503,
			"provider.rejected"},
		{"no object", answerText(200, "application/json", "[]"), "metadata_invalid", 503,
			"provider.rejected"},
		{"C069 duplicate members",
			answerText(200, "application/json", strings.Replace(good, "{", `{"issuer":"`+issuer+`",`, 1)),
			"metadata_invalid", 503, "provider.rejected"},
		{"something after the object", answerText(200, "application/json", good+"{}"),
			"metadata_invalid", 503, "provider.rejected"},
		{"F08 too long", answerText(200, "application/json", good+strings.Repeat(" ", 256<<10)),
			"metadata_invalid", 503, "provider.rejected"},
		{"F03 hangs", hang, "provider_unreachable", 504, "provider.unreachable"},
		{"F11 breaks", abort, "provider_unreachable", 503, "provider.unreachable"},
		{"C052 redirects", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://evil.example/userinfo", http.StatusTemporaryRedirect)
		}, "metadata_invalid", 503, "provider.rejected"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newOP()
				o.set("discovery", tt.h)
				_, err := o.client().Metadata(t.Context())
				if e := wantReason(t, err, tt.reason); e.Status != tt.status {
					t.Errorf("status %d, want %d", e.Status, tt.status)
				}
				if got := o.events(); len(got) != 1 || got[0] != tt.event+" "+tt.reason {
					t.Errorf("events %q, want %s", got, tt.event)
				}
				if o.total() != 1 {
					t.Errorf("%d calls, want 1", o.total())
				}
			})
		})
	}
}

func TestDiscoveryURL(t *testing.T) {
	for issuer, want := range map[string]string{
		"https://op.example":         "https://op.example/.well-known/openid-configuration",
		"https://op.example/":        "https://op.example/.well-known/openid-configuration",
		"https://op.example/t1":      "https://op.example/t1/.well-known/openid-configuration",
		"https://op.example/a/test/": "https://op.example/a/test/.well-known/openid-configuration",
	} {
		t.Run("C002 "+issuer, func(t *testing.T) {
			var asked []string
			c := newOP().client(func(cfg *op.Config) {
				cfg.Issuer = issuer
				cfg.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
					asked = append(asked, r.URL.String())
					return nil, errDown
				})
			})
			_, err := c.Metadata(t.Context())
			wantReason(t, err, "provider_unreachable")
			if !slices.Equal(asked, []string{want}) {
				t.Errorf("asked %q, want %q", asked, want)
			}
		})
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestExplicitEndpoints(t *testing.T) {
	explicit := op.Endpoints{
		Authorization: "https://id.example/authorize",
		Token:         "https://id.example/token",
		JWKS:          "https://id.example/jwks",
		EndSession:    "https://id.example/logout",
	}
	t.Run("C005 all are given and nothing is discovered", func(t *testing.T) {
		o := newOP()
		o.set("discovery", nil)
		c := o.client(func(cfg *op.Config) { cfg.Endpoints = explicit })
		if meta, known := c.Known(); !known || meta.Endpoints != explicit || meta.Issuer != issuer {
			t.Errorf("Known = %+v, %v", meta, known)
		}
		_, err := c.VerifyIDToken(t.Context(), goodToken(), "", op.Expectation{Nonce: nonce})
		wantReason(t, err, "")
		raw := signed(goodHeader, encode(identity(map[string]any{"iss": "x"})))
		_, err = c.VerifyIDToken(t.Context(), raw, "", op.Expectation{Nonce: nonce})
		wantReason(t, err, "iss_claim")
		if o.count("discovery") != 0 {
			t.Error("the provider was discovered")
		}
	})
	t.Run("C005 userinfo is missing and is discovered", func(t *testing.T) {
		o := newOP()
		o.set("discovery", answerJSON(metadata(map[string]any{"token_endpoint": "http://evil.example"})))
		c := o.client(func(cfg *op.Config) {
			cfg.Endpoints = explicit
			cfg.Userinfo = op.UserinfoOptional
		})
		meta, err := c.Metadata(t.Context())
		wantReason(t, err, "")
		if meta.Token != explicit.Token || meta.Userinfo != "https://id.example/userinfo" {
			t.Errorf("endpoints %+v", meta.Endpoints)
		}
	})
	t.Run("one is given and overrides the discovered one", func(t *testing.T) {
		c := newOP().client(func(cfg *op.Config) { cfg.Endpoints.Token = "https://other.example/token" })
		meta, err := c.Metadata(t.Context())
		wantReason(t, err, "")
		if meta.Token != "https://other.example/token" || meta.JWKS != "https://id.example/jwks" {
			t.Errorf("endpoints %+v", meta.Endpoints)
		}
	})
	t.Run("C003 http off loopback when that is allowed", func(t *testing.T) {
		o := newOP()
		o.set("discovery", answerJSON(metadata(map[string]any{"token_endpoint": "http://id.example/token"})))
		_, err := o.client(func(cfg *op.Config) { cfg.AllowHTTP = true }).Metadata(t.Context())
		wantReason(t, err, "")
	})
}

// The back-off is seen from outside: how often the provider is asked while
// somebody asks for it ten times a second.
func TestDiscoveryBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOP()
		o.set("discovery", abort)
		c := o.client()
		var asked []time.Duration
		start := time.Now()
		for time.Since(start) < 2*time.Minute {
			before := o.count("discovery")
			_, err := c.Metadata(t.Context())
			wantReason(t, err, "provider_unreachable")
			if o.count("discovery") != before {
				asked = append(asked, time.Since(start))
			}
			time.Sleep(100 * time.Millisecond)
		}
		for i := 1; i < len(asked); i++ {
			longest := min(time.Second<<(i-1), 15*time.Second) + 100*time.Millisecond
			if pause := asked[i] - asked[i-1]; pause < longest/3 || pause > longest {
				t.Errorf("F01 pause %d is %v, want up to %v", i, pause, longest)
			}
		}
		if len(asked) < 10 || len(asked) > 20 {
			t.Errorf("F01 asked %d times in two minutes", len(asked))
		}

		o.set("discovery", answerJSON(metadata(nil)))
		time.Sleep(15 * time.Second)
		_, err := c.Metadata(t.Context())
		wantReason(t, err, "")
	})
}

func TestDiscoveryIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOP()
		o.set("discovery", func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(3 * time.Second)
			answerJSON(metadata(nil))(w, r)
		})
		c := o.client()
		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := c.Metadata(impatient)
			wantReason(t, err, "provider_unreachable")
		})
		synctest.Wait()
		for range 100 {
			wg.Go(func() {
				_, err := c.Metadata(t.Context())
				wantReason(t, err, "")
			})
		}
		wg.Wait()
		if n := o.count("discovery"); n != 1 {
			t.Errorf("F04 %d calls for 101 logins, the first of which left", n)
		}
	})
}

func TestDiscoveryRefresh(t *testing.T) {
	full := metadata(map[string]any{
		"authorization_response_iss_parameter_supported": true,
		"code_challenge_methods_supported":               []string{"S256"},
		"end_session_endpoint":                           nil,
		"pushed_authorization_request_endpoint":          "https://id.example/par",
		"require_pushed_authorization_requests":          true,
	})
	const refused = "provider.downgrade_refused "
	tests := []struct {
		name    string
		h       http.HandlerFunc
		event   string // besides provider.ready
		adopted bool
	}{
		{"F13 a new path is adopted",
			answerJSON(changed(full, map[string]any{"token_endpoint": "https://id.example/new"})), "", true},
		{"F13 a new end of session at the issuer is adopted",
			answerJSON(changed(full, map[string]any{"end_session_endpoint": "https://id.example/out"})), "",
			true},
		{"F13 the default port is the same origin",
			answerJSON(changed(full, map[string]any{"token_endpoint": "https://ID.example:443/new"})), "",
			true},
		{"F13 another origin",
			answerJSON(changed(full, map[string]any{"token_endpoint": "https://evil.example/token"})),
			refused + "downgrade", false},
		{"F13 another port", answerJSON(changed(full, map[string]any{"authorization_endpoint": "https://id.example:8443/authorize"})), refused + "downgrade", false},
		{"F13 keys at another origin",
			answerJSON(changed(full, map[string]any{"jwks_uri": "https://evil.example/jwks"})),
			refused + "downgrade", false},
		{"F13 a new end of session elsewhere",
			answerJSON(changed(full, map[string]any{"end_session_endpoint": "https://evil.example/out"})),
			refused + "downgrade", false},
		{"F13 http",
			answerJSON(changed(full, map[string]any{"token_endpoint": "http://id.example/token"})),
			refused + "endpoint_invalid", false},
		{"F13 another issuer", answerJSON(changed(full, map[string]any{"issuer": issuer + "/"})),
			refused + "issuer_mismatch", false},
		{"F13 no iss flag",
			answerJSON(changed(full, map[string]any{"authorization_response_iss_parameter_supported": nil})),
			refused + "downgrade", false},
		{"F13 the iss flag false", answerJSON(changed(full, map[string]any{"authorization_response_iss_parameter_supported": false})), refused + "downgrade", false},
		{"C098 the endpoint for pushed requests elsewhere", answerJSON(changed(full, map[string]any{"pushed_authorization_request_endpoint": "https://evil.example/par"})), refused + "downgrade", false},
		{"C098 pushed requests are withdrawn", answerJSON(changed(full, map[string]any{
			"pushed_authorization_request_endpoint": nil, "require_pushed_authorization_requests": nil,
		})), refused + "downgrade", false},
		{"C098 pushed requests are no longer required", answerJSON(changed(full, map[string]any{"require_pushed_authorization_requests": false})), refused + "downgrade", false},
		{"F13 S256 no longer listed",
			answerJSON(changed(full, map[string]any{"code_challenge_methods_supported": nil})),
			refused + "downgrade", false},
		{"F13 plain in place of S256",
			answerJSON(changed(full, map[string]any{"code_challenge_methods_supported": []string{"plain"}})),
			refused + "pkce_unsupported", false},
		{"C007 no JSON", answerText(200, "text/html", "maintenance"), refused + "metadata_invalid", false},
		{"C007 gone", answerText(404, "text/html", ""), refused + "metadata_invalid", false},
		{"F02 down", abort, "provider.unreachable provider_unreachable", false},
		{"F03 hanging", hang, "provider.unreachable provider_unreachable", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newOP()
				o.set("discovery", answerJSON(full))
				c := o.client()
				first, err := c.Metadata(t.Context())
				wantReason(t, err, "")

				time.Sleep(59 * time.Minute)
				c.Metadata(t.Context())
				synctest.Wait()
				if n := o.count("discovery"); n != 1 {
					t.Fatalf("%d discoveries within the hour", n)
				}

				o.set("discovery", tt.h)
				time.Sleep(time.Minute)
				stale, err := c.Metadata(t.Context())
				wantReason(t, err, "")
				if stale.Endpoints != first.Endpoints {
					t.Errorf("the stale answer is %+v", stale)
				}
				time.Sleep(11 * time.Second) // for the provider that hangs
				now, _ := c.Known()
				if adopted := now.Endpoints != first.Endpoints; adopted != tt.adopted {
					t.Errorf("adopted is %v: %+v", adopted, now)
				}
				if !now.IssParameter {
					t.Error("the iss flag is lost")
				}
				want := []string{"provider.ready"}
				if tt.event != "" {
					want = append(want, tt.event)
				}
				if got := o.events(); !slices.Equal(got, want) {
					t.Errorf("events %q, want %q", got, want)
				}

				time.Sleep(time.Minute)
				c.Metadata(t.Context())
				synctest.Wait()
				again := tt.event == "provider.unreachable provider_unreachable"
				if asked := o.count("discovery") == 3; asked != again {
					t.Errorf("asked again after a minute: %v, want %v", asked, again)
				}
				time.Sleep(11 * time.Second)
			})
		})
	}
}

func TestDiscoveryIsNotPolled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOP()
		c := o.client()
		c.Metadata(t.Context())
		time.Sleep(48 * time.Hour)
		if n := o.count("discovery"); n != 1 {
			t.Errorf("%d discoveries with nobody there", n)
		}
	})
}

func TestPanicInTransport(t *testing.T) {
	c := newOP().client(func(cfg *op.Config) {
		cfg.Transport = roundTripper(func(*http.Request) (*http.Response, error) { panic("hush") })
	})
	_, err := c.Metadata(t.Context())
	wantReason(t, err, "provider_unreachable")
}

func TestDiscoveryHangs(t *testing.T) {
	ways := map[string]func(*testing.T, *op.Client) error{
		"begin": func(t *testing.T, c *op.Client) error {
			_, err := c.AuthorizationURL(t.Context(), op.AuthorizationRequest{State: "s", Nonce: nonce, CodeVerifier: "v"})
			return err
		},
		"end": func(t *testing.T, c *op.Client) error {
			response, err := c.ReadResponse(t.Context(), "code=c&state=s")
			wantReason(t, err, "")
			_, err = c.Finish(t.Context(), response, op.Expectation{Claim: func(context.Context) error { return errors.New("claimed") }})
			return err
		},
	}
	for name, way := range ways {
		inBubble(t, "F04 F03 of 500 logins that "+name+" while the metadata does not come, 64 wait for it and the others a second", func(t *testing.T) {
			o := newOP()
			o.set("discovery", hang)
			c := o.client()
			var long, short atomic.Int64
			var wg sync.WaitGroup
			start := time.Now()
			for range 500 {
				wg.Go(func() {
					err := way(t, c)
					if time.Since(start) > time.Second {
						long.Add(1)
						return
					}
					short.Add(1)
					if e := wantReason(t, err, "provider_busy"); e.Status != http.StatusServiceUnavailable || e.Stage != op.StageBefore {
						t.Errorf("status %d at stage %d", e.Status, e.Stage)
					}
				})
			}
			wg.Wait()
			if long.Load() != 64 || short.Load() != 436 {
				t.Errorf("%d waited to the end and %d for a second, want 64 and 436", long.Load(), short.Load())
			}
		})
		inBubble(t, "F01 of 500 logins that "+name+" at a start none fails when the metadata comes soon", func(t *testing.T) {
			o := newOP()
			o.set("discovery", func(w http.ResponseWriter, r *http.Request) {
				time.Sleep(900 * time.Millisecond)
				answerJSON(metadata(nil))(w, r)
			})
			c := o.client()
			var wg sync.WaitGroup
			for range 500 {
				wg.Go(func() {
					if err := way(t, c); err != nil && err.Error() != "claimed" {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		})
	}
}

// TestHintOfWhatDoesNotFit has configurations of which the provider announces something.
func TestHintOfWhatDoesNotFit(t *testing.T) {
	for _, tt := range []struct {
		name    string
		members map[string]any
		change  func(*op.Config)
		hint    string // a part of it; "" for none
	}{
		{"C099 signed requests are demanded, and sent", map[string]any{"require_signed_request_object": true}, signing(op.ObjectSigned, clientKey), ""},
		{"C099 signed requests are demanded, and not sent", map[string]any{"require_signed_request_object": true}, func(*op.Config) {}, "takes only signed requests"},
		{"C099 algorithms of requests, and none is signed", map[string]any{"request_object_signing_alg_values_supported": []string{"ES512"}}, func(*op.Config) {}, ""},
		{"C019 PKCE with S256 is announced, and used", map[string]any{"code_challenge_methods_supported": []string{"S256"}}, func(*op.Config) {}, ""},
		{"C019 PKCE with S256 is announced, and not used", map[string]any{"code_challenge_methods_supported": []string{"S256"}}, func(cfg *op.Config) { cfg.WithoutPKCE = true }, "leave out Request.WithoutPKCE"},
		{"C019 no PKCE where only plain is announced", map[string]any{"code_challenge_methods_supported": []string{"plain"}}, func(cfg *op.Config) { cfg.WithoutPKCE = true }, ""},
		{"C067 hd that names no organization", nil, func(cfg *op.Config) { cfg.AuthParams = [][2]string{{"hd", "*"}} }, ""},
		{"C067 hd that names one", nil, func(cfg *op.Config) { cfg.AuthParams = [][2]string{{"hd", "shop.example"}} }, "Verification.RequireClaims"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := newOP()
			o.set("discovery", answerJSON(metadata(tt.members)))
			_, err := o.client(tt.change).Metadata(t.Context())
			wantReason(t, err, "")
			if hint := o.notices[0].Hint; (hint == "") != (tt.hint == "") || !strings.Contains(hint, tt.hint) {
				t.Errorf("hint %q, want %q", hint, tt.hint)
			}
		})
	}
	t.Run("C003 a prompt in the address of the provider", func(t *testing.T) {
		o := newOP()
		o.set("discovery", answerJSON(metadata(map[string]any{"authorization_endpoint": "https://id.example/authorize?prompt=login"})))
		_, err := o.client().Metadata(t.Context())
		wantReason(t, err, "endpoint_invalid")
	})
}

func TestIDTokenAloneNeedsNoTokenEndpoint(t *testing.T) {
	t.Run("C001 nothing is discovered where all that is needed is configured", func(t *testing.T) {
		o := newOP()
		c := o.client(func(cfg *op.Config) {
			cfg.ResponseType = op.TypeIDToken
			cfg.Endpoints = op.Endpoints{Authorization: "https://id.example/authorize", JWKS: "https://id.example/jwks"}
		})
		if _, err := c.AuthorizationURL(t.Context(), aLogin()); err != nil || o.total() != 0 {
			t.Errorf("%v after %d requests", err, o.total())
		}
	})
}
