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

// memories is how many intervals a user for whom an endpoint failed is remembered.
const memories = 6

// memory is how long that is.
func (k *Keeper) memory() time.Duration { return memories * cmp.Or(k.limits.Reread, aloneAfter) }

// next returns the streak after one more failure for a user.
func (s streak) next(every time.Duration, at *served, who asker) streak {
	counts := at.fails(who, s.Last, memories*every)
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

// served notes when providers last served a session at one endpoint, and for whom they fail.
type served struct {
	mu      sync.Mutex
	at      map[string]time.Time
	users   map[string]map[User]time.Time // by provider: when it served a user last
	failing map[string]map[User]time.Time // by provider: when it failed last for a user
}

func newServed() served {
	return served{
		at: map[string]time.Time{}, users: map[string]map[User]time.Time{},
		failing: map[string]map[User]time.Time{},
	}
}

// An endpoint may fail for so many users at a time, or for one in so many of those that it has just
// served, so that it may be for their sake.
const (
	fewUsers = 3
	fewOf    = 10
)

// How many users are remembered, of each provider.
const (
	maxFailing = 256
	maxServed  = 4096
)

// note notes that a user was served.
func (s *served) note(who asker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at[strings.Clone(who.provider)] = time.Now()
	delete(s.failing[who.provider], who.User)
	noteUser(s.users, who, maxServed)
}

// noteUser notes the time at which something was so for a user, if there is room.
func noteUser(all map[string]map[User]time.Time, who asker, most int) {
	users := all[who.provider]
	if users == nil {
		users = map[User]time.Time{}
		all[strings.Clone(who.provider)] = users
	}
	if _, known := users[who.User]; known || len(users) < most {
		// Clones: the names are pieces of a whole record.
		users[User{strings.Clone(who.Issuer), strings.Clone(who.Subject)}] = time.Now()
	}
}

// forget drops the users of a provider for whom drop says so, by the time that is remembered.
func forget(users map[User]time.Time, drop func(at time.Time) bool) {
	maps.DeleteFunc(users, func(_ User, at time.Time) bool { return drop(at) })
}

// fails notes that an endpoint has failed for a user. It reports whether it has served others since
// then, and has failed for few users within the last while.
func (s *served) fails(who asker, since time.Time, while time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failsFew(who, while) && s.at[who.provider].After(since)
}

// failsFor is fails, also where this process knows of nobody else.
func (s *served) failsFor(who asker, since time.Time, while time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	few := s.failsFew(who, while)
	nobodyElse := len(s.failing[who.provider]) == 1 && len(s.users[who.provider]) == 0
	return few && (nobodyElse || s.at[who.provider].After(since))
}

// failsFew notes that an endpoint has failed for a user, and reports whether it fails for few. s.mu
// is locked.
func (s *served) failsFew(who asker, while time.Duration) bool {
	served := s.at[who.provider]
	forget(s.failing[who.provider], func(at time.Time) bool {
		return time.Since(at) > while && served.After(at) // until then it is one outage
	})
	noteUser(s.failing, who, maxFailing)
	delete(s.users[who.provider], who.User)
	forget(s.users[who.provider], func(at time.Time) bool { return time.Since(at) >= while })
	lately := 0
	for _, at := range s.users[who.provider] {
		if time.Since(at) < while/memories {
			lately++
		}
	}
	n := len(s.failing[who.provider])
	return n <= fewUsers || n*fewOf <= lately
}
