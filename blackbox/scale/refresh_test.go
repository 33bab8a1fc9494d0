package scale_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/internal/redistest"
)

// Here the access tokens of a login are valid for two seconds and those of a refresh for a long
// time. So the first request for a token after that causes one refresh, and a second refresh would
// be an error.
const (
	shortLife = 2
	longLife  = 3600
)

// letExpire returns when the access tokens of all logins so far have expired.
func letExpire() { time.Sleep((shortLife + 1) * time.Second) }

func TestThreeReplicasRefreshOnce(t *testing.T) {
	const sessions, each = 50, 6
	w := newTown(t, plan{people: sessions, firstTTL: shortLife, refreshedTTL: longLife,
		options: []string{"REDIS_URL", "redis://" + redistest.Start(t).Addr, "PROVIDER_TIMEOUT", "10s"}})
	w.open(t, 3)

	t.Run("C082 F30 of 300 requests at expiry the provider sees one refresh per session", func(t *testing.T) {
		w.logIn(t, w.people...)
		before := w.op.Watch(t)
		letExpire()
		answers := w.burst(w.people, each, w.replicas...)
		after := w.op.Watch(t)
		wantLive(t, after, answers)
		wantRefreshes(t, before, after, w.people, 1)
		w.wantSignedIn(t, w.people, w.replicas...)
	})
	for _, tt := range []struct {
		name  string
		spoil func(http.ResponseWriter, *http.Request, http.Handler)
	}{
		{"answers 500", fail},
		{"resets connections", reset},
		{"does not answer in time", hang},
	} {
		t.Run("C084 a provider that "+tt.name+" for a while logs nobody out and sees one refresh per session afterwards", func(t *testing.T) {
			w.outage(t, tt.spoil)
		})
	}
}

// outage lets all users request a token while the provider fails, and again until it works.
func (w *town) outage(t *testing.T, spoil func(http.ResponseWriter, *http.Request, http.Handler)) {
	people := w.people[:20]
	w.logIn(t, people...)
	before := w.op.Watch(t)
	letExpire()
	w.front.set(refreshGrant, spoil)
	for _, a := range w.burst(people, 6, w.replicas...) {
		if a.err != nil || a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
			t.Errorf("%s is answered %d %s (%v) meanwhile, want 503 with Retry-After", a.person.sub, a.status, a.body, a.err)
		}
	}
	w.wantSignedIn(t, people, w.replicas...)
	w.front.clear()

	waiting := people
	var answers []answer
	await(t, "everybody has a token again", func() bool {
		var still []*person
		for _, a := range w.burst(waiting, 1, w.replicas...) {
			switch a.status {
			case http.StatusServiceUnavailable:
				still = append(still, a.person)
			default:
				answers = append(answers, a)
			}
		}
		waiting = still
		return len(waiting) == 0
	})
	after := w.op.Watch(t)
	wantLive(t, after, answers)
	wantRefreshes(t, before, after, people, 1)
	w.wantSignedIn(t, people, w.replicas...)
}

// A replica that is killed leaves its lock behind. The session continues, unless the replica had
// used a refresh token and had not saved the new one.
func TestReplicaKilledInARefresh(t *testing.T) {
	for _, tt := range []struct {
		name   string
		before bool // it is killed before the provider gets the refresh
	}{
		{"C082 before the provider was asked: another refreshes, and everybody stays signed in", true},
		{"F31 after the provider answered: those sessions end once, with an event, and nobody else's", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newTown(t, plan{people: 12, firstTTL: shortLife, refreshedTTL: longLife,
				options: []string{"REDIS_URL", "redis://" + redistest.Start(t).Addr}})
			w.open(t, 3)
			w.logIn(t, w.people...)
			letExpire()
			cut, others := w.people[:6], w.people[6:]
			w.killInRefresh(t, tt.before, cut)
			before := w.op.Watch(t)
			answers := w.burst(others, 3, w.replicas[1:]...)
			wantLive(t, w.op.Watch(t), answers)
			if tt.before {
				answers = w.burst(cut, 3, w.replicas[1:]...)
				after := w.op.Watch(t)
				wantLive(t, after, answers)
				wantRefreshes(t, before, after, w.people, 1)
				w.wantSignedIn(t, w.people, w.replicas[1:]...)
				return
			}
			w.wantEndedOnce(t, cut)
			w.wantSignedIn(t, others, w.replicas[1:]...)
		})
	}
}

// killInRefresh kills the first replica after it has sent the refreshes of all people to the
// provider.
func (w *town) killInRefresh(t *testing.T, before bool, people []*person) {
	t.Helper()
	house := newGatehouse(before)
	w.front.set(refreshGrant, house.hold)
	defer w.front.clear()
	left := make(chan struct{})
	go func() { defer close(left); w.burst(people, 1, w.replicas[0]) }()
	house.awaitHeld(t, len(people))
	w.replicas[0].Kill()
	<-left
}

// wantEndedOnce checks that each session ends with one refused refresh and one event, and that its
// user can log in again.
func (w *town) wantEndedOnce(t *testing.T, people []*person) {
	t.Helper()
	before := w.op.Watch(t)
	for range 3 { // further requests do not reach the provider
		for _, a := range w.burst(people, 3, w.replicas[1:]...) {
			if a.err != nil || a.status != http.StatusUnauthorized {
				t.Errorf("%s is answered %d %s (%v), want 401", a.person.sub, a.status, a.body, a.err)
			}
		}
	}
	after := w.op.Watch(t)
	for _, p := range people {
		if got := after.Reused[p.sub] - before.Reused[p.sub]; got != 1 {
			t.Errorf("the provider saw the spent refresh token of %s %d times again, want once", p.sub, got)
		}
	}
	await(t, "each end is told of", func() bool {
		return count(t, "refresh.reuse_suspected", w.replicas[1:]...) == len(people)
	})
	w.replicas = w.replicas[1:]
	w.logIn(t, people...)
	w.wantSignedIn(t, people, w.replicas...)
}
