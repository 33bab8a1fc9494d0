package op_test

import (
	"errors"
	"net/http"
	"strings"
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

func TestRequestThatIsTooLong(t *testing.T) {
	long := strings.Repeat("x", 5<<10)
	for name, row := range map[string]struct {
		token string
		fails error // of the transport; nil: the status
		code  int
		want  bool
	}{
		"by HTTP/2":                      {long, errors.New("http2: request header list larger than peer's advertised limit"), 0, true},
		"by HTTP/1.1":                    {long, nil, 431, true},
		"a server that says no more":     {long, nil, 400, true},
		"a short token is not too long":  {"short", nil, 400, false},
		"nor is one where there is none": {long, nil, 404, false},
		"a connection that breaks":       {long, errors.New("EOF"), 0, false},
	} {
		t.Run("C113 F38 "+name, func(t *testing.T) {
			o := newOP()
			c := o.client(func(cfg *op.Config) {
				cfg.Userinfo = op.UserinfoRequired
				cfg.Transport = transportFunc(func(r *http.Request) (*http.Response, error) {
					switch {
					case r.URL.Path != paths["userinfo"]:
						return o.RoundTrip(r)
					case row.fails != nil:
						return nil, row.fails
					}
					return &http.Response{StatusCode: row.code, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
				})
			})
			_, err := c.Userinfo(t.Context(), row.token, "alice")
			if e, ok := errors.AsType[*op.Error](err); !ok || e.TooLong != row.want {
				t.Errorf("%+v", err)
			}
		})
	}
	t.Run("C084 at another endpoint it says nothing of what users write", func(t *testing.T) {
		o := newOP()
		c := o.client(func(cfg *op.Config) {
			cfg.Transport = transportFunc(func(r *http.Request) (*http.Response, error) {
				if r.URL.Path == paths["token"] {
					return nil, errors.New("http2: request header list larger than peer's advertised limit")
				}
				return o.RoundTrip(r)
			})
		})
		_, err := c.Refresh(t.Context(), "rt-1", "")
		if e, ok := errors.AsType[*op.Error](err); !ok || e.TooLong || e.Refused {
			t.Errorf("%+v", err)
		}
	})
}
