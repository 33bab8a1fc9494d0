package store

import (
	"bytes"
	"container/heap"
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	defaultMaxEntries = 100_000

	// sweepPerWrite is how many expired entries a write drops at most. A write
	// adds one entry at most, so more than one keeps the garbage bounded, and
	// so few keep a write from pausing for thousands that expired together.
	sweepPerWrite = 4
)

// Memory is a [Store] in the memory of one process: for tests, for development,
// and for a service that runs as a single process and may forget its sessions
// when it restarts. Its zero value is ready for use. It starts no goroutine;
// what has expired is never seen again and is dropped by later writes.
//
// A Memory is safe for concurrent use and must not be copied after first use.
type Memory struct {
	// MaxEntries is how many entries may live, values and members of sets
	// together. If zero or negative, it is 100,000. At the bound Create and Add
	// answer ErrFull, while Swap and Delete go on: strangers who start logins
	// by the thousand push nobody out. It must not change after first use.
	MaxEntries int

	mu     sync.RWMutex
	values map[string]*entry
	sets   map[string]map[string]*entry
	queue  expiryQueue
}

// An entry is a value under a key, or a member of a set.
type entry struct {
	set      string // the set of a member
	isMember bool
	name     string // the key of a value, or the member itself
	value    []byte
	expires  time.Time
	index    int // in the queue
}

func (e *entry) living(now time.Time) bool { return now.Before(e.expires) }

// Get implements [Store].
func (m *Memory) Get(ctx context.Context, key string) ([]byte, error) {
	if err := began(ctx, "get"); err != nil {
		return nil, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	e, ok := m.values[key]
	if !ok || !e.living(time.Now()) {
		return nil, ErrNotFound
	}
	return bytes.Clone(e.value), nil
}

// Create implements [Store].
func (m *Memory) Create(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	ttl, err := beganTTL(ctx, "create", ttl)
	if err != nil {
		return err
	}
	now, unlock := m.lock()
	defer unlock()
	if e := m.find(m.values[key], now); e != nil {
		if !bytes.Equal(e.value, value) {
			return ErrExists
		}
		m.extend(e, now.Add(ttl))
		return nil
	}
	return m.insert(&entry{name: key, value: bytes.Clone(value), expires: now.Add(ttl)}, now)
}

// Swap implements [Store].
func (m *Memory) Swap(ctx context.Context, key string, old, value []byte, ttl time.Duration) error {
	ttl, err := beganTTL(ctx, "swap", ttl)
	if err != nil {
		return err
	}
	now, unlock := m.lock()
	defer unlock()
	e := m.find(m.values[key], now)
	if e == nil {
		return ErrNotFound
	}
	if !bytes.Equal(e.value, old) && !bytes.Equal(e.value, value) {
		return ErrConflict
	}
	e.value = bytes.Clone(value)
	m.extend(e, now.Add(ttl))
	return nil
}

// Delete implements [Store].
func (m *Memory) Delete(ctx context.Context, key string, old []byte) error {
	if err := began(ctx, "delete"); err != nil {
		return err
	}
	now, unlock := m.lock()
	defer unlock()
	e := m.find(m.values[key], now)
	if e == nil {
		return nil
	}
	if old != nil && !bytes.Equal(e.value, old) {
		return ErrConflict
	}
	m.drop(e)
	return nil
}

// Add implements [Store].
func (m *Memory) Add(ctx context.Context, set, member string, ttl time.Duration) error {
	ttl, err := beganTTL(ctx, "add", ttl)
	if err != nil {
		return err
	}
	now, unlock := m.lock()
	defer unlock()
	expires := now.Add(ttl)
	if e := m.find(m.sets[set][member], now); e != nil {
		if expires.After(e.expires) {
			m.extend(e, expires)
		}
		return nil
	}
	return m.insert(&entry{set: set, isMember: true, name: member, expires: expires}, now)
}

// Members implements [Store].
func (m *Memory) Members(ctx context.Context, set string) ([]string, error) {
	if err := began(ctx, "members"); err != nil {
		return nil, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	now := time.Now()
	var members []string
	for name, e := range m.sets[set] {
		if e.living(now) {
			members = append(members, name)
		}
	}
	return members, nil
}

// Remove implements [Store].
func (m *Memory) Remove(ctx context.Context, set, member string) error {
	if err := began(ctx, "remove"); err != nil {
		return err
	}
	now, unlock := m.lock()
	defer unlock()
	if e := m.find(m.sets[set][member], now); e != nil {
		m.drop(e)
	}
	return nil
}

// began refuses an operation whose context has ended.
func began(ctx context.Context, op string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("store: %s: %w", op, err)
	}
	return nil
}

func beganTTL(ctx context.Context, op string, ttl time.Duration) (time.Duration, error) {
	if err := began(ctx, op); err != nil {
		return 0, err
	}
	return RoundTTL(ttl)
}

// lock takes the lock for a write, whose time it returns, and sweeps a little.
func (m *Memory) lock() (now time.Time, unlock func()) {
	m.mu.Lock()
	now = time.Now()
	for range sweepPerWrite {
		if !m.dropExpired(now) {
			break
		}
	}
	return now, m.mu.Unlock
}

// find returns e if it lives. An entry that has expired but was not swept yet
// is dropped, so that a new one may take its place.
func (m *Memory) find(e *entry, now time.Time) *entry {
	if e == nil || e.living(now) {
		return e
	}
	m.drop(e)
	return nil
}

// insert adds e, which must not be there, or returns ErrFull.
func (m *Memory) insert(e *entry, now time.Time) error {
	if len(m.queue) >= m.bound() && !m.dropExpired(now) {
		return ErrFull
	}
	if e.isMember {
		m.insertMember(e)
	} else {
		m.insertValue(e)
	}
	heap.Push(&m.queue, e)
	return nil
}

func (m *Memory) insertValue(e *entry) {
	if m.values == nil {
		m.values = make(map[string]*entry)
	}
	m.values[e.name] = e
}

func (m *Memory) insertMember(e *entry) {
	if m.sets == nil {
		m.sets = make(map[string]map[string]*entry)
	}
	if m.sets[e.set] == nil {
		m.sets[e.set] = make(map[string]*entry)
	}
	m.sets[e.set][e.name] = e
}

func (m *Memory) bound() int {
	if m.MaxEntries <= 0 {
		return defaultMaxEntries
	}
	return m.MaxEntries
}

func (m *Memory) extend(e *entry, expires time.Time) {
	e.expires = expires
	heap.Fix(&m.queue, e.index)
}

// dropExpired drops the entry that expires first if its time has come, and
// reports whether it did.
func (m *Memory) dropExpired(now time.Time) bool {
	if len(m.queue) == 0 || m.queue[0].living(now) {
		return false
	}
	m.drop(m.queue[0])
	return true
}

func (m *Memory) drop(e *entry) {
	heap.Remove(&m.queue, e.index)
	if !e.isMember {
		delete(m.values, e.name)
		return
	}
	delete(m.sets[e.set], e.name)
	if len(m.sets[e.set]) == 0 {
		delete(m.sets, e.set)
	}
}

// expiryQueue is a [heap.Interface] with the entry that expires first in front.
type expiryQueue []*entry

func (q expiryQueue) Len() int           { return len(q) }
func (q expiryQueue) Less(i, j int) bool { return q[i].expires.Before(q[j].expires) }

func (q expiryQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *expiryQueue) Push(x any) {
	e := x.(*entry)
	e.index = len(*q)
	*q = append(*q, e)
}

func (q *expiryQueue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = nil // let the collector have it
	*q = old[:len(old)-1]
	return e
}
