package oidcgate_test

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

func keepsValues(c *oidcgate.Config, _ *oidcgate.Provider) { c.EnableValues = true }

// valuesShop is an application that keeps values: /put?k=&v= and /get?k=, and pages of the test.
func valuesShop(w *world, pages ...page) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", w.shop())
	mux.HandleFunc("/put", func(rw http.ResponseWriter, r *http.Request) {
		w.gate.Values().Put(r.Context(), r.FormValue("k"), r.FormValue("v"))
		_, _ = io.WriteString(rw, "put")
	})
	mux.HandleFunc("/get", func(rw http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(rw, w.gate.Values().GetString(r.Context(), r.FormValue("k")))
	})
	for _, p := range pages {
		mux.HandleFunc(p.path, p.serve)
	}
	return mux
}

type page struct {
	path  string
	serve http.HandlerFunc
}

// newValuesWorld opens a shop that keeps values, with a visitor signed in. The page /page is the test's.
func newValuesWorld(t *testing.T, serve func(*world) http.HandlerFunc, changes ...change) (*world, *tap) {
	t.Helper()
	w, records := newTapped(t, append([]change{keepsValues}, changes...)...)
	if serve == nil {
		serve = func(*world) http.HandlerFunc { return http.NotFound }
	}
	w.handler = w.gate.Wrap(valuesShop(w, page{"/page", serve(w)}))
	w.login()
	return w, records
}

func (w *world) valueOf(key string) string {
	w.Helper()
	return w.get("/get?k=" + key).body
}

// cart is a value of a type of the application's own.
type cart struct{ Items map[string]int }

func TestValues(t *testing.T) {
	gob.Register(cart{})
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	onEachStoreWithValues(t, func(t *testing.T, on change) {
		values := map[string]any{
			"text": "twelve", "number": 12, "flag": true, "bytes": []byte{1, 2}, "time": at,
			"map": map[string]any{"a": "b", "n": 1}, "list": []any{"a", 1}, "own": cart{map[string]int{"tea": 2}},
		}
		w, _ := newValuesWorld(t, func(w *world) http.HandlerFunc {
			return func(rw http.ResponseWriter, r *http.Request) {
				for name, value := range values {
					w.gate.Values().Put(r.Context(), name, value)
				}
			}
		}, on)
		w.get("/page")

		w.handler = w.gate.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			v, ctx := w.gate.Values(), r.Context()
			for name, want := range values {
				got := v.Get(ctx, name)
				if moment, ok := got.(time.Time); ok && moment.Equal(at) {
					continue
				}
				if !reflect.DeepEqual(got, want) {
					t.Errorf("%s is %#v, want %#v", name, got, want)
				}
			}
			if got := v.PopString(ctx, "text"); got != "twelve" {
				t.Errorf("popped %q", got)
			}
			v.Remove(ctx, "number")
		}))
		w.get("/")

		w.handler = w.gate.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			v, ctx := w.gate.Values(), r.Context()
			if v.Exists(ctx, "text") || v.Exists(ctx, "number") || !v.Exists(ctx, "flag") {
				t.Errorf("after Pop and Remove there are %q", v.Keys(ctx))
			}
		}))
		w.get("/")
	})

	t.Run("without Config.EnableValues they panic and say why", func(t *testing.T) {
		w := newWorld(t)
		defer func() {
			if text := fmt.Sprint(recover()); !strings.Contains(text, "Config.EnableValues") {
				t.Errorf("the panic is %q", text)
			}
		}()
		w.gate.Values()
	})

	t.Run("a request that only reads costs two reads and no write", func(t *testing.T) {
		w, records := newValuesWorld(t, nil)
		w.get("/put?k=a&v=1")
		records.reset()
		w.valueOf("a")
		if writes, all := records.count(); writes != 0 || all != 2 {
			t.Errorf("%d commands, %d of them writes: %+v", all, writes, records.since())
		}
	})

	t.Run("a visitor who is not signed in has none, and an event says so", func(t *testing.T) {
		w, records := newTapped(t, keepsValues)
		w.handler = w.gate.Wrap(valuesShop(w))
		if a := w.get("/put?k=a&v=1"); a.StatusCode != http.StatusOK || len(a.Cookies()) != 0 {
			t.Errorf("status %d, cookies %v", a.StatusCode, a.Cookies())
		}
		if _, all := records.count(); all != 0 {
			t.Errorf("the store got %+v", records.since())
		}
		if e := w.eventsOf(oidcgate.EventValuesNotSaved); len(e) != 1 || e[0].Reason != "anonymous" {
			t.Errorf("events %+v, want one with the reason anonymous", e)
		}
	})

	t.Run("C046 a new login begins without the values of the one before", func(t *testing.T) {
		w, records := newValuesWorld(t, nil)
		w.get("/put?k=a&v=1")
		old := records.record(t, "v:")
		w.get(w.callbackURL("/auth/login"))
		if got := w.valueOf("a"); got != "" || records.has(old) {
			t.Errorf("the value is %q, the old record there: %v", got, records.has(old))
		}
	})

	t.Run("C103 values of two visitors exchanged are read by neither", func(t *testing.T) {
		w, records := newValuesWorld(t, nil)
		w.get("/put?k=a&v=mine")
		mine := records.record(t, "v:")
		first := w.browser
		w.browser = w.newBrowser()
		w.login()
		w.get("/put?k=a&v=theirs")
		records.put(t, mine, records.value(t, records.record(t, "v:")))
		w.browser = first
		if got := w.valueOf("a"); got != "" || w.subject() != "" {
			t.Errorf("the value is %q, the visitor %q", got, w.subject())
		}
	})

	t.Run("of two gates round one request each has its own", func(t *testing.T) {
		inner, _ := newValuesWorld(t, nil)
		outer := newWorld(t, keepsValues, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Site.CookieName = "__Host-outer" })
		outer.handler = outer.gate.Wrap(outer.shop())
		outer.login()
		both := outer.gate.Wrap(inner.gate.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			for gate, name := range map[*oidcgate.Gate]string{inner.gate: "inner", outer.gate: "outer"} {
				if old := gate.Values().GetString(r.Context(), "name"); old != "" && old != name {
					t.Errorf("the %s gate has the value of the %s one", name, old)
				}
				gate.Values().Put(r.Context(), "name", name)
			}
		})))
		for range 2 {
			r := httptest.NewRequest(http.MethodGet, shopURL+"/", nil)
			r.Header.Set("Cookie", sessionCookie+"="+inner.cookie(sessionCookie)+"; __Host-outer="+outer.cookie("__Host-outer"))
			both.ServeHTTP(httptest.NewRecorder(), r)
		}
		if got := inner.valueOf("name"); got != "inner" {
			t.Errorf("the inner gate has the value %q", got)
		}
	})
}

// firstBytes are the ways in which an answer begins. Each is called after a value was put, and whatever it
// sends must find the value saved.
var firstBytes = []struct {
	name string
	send func(http.ResponseWriter) error
}{
	{"Write", func(rw http.ResponseWriter) error { _, err := rw.Write([]byte("page")); return err }},
	{"WriteString", func(rw http.ResponseWriter) error { _, err := io.WriteString(rw, "page"); return err }},
	{"WriteHeader", func(rw http.ResponseWriter) error { rw.WriteHeader(http.StatusCreated); return nil }},
	{"WriteHeader 103", func(rw http.ResponseWriter) error { rw.WriteHeader(http.StatusEarlyHints); return nil }},
	{"Flush", func(rw http.ResponseWriter) error { return http.NewResponseController(rw).Flush() }},
	{"ReadFrom", func(rw http.ResponseWriter) error {
		_, err := rw.(io.ReaderFrom).ReadFrom(strings.NewReader("page"))
		return err
	}},
	{"Hijack", func(rw http.ResponseWriter) error {
		conn, buffer, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			return err
		}
		_, err = buffer.WriteString("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\npage")
		return errors.Join(err, buffer.Flush(), conn.Close())
	}},
}

func TestValuesAreSavedBeforeTheFirstByte(t *testing.T) {
	for _, row := range firstBytes {
		t.Run("F37 C106 "+row.name+" finds them saved", func(t *testing.T) {
			var records *tap
			w, tapped := newValuesWorld(t, func(w *world) http.HandlerFunc {
				return func(rw http.ResponseWriter, r *http.Request) {
					w.gate.Values().Put(r.Context(), "before", "1")
					if err := row.send(rw); err != nil {
						t.Errorf("%s: %v", row.name, err)
					}
					if key := records.record(t, "v:"); !records.has(key) {
						t.Error("they are not saved when it returns")
					}
					w.gate.Values().Put(r.Context(), "after", "2")
				}
			})
			records = tapped
			returned := make(chan struct{}, 1) // of Hijack the visitor has the answer before the handler returns
			inner := w.handler
			w.handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				inner.ServeHTTP(rw, r)
				returned <- struct{}{}
			})
			w.get("/page")
			<-returned
			w.handler = inner
			if before, after := w.valueOf("before"), w.valueOf("after"); before != "1" || after != "2" {
				t.Errorf("the next request finds %q, put before it, and %q, put after it", before, after)
			}
		})

		t.Run("F18 F19 "+row.name+" is replaced whole by a 503 when they cannot be saved", func(t *testing.T) {
			w, records := newValuesWorld(t, func(w *world) http.HandlerFunc {
				return func(rw http.ResponseWriter, r *http.Request) {
					w.gate.Values().Put(r.Context(), "before", "1")
					rw.Header().Set("Location", "/elsewhere")
					rw.Header().Set("Content-Type", "text/plain")
					rw.Header().Set("Set-Cookie", "paid=1")
					if err := row.send(rw); err == nil && !strings.HasPrefix(row.name, "WriteHeader") {
						t.Errorf("%s does not say that it failed", row.name)
					}
					rw.WriteHeader(http.StatusFound)
					if _, err := io.WriteString(rw, "handler's words"); err == nil {
						t.Error("a later Write does not say that it failed")
					}
				}
			})
			records.refuse(refusesWrites)
			a := w.get("/page")
			if a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" || a.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("status %d, headers %v", a.StatusCode, a.Header)
			}
			if a.location() != "" || a.Header.Get("Set-Cookie") != "" || strings.Contains(a.body, "handler's words") || strings.Contains(a.body, "page") && !strings.Contains(a.body, "<html") {
				t.Errorf("the handler shows through: headers %v\n%s", a.Header, a.body)
			}
			if e := w.eventsOf(oidcgate.EventValuesNotSaved); len(e) == 0 || e[0].Reason != "store_error" {
				t.Errorf("events %+v", e)
			}
			records.refuse(nil)
			if got := w.subject(); got != "alice" {
				t.Errorf("signed in as %q", got)
			}
		})
	}

	t.Run("an answer without a byte is replaced as well", func(t *testing.T) {
		w, records := newValuesWorld(t, func(w *world) http.HandlerFunc {
			return func(_ http.ResponseWriter, r *http.Request) { w.gate.Values().Put(r.Context(), "a", "1") }
		})
		records.refuse(refusesWrites)
		if a := w.get("/page"); a.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("status %d, want 503", a.StatusCode)
		}
		records.refuse(nil)
		if a := w.get("/page"); a.StatusCode != http.StatusOK {
			t.Errorf("status %d, want 200", a.StatusCode)
		}
	})

	type unknownType struct{ A int }
	for name, row := range map[string]struct {
		value        any
		reason, hint string
	}{
		"of a type that gob does not know": {unknownType{1}, "value_type", "gob.Register"},
		"F38 that is too large":            {strings.Repeat("x", 64<<10), "session_too_large", "Limits.SessionBytes"},
	} {
		t.Run("a value "+name+" is a fault of the service, and an event names the cure", func(t *testing.T) {
			w, _ := newValuesWorld(t, func(w *world) http.HandlerFunc {
				return func(_ http.ResponseWriter, r *http.Request) { w.gate.Values().Put(r.Context(), "a", row.value) }
			})
			a := w.get("/page")
			if a.StatusCode != http.StatusInternalServerError || a.Header.Get("Retry-After") != "" || !strings.Contains(a.body, "Not set up") {
				t.Errorf("status %d, Retry-After %q\n%s", a.StatusCode, a.Header.Get("Retry-After"), a.body)
			}
			e := w.eventsOf(oidcgate.EventValuesNotSaved)
			if len(e) == 0 || string(e[0].Reason) != row.reason || !strings.Contains(e[0].Hint, row.hint) || strings.Contains(e[0].Hint, "store is up") {
				t.Errorf("events %+v", e)
			}
		})
	}

	t.Run("F34 a handler that panics saves nothing", func(t *testing.T) {
		w, _ := newValuesWorld(t, func(w *world) http.HandlerFunc {
			return func(_ http.ResponseWriter, r *http.Request) {
				w.gate.Values().Put(r.Context(), "a", "1")
				panic(http.ErrAbortHandler)
			}
		})
		if resp, err := w.browser.Get(shopURL + "/page"); err == nil {
			_ = resp.Body.Close()
			t.Errorf("status %d, want a broken connection", resp.StatusCode)
		}
		if got := w.valueOf("a"); got != "" {
			t.Errorf("the value is %q", got)
		}
	})

	t.Run("a browser that leaves does not undo what the handler put", func(t *testing.T) {
		ctx, leave := context.WithCancel(t.Context())
		w, _ := newValuesWorld(t, func(w *world) http.HandlerFunc {
			return func(_ http.ResponseWriter, r *http.Request) {
				w.gate.Values().Put(r.Context(), "a", "1")
				leave()
				<-r.Context().Done()
			}
		})
		r := httptest.NewRequest(http.MethodGet, shopURL+"/page", nil).WithContext(ctx)
		r.Header.Set("Cookie", sessionCookie+"="+w.cookie(sessionCookie))
		w.handler.ServeHTTP(httptest.NewRecorder(), r)
		if got := w.valueOf("a"); got != "1" {
			t.Errorf("the value is %q", got)
		}
	})
}

func refusesWrites(c storeCall) error {
	if c.written {
		return errors.New("OOM command not allowed when used memory > 'maxmemory'")
	}
	return nil
}

func TestValuesOfTwoRequests(t *testing.T) {
	onEachStoreWithValues(t, func(t *testing.T, on change) {
		inside, leave := make(chan struct{}), make(chan struct{})
		w, _ := newValuesWorld(t, func(w *world) http.HandlerFunc {
			return func(_ http.ResponseWriter, r *http.Request) {
				close(inside)
				<-leave
				v, ctx := w.gate.Values(), r.Context()
				v.Put(ctx, "slow", "slow")
				v.Put(ctx, "both", "slow")
				v.Remove(ctx, "gone")
			}
		}, on)
		w.get("/put?k=gone&v=1")
		w.get("/put?k=kept&v=old")
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.requestAs("/page", sessionCookie+"="+w.cookie(sessionCookie))
		}()
		<-inside
		w.get("/put?k=fast&v=fast")
		w.get("/put?k=both&v=fast")
		w.get("/put?k=kept&v=new")
		close(leave)
		<-done
		for key, want := range map[string]string{"slow": "slow", "fast": "fast", "both": "slow", "kept": "new", "gone": ""} {
			if got := w.valueOf(key); got != want {
				t.Errorf("%s is %q, want %q", key, got, want)
			}
		}
	})

	t.Run("twenty requests at once each keep their key", func(t *testing.T) {
		onEachStoreWithValues(t, func(t *testing.T, on change) {
			w, _ := newValuesWorld(t, nil, on)
			cookie := sessionCookie + "=" + w.cookie(sessionCookie)
			var all sync.WaitGroup
			for i := range 20 {
				all.Go(func() { w.requestAs(fmt.Sprintf("/put?k=key%d&v=x", i), cookie) })
			}
			all.Wait()
			for i := range 20 {
				if got := w.valueOf(fmt.Sprintf("key%d", i)); got != "x" {
					t.Errorf("key%d is %q", i, got)
				}
			}
		})
	})
}

func TestSessionIsNotEndedThroughValues(t *testing.T) {
	for name, end := range map[string]func(v *scs.SessionManager, ctx context.Context, other string) error{
		"Destroy":    func(v *scs.SessionManager, ctx context.Context, _ string) error { return v.Destroy(ctx) },
		"RenewToken": func(v *scs.SessionManager, ctx context.Context, _ string) error { return v.RenewToken(ctx) },
		"MergeSession": func(v *scs.SessionManager, ctx context.Context, other string) error {
			return v.MergeSession(ctx, other)
		},
	} {
		t.Run(name+" is an error and changes nothing", func(t *testing.T) {
			var other string
			var err error
			w, records := newValuesWorld(t, func(w *world) http.HandlerFunc {
				return func(_ http.ResponseWriter, r *http.Request) { err = end(w.gate.Values(), r.Context(), other) }
			})
			w.get("/put?k=a&v=other")
			other = w.cookie(sessionCookie)
			w.browser = w.newBrowser()
			w.login()
			w.get("/put?k=a&v=mine")
			id := w.cookie(sessionCookie)
			records.reset()
			w.get("/page")
			if err == nil {
				t.Error("no error")
			}
			if writes, _ := records.count(); writes != 0 {
				t.Errorf("the store got %+v", records.since())
			}
			if got := w.valueOf("a"); got != "mine" || w.cookie(sessionCookie) != id || w.subject() != "alice" {
				t.Errorf("the value is %q, the id the same: %v, the visitor %q", got, w.cookie(sessionCookie) == id, w.subject())
			}
		})
	}

	t.Run("MergeSession brings a stranger no values", func(t *testing.T) {
		w, _ := newValuesWorld(t, nil)
		w.get("/put?k=a&v=1")
		id := w.cookie(sessionCookie)
		w.handler = w.gate.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if err := w.gate.Values().MergeSession(r.Context(), id); err == nil {
				t.Error("no error")
			}
			if got := w.gate.Values().GetString(r.Context(), "a"); got != "" {
				t.Errorf("the stranger has the value %q", got)
			}
		}))
		w.browser = w.newBrowser()
		w.get("/")
	})
}

func TestLogoutWinsOverValues(t *testing.T) {
	for _, first := range []bool{true, false} {
		for n := range 6 {
			t.Run(fmt.Sprintf("C107 a logout at command %d of a slow writer, first write: %v", n+1, first), func(t *testing.T) {
				w, records := newValuesWorld(t, nil)
				if !first {
					w.get("/put?k=a&v=1")
				}
				id := sessionCookie + "=" + w.cookie(sessionCookie)
				count := 0
				records.refuse(func(storeCall) error {
					if count++; count != n+1 {
						return nil
					}
					records.refuse(nil)
					w.send(w.newBrowser(), http.MethodPost, "/auth/logout", "", "Sec-Fetch-Site: same-origin", "Cookie: "+id)
					return nil
				})
				w.requestAs("/put?k=a&v=2", id)
				records.refuse(nil)
				if count <= n { // the writer was done before: the logout comes now
					w.send(w.newBrowser(), http.MethodPost, "/auth/logout", "", "Sec-Fetch-Site: same-origin", "Cookie: "+id)
				}
				if keys := records.living(t.Context()); len(keys) != 0 {
					t.Errorf("records are left: %v", keys)
				}
				if rec := w.requestAs("/whoami", id); rec.Code != http.StatusUnauthorized {
					t.Errorf("the old cookie: status %d", rec.Code)
				}
			})
		}
	}

	t.Run("a handler that puts values after the logout gets its page and an event", func(t *testing.T) {
		w, _ := newValuesWorld(t, func(w *world) http.HandlerFunc {
			return func(rw http.ResponseWriter, r *http.Request) {
				w.send(w.newBrowser(), http.MethodPost, "/auth/logout", "", "Sec-Fetch-Site: same-origin", "Cookie: "+r.Header.Get("Cookie"))
				w.gate.Values().Put(r.Context(), "a", "1")
				_, _ = io.WriteString(rw, "page")
			}
		})
		if a := w.get("/page"); a.StatusCode != http.StatusOK || a.body != "page" {
			t.Errorf("status %d, body %q", a.StatusCode, a.body)
		}
		if e := w.eventsOf(oidcgate.EventValuesNotSaved); len(e) == 0 || e[0].Reason != "session_ended" {
			t.Errorf("events %+v", e)
		}
	})
}

// scs's own documentation says to call LoadAndSave. Behind a gate nobody needs it, and it must not put the
// session id into another cookie.
func TestValuesLoadAndSave(t *testing.T) {
	t.Run("C104 the session id goes out in its own cookie only", func(t *testing.T) {
		w := newWorld(t, keepsValues)
		w.login()
		id := w.cookie(sessionCookie)
		values := w.gate.Values()
		w.handler = w.gate.Wrap(values.LoadAndSave(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			values.Put(r.Context(), "cart", "bread")
			_, _ = io.WriteString(rw, "ok")
		})))
		for _, c := range w.get("/cart").Cookies() {
			if c.Value == id && (c.Name != sessionCookie || !c.Secure) {
				t.Errorf("cookie %q, Secure %v", c.Name, c.Secure)
			}
		}
	})
	t.Run("C102 a request that did not pass through Wrap reads no session", func(t *testing.T) {
		w := newWorld(t, keepsValues)
		w.login()
		if _, err := w.gate.Values().Load(t.Context(), w.cookie(sessionCookie)); err == nil {
			t.Error("no error")
		}
	})
}

func TestValuesStayWithinTheirBound(t *testing.T) {
	t.Run("F38 the bound is that of the record, whoever put what lies there, and it may always shrink", func(t *testing.T) {
		const n = 12
		ready := make(chan struct{})
		var arrived sync.WaitGroup
		arrived.Add(n)
		var size atomic.Int64
		w, _ := newValuesWorld(t, func(w *world) http.HandlerFunc {
			return func(rw http.ResponseWriter, r *http.Request) {
				values := w.gate.Values()
				switch r.FormValue("do") {
				case "fill":
					arrived.Done()
					<-ready
					values.Put(r.Context(), "cart-"+r.FormValue("i"), strings.Repeat("x", 10<<10))
				case "size":
					total := 0
					for _, k := range values.Keys(r.Context()) {
						total += len(values.GetString(r.Context(), k))
					}
					size.Store(int64(total))
				case "remove":
					values.Remove(r.Context(), values.Keys(r.Context())[0])
				}
			}
		})
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() { w.get(fmt.Sprintf("/page?do=fill&i=%d", i)) })
		}
		arrived.Wait()
		close(ready)
		wg.Wait()
		w.get("/page?do=size")
		if got := size.Load(); got > 16<<10 || got == 0 {
			t.Errorf("SessionBytes is 16 KiB, and the record holds %d bytes", got)
		}
		w.reopen(func(c *oidcgate.Config) { c.Limits.SessionBytes = 1 << 10 })
		if a := w.get("/page?do=remove"); a.StatusCode != http.StatusOK {
			t.Errorf("a request that makes the record smaller is answered %d", a.StatusCode)
		}
	})
	t.Run("C111 an identity of NewContext inside Wrap sees and changes no values of the visitor", func(t *testing.T) {
		var seen string
		w, _ := newValuesWorld(t, func(w *world) http.HandlerFunc {
			return func(_ http.ResponseWriter, r *http.Request) {
				w.gate.Values().Put(r.Context(), "k", "alice's")
				id, err := oidcgate.NewIdentity(w.op.Issuer(), "mallory", nil)
				if err != nil {
					t.Error(err)
					return
				}
				other := w.gate.NewContext(r.Context(), id)
				seen = w.gate.Values().GetString(other, "k")
				w.gate.Values().Put(other, "k", "mallory's")
				if got := w.gate.Values().GetString(other, "k"); got != "mallory's" {
					t.Errorf("it lost its own: %q", got)
				}
			}
		})
		w.get("/page")
		if kept := w.valueOf("k"); seen != "" || kept != "alice's" {
			t.Errorf("it saw %q, and the visitor has %q", seen, kept)
		}
	})
	t.Run("requests that share a context of NewContext lose their values with one event", func(t *testing.T) {
		w, _ := newTapped(t, keepsValues)
		handler := w.gate.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { w.gate.Values().Put(r.Context(), "k", "v") }))
		ctx := oidcgatetest.NewContext(t.Context(), w.gate, oidcgatetest.User{Subject: "carol"})
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil).WithContext(ctx))
			})
		}
		all.Wait()
		if lost := w.eventsOf(oidcgate.EventValuesNotSaved); len(lost) != 1 {
			t.Errorf("events %+v", lost)
		}
	})
	t.Run("values of an identity of NewContext are lost with an event, inside and outside Wrap", func(t *testing.T) {
		w, _ := newTapped(t, keepsValues)
		put := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { w.gate.Values().Put(r.Context(), "k", "v") })
		read := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { w.gate.Values().GetString(r.Context(), "k") })
		as := func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				h.ServeHTTP(rw, oidcgatetest.WithIdentity(r, w.gate, oidcgatetest.User{Subject: "carol"}))
			})
		}
		for name, row := range map[string]struct {
			handler http.Handler
			want    int
		}{
			"outside": {as(w.gate.Wrap(put)), 1}, "inside": {w.gate.Wrap(as(put)), 1}, "twice": {as(w.gate.Wrap(as(put))), 1},
			"in both":      {as(w.gate.Wrap(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { put(rw, r); as(put).ServeHTTP(rw, r) }))), 2},
			"read outside": {as(w.gate.Wrap(read)), 0}, "read inside": {w.gate.Wrap(as(read)), 0},
		} {
			before := len(w.eventsOf(oidcgate.EventValuesNotSaved))
			row.handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
			lost := w.eventsOf(oidcgate.EventValuesNotSaved)[before:]
			if len(lost) != row.want || row.want > 0 && (lost[0].Reason != "no_session" || !strings.Contains(lost[0].Detail, "NewContext")) {
				t.Errorf("%s: %d events, want %d: %+v", name, len(lost), row.want, lost)
			}
		}
	})
}

// What the application keeps in a session may restrict its visitor. Without it nobody is let in.
func TestGuardsWithoutTheValues(t *testing.T) {
	t.Run("F16 the values cannot be read: 503, and FromContext sees nobody", func(t *testing.T) {
		f := newFleet(t, 1, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.EnableValues = true })
		g := f.gates[0]
		mux := http.NewServeMux()
		mux.Handle("/restrict", g.Require()(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			g.Values().Put(r.Context(), "read only", true)
		})))
		mux.Handle("/write", g.Require()(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if g.Values().GetBool(r.Context(), "read only") {
				http.Error(rw, "read only", http.StatusForbidden)
			}
		})))
		mux.HandleFunc("/open", func(rw http.ResponseWriter, r *http.Request) {
			id, ok := oidcgate.FromContext(r.Context())
			_, _ = fmt.Fprint(rw, id, ok, g.SessionErr(r.Context()) != nil)
		})
		f.handler = g.Wrap(mux)
		f.get(f.callbackURL("/restrict"))
		f.get("/restrict")
		if a := f.get("/write"); a.StatusCode != http.StatusForbidden {
			t.Fatalf("while all is well: %d", a.StatusCode)
		}
		f.drill.fail(on("get s:", errReadOnly), nil)
		if a := f.get("/write"); a.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("the session cannot be read either: %d to %q", a.StatusCode, a.location())
		}
		f.drill.fail(on("get v:", errReadOnly), nil)
		if a := f.get("/write"); a.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%d %q", a.StatusCode, a.body)
		}
		if a := f.get("/open"); a.body != "<nil>falsetrue" && a.body != "<nil> false true" {
			t.Errorf("an open page sees %q", a.body)
		}
		f.handler = g.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			ctx, stop := g.Watch(r.Context())
			defer stop()
			if cause := context.Cause(ctx); !errors.Is(cause, oidcgate.ErrStoreUnavailable) {
				t.Errorf("Watch: the cause is %v", cause)
			}
		}))
		f.get("/")
	})
}

// TestValuesOfASessionThatEndsMeanwhile has a logout end the session after a request has read it,
// and before it reads the values.
func TestValuesOfASessionThatEndsMeanwhile(t *testing.T) {
	t.Run("C107 a logout comes between the two reads of a request", func(t *testing.T) {
		w, records := newTapped(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.EnableValues = true })
		mux := http.NewServeMux()
		mux.Handle("/restrict", w.gate.Require()(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			w.gate.Values().Put(r.Context(), "read only", true)
		})))
		written := 0
		mux.Handle("/write", w.gate.Require()(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if !w.gate.Values().GetBool(r.Context(), "read only") {
				written++
			}
		})))
		mux.HandleFunc("/open", func(rw http.ResponseWriter, r *http.Request) {
			id, ok := oidcgate.FromContext(r.Context())
			_, _ = fmt.Fprint(rw, id, ok, w.gate.SessionErr(r.Context()))
		})
		w.handler = w.gate.Wrap(mux)
		for _, path := range []string{"/write", "/open"} {
			w.get(w.callbackURL("/restrict"))
			w.get("/restrict")
			var once sync.Once
			records.refuse(func(c storeCall) error {
				if c.op == "get" && strings.HasPrefix(c.key, "v:") {
					once.Do(func() {
						if _, err := w.gate.Sessions().EndUser(t.Context(), w.op.Issuer(), "alice"); err != nil {
							t.Error(err)
						}
					})
				}
				return nil
			})
			a := w.get(path)
			if path == "/write" && a.StatusCode != http.StatusSeeOther || path == "/open" && a.body != "<nil> false <nil>" && a.body != "<nil>false<nil>" {
				t.Errorf("%s: %d %q", path, a.StatusCode, a.body)
			}
			records.refuse(nil)
		}
		if written > 0 {
			t.Error("the visitor has written, though a value forbade it")
		}
	})
}

func TestValuesOfASessionThatIsNotLoaded(t *testing.T) {
	t.Run("F16 F18 the store cannot say who is signed in: what a handler puts is not answered as if it were saved", func(t *testing.T) {
		f := newFleet(t, 1, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.EnableValues = true })
		f.login()
		f.handler = f.gate.Wrap(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			f.drill.fail(nil, nil) // it is well again
			f.gate.Values().Put(r.Context(), "cart", "tea")
		}))
		f.drill.fail(on("get s:", errIll), nil)
		if a := f.get("/basket"); a.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("status %d", a.StatusCode)
		}
		f.reportedOnce(oidcgate.EventValuesNotSaved, "store_error")
	})
}

// The session's record was written again under the new key, and that of the values was not.
func TestValuesUnderAKeyThatIsGone(t *testing.T) {
	t.Run("F22 F41 C107 values that no key here opens: the visitor logs in again, as without a session that this replica can read", func(t *testing.T) {
		w, _ := newValuesWorld(t, nil, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Tokens.ClaimsMaxAge = time.Second })
		if a := w.get("/put?k=a&v=b"); a.StatusCode != http.StatusOK {
			t.Fatal(a.StatusCode)
		}
		provider := oidcgate.Provider{Issuer: w.op.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)}
		with := func(keys string) {
			w.config.Keys = mustKeys(t, keys)
			w.open(provider)
			w.handler = w.gate.Wrap(valuesShop(w))
		}
		with(newKey + "," + worldKey)
		time.Sleep(1100 * time.Millisecond) // the claims are read again, and saved under the new key
		if a := w.get("/app"); a.StatusCode != http.StatusOK {
			t.Fatal(a.StatusCode)
		}
		with(newKey)
		a := w.get("/app", "Sec-Fetch-Mode: navigate", document)
		if a.StatusCode != http.StatusSeeOther || !strings.Contains(a.location(), "gone=key") || w.cookie(sessionCookie) == "" {
			t.Errorf("%d to %q, cookie %q", a.StatusCode, a.location(), w.cookie(sessionCookie))
		}
		fromElsewhere := w.get("/auth/login?return_to=%2Fapp", "Sec-Fetch-Mode: navigate", document, "Sec-Fetch-Site: cross-site")
		if strings.HasPrefix(fromElsewhere.location(), shopURL) {
			t.Errorf("a link of another site to the login leads to %q: round and round with a LoginPage that sends on", fromElsewhere.location())
		}
		if a := w.get("/public", "Sec-Fetch-Mode: navigate", document); a.body != "welcome" {
			t.Errorf("a page without a guard: %d", a.StatusCode)
		}
		w.finishLogin(w.authorization("/auth/login").String())
		if a := w.get("/get?k=a"); w.subject() != "alice" || a.body != "" {
			t.Errorf("after the login: signed in as %q, value %q", w.subject(), a.body)
		}
	})
}

// TestValuesThatGrowTooMuch has a handler save at once, and answer itself when that fails.
func TestValuesThatGrowTooMuch(t *testing.T) {
	t.Run("F38 the answer is the handler's, and what was saved before stays", func(t *testing.T) {
		w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.EnableValues = true; c.Limits.SessionBytes = 4096 })
		w.login()
		w.handler = w.gate.Wrap(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			ctx, values := r.Context(), w.gate.Values()
			if text := r.URL.Query().Get("add"); text != "" {
				values.Put(ctx, "filter/"+text[:1], text)
				if _, _, err := values.Commit(ctx); err != nil {
					values.Remove(ctx, "filter/"+text[:1])
					http.Error(rw, "too many", http.StatusRequestEntityTooLarge)
					return
				}
			}
			_, _ = io.WriteString(rw, fmt.Sprint(len(values.Keys(ctx))))
		}))
		w.get("/?add=a")
		if a := w.get("/?add=b" + strings.Repeat("b", 5000)); a.StatusCode != http.StatusRequestEntityTooLarge || a.body != "too many\n" {
			t.Errorf("%d %s", a.StatusCode, a.body)
		}
		if a := w.get("/"); a.body != "1" {
			t.Errorf("there are %s values", a.body)
		}
	})
}
