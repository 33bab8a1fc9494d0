package op_test

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oidcgate/oidcgate/internal/op"
)

// Browsers that leave cancel no request to the provider, and make no room for others before it is
// answered.
func TestBrowsersThatLeave(t *testing.T) {
	for endpoint, request := range map[string]func(context.Context, *op.Client) error{
		"token": func(ctx context.Context, c *op.Client) error {
			r, err := c.ReadResponse(ctx, "code=c&state=s")
			if err != nil {
				return err
			}
			_, err = c.Finish(ctx, r, op.Expectation{
				Nonce: nonce, CodeVerifier: "v", Claim: func(context.Context) error { return nil },
			})
			return err
		},
		"par": func(ctx context.Context, c *op.Client) error {
			_, err := c.AuthorizationURL(ctx, aLogin())
			return err
		},
	} {
		inBubble(t, "C098 F04 a browser that leaves while the provider works on a request: "+endpoint, func(t *testing.T) {
			o, _ := pushing(nil)
			if endpoint == "token" {
				o = newOP()
			}
			c := o.client()
			var working, most, cancelled atomic.Int32
			o.set(endpoint, func(w http.ResponseWriter, r *http.Request) {
				most.Store(max(most.Load(), working.Add(1)))
				defer working.Add(-1)
				select {
				case <-time.After(3 * time.Second):
				case <-r.Context().Done():
					cancelled.Add(1)
				}
				w.WriteHeader(http.StatusBadRequest)
			})
			for range 500 { // leave after 15 ms
				ctx, leave := context.WithTimeout(t.Context(), 15*time.Millisecond)
				go func() {
					defer leave()
					_ = request(ctx, c)
				}()
				time.Sleep(time.Millisecond)
			}
			synctest.Wait()
			time.Sleep(10 * time.Second)
			if most.Load() != 64 || cancelled.Load() != 0 {
				t.Errorf("%d requests at once, and %d were cancelled; want 64 and none", most.Load(), cancelled.Load())
			}
			before := o.count(endpoint)
			late, leave := context.WithTimeout(t.Context(), time.Minute)
			defer leave()
			if _ = request(late, c); o.count(endpoint) != before+1 {
				t.Error("a later login makes no request: nobody gave room back")
			}
		})
	}
}
