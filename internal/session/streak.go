package session

import (
	"strconv"
	"sync"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
)

// streak counts how often an endpoint has failed one session while it served others. Some providers
// say nothing else of a user who is blocked or deleted, of a refresh token that is withdrawn, or of
// claims that the user has made unreadable. A failure counts when some time has passed since the
// one before, and others were served here in between; so neither an outage nor several short ones
// make a streak of [maxFailures].
type streak struct {
	Last  time.Time // of the failures that count; zero: there was none
	Count int64     // of those after the first
}

// maxFailures is how often an endpoint may fail one session while it serves others.
const maxFailures = 3

// aloneAfter is the time between two failures that count, where claims are not read again.
const aloneAfter = 5 * time.Minute

// next returns the streak after one more failure. served is when others were served last.
func (s streak) next(every time.Duration, served time.Time) streak {
	switch {
	case s.Last.IsZero():
		return streak{Last: time.Now()}
	case time.Since(s.Last) < every, !served.After(s.Last):
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

// served notes when providers last served a session at one endpoint.
type served struct {
	mu sync.Mutex
	at map[string]time.Time
}

func newServed() served { return served{at: map[string]time.Time{}} }

func (s *served) note(provider string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at[provider] = time.Now()
}

// last returns zero where a provider has served none.
func (s *served) last(provider string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at[provider]
}
