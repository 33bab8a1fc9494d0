package op_test

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/op"
)

func TestDPoPKeyThatIsNone(t *testing.T) {
	for name, text := range map[string]string{
		"no base64url":                  "EdDSA:!!",
		"a short secret":                "EdDSA:" + b64(strings.Repeat("s", 31)),
		"no base64url behind a secret":  "EdDSA:" + b64(strings.Repeat("s", 48)) + "!",
		"an algorithm that nobody asks": "RS256:" + b64(strings.Repeat("s", 32)),
		"an algorithm alone":            "EdDSA",
	} {
		t.Run("C095 "+name, func(t *testing.T) {
			o := newOP()
			o.set("token", answerJSON(tokenAnswer(nil)))
			c := o.client(func(cfg *op.Config) { cfg.DPoP = true })
			if key, err := op.ParseDPoPKey(text); err == nil || key != nil {
				t.Errorf("key %v and error %v", key, err)
			}
			if _, err := c.Refresh(t.Context(), "rt", text); err == nil {
				t.Error("a refresh without the key succeeds")
			}
			if _, err := c.ExchangeToken(t.Context(), &op.Tokens{AccessToken: "at", DPoPKey: text}, op.TokenExchange{}); err == nil {
				t.Error("an exchange without the key succeeds")
			}
			if n := o.total(); n != 0 {
				t.Errorf("%d requests without the key", n)
			}
		})
	}
	t.Run("C092 no request to a resource without the key", func(t *testing.T) {
		base, requests := wire(t, say("HTTP/1.1 204 No Content\r\n\r\n"))
		for _, body := range []*closed{{Reader: strings.NewReader("an order")}, nil} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base, nil)
			if err != nil {
				t.Fatal(err)
			}
			if body != nil {
				r.Body = body
			}
			resp, err := newOP().client().RoundTrip(r, "at-1", "EdDSA:!!")
			if err == nil {
				resp.Body.Close()
				t.Error("the token is sent without a proof")
			}
			if body != nil && !body.closed {
				t.Error("the request's body is not closed")
			}
		}
		if n := requests.Load(); n != 0 {
			t.Errorf("%d requests", n)
		}
	})
	t.Run("C092 an address that is none is an error", func(t *testing.T) {
		r := &http.Request{Method: http.MethodGet, URL: &url.URL{Scheme: "a b", Host: "api.example"}, Header: http.Header{}}
		resp, err := newOP().client().RoundTrip(r.WithContext(t.Context()), "at-1", "EdDSA:"+b64(strings.Repeat("s", 32)))
		if err == nil {
			resp.Body.Close()
			t.Error("no error")
		}
	})
}

func TestDPoPAlgOfAnUnknownProvider(t *testing.T) {
	t.Run("C092 no login without DPoP while the metadata cannot be read", func(t *testing.T) {
		o := newOP()
		o.set("discovery", abort)
		alg, err := o.client(func(cfg *op.Config) { cfg.DPoP = true }).DPoPAlg(t.Context())
		wantReason(t, err, "provider_unreachable")
		if alg != "" {
			t.Errorf("algorithm %q", alg)
		}
	})
}

// nonceOf returns the nonce in the proof of a request.
func nonceOf(t *testing.T, r *http.Request) string {
	t.Helper()
	parts := strings.Split(r.Header.Get("DPoP"), ".")
	if len(parts) != 3 {
		t.Fatalf("the proof %q", r.Header.Get("DPoP"))
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims struct {
		Nonce *string `json:"nonce"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	if claims.Nonce == nil {
		return ""
	}
	if *claims.Nonce == "" {
		t.Error("the proof has an empty nonce")
	}
	return *claims.Nonce
}

// nonceCharacters are all that a nonce may have (RFC 9449, section 8.1).
const nonceCharacters = "!#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]^_`abcdefghijklmnopqrstuvwxyz{|}~"

func TestDPoPNoncesThatAreKept(t *testing.T) {
	for _, tt := range []struct{ name, second, want string }{
		{"the last one", "n2", "n2"},
		{"none in the last answer", "", "n1"},
		{"a nonce of 1 KB", strings.Repeat("n", 1<<10), strings.Repeat("n", 1<<10)},
		{"a nonce of more than 1 KB is not", strings.Repeat("n", 1<<10+1), "n1"},
		{"a nonce with a control character is not", "a\x7fb", "n1"},
		{"a nonce beyond ASCII is not", "ä", "n1"},
		{"a nonce with a space is not", "a b", "n1"},
		{"a nonce with a quotation mark is not", `a"b`, "n1"},
		{"a nonce with a backslash is not", `a\b`, "n1"},
		{"a nonce of all other characters", nonceCharacters, nonceCharacters},
	} {
		t.Run("C093 "+tt.name, func(t *testing.T) {
			o := newOP()
			nonces, proved := []string{"n1", tt.second, ""}, ""
			o.set("token", func(w http.ResponseWriter, r *http.Request) {
				proved = nonceOf(t, r)
				if nonces[0] != "" {
					w.Header().Set("DPoP-Nonce", nonces[0])
				}
				nonces = nonces[1:]
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, encode(tokenAnswer(map[string]any{"token_type": "DPoP"})))
			})
			c := o.client(func(cfg *op.Config) { cfg.DPoP = true })
			for range 3 {
				_, err := c.Refresh(t.Context(), "rt", "EdDSA:"+b64(strings.Repeat("s", 32)))
				wantReason(t, err, "")
			}
			if proved != tt.want {
				t.Errorf("the third proof has the nonce %q, want %q", proved, tt.want)
			}
		})
	}
}

func TestDPoPNonceThatIsNone(t *testing.T) {
	for name, nonce := range map[string]string{
		"a space": "a b", "a quotation mark": `a"b`, "a backslash": `a\b`, "more than 1 KB": strings.Repeat("n", 1<<10+1),
	} {
		t.Run("C093 the server asks for a nonce and gives one with "+name+": no second request", func(t *testing.T) {
			o := newOP()
			asked := 0
			o.set("token", func(w http.ResponseWriter, _ *http.Request) {
				asked++
				w.Header().Set("DPoP-Nonce", nonce)
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(http.StatusBadRequest)
				_, _ = io.WriteString(w, `{"error":"use_dpop_nonce"}`)
			})
			c := o.client(func(cfg *op.Config) { cfg.DPoP = true })
			if _, err := c.Refresh(t.Context(), "rt", "EdDSA:"+b64(strings.Repeat("s", 32))); err == nil || asked != 1 {
				t.Errorf("the token endpoint was asked %d times, error %v", asked, err)
			}
			u := &url.URL{Scheme: "https", Host: "api.example", Path: "/"}
			h := http.Header{"Dpop-Nonce": {nonce}, "Www-Authenticate": {`DPoP error="use_dpop_nonce"`}}
			if c.WantsNonce(u, http.StatusUnauthorized, h) {
				t.Error("the request to a resource is made once more")
			}
		})
	}
}

func TestDPoPNonceForNoProof(t *testing.T) {
	t.Run("C093 the server asks for a nonce at a request without a proof: no second request", func(t *testing.T) {
		o := newOP()
		asked := 0
		o.set("token", func(w http.ResponseWriter, _ *http.Request) {
			asked++
			w.Header().Set("DPoP-Nonce", "n1")
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"error":"use_dpop_nonce"}`)
		})
		if _, err := o.client().Refresh(t.Context(), "rt", ""); err == nil || asked != 1 {
			t.Errorf("the token endpoint was asked %d times, error %v", asked, err)
		}
	})
}

func TestDPoPNonceOfTheSecondAnswer(t *testing.T) {
	t.Run("C093 the next request has the nonce of the last answer, also of one that was asked for again", func(t *testing.T) {
		o := newOP()
		var nonces []string
		o.set("token", func(w http.ResponseWriter, r *http.Request) {
			nonces = append(nonces, nonceOf(t, r))
			w.Header().Set("Content-Type", "application/json")
			if len(nonces) == 1 {
				w.Header().Set("DPoP-Nonce", "n1")
				w.WriteHeader(http.StatusBadRequest)
				_, _ = io.WriteString(w, `{"error":"use_dpop_nonce"}`)
				return
			}
			w.Header().Set("DPoP-Nonce", "n2")
			_, _ = io.WriteString(w, encode(tokenAnswer(map[string]any{"token_type": "DPoP"})))
		})
		c := o.client(func(cfg *op.Config) { cfg.DPoP = true })
		for range 2 {
			_, err := c.Refresh(t.Context(), "rt", "EdDSA:"+b64(strings.Repeat("s", 32)))
			wantReason(t, err, "")
		}
		if want := []string{"", "n1", "n2"}; !slices.Equal(nonces, want) {
			t.Errorf("nonces %q, want %q", nonces, want)
		}
	})
}

func TestDPoPNonceOfUserinfo(t *testing.T) {
	for _, tt := range []struct {
		name, last, reason string
		status             int
		asked              int
	}{
		{"the second request has it", "", "", 200, 2},
		{"an endpoint that is never content says nothing about the token", "use_dpop_nonce", "userinfo_error", 401, 2},
		{"an endpoint that refuses the token all the same", "invalid_token", "userinfo_refused", 401, 2},
	} {
		t.Run("C093 "+tt.name, func(t *testing.T) {
			o := newOP()
			var nonces []string
			o.set("userinfo", func(w http.ResponseWriter, r *http.Request) {
				nonces = append(nonces, nonceOf(t, r))
				code, status := "use_dpop_nonce", 401
				if len(nonces) > 1 {
					code, status = tt.last, tt.status
				}
				w.Header().Set("DPoP-Nonce", "n1")
				w.Header().Set("Content-Type", "application/json")
				if status == 401 {
					w.Header().Set("WWW-Authenticate", `DPoP error="`+code+`"`)
				}
				w.WriteHeader(status)
				_, _ = io.WriteString(w, encode(userinfo(nil)))
			})
			c := o.client(asking(op.UserinfoRequired))
			id, err := claims.Parse([]byte(encode(identity(nil))))
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.RereadUserinfo(t.Context(), &op.Tokens{AccessToken: "at-1", DPoPKey: "EdDSA:" + b64(strings.Repeat("s", 32))}, id, false)
			wantReason(t, err, tt.reason)
			if len(nonces) != tt.asked || nonces[0] != "" || nonces[1] != "n1" {
				t.Errorf("nonces %q in %d requests", nonces, len(nonces))
			}
		})
	}
}

func TestDPoPAlgThatIsNotAnnounced(t *testing.T) {
	t.Run("C092 a provider that does not say takes ES256", func(t *testing.T) {
		alg, err := newOP().client(func(cfg *op.Config) { cfg.DPoP = true }).DPoPAlg(t.Context())
		if err != nil || alg != "ES256" {
			t.Errorf("%q, %v", alg, err)
		}
	})
}

func TestFormsOfAChallenge(t *testing.T) {
	u := &url.URL{Scheme: "https", Host: "api.example", Path: "/"}
	for challenge, want := range map[string]bool{
		`DPoP error="use_dpop_nonce"`:                                   true,
		`DPoP error=use_dpop_nonce`:                                     true,
		`DPoP algs="ES256", error = "use_dpop_nonce"`:                   true,
		`DPoP ERROR="use_dpop_nonce", error_description="the nonce"`:    true,
		`Bearer realm="x", DPoP error="use_dpop_nonce"`:                 true,
		`DPoP error="invalid_token"`:                                    false,
		`DPoP error="use_dpop_nonces"`:                                  false,
		`DPoP error_description="use_dpop_nonce"`:                       false,
		`DPoP not_error="use_dpop_nonce"`:                               false,
		`DPoP error_description="x error_uri=y", error="invalid_token"`: false,
		``: false,
	} {
		t.Run("C093 "+challenge, func(t *testing.T) {
			h := http.Header{"Dpop-Nonce": {"n1"}, "Www-Authenticate": {challenge}}
			if got := newOP().client().WantsNonce(u, http.StatusUnauthorized, h); got != want {
				t.Errorf("the request is made once more: %v, want %v", got, want)
			}
		})
	}
}
