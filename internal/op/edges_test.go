package op_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oidcgate/oidcgate/internal/op"
)

// transportFunc is a transport.
type transportFunc func(*http.Request) (*http.Response, error)

// RoundTrip implements [http.RoundTripper].
func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestErrorsOfTheTransport(t *testing.T) {
	dial := func(err error) error { return &net.OpError{Op: "dial", Err: err} }
	for _, tt := range []struct {
		name   string
		err    error
		text   string
		status int
	}{
		{"F01 no such host", dial(&net.DNSError{IsNotFound: true}), "the host name does not exist", 503},
		{"F01 the resolver fails", dial(&net.DNSError{}), "cannot connect", 503},
		{"F01 refused", dial(errors.New("hush")), "cannot connect", 503},
		{"F03 the resolver is slow", dial(&net.DNSError{IsTimeout: true}), "no answer in time", 504},
		{"F03 a deadline", fmt.Errorf("hush: %w", context.DeadlineExceeded), "no answer in time", 504},
		{"F33 the caller gave up", fmt.Errorf("hush: %w", context.Canceled), "the caller gave up", 503},
		{"F11 a reset while reading", &net.OpError{Op: "read", Err: errors.New("hush")}, "the connection broke", 502},
		{"F11 anything else", errors.New("hush"), "the connection broke", 502},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := newOP()
			c := o.client(func(cfg *op.Config) {
				cfg.Transport = transportFunc(func(r *http.Request) (*http.Response, error) {
					if r.URL.Path == paths["token"] {
						return nil, tt.err
					}
					return o.RoundTrip(r)
				})
			})
			_, err := c.Exchange(t.Context(), "hush-code", "hush-verifier")
			e := wantReason(t, err, "token_endpoint_unreachable")
			if e.Status != tt.status || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("status %d, %v, want %d and %q", e.Status, err, tt.status, tt.text)
			}
		})
	}
}

func TestUnsent(t *testing.T) {
	for _, tt := range []struct {
		name   string
		dial   func(context.Context) (net.Conn, error)
		unsent bool
	}{
		{"C084 F01 refused", func(context.Context) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
		}, true},
		{"C084 F03 no connection in time", func(context.Context) (net.Conn, error) {
			time.Sleep(time.Hour)
			return nil, errors.New("too late")
		}, true},
		{"C084 F11 a connection that breaks", func(context.Context) (net.Conn, error) {
			here, there := net.Pipe()
			return here, there.Close()
		}, false},
	} {
		inBubble(t, tt.name, func(t *testing.T) {
			o := newOP()
			broken := &http.Transport{
				DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return tt.dial(ctx) },
			}
			c := o.client(func(cfg *op.Config) {
				cfg.Transport = transportFunc(func(r *http.Request) (*http.Response, error) {
					if r.URL.Path == paths["token"] {
						return broken.RoundTrip(r)
					}
					return o.RoundTrip(r)
				})
			})
			_, err := c.Refresh(t.Context(), "rt-0", "")
			if e := wantReason(t, err, "token_endpoint_unreachable"); e.Unsent != tt.unsent {
				t.Errorf("unsent is %t, want %t (%v)", e.Unsent, tt.unsent, err)
			}
			time.Sleep(2 * time.Hour) // the transport still dials
		})
	}
}

func TestCompressedAnswers(t *testing.T) {
	for encoding, reason := range map[string]string{
		"gzip": "token_response_invalid", "br": "token_response_invalid", "Identity": "", "identity": "",
	} {
		t.Run("F08 "+encoding, func(t *testing.T) {
			o := newOP()
			o.set("token", func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Encoding", encoding)
				answerJSON(tokenAnswer(nil))(w, r)
			})
			_, err := o.client().Exchange(t.Context(), "c", "v")
			if wantReason(t, err, reason); err != nil && !strings.Contains(err.Error(), "compressed") {
				t.Errorf("the error %v", err)
			}
		})
	}
}

func TestWhatNeedsNoDiscovery(t *testing.T) {
	all := op.Endpoints{
		Authorization: "https://id.example/a", Token: "https://id.example/t",
		JWKS: "https://id.example/j", Userinfo: "https://id.example/u",
	}
	for _, tt := range []struct {
		name   string
		change func(*op.Config)
		want   bool
	}{
		{"all are given", func(*op.Config) {}, true},
		{"none is given", func(cfg *op.Config) { cfg.Endpoints = op.Endpoints{} }, false},
		{"no authorization endpoint", func(cfg *op.Config) { cfg.Endpoints.Authorization = "" }, false},
		{"no token endpoint", func(cfg *op.Config) { cfg.Endpoints.Token = "" }, false},
		{"no keys", func(cfg *op.Config) { cfg.Endpoints.JWKS = "" }, false},
		{"no userinfo", func(cfg *op.Config) { cfg.Endpoints.Userinfo = "" }, false},
		{"a discovery document is given too", func(cfg *op.Config) { cfg.Endpoints.Discovery = "https://id.example/d" }, false},
		{"no endpoint for pushed requests, which must be pushed", func(cfg *op.Config) { cfg.Pushed = op.PushedRequired }, false},
		{"an endpoint for pushed requests", func(cfg *op.Config) {
			cfg.Pushed, cfg.Endpoints.PushedAuthorization = op.PushedRequired, "https://id.example/par"
		}, true},
		{
			"no userinfo, which nobody wants",
			func(cfg *op.Config) { cfg.Endpoints.Userinfo, cfg.Userinfo = "", op.UserinfoOff }, true,
		},
	} {
		t.Run("C005 "+tt.name, func(t *testing.T) {
			c := newOP().client(func(cfg *op.Config) {
				cfg.Endpoints, cfg.Userinfo = all, op.UserinfoOptional
				tt.change(cfg)
			})
			if _, known := c.Known(); known != tt.want {
				t.Errorf("the endpoints are known: %v", known)
			}
		})
	}
}

func TestAddressesThatOnlyLookLikeForms(t *testing.T) {
	// The bytes of 169.254.169.254 stand where one of the forms has them, under another prefix.
	for _, ip := range []string{
		"2001:db8::a9fe:a9fe", "2001:a9fe:a9fe::1", "2001:db8:0:a9fe:a9:fe00::", "2001:db8:1:a9:fe:a9fe::",
		"2001:db8:1:0:a9:fea9:fe00::", "fd12::a9fe:a9fe",
	} {
		if op.ForbiddenAddress(netip.MustParseAddr(ip)) {
			t.Errorf("F43 %s is refused", ip)
		}
	}
}

func TestAuthTimeSaysWhatCame(t *testing.T) {
	maxAge := time.Minute
	for name, tt := range map[string]struct {
		at   any
		text string
	}{
		"C067 missing":   {nil, "auth_time is missing, want one at most 1m0s before the login began"},
		"C067 too old":   {time.Now().Add(-time.Hour).Unix(), "before the login began, want at most 1m0s, and 1m0s more for clocks that differ"},
		"C067 in future": {time.Now().Add(time.Hour).Unix(), "in the future by this machine's clock; up to 1m0s may be"},
	} {
		t.Run(name, func(t *testing.T) {
			raw := signed(goodHeader, encode(identity(map[string]any{"auth_time": tt.at})))
			_, err := newOP().client().VerifyIDToken(t.Context(), raw, "", op.Expectation{Nonce: nonce, MaxAge: &maxAge})
			e := wantReason(t, err, "auth_time")
			if !strings.Contains(err.Error(), tt.text) || strings.Contains(err.Error(), "missing") != (tt.at == nil) {
				t.Errorf("the error %v", err)
			}
			if e.Status != http.StatusForbidden || e.Hint == "" {
				t.Errorf("status %d, hint %q", e.Status, e.Hint)
			}
		})
	}
}

func TestSizeOfAToken(t *testing.T) {
	const most = 256 << 10
	const header = `{ "alg":"RS256","kid":"k1"}` // of a length with which most can be met
	// sized returns an ID Token of that many bytes, or of the next possible number.
	sized := func(bytes int) string {
		pad := bytes*3/4 - 800
		for {
			raw := signed(header, encode(identity(map[string]any{"pad": strings.Repeat("x", pad)})))
			if len(raw) >= bytes {
				return raw
			}
			pad += max(1, (bytes-len(raw))*3/4)
		}
	}
	for size, reason := range map[int]string{most: "", most + 1: "id_token_malformed"} {
		raw := sized(size)
		if size == most && len(raw) != most {
			t.Fatalf("a token of %d bytes", len(raw))
		}
		_, err := newOP().client().VerifyIDToken(t.Context(), raw, "", op.Expectation{Nonce: nonce})
		if wantReason(t, err, reason); err != nil && !strings.Contains(err.Error(), "too long") {
			t.Errorf("C070 %d bytes: %v", len(raw), err)
		}
	}
}

func TestKeyIDThatIsNoString(t *testing.T) {
	for _, kid := range []string{"1", "null", "{}"} {
		raw := signed(`{"alg":"RS256","kid":`+kid+`}`, encode(identity(nil)))
		_, err := newOP().client().VerifyIDToken(t.Context(), raw, "", op.Expectation{Nonce: nonce})
		if wantReason(t, err, "id_token_malformed"); !strings.Contains(err.Error(), "kid is not a string") {
			t.Errorf("C070 kid %s: %v", kid, err)
		}
	}
}

func TestRefreshFails(t *testing.T) {
	t.Run("F02 without metadata", func(t *testing.T) {
		o := newOP()
		o.set("discovery", abort)
		tokens, err := o.client().Refresh(t.Context(), "rt-0", "")
		if wantReason(t, err, "provider_unreachable"); tokens != nil || o.count("token") != 0 {
			t.Errorf("tokens %v, and the token endpoint is asked %d times", tokens, o.count("token"))
		}
	})
	t.Run("C095 with a key that cannot be read", func(t *testing.T) {
		o := newOP()
		tokens, err := o.client().Refresh(t.Context(), "rt-0", "junk")
		if err == nil || tokens != nil || o.total() != 0 {
			t.Errorf("tokens %v, error %v after %d requests", tokens, err, o.total())
		}
	})
	t.Run("C003 at an address that is none", func(t *testing.T) {
		o := newOP()
		c := o.client(func(cfg *op.Config) { cfg.Endpoints.Token = "https://id.example/%zz" })
		tokens, err := c.Refresh(t.Context(), "rt-0", "")
		if wantReason(t, err, "token_response_invalid"); tokens != nil || o.count("token") != 0 {
			t.Errorf("tokens %v, and the token endpoint is asked %d times", tokens, o.count("token"))
		}
	})
}

func TestRefreshedTokenOfNobody(t *testing.T) {
	for _, sub := range []any{nil, "", 1, strings.Repeat("x", 256), "é"} {
		o := newOP()
		raw := signed(goodHeader, encode(identity(map[string]any{"sub": sub, "nonce": nil})))
		subject, _ := sub.(string)
		_, _, err := o.client().VerifyRefreshed(t.Context(), raw, "at-1", op.Original{Subject: subject})
		wantReason(t, err, "sub") // C081, whatever the session says of its user
	}
}

func TestClientHint(t *testing.T) {
	for _, tt := range []struct {
		name       string
		id, secret string
		change     func(*op.Config)
		announced  any
		raw, lists bool // what the hint says
	}{
		{"plain", "shop", "hush-hush", nil, nil, false, false},
		{"C050 a secret that Basic encodes", "shop", "hush/hush", nil, nil, true, false},
		{"C050 an id that Basic encodes", "shop:1", "hush-hush", nil, nil, true, false},
		{"C050 where it is not encoded", "shop", "hush/hush", func(cfg *op.Config) { cfg.RawBasic = true }, nil, false, false},
		{"C049 in a form", "shop", "hush/hush", func(cfg *op.Config) { cfg.Auth.Method = op.AuthPost }, nil, false, false},
		{"white space after the secret, from a file", "shop", "hush-hush\n", nil, nil, false, false},
		{"white space before it", "shop", "\thush/hush", nil, nil, false, false},
		{"white space after it, in a form", "shop", "hush-hush\n", func(cfg *op.Config) { cfg.Auth.Method = op.AuthPost }, nil, false, false},
		{"white space after it, where it signs", "shop", strings.Repeat("hush", 8) + "\n", func(cfg *op.Config) { cfg.Auth.Method = op.AuthSecretJWT }, nil, false, false},
		{"C051 another method is announced", "shop", "hush-hush", nil, []string{"client_secret_post"}, false, true},
		{"C051 this method is announced", "shop", "hush-hush", nil, []string{"x", "client_secret_basic"}, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := newOP()
			o.set("discovery", answerJSON(metadata(map[string]any{"token_endpoint_auth_methods_supported": tt.announced})))
			o.set("token", answerText(401, "application/json", `{"error":"invalid_client"}`))
			_, err := o.client(func(cfg *op.Config) {
				cfg.ClientID, cfg.Auth = tt.id, basic(tt.secret)
				if tt.change != nil {
					tt.change(cfg)
				}
			}).Exchange(t.Context(), "c", "v")
			hint := wantReason(t, err, "token_endpoint_error").Hint
			if space := strings.Contains(tt.name, "white space"); space != strings.Contains(hint, "white space") {
				t.Errorf("the hint %q", hint)
			}
			if hint == "" || strings.Contains(hint, "RawBasic") != tt.raw || strings.Contains(hint, "announces") != tt.lists {
				t.Errorf("the hint %q", hint)
			}
		})
	}
}

func TestUserinfoFails(t *testing.T) {
	for _, tt := range []struct {
		name     string
		endpoint string
		h        http.HandlerFunc
		reason   string
	}{
		{"F02 without metadata", "discovery", abort, "provider_unreachable"},
		{"C113 401 with invalid_token", "userinfo", answerText(401, "application/json", `{"error":"invalid_token"}`), "userinfo_refused"},
		{"C113 401 with another error, such as a proxy's", "userinfo", answerText(401, "application/json", `{"error":"Unauthorized"}`), "userinfo_error"},
		{"C113 401 with a challenge of no scheme, as authentik's", "userinfo", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", `error="invalid_token", error_description="x"`)
			w.WriteHeader(401)
		}, "userinfo_refused"},
		{"C113 401 with no JSON", "userinfo", answerText(401, "text/html", "hush"), "userinfo_error"},
		{"C113 404 with invalid_token", "userinfo", answerText(404, "application/json", `{"error":"invalid_token"}`), "userinfo_error"},
		{"C113 403 with insufficient_scope", "userinfo", answerText(403, "application/json", `{"error":"insufficient_scope"}`), "userinfo_refused"},
		{"C113 403 with another error", "userinfo", answerText(403, "application/json", `{"status":403,"error":"Forbidden"}`), "userinfo_error"},
		{"C113 400 with invalid_token", "userinfo", answerText(400, "application/json", `{"error":"invalid_token"}`), "userinfo_error"},
		{"C113 401 with a challenge", "userinfo", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Add("WWW-Authenticate", `Basic realm="x"`)
			w.Header().Add("WWW-Authenticate", `Bearer error="invalid_token"`)
			w.WriteHeader(401)
		}, "userinfo_refused"},
		{"C093 401 because of our proof", "userinfo", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Add("WWW-Authenticate", `DPoP error="invalid_dpop_proof"`)
			w.WriteHeader(401)
		}, "userinfo_error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newOP()
				o.set(tt.endpoint, tt.h)
				info, err := o.client(asking(op.UserinfoRequired)).Userinfo(t.Context(), "at-1", subject)
				if wantReason(t, err, tt.reason); info != "" {
					t.Errorf("claims %s", info.AppendJSON(nil))
				}
			})
		})
	}
	t.Run("C076 both types are asked for", func(t *testing.T) {
		o := newOP()
		var accept string
		o.set("userinfo", func(w http.ResponseWriter, r *http.Request) {
			accept = r.Header.Get("Accept")
			answerJSON(userinfo(nil))(w, r)
		})
		_, err := o.client(asking(op.UserinfoOptional)).Userinfo(t.Context(), "at-1", subject)
		if wantReason(t, err, ""); accept != "application/json, application/jwt" {
			t.Errorf("Accept is %q", accept)
		}
	})
}

func TestErrorsNameTheEndpointThatCannotBeReached(t *testing.T) {
	for endpoint, ask := range map[string]func(*testing.T, *op.Client) error{
		"token": func(t *testing.T, c *op.Client) error {
			_, err := c.Refresh(t.Context(), "hush-token", "")
			return err
		},
		"userinfo": func(t *testing.T, c *op.Client) error {
			_, err := c.Userinfo(t.Context(), "hush-token", "alice")
			return err
		},
		"par": func(t *testing.T, c *op.Client) error {
			_, err := c.AuthorizationURL(t.Context(), aLogin())
			return err
		},
		"revoke": func(t *testing.T, c *op.Client) error { return c.Revoke(t.Context(), "hush-token") },
	} {
		t.Run("F01 "+endpoint, func(t *testing.T) {
			o := newOP()
			c := o.client(func(cfg *op.Config) {
				cfg.Pushed, cfg.Endpoints.PushedAuthorization = op.PushedRequired, "https://id.example/par"
				cfg.Userinfo, cfg.Endpoints.Revocation = op.UserinfoRequired, "https://id.example/revoke"
				cfg.Transport = transportFunc(func(r *http.Request) (*http.Response, error) {
					if r.URL.Path == paths[endpoint] {
						return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
					}
					return o.RoundTrip(r)
				})
			})
			err := ask(t, c)
			if want := "connection refused, at https://id.example" + paths[endpoint]; err == nil || !strings.HasSuffix(err.Error(), want) {
				t.Errorf("error %v, want one that ends with %q", err, want)
			}
		})
	}
}

// A transport of the application that does not heed its context costs one request.
func TestTransportThatDoesNotReturn(t *testing.T) {
	for endpoint, ask := range map[string]func(*testing.T, *op.Client) error{
		"discovery": func(t *testing.T, c *op.Client) error {
			_, err := c.Metadata(t.Context())
			return err
		},
		"token": func(t *testing.T, c *op.Client) error {
			_, err := c.Refresh(t.Context(), "hush-token", "")
			return err
		},
		"userinfo": func(t *testing.T, c *op.Client) error {
			_, err := c.Userinfo(t.Context(), "hush-token", subject)
			return err
		},
	} {
		inBubble(t, "F03 once, for "+endpoint, func(t *testing.T) {
			o := newOP()
			o.set("token", answerJSON(tokenAnswer(nil)))
			o.set("userinfo", answerJSON(userinfo(nil)))
			var hung atomic.Bool
			c := o.client(func(cfg *op.Config) {
				cfg.Userinfo = op.UserinfoRequired
				cfg.Transport = transportFunc(func(r *http.Request) (*http.Response, error) {
					if r.URL.Path == paths[endpoint] && !hung.Swap(true) {
						time.Sleep(time.Hour)
					}
					return o.RoundTrip(r)
				})
			})
			for _, want := range []bool{false, true} {
				begun := time.Now()
				err := ask(t, c)
				if took := time.Since(begun); (err == nil) != want || took > time.Minute {
					t.Errorf("after %v the error is %v", took, err)
				}
				time.Sleep(time.Minute)
			}
			time.Sleep(2 * time.Hour)
		})
	}
}
