package oidcgate_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

func TestClientKeysByHEAD(t *testing.T) {
	t.Run("C090 the public keys by HEAD", func(t *testing.T) {
		key := newClientKey(t)
		w := newWorld(t, func(_ *oidcgate.Config, p *oidcgate.Provider) {
			p.ClientKeys = oidcgate.NewClientKeys(func(context.Context) ([]oidcgate.ClientKey, error) {
				return []oidcgate.ClientKey{{Key: key, ID: "k1"}}, nil
			})
		})
		a := w.send(w.browser, http.MethodHead, "/auth/jwks", "")
		if a.StatusCode != http.StatusOK || a.Header.Get("Content-Type") != "application/jwk-set+json" {
			t.Errorf("status %d, %v", a.StatusCode, a.Header)
		}
	})
}

func TestLogOfALogin(t *testing.T) {
	w := newWorld(t)
	w.login()
	events := w.eventsOf(oidcgate.EventLoginSucceeded)
	if len(events) != 1 || events[0].SubjectHash == "" {
		t.Fatalf("events %+v", events)
	}
	t.Run("the log has the user's hash", func(t *testing.T) {
		if !strings.Contains(w.logged(), `"sub_hash":"`+events[0].SubjectHash+`"`) {
			t.Errorf("logged %s", w.logged())
		}
	})
	t.Run("an answer that was sent is not logged as one that was not", func(t *testing.T) {
		w.get("/auth/logout")
		if strings.Contains(w.logged(), "writing an answer") {
			t.Errorf("logged %s", w.logged())
		}
	})
}

func TestAdmitWithARuleThatNothingMade(t *testing.T) {
	w := newWorld(t)
	shop := w.gate.Wrap(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		defer func() {
			if v, _ := recover().(string); !strings.HasPrefix(v, "oidcgate: ") {
				t.Errorf("panic %q, want a word about the rule", v)
			}
		}()
		w.gate.Admit(rw, r, oidcgate.Rule{})
	}))
	shop.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, shopURL+"/", nil))
}

func TestHeadersOfASignOut(t *testing.T) {
	t.Run("the answer to a sign-out stays out of caches", func(t *testing.T) {
		w := newWorld(t)
		w.login()
		a := w.send(w.browser, http.MethodPost, "/auth/logout", "", "Sec-Fetch-Site: same-origin")
		if got := a.Header.Get("Cache-Control"); !strings.Contains(got, "no-store") {
			t.Errorf("status %d, Cache-Control %q", a.StatusCode, got)
		}
	})
}

func TestEarlierOfTwoEnds(t *testing.T) {
	for name, left := range map[string]time.Duration{"before": 5 * time.Minute, "after": 3 * time.Hour} {
		t.Run("C105 a session_expiry "+name+" the end of an access token that nobody refreshes", func(t *testing.T) {
			w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Tokens.EndWithAccessToken = true })
			w.op.Inject(oidcgatetest.Token, oidcgatetest.EditJSON(func(m map[string]any) { delete(m, "refresh_token") }))
			end := time.Now().Add(left)
			w.op.EveryIDToken(func(j *oidcgatetest.JWT) { j.Claims["session_expiry"] = end.Unix() })
			w.login()
			var got time.Time
			w.handler = w.gate.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				if id, ok := oidcgate.FromContext(r.Context()); ok {
					got = id.Expires()
				}
			}))
			w.get("/")
			latest := time.Now().Add(time.Hour)
			if got.IsZero() || got.After(latest) || got.After(end) {
				t.Errorf("it ends at %v, want at %v or with the access token", got, end)
			}
		})
	}
}
