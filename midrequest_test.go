package oidcgate_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/store"
)

func TestProviderIsTakenAwayDuringARequest(t *testing.T) {
	t.Run("C032 no token of its session is given away or exchanged", func(t *testing.T) {
		w := newWorld(t)
		w.login()
		var tokenErr, exchangeErr, clientErr error
		w.handler = w.gate.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			other := oidcgate.Provider{Name: "other", Issuer: "https://other.test", ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)}
			if err := w.gate.SetProviders(other); err != nil {
				t.Error(err)
			}
			_, tokenErr = w.gate.Token(r.Context())
			_, exchangeErr = w.gate.ExchangeToken(r.Context(), oidcgate.TokenExchange{Audience: "ledger"})
			_, clientErr = w.gate.Client(r.Context(), "https://api.test").Get("https://api.test/")
		}))
		w.get("/")
		for name, err := range map[string]error{"Token": tokenErr, "ExchangeToken": exchangeErr, "Client": clientErr} {
			if !errors.Is(err, oidcgate.ErrNoSession) {
				t.Errorf("%s: %v, want ErrNoSession", name, err)
			}
		}
	})
}

func TestOpaqueTokenWithoutAnEnd(t *testing.T) {
	inBubble(t, "C163 the identity of a token that does not say its end may be used for this request", func(t *testing.T) {
		a := newAPI(t)
		var ends time.Time
		a.handler = a.gate.Wrap(a.gate.RequireToken()(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if id, ok := oidcgate.FromContext(r.Context()); ok {
				ends = id.Expires()
			}
		})))
		if got := a.call("/api", a.op.NewOpaqueToken(map[string]any{"exp": nil})); got.StatusCode != http.StatusOK || !ends.Equal(time.Now()) {
			t.Errorf("status %d, the identity ends at %v, now is %v", got.StatusCode, ends, time.Now())
		}
	})
}

// withoutValues is a store that cannot read the values of applications.
type withoutValues struct{ store.Store }

// Get implements [store.Store].
func (s withoutValues) Get(ctx context.Context, key string) ([]byte, error) {
	if strings.HasPrefix(key, "v:") {
		return nil, errors.New("the store is away")
	}
	return s.Store.Get(ctx, key)
}

func TestValuesThatCannotBeRead(t *testing.T) {
	t.Run("F32 the answer is 503, and nothing is written over the values", func(t *testing.T) {
		memory := &store.Memory{}
		values := func(c *oidcgate.Config, _ *oidcgate.Provider) { c.EnableValues, c.Store = true, memory }
		w := newWorld(t, values)
		w.login()
		ill := newWorldOf(t, w.op, values, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Store = withoutValues{memory} })
		for _, step := range []struct {
			gate      *oidcgate.Gate
			put, want string
			status    int
		}{
			{w.gate, "first", "", 200}, {ill.gate, "second", "", 503}, {w.gate, "third", "first", 200},
		} {
			got := ""
			w.handler = step.gate.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				got = step.gate.Values().GetString(r.Context(), "k")
				step.gate.Values().Put(r.Context(), "k", step.put)
			}))
			if a := w.get("/"); a.StatusCode != step.status || got != step.want {
				t.Errorf("before %q: status %d and value %q, want %d and %q", step.put, a.StatusCode, got, step.status, step.want)
			}
		}
	})
}
