package op_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/internal/op"
)

// resourceServer takes the place of http.DefaultTransport, over which resources are asked.
func resourceServer(t *testing.T, answer func(*http.Request) *http.Response) {
	t.Helper()
	before := http.DefaultTransport
	http.DefaultTransport = transportFunc(func(r *http.Request) (*http.Response, error) { return answer(r), nil })
	t.Cleanup(func() { http.DefaultTransport = before })
}

func TestResourceThatWantsANonce(t *testing.T) {
	key := "EdDSA:" + b64(strings.Repeat("s", 32))
	again := func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("an order")), nil }
	const wanted = `DPoP error="use_dpop_nonce"`
	for _, row := range []struct {
		name      string
		key       string
		status    int
		challenge string
		nonce     string
		getBody   func() (io.ReadCloser, error)
		requests  int
	}{
		{"C093 it is sent once more with the nonce", key, 401, wanted, "n1", again, 2},
		{"C093 the body cannot be read twice", key, 401, wanted, "n1", nil, 1},
		{"C093 the second body fails", key, 401, wanted, "n1", func() (io.ReadCloser, error) { return nil, errors.New("gone") }, 1},
		{"C093 another error", key, 401, `DPoP error="invalid_token"`, "n1", again, 1},
		{"C093 another status", key, 400, wanted, "n1", again, 1},
		{"C093 no nonce", key, 401, wanted, "", again, 1},
		{"C092 a token that is bound to no key", "", 401, wanted, "n1", again, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			var first *closed
			bodies, nonces := []string{}, []string{}
			resourceServer(t, func(r *http.Request) *http.Response {
				body, _ := io.ReadAll(r.Body)
				bodies = append(bodies, string(body))
				if row.key != "" {
					nonces = append(nonces, nonceOf(t, r))
				}
				resp := answerOf(r, row.status, "")
				if len(bodies) > 1 {
					resp.StatusCode = http.StatusOK
					return resp
				}
				first = &closed{Reader: strings.NewReader("refused")}
				resp.Body = first
				resp.Header.Set("WWW-Authenticate", row.challenge)
				if row.nonce != "" {
					resp.Header.Set("DPoP-Nonce", row.nonce)
				}
				return resp
			})
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://api.example/orders", io.NopCloser(strings.NewReader("an order")))
			if err != nil {
				t.Fatal(err)
			}
			r.GetBody = row.getBody
			resp, err := newOP().client().RoundTrip(r, "at-1", row.key)
			if err != nil || len(bodies) != row.requests {
				t.Fatalf("%d requests, want %d; %v", len(bodies), row.requests, err)
			}
			if again := row.requests == 2; again != first.closed || again != (resp.StatusCode == http.StatusOK) {
				t.Errorf("status %d, the first answer is closed: %v", resp.StatusCode, first.closed)
			}
			if row.requests == 2 && (bodies[1] != "an order" || nonces[1] != "n1" || nonces[0] != "") {
				t.Errorf("bodies %q, nonces %q", bodies, nonces)
			}
			_ = resp.Body.Close()
		})
	}
}

func TestResourceWithoutAMethod(t *testing.T) {
	t.Run("C092 a request without a method is a GET, and its proof says so", func(t *testing.T) {
		var proof string
		resourceServer(t, func(r *http.Request) *http.Response {
			proof = r.Header.Get("DPoP")
			return answerOf(r, http.StatusOK, "")
		})
		r := (&http.Request{URL: &url.URL{Scheme: "https", Host: "api.example", Path: "/orders"}, Header: http.Header{}}).WithContext(t.Context())
		resp, err := newOP().client().RoundTrip(r, "at-1", "EdDSA:"+b64(strings.Repeat("s", 32)))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		want := op.Proven{Method: http.MethodGet, URL: "https://api.example/orders", AccessToken: "at-1", Leeway: time.Minute}
		if _, err := op.VerifyProof(proof, want); err != nil {
			t.Error(err)
		}
	})
}

func TestResourceThatWantsANonceWithoutABody(t *testing.T) {
	for name, body := range map[string]io.ReadCloser{"nil": nil, "http.NoBody": http.NoBody} {
		t.Run("C093 a request whose body is "+name+" is sent once more", func(t *testing.T) {
			n := 0
			resourceServer(t, func(r *http.Request) *http.Response {
				n++
				resp := answerOf(r, http.StatusOK, "")
				if n == 1 {
					resp.StatusCode = http.StatusUnauthorized
					resp.Header.Set("WWW-Authenticate", `DPoP error="use_dpop_nonce"`)
					resp.Header.Set("DPoP-Nonce", "n1")
				}
				return resp
			})
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "https://api.example/orders", nil)
			r.Body, r.GetBody = body, nil
			resp, err := newOP().client().RoundTrip(r, "at-1", "EdDSA:"+b64(strings.Repeat("s", 32)))
			if err != nil || resp.StatusCode != http.StatusOK || n != 2 {
				t.Fatalf("%v after %d requests, %v", resp, n, err)
			}
			_ = resp.Body.Close()
		})
	}
}

func TestResourceWithACertificateAndAnotherTransport(t *testing.T) {
	t.Run("C091 another http.DefaultTransport, which the program has put there, is used as it is", func(t *testing.T) {
		n := 0
		resourceServer(t, func(r *http.Request) *http.Response { n++; return answerOf(r, http.StatusOK, "") })
		c := newOP().client(func(cfg *op.Config) { cfg.Certificate = &op.Certificate{} })
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://api.example/orders", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.RoundTrip(r, "at-1", "")
		if err != nil || resp.StatusCode != http.StatusOK || n != 1 {
			t.Fatalf("%v, %d requests, %v", resp, n, err)
		}
		_ = resp.Body.Close()
	})
}
