package scale_test

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oidcgate/oidcgate/blackbox/internal/rp"
	"github.com/oidcgate/oidcgate/internal/redistest"
)

// After a visitor has signed out, the old cookie has no effect on any replica. This must stay so
// when all requests that were running at that time have finished.
func TestLogoutWinsAgainstEverythingInFlight(t *testing.T) {
	t.Run("on three replicas, with Redis", func(t *testing.T) {
		server := redistest.Start(t)
		w := newTown(t, plan{people: 7, firstTTL: shortLife, refreshedTTL: longLife, options: []string{"REDIS_URL", "redis://" + server.Addr}})
		w.open(t, 3)
		w.logoutWins(t)
		wantNoSession(t, server.Client(nil))
	})
	t.Run("in one process, with memory", func(t *testing.T) {
		w := newTown(t, plan{people: 7, firstTTL: shortLife, refreshedTTL: longLife})
		w.open(t, 1)
		w.logoutWins(t)
	})
}

func (w *town) logoutWins(t *testing.T) {
	reader, lateWriter, writer, earlyRefresh, lateRefresh, comer, stayer := w.people[0], w.people[1], w.people[2], w.people[3], w.people[4], w.people[5], w.people[6]
	leavers := []*person{reader, lateWriter, writer, earlyRefresh, lateRefresh}
	w.logIn(t, append(leavers, stayer)...)
	callback := w.upToCallback(t, comer)
	letExpire()

	var flight sync.WaitGroup // all requests are on the first replica
	first, last := w.replicas[0], w.replicas[len(w.replicas)-1]
	flight.Go(func() { w.get(reader, first, "/slow?ms=4000") })
	flight.Go(func() { w.get(lateWriter, first, "/slow?ms=4000&k=cart&v=late") })
	var overtaken answer
	left := make(chan struct{})
	flight.Go(func() { w.keepPutting(writer, first, left) })
	houses := []*gatehouse{
		w.inHouse(t, true, refreshGrant, func() { flight.Go(func() { w.get(earlyRefresh, first, "/token") }) }),
		w.inHouse(t, false, refreshGrant, func() { flight.Go(func() { w.get(lateRefresh, first, "/token") }) }),
		w.inHouse(t, false, codeGrant, func() { flight.Go(func() { overtaken = w.get(comer, first, callback) }) }),
	}
	w.front.clear()

	var ghosts []*person
	for _, p := range leavers {
		ghosts = append(ghosts, p.ghost(w.base))
		w.signOut(t, p, last)
	}
	w.endUser(t, comer, last)
	w.wantDead(t, ghosts)
	for _, house := range houses {
		close(house.open)
	}
	close(left)
	flight.Wait()
	w.wantDead(t, ghosts)
	wantNoLogin(t, overtaken)
	time.Sleep(2 * lease) // time for late effects of a lock, a lease or a retry
	w.wantDead(t, ghosts)
	w.wantSignedIn(t, []*person{stayer}, w.replicas...)
	w.signOut(t, stayer, last)
}

// wantNoLogin checks that a callback begins no session if a logout came before it finished.
func wantNoLogin(t *testing.T, a answer) {
	t.Helper()
	if a.err != nil || a.status < 400 {
		t.Errorf("the callback of %s that was overtaken by a logout answers %d (%v), want a refusal", a.person.sub, a.status, a.err)
	}
	for _, c := range (&http.Response{Header: a.header}).Cookies() {
		if c.Name == sessionCookie && c.Value != "" {
			t.Errorf("the callback of %s that was overtaken by a logout sets a session's cookie", a.person.sub)
		}
	}
}

// sessionCookie is the name of the session cookie on plain http, where the prefix __Host- is not
// possible.
const sessionCookie = "oidcgate"

// lease is LOCK_LEASE.
const lease = 3 * time.Second

// upToCallback logs in at the provider and returns the callback's path, without opening it.
func (w *town) upToCallback(t *testing.T, p *person) string {
	t.Helper()
	p.Route(w.base, w.replicas[0].Addr)
	p.HoldAt(w.base + "/auth/callback")
	page := p.LogIn(t, p.Get(t, w.base+"/auth/login"), p.user.Login, p.user.Password)
	u, err := url.Parse(page.Location())
	if err != nil || u.Path != "/auth/callback" {
		t.Fatalf("logging in ends at %s, which leads to %q, want the callback", page.URL, page.Location())
	}
	return u.RequestURI()
}

// inHouse starts an operation that sends a token request, and returns when that request is held.
func (w *town) inHouse(t *testing.T, before bool, grant string, begin func()) *gatehouse {
	t.Helper()
	house := newGatehouse(before)
	w.front.set(grant, house.hold)
	begin()
	house.awaitHeld(t, 1)
	return house
}

// keepPutting stores values, each as soon as the last one is saved.
func (w *town) keepPutting(p *person, r *rp.Replica, until <-chan struct{}) {
	for {
		select {
		case <-until:
			return
		default:
			w.get(p, r, "/put?k=cart&v="+time.Now().Format("150405.000"))
		}
	}
}

// signOut presses the logout button at one replica. The cookie jar is updated by the response.
func (w *town) signOut(t *testing.T, p *person, r *rp.Replica) {
	t.Helper()
	a := w.send(p, r, http.MethodPost, "/auth/logout")
	if a.err != nil || a.status != http.StatusSeeOther || !strings.HasPrefix(a.header.Get("Location"), w.front.issuer) {
		t.Fatalf("signing %s out answers %d %q (%v), Location %q, want 303 to the provider", p.sub, a.status, a.body, a.err, a.header.Get("Location"))
	}
}

func (w *town) endUser(t *testing.T, p *person, r *rp.Replica) {
	t.Helper()
	q := url.Values{"iss": {w.front.issuer}, "sub": {p.sub}}
	if a := w.send(p, r, http.MethodPost, "/sessions/end-user?"+q.Encode()); a.err != nil || a.status != http.StatusOK {
		t.Fatalf("ending the sessions of %s answers %d %q (%v), want 200", p.sub, a.status, a.body, a.err)
	}
}

// wantNoSession checks that Redis has no key of any session.
func wantNoSession(t *testing.T, rdb *redis.Client) {
	t.Helper()
	for _, kind := range []string{"s", "t", "v", "d", "u", "i"} {
		keys, err := rdb.Keys(t.Context(), "oidcgate:"+kind+":*").Result()
		if err != nil || len(keys) > 0 {
			t.Errorf("Redis still has %q (%v), want nothing of a session", keys, err)
		}
	}
}
