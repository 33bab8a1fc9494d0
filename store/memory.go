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

	// sweepPerWrite is the greatest number of expired entries that one write drops. It is more than
	// one because a write adds at most one entry; so the number of expired entries stays bounded.
	// It is small so that no write is slow when thousands of entries have expired together.
	sweepPerWrite = 4
)

// Memory is a [Store] in the memory of one process. It is for tests, for development, and for a
// service that runs as a single process and may lose its sessions when it restarts. The zero value
// is ready for use. It starts no goroutine. Expired entries are never returned; later writes drop
// them. An API that takes DPoP proofs keeps an entry for each request, for some minutes: one
// busy client can fill a Memory.
//
// A Memory is safe for concurrent use and must not be copied after first use.
type Memory struct {
	// MaxEntries is the greatest number of entries, values and set members together. If zero or
	// negative, it is 100,000. When the store is full, Create and Add return ErrFull, while Swap
	// and Delete still work. So an attacker who starts thousands of logins cannot remove existing
	// sessions. MaxEntries must not be changed after first use.
	MaxEntries int

	mu     sync.RWMutex
	values map[string]*entry
	sets   map[string]map[string]*entry
	queue  expiryQueue
}

// An entry is a value under a key, or a member of a set.
type entry struct {
	set      string // of a member: the name of its set
	isMember bool
	name     string // the key of a value, or the member itself
	value    []byte
	expires  time.Time
	index    int // position in Memory.queue
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

// Batch implements [Batcher].
func (m *Memory) Batch(ctx context.Context, ops []Op) []Result {
	results := make([]Result, len(ops))
	for i, op := range ops {
		results[i] = doOne(ctx, m, op)
	}
	return results
}

// began returns an error if ctx has ended before the operation op began.
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

// lock takes the lock for a write, drops a few expired entries, and returns the time of the write.
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

// find returns e if it has not expired. Otherwise it drops e, so that a new entry may replace it,
// and returns nil.
func (m *Memory) find(e *entry, now time.Time) *entry {
	if e == nil || e.living(now) {
		return e
	}
	m.drop(e)
	return nil
}

// insert adds e, or returns ErrFull. There must be no entry of the same name.
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

// dropExpired drops the entry that expires first, if it has expired, and reports whether it did.
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

// expiryQueue is a [heap.Interface] whose first element is the entry that expires first.
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
	old[len(old)-1] = nil // so that the garbage collector can free it
	*q = old[:len(old)-1]
	return e
}
