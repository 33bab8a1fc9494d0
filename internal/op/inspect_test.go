package op_test

import (
	"net/http"
	"testing"

	"github.com/oidcgate/oidcgate/internal/op"
)

func TestInspect(t *testing.T) {
	t.Run("it leaves the client as it is, and tells nobody", func(t *testing.T) {
		o := newOP()
		c := o.client()
		o.set("discovery", http.NotFound)
		if i := c.Inspect(t.Context()); i.Refused == nil || i.Discovery.Status != http.StatusNotFound {
			t.Errorf("it says %v, %+v", i.Refused, i.Discovery)
		}
		o.set("discovery", answerJSON(metadata(nil)))
		if _, err := c.Metadata(t.Context()); err != nil { // a failure of its own would make it wait
			t.Errorf("Metadata: %v", err)
		}
		o.set("discovery", http.NotFound)
		before := len(o.events())
		c.Inspect(t.Context())
		if _, known := c.Known(); !known || len(o.events()) != before {
			t.Errorf("known %t, events %v", known, o.events())
		}
	})
	t.Run("its requests pass through what wraps the transport", func(t *testing.T) {
		o, asked := newOP(), 0
		c := o.client(func(cfg *op.Config) {
			cfg.Wrap = func(next http.RoundTripper) http.RoundTripper {
				return transportFunc(func(r *http.Request) (*http.Response, error) { asked++; return next.RoundTrip(r) })
			}
		})
		if i := c.Inspect(t.Context()); i.Refused != nil || i.Keys.Status != http.StatusOK || asked != 2 {
			t.Errorf("%v, %+v, asked %d times", i.Refused, i.Keys, asked)
		}
	})
	t.Run("it tells nobody of keys that a signed request needs", func(t *testing.T) {
		o := newOP()
		encrypts := changed(jwk(otherRSA().Public(), "e1"), map[string]any{"use": "enc"})
		o.set("jwks", answerJSON(keySet(jwk(rsaKey().Public(), "k1"), encrypts)))
		c := o.client(signing(op.ObjectEncrypted, clientKey))
		if _, err := c.Inspect(t.Context()).TryLogin(t.Context(), true); err != nil || len(o.events()) != 0 {
			t.Errorf("%v, events %v", err, o.events())
		}
	})
	t.Run("the keys of metadata that are refused", func(t *testing.T) {
		o := newOP()
		o.set("discovery", answerJSON(metadata(map[string]any{"issuer": "https://other.example"})))
		i := o.client().Inspect(t.Context())
		if i.Refused == nil || i.KeysRefused != nil || i.Keys.Status != http.StatusOK || o.count("jwks") != 1 {
			t.Errorf("%v, %v, %+v", i.Refused, i.KeysRefused, i.Keys)
		}
		_, err := i.TryLogin(t.Context(), true)
		wantReason(t, err, "issuer_mismatch")
	})
	t.Run("an address of keys that may not be used", func(t *testing.T) {
		o := newOP()
		o.set("discovery", answerJSON(metadata(map[string]any{"jwks_uri": "http://id.example/jwks"})))
		if i := o.client().Inspect(t.Context()); i.Refused == nil || o.count("jwks") != 0 {
			t.Errorf("%v, asked %d times", i.Refused, o.count("jwks"))
		}
	})
	t.Run("an answer that is too long is read up to its limit", func(t *testing.T) {
		o := newOP()
		o.set("discovery", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 1<<20)) })
		if i := o.client().Inspect(t.Context()); i.Refused == nil || len(i.Discovery.Body) > 300<<10 {
			t.Errorf("%v, %d bytes", i.Refused, len(i.Discovery.Body))
		}
	})
}
