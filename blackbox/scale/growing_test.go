package scale_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/oidcgate/oidcgate/blackbox/internal/visitor"
	"github.com/oidcgate/oidcgate/internal/redistest"
)

// mediumLife is a token lifetime short enough for frequent refreshes, but longer than a burst of
// requests.
const mediumLife = 8

// failoverTimeout is REDIS_TIMEOUT where the primary dies: below the lease of a lock.
const failoverTimeout = "2s"

func sentinelURL(g *redistest.Group) string {
	return "redis+sentinel://" + strings.Join(g.Sentinels, ",") + "/" + g.Name
}

// During a failover some requests get 503. It signs out only users whose refresh the provider had
// answered but Redis lost when the primary died.
func TestSentinelFailoverUnderTraffic(t *testing.T) {
	group := redistest.StartSentinel(t)
	w := newTown(t, plan{people: 24, firstTTL: mediumLife, refreshedTTL: mediumLife, options: []string{"REDIS_URL", sentinelURL(group), "REDIS_TIMEOUT", failoverTimeout}})
	w.open(t, 3)
	leavers, stayers := w.people[:4], w.people[4:]
	w.logIn(t, w.people...)
	cookies := w.leave(t, leavers)
	busy, stop := w.begin(t, stayers)
	busy.awaitMore(t, 100)
	group.AwaitReplicas()

	before := w.op.Watch(t)
	group.AwaitFailover(group.Kill())
	busy.awaitMore(t, 200)
	after := w.op.Watch(t)
	w.logIn(t, leavers[:2]...) // logins still work
	w.wantSignedIn(t, leavers[:2], w.replicas...)
	stop()

	seen := w.op.Watch(t)
	lost := make(map[*person]bool) // a refresh whose token was lost, so that the old one is used a second time
	for _, p := range stayers {
		lost[p] = seen.Reused[p.sub] > 0 && refreshes(before, after, p) > 0
	}
	busy.wantNothingWrong(t, seen, lost)
	t.Logf("refreshes with a spent token: %v", seen.Reused)
	w.wantDead(t, cookies)
	w.wantLogoutWorks(t, leavers[0])
}

// With asynchronous replication a failover may lose the last writes. Sessions whose refresh was in
// the lost writes have a used refresh token in Redis, and each of them ends once. If the lost write
// was the lock of a running refresh, a second refresh of the same session may run, which the
// provider treats as theft.
func TestFailoverThatLosesWrites(t *testing.T) {
	group := redistest.StartSentinel(t)
	w := newTown(t, plan{people: 16, firstTTL: shortLife, refreshedTTL: longLife,
		options: []string{"REDIS_URL", sentinelURL(group), "REDIS_TIMEOUT", failoverTimeout, "PROVIDER_TIMEOUT", patience.String()}})
	w.open(t, 3)
	w.logIn(t, w.people...)
	letExpire()
	lost, raced, others := w.people[:4], w.people[4:8], w.people[8:]
	group.AwaitReplicas()
	before := w.op.Watch(t)

	group.Isolate()
	answers := w.burst(lost, 2, w.replicas...) // saved on the primary that will be lost
	wantLive(t, w.op.Watch(t), answers)
	house := newGatehouse(true)
	w.front.set(refreshGrant, house.hold)
	var both sync.WaitGroup
	both.Go(func() { w.insist(raced, w.replicas[0]) })
	house.awaitHeld(t, len(raced))
	group.AwaitFailover(group.Kill())

	both.Go(func() { w.insist(raced, w.replicas[1]) })
	house.awaitHeld(t, len(raced)) // the new primary has no lock
	close(house.open)
	both.Wait()
	w.front.clear()
	w.settle(t, append(lost, raced...))

	after := w.op.Watch(t)
	answers = w.burst(others, 3, w.replicas...)
	wantLive(t, w.op.Watch(t), answers)
	w.wantSignedIn(t, others, w.replicas...)
	for _, p := range lost {
		if got := after.Reused[p.sub] - before.Reused[p.sub]; got != 1 {
			t.Errorf("the spent refresh token of %s was sent %d times, want once", p.sub, got)
		}
	}
	twice := 0
	for _, p := range raced {
		sent := refreshes(before, after, p) + after.Refused[p.sub] - before.Refused[p.sub]
		if sent > 2 {
			t.Errorf("%d refreshes of %s were sent, want at most two", sent, p.sub)
		}
		twice += sent - 1
	}
	t.Logf("second refreshes after a lost lock: %d of %d sessions", twice, len(raced))
	if twice == 0 {
		t.Error("no lock was lost, so nothing was shown")
	}
	w.logIn(t, lost...) // users who were signed out sign in again
	w.wantSignedIn(t, lost, w.replicas...)
}

// settle sends requests until each session has either ended or will continue. A session may have
// tokens that the provider has revoked, which the gate learns only at the next refresh.
func (w *town) settle(t *testing.T, people []*person) {
	t.Helper()
	await(t, "each session has ended or goes on", func() bool {
		for _, a := range w.burst(people, 1, w.replicas...) {
			if a.status != http.StatusOK && a.status != http.StatusUnauthorized {
				return false
			}
		}
		return true
	})
}

func TestClusterUnderTraffic(t *testing.T) {
	nodes := redistest.StartCluster(t)
	addr := nodes[0].Addr + "," + nodes[1].Addr + "," + nodes[2].Addr
	w := newTown(t, plan{people: 24, firstTTL: mediumLife, refreshedTTL: mediumLife, options: []string{"REDIS_URL", "redis+cluster://" + addr}})
	w.open(t, 3)
	leavers, stayers := w.people[:4], w.people[4:]
	w.logIn(t, w.people...)
	cookies := w.leave(t, leavers)
	busy, stop := w.begin(t, stayers)
	busy.awaitMore(t, 100)
	for to := range nodes {
		redistest.MoveSlots(t, nodes, (to+1)%3, to, ((to+1)%3)*5461+100, ((to+1)%3)*5461+1100)
		w.logIn(t, leavers[to])
		w.wantSignedIn(t, leavers[to:to+1], w.replicas...)
	}
	busy.awaitMore(t, 200)
	stop()
	busy.wantNothingWrong(t, w.op.Watch(t), nil)
	w.wantSignedIn(t, stayers, w.replicas...)
	w.wantDead(t, cookies)
	w.wantLogoutWorks(t, leavers[0])
	w.wantLogoutWorks(t, stayers[0])
}

// leave signs people out and returns the cookies they had.
func (w *town) leave(t *testing.T, people []*person) []*person {
	t.Helper()
	var ghosts []*person
	for _, p := range people {
		ghosts = append(ghosts, p.ghost(w.base))
		w.wantLogoutWorks(t, p)
	}
	return ghosts
}

// ghost returns a visitor with a copy of a person's cookies.
func (p *person) ghost(base string) *person {
	g := &person{Visitor: visitor.New(), user: p.user, sub: p.sub}
	g.SetCookies(base, p.Cookies(base))
	return g
}

// wantLogoutWorks signs a person out, at a replica other than the one where most users have logged
// in.
func (w *town) wantLogoutWorks(t *testing.T, p *person) {
	t.Helper()
	p.Route(w.base, w.replicas[len(w.replicas)-1].Addr)
	p.ConfirmLogout(t, p.Submit(t, visitor.NewForm(w.base+"/auth/logout")))
	w.wantDead(t, []*person{p})
}

// wantDead checks that a cookie has no session on any replica.
func (w *town) wantDead(t *testing.T, people []*person) {
	t.Helper()
	for _, p := range people {
		for _, r := range w.replicas {
			for _, path := range []string{"/whoami", "/token", "/slow?ms=0", "/put?k=a&v=b"} {
				a := w.get(p, r, path)
				if a.err != nil || strings.Contains(a.body, p.sub) || path != "/slow?ms=0" && a.status != http.StatusUnauthorized {
					t.Errorf("the old cookie of %s is answered %d %q (%v) at %s, want nobody signed in", p.sub, a.status, a.body, a.err, path)
				}
			}
		}
	}
}
