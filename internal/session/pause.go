package session

import (
	"context"
	"time"
)

// pauseReread keeps all replicas from reading the claims again at once. The tokens do not wait for
// that: it ends when they are due, or to be asked for again.
func (r *refresh) pauseReread(ctx context.Context) {
	d := r.k.pause(time.Since(r.s.Identity.Checked) - r.k.limits.Reread)
	if !r.s.Identity.UndecidedAgain.IsZero() {
		d = min(d, undecidedPause)
	}
	if r.tokens.RefreshToken != "" {
		d = min(d, r.untilRefresh())
	}
	if d > 0 {
		r.pause(ctx, d)
	}
}

// untilRefresh returns how long the refresh token need not be sent.
func (r *refresh) untilRefresh() time.Duration {
	d := time.Until(r.k.dueAt(r.tokens, r.s.ID))
	if d > 0 || r.recent { // recent: it was not sent, though the tokens may have become due
		return d
	}
	return r.k.pause(-d)
}

// pause keeps all replicas from refreshing the session for a while; this one alone, where others
// may succeed.
func (r *refresh) pause(ctx context.Context, d time.Duration) {
	if r.lock.pause(ctx, d, r.own) {
		r.k.flights.pause(r.s.ID, d)
	}
}

// pause is how long to leave a provider alone that has not done what is overdue for so long: longer
// the longer it is overdue, which spaces the tries out as if they were counted, and not the same
// for every session.
func (k *Keeper) pause(overdue time.Duration) time.Duration {
	d := min(max(overdue/2, time.Second), 30*time.Second)
	return d + k.jitter(d/4)
}

// undecidedPause is the longest pause while the old claims count no more.
const undecidedPause = 10 * time.Second

// maxPaused is how many sessions are remembered that no replica may refresh for a while.
const maxPaused = 4096

// otherPause is how long another replica's pause is believed, whose clock may be ahead.
const otherPause = 2 * time.Second

// pause remembers that this replica, or all, may not refresh a session for a while, so that
// requests need not ask the store. Without a note of it they ask.
func (f *flights) pause(id ID, d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for other := range f.paused {
		if len(f.paused) < maxPaused {
			break
		}
		delete(f.paused, other) // any: to look for one that is over would cost more than it saves
	}
	f.paused[id] = time.Now().Add(d)
}

// isPaused reports whether this replica may not refresh a session now, and nothing of it is
// unsaved.
func (f *flights) isPaused(id ID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	end, noted := f.paused[id]
	if noted && !time.Now().Before(end) {
		delete(f.paused, id)
		return false
	}
	return noted && !f.left[id].matters() && f.running[id] == nil
}
