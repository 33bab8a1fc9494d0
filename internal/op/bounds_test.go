package op_test

import (
	"context"
	"crypto"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oidcgate/oidcgate/internal/op"
)

func TestRefusedPushIsSilent(t *testing.T) {
	const hint, user = "aaaa.bbbb.cccc", "alice@corp.example"
	for name, mode := range map[string]op.ObjectMode{
		"C055 a plain request": op.ObjectOff, "C055 a signed request": op.ObjectSigned,
	} {
		t.Run(name, func(t *testing.T) {
			o, _ := pushing(nil)
			o.set("par", answerText(400, "application/json", encode(map[string]any{
				"error": "invalid_request", "error_description": "the hint " + hint + " of " + user + " in hush-state is old",
			})))
			r := aLogin()
			r.IDTokenHint, r.Options = hint, op.LoginOptions{LoginHint: user}.Encode()
			_, err := o.client(signing(mode, clientKey)).AuthorizationURL(t.Context(), r)
			e := wantReason(t, err, "par_error")
			for _, secret := range []string{hint, user, "hush-state"} {
				if strings.Contains(e.Description, secret) {
					t.Errorf("the description has %q: %q", secret, e.Description)
				}
			}
			if !strings.Contains(e.Description, "is old") {
				t.Errorf("the description is %q", e.Description)
			}
		})
	}
}

// slowSigner is a key service that hangs until it is released.
type slowSigner struct {
	crypto.Signer
	now     *atomic.Int64
	release chan struct{}
}

func (s slowSigner) Sign(r io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	s.now.Add(1)
	<-s.release
	return s.Signer.Sign(r, digest, o)
}

func TestSlowSigner(t *testing.T) {
	for _, endpoint := range []string{"", "https://id.example/par"} {
		inBubble(t, "F03 a key service that hangs, endpoint "+endpoint, func(t *testing.T) {
			s := slowSigner{ecKey(), new(atomic.Int64), make(chan struct{})}
			members := map[string]any{"pushed_authorization_request_endpoint": nil}
			if endpoint != "" {
				members = nil
			}
			o, _ := pushing(members)
			c := o.client(signing(op.ObjectSigned, op.ClientKey{Private: s}))
			_, err := c.Metadata(t.Context())
			wantReason(t, err, "")
			var wg sync.WaitGroup
			var busy atomic.Int64
			for range 100 {
				wg.Go(func() {
					_, err := c.AuthorizationURL(t.Context(), aLogin())
					if e, ok := err.(*op.Error); ok && e.Reason == "provider_busy" {
						busy.Add(1)
					}
				})
			}
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if n := s.now.Load(); n != 64 || busy.Load() != 36 {
				t.Errorf("%d signatures at a time and %d logins turned away, want 64 and 36", n, busy.Load())
			}
			close(s.release)
			wg.Wait()
		})
	}
	inBubble(t, "F03 a function for keys that hangs", func(t *testing.T) {
		c := newOP().client(signing(op.ObjectSigned), func(cfg *op.Config) {
			cfg.FixedKeys = false
			cfg.ClientKeys = func(ctx context.Context) ([]op.ClientKey, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}
		})
		began := time.Now()
		_, err := c.AuthorizationURL(t.Context(), aLogin())
		wantReason(t, err, "client_secret")
		if d := time.Since(began); d != 10*time.Second {
			t.Errorf("the login ends after %v, want 10s", d)
		}
	})
}

func TestLoginsLeaveConnections(t *testing.T) {
	t.Run("F03 a refresh beside logins that hang everywhere", func(t *testing.T) {
		release, underWay := make(chan struct{}), make(chan struct{}, 128)
		mux := http.NewServeMux()
		server := httptest.NewServer(mux)
		defer server.Close()
		var wg sync.WaitGroup
		defer wg.Wait()
		defer close(release)
		slow := func(http.ResponseWriter, *http.Request) { underWay <- struct{}{}; <-release }
		mux.HandleFunc("/.well-known/openid-configuration", answerJSON(metadata(map[string]any{
			"issuer": server.URL, "authorization_endpoint": server.URL + "/authorize", "token_endpoint": server.URL + "/token",
			"jwks_uri": server.URL + "/jwks", "pushed_authorization_request_endpoint": server.URL + "/par",
			"userinfo_endpoint": nil, "end_session_endpoint": nil,
		})))
		mux.HandleFunc("/par", slow)
		mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
			if r.FormValue("grant_type") != "refresh_token" {
				slow(w, r)
				return
			}
			answerJSON(map[string]any{"access_token": "a", "token_type": "Bearer"})(w, r)
		})
		c := newOP().client(func(cfg *op.Config) {
			cfg.Issuer, cfg.Transport, cfg.Timeout = server.URL, nil, time.Minute
		})
		if _, err := c.Metadata(t.Context()); err != nil {
			t.Fatal(err)
		}
		claim := func(context.Context) error { return nil }
		for i := range 64 {
			wg.Go(func() { _, _ = c.AuthorizationURL(t.Context(), aLogin()) })
			wg.Go(func() {
				form := url.Values{"state": {"s"}, "code": {fmt.Sprint("junk", i)}}.Encode()
				if r, err := c.ReadResponse(t.Context(), form); err == nil {
					_, _ = c.Finish(t.Context(), r, op.Expectation{Nonce: nonce, CodeVerifier: "v", Claim: claim})
				}
			})
		}
		for range 128 {
			<-underWay
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if _, err := c.Refresh(ctx, "r", ""); err != nil {
			t.Errorf("the refresh fails: %v", err)
		}
	})
}

func TestProfileKeysOfAFunction(t *testing.T) {
	for _, tt := range []struct {
		name   string
		key    op.ClientKey
		reason string
	}{
		{"C130 a key of a function that signs by RS256", op.ClientKey{Private: rsaKey()}, "client_secret"},
		{"C130 a key of a function that signs by PS256", op.ClientKey{Private: rsaKey(), Algorithm: "PS256"}, ""},
		{"C130 a key of a function that signs by ES384", op.ClientKey{Private: ec384Key()}, "client_secret"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o, got := pushing(map[string]any{"authorization_response_iss_parameter_supported": true})
			_, err := o.client(signing(op.ObjectOff, tt.key), func(cfg *op.Config) {
				cfg.FixedKeys, cfg.Profile, cfg.Auth = false, op.FAPI2Security, op.Auth{Method: op.AuthKeyJWT}
			}).AuthorizationURL(t.Context(), aLogin())
			e := wantReason(t, err, tt.reason)
			if e != nil && (e.Status != 503 || !strings.Contains(e.Hint, "PS256, ES256 and EdDSA")) {
				t.Errorf("status %d, hint %q", e.Status, e.Hint)
			}
			if sent := len(*got) > 0; sent != (tt.reason == "") {
				t.Errorf("%d requests", len(*got))
			}
		})
	}
}

func TestProfileKeysThatAreFixed(t *testing.T) {
	signs := op.ClientKey{Private: rsaKey(), Algorithm: "PS256"}
	for _, tt := range []struct {
		name string
		keys []op.ClientKey
		want bool // a fault of ClientKeys
	}{
		{"C130 one that signs by PS256", []op.ClientKey{signs}, false},
		{"C130 beside one that decrypts", []op.ClientKey{signs, {Private: rsaKey(), Algorithm: "RSA-OAEP-256"}}, false},
		{"C130 beside one that signs by RS256", []op.ClientKey{signs, {Private: rsaKey(), Algorithm: "RS256"}}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := newOP().config(withKeys(tt.keys...), func(cfg *op.Config) {
				cfg.Profile, cfg.Auth, cfg.SigningAlgs, cfg.FixedKeys = op.FAPI2Security, op.Auth{Method: op.AuthKeyJWT}, nil, true
				cfg.DPoP = true
			})
			named := false
			for _, fault := range cfg.Faults() {
				named = named || fault.Field == "ClientKeys"
			}
			if named != tt.want {
				t.Errorf("faults %v", cfg.Faults())
			}
		})
	}
}

func TestProfileKeysAtTheStart(t *testing.T) {
	t.Run("C130 the function is not called before it is needed", func(t *testing.T) {
		cfg := newOP().config(func(cfg *op.Config) {
			cfg.Profile, cfg.Auth, cfg.SigningAlgs, cfg.DPoP = op.FAPI2Security, op.Auth{Method: op.AuthKeyJWT}, nil, true
			cfg.ClientKeys = func(context.Context) ([]op.ClientKey, error) { t.Error("it is called"); return nil, nil }
		})
		if faults := cfg.Faults(); len(faults) != 0 {
			t.Errorf("faults %v", faults)
		}
	})
}

func TestProfileKeepsWhatIsChosen(t *testing.T) {
	t.Run("C130 encrypted requests and query.jwt stay", func(t *testing.T) {
		cfg := newOP().config(signing(op.ObjectEncrypted, clientKey), func(cfg *op.Config) {
			cfg.Profile, cfg.ResponseMode = op.FAPI2MessageSigning, "query.jwt"
		})
		cfg.Complete()
		if cfg.Object != op.ObjectEncrypted || cfg.ResponseMode != "query.jwt" {
			t.Errorf("object %d and response mode %q", cfg.Object, cfg.ResponseMode)
		}
	})
}
