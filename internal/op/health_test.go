package op_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/oidcgate/oidcgate/internal/op"
)

func TestHealth(t *testing.T) {
	down := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }
	t.Run("F10 the trouble of a provider that is down stays until the next attempt, and so does the error", func(t *testing.T) {
		o := newOP()
		o.set("discovery", down)
		c := o.client()
		if h := c.Health(); h.Trouble != (op.Trouble{}) {
			t.Errorf("before anything was asked: %+v", h.Trouble)
		}
		for range 3 {
			var e *op.Error
			if meta, err := c.Metadata(t.Context()); !errors.As(err, &e) || meta.Token != "" {
				t.Errorf("%+v, %v", meta, err)
			}
		}
		if h := c.Health(); h.Trouble.Text == "" || h.Trouble.Cure == "" || h.Retry.IsZero() {
			t.Errorf("%+v", h)
		}
	})
	t.Run("nothing is wrong with a provider that answers", func(t *testing.T) {
		c := newOP().client()
		if _, err := c.Metadata(t.Context()); err != nil {
			t.Fatal(err)
		}
		if h := c.Health(); h.Trouble != (op.Trouble{}) || h.Token == "" {
			t.Errorf("%+v", h)
		}
	})
}
