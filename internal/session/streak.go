package session

import (
	"cmp"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
)

// streak counts how often an endpoint has failed one session while it served others. Some providers
// say nothing else of a user who is blocked or deleted, of a refresh token that is withdrawn, or of
// claims that the user has made unreadable. A failure counts when some time has passed since the
// one before, others were served here in between, and it fails for few users now; so neither an
// outage, of all users or of some, nor several short ones make a streak of [maxFailures].
type streak struct {
	Last  time.Time // of the failures that count; zero: there was none
	Count int64     // of those after the first
}

// maxFailures is how often an endpoint may fail one session while it serves others.
const maxFailures = 3

// aloneAfter is the time between two failures that count, where claims are not read again.
const aloneAfter = 5 * time.Minute

// memory is how long a user for whom an endpoint failed is remembered: longer than the pauses
// between two tries of a session.
func (k *Keeper) memory() time.Duration { return 6 * max(k.limits.Reread, aloneAfter) }

// next returns a streak after one more failure for a user.
func (k *Keeper) next(s streak, at *served, who asker) streak {
	every := cmp.Or(k.limits.Reread, aloneAfter)
	counts := at.fails(who, s.Last, k.memory())
	switch {
	case s.Last.IsZero():
		return streak{Last: time.Now()}
	case time.Since(s.Last) < every, !counts:
		return s
	}
	return streak{Last: time.Now(), Count: s.Count + 1}
}

func (s streak) isLong() bool { return s.Count >= maxFailures }

func (s streak) add(record claims.Builder, name string) claims.Builder {
	if s.Last.IsZero() {
		return record
	}
	return record.Add(name, millis(s.Last)).Add(name+"_again", claims.Int(s.Count))
}

func streakMember(o claims.Object, name string) streak {
	v, ok := o.Get(name + "_again")
	if !ok {
		return streak{}
	}
	text, _ := v.Number()
	count, _ := strconv.ParseInt(text, 10, 64)
	return streak{Last: timeMember(o, name), Count: count}
}

// endpointsServed says when endpoints have served sessions of this process.
type endpointsServed struct{ token, userinfo served }

func newEndpointsServed() endpointsServed { return endpointsServed{newServed(), newServed()} }

// served notes when providers last served sessions at one endpoint, and for whom they fail.
type served struct {
	mu      sync.Mutex
	last    map[string]lastServed         // by provider
	failing map[string]map[User]time.Time // by provider: when it failed last for a user
	began   time.Time                     // before it nobody was served here
}

func newServed() served {
	return served{
		last: map[string]lastServed{}, failing: map[string]map[User]time.Time{}, began: time.Now(),
	}
}

// lastServed is whom an endpoint served last, and when it served somebody else before.
type lastServed struct {
	user        User
	at, another time.Time
}

// otherThan returns when somebody else than a user was served last.
func (l lastServed) otherThan(u User) time.Time {
	if l.user == u {
		return l.another
	}
	return l.at
}

// fewUsers is for how many users an endpoint may fail at a time, so that it may be for their sake.
const fewUsers = 3

// maxFailing is how many users for whom an endpoint fails are remembered.
const maxFailing = 256

// note notes that a user was served.
func (s *served) note(who asker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.last[who.provider]
	if l.user != who.User {
		l.user, l.another = who.User.clone(), l.at
	}
	l.at = time.Now()
	s.last[strings.Clone(who.provider)] = l
	delete(s.failing[who.provider], who.User)
}

// clone returns a user who holds no record in memory of which the names are pieces.
func (u User) clone() User { return User{strings.Clone(u.Issuer), strings.Clone(u.Subject)} }

// fails notes that an endpoint has failed for a user. It reports whether it has served others since
// then, and has failed for few users within the last while.
func (s *served) fails(who asker, since time.Time, while time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	other := s.last[who.provider].otherThan(who.User)
	return s.failed(who, while) <= fewUsers && other.After(since)
}

// failsNotAll notes that an endpoint has failed for a user. It reports whether it has served others
// since then, or this process has not heard of anybody else within the last while.
func (s *served) failsNotAll(who asker, since time.Time, while time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.failed(who, while)
	other := s.last[who.provider].otherThan(who.User)
	isAlone := n == 1 && time.Since(other) >= while && time.Since(s.began) >= while
	return other.After(since) || isAlone
}

// failed notes that an endpoint has failed for a user, and returns for how many it has within the
// last while. s.mu is locked.
func (s *served) failed(who asker, while time.Duration) int {
	failing := s.failing[who.provider]
	if failing == nil {
		failing = map[User]time.Time{}
		s.failing[strings.Clone(who.provider)] = failing
	}
	maps.DeleteFunc(failing, func(_ User, at time.Time) bool { return time.Since(at) > while })
	if _, known := failing[who.User]; known || len(failing) < maxFailing {
		failing[who.User.clone()] = time.Now()
	}
	return len(failing)
}
