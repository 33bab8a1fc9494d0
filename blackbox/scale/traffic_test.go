package scale_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/blackbox/internal/idp"
)

// Traffic sends typical requests of people to all replicas until it is stopped: read the identity,
// store and read values, get access tokens. It records every response that cannot be right.
type traffic struct {
	town *town

	mu     sync.Mutex
	tokens []answer
	out    map[*person]answer // the first response to each person that said "not signed in"
	ok     int
	ill    int // number of 503 responses
	wrong  []error
}

// begin sends requests of people until the function it returns is called.
func (w *town) begin(t *testing.T, people []*person) (_ *traffic, stop func()) {
	t.Helper()
	f := &traffic{town: w, out: make(map[*person]answer)}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for _, p := range people {
		running.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				f.step(p, n)
				time.Sleep(time.Duration(50+rand.IntN(100)) * time.Millisecond)
			}
		})
	}
	return f, func() { cancel(); running.Wait() }
}

// step sends one request of a person to a random replica and records the response.
func (f *traffic) step(p *person, n int) {
	r := f.town.replicas[rand.IntN(len(f.town.replicas))]
	switch n % 3 {
	case 0:
		f.note(f.town.get(p, r, "/whoami"), func(a answer) bool { return strings.Contains(a.body, `"sub":"`+p.sub+`"`) })
	case 1:
		f.note(f.town.get(p, r, fmt.Sprintf("/put?k=who&v=%s", p.sub)), func(a answer) bool { return a.body == "saved\n" })
	default:
		f.note(f.town.get(p, r, "/token"), func(answer) bool { return true })
	}
}

// note records an answer by its kind. A guarded page redirects a visitor without a session to the
// login.
func (f *traffic) note(a answer, right func(answer) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case a.err == nil && a.status == http.StatusOK && right(a):
		f.ok++
		if strings.Contains(a.body, "sha256") {
			f.tokens = append(f.tokens, a)
		}
	case a.status == http.StatusServiceUnavailable && a.header.Get("Retry-After") != "" && len(a.header.Values("Set-Cookie")) == 0:
		f.ill++
	case a.status == http.StatusUnauthorized:
		if _, known := f.out[a.person]; !known {
			f.out[a.person] = a
		}
	default:
		f.wrong = append(f.wrong, fmt.Errorf("%s is answered %d %q (%v), which is never right", a.person.sub, a.status, a.body, a.err))
	}
}

// answered returns how many responses were 200.
func (f *traffic) answered() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ok
}

// awaitMore waits until n more responses were 200, which shows that the service works.
func (f *traffic) awaitMore(t *testing.T, n int) {
	t.Helper()
	goal := f.answered() + n
	await(t, fmt.Sprint(n, " more are answered 200"), func() bool { return f.answered() >= goal })
}

// wantNothingWrong checks the recorded responses, after the traffic was stopped. All tokens must
// have been valid, except those of the excused people.
func (f *traffic) wantNothingWrong(t *testing.T, seen idp.Watch, excused map[*person]bool) {
	t.Helper()
	t.Logf("%d answers 200, %d answers 503, %d people signed out", f.ok, f.ill, len(f.out))
	for _, err := range f.wrong {
		t.Error(err)
	}
	for _, a := range f.tokens {
		if err := live(seen, a); err != nil && !excused[a.person] {
			t.Error(err)
		}
	}
	for p, a := range f.out {
		if !excused[p] {
			t.Errorf("%s was signed out, with %q", p.sub, a.body)
		}
	}
}
