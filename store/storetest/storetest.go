// Package storetest tests an implementation of [store.Store]. The tests of an implementation call
// [Run].
package storetest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/store"
)

const (
	// crowd is the number of goroutines that compete for one key.
	crowd = 50

	// lasting is a ttl longer than any of the tests.
	lasting = time.Minute

	// brief is a ttl whose end a test waits for.
	brief = 150 * time.Millisecond

	// patience is how late an expiry may be. It is long so that the tests also pass on a busy
	// machine.
	patience = 10 * time.Second
)

// Run checks the contract of [store.Store], each rule in its own subtest. newStore is called once
// for each subtest and must return an empty store. Run takes one or two seconds because it waits
// for values to expire.
func Run(t *testing.T, newStore func(t *testing.T) store.Store) {
	tests := []struct {
		name string
		test func(t *testing.T, s store.Store)
	}{
		{"an absent key is not found", absentKey},
		{"a created value is read back", createdValue},
		{"a create spares another value", createSparesAnother},
		{"a create sent twice succeeds twice and its ttl counts anew", createTwice},
		{"a swap replaces the value that the caller saw", swapReplaces},
		{"a swap spares a value that the caller did not see", swapSparesAnother},
		{"a swap sent twice succeeds twice", swapTwice},
		{"a swap to the same value only renews the ttl", swapRenews},
		{"a swap may shorten the ttl", swapShortens},
		{"C107 a delete wins against a late swap", deleteWins},
		{"an unconditional delete removes any value and may be sent twice", deleteAny},
		{"a conditional delete removes its own value only", deleteOwn},
		{"an empty old value is not an absent one", emptyOld},
		{"values are any bytes", anyBytes},
		{"slices are not shared with the caller", slicesNotShared},
		{"C106 a value is gone when its ttl has passed and not before", valueExpires},
		{"C106 a ttl below a millisecond is rounded up", tinyTTL},
		{"C106 a ttl that is not positive is refused and writes nothing", badTTL},
		{"an expired key may be created again", createAfterExpiry},
		{"a set gives back its members", setMembers},
		{"a member may be removed twice", removeTwice},
		{"members expire singly", membersExpireSingly},
		{"of two expiries of a member the later counts", laterExpiryCounts},
		{"a context that has ended writes nothing", endedContext},
		{"a batch gives each operation its own result, in order", batchResults},
		{"a batch may be sent twice", batchTwice},
		{"a batch may have thousands of operations, or none", batchOfThousands},
		{"C106 a batch sees nothing that has expired", batchExpires},
		{"a batch whose context has ended writes nothing", batchEndedContext},
		{"F28 of fifty that claim one key exactly one wins", oneClaimWins},
		{"no update is lost under swap", noLostUpdate},
		{"fifty that add to one set all succeed", concurrentAdds},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, newStore(t)) })
	}
}

func absentKey(t *testing.T, s store.Store) {
	wantValue(t, s, "k", nil, store.ErrNotFound)
	wantErr(t, "Swap",
		s.Swap(t.Context(), "k", []byte("a"), []byte("b"), lasting), store.ErrNotFound)
	wantErr(t, "Delete", s.Delete(t.Context(), "k", nil), nil)
	wantErr(t, "Delete of a value", s.Delete(t.Context(), "k", []byte("a")), nil)
	wantValue(t, s, "k", nil, store.ErrNotFound)
}

func createdValue(t *testing.T, s store.Store) {
	create(t, s, "k", "a", lasting)
	create(t, s, "other", "b", lasting)
	wantValue(t, s, "k", []byte("a"), nil)
	wantValue(t, s, "other", []byte("b"), nil)
}

func createSparesAnother(t *testing.T, s store.Store) {
	create(t, s, "k", "a", lasting)
	wantErr(t, "Create", s.Create(t.Context(), "k", []byte("b"), lasting), store.ErrExists)
	wantErr(t, "Create of nothing", s.Create(t.Context(), "k", nil, lasting), store.ErrExists)
	wantValue(t, s, "k", []byte("a"), nil)
}

func createTwice(t *testing.T, s store.Store) {
	create(t, s, "k", "a", brief)
	create(t, s, "k", "a", lasting)
	create(t, s, "witness", "w", brief)
	waitGone(t, s, "witness")
	wantValue(t, s, "k", []byte("a"), nil)
}

func swapReplaces(t *testing.T, s store.Store) {
	create(t, s, "k", "a", lasting)
	swap(t, s, "k", "a", "b", lasting)
	wantValue(t, s, "k", []byte("b"), nil)
}

func swapSparesAnother(t *testing.T, s store.Store) {
	create(t, s, "k", "a", lasting)
	wantErr(t, "Swap",
		s.Swap(t.Context(), "k", []byte("x"), []byte("b"), lasting), store.ErrConflict)
	wantErr(t, "Swap of nothing",
		s.Swap(t.Context(), "k", nil, []byte("b"), lasting), store.ErrConflict)
	wantValue(t, s, "k", []byte("a"), nil)
}

func swapTwice(t *testing.T, s store.Store) {
	create(t, s, "k", "a", lasting)
	swap(t, s, "k", "a", "b", lasting)
	swap(t, s, "k", "a", "b", lasting)
	wantValue(t, s, "k", []byte("b"), nil)
	err := s.Swap(t.Context(), "k", []byte("a"), []byte("c"), lasting)
	wantErr(t, "Swap of the value before", err, store.ErrConflict)
}

func swapRenews(t *testing.T, s store.Store) {
	create(t, s, "k", "owner", brief)
	swap(t, s, "k", "owner", "owner", lasting)
	create(t, s, "witness", "w", brief)
	waitGone(t, s, "witness")
	wantValue(t, s, "k", []byte("owner"), nil)
}

func swapShortens(t *testing.T, s store.Store) {
	create(t, s, "k", "a", lasting)
	start := time.Now()
	swap(t, s, "k", "a", "b", brief)
	waitGone(t, s, "k")
	wantNotEarly(t, start, brief)
}

func deleteWins(t *testing.T, s store.Store) {
	create(t, s, "k", "a", lasting)
	wantErr(t, "Delete", s.Delete(t.Context(), "k", nil), nil)
	wantErr(t, "Swap",
		s.Swap(t.Context(), "k", []byte("a"), []byte("b"), lasting), store.ErrNotFound)
	err := s.Swap(t.Context(), "k", []byte("a"), []byte("a"), lasting)
	wantErr(t, "Swap to the same", err, store.ErrNotFound)
	wantValue(t, s, "k", nil, store.ErrNotFound)
}

func deleteAny(t *testing.T, s store.Store) {
	create(t, s, "k", "a", lasting)
	for range 2 {
		wantErr(t, "Delete", s.Delete(t.Context(), "k", nil), nil)
		wantValue(t, s, "k", nil, store.ErrNotFound)
	}
	create(t, s, "k", "b", lasting)
}

func deleteOwn(t *testing.T, s store.Store) {
	create(t, s, "lock", "owner", lasting)
	wantErr(t, "Delete by another",
		s.Delete(t.Context(), "lock", []byte("another")), store.ErrConflict)
	wantValue(t, s, "lock", []byte("owner"), nil)
	for range 2 {
		wantErr(t, "Delete by the owner", s.Delete(t.Context(), "lock", []byte("owner")), nil)
		wantValue(t, s, "lock", nil, store.ErrNotFound)
	}
}

func emptyOld(t *testing.T, s store.Store) {
	create(t, s, "k", "a", lasting)
	wantErr(t, "Delete of the empty value", s.Delete(t.Context(), "k", []byte{}), store.ErrConflict)
	wantValue(t, s, "k", []byte("a"), nil)
	swap(t, s, "k", "a", "", lasting)
	wantValue(t, s, "k", nil, nil)
	wantErr(t, "Create over the empty value",
		s.Create(t.Context(), "k", []byte("b"), lasting), store.ErrExists)
	swap(t, s, "k", "", "c", lasting)
	swap(t, s, "k", "c", "", lasting)
	wantErr(t, "Delete of the empty value", s.Delete(t.Context(), "k", []byte{}), nil)
	wantValue(t, s, "k", nil, store.ErrNotFound)
}

func anyBytes(t *testing.T, s store.Store) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	values := map[string][]byte{
		"empty":   {},
		"nul":     {0},
		"ff":      {0xff, 0xfe},
		"crlf":    []byte("a\r\n$1\r\n\x00"),
		"number":  []byte("007"),
		"every":   every,
		"64 KB":   bytes.Repeat(every, 256),
		"invalid": []byte("\xc3\x28"),
	}
	for name, value := range values {
		wantErr(t, "Create of "+name, s.Create(t.Context(), name, value, lasting), nil)
		wantValue(t, s, name, value, nil)
		next := append(bytes.Clone(value), 0)
		wantErr(t, "Swap of "+name, s.Swap(t.Context(), name, value, next, lasting), nil)
		wantValue(t, s, name, next, nil)
		wantErr(t, "Delete of "+name, s.Delete(t.Context(), name, next), nil)
		wantValue(t, s, name, nil, store.ErrNotFound)
	}
}

func slicesNotShared(t *testing.T, s store.Store) {
	given := []byte("aaaa")
	wantErr(t, "Create", s.Create(t.Context(), "k", given, lasting), nil)
	copy(given, "xxxx")
	wantValue(t, s, "k", []byte("aaaa"), nil)

	got, err := s.Get(t.Context(), "k")
	wantErr(t, "Get", err, nil)
	copy(got, "yyyy")
	wantValue(t, s, "k", []byte("aaaa"), nil)

	given = []byte("bbbb")
	wantErr(t, "Swap", s.Swap(t.Context(), "k", []byte("aaaa"), given, lasting), nil)
	copy(given, "zzzz")
	wantValue(t, s, "k", []byte("bbbb"), nil)
}

func valueExpires(t *testing.T, s store.Store) {
	start := time.Now()
	create(t, s, "k", "a", brief)
	waitGone(t, s, "k")
	wantNotEarly(t, start, brief)
	wantErr(t, "Swap of the expired",
		s.Swap(t.Context(), "k", []byte("a"), []byte("b"), lasting), store.ErrNotFound)
	wantErr(t, "Delete of the expired", s.Delete(t.Context(), "k", []byte("a")), nil)
}

func tinyTTL(t *testing.T, s store.Store) {
	create(t, s, "k", "a", lasting)
	for _, ttl := range []time.Duration{1, time.Millisecond - 1} {
		create(t, s, "tiny", "a", ttl)
		waitGone(t, s, "tiny")
	}
	swap(t, s, "k", "a", "b", 1)
	waitGone(t, s, "k")
	add(t, s, "set", "m", 1)
	waitMembers(t, s, "set")
}

func badTTL(t *testing.T, s store.Store) {
	create(t, s, "k", "a", lasting)
	for _, ttl := range []time.Duration{0, -1, -2, -time.Millisecond, -time.Hour} {
		wantErr(t, "Create with "+ttl.String(),
			s.Create(t.Context(), "new", []byte("a"), ttl), store.ErrTTL)
		wantErr(t, "Swap with "+ttl.String(),
			s.Swap(t.Context(), "k", []byte("a"), []byte("b"), ttl), store.ErrTTL)
		wantErr(t, "Add with "+ttl.String(), s.Add(t.Context(), "set", "m", ttl), store.ErrTTL)
	}
	wantValue(t, s, "new", nil, store.ErrNotFound)
	wantValue(t, s, "k", []byte("a"), nil)
	wantMembers(t, s, "set")
}

func createAfterExpiry(t *testing.T, s store.Store) {
	create(t, s, "k", "a", brief)
	waitGone(t, s, "k")
	create(t, s, "k", "b", lasting)
	wantValue(t, s, "k", []byte("b"), nil)
}

func setMembers(t *testing.T, s store.Store) {
	wantMembers(t, s, "set")
	add(t, s, "set", "a", lasting)
	add(t, s, "set", "b", lasting)
	add(t, s, "set", "a", lasting)
	add(t, s, "other", "c", lasting)
	wantMembers(t, s, "set", "a", "b")
	wantMembers(t, s, "other", "c")
}

func removeTwice(t *testing.T, s store.Store) {
	add(t, s, "set", "a", lasting)
	add(t, s, "set", "b", lasting)
	for range 2 {
		wantErr(t, "Remove", s.Remove(t.Context(), "set", "a"), nil)
		wantMembers(t, s, "set", "b")
	}
	wantErr(t, "Remove of the last", s.Remove(t.Context(), "set", "b"), nil)
	wantMembers(t, s, "set")
	wantErr(t, "Remove from no set", s.Remove(t.Context(), "absent", "b"), nil)
}

// membersExpireSingly adds lasting members before and after the brief one, to find a store that
// applies the first or the last ttl to the whole set.
func membersExpireSingly(t *testing.T, s store.Store) {
	add(t, s, "set", "first", lasting)
	start := time.Now()
	add(t, s, "set", "brief", brief)
	add(t, s, "whole", "b", brief)
	waitMembers(t, s, "set", "first")
	wantNotEarly(t, start, brief)
	waitMembers(t, s, "whole")

	add(t, s, "set", "brief", brief)
	add(t, s, "set", "last", lasting)
	waitMembers(t, s, "set", "first", "last")
}

func laterExpiryCounts(t *testing.T, s store.Store) {
	add(t, s, "set", "longer first", lasting)
	add(t, s, "set", "longer first", brief)
	add(t, s, "set", "longer last", brief)
	add(t, s, "set", "longer last", lasting)
	add(t, s, "set", "witness", brief)
	waitMembers(t, s, "set", "longer first", "longer last")
}

func endedContext(t *testing.T, s store.Store) {
	create(t, s, "k", "a", lasting)
	add(t, s, "set", "m", lasting)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()

	_, err := s.Get(ctx, "k")
	wantErr(t, "Get", err, context.Canceled)
	wantErr(t, "Create", s.Create(ctx, "new", []byte("a"), lasting), context.Canceled)
	wantErr(t, "Swap", s.Swap(ctx, "k", []byte("a"), []byte("b"), lasting), context.Canceled)
	wantErr(t, "Delete", s.Delete(ctx, "k", nil), context.Canceled)
	wantErr(t, "Delete of a value", s.Delete(ctx, "k", []byte("a")), context.Canceled)
	wantErr(t, "Add", s.Add(ctx, "set", "n", lasting), context.Canceled)
	_, err = s.Members(ctx, "set")
	wantErr(t, "Members", err, context.Canceled)
	wantErr(t, "Remove", s.Remove(ctx, "set", "m"), context.Canceled)

	wantValue(t, s, "k", []byte("a"), nil)
	wantValue(t, s, "new", nil, store.ErrNotFound)
	wantMembers(t, s, "set", "m")
}

// batch returns what the operations came to, each as one text.
func batch(ctx context.Context, s store.Store, ops ...store.Op) []string {
	var got []string
	for _, r := range store.Do(ctx, s, ops) {
		switch {
		case r.Err != nil:
			got = append(got, "error")
		case r.Found:
			got = append(got, "found "+string(r.Value))
		default:
			got = append(got, string(r.Value))
		}
	}
	return got
}

func wantBatch(t *testing.T, s store.Store, want []string, ops ...store.Op) {
	t.Helper()
	if got := batch(t.Context(), s, ops...); !slices.Equal(got, want) {
		t.Fatalf("the batch came to %q, want %q", got, want)
	}
}

func opGet(key string) store.Op    { return store.Op{Action: store.OpGet, Key: key} }
func opExists(key string) store.Op { return store.Op{Action: store.OpExists, Key: key} }
func opDelete(key string) store.Op { return store.Op{Action: store.OpDelete, Key: key} }

func opRemove(set, member string) store.Op {
	return store.Op{Action: store.OpRemove, Key: set, Member: member}
}

func batchResults(t *testing.T, s store.Store) {
	create(t, s, "a", "1", lasting)
	create(t, s, "empty", "", lasting)
	create(t, s, "gone", "2", lasting)
	create(t, s, "kept", "3", lasting)
	add(t, s, "set", "m", lasting)
	add(t, s, "set", "n", lasting)
	add(t, s, "whole", "m", lasting)
	wantBatch(t, s, []string{"found 1", "", "found ", "found ", "", "found ", "", "", "", ""},
		opGet("a"), opGet("absent"), opGet("empty"), opExists("a"), opExists("absent"),
		opExists("empty"), opDelete("gone"), opRemove("set", "m"), opRemove("whole", "m"),
		opDelete("absent"))
	wantBatch(t, s, []string{"", "found 3", "found 1"}, opGet("gone"), opGet("kept"), opGet("a"))
	wantMembers(t, s, "set", "n")
	wantMembers(t, s, "whole")
}

func batchTwice(t *testing.T, s store.Store) {
	create(t, s, "a", "1", lasting)
	add(t, s, "set", "m", lasting)
	for range 2 {
		wantBatch(t, s, []string{"", ""}, opDelete("a"), opRemove("set", "m"))
	}
	wantBatch(t, s, []string{""}, opExists("a"))
	wantMembers(t, s, "set")
}

func batchOfThousands(t *testing.T, s store.Store) {
	wantBatch(t, s, nil)
	const thousands = 5000 // more than go in one round trip
	var reads, deletes []store.Op
	for i := range thousands {
		key := "k" + strconv.Itoa(i)
		reads, deletes = append(reads, opGet(key)), append(deletes, opDelete(key))
		if i%1000 == 1 {
			create(t, s, key, key, lasting)
		}
	}
	for i, got := range batch(t.Context(), s, reads...) {
		if want := "found k" + strconv.Itoa(i); i%1000 == 1 && got != want || i%1000 != 1 && got != "" {
			t.Fatalf("value %d: got %q", i, got)
		}
	}
	batch(t.Context(), s, deletes...)
	if got := batch(t.Context(), s, reads...); slices.IndexFunc(got, isNotEmpty) >= 0 ||
		len(got) != thousands {
		t.Fatalf("after the deletion there are %d results, of which one is a value", len(got))
	}
}

func isNotEmpty(s string) bool { return s != "" }

func batchExpires(t *testing.T, s store.Store) {
	create(t, s, "k", "a", brief)
	waitGone(t, s, "k")
	wantBatch(t, s, []string{"", ""}, opGet("k"), opExists("k"))
}

func batchEndedContext(t *testing.T, s store.Store) {
	create(t, s, "k", "a", lasting)
	add(t, s, "set", "m", lasting)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ops := []store.Op{opGet("k"), opExists("k"), opDelete("k"), opRemove("set", "m")}
	for _, r := range store.Do(ctx, s, ops) {
		wantErr(t, "a batch", r.Err, context.Canceled)
	}
	wantValue(t, s, "k", []byte("a"), nil)
	wantMembers(t, s, "set", "m")
}

func oneClaimWins(t *testing.T, s store.Store) {
	errs := make([]error, crowd)
	together(func(i int) {
		errs[i] = s.Create(t.Context(), "claim", claimant(i), lasting)
	})
	var winners []int
	for i, err := range errs {
		if err == nil {
			winners = append(winners, i)
			continue
		}
		wantErr(t, "Create by a loser", err, store.ErrExists)
	}
	if len(winners) != 1 {
		t.Fatalf("claimants that won: got %v, want exactly one", winners)
	}
	wantValue(t, s, "claim", claimant(winners[0]), nil)
}

func claimant(i int) []byte { return []byte{'c', byte(i)} }

func noLostUpdate(t *testing.T, s store.Store) {
	wantErr(t, "Create", s.Create(t.Context(), "count", make([]byte, 16), lasting), nil)
	errs := make([]error, crowd)
	together(func(i int) { errs[i] = increment(t.Context(), s, uint64(i)) })
	for _, err := range errs {
		wantErr(t, "increment", err, nil)
	}
	value, err := s.Get(t.Context(), "count")
	wantErr(t, "Get", err, nil)
	if got := binary.BigEndian.Uint64(value); got != crowd {
		t.Errorf("count after %d increments: got %d", crowd, got)
	}
}

// increment adds one to the counter and repeats this until Swap succeeds. The writer's number
// follows the count, so that values of different writers differ: if two writers wrote the same
// bytes, Swap would succeed for both.
func increment(ctx context.Context, s store.Store, writer uint64) error {
	for {
		old, err := s.Get(ctx, "count")
		if err != nil {
			return err
		}
		next := binary.BigEndian.AppendUint64(nil, binary.BigEndian.Uint64(old)+1)
		next = binary.BigEndian.AppendUint64(next, writer)
		err = s.Swap(ctx, "count", old, next, lasting)
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
}

func concurrentAdds(t *testing.T, s store.Store) {
	errs := make([]error, crowd)
	together(func(i int) { errs[i] = s.Add(t.Context(), "set", string(rune('0'+i)), lasting) })
	var want []string
	for i, err := range errs {
		wantErr(t, "Add", err, nil)
		want = append(want, string(rune('0'+i)))
	}
	wantMembers(t, s, "set", want...)
}

// together runs do(0) to do(crowd-1) concurrently and returns when all have ended.
func together(do func(i int)) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range crowd {
		wg.Go(func() {
			<-start
			do(i)
		})
	}
	close(start)
	wg.Wait()
}

func create(t *testing.T, s store.Store, key, value string, ttl time.Duration) {
	t.Helper()
	wantErr(t, "Create", s.Create(t.Context(), key, []byte(value), ttl), nil)
}

func swap(t *testing.T, s store.Store, key, old, value string, ttl time.Duration) {
	t.Helper()
	wantErr(t, "Swap", s.Swap(t.Context(), key, []byte(old), []byte(value), ttl), nil)
}

func add(t *testing.T, s store.Store, set, member string, ttl time.Duration) {
	t.Helper()
	wantErr(t, "Add", s.Add(t.Context(), set, member, ttl), nil)
}

func wantErr(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Fatalf("%s: got error %v, want %v", what, got, want)
	}
}

func wantValue(t *testing.T, s store.Store, key string, want []byte, wantError error) {
	t.Helper()
	got, err := s.Get(t.Context(), key)
	if !errors.Is(err, wantError) || !bytes.Equal(got, want) {
		t.Fatalf("Get(%q): got %.40q (%d bytes), error %v; want %.40q (%d bytes), error %v",
			key, got, len(got), err, want, len(want), wantError)
	}
}

func wantMembers(t *testing.T, s store.Store, set string, want ...string) {
	t.Helper()
	if got := members(t, s, set); !slices.Equal(got, want) {
		t.Fatalf("Members(%q): got %q, want %q", set, got, want)
	}
}

func members(t *testing.T, s store.Store, set string) []string {
	t.Helper()
	got, err := s.Members(t.Context(), set)
	wantErr(t, "Members", err, nil)
	return slices.Sorted(slices.Values(got))
}

// waitGone waits until there is no value under key.
func waitGone(t *testing.T, s store.Store, key string) {
	t.Helper()
	eventually(t, key+" is gone", func() bool {
		_, err := s.Get(t.Context(), key)
		if err != nil {
			wantErr(t, "Get", err, store.ErrNotFound)
		}
		return err != nil
	})
}

// waitMembers waits until set has exactly the members want, which must be sorted.
func waitMembers(t *testing.T, s store.Store, set string, want ...string) {
	t.Helper()
	eventually(t, "expiry in "+set, func() bool { return slices.Equal(members(t, s, set), want) })
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waiting for: %s: not so after %v", what, patience)
		}
	}
}

// wantNotEarly fails the test if less than ttl has passed since start. It is called when something
// is gone that was given ttl after start.
func wantNotEarly(t *testing.T, start time.Time, ttl time.Duration) {
	t.Helper()
	if lived := time.Since(start); lived < ttl {
		t.Errorf("gone after %v, before its ttl of %v", lived, ttl)
	}
}
