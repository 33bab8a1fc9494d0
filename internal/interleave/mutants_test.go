package interleave_test

import (
	"bytes"
	"context"
	"slices"
	"testing"

	"github.com/oidcgate/oidcgate/internal/interleave"
	"github.com/oidcgate/oidcgate/store"
)

// detour changes what a replica asks of its store. It is made anew for each replica and execution.
type detour func() func(ctx context.Context, s store.Store, c interleave.Call) interleave.Reply

// in bends one replica.
func (d detour) in(replica string) bend {
	return func(name string, s store.Store) store.Store {
		if name != replica {
			return s
		}
		f := d()
		return interleave.Func(func(ctx context.Context, c interleave.Call) interleave.Reply { return f(ctx, s, c) })
	}
}

// kind is an operation on a kind of key.
type kind struct {
	op     interleave.Op
	prefix string
}

func (k kind) of(c interleave.Call) bool { return c.Is(k.op, k.prefix) }

// later puts off what is held until after has been done.
func later(after kind, held ...kind) detour {
	return func() func(context.Context, store.Store, interleave.Call) interleave.Reply {
		var waiting []interleave.Call
		return func(ctx context.Context, s store.Store, c interleave.Call) interleave.Reply {
			if slices.ContainsFunc(held, func(k kind) bool { return k.of(c) }) {
				waiting = append(waiting, c)
				return interleave.Reply{}
			}
			reply := c.On(ctx, s)
			if !after.of(c) {
				return reply
			}
			for _, w := range waiting {
				if r := w.On(ctx, s); r.Err != nil {
					return r
				}
			}
			waiting = nil
			return reply
		}
	}
}

// instead answers a kind of call by something else.
func instead(k kind, f func(context.Context, store.Store, interleave.Call) interleave.Reply) detour {
	return func() func(context.Context, store.Store, interleave.Call) interleave.Reply {
		return func(ctx context.Context, s store.Store, c interleave.Call) interleave.Reply {
			if k.of(c) {
				return f(ctx, s, c)
			}
			return c.On(ctx, s)
		}
	}
}

// without leaves a kind of call out, and says that it worked.
func without(k kind) detour {
	return instead(k, func(context.Context, store.Store, interleave.Call) interleave.Reply { return interleave.Reply{} })
}

// unread leaves a kind of read out, and says that nothing is there.
func unread(k kind) detour {
	return instead(k, func(context.Context, store.Store, interleave.Call) interleave.Reply {
		return interleave.Reply{Err: store.ErrNotFound}
	})
}

// blindly writes whatever is there, or is not.
func blindly(k kind) detour {
	return instead(k, func(ctx context.Context, s store.Store, c interleave.Call) interleave.Reply {
		if err := s.Delete(ctx, c.Key, nil); err != nil {
			return interleave.Reply{Err: err}
		}
		return interleave.Reply{Err: s.Create(ctx, c.Key, c.Value, c.TTL)}
	})
}

// remembered reads the session's tokens once, and not again with the lock in hand.
func remembered() func(context.Context, store.Store, interleave.Call) interleave.Reply {
	var read *interleave.Reply
	return func(ctx context.Context, s store.Store, c interleave.Call) interleave.Reply {
		if !c.Is(interleave.Get, "t:") {
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
func releasedEarly() func(context.Context, store.Store, interleave.Call) interleave.Reply {
	var lock interleave.Call
	return func(ctx context.Context, s store.Store, c interleave.Call) interleave.Reply {
		switch {
		case c.Is(interleave.Create, "l:"):
			lock = c
		case c.Is(interleave.Swap, "t:"):
			if err := s.Delete(ctx, lock.Key, lock.Value); err != nil {
				return interleave.Reply{Err: err}
			}
		}
		return c.On(ctx, s)
	}
}

// unlooked saves values without a look whether the session lives.
func unlooked() func(context.Context, store.Store, interleave.Call) interleave.Reply {
	created := false
	return func(ctx context.Context, s store.Store, c interleave.Call) interleave.Reply {
		if created && c.Is(interleave.Get, "s:") {
			return interleave.Reply{}
		}
		created = created || c.Is(interleave.Create, "v:")
		return c.On(ctx, s)
	}
}

// TestMutants makes the code do one step of the protocol in another order, or not at all, and the explorer
// must find the order in which that breaks a promise. It keeps the steps and the promises honest: one that no
// mutant needs is not checked.
func TestMutants(t *testing.T) {
	tests := []struct {
		name     string
		protocol protocol
		replica  string
		detour   detour
		faults   []interleave.Fault
	}{
		{"the tombstone is written after the index is read", loginAndSid, "logout",
			later(kind{interleave.Members, "i:"}, kind{interleave.Create, "I:"}), nil},
		{"the tombstone is not written", loginAndSub, "logout", without(kind{interleave.Create, "U:"}), nil},
		{"the session is created after the tombstones are read", loginAndSid, "login",
			later(kind{interleave.Get, "U:"}, kind{interleave.Create, "s:"}, kind{interleave.Create, "t:"}), nil},
		{"the session stands in the index after the tombstones are read", loginAndSid, "login",
			later(kind{interleave.Get, "U:"}, kind{interleave.Add, "u:"}, kind{interleave.Add, "i:"}), nil},
		{"the tombstone of a sid is not read", loginAndSid, "login", unread(kind{interleave.Get, "I:"}), nil},
		{"the tombstone of a sub is not read", loginAndSub, "login", unread(kind{interleave.Get, "U:"}), nil},
		{"the session stands in the index before its card is there", laterLogin, "login",
			later(kind{interleave.Add, "i:"}, kind{interleave.Create, "d:"}), nil},
		{"the claim on an attempt is not made", callbackTwice, "first", without(kind{interleave.Create, "a:"}), nil},
		{"a logout leaves the index before it ends the session, and dies", logoutAlone, "logout",
			later(kind{interleave.Delete, "d:"}, kind{interleave.Delete, "s:"}, kind{interleave.Delete, "t:"}, kind{interleave.Delete, "v:"}),
			[]interleave.Fault{interleave.Crash}},
		{"a logout deletes the values before the identity", valuesAndLogout, "logout",
			later(kind{interleave.Delete, "v:"}, kind{interleave.Delete, "s:"}), nil},
		{"values are created without a look whether the session lives", valuesAndLogout, "A", unlooked, nil},
		{"values are written over those of others", valuesTwice, "A", blindly(kind{interleave.Swap, "v:"}), nil},
		{"the use of a session is noted by a blind write", touchAndLogout, "A", blindly(kind{interleave.Swap, "s:"}), nil},
		{"the claims are saved by a blind write", rereadAndLogout, "A", blindly(kind{interleave.Swap, "s:"}), nil},
		{"the tokens are saved by a blind write", refreshAndLogout, "A", blindly(kind{interleave.Swap, "t:"}), nil},
		{"the lock is not taken", refreshDue, "A", without(kind{interleave.Create, "l:"}), nil},
		{"the lock is taken whoever holds it", refreshDue, "A", blindly(kind{interleave.Create, "l:"}), nil},
		{"the lock is released before the tokens are saved", refreshDue, "A", releasedEarly, nil},
		{"the tokens are not read again with the lock in hand", refreshDue, "A", remembered, nil},
		{"the tokens are not saved", refreshDue, "A", without(kind{interleave.Swap, "t:"}), nil},
		{"the lease is not renewed", refreshExpired, "A", without(kind{interleave.Swap, "l:"}), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			report, violation := tt.protocol.explore(t, tt.detour.in(tt.replica), tt.faults...)
			if violation == nil {
				t.Fatalf("no order of %q breaks a promise, of %d", tt.protocol.name, report.Executions)
			}
			t.Logf("found in execution %d: %v", report.Executions, violation)
		})
	}
}
