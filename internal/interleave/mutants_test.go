package interleave_test

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/oidcgate/oidcgate/internal/interleave"
	"github.com/oidcgate/oidcgate/store"
)

// operate is what a replica has in the place of its store's operations.
type operate func(ctx context.Context, s store.Store, c interleave.Call) interleave.Reply

// detour changes what a replica asks of its store. It is made anew for each replica and execution.
type detour func() operate

// in bends one replica.
func (d detour) in(replica string) bend {
	return func(name string, s store.Store) store.Store {
		if name != replica {
			return s
		}
		f := d()
		return interleave.Func(func(ctx context.Context, c interleave.Call) interleave.Reply {
			return f(ctx, s, c)
		})
	}
}

// kind is an operation on a kind of key.
type kind struct {
	op     interleave.Op
	prefix string
}

func (k kind) of(c interleave.Call) bool { return c.Is(k.op, k.prefix) }

// kindOf returns which of the kinds the call is of, or -1.
func kindOf(kinds []kind, c interleave.Call) int {
	return slices.IndexFunc(kinds, func(k kind) bool { return k.of(c) })
}

// anyOf reports whether the call is of one of the kinds.
func anyOf(kinds []kind, c interleave.Call) bool { return kindOf(kinds, c) >= 0 }

// Shorter names for the operations.
const (
	get, members      = interleave.Get, interleave.Members
	create, swap, del = interleave.Create, interleave.Swap, interleave.Delete
	add, remove       = interleave.Add, interleave.Remove
)

// later puts off what is held until after has been done.
func later(after kind, held ...kind) detour {
	return func() operate {
		var mu sync.Mutex // a replica makes some calls at the same time
		var waiting []interleave.Call
		return func(ctx context.Context, s store.Store, c interleave.Call) interleave.Reply {
			if anyOf(held, c) {
				mu.Lock()
				defer mu.Unlock()
				waiting = append(waiting, c)
				return interleave.Reply{}
			}
			reply := c.On(ctx, s)
			if !after.of(c) {
				return reply
			}
			mu.Lock()
			put := waiting
			waiting = nil
			mu.Unlock()
			// Those that were made at the same time came in any order.
			slices.SortStableFunc(put, func(a, b interleave.Call) int {
				return cmp.Compare(kindOf(held, a), kindOf(held, b))
			})
			for _, w := range put {
				if r := w.On(ctx, s); r.Err != nil {
					return r
				}
			}
			return reply
		}
	}
}

// instead answers a kind of call by something else.
func instead(f operate, kinds ...kind) detour {
	return func() operate {
		return func(ctx context.Context, s store.Store, c interleave.Call) interleave.Reply {
			if anyOf(kinds, c) {
				return f(ctx, s, c)
			}
			return c.On(ctx, s)
		}
	}
}

// without leaves kinds of calls out, and says that they worked.
func without(kinds ...kind) detour {
	return instead(func(context.Context, store.Store, interleave.Call) interleave.Reply {
		return interleave.Reply{}
	}, kinds...)
}

// unread leaves a kind of read out, and says that nothing is there.
func unread(k kind) detour {
	return instead(func(context.Context, store.Store, interleave.Call) interleave.Reply {
		return interleave.Reply{Err: store.ErrNotFound}
	}, k)
}

// blindly writes whatever is there, or is not.
func blindly(k kind) detour {
	return instead(func(ctx context.Context, s store.Store, c interleave.Call) interleave.Reply {
		if err := s.Delete(ctx, c.Key, nil); err != nil {
			return interleave.Reply{Err: err}
		}
		return interleave.Reply{Err: s.Create(ctx, c.Key, c.Value, c.TTL)}
	}, k)
}

// overwriting swaps for what is there, in the place of what was read before.
func overwriting(k kind) detour {
	return instead(func(ctx context.Context, s store.Store, c interleave.Call) interleave.Reply {
		var err error
		if c.Old, err = s.Get(ctx, c.Key); err != nil {
			return interleave.Reply{Err: err}
		}
		return c.On(ctx, s)
	}, k)
}

// unseen deletes whatever is there.
func unseen(k kind) detour {
	return instead(func(ctx context.Context, s store.Store, c interleave.Call) interleave.Reply {
		c.Old = nil
		return c.On(ctx, s)
	}, k)
}

// remembered reads the session's tokens once, and not again with the lock in hand.
func remembered() operate {
	var read *interleave.Reply
	return func(ctx context.Context, s store.Store, c interleave.Call) interleave.Reply {
		if !c.Is(get, "t:") {
			return c.On(ctx, s)
		}
		if read == nil {
			reply := c.On(ctx, s)
			read = &reply
		}
		return interleave.Reply{Value: bytes.Clone(read.Value), Err: read.Err}
	}
}

// releasedEarly gives the lock back before it saves the tokens.
func releasedEarly() operate {
	var lock interleave.Call
	return func(ctx context.Context, s store.Store, c interleave.Call) interleave.Reply {
		switch {
		case c.Is(create, "l:"):
			lock = c
		case c.Is(swap, "t:"):
			if err := s.Delete(ctx, lock.Key, lock.Value); err != nil {
				return interleave.Reply{Err: err}
			}
		}
		return c.On(ctx, s)
	}
}

// unlooked saves values without a look whether the session lives.
func unlooked() operate {
	created := false
	return func(ctx context.Context, s store.Store, c interleave.Call) interleave.Reply {
		if created && c.Is(get, "s:") {
			return interleave.Reply{}
		}
		created = created || c.Is(create, "v:")
		return c.On(ctx, s)
	}
}

// valuesFirst deletes the values before the identity, and not again after it.
func valuesFirst() operate {
	var mu sync.Mutex
	deleted := map[string]bool{}
	held := later(kind{del, "v:"}, kind{del, "s:"})()
	return func(ctx context.Context, s store.Store, c interleave.Call) interleave.Reply {
		if c.Is(del, "v:") {
			mu.Lock()
			again := deleted[c.Key]
			deleted[c.Key] = true
			mu.Unlock()
			if again {
				return interleave.Reply{}
			}
		}
		return held(ctx, s, c)
	}
}

// blindGet takes every session for one that lives.
func blindGet() operate {
	return instead(func(context.Context, store.Store, interleave.Call) interleave.Reply {
		return interleave.Reply{Value: []byte("alive")}
	}, kind{get, "s:"})()
}

// backdated puts its own time over the later time of another tombstone.
func backdated() operate {
	var own []byte
	return func(ctx context.Context, s store.Store, c interleave.Call) interleave.Reply {
		switch {
		case c.Is(create, "U:"):
			own = c.Value
		case c.Is(swap, "U:"):
			c.Value = own
		}
		return c.On(ctx, s)
	}
}

// usedAtOnce remembers a logout token before it ends the sessions.
func usedAtOnce() operate {
	return func(ctx context.Context, s store.Store, c interleave.Call) interleave.Reply {
		reply := c.On(ctx, s)
		if c.Is(get, "j:") && reply.Err != nil {
			if err := s.Create(ctx, c.Key, []byte("1"), lockLease*1000); err != nil {
				return interleave.Reply{Err: err}
			}
		}
		return reply
	}
}

// mutant is a fault of the code in one replica, and the scenario in which it breaks a promise.
type mutant struct {
	name    string
	in      trial
	replica string
	detour  detour
}

// crashing is a scenario in which an actor is killed.
func crashing(p protocol) trial { return trial{p, []interleave.Fault{interleave.Crash}, 1} }

// smoothly is a scenario in which nothing goes wrong.
func smoothly(p protocol) trial { return trial{protocol: p} }

// TestMutants makes the code do one step of the protocol in another order, or not at all, and the
// explorer must find the order in which that breaks a promise. It keeps the steps and the promises
// honest: one that no mutant needs is not checked.
func TestMutants(t *testing.T) {
	for _, m := range slices.Concat(loginMutants, logoutMutants, requestMutants, refreshMutants) {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			report, violation := m.in.explore(t, m.detour.in(m.replica))
			if violation == nil {
				t.Fatalf("none of %d orders of %q breaks a promise",
					report.Executions, m.in.protocol.name)
			}
			t.Logf("found in execution %d: %v", report.Executions, violation)
		})
	}
}

var loginMutants = []mutant{
	{
		"the session is created after the tombstones are read", smoothly(loginAndSid), "login",
		later(kind{get, "U:"}, kind{create, "s:"}, kind{create, "t:"}),
	},
	{
		"the session stands in the index after the tombstones are read",
		smoothly(loginAndSid), "login",
		later(kind{get, "U:"}, kind{add, "u:"}, kind{add, "i:"}),
	},
	{
		"the session stands in the index after it is created, and the login dies",
		crashing(loginAlone), "login",
		later(kind{create, "s:"}, kind{add, "u:"}, kind{add, "i:"}),
	},
	{
		"the session stands in the index before its summary is there",
		smoothly(laterLogin), "login",
		later(kind{add, "i:"}, kind{create, "d:"}),
	},
	{
		"the tombstone of a sid is not read", smoothly(loginAndSid), "login",
		unread(kind{get, "I:"}),
	},
	{
		"the tombstone of a sub is not read", smoothly(loginAndSub), "login",
		unread(kind{get, "U:"}),
	},
	{
		"the tombstone of EndUser is not read", smoothly(secondLogin), "login",
		unread(kind{get, "E:"}),
	},
	{
		"the tombstone for logins without a sid is not read", smoothly(subAndSid), "login",
		unread(kind{get, "U:"}),
	},
	{
		"what a login has written stays when a logout came first",
		smoothly(loginAndSid), "login",
		without(kind{del, "s:"}, kind{del, "t:"}),
	},
	{
		"the session before the login is not ended", smoothly(loginAgain), "login",
		without(kind{del, "s:"}),
	},
	{
		"the claim on an attempt is not made", smoothly(callbackTwice), "first",
		without(kind{create, "a:"}),
	},
	{
		"the claim on an attempt is made after the code is presented",
		smoothly(callbackTwice), "first",
		later(kind{create, "d:"}, kind{create, "a:"}),
	},
}

var logoutMutants = []mutant{
	{
		"the tombstone is written after the index is read", smoothly(loginAndSid), "logout",
		later(kind{members, "i:"}, kind{create, "I:"}),
	},
	{
		"the tombstone is not written", smoothly(loginAndSub), "logout",
		without(kind{create, "U:"}),
	},
	{"a tombstone becomes earlier", smoothly(twoSubs), "older", backdated},
	{
		"a logout leaves the index before it ends the session, and dies",
		crashing(logoutAlone), "logout",
		later(kind{del, "d:"}, kind{del, "s:"}, kind{del, "t:"}, kind{del, "v:"}),
	},
	{
		"a logout token is remembered before the sessions are ended, and the logout dies",
		crashing(logoutAlone), "logout", usedAtOnce,
	},
	{
		"a logout leaves the set that led to the session before the others, and dies",
		crashing(logoutBySubAlone), "logout", later(kind{remove, "u:"}, kind{remove, "i:"}),
	},
	{
		"a logout in a frame ends a session that is about to begin", smoothly(frameAndLogin),
		"frame", blindGet,
	},
	{
		"a logout token is remembered whoever was first", smoothly(logoutTokenTwice), "second",
		blindly(kind{create, "j:"}),
	},
	{
		"the tombstone of EndUser is not written", smoothly(secondLogin), "logout",
		without(kind{create, "E:"}),
	},
	{
		"the tombstone for logins without a sid is not written", smoothly(subAndSid), "logout",
		without(kind{create, "U:"}),
	},
	{
		"a logout deletes the values before the identity", smoothly(valuesAndLogout), "logout",
		valuesFirst,
	},
	{
		"a logout deletes tokens that it has not seen", smoothly(refreshAndLogout), "logout",
		unseen(kind{del, "t:"}),
	},
	{
		"a logout leaves the tokens", smoothly(refreshAndLogout), "logout",
		without(kind{del, "t:"}),
	},
}

var requestMutants = []mutant{
	{
		"values are created without a look whether the session lives",
		smoothly(valuesAndLogout), "A", unlooked,
	},
	{
		"values are written over those of others", smoothly(valuesTwice), "A",
		blindly(kind{swap, "v:"}),
	},
	{
		"values are swapped for those that are there", smoothly(valuesTwice), "A",
		overwriting(kind{swap, "v:"}),
	},
	{
		"the use of a session is noted by a blind write", smoothly(touchAndLogout), "A",
		blindly(kind{swap, "s:"}),
	},
	{
		"the use of a session is noted over claims that were read again",
		smoothly(rereadAndTouch), "B", overwriting(kind{swap, "s:"}),
	},
	{
		"the claims are saved by a blind write", smoothly(rereadAndLogout), "A",
		blindly(kind{swap, "s:"}),
	},
}

var refreshMutants = []mutant{
	{
		"the tokens are saved by a blind write", smoothly(refreshAndLogout), "A",
		blindly(kind{swap, "t:"}),
	},
	{"the lock is not taken", smoothly(refreshDue), "A", without(kind{create, "l:"})},
	{
		"the lock is taken whoever holds it", smoothly(refreshDue), "A",
		blindly(kind{create, "l:"}),
	},
	{
		"the lock is released before the tokens are saved", smoothly(refreshDue), "A",
		releasedEarly,
	},
	{
		"the tokens are not read again with the lock in hand", smoothly(refreshDue), "A",
		remembered,
	},
	{"the tokens are not saved", smoothly(refreshDue), "A", without(kind{swap, "t:"})},
	{
		"of tokens that cannot be verified nothing is saved", smoothly(refreshWithoutKeys), "A",
		without(kind{swap, "t:"}),
	},
	{"the lease is not renewed", smoothly(refreshExpired), "A", without(kind{swap, "l:"})},
	{
		"the provider is asked without a note of it, and the replica dies",
		crashing(refreshDue), "A", without(kind{create, "m:"}),
	},
}
