package interleave

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oidcgate/oidcgate/store"
)

// Op is an operation of [store.Store].
type Op string

// The operations.
const (
	Get     Op = "get"
	Create  Op = "create"
	Swap    Op = "swap"
	Delete  Op = "delete"
	Add     Op = "add"
	Members Op = "members"
	Remove  Op = "remove"
)

// Call is one operation with its arguments. Value is the member where Key is a set.
type Call struct {
	Op    Op
	Key   string
	Old   []byte
	Value []byte
	TTL   time.Duration
}

// Is reports whether the call is this operation on a key that begins so.
func (c Call) Is(op Op, prefix string) bool {
	return c.Op == op && strings.HasPrefix(c.Key, prefix)
}

// reads reports whether the call changes nothing.
func (c Call) reads() bool { return c.Op == Get || c.Op == Members }

// On makes the call at a store.
func (c Call) On(ctx context.Context, s store.Store) Reply {
	switch c.Op {
	case Get:
		value, err := s.Get(ctx, c.Key)
		return Reply{Value: value, Err: err}
	case Create:
		return Reply{Err: s.Create(ctx, c.Key, c.Value, c.TTL)}
	case Swap:
		return Reply{Err: s.Swap(ctx, c.Key, c.Old, c.Value, c.TTL)}
	case Delete:
		return Reply{Err: s.Delete(ctx, c.Key, c.Old)}
	case Add:
		return Reply{Err: s.Add(ctx, c.Key, string(c.Value), c.TTL)}
	case Members:
		members, err := s.Members(ctx, c.Key)
		return Reply{Members: members, Err: err}
	case Remove:
		return Reply{Err: s.Remove(ctx, c.Key, string(c.Value))}
	}
	return Reply{Err: errors.ErrUnsupported}
}

// Reply is what an operation answered.
type Reply struct {
	Value   []byte
	Members []string
	Err     error
}

// Func is a [store.Store] made of one function.
type Func func(ctx context.Context, c Call) Reply

// Get implements [store.Store].
func (f Func) Get(ctx context.Context, key string) ([]byte, error) {
	r := f(ctx, Call{Op: Get, Key: key})
	return r.Value, r.Err
}

// Create implements [store.Store].
func (f Func) Create(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	return f(ctx, Call{Op: Create, Key: key, Value: value, TTL: ttl}).Err
}

// Swap implements [store.Store].
func (f Func) Swap(ctx context.Context, key string, old, value []byte, ttl time.Duration) error {
	return f(ctx, Call{Op: Swap, Key: key, Old: old, Value: value, TTL: ttl}).Err
}

// Delete implements [store.Store].
func (f Func) Delete(ctx context.Context, key string, old []byte) error {
	return f(ctx, Call{Op: Delete, Key: key, Old: old}).Err
}

// Add implements [store.Store].
func (f Func) Add(ctx context.Context, set, member string, ttl time.Duration) error {
	return f(ctx, Call{Op: Add, Key: set, Value: []byte(member), TTL: ttl}).Err
}

// Members implements [store.Store].
func (f Func) Members(ctx context.Context, set string) ([]string, error) {
	r := f(ctx, Call{Op: Members, Key: set})
	return r.Members, r.Err
}

// Remove implements [store.Store].
func (f Func) Remove(ctx context.Context, set, member string) error {
	return f(ctx, Call{Op: Remove, Key: set, Value: []byte(member)}).Err
}

// shelf is the store that actors share: the contract in its shortest form, with an undo for the
// last write. Its zero value is empty.
type shelf struct {
	mu     sync.Mutex
	values map[string]item            // by key
	sets   map[string]map[string]item // by set and member
	undo   func()                     // takes the last write back; nil if there is none
}

type item struct {
	value   []byte
	written time.Time
	expires time.Time
}

// do carries out one call.
func (s *shelf) do(ctx context.Context, c Call) Reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return Reply{Err: fmt.Errorf("interleave: %s: %w", c.Op, err)}
	}
	if c.Op == Create || c.Op == Swap || c.Op == Add {
		ttl, err := store.RoundTTL(c.TTL)
		if err != nil {
			return Reply{Err: err}
		}
		c.TTL = ttl
	}
	s.expire()
	switch c.Op {
	case Get:
		it, ok := s.values[c.Key]
		if !ok {
			return Reply{Err: store.ErrNotFound}
		}
		return Reply{Value: bytes.Clone(it.value)}
	case Members:
		return Reply{Members: slices.Sorted(maps.Keys(s.sets[c.Key]))}
	case Add, Remove:
		s.change(c)
		return Reply{}
	}
	return Reply{Err: s.write(c)}
}

// write is Create, Swap and Delete.
func (s *shelf) write(c Call) error {
	it, there := s.values[c.Key]
	same := there && bytes.Equal(it.value, c.Value)
	switch {
	case c.Op == Create && there && !same:
		return store.ErrExists
	case c.Op == Swap && !there:
		return store.ErrNotFound
	case c.Op == Swap && !same && !bytes.Equal(it.value, c.Old):
		return store.ErrConflict
	case c.Op == Delete && !there:
		return nil
	case c.Op == Delete && c.Old != nil && !bytes.Equal(it.value, c.Old):
		return store.ErrConflict
	}
	s.undo = func() { s.put(c.Key, it, there) }
	s.put(c.Key, newItem(c), c.Op != Delete)
	return nil
}

func newItem(c Call) item {
	now := time.Now()
	return item{value: bytes.Clone(c.Value), written: now, expires: now.Add(c.TTL)}
}

// put stores it, or removes what is there.
func (s *shelf) put(key string, it item, there bool) {
	if !there {
		delete(s.values, key)
		return
	}
	if s.values == nil {
		s.values = map[string]item{}
	}
	s.values[key] = it
}

// change is Add and Remove.
func (s *shelf) change(c Call) {
	member := string(c.Value)
	old, there := s.sets[c.Key][member]
	it := newItem(c)
	if there && old.expires.After(it.expires) {
		it.expires = old.expires
	}
	s.undo = func() { s.putMember(c.Key, member, old, there) }
	s.putMember(c.Key, member, it, c.Op == Add)
}

func (s *shelf) putMember(set, member string, it item, there bool) {
	if !there {
		delete(s.sets[set], member)
		return
	}
	if s.sets == nil {
		s.sets = map[string]map[string]item{}
	}
	if s.sets[set] == nil {
		s.sets[set] = map[string]item{}
	}
	s.sets[set][member] = it
}

// expire drops what is over.
func (s *shelf) expire() {
	over := func(_ string, it item) bool { return !time.Now().Before(it.expires) }
	maps.DeleteFunc(s.values, over)
	for _, members := range s.sets {
		maps.DeleteFunc(members, over)
	}
}

// keys returns the keys of all values and the names of all sets that are not empty.
func (s *shelf) keys() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire()
	keys := slices.Collect(maps.Keys(s.values))
	for set, members := range s.sets {
		if len(members) > 0 {
			keys = append(keys, set)
		}
	}
	slices.Sort(keys)
	return keys
}

// expires reports whether a value will be gone in d.
func (s *shelf) expires(d time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire()
	for _, it := range s.values {
		if time.Until(it.expires) <= d {
			return true
		}
	}
	return false
}

// forget loses the last write, as a store does that fails over to a copy which had not seen it.
func (s *shelf) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.undo()
	s.undo = nil
}

// errNoAnswer is a store or a provider that cannot be reached, or was not heard.
var errNoAnswer = errors.New("interleave: no answer")
