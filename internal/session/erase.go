package session

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/oidcgate/oidcgate/store"
)

// eraseWithin is erase with a time of its own.
func (k *Keeper) eraseWithin(
	ctx context.Context, most time.Duration, list []*leaving, keepIndex bool,
) {
	ctx, cancel := Within(ctx, most)
	defer cancel()
	k.erase(ctx, list, keepIndex)
}

// erase ends sessions in steps, each for all sessions at once. First goes what lets the visitor in,
// then everything else: a session that lives on keeps its values, which may restrict the visitor,
// and its tokens, which lead its next refresh to the same end. The summary and the sets that led
// here come last: when a step fails, the next logout finds the session again, and everything of it.
// Where no set led here, nothing else is left when the sets go. Whoever creates values looks for
// the identity afterwards, so they must be deleted after the identity.
func (k *Keeper) erase(ctx context.Context, list []*leaving, keepIndex bool) {
	k.step(ctx, list, func(l *leaving) []store.Op {
		ops := k.deletions(l.Handle, identityPrefix)
		if l.alone {
			ops = append(ops, store.Op{Action: store.OpGet, Key: summaryKey(l.Handle)})
		}
		return ops
	})
	k.lookAgain(ctx, list)
	rest := func(l *leaving) []store.Op {
		return k.deletions(l.Handle, tokensPrefix, exchangedPrefix, valuesPrefix)
	}
	k.step(ctx, list, func(l *leaving) []store.Op {
		if l.alone || l.over && (l.unread || keepIndex) {
			return rest(l)
		}
		return nil
	})
	for _, l := range list {
		l.unread = false
	}
	if keepIndex {
		return
	}
	k.step(ctx, list, func(l *leaving) []store.Op {
		ops := k.otherSets(l)
		if !l.alone {
			ops = append(ops, rest(l)...)
		}
		if l.alive || l.alone { // and not about to begin
			ops = append(ops, looksFor(l))
		}
		return ops
	})
	k.listAgain(ctx, list)
	k.step(ctx, list, func(l *leaving) []store.Op {
		return append(k.deletions(l.Handle, summaryPrefix), l.removals(l.foundIn)...)
	})
}

// lookAgain notes which sessions are over though the store failed: it may have deleted their
// identity, and its answer was lost. Nobody else would tell of their end.
func (k *Keeper) lookAgain(ctx context.Context, list []*leaving) {
	var unsure []*leaving
	var ops []store.Op
	for _, l := range list {
		if l.err != nil && !l.over && (l.alive || l.alone) {
			unsure = append(unsure, l)
			ops = append(ops, looksFor(l))
		}
	}
	if len(ops) == 0 {
		return
	}
	for i, r := range store.Do(ctx, k.store, ops) {
		if r.Err == nil && !r.Found {
			k.markOver(unsure[i])
		}
	}
}

// markOver notes that a session is over, because its identity was deleted.
func (k *Keeper) markOver(l *leaving) {
	l.over = true
	k.watches.ended(l.Handle)
}

// otherSets takes a session out of the sets that did not lead to it.
func (k *Keeper) otherSets(l *leaving) []store.Op {
	found := func(set string) bool { return slices.Contains(l.foundIn, set) }
	return l.removals(slices.DeleteFunc(k.sets(l.summary), found))
}

func (l *leaving) removals(sets []string) []store.Op {
	var ops []store.Op
	for _, set := range sets {
		ops = append(ops, store.Op{Action: store.OpRemove, Key: set, Member: string(l.Handle)})
	}
	return ops
}

// step carries out operations for every session with which nothing went wrong before, and for those
// that end unread.
func (k *Keeper) step(ctx context.Context, list []*leaving, of func(*leaving) []store.Op) {
	var ops []store.Op
	var owners []*leaving
	for _, l := range list {
		if l.err != nil && !l.unread {
			continue
		}
		for _, op := range of(l) {
			ops, owners = append(ops, op), append(owners, l)
		}
	}
	if len(ops) == 0 {
		return
	}
	for i, r := range store.Do(ctx, k.store, ops) {
		l := owners[i]
		switch {
		case r.Err != nil:
			l.err = r.Err
		case ops[i].Action == store.OpExists:
			if r.Found {
				l.over, l.err = false, errBack
			}
		case ops[i].Key == identityPrefix+string(l.Handle):
			k.markOver(l)
		case ops[i].Action == store.OpGet && r.Found:
			l.LaterSets = k.openSummary(l.Handle, r.Value).LaterSets
		}
	}
}

// looksFor looks whether a session lives.
func looksFor(l *leaving) store.Op {
	return store.Op{Action: store.OpExists, Key: identityPrefix + string(l.Handle)}
}

// errBack is the error of a session that is there again, found by a step after it was deleted: a
// store that fails over may have lost the deletion. Its summary stays then, and the sets that led
// to it.
var errBack = errors.New("oidcgate: the store has lost the end of a session, as in a failover")

// listAgain puts sessions that are there again into the sets out of which they were taken. It is
// best effort: the sets that led to them have them still.
func (k *Keeper) listAgain(ctx context.Context, list []*leaving) {
	for _, l := range list {
		if l.err != errBack {
			continue
		}
		for _, op := range k.otherSets(l) {
			_ = k.store.Add(ctx, op.Key, op.Member, k.limits.Lifetime)
		}
	}
}

// deletions are those of a session's keys with these prefixes.
func (k *Keeper) deletions(h Handle, prefixes ...string) []store.Op {
	var ops []store.Op
	for _, p := range prefixes {
		if p != valuesPrefix || k.limits.Values {
			ops = append(ops, store.Op{Action: store.OpDelete, Key: p + string(h)})
		}
	}
	return ops
}
