package oidcgate_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/internal/redistest"
	"github.com/oidcgate/oidcgate/oidcgatetest"
	"github.com/oidcgate/oidcgate/store"
	"github.com/oidcgate/oidcgate/store/redisstore"
)

// tap is a store that notes every command and refuses those it is told to.
type tap struct {
	store.Store

	mu    sync.Mutex
	calls []storeCall
	fault func(storeCall) error
	late  bool // the fault strikes after the command was carried out: its reply is lost
}

// storeCall is one command that a store got.
type storeCall struct {
	op, key string
	ttl     time.Duration
	written bool // it would change what is stored
}

// newTapped is newWorld with a tap on its store.
func newTapped(t *testing.T, changes ...change) (*world, *tap) {
	t.Helper()
	records := &tap{}
	w := newWorld(t, append(changes, func(c *oidcgate.Config, _ *oidcgate.Provider) {
		records.Store, c.Store = c.Store, records
	})...)
	return w, records
}

// refuse has fault asked before every command from now on; its error is the command's. It may also be used to
// do something at that moment. nil ends it.
func (s *tap) refuse(fault func(storeCall) error) { s.lose(false, fault) }

// lose is refuse; if late, the store carries the command out all the same.
func (s *tap) lose(late bool, fault func(storeCall) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.late, s.fault = late, fault
}

// carry notes a command and has it carried out, or fails.
func (s *tap) carry(c storeCall, do func() error) error {
	s.mu.Lock()
	s.calls = append(s.calls, c)
	fault, late := s.fault, s.late
	s.mu.Unlock()
	if fault == nil {
		return do()
	}
	err := fault(c)
	if err == nil {
		return do()
	}
	if late {
		_ = do()
	}
	return err
}

// reset forgets the commands so far.
func (s *tap) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = nil
}

// since returns the commands since reset.
func (s *tap) since() []storeCall {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]storeCall(nil), s.calls...)
}

// living returns the keys of all records of sessions that there are: identity, tokens, values. What else the
// gate keeps is claims on attempts, which say nothing of anybody, and for a minute what a second click on "log
// out" needs.
func (s *tap) living(ctx context.Context) []string {
	seen := map[string]bool{}
	var keys []string
	for _, c := range s.since() {
		aside := strings.HasPrefix(c.key, "a:") || strings.HasPrefix(c.key, "h:")
		if seen[c.key] || aside || isPing(c.key) {
			continue
		}
		seen[c.key] = true
		if _, err := s.Store.Get(ctx, c.key); !errors.Is(err, store.ErrNotFound) {
			keys = append(keys, c.key)
		}
	}
	return keys
}

func (s *tap) Get(ctx context.Context, key string) (value []byte, err error) {
	err = s.carry(storeCall{"get", key, 0, false}, func() error {
		value, err = s.Store.Get(ctx, key)
		return err
	})
	return value, err
}

func (s *tap) Create(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	return s.carry(storeCall{"create", key, ttl, true}, func() error { return s.Store.Create(ctx, key, value, ttl) })
}

func (s *tap) Swap(ctx context.Context, key string, old, value []byte, ttl time.Duration) error {
	return s.carry(storeCall{"swap", key, ttl, true}, func() error { return s.Store.Swap(ctx, key, old, value, ttl) })
}

func (s *tap) Delete(ctx context.Context, key string, old []byte) error {
	return s.carry(storeCall{"delete", key, 0, true}, func() error { return s.Store.Delete(ctx, key, old) })
}

// onEachStore runs a test with sessions in memory, on a clock of its own, and in a real Redis.
func onEachStore(t *testing.T, test func(t *testing.T, on change)) {
	onMemory := func(t *testing.T) { test(t, func(*oidcgate.Config, *oidcgate.Provider) {}) }
	t.Run("in memory", func(t *testing.T) { synctest.Test(t, onMemory) })
	t.Run("in Redis", func(t *testing.T) { onRedis(t, test) })
}

// onEachStoreWithValues is onEachStore in real time: with values, scs has a goroutine that does not end.
func onEachStoreWithValues(t *testing.T, test func(t *testing.T, on change)) {
	t.Run("in memory", func(t *testing.T) { test(t, func(*oidcgate.Config, *oidcgate.Provider) {}) })
	t.Run("in Redis", func(t *testing.T) { onRedis(t, test) })
}

func onRedis(t *testing.T, test func(t *testing.T, on change)) {
	rdb := redistest.Start(t).Client(heedsDeadlines)
	test(t, func(c *oidcgate.Config, _ *oidcgate.Provider) {
		// Each shop has the Redis to itself, whichever shop came before.
		c.Store = redisstore.NewWith(rdb, redisstore.Config{Prefix: rand.Text() + ":", Timeout: patience})
	})
}

func heedsDeadlines(o *redis.Options) { o.ContextTimeoutEnabled = true }

// record is the key of the newest record of a kind: "s:" identity, "t:" tokens, "v:" values.
func (s *tap) record(t *testing.T, kind string) string {
	t.Helper()
	key := ""
	for _, c := range s.since() {
		if c.op == "create" && strings.HasPrefix(c.key, kind) {
			key = c.key
		}
	}
	if key == "" {
		t.Fatalf("no record of the kind %q was made", kind)
	}
	return key
}

func (s *tap) value(t *testing.T, key string) []byte {
	t.Helper()
	value, err := s.Store.Get(t.Context(), key)
	if err != nil {
		t.Fatalf("reading %s: %v", key, err)
	}
	return value
}

// put overwrites a record, as an operator or an intruder could.
func (s *tap) put(t *testing.T, key string, value []byte) {
	t.Helper()
	if err := s.Store.Delete(t.Context(), key, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Store.Create(t.Context(), key, value, 1000*time.Hour); err != nil {
		t.Fatal(err)
	}
}

// persist takes the end of all records away, as PERSIST does in Redis.
func (s *tap) persist(t *testing.T) {
	t.Helper()
	for _, key := range s.living(t.Context()) {
		s.put(t, key, s.value(t, key))
	}
}

func (s *tap) has(key string) bool {
	_, err := s.Store.Get(context.Background(), key)
	return err == nil
}

// count returns how many commands since reset were writes, and how many there were.
func (s *tap) count() (writes, all int) {
	for _, c := range s.since() {
		all++
		if c.written {
			writes++
		}
	}
	return writes, all
}

const sessionCookie = "__Host-Http-oidcgate"

// requestAs returns what the shop answers to a request with a Cookie header as it is.
func (w *world) requestAs(path string, cookies ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, shopURL+path, nil)
	r.Header.Set("Accept", "text/html")
	r.Header["Cookie"] = cookies
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r)
	return rec
}

// signedInAs is who a request with that session id is taken for, "" for nobody.
func (w *world) signedInAs(id string) string {
	w.Helper()
	rec := w.requestAs("/whoami", sessionCookie+"="+id)
	switch rec.Code {
	case http.StatusUnauthorized:
		return ""
	case http.StatusOK:
		var who struct{ Sub string }
		if err := json.Unmarshal(rec.Body.Bytes(), &who); err != nil {
			w.Fatal(err)
		}
		return who.Sub
	}
	w.Errorf("/whoami: status %d, want 200 or 401", rec.Code)
	return ""
}

// clears reports whether an answer takes the session cookie out of the browser.
func clears(h http.Header) bool {
	for _, c := range (&http.Response{Header: h}).Cookies() {
		if c.Name == sessionCookie && c.MaxAge < 0 && c.Secure && c.Path == "/" {
			return true
		}
	}
	return false
}

func TestSessionEndsInTime(t *testing.T) {
	lasts := func(idle, lifetime time.Duration) change {
		return func(c *oidcgate.Config, _ *oidcgate.Provider) { c.IdleTimeout, c.SessionLifetime = idle, lifetime }
	}
	expired := func(w *world, reason oidcgate.Reason) {
		w.Helper()
		if got := w.subject(); got != "" {
			w.Errorf("still signed in as %q", got)
		}
		if e := w.eventsOf(oidcgate.EventSessionExpired); len(e) == 0 || e[0].Reason != reason || e[0].SubjectHash != "" || e[0].SessionRef == "" {
			w.Errorf("events %+v, want one with the reason %q", e, reason)
		}
	}

	t.Run("C105 idle, though the store has lost the end of the record", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w, records := newTapped(t)
			w.login()
			records.persist(t)
			time.Sleep(59 * time.Minute)
			if got := w.subject(); got != "alice" {
				t.Fatalf("after 59 minutes signed in as %q", got)
			}
			records.persist(t)
			time.Sleep(61 * time.Minute)
			expired(w, "idle")
			if records.has(records.record(t, "s:")) {
				t.Error("the record is still there")
			}
		})
	})

	t.Run("C105 at its deadline, however busy and however long the store keeps it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w, records := newTapped(t, lasts(time.Hour, 3*time.Hour))
			w.login()
			for range 8 {
				time.Sleep(20 * time.Minute)
				if got := w.subject(); got != "alice" {
					t.Fatalf("signed in as %q", got)
				}
				records.persist(t)
			}
			time.Sleep(20 * time.Minute)
			expired(w, "absolute")
		})
	})

	t.Run("C105 C106 the store ends what nobody uses", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w, records := newTapped(t, lasts(time.Hour, 3*time.Hour))
			w.login()
			time.Sleep(61 * time.Minute)
			if records.has(records.record(t, "s:")) {
				t.Error("the identity is still there after the idle time")
			}
			time.Sleep(2 * time.Hour)
			if keys := records.living(t.Context()); len(keys) != 0 {
				t.Errorf("after the deadline there are %v", keys)
			}
		})
	})

	t.Run("C105 in a real Redis after PERSIST", func(t *testing.T) {
		rdb := redistest.Start(t).Client(heedsDeadlines)
		w, records := newTapped(t, lasts(time.Hour, 2*time.Hour), func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Store = patient(rdb) })
		w.login()
		key := records.record(t, "s:")
		if err := rdb.Persist(t.Context(), "oidcgate:"+key).Err(); err != nil {
			t.Fatal(err)
		}
		w.reopen(func(c *oidcgate.Config) { c.IdleTimeout = 100 * time.Millisecond }) // the login may have taken longer
		time.Sleep(150 * time.Millisecond)
		expired(w, "idle")
	})

	t.Run("the cookie of a session that is over goes with the guard's answer to the next navigation, and only once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.login()
			time.Sleep(2 * time.Hour)
			if a := w.get("/app", "Sec-Fetch-Mode: cors"); clears(a.Header) {
				t.Error("the answer to a script clears the cookie: it may arrive after a new login")
			}
			if a := w.get("/public"); clears(a.Header) {
				t.Error("an answer of the application's, which caches may share, clears the cookie")
			}
			if a := w.get("/app"); !clears(a.Header) {
				t.Error("the guard's answer to a navigation leaves the cookie")
			}
			if a := w.get("/app"); len(a.Cookies()) != 0 {
				t.Errorf("and the next sets %v", a.Cookies())
			}
		})
	})
}

func TestUseOfASessionIsNoted(t *testing.T) {
	t.Parallel() // it waits
	t.Run("C108 a request is one read, and one write at most in each interval", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w, records := newTapped(t)
			w.login()
			records.reset()
			for range 100 {
				w.subject()
			}
			if writes, all := records.count(); writes != 0 || all != 100 {
				t.Errorf("100 requests: %d commands, %d of them writes; want 100 reads", all, writes)
			}
			time.Sleep(4 * time.Minute)
			records.reset()
			for range 100 {
				w.subject()
			}
			if writes, all := records.count(); writes != 1 || all != 101 {
				t.Errorf("100 requests, 4 minutes later: %d commands, %d of them writes; want 100 reads and a write", all, writes)
			}
		})
	})

	t.Run("C108 requests at the same time all get in", func(t *testing.T) {
		onEachStore(t, func(t *testing.T, on change) {
			w, records := newTapped(t, on, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.IdleTimeout = 16 * time.Second })
			w.login()
			id := w.cookie(sessionCookie)
			time.Sleep(4050 * time.Millisecond) // a quarter of the idle time: the next request notes it
			records.reset()
			var all sync.WaitGroup
			for range 20 {
				all.Go(func() {
					if got := w.signedInAs(id); got != "alice" {
						t.Errorf("signed in as %q", got)
					}
				})
			}
			all.Wait()
			if !slices.ContainsFunc(records.since(), func(c storeCall) bool { return c.op == "swap" }) {
				t.Error("the use was not noted")
			}
		})
	})

	t.Run("C108 a store that refuses writes lets people in, and says so", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w, records := newTapped(t)
			w.login()
			records.refuse(func(c storeCall) error {
				if c.written {
					return errors.New("READONLY You can't write against a read only replica.")
				}
				return nil
			})
			time.Sleep(10 * time.Minute)
			if got := w.subject(); got != "alice" {
				t.Errorf("signed in as %q", got)
			}
			if e := w.eventsOf(oidcgate.EventSessionTouchFailed); len(e) == 0 {
				t.Error("no event that the use could not be noted")
			}
		})
	})

	t.Run("C106 every command that stores something has an end", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w, records := newTapped(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.SessionLifetime = 2 * time.Hour })
			w.login()
			for range 24 {
				time.Sleep(5*time.Minute - time.Millisecond)
				w.subject()
			}
			for _, c := range records.since() {
				if (c.op == "create" || c.op == "swap") && (c.ttl <= 0 || c.ttl > 2*time.Hour) {
					t.Errorf("%s %s for %v", c.op, c.key, c.ttl)
				}
			}
		})
	})

	t.Run("C106 every key in a real Redis has an end", func(t *testing.T) {
		rdb := redistest.Start(t).Client(heedsDeadlines)
		w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Store, c.EnableValues = patient(rdb), true })
		w.handler = w.gate.Wrap(valuesShop(w))
		w.login()
		w.get("/put?k=a&v=1")
		keys, err := rdb.Keys(t.Context(), "*").Result()
		if err != nil || len(keys) < 4 {
			t.Fatalf("keys %q, error %v; want a claim and three records", keys, err)
		}
		for _, key := range keys {
			if ttl := rdb.PTTL(t.Context(), key).Val(); ttl <= 0 || ttl > 24*time.Hour {
				t.Errorf("%s ends in %v", key, ttl)
			}
		}
	})
}

func TestCookieIsJunk(t *testing.T) {
	good := strings.Repeat("A", 43) + "."
	for _, row := range []struct {
		name   string
		cookie string
		reads  int
	}{
		{"C101 F23 empty", "", 0},
		{"C101 F23 one character", "a", 0},
		{"C101 F23 42 characters", good[1:], 0},
		{"C101 F23 44 characters", "A" + good, 0},
		{"C101 F23 without its mark", good[:43], 0},
		{"C101 F23 padded", good[1:] + "=", 0},
		{"C101 F23 the other alphabet of base64", good[1:] + "+", 0},
		{"C101 F23 quoted", `"` + good + `"`, 0},
		{"C101 F23 NUL", good[1:] + "\x00", 0},
		{"C101 F23 beyond ASCII", good[2:] + "é", 0},
		{"C101 F23 eight kilobytes", strings.Repeat("A", 8<<10), 0},
		{"C101 F23 a path", "../../" + good[6:], 0},
		{"C101 F23 a key of the store", "s:" + good, 0},
		{"C101 F23 well formed and unknown", good, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			w, records := newTapped(t)
			rec := w.requestAs("/public", sessionCookie+"="+row.cookie)
			if rec.Code != http.StatusOK {
				t.Errorf("/public: status %d", rec.Code)
			}
			if _, all := records.count(); all != row.reads {
				t.Errorf("%d commands of the store, want %d: %+v", all, row.reads, records.since())
			}
			if clears(rec.Header()) {
				t.Error("the cookie's deletion is on an answer of the application")
			}
			rec = w.requestAs("/app", sessionCookie+"="+row.cookie)
			if row.cookie != "" && !strings.ContainsAny(row.cookie, "\x00é") && !clears(rec.Header()) {
				t.Error("the guard leaves the cookie in the browser")
			}
			if got := w.signedInAs(row.cookie); got != "" {
				t.Errorf("signed in as %q", got)
			}
		})
	}

	for name, cookie := range map[string]string{
		"malformed": sessionCookie + "=x",
		"two":       sessionCookie + "=" + good + "; " + sessionCookie + "=" + strings.Repeat("B", 43) + ".",
		"unknown":   sessionCookie + "=" + good,
	} {
		t.Run("C115 its deletion is not on an answer that the application lets caches share: "+name, func(t *testing.T) {
			w := newWorld(t)
			w.handler = w.gate.Wrap(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("Cache-Control", "public, max-age=600")
				_, _ = rw.Write([]byte("logo"))
			}))
			if rec := w.requestAs("/logo", cookie); rec.Header().Get("Set-Cookie") != "" {
				t.Errorf("%v", rec.Header())
			}
			w.handler = w.gate.Wrap(w.gate.Require()(http.NotFoundHandler()))
			rec := w.requestAs("/app", cookie)
			if !clears(rec.Header()) || rec.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("the guard leaves the cookie in the browser: %v", rec.Header())
			}
			if rec := w.requestAs("/auth/login", cookie); !clears(rec.Header()) {
				t.Errorf("the login leaves the cookie in the browser: %v", rec.Header())
			}
		})
	}

	t.Run("F24 two different sessions are none, and never the first", func(t *testing.T) {
		w := newWorld(t)
		w.login()
		id := w.cookie(sessionCookie)
		other := sessionCookie + "=" + good
		for _, cookies := range [][]string{
			{sessionCookie + "=" + id + "; " + other},
			{other + "; " + sessionCookie + "=" + id},
			{sessionCookie + "=" + id, other},
		} {
			rec := w.requestAs("/whoami", cookies...)
			if rec.Code != http.StatusUnauthorized || clears(rec.Header()) {
				t.Errorf("%q: status %d, cleared %v", cookies, rec.Code, clears(rec.Header()))
			}
		}
		if e := w.eventsOf(oidcgate.EventCookieDuplicate); len(e) != 3 {
			t.Errorf("%d events, want 3", len(e))
		}
		rec := w.requestAs("/whoami", sessionCookie+"="+id+"; "+sessionCookie+"="+id)
		if rec.Code != http.StatusOK {
			t.Errorf("the same session twice: status %d, want 200", rec.Code)
		}
	})

	t.Run("C104 a cookie of another name is no session", func(t *testing.T) {
		w, records := newTapped(t)
		w.login()
		id := w.cookie(sessionCookie)
		records.reset()
		for _, name := range []string{"oidcgate", "__host-oidcgate", "\u00a0__Host-Http-oidcgate", "__Host-oidcgatf"} {
			if rec := w.requestAs("/whoami", name+"="+id); rec.Code != http.StatusUnauthorized {
				t.Errorf("%q: status %d, want 401", name, rec.Code)
			}
		}
	})
}

func TestStoreTellsNothing(t *testing.T) {
	onEachStore(t, func(t *testing.T, on change) {
		w, records := newTapped(t, on)
		w.login()
		token, err := accessToken(w)
		if err != nil {
			t.Fatal(err)
		}
		id := w.cookie(sessionCookie)
		for _, key := range records.living(t.Context()) {
			if _, suffix, _ := strings.Cut(key, ":"); w.signedInAs(suffix) != "" {
				t.Errorf("C102 the rest of the key %s signs in", key)
			}
			if strings.Contains(key, id) {
				t.Errorf("C102 the key %s has the session id in it", key)
			}
			value := string(records.value(t, key))
			for _, text := range []string{"alice", token, id, "Alice Example", "id.test"} {
				if strings.Contains(value, text) {
					t.Errorf("C103 the record %s has %q in the clear", key, text)
				}
			}
		}
	})
}

// accessToken is the access token of the browser's session, as a handler gets it.
func accessToken(w *world) (text string, err error) {
	r := httptest.NewRequest(http.MethodGet, shopURL+"/", nil)
	r.Header.Set("Cookie", sessionCookie+"="+w.cookie(sessionCookie))
	w.gate.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		token, failed := w.gate.Token(r.Context())
		if failed != nil {
			err = failed
			return
		}
		text = token.AccessToken
	})).ServeHTTP(httptest.NewRecorder(), r)
	return text, err
}

func TestRecordIsUnreadable(t *testing.T) {
	for _, row := range []struct {
		name    string
		spoil   func(value []byte) []byte
		reason  oidcgate.Reason
		deleted bool
	}{
		{"F22 one bit flipped", func(v []byte) []byte { v[len(v)-1] ^= 1; return v }, "damaged", true},
		{"F22 C105 its deadline moved", func(v []byte) []byte { v[12] ^= 1; return v }, "damaged", true},
		{"F22 cut short", func(v []byte) []byte { return v[:len(v)/2] }, "damaged", true},
		{"F22 empty", func([]byte) []byte { return []byte{} }, "damaged", true},
		{"F22 of an older version", func(v []byte) []byte { v[0] = 0; return v }, "damaged", true},
		{"F22 of another program", func([]byte) []byte { return []byte("\x00some gob") }, "damaged", true},
		{"F22 F41 of a newer version", func(v []byte) []byte { v[0]++; return v }, "version_newer", false},
		{"F22 F41 under a key nobody here has", func(v []byte) []byte { v[1] ^= 1; return v }, "key_unknown", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			onEachStore(t, func(t *testing.T, on change) {
				w, records := newTapped(t, on)
				w.login()
				key := records.record(t, "s:")
				records.put(t, key, row.spoil(records.value(t, key)))
				if a := w.get("/public"); a.StatusCode != http.StatusOK || clears(a.Header) {
					t.Errorf("the application's answer: status %d, cookie cleared %v", a.StatusCode, clears(a.Header))
				}
				if a := w.get("/app"); a.StatusCode != http.StatusSeeOther || clears(a.Header) != row.deleted {
					t.Errorf("the guard's: status %d, cookie cleared %v; others may read what is not deleted", a.StatusCode, clears(a.Header))
				}
				if got := w.subject(); got != "" {
					t.Errorf("signed in as %q", got)
				}
				e := w.eventsOf(oidcgate.EventSessionUnreadable)
				if len(e) == 0 || len(e) > 3 || row.deleted && len(e) != 1 || e[0].Reason != row.reason || e[0].SessionRef != "" {
					t.Errorf("events %+v, want those with the reason %q", e, row.reason)
				}
				if records.has(key) == row.deleted {
					t.Errorf("the record is there: %v", records.has(key))
				}
			})
		})
	}

	t.Run("C103 records of two visitors exchanged", func(t *testing.T) {
		onEachStore(t, func(t *testing.T, on change) {
			w, records := newTapped(t, on)
			w.login()
			first, firstID := records.record(t, "s:"), w.cookie(sessionCookie)
			w.browser = w.newBrowser()
			w.op.SetUser(oidcgatetest.User{Subject: "bob"})
			w.login()
			second, secondID := records.record(t, "s:"), w.cookie(sessionCookie)
			a, b := records.value(t, first), records.value(t, second)
			records.put(t, first, b)
			records.put(t, second, a)
			for _, id := range []string{firstID, secondID} {
				if got := w.signedInAs(id); got != "" {
					t.Errorf("signed in as %q", got)
				}
			}
		})
	})

	t.Run("C103 the record of the tokens in the place of the identity", func(t *testing.T) {
		w, records := newTapped(t)
		w.login()
		records.put(t, records.record(t, "s:"), records.value(t, records.record(t, "t:")))
		if got := w.subject(); got != "" {
			t.Errorf("signed in as %q", got)
		}
	})

	t.Run("C103 a damaged record of the tokens leaves the visitor signed in, without a token", func(t *testing.T) {
		w, records := newTapped(t)
		w.login()
		records.put(t, records.record(t, "t:"), []byte("junk"))
		if _, err := accessToken(w); !errors.Is(err, oidcgate.ErrNoSession) {
			t.Errorf("Token: %v, want ErrNoSession", err)
		}
		if got := w.subject(); got != "alice" {
			t.Errorf("signed in as %q", got)
		}
	})

	t.Run("F20 the store forgets everything", func(t *testing.T) {
		w, records := newTapped(t)
		w.login()
		for _, key := range records.living(t.Context()) {
			if err := records.Store.Delete(t.Context(), key, nil); err != nil {
				t.Fatal(err)
			}
		}
		a := w.get("/app")
		if a.StatusCode != http.StatusSeeOther || !clears(a.Header) {
			t.Errorf("status %d, cookie cleared %v; want one redirect to the login", a.StatusCode, clears(a.Header))
		}
		w.login()
	})
}

func TestStoreForgetsAClaim(t *testing.T) {
	w, records := newTapped(t)
	callback := w.callbackURL("/app")
	attempt := w.sentCookies()
	w.get(callback)
	for _, c := range records.since() {
		if strings.HasPrefix(c.key, "a:") {
			if err := records.Store.Delete(t.Context(), c.key, nil); err != nil { // a failover lost it
				t.Fatal(err)
			}
		}
	}
	a := w.send(w.newBrowser(), http.MethodGet, callback, "", "Cookie: "+attempt)
	w.denied(a, http.StatusBadGateway, oidcgate.ReasonTokenEndpointError) // F21: the provider takes a code once
	if got := w.subject(); got != "alice" {
		t.Errorf("F21 who logged in first is signed in as %q", got)
	}
}

const (
	oldKey = "b2xkIGtleSBvZiB0aGUgc2hvcCwgMzIgYnl0ZXMgLi4="
	newKey = "bmV3IGtleSBvZiB0aGUgc2hvcCwgMzIgYnl0ZXMgLi4="
)

// reopen puts another gate in front of the same shop and store.
func (w *world) reopen(change func(*oidcgate.Config)) *oidcgate.Gate {
	w.Helper()
	change(&w.config)
	w.open(oidcgate.Provider{Issuer: w.op.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)})
	return w.gate
}

func TestKeysRotate(t *testing.T) {
	t.Parallel() // it waits
	keys := func(text string) func(*oidcgate.Config) {
		return func(c *oidcgate.Config) {
			parsed, err := oidcgate.ParseKeys(text)
			if err != nil {
				t.Fatal(err)
			}
			c.Keys = parsed
		}
	}
	onEachStore(t, func(t *testing.T, on change) {
		w, records := newTapped(t, on, func(c *oidcgate.Config, _ *oidcgate.Provider) {
			keys(oldKey)(c)
			c.IdleTimeout = 16 * time.Second
		})
		w.login()
		id := w.cookie(sessionCookie)
		w.reopen(keys(newKey))
		if got := w.signedInAs(id); got != "" {
			t.Errorf("F41 a gate without the key takes the visitor for %q", got)
		}
		if !records.has(records.record(t, "s:")) {
			t.Fatal("F41 and deletes the record, which other replicas read")
		}
		w.reopen(keys(newKey + "," + oldKey))
		if got := w.signedInAs(id); got != "alice" {
			t.Errorf("F41 a gate with both keys takes the visitor for %q", got)
		}
		time.Sleep(4050 * time.Millisecond) // a quarter of the idle time: the next request writes
		w.signedInAs(id)
		w.reopen(keys(newKey))
		if got := w.signedInAs(id); got != "alice" {
			t.Errorf("F41 after a use under both keys the new one alone takes the visitor for %q", got)
		}
	})
}

func TestTwoGates(t *testing.T) {
	t.Run("two replicas are one gate", func(t *testing.T) {
		onEachStore(t, func(t *testing.T, on change) {
			w := newWorld(t, on)
			first := w.handler
			w.reopen(func(*oidcgate.Config) {})
			second := w.handler
			callback := func() string { w.handler = first; return w.callbackURL("/app") }()
			w.handler = second
			if a := w.get(callback); a.StatusCode != http.StatusSeeOther {
				t.Fatalf("the login that began at the other: status %d", a.StatusCode)
			}
			for _, h := range []http.Handler{first, second} {
				w.handler = h
				if got := w.subject(); got != "alice" {
					t.Errorf("signed in as %q", got)
				}
			}
			w.send(w.browser, http.MethodPost, "/auth/logout", "", "Sec-Fetch-Site: same-origin")
			w.handler = first
			if got := w.subject(); got != "" {
				t.Errorf("after a logout at the other: signed in as %q", got)
			}
		})
	})

	for name, change := range map[string]func(*oidcgate.Config){
		"another address":     func(c *oidcgate.Config) { c.BaseURL = "https://other.test" },
		"another cookie name": func(c *oidcgate.Config) { c.Site.CookieName = "__Host-other" },
	} {
		t.Run("two gates with one store and one key, and "+name+", are strangers", func(t *testing.T) {
			w, records := newTapped(t)
			w.login()
			id := w.cookie(sessionCookie)
			w.reopen(change)
			rec := w.requestAs("/whoami", w.config.Site.CookieName+"="+id, sessionCookie+"="+id)
			if rec.Code != http.StatusUnauthorized {
				t.Errorf("status %d, want 401", rec.Code)
			}
			if !records.has(records.record(t, "s:")) {
				t.Error("and one deletes the other's record")
			}
		})
	}
}

func TestSessionID(t *testing.T) {
	t.Run("C109 C046 a login again has a new id, and the old one is dead", func(t *testing.T) {
		onEachStore(t, func(t *testing.T, on change) {
			w, records := newTapped(t, on)
			w.login()
			old, oldKeys := w.cookie(sessionCookie), records.living(t.Context())
			if random, mark := old[:43], old[43:]; !secret256.MatchString(random) || mark != "." {
				t.Errorf("C101 the id %q is not 43 characters and the mark of its cookie", old)
			}
			w.op.SetUser(oidcgatetest.User{Subject: "bob"})
			if a := w.get(w.callbackURL("/auth/login")); a.StatusCode != http.StatusSeeOther {
				t.Fatalf("status %d", a.StatusCode)
			}
			if id := w.cookie(sessionCookie); id == old || w.signedInAs(id) != "bob" {
				t.Errorf("the new session is of %q, under a new id: %v", w.signedInAs(id), id != old)
			}
			if got := w.signedInAs(old); got != "" {
				t.Errorf("the old id signs in as %q", got)
			}
			for _, key := range oldKeys {
				if records.has(key) {
					t.Errorf("%s is still there", key)
				}
			}
		})
	})

	t.Run("C046 an id that somebody planted is never adopted", func(t *testing.T) {
		w := newWorld(t)
		planted := strings.Repeat("B", 43) + "."
		shop, _ := url.Parse(shopURL)
		w.browser.Jar.SetCookies(shop, []*http.Cookie{{Name: sessionCookie, Value: planted, Path: "/", Secure: true}})
		w.login()
		if got := w.cookie(sessionCookie); got == planted {
			t.Error("the session has the planted id")
		}
		if got := w.signedInAs(planted); got != "" {
			t.Errorf("the planted id signs in as %q", got)
		}
	})
}

// TestStoreFailsDuringLogin lets each command of a login fail, once before the store has carried it out and
// once after, as when the reply is lost.
func TestStoreFailsDuringLogin(t *testing.T) {
	broken := errors.New("connection reset by peer")
	for n := range 4 {
		for _, done := range []bool{false, true} {
			t.Run(fmt.Sprintf("C106 command %d fails, carried out: %v: no half session", n+1, done), func(t *testing.T) {
				w, records := newTapped(t)
				callback := w.callbackURL("/app")
				var count atomic.Int64 // some commands come at the same time
				records.lose(done, func(storeCall) error {
					if count.Add(1) == int64(n+1) {
						return broken
					}
					return nil
				})
				a := w.get(callback)
				records.lose(false, nil)
				if a.StatusCode == http.StatusSeeOther { // fewer commands than that
					if count.Load() > int64(n) {
						t.Errorf("the login succeeded though command %d failed: %+v", n+1, records.since())
					}
					if keys := records.living(t.Context()); len(keys) != 2 || w.subject() != "alice" {
						t.Errorf("half a session: %v", keys)
					}
					return
				}
				w.denied(a, http.StatusServiceUnavailable, oidcgate.ReasonStoreError)
				w.leavesNothing(records)
				if a.Header.Get("Retry-After") == "" {
					t.Error("no Retry-After")
				}
			})
		}
	}
}

func TestSessionBeforeALoginCannotBeRead(t *testing.T) {
	t.Run("C109 F16 whose session the login would replace is not known: it is refused, and can be tried again", func(t *testing.T) {
		w, records := newTapped(t)
		w.login()
		callback := w.callbackURL("/auth/login?return_to=%2Fapp")
		codes := w.op.Count(oidcgatetest.Token)
		records.refuse(func(c storeCall) error {
			if c.op == "get" && strings.HasPrefix(c.key, "s:") {
				return errIll
			}
			return nil
		})
		w.denied(w.get(callback), http.StatusServiceUnavailable, oidcgate.ReasonStoreError)
		if n := w.op.Count(oidcgatetest.Token) - codes; n != 0 {
			t.Errorf("%d codes were spent", n)
		}
		if e := w.failedLogin(); !errors.Is(e.Err, oidcgate.ErrStoreUnavailable) || !errors.Is(e.Err, errIll) {
			t.Errorf("the cause is %v", e.Err)
		}
		records.refuse(nil)
		if a := w.get(callback); a.location() != shopURL+"/app" {
			t.Errorf("tried again: %d to %q", a.StatusCode, a.location())
		}
	})
}

func TestLogoutWins(t *testing.T) {
	t.Run("C107 over a slow request", func(t *testing.T) {
		onEachStore(t, func(t *testing.T, on change) {
			w, records := newTapped(t, on)
			inside, leave := make(chan struct{}), make(chan struct{})
			shop := w.shop()
			w.handler = w.gate.Wrap(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/slow" {
					close(inside)
					<-leave
				}
				shop.ServeHTTP(rw, r)
			}))
			w.login()
			id := w.cookie(sessionCookie)
			done := make(chan struct{})
			go func() { defer close(done); w.requestAs("/slow", sessionCookie+"="+id) }()
			<-inside
			w.send(w.browser, http.MethodPost, "/auth/logout", "", "Sec-Fetch-Site: same-origin")
			close(leave)
			<-done
			if got := w.signedInAs(id); got != "" {
				t.Errorf("the old cookie signs in as %q", got)
			}
			if keys := records.living(t.Context()); len(keys) != 0 {
				t.Errorf("records are left: %v", keys)
			}
		})
	})

	t.Run("C107 over the note of a use that is under way", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w, records := newTapped(t)
			w.login()
			id := w.cookie(sessionCookie)
			time.Sleep(10 * time.Minute)
			records.refuse(func(c storeCall) error {
				if c.op != "swap" {
					return nil
				}
				records.refuse(nil)
				w.send(w.newBrowser(), http.MethodPost, "/auth/logout", "", "Sec-Fetch-Site: same-origin", "Cookie: "+sessionCookie+"="+id)
				return nil
			})
			if got := w.signedInAs(id); got != "" {
				t.Errorf("a request that came with the logout is taken for %q", got)
			}
			if keys := records.living(t.Context()); len(keys) != 0 {
				t.Errorf("records are left: %v", keys)
			}
		})
	})

	t.Run("C107 a logout that the store refuses is not said to be done", func(t *testing.T) {
		w, records := newTapped(t)
		w.login()
		records.refuse(func(c storeCall) error {
			if c.op == "delete" {
				return errors.New("OOM command not allowed")
			}
			return nil
		})
		a := w.send(w.browser, http.MethodPost, "/auth/logout", "", "Sec-Fetch-Site: same-origin")
		if a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" || len(a.Cookies()) != 0 {
			t.Errorf("status %d, Retry-After %q, cookies %v", a.StatusCode, a.Header.Get("Retry-After"), a.Cookies())
		}
		if got := w.subject(); got != "alice" {
			t.Errorf("signed in as %q, want alice still", got)
		}
	})
}

func TestSessionSize(t *testing.T) {
	groups := make([]string, 3000)
	for i := range groups {
		groups[i] = fmt.Sprintf("department-%04d", i)
	}
	crowd := oidcgatetest.User{Subject: "alice", Claims: map[string]any{"groups": groups}}

	t.Run("F38 3,000 groups are refused", func(t *testing.T) {
		w, records := newTapped(t)
		w.op.SetUser(crowd)
		w.denied(w.get(w.callbackURL("/app")), http.StatusBadGateway, oidcgate.ReasonSessionTooLarge)
		w.leavesNothing(records)
		want := regexp.MustCompile(`^the session is larger than Limits.SessionBytes: \d{5} bytes, and 16384 are allowed; ` +
			`the largest claim is "groups"$`)
		if e := w.eventsOf(oidcgate.EventLoginFailed); !want.MatchString(e[0].Detail) {
			t.Errorf("the detail is %q", e[0].Detail)
		}
	})
	t.Run("F38 3,000 groups, trimmed by OnLogin", func(t *testing.T) {
		w, records := newTapped(t, func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.OnLogin = func(_ context.Context, l *oidcgate.Login) error {
				l.Drop("groups", "sub", "iss")
				return l.Set("groups", []string{"department-0007"})
			}
		})
		w.op.SetUser(crowd)
		w.login()
		if got := w.subject(); got != "alice" {
			t.Errorf("signed in as %q", got)
		}
		if n := len(records.value(t, records.record(t, "s:"))); n > 1024 {
			t.Errorf("the record has %d bytes", n)
		}
	})
	t.Run("F38 3,000 groups with room for them: the cookie stays as it is", func(t *testing.T) {
		w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Limits.SessionBytes = 1 << 20 })
		w.op.SetUser(crowd)
		w.login()
		if n := len(w.cookie(sessionCookie)); n != 44 {
			t.Errorf("the cookie has %d characters", n)
		}
	})

	t.Run("a session of usual size takes less than 6 KB in all", func(t *testing.T) {
		w, records := newTapped(t)
		claims := map[string]any{}
		for i := range 10 {
			claims[fmt.Sprintf("claim_%d", i)] = strings.Repeat("v", 20)
		}
		claims["name"], claims["email"], claims["email_verified"] = "Alice Example", "alice@example.com", true
		w.op.SetUser(oidcgatetest.User{Subject: "alice", Claims: claims})
		w.op.Always(oidcgatetest.Token, oidcgatetest.EditJSON(func(m map[string]any) {
			m["access_token"], m["refresh_token"] = strings.Repeat("a", 1100), strings.Repeat("r", 700)
		}))
		w.op.EveryIDToken(func(t *oidcgatetest.JWT) { delete(t.Claims, "at_hash") })
		w.login()
		size := 0
		for _, key := range records.living(t.Context()) {
			size += len(key) + len(records.value(t, key))
		}
		if size == 0 || size > 6<<10 {
			t.Errorf("%d bytes", size)
		}
	})
}

func TestStoreIsDownAtStart(t *testing.T) {
	server := redistest.Start(t)
	server.Stop()
	w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) {
		c.Store = patient(server.Client(func(o *redis.Options) {
			heedsDeadlines(o)
			o.MaxRetries, o.DialerRetries = -1, 1 // a refused connection is refused at once
		}))
	})
	if a := w.get("/public"); a.StatusCode != http.StatusOK {
		t.Errorf("F15 a page for everybody: %d", a.StatusCode)
	}
	if err := w.gate.Ready(t.Context()); !errors.Is(err, oidcgate.ErrStoreUnavailable) {
		t.Errorf("F15 Ready: %v", err)
	}
	if a := w.get("/auth/login"); a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" {
		t.Errorf("F15 nobody is sent to type a password for nothing: %d, Retry-After %q", a.StatusCode, a.Header.Get("Retry-After"))
	}
	server.Restart()
	for end := time.Now().Add(30 * time.Second); w.gate.Ready(t.Context()) != nil; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("F15 not ready again: %v", w.gate.Ready(t.Context()))
		}
	}
	w.login()
}
