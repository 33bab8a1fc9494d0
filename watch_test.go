package oidcgate_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/internal/redistest"
	"github.com/oidcgate/oidcgate/oidcgatetest"
	"github.com/oidcgate/oidcgate/store/redisstore"
)

// stream begins a long answer for the visitor at one replica, and returns the context it has.
func (f *fleet) stream(
	gate *oidcgate.Gate, browser *http.Client, rules ...oidcgate.Rule,
) context.Context {
	f.Helper()
	begun, over := make(chan context.Context), make(chan struct{})
	f.Cleanup(func() { close(over) })
	own := f.handler
	f.handler = gate.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		ctx, stop := gate.Watch(r.Context(), rules...)
		defer stop()
		begun <- ctx
		select {
		case <-ctx.Done():
		case <-over:
		}
	}))
	go func() {
		if a, err := browser.Get(shopURL + "/stream"); err == nil {
			a.Body.Close()
		}
	}()
	ctx := <-begun
	f.handler = own
	return ctx
}

func TestWatch(t *testing.T) {
	every := func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Limits.WatchInterval = time.Second }
	for name, end := range map[string]func(*fleet) error{
		"the visitor's logout": func(f *fleet) error {
			f.logout()
			return nil
		},
		"EndUser": func(f *fleet) error {
			_, err := f.gate.Sessions().EndUser(f.Context(), f.op.Issuer(), "alice")
			return err
		},
		"a logout token": func(f *fleet) error {
			if a := f.logoutToken(f.logoutClaims("sub", "alice")); a.StatusCode != http.StatusOK {
				return errors.New(a.Status)
			}
			return nil
		},
	} {
		t.Run("C107 a stream at one replica ends after "+name+" at another, over a real Redis", func(t *testing.T) {
			rdb := redistest.Start(t).Client(func(o *redis.Options) { o.ContextTimeoutEnabled = true })
			f := newFleet(t, 2, every, func(c *oidcgate.Config, _ *oidcgate.Provider) {
				c.Store = redisstore.NewWith(rdb, redisstore.Config{Prefix: rand.Text() + ":", Timeout: patience})
			})
			f.login()
			first, second := f.stream(f.gates[0], f.browser), f.stream(f.gates[1], f.browser)
			if err := end(f); err != nil {
				t.Fatal(err)
			}
			for _, ctx := range []context.Context{first, second} {
				<-ctx.Done()
				if cause := context.Cause(ctx); !errors.Is(cause, oidcgate.ErrNoSession) {
					t.Errorf("the cause is %v", cause)
				}
			}
		})
	}
	t.Run("C111 nobody is signed in: it has ended", func(t *testing.T) {
		f := newFleet(t, 1)
		ctx := f.stream(f.gate, f.browser)
		<-ctx.Done()
		outside, stop := f.gate.Watch(t.Context())
		defer stop()
		for _, ctx := range []context.Context{ctx, outside} {
			if cause := context.Cause(ctx); !errors.Is(cause, oidcgate.ErrNoSession) {
				t.Errorf("the cause is %v", cause)
			}
		}
	})
	t.Run("F16 the session could not be loaded: it has ended, and says why", func(t *testing.T) {
		f := newFleet(t, 1)
		f.login()
		f.drill.fail(on("get s:", errIll), nil)
		ctx := f.stream(f.gate, f.browser)
		<-ctx.Done()
		if cause := context.Cause(ctx); !errors.Is(cause, oidcgate.ErrStoreUnavailable) {
			t.Errorf("the cause is %v", cause)
		}
	})
	t.Run("an identity of NewContext has no session to end", func(t *testing.T) {
		f := newFleet(t, 1)
		id, err := oidcgate.NewIdentity("https://id.test", "alice", nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := f.gate.Watch(f.gate.NewContext(t.Context(), id))
		if ctx.Err() != nil {
			t.Errorf("it has ended: %v", context.Cause(ctx))
		}
		stop()
		if ctx.Err() == nil {
			t.Error("it goes on after stop")
		}
	})
}

func TestWatchOfARemovedProvider(t *testing.T) {
	t.Run("C107 C032 a stream ends at once with the provider of its session, and others go on", func(t *testing.T) {
		f := newFleet(t, 1)
		f.login()
		ctx, stop := f.gate.Watch(f.longRequest())
		defer stop()
		mine := oidcgate.Provider{Issuer: f.op.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)}
		other := oidcgate.Provider{Name: "other", Issuer: "https://other.test", ClientID: "shop", Auth: oidcgate.ClientSecretPost(secret)}
		if err := f.gate.SetProviders(mine, other); err != nil || ctx.Err() != nil {
			t.Fatal(err, context.Cause(ctx))
		}
		if err := f.gate.SetProviders(other); err != nil {
			t.Fatal(err)
		}
		if !errors.Is(context.Cause(ctx), oidcgate.ErrNoSession) {
			t.Errorf("the cause is %v", context.Cause(ctx))
		}
	})
	t.Run("C107 C032 a stream that begins after the provider was taken away ends at once", func(t *testing.T) {
		f := newFleet(t, 1)
		f.login()
		loaded := f.longRequest()
		other := oidcgate.Provider{Name: "other", Issuer: "https://other.test", ClientID: "shop", Auth: oidcgate.ClientSecretPost(secret)}
		if err := f.gate.SetProviders(other); err != nil {
			t.Fatal(err)
		}
		ctx, stop := f.gate.Watch(loaded)
		defer stop()
		if !errors.Is(context.Cause(ctx), oidcgate.ErrNoSession) {
			t.Errorf("the cause is %v", context.Cause(ctx))
		}
	})
}

func TestWatchWithClaimsMaxAge(t *testing.T) {
	inBubble(t, "C113 C107 a stream ends when claims that are due are read again, and the user is refused", func(t *testing.T) {
		f := newFleet(t, 1, func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.Tokens.ClaimsMaxAge = 5 * time.Minute
			c.OnLogin = func(_ context.Context, l *oidcgate.Login) error {
				if l.IsReread() {
					return oidcgate.Deny("no")
				}
				return nil
			}
		})
		f.login()
		ctx, stop := f.gate.Watch(f.longRequest())
		defer stop()
		f.handler = f.gate.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})) // a page without a guard
		time.Sleep(4 * time.Minute)
		f.get("/")
		if ctx.Err() != nil {
			t.Errorf("before the claims are due: %v", context.Cause(ctx))
		}
		time.Sleep(2 * time.Minute)
		if !errors.Is(context.Cause(ctx), oidcgate.ErrNoSession) {
			t.Errorf("the cause is %v", context.Cause(ctx))
		}
	})
}

func TestWatchWithRules(t *testing.T) {
	staff := oidcgate.Claim("groups", "staff")
	for name, row := range map[string]struct {
		rule  oidcgate.Rule
		ends  bool
		panic bool
	}{
		"with the rule of its guard":       {staff, true, false},
		"with a rule that allows it still": {oidcgate.Claim("groups", "guest"), false, false},
		"with a rule that is for tokens":   {oidcgate.Scope("stream"), false, false},
		"with a rule that panics":          {oidcgate.Match(func(*oidcgate.Identity) bool { panic("of the rule") }), true, true},
		"with a rule that does not return": {oidcgate.Match(func(*oidcgate.Identity) bool { time.Sleep(time.Hour); return true }), true, true},
		"without rules, as was always so":  {oidcgate.Rule{}, false, false},
	} {
		inBubble(t, "C107 C113 F34 a group is taken away, and a stream watches "+name, func(t *testing.T) {
			defer time.Sleep(time.Hour) // for the rule that does not return
			f := newFleet(t, 1, rereads)
			f.op.SetUser(inGroups("staff", "guest"))
			f.login()
			var rules []oidcgate.Rule
			if name != "without rules, as was always so" {
				rules = append(rules, row.rule)
			}
			ctx, stop := f.gate.Watch(f.longRequest(), rules...)
			defer stop()
			f.op.SetUser(inGroups("guest"))
			if time.Sleep(4 * time.Minute); !row.panic && ctx.Err() != nil {
				t.Errorf("before the claims are due: %v", context.Cause(ctx))
			}
			time.Sleep(2 * time.Minute)
			if cause := context.Cause(ctx); errors.Is(cause, oidcgate.ErrNotAllowed) != row.ends || (cause != nil) != row.ends {
				t.Errorf("the cause is %v", cause)
			}
			f.eventsOf("")
			if told := strings.Contains(f.log.String(), "a rule of Gate.Watch"); told != row.panic {
				t.Errorf("the log:\n%s", f.log.String())
			}
		})
	}
	inBubble(t, "C107 one stream of a session ends, and another goes on", func(t *testing.T) {
		f := newFleet(t, 1, rereads)
		f.op.SetUser(inGroups("staff"))
		f.login()
		r := f.longRequest()
		first, stop := f.gate.Watch(r, staff)
		defer stop()
		second, stopSecond := f.gate.Watch(r)
		defer stopSecond()
		f.op.SetUser(inGroups())
		time.Sleep(6 * time.Minute)
		if !errors.Is(context.Cause(first), oidcgate.ErrNotAllowed) || second.Err() != nil {
			t.Errorf("%v, %v", context.Cause(first), context.Cause(second))
		}
		f.logout()
		if !errors.Is(context.Cause(second), oidcgate.ErrNoSession) {
			t.Errorf("after the logout: %v", context.Cause(second))
		}
	})
	t.Run("a rule that is none", func(t *testing.T) {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		f := newFleet(t, 1)
		f.gate.Watch(t.Context(), oidcgate.Rule{})
	})
}

// TestWatchWhileTheStoreRefusesNewClaims has a group taken away, and a store that cannot save that.
func TestWatchWhileTheStoreRefusesNewClaims(t *testing.T) {
	every := func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Limits.WatchInterval = 5 * time.Second }
	for _, row := range []struct {
		refused string
		config  change
		lives   bool
	}{
		{"swap s:", rereads, false}, {"create l:", rereads, false}, {"create m:", rereads, false},
		{"", rereads, true}, // not even reads
		{"swap s:", func(*oidcgate.Config, *oidcgate.Provider) {}, true},
	} {
		inBubble(t, fmt.Sprintf("C113 it refuses %q: the stream lives %v", row.refused, row.lives), func(t *testing.T) {
			f := newFleet(t, 1, every, row.config)
			f.op.SetUser(inGroups("admin"))
			f.login()
			ctx := f.stream(f.gate, f.browser, oidcgate.Claim("groups", "admin"))
			f.op.SetUser(inGroups())
			f.drill.fail(on(row.refused, errReadOnly), nil)
			time.Sleep(8 * time.Minute)
			if ctx.Err() != nil {
				t.Error("it ended soon")
			}
			time.Sleep(3 * time.Minute)
			if (ctx.Err() == nil) != row.lives {
				t.Errorf("after eleven minutes: %v", ctx.Err())
			}
		})
	}
}

// TestWatchAndOneRefusal has the store refuse one command, after the provider could not be asked for long.
func TestWatchAndOneRefusal(t *testing.T) {
	every := func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Limits.WatchInterval = 5 * time.Second }
	for _, refused := range []string{"swap s:", "create l:", "get t:"} {
		inBubble(t, "C107 C113 F18 "+refused, func(t *testing.T) {
			f := newFleet(t, 1, every, rereads)
			f.op.SetUser(inGroups("admin"))
			f.login()
			ctx := f.stream(f.gate, f.browser, oidcgate.Claim("groups", "admin"))
			f.op.Always(oidcgatetest.Token, oidcgatetest.Answer(503, "", ""))
			time.Sleep(20 * time.Minute)
			var n atomic.Int64
			once := on(refused, errReadOnly)
			f.drill.fail(func(op, key string) error {
				if err := once(op, key); err != nil && n.Add(1) == 1 {
					return err
				}
				return nil
			}, nil)
			time.Sleep(20 * time.Minute)
			if ctx.Err() != nil || n.Load() == 0 {
				t.Errorf("%v, refused %d times", context.Cause(ctx), n.Load())
			}
		})
	}
}

// putValue puts a value into the visitor's session.
func (w *world) putValue() {
	own := w.handler
	defer func() { w.handler = own }()
	w.handler = w.gate.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		w.gate.Values().Put(r.Context(), "restricted", true)
	}))
	w.get("/")
}

func TestWatchOfASessionWithoutItsValues(t *testing.T) {
	t.Run("C107 guards let nobody in without the values that there were, and the stream ends", func(t *testing.T) {
		w, records := newTapped(t, func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.EnableValues, c.Limits.WatchInterval = true, time.Second
		})
		w.login()
		w.putValue()
		f := &fleet{world: w}
		ctx := f.stream(w.gate, w.browser)
		if err := records.Store.Delete(t.Context(), records.record(t, "v:"), nil); err != nil {
			t.Fatal(err)
		}
		<-ctx.Done()
		if cause := context.Cause(ctx); !errors.Is(cause, oidcgate.ErrNoSession) {
			t.Errorf("the cause is %v", cause)
		}
	})
}

func TestWatchWhileTheValuesCannotBeRead(t *testing.T) {
	t.Run("C113 a group that was taken away ends a stream that was given the rule all the same", func(t *testing.T) {
		f := newFleet(t, 1, func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.Tokens.ClaimsMaxAge, c.EnableValues, c.Limits.WatchInterval = 2*time.Second, true, time.Second
		})
		f.op.SetUser(inGroups("admin"))
		f.login()
		f.putValue()
		ctx := f.stream(f.gate, f.browser, oidcgate.Claim("groups", "admin"))
		f.drill.fail(on("get v:", errIll), nil)
		f.op.SetUser(inGroups("staff"))
		<-ctx.Done()
		if cause := context.Cause(ctx); cause == nil || errors.Is(cause, oidcgate.ErrStoreUnavailable) {
			t.Errorf("the cause is %v", cause)
		}
	})
}
