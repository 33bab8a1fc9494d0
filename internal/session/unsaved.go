package session

import (
	"errors"
	"time"
)

// unsaved is what a refresh brought and the store refuses. The zero value is nothing.
type unsaved struct {
	what  unsavedKind
	since time.Time // with unsavedEnd: when the session had to end
}

// unsavedKind says what is unsaved: the greater, the worse.
type unsavedKind int

const (
	// unsavedTokens are tokens, or the lock. A request that does not learn the end of the refresh
	// gets nothing; one that needs no refresh goes on.
	unsavedTokens unsavedKind = iota + 1

	// unsavedClaims are claims, or what else the ID Token says of the session, or what the provider
	// said could not be looked into. The next request has the refresh repeat it.
	unsavedClaims

	// unsavedEnd is the end of the session. Nobody gets anything of it, and the next refresh ends it.
	unsavedEnd
)

// matters reports whether the session must not go on as it is.
func (u unsaved) matters() bool { return u.what >= unsavedClaims }

// leftover is what a flight that has ended leaves unsaved. The zero value is nothing.
type leftover struct {
	unsaved
	flight *flight // if it has repeated in vain what the store refused, for repeatAfter
}

// repeatAfter is how long to wait before what the store refused is repeated a second time, and from
// then on. Otherwise a store that takes no writes would have each request of a session ask userinfo
// and the application.
const repeatAfter = time.Second

// forgetLater frees what a flight holds, such as tokens, when it is to be repeated.
func (f *flights) forgetLater(id ID, one *flight) {
	time.AfterFunc(repeatAfter, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if l := f.left[id]; l.flight == one {
			l.flight = nil
			f.left[id] = l
		}
	})
}

// maxUnsaved is how many sessions are remembered of which something is unsaved.
const maxUnsaved = 4096

// noteUnsaved notes that the store refuses something that the refresh brought. The worst counts.
func (r *refresh) noteUnsaved(what unsavedKind) {
	f, one := &r.k.flights, r.flight
	f.mu.Lock()
	defer f.mu.Unlock()
	if what <= one.unsaved.what {
		return
	}
	one.unsaved = unsaved{what, time.Now()}
	if one.unsaved.matters() {
		f.matters.Store(true)
	}
}

// settled notes that no more than rest is unsaved any more.
func (r *refresh) settled(rest unsavedKind) {
	r.k.flights.mu.Lock()
	defer r.k.flights.mu.Unlock()
	r.flight.unsaved = unsaved{what: rest}
}

// storeWrites notes that the store takes tokens, or the lock, again.
func (r *refresh) storeWrites() {
	r.k.flights.mu.Lock()
	defer r.k.flights.mu.Unlock()
	if !r.flight.unsaved.matters() {
		r.flight.unsaved = unsaved{}
	}
}

// unsavedOf returns what a flight has not saved so far.
func (f *flights) unsavedOf(one *flight) unsaved {
	f.mu.Lock()
	defer f.mu.Unlock()
	return one.unsaved
}

// mustEnd reports whether a flight has found that the session has to end, and has not ended it.
func (k *Keeper) mustEnd(f *flight) bool { return k.flights.unsavedOf(f).what == unsavedEnd }

// unsettled reports whether something that matters of a session is unsaved: of its refresh under
// way, or else of the last one.
func (f *flights) unsettled(id ID) bool {
	if !f.matters.Load() {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if one := f.running[id]; one != nil {
		return one.unsaved.matters()
	}
	return f.left[id].matters()
}

// hasToEnd reports whether the last refresh of a session, which is over, has found that the session
// has to end, and could not end it.
func (f *flights) hasToEnd(id ID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.left[id].what == unsavedEnd
}

// leaveUnsaved remembers what a flight that ends leaves unsaved. f.mu is locked.
func (f *flights) leaveUnsaved(id ID, one *flight) {
	u, err := one.unsaved, one.cause
	switch {
	case err == errNotWaited:
		return
	case errors.Is(err, ErrGone):
		u = unsaved{}
	case !u.matters() && errors.Is(err, ErrStore):
		u.what = unsavedTokens
	case !u.matters():
		u = unsaved{}
	}
	delete(f.left, id)
	if u.what > 0 && f.makeRoom(u) {
		l := leftover{unsaved: u}
		if one.again && u.what == unsavedClaims {
			l.flight = one
			f.forgetLater(id, one)
		}
		f.left[id] = l
	}
	if f.matters.Load() {
		f.matters.Store(f.somethingMatters())
	}
}

// makeRoom returns false when there are too many to remember one more. What matters takes the place
// of what does not, or else of any. f.mu is locked.
func (f *flights) makeRoom(u unsaved) bool {
	if len(f.left) < maxUnsaved {
		return true
	}
	if !u.matters() {
		return false
	}
	var last ID
	for id, other := range f.left {
		if last = id; !other.matters() {
			break
		}
	}
	delete(f.left, last)
	return true
}

// somethingMatters is for f.mu locked.
func (f *flights) somethingMatters() bool {
	for _, u := range f.left {
		if u.matters() {
			return true
		}
	}
	for _, one := range f.running {
		if one.unsaved.matters() {
			return true
		}
	}
	return false
}
