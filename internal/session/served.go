package session

import (
	"sync"
	"time"
)

// served notes when providers last refreshed tokens in this process.
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

// last returns zero where a provider has refreshed none.
func (s *served) last(provider string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at[provider]
}
