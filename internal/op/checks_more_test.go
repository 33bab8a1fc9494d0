package op_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/oidcgate/oidcgate/internal/op"
)

func TestAddressThatIsNone(t *testing.T) {
	t.Run("F43 an address that is no IP address is not dialled", func(t *testing.T) {
		for _, address := range []string{"metadata.example:80", "/run/socket", ""} {
			if err := op.RefuseForbidden(t.Context(), "tcp", address, nil); err == nil {
				t.Errorf("%q is dialled", address)
			}
		}
	})
}

func TestScopes(t *testing.T) {
	t.Run("each scope once", func(t *testing.T) {
		got := op.Scopes([]string{"email", "openid", "email", "groups"})
		if want := []string{"openid", "email", "groups"}; !slices.Equal(got, want) {
			t.Errorf("scopes %q, want %q", got, want)
		}
	})
}

func TestUnknownMode(t *testing.T) {
	for field, set := range map[string]func(cfg *op.Config, mode int){
		"Request.Pushed": func(cfg *op.Config, mode int) { cfg.Pushed = op.PushedMode(mode) },
		"Request.Object": func(cfg *op.Config, mode int) { signing(op.ObjectMode(mode), clientKey)(cfg) },
		"Userinfo":       func(cfg *op.Config, mode int) { cfg.Userinfo = op.UserinfoMode(mode) },
		"Logout.Style":   func(cfg *op.Config, mode int) { cfg.Logout = op.LogoutStyle(mode) },
	} {
		for _, mode := range []int{-1, 9} {
			t.Run(fmt.Sprintf("C096 %s %d", field, mode), func(t *testing.T) {
				cfg := newOP().config(func(cfg *op.Config) { set(cfg, mode) })
				if faults := cfg.Faults(); len(faults) != 1 || faults[0].Field != field {
					t.Errorf("faults %v, want one of %s", faults, field)
				}
			})
		}
	}
}

func TestClientKeyOfAFunction(t *testing.T) {
	t.Run("C132 a weak key is named", func(t *testing.T) {
		o := newOP()
		c := o.client(signing(op.ObjectOff, op.ClientKey{Private: weakKey()}), func(cfg *op.Config) {
			cfg.FixedKeys = false
			cfg.Auth = op.Auth{Method: op.AuthKeyJWT}
		})
		_, err := c.Exchange(t.Context(), "c", "v")
		e := wantReason(t, err, "client_secret")
		if text := e.Err.Error(); !strings.Contains(text, "key 1 of ClientKeys is too weak") {
			t.Errorf("error %q", text)
		}
		if n := o.count("token"); n != 0 {
			t.Errorf("%d requests", n)
		}
	})
}

func TestQueryOfTheEndpoint(t *testing.T) {
	const address = "https://id.example/authorize?display=page&login_hint=x&ui_locales=de"
	for _, tt := range []struct {
		name   string
		login  op.LoginOptions
		reason string
	}{
		{"C024 parameters that no login sends", op.LoginOptions{}, ""},
		{"C024 a parameter that every login sends", op.LoginOptions{Display: "touch"}, "endpoint_invalid"},
		{"C024 a parameter of Params", op.LoginOptions{Params: map[string]string{"p": "b2c"}}, "endpoint_invalid"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := newOP()
			o.set("discovery", answerJSON(metadata(map[string]any{"authorization_endpoint": address + "&p=other"})))
			_, err := o.client(func(cfg *op.Config) { cfg.Login = tt.login }).Metadata(t.Context())
			wantReason(t, err, tt.reason)
		})
	}
}

func TestEmptyParamBesideAField(t *testing.T) {
	t.Run("C024 an empty parameter does not take a field away", func(t *testing.T) {
		own := op.LoginOptions{LoginHint: "joe", Params: map[string]string{"login_hint": ""}}
		got, err := asked(t, newOP(), own, nil)
		wantReason(t, err, "")
		if want := (url.Values{"login_hint": {"joe"}}); !maps.EqualFunc(got, want, slices.Equal) {
			t.Errorf("parameters %v, want %v", got, want)
		}
	})
}

func TestWordsOfLists(t *testing.T) {
	for word, field := range map[string]string{"a~b!": "", "a\x7fb": "UILocales"} {
		t.Run("C024 "+url.QueryEscape(word), func(t *testing.T) {
			_, err := newOP().client().Options(nil, op.LoginOptions{UILocales: []string{word}})
			reason := ""
			if field != "" {
				reason = "login_options"
			}
			wantReason(t, err, reason)
		})
	}
}

func TestUserinfoEndpointThatIsNotUsed(t *testing.T) {
	const member = "userinfo_endpoint"
	for _, tt := range []struct {
		name   string
		mode   op.UserinfoMode
		reason string
	}{
		{"C003 checked when it is used", op.UserinfoOptional, "endpoint_invalid"},
		{"C003 of no interest when it is not", op.UserinfoOff, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := newOP()
			o.set("discovery", answerJSON(metadata(map[string]any{member: "http://id.example/userinfo"})))
			meta, err := o.client(func(cfg *op.Config) { cfg.Userinfo = tt.mode }).Metadata(t.Context())
			wantReason(t, err, tt.reason)
			if meta.Userinfo != "" {
				t.Errorf("userinfo at %q", meta.Userinfo)
			}
		})
	}
}

func TestKeyThatNobodyEncryptsWith(t *testing.T) {
	t.Run("C099 an Ed25519 key is passed over", func(t *testing.T) {
		enc := func(m map[string]any, kid string) map[string]any {
			return changed(m, map[string]any{"use": "enc", "kid": kid})
		}
		o := newOP()
		o.set("jwks", answerJSON(keySet(jwk(rsaKey().Public(), "k1"),
			enc(jwk(edKey().Public(), ""), "e0"), enc(jwk(otherRSA().Public(), ""), "e1"))))
		address, err := o.client(signing(op.ObjectEncrypted, clientKey)).AuthorizationURL(t.Context(), aFreshLogin())
		wantReason(t, err, "")
		jwe, err := jose.ParseEncryptedCompact(query(t, address).Get("request"),
			[]jose.KeyAlgorithm{"RSA-OAEP-256"}, []jose.ContentEncryption{"A128CBC-HS256"})
		if err != nil || jwe.Header.KeyID != "e1" {
			t.Errorf("%v, %v, want a request for e1", jwe, err)
		}
	})
}

func TestKeyWithoutExponent(t *testing.T) {
	for name, e := range map[string]string{"zero": "AA", "empty": "", "even larger than an int": strings.Repeat("_", 12)} {
		t.Run("C011 an exponent that is "+name, func(t *testing.T) {
			o := newOP()
			key := changed(jwk(rsaKey().Public(), "k1"), map[string]any{"e": e})
			o.set("jwks", answerJSON(keySet(key)))
			_, err := o.client().VerifyIDToken(t.Context(), goodToken(), "", op.Expectation{Nonce: nonce})
			wantReason(t, err, "jwks_unavailable")
		})
	}
}

func TestKeysOfAnUnknownProvider(t *testing.T) {
	t.Run("F01 the keys of a provider whose metadata cannot be read", func(t *testing.T) {
		o := newOP()
		o.set("discovery", abort)
		_, err := o.client().VerifyIDToken(t.Context(), goodToken(), "", op.Expectation{Nonce: nonce})
		wantReason(t, err, "provider_unreachable")
		if n := o.count("jwks"); n != 0 {
			t.Errorf("%d requests for keys", n)
		}
	})
}

func TestHintOfAnotherAlgorithm(t *testing.T) {
	for alg, want := range map[string]string{
		"RS512": "if RS512 is what the provider was registered for, set Verification.SigningAlgs",
		"none":  "id_token_signed_response_alg",
	} {
		t.Run("C014 "+alg, func(t *testing.T) {
			raw := signed(`{"alg":"`+alg+`"}`, encode(identity(nil)))
			_, err := newOP().client().VerifyIDToken(t.Context(), raw, "", op.Expectation{Nonce: nonce})
			if e := wantReason(t, err, "alg"); !strings.Contains(e.Hint, want) {
				t.Errorf("hint %q, want %q", e.Hint, want)
			}
		})
	}
}

func TestCertificateOfAPlainTransport(t *testing.T) {
	t.Run("C091 a transport without TLS settings shows the certificate", func(t *testing.T) {
		o := newOP()
		o.set("token", answerJSON(tokenAnswer(nil)))
		server := httptest.NewUnstartedServer(o)
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
		server.StartTLS()
		defer server.Close()
		transport := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, server.Listener.Addr().String())
		}}
		c := o.client(at("https://id.example"), func(cfg *op.Config) {
			cfg.Transport = transport
			cfg.Auth = op.Auth{Method: op.AuthTLS, Certificate: &op.Certificate{Current: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				return &tls.Certificate{}, nil
			}}}
		})
		_, err := c.Exchange(t.Context(), "c", "v")
		if e := wantReason(t, err, "token_endpoint_unreachable"); !strings.Contains(err.Error(), "certificate") {
			t.Errorf("%v (%d), want a word about the server's certificate", err, e.Status)
		}
		if transport.TLSClientConfig != nil {
			t.Error("the application's transport is changed")
		}
	})
}

func TestHintsOfRefusals(t *testing.T) {
	const client, request = "check client id", "refuses the authorization request"
	const troubled = "the provider says that it is in trouble"
	for _, code := range []string{ // GitHub's, Slack's, MITREid Connect's and old Hydra's
		"bad_verification_code", "bad_refresh_token", "invalid_code", "code_already_used", "invalid_refresh_token",
		"invalid_token", "token_inactive",
	} {
		t.Run("C084 a code or refresh token is good no more: "+code, func(t *testing.T) {
			o := newOP()
			o.set("token", answerText(200, "application/json", `{"error":"`+code+`"}`))
			_, err := o.client().Refresh(t.Context(), "rt-1", "")
			if e := wantReason(t, err, "token_endpoint_error"); !e.Refused || e.Code != "invalid_grant" {
				t.Errorf("refused: %v, code %q", e.Refused, e.Code)
			}
		})
	}
	for said, want := range map[string]string{"refresh_token is invalid": "invalid_grant", "the client is not known": "unauthorized_client"} {
		t.Run("C084 unauthorized_client, as Atlassian says it: "+said, func(t *testing.T) {
			o := newOP()
			o.set("token", answerText(403, "application/json", `{"error":"unauthorized_client","error_description":"`+said+`"}`))
			_, err := o.client().Refresh(t.Context(), "rt-1", "")
			if e := wantReason(t, err, "token_endpoint_error"); !e.Refused || e.Code != want {
				t.Errorf("refused: %v, code %q", e.Refused, e.Code)
			}
		})
	}
	for _, code := range []string{"internal_error", "ratelimited", "rate_limit_exceeded", "slow_down"} { // of Slack, Google and others
		t.Run("F10 C085 a token request: "+code, func(t *testing.T) {
			o := newOP()
			o.set("token", answerText(200, "application/json", `{"ok":false,"error":"`+code+`"}`))
			_, err := o.client().Refresh(t.Context(), "rt-1", "")
			if e := wantReason(t, err, "token_endpoint_error"); e.Refused || !strings.Contains(e.Hint, troubled) {
				t.Errorf("refused: %v, hint %q", e.Refused, e.Hint)
			}
		})
	}
	t.Run("F10 C085 a token request: a limit that 403 and Retry-After say", func(t *testing.T) {
		o := newOP()
		o.set("token", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "60")
			w.WriteHeader(http.StatusForbidden)
		})
		_, err := o.client().Refresh(t.Context(), "rt-1", "")
		if e := wantReason(t, err, "token_endpoint_error"); e.Refused || !strings.Contains(e.Hint, troubled) {
			t.Errorf("refused: %v, hint %q", e.Refused, e.Hint)
		}
	})
	for _, code := range []string{"server_error", "temporarily_unavailable"} {
		t.Run("C036 a response: "+code, func(t *testing.T) {
			l := &login{op: newOP(), query: goodResponse(map[string]string{"code": "", "error": code})}
			if e := l.mustEnd(t, "op_error:"+code, op.StageResponse); !strings.Contains(e.Hint, troubled) {
				t.Errorf("hint %q, want %q", e.Hint, troubled)
			}
		})
		t.Run("F10 C085 a token request, with a status below 500: "+code, func(t *testing.T) {
			for _, status := range []int{200, 400} {
				o := newOP()
				o.set("token", answerText(status, "application/json", `{"error":"`+code+`"}`))
				_, err := o.client().Refresh(t.Context(), "rt-1", "")
				if e := wantReason(t, err, "token_endpoint_error"); e.Refused || !strings.Contains(e.Hint, troubled) {
					t.Errorf("refused: %v, hint %q", e.Refused, e.Hint)
				}
			}
		})
		t.Run("F10 a token request: "+code, func(t *testing.T) {
			o := newOP()
			o.set("token", answerText(503, "application/json", `{"error":"`+code+`"}`))
			_, err := o.client().Exchange(t.Context(), "c", "v")
			if e := wantReason(t, err, "token_endpoint_error"); !strings.Contains(e.Hint, troubled) {
				t.Errorf("hint %q, want %q", e.Hint, troubled)
			}
		})
	}
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		want   string
	}{
		{"invalid_client", answerText(401, "application/json", `{"error":"invalid_client"}`), client},
		{"invalid_request", answerText(400, "application/json", `{"error":"invalid_request"}`), request},
		{"status 400", answerText(400, "application/json", `{}`), request},
		{"status 500", answerText(500, "application/json", `{}`), "in trouble or overloaded"},
		{"server_error", answerText(500, "application/json", `{"error":"server_error"}`), troubled},
		{"temporarily_unavailable", answerText(400, "application/json", `{"error":"temporarily_unavailable"}`), troubled},
		{"status 429", answerText(429, "application/json", `{}`), "in trouble or overloaded"},
	} {
		t.Run("C098 a pushed request: "+tt.name, func(t *testing.T) {
			o, _ := pushing(nil)
			o.set("par", tt.answer)
			_, err := o.client().AuthorizationURL(t.Context(), aLogin())
			e := wantReason(t, err, "par_error")
			if !strings.Contains(e.Hint, tt.want) {
				t.Errorf("hint %q, want %q", e.Hint, tt.want)
			}
		})
	}
	for status, want := range map[int]string{401: client, 403: client, 500: ""} {
		t.Run("C163 an introspection: "+http.StatusText(status), func(t *testing.T) {
			o := introspecting(answerText(status, "application/json", `{}`))
			_, err := o.client(forAPI(apiURL)).Introspect(t.Context(), "opaque-1", nil, false)
			e := wantReason(t, err, "introspection")
			if !strings.Contains(e.Hint, want) || want == "" && e.Hint != "" {
				t.Errorf("hint %q, want %q", e.Hint, want)
			}
		})
	}
	for status, want := range map[int]string{401: client, 400: ""} {
		t.Run("a token request: "+http.StatusText(status), func(t *testing.T) {
			o := newOP()
			o.set("token", answerText(status, "application/json", `{}`))
			_, err := o.client().Exchange(t.Context(), "c", "v")
			e := wantReason(t, err, "token_endpoint_error")
			if !strings.Contains(e.Hint, want) || want == "" && e.Hint != "" {
				t.Errorf("hint %q, want %q", e.Hint, want)
			}
		})
	}
}

func TestSizeOfASignedResponse(t *testing.T) {
	for mode, want := range map[string]int{"": 16 << 10, "jwt": 64 << 10, "query.jwt": 64 << 10} {
		t.Run("C035 in the mode "+mode, func(t *testing.T) {
			c := newOP().client(func(cfg *op.Config) { cfg.ResponseMode = mode })
			if got := c.MaxResponse(); got != want {
				t.Errorf("%d bytes, want %d", got, want)
			}
		})
	}
}
