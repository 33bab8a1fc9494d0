package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/internal/redistest"
)

var soakTime = flag.Duration("soak", 20*time.Second, "how long the soak takes")

const (
	soakVisitors = 24
	warmUp       = 5 * time.Second
	// What a pool, a timer or a buffer may have more of than at another moment; a leak of one thing a request
	// is thousands.
	spareGoroutines = 8
	spareHeap       = 4 << 20
)

// After hours of logins, requests, refreshes and logouts, with a store and a provider that fail now and then, the
// process is as large as before, and everybody who is signed in is who they are.
func TestSoak(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr)
	rdb := redis.NewClient(&redis.Options{Addr: proxy.Addr, ContextTimeoutEnabled: true, PoolSize: soakVisitors})
	t.Cleanup(func() { _ = rdb.Close() })
	p, err := newProvider(time.Second)
	if err != nil {
		t.Fatal(err)
	}
	var events atomic.Int64
	s, err := newShop(rdb, p, func(oidcgate.Event) { events.Add(1) })
	if err != nil {
		t.Fatal(err)
	}
	k := &soak{T: t, shop: s, provider: p, server: server, proxy: proxy}
	k.run(warmUp)
	before := k.size()
	k.run(*soakTime)
	after := k.sizeAtMost(before)
	t.Logf("%d answers, %d of them 503, %d events; goroutines %d, then %d; heap %d KB, then %d KB", k.answers.Load(), k.unavailable.Load(),
		events.Load(), before.goroutines, after.goroutines, before.heap>>10, after.heap>>10)
	if k.unavailable.Load() == 0 || k.answers.Load() < 10*k.unavailable.Load()/9 {
		t.Errorf("%d of %d answers were 503: want some, and not nearly all", k.unavailable.Load(), k.answers.Load())
	}
	if after.goroutines > before.goroutines+spareGoroutines || after.heap > before.heap+spareHeap {
		t.Errorf("the process became %+v, was %+v", after, before)
	}
}

type soak struct {
	*testing.T
	shop     *shop
	provider *provider
	server   *redistest.Server
	proxy    *redistest.Proxy

	answers, unavailable atomic.Int64
}

// run lets visitors be busy for a time, while things fail.
func (k *soak) run(d time.Duration) {
	ctx, cancel := context.WithTimeout(k.Context(), d)
	defer cancel()
	var running sync.WaitGroup
	for i := range soakVisitors {
		running.Go(func() { k.live(ctx, fmt.Sprint("user-", i)) })
	}
	k.fail(ctx)
	running.Wait()
	ctx, cancel = context.WithTimeout(k.Context(), time.Minute)
	defer cancel()
	if err := k.shop.gate.Wait(ctx); err != nil { // waits for refreshes under way and ends nothing else
		k.Errorf("waiting for refreshes: %v", err)
	}
	k.server.Restart() // which ends all connections: two goroutines and two buffers each, of the proxy
}

// fail brings one fault after the other, each for a moment, with peace between them.
func (k *soak) fail(ctx context.Context) {
	faults := []struct{ begin, end func() }{
		{func() { k.proxy.SetDelay(2 * time.Second) }, func() { k.proxy.SetDelay(0) }},
		{k.providerFault(http.StatusInternalServerError, nil), k.providerWell},
		{func() { k.proxy.CutReply("oidcgate") }, func() {}},
		{k.providerFault(0, errors.New("connection reset")), k.providerWell},
		{k.server.Pause, k.server.Resume},
		{func() { k.server.Restart() }, func() {}}, // and everybody signs in again
	}
	for i := 0; pass(ctx, time.Second); i++ {
		f := faults[i%len(faults)]
		f.begin()
		pass(ctx, 500*time.Millisecond)
		f.end()
	}
}

func (k *soak) providerFault(status int, err error) func() {
	f := fault(func(r *http.Request) (*http.Response, error) { return answer(r, status, nil), err })
	return func() { k.provider.fault.Store(&f) }
}

func (k *soak) providerWell() { k.provider.fault.Store(nil) }

// pass reports whether the time passed before the context ended.
func pass(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// live is a visitor's life: sign in, use the service, sign out, and again. Some leave without signing out.
func (k *soak) live(ctx context.Context, subject string) {
	for n := 0; ctx.Err() == nil; n++ {
		cookie, err := k.shop.logIn(ctx, subject, fmt.Sprint(subject, "-", n))
		if err != nil {
			pass(ctx, 50*time.Millisecond) // store or provider is ill, and says so
			continue
		}
		for range 20 + rand.IntN(200) {
			if !k.visit(ctx, cookie, subject) || !pass(ctx, 5*time.Millisecond) {
				break
			}
		}
		if n%3 != 0 {
			k.shop.ask(ctx, "POST", "/auth/logout", cookie)
		}
	}
}

// visit opens a page and reports whether the visitor is still signed in.
func (k *soak) visit(ctx context.Context, cookie, subject string) bool {
	path := []string{"/me", "/me", "/token", "/put"}[rand.IntN(4)]
	resp := k.shop.ask(ctx, "GET", path, cookie)
	k.answers.Add(1)
	body, _ := io.ReadAll(resp.Body) // from memory
	switch {
	case resp.StatusCode == http.StatusServiceUnavailable:
		k.unavailable.Add(1)
	case path == "/me" && resp.StatusCode == http.StatusOK && string(body) != subject:
		k.Errorf("%s is taken for %q", subject, body)
	case resp.StatusCode != http.StatusOK:
		return false
	}
	return true
}

// size is how large the process is.
type size struct {
	goroutines int
	heap       uint64
}

func (k *soak) size() size {
	runtime.GC()
	runtime.GC() // what finalizers and pools held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return size{runtime.NumGoroutine(), m.HeapAlloc}
}

// sizeAtMost waits a while for what ends by itself.
func (k *soak) sizeAtMost(want size) size {
	for end := time.Now().Add(time.Minute); ; time.Sleep(500 * time.Millisecond) {
		s := k.size()
		if s.goroutines <= want.goroutines+spareGoroutines && s.heap <= want.heap+spareHeap || time.Now().After(end) {
			return s
		}
	}
}
