package op_test

import (
	"context"
	"crypto"
	"io"
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
