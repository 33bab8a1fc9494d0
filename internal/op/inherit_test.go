package op_test

import (
	"crypto/tls"
	"net/http"
	"sync"
	"testing"

	"github.com/oidcgate/oidcgate/internal/op"
)

func TestInherit(t *testing.T) {
	known := func(o *testOP, changes ...func(*op.Config)) *op.Client {
		t.Helper()
		c := o.client(changes...)
		if _, err := c.Metadata(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := c.VerifyIDToken(t.Context(), goodToken(), "", op.Expectation{Nonce: nonce}); err != nil {
			t.Fatal(err)
		}
		return c
	}
	for name, row := range map[string]struct {
		change func(*op.Config)
		want   bool
	}{
		"another secret":               {func(cfg *op.Config) { cfg.Auth = basic("new") }, true},
		"another client":               {func(cfg *op.Config) { cfg.ClientID = "shop2" }, true},
		"another issuer":               {func(cfg *op.Config) { cfg.Issuer = issuer + "2" }, false},
		"an endpoint of its own":       {func(cfg *op.Config) { cfg.Endpoints.EndSession = "https://id.example/bye" }, false},
		"a profile":                    {func(cfg *op.Config) { cfg.Profile = op.FAPI2Security }, false},
		"http":                         {func(cfg *op.Config) { cfg.AllowHTTP = true }, false},
		"no PKCE":                      {func(cfg *op.Config) { cfg.WithoutPKCE = true }, false},
		"pushed requests":              {func(cfg *op.Config) { cfg.Pushed = op.PushedRequired }, false},
		"signed requests":              {signing(op.ObjectSigned, clientKey), false},
		"another type of the response": {func(cfg *op.Config) { cfg.ResponseType = op.TypeHybrid }, false},
		"another mode of the response": {func(cfg *op.Config) { cfg.ResponseMode = "form_post" }, false},
		"another algorithm":            {func(cfg *op.Config) { cfg.SigningAlgs = []string{"ES256"} }, false},
		"a certificate": {func(cfg *op.Config) {
			cfg.Certificate = &op.Certificate{Current: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return nil, nil }}
		}, false},
	} {
		t.Run("metadata are taken over only if they mean the same: "+name, func(t *testing.T) {
			old := known(newOP())
			c := newOP().client(row.change)
			c.Inherit(old)
			if _, got := c.Known(); got != row.want {
				t.Errorf("taken over: %v, want %v", got, row.want)
			}
		})
	}
	t.Run("keys are taken over", func(t *testing.T) {
		o := newOP()
		old := known(o)
		o.set("jwks", http.NotFound)
		o.set("discovery", http.NotFound)
		before := o.total()
		c := o.client()
		c.Inherit(old)
		_, err := c.VerifyIDToken(t.Context(), goodToken(), "", op.Expectation{Nonce: nonce})
		wantReason(t, err, "")
		if n := o.total() - before; n != 0 {
			t.Errorf("%d requests", n)
		}
	})
	t.Run("C010 clients that are replaced while the keys load wait for the one load", func(t *testing.T) {
		o := newOP()
		arrived, goOn := make(chan struct{}, 9), make(chan struct{})
		jwks := o.handlers[paths["jwks"]]
		o.set("jwks", func(w http.ResponseWriter, r *http.Request) {
			arrived <- struct{}{}
			<-goOn
			jwks(w, r)
		})
		var all sync.WaitGroup
		c := o.client()
		for i := range 5 {
			verify := c
			all.Go(func() {
				_, err := verify.VerifyIDToken(t.Context(), goodToken(), "", op.Expectation{Nonce: nonce})
				wantReason(t, err, "")
			})
			if i == 0 {
				<-arrived
			}
			c = o.client()
			c.Inherit(verify)
		}
		close(goOn)
		all.Wait()
		if n := len(arrived); n != 0 {
			t.Errorf("%d more loads", n)
		}
	})
	t.Run("from no client nothing is taken over", func(t *testing.T) {
		c := newOP().client()
		c.Inherit(nil)
		if _, got := c.Known(); got {
			t.Error("the metadata are known")
		}
	})
	t.Run("C005 configured endpoints stay those of the configuration", func(t *testing.T) {
		all := func(cfg *op.Config) {
			cfg.Endpoints = op.Endpoints{Authorization: "https://id.example/a", Token: "https://id.example/t", JWKS: "https://id.example/jwks"}
		}
		c := newOP().client(all)
		c.Inherit(known(newOP(), all))
		if meta, got := c.Known(); !got || meta.Token != "https://id.example/t" {
			t.Errorf("%v, %+v", got, meta)
		}
	})
}
