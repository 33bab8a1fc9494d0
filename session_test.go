package oidcgate_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/store"
)

// tap is a store that notes every command and refuses those it is told to.
type tap struct {
	store.Store

	mu    sync.Mutex
	calls []storeCall
	fault func(storeCall) error
}

// storeCall is one command that a store got.
type storeCall struct {
	op, key string
	ttl     time.Duration
	written bool // it would change what is stored
}

// newTapped is newWorld with a tap on its store.
func newTapped(t *testing.T, changes ...change) (*world, *tap) {
	t.Helper()
	records := &tap{}
	w := newWorld(t, append(changes, func(c *oidcgate.Config, _ *oidcgate.Provider) {
		records.Store, c.Store = c.Store, records
	})...)
	return w, records
}

// refuse has fault asked before every command from now on; its error is the command's. It may also be used to
// do something at that moment. nil ends it.
func (s *tap) refuse(fault func(storeCall) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

func (s *tap) note(c storeCall) error {
	s.mu.Lock()
	s.calls = append(s.calls, c)
	fault := s.fault
	s.mu.Unlock()
	if fault == nil {
		return nil
	}
	return fault(c)
}

// reset forgets the commands so far.
func (s *tap) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = nil
}

// since returns the commands since reset.
func (s *tap) since() []storeCall {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]storeCall(nil), s.calls...)
}

// living returns the keys of all records of sessions that there are: identity, tokens, values. What else the
// gate keeps is claims on attempts, which say nothing of anybody.
func (s *tap) living(ctx context.Context) []string {
	seen := map[string]bool{}
	var keys []string
	for _, c := range s.since() {
		if seen[c.key] || strings.HasPrefix(c.key, "a:") {
			continue
		}
		seen[c.key] = true
		if _, err := s.Store.Get(ctx, c.key); !errors.Is(err, store.ErrNotFound) {
			keys = append(keys, c.key)
		}
	}
	return keys
}

func (s *tap) Get(ctx context.Context, key string) ([]byte, error) {
	if err := s.note(storeCall{"get", key, 0, false}); err != nil {
		return nil, err
	}
	return s.Store.Get(ctx, key)
}

func (s *tap) Create(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if err := s.note(storeCall{"create", key, ttl, true}); err != nil {
		return err
	}
	return s.Store.Create(ctx, key, value, ttl)
}

func (s *tap) Swap(ctx context.Context, key string, old, value []byte, ttl time.Duration) error {
	if err := s.note(storeCall{"swap", key, ttl, true}); err != nil {
		return err
	}
	return s.Store.Swap(ctx, key, old, value, ttl)
}

func (s *tap) Delete(ctx context.Context, key string, old []byte) error {
	if err := s.note(storeCall{"delete", key, 0, true}); err != nil {
		return err
	}
	return s.Store.Delete(ctx, key, old)
}
