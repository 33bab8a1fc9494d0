//go:build unix

package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/internal/redistest"
	"github.com/oidcgate/oidcgate/store/redisstore"
)

// BenchmarkFar measures what waits for a Redis that is far away: a login, from the guarded page back
// to it, a logout, and the end of all sessions of a user. For a few rounds: -bench Far -benchtime 5x.
func BenchmarkFar(b *testing.B) {
	redis := redistest.Start(b).Addr
	for _, away := range []time.Duration{300 * time.Microsecond, 2 * time.Millisecond} {
		f := newFar(b, redis, away)
		b.Run(fmt.Sprintf("away=%v/login", away), f.login)
		b.Run(fmt.Sprintf("away=%v/logout", away), f.logout)
		for _, sessions := range []int{1, 100, 1000, 5000} {
			b.Run(fmt.Sprintf("away=%v/end=%d", away, sessions), func(b *testing.B) { f.end(b, sessions) })
		}
	}
}

// far is a shop whose Redis is far away while something is measured.
type far struct {
	*shop
	redis *redistest.Proxy
	away  time.Duration
}

func newFar(b *testing.B, redis string, away time.Duration) *far {
	proxy := redistest.NewProxy(b, redis)
	rdb := newClient(proxy.Addr)
	b.Cleanup(func() { _ = rdb.Close() })
	s, err := newShop(redisstore.New(rdb))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.provider.Close)
	return &far{s, proxy, away}
}

// measure runs do again and again, each time after prepare, which is not measured.
func (f *far) measure(b *testing.B, prepare, do func()) {
	for b.Loop() {
		b.StopTimer()
		prepare()
		f.redis.SetDelay(f.away)
		b.StartTimer()
		do()
		b.StopTimer()
		f.redis.SetDelay(0)
		b.StartTimer()
	}
}

func (f *far) signIn(b *testing.B) (cookie string) {
	cookie, err := f.shop.login(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	return cookie
}

func (f *far) login(b *testing.B) {
	f.measure(b, func() {}, func() { f.signIn(b) })
}

func (f *far) logout(b *testing.B) {
	r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, shopURL+"/auth/logout", nil)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	f.measure(b, func() { r.Header.Set("Cookie", f.signIn(b)) }, func() {
		rec := httptest.NewRecorder()
		if f.handler.ServeHTTP(rec, r); rec.Code != http.StatusSeeOther {
			b.Fatalf("status %d: %s", rec.Code, rec.Body)
		}
	})
}

func (f *far) end(b *testing.B, sessions int) {
	end := func() int {
		n, err := f.gate.Sessions().EndUser(b.Context(), f.provider.Issuer(), userSubject)
		if err != nil {
			b.Fatal(err)
		}
		return n
	}
	begin := func() {
		time.Sleep(time.Second) // a login in the second of an end is refused
		for range sessions {
			f.signIn(b)
		}
	}
	end() // what other measurements left
	f.measure(b, begin, func() {
		if n := end(); n != sessions {
			b.Fatalf("%d sessions ended, want %d", n, sessions)
		}
	})
	time.Sleep(time.Second)
}
