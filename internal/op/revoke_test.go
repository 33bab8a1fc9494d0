package op_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/op"
)

// revocable is a client whose provider's metadata, which it has read, names a
// revocation endpoint served by h.
func revocable(t *testing.T, h http.HandlerFunc, changes ...func(*op.Config)) *op.Client {
	t.Helper()
	o := newOP()
	o.set("discovery", answerJSON(metadata(map[string]any{"revocation_endpoint": "https://id.example/revoke"})))
	o.mu.Lock()
	o.handlers["/revoke"] = h
	o.mu.Unlock()
	client := o.client(changes...)
	if _, err := client.Metadata(t.Context()); err != nil {
		t.Fatal(err)
	}
	return client
}

func TestRevoke(t *testing.T) {
	for _, test := range []struct {
		name, method string
		header       bool   // the client authenticates in the header
		form         string // and the form says
	}{
		{"C087 in the header", op.AuthBasic, true, "token=rt-1&token_type_hint=refresh_token"},
		{"C087 in the body", op.AuthPost, false,
			"client_id=shop&client_secret=hush+%3A%25&token=rt-1&token_type_hint=refresh_token"},
		{"C087 a public client", op.AuthNone, false,
			"client_id=shop&token=rt-1&token_type_hint=refresh_token"},
	} {
		t.Run(test.name, func(t *testing.T) {
			calls := 0
			client := revocable(t, func(w http.ResponseWriter, r *http.Request) {
				calls++
				if err := r.ParseForm(); err != nil || r.PostForm.Encode() != test.form || r.Method != http.MethodPost || r.URL.RawQuery != "" {
					t.Errorf("%s %s: %q, want %q", r.Method, r.URL, r.PostForm.Encode(), test.form)
				}
				id, password, ok := r.BasicAuth()
				if ok != test.header || ok && (id != "shop" || password != "hush+%3A%25") {
					t.Errorf("header for %q with %q: %v", id, password, ok)
				}
			}, func(c *op.Config) {
				c.Auth = op.Auth{Method: test.method, Secret: func(context.Context) (string, error) { return "hush :%", nil }}
			})
			if err := client.Revoke(t.Context(), "rt-1"); err != nil || calls != 1 {
				t.Errorf("%v after %d calls", err, calls)
			}
		})
	}
}

func TestRevokeFails(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"status 500": answerText(500, "", "rt-1 hush"),
		"status 400": answerText(400, "application/json", `{"error":"unsupported_token_type","error_description":"hush"}`),
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://evil.example/?hush", http.StatusTemporaryRedirect)
		},
		"a reset":           abort,
		"no answer in time": hang,
	} {
		t.Run("C087 "+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				err := revocable(t, h).Revoke(t.Context(), "rt-1")
				wantReason(t, err, "revocation_endpoint_error")
				if took := time.Since(begun); took > 10*time.Second {
					t.Errorf("it took %v", took)
				}
			})
		})
	}
	t.Run("C087 the secret cannot be read", func(t *testing.T) {
		client := revocable(t, abort, func(c *op.Config) {
			c.Auth.Secret = func(context.Context) (string, error) { return "", errors.New("no vault") }
		})
		wantReason(t, client.Revoke(t.Context(), "rt-1"), "client_secret")
	})
}

func TestRevokeAsksNobody(t *testing.T) {
	never := func(http.ResponseWriter, *http.Request) { t.Error("it was asked") }
	t.Run("C087 without a refresh token", func(t *testing.T) {
		if err := revocable(t, never).Revoke(t.Context(), ""); err != nil {
			t.Error(err)
		}
	})
	t.Run("C087 without a revocation endpoint", func(t *testing.T) {
		o := newOP()
		client := o.client()
		if _, err := client.Metadata(t.Context()); err != nil {
			t.Fatal(err)
		}
		before := o.total()
		if err := client.Revoke(t.Context(), "rt-1"); err != nil || o.total() != before {
			t.Errorf("%v after %d requests", err, o.total()-before)
		}
	})
	t.Run("C087 before the metadata is known it is fetched", func(t *testing.T) {
		o := newOP()
		o.set("discovery", answerJSON(metadata(map[string]any{"revocation_endpoint": "https://id.example/revoke"})))
		o.set("revoke", func(http.ResponseWriter, *http.Request) {})
		if err := o.client().Revoke(t.Context(), "rt-1"); err != nil || o.count("revoke") != 1 {
			t.Errorf("%v after %d revocations", err, o.count("revoke"))
		}
	})
	t.Run("F01 while it cannot be fetched that is an error, soon", func(t *testing.T) {
		o := newOP()
		o.set("discovery", abort)
		wantReason(t, o.client().Revoke(t.Context(), "rt-1"), "provider_unreachable")
	})
}

func TestRereadUserinfo(t *testing.T) {
	for _, test := range []struct {
		name   string
		mode   op.UserinfoMode
		h      http.HandlerFunc
		reason string
	}{
		{"C113 a good answer", op.UserinfoOptional, answerJSON(map[string]any{"sub": subject}), ""},
		{"C113 no answer is no answer, and not none", op.UserinfoOptional, answerText(500, "", ""),
			"userinfo_error"},
		{"C113 a token that is over", op.UserinfoOptional, answerText(401, "application/json", `{"error":"invalid_token"}`),
			"userinfo_refused"},
		{"C092 C113 a proof that is refused is not the token", op.UserinfoOptional,
			func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("WWW-Authenticate", `DPoP error="invalid_dpop_proof"`)
				w.WriteHeader(http.StatusUnauthorized)
			}, "userinfo_error"},
		{"C113 somebody else", op.UserinfoOptional, answerJSON(map[string]any{"sub": "mallory"}),
			"userinfo_sub"},
		{"C113 off", op.UserinfoOff, abort, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := newOP()
			o.set("userinfo", test.h)
			client := o.client(func(c *op.Config) { c.Userinfo = test.mode })
			_, err := client.RereadUserinfo(t.Context(), &op.Tokens{AccessToken: "at-1"}, claims.Object("").With("sub", claims.Text(subject)), false)
			wantReason(t, err, test.reason)
		})
	}
	t.Run("C113 a provider without userinfo has nothing to say", func(t *testing.T) {
		o := newOP()
		o.set("discovery", answerJSON(metadata(map[string]any{"userinfo_endpoint": nil})))
		client := o.client(func(c *op.Config) { c.Userinfo = op.UserinfoOptional })
		if _, err := client.Metadata(t.Context()); err != nil {
			t.Fatal(err)
		}
		alice := claims.Object("").With("sub", claims.Text(subject))
		if _, err := client.RereadUserinfo(t.Context(), &op.Tokens{AccessToken: "at-1"}, alice, false); err != nil {
			t.Error(err)
		}
		_, err := client.RereadUserinfo(t.Context(), &op.Tokens{AccessToken: "at-1"}, alice, true)
		wantReason(t, err, "userinfo_error") // it had something to say before
	})
}
