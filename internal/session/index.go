package session

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/seal"
	"github.com/oidcgate/oidcgate/store"
)

// The index leads from a user, or from a session of the provider's, to the sessions here.
//
// Stores that are spread over many machines have no transactions. The order of steps takes their
// place. A login adds to the index, creates the session, then reads the tombstones. A logout writes
// the tombstone, then reads the index, then deletes. Whichever way the two interleave, one of them
// sees what the other wrote, and the logout wins.

// User names a user: an issuer and a subject of it.
type User struct{ Issuer, Subject string }

func (k *Keeper) userSet(u User) string { return k.nameKey(userPrefix, u.Issuer, u.Subject) }

func (k *Keeper) sidSet(issuer, sid string) string { return k.nameKey(sidPrefix, issuer, sid) }

// summary says of a session what can be known without its id. It is sealed under the application's
// key alone, for lists of sessions and for logouts that come from elsewhere.
type summary struct {
	User
	SID             string
	Provider, Label string
	Created         time.Time
	Issued          time.Time // "iat" of the ID Token
}

func (id *Identity) summary() summary {
	return summary{
		User:     User{id.Issuer(), id.Subject()},
		SID:      id.ProviderSessionID(),
		Provider: id.Provider, Label: id.Label,
		Created: id.Created, Issued: id.IssuedAt(),
	}
}

func (s summary) encode() []byte {
	return claims.Builder{}.
		Text("iss", s.Issuer).
		Text("sub", s.Subject).
		Text("sid", s.SID).
		Text("provider", s.Provider).
		Text("label", s.Label).
		Add("created", millis(s.Created)).
		Add("issued", millis(s.Issued))
}

func decodeSummary(plaintext []byte) summary {
	o := claims.Object(plaintext)
	return summary{
		User:     User{textMember(o, "iss"), textMember(o, "sub")},
		SID:      textMember(o, "sid"),
		Provider: textMember(o, "provider"), Label: textMember(o, "label"),
		Created: timeMember(o, "created"), Issued: timeMember(o, "issued"),
	}
}

func summaryKey(h Handle) string { return summaryPrefix + string(h) }

func summaryBinding(h Handle) seal.Binding {
	return seal.Binding{Purpose: "card", Name: summaryKey(h)}
}

// sets are the sets in which a session is listed.
func (k *Keeper) sets(s summary) []string {
	sets := []string{k.userSet(s.User)}
	if s.SID != "" {
		sets = append(sets, k.sidSet(s.Issuer, s.SID))
	}
	return sets
}

// addToIndex lists a session that is about to begin. Its summary is written first: a logout that
// finds the session in a set reads there whether the session is of a later login, which stays.
func (k *Keeper) addToIndex(ctx context.Context, s *Session) error {
	handle, sum := k.Handle(s.ID), s.Identity.summary()
	sealed, err := k.ring.Seal(summaryBinding(handle), nil, sum.encode())
	if err != nil {
		return err
	}
	lifetime := ttl(s.Times.Deadline, time.Now())
	if err := k.store.Create(ctx, summaryKey(handle), sealed, lifetime); err != nil {
		return k.storeError(ctx, err)
	}
	for _, set := range k.sets(sum) {
		if err := k.store.Add(ctx, set, string(handle), lifetime); err != nil {
			return k.storeError(ctx, err)
		}
	}
	return nil
}

// readSummary returns what is known of a session. The error is ErrGone when the session is over or
// its summary cannot be opened.
func (k *Keeper) readSummary(ctx context.Context, h Handle) (summary, error) {
	sealed, err := k.store.Get(ctx, summaryKey(h))
	if errors.Is(err, store.ErrNotFound) {
		return summary{}, ErrGone
	}
	if err != nil {
		return summary{}, k.storeError(ctx, err)
	}
	_, plaintext, err := k.ring.Open(summaryBinding(h), 0, sealed)
	if err != nil {
		return summary{}, ErrGone
	}
	return decodeSummary(plaintext), nil
}

// checkTombstones reads whether the user was logged out since the session was created. A tombstone
// of a user ends only sessions whose ID Token is not later than the logout: whoever logs in again
// after it is let in.
func (k *Keeper) checkTombstones(ctx context.Context, id *Identity) error {
	if sid := id.ProviderSessionID(); sid != "" {
		_, there, err := k.readTombstone(ctx, k.nameKey(sidTombstone, id.Issuer(), sid))
		if err != nil {
			return err
		}
		if there {
			return ErrLoggedOut
		}
	}
	at, there, err := k.readTombstone(ctx, k.nameKey(userTombstone, id.Issuer(), id.Subject()))
	if err != nil {
		return err
	}
	if there && !id.IssuedAt().After(at) {
		return ErrLoggedOut
	}
	return nil
}

// readTombstone returns when a user or a session of the provider's was logged out.
func (k *Keeper) readTombstone(
	ctx context.Context, key string,
) (at time.Time, there bool, _ error) {
	value, err := k.store.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return time.Time{}, false, nil
	}
	if err != nil {
		return time.Time{}, false, k.storeError(ctx, err)
	}
	return parseMillis(string(value)), true, nil
}

// attemptTTL outlives every login that is under way now.
func (k *Keeper) attemptTTL() time.Duration { return k.limits.Attempt + 2*k.limits.Leeway }

// writeTombstone writes that a user, or a session of the provider's, was logged out at a time. A
// tombstone that is there already stays or becomes later, never earlier.
func (k *Keeper) writeTombstone(ctx context.Context, key string, at time.Time) error {
	value := []byte(strconv.FormatInt(at.UnixMilli(), 10))
	for {
		err := k.store.Create(ctx, key, value, k.attemptTTL())
		if !errors.Is(err, store.ErrExists) {
			return k.storeError(ctx, err)
		}
		old, err := k.store.Get(ctx, key)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return k.storeError(ctx, err)
		}
		if parseMillis(string(old)).After(at) {
			value = old
		}
		err = k.store.Swap(ctx, key, old, value, k.attemptTTL())
		if !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound) {
			return k.storeError(ctx, err)
		}
	}
}

// endHandle ends a session: first the identity, which is what lets the visitor in, then what nobody
// can read without it, then its place in the index.
func (k *Keeper) endHandle(ctx context.Context, h Handle, sum summary) error {
	for _, kd := range []kind{identityKind, tokensKind, valuesKind} {
		if kd == valuesKind && !k.limits.Values {
			continue
		}
		if err := k.store.Delete(ctx, kd.prefix+string(h), nil); err != nil {
			return k.storeError(ctx, err)
		}
	}
	k.watches.ended(h)
	for _, set := range k.sets(sum) {
		if err := k.store.Remove(ctx, set, string(h)); err != nil {
			return k.storeError(ctx, err)
		}
	}
	return k.storeError(ctx, k.store.Delete(ctx, summaryKey(h), nil))
}

// ending is a logout of several sessions.
type ending struct {
	tombstone string    // the key of the tombstone to write; "" writes none
	at        time.Time // of the logout, for the tombstone
	set       string    // the sessions to end
	reason    event.Reason

	// keep returns true for a session that is not meant. If nil, all are.
	keep func(Handle, summary) bool
}

// end carries out the logout and returns how many sessions it ended. Entries of the set whose
// session is over already are taken out and not counted.
func (k *Keeper) end(ctx context.Context, e ending) (int, error) {
	if e.tombstone != "" {
		if err := k.writeTombstone(ctx, e.tombstone, e.at); err != nil {
			return 0, err
		}
	}
	handles, err := k.store.Members(ctx, e.set)
	if err != nil {
		return 0, k.storeError(ctx, err)
	}
	ended := 0
	for _, h := range handles {
		lived, err := k.endMember(ctx, e, Handle(h))
		if err != nil {
			return ended, err
		}
		if lived {
			ended++
		}
	}
	return ended, nil
}

// endMember ends one session of the set, unless it is kept, and reports whether it ended one that
// lived.
func (k *Keeper) endMember(ctx context.Context, e ending, h Handle) (lived bool, _ error) {
	sum, err := k.readSummary(ctx, h)
	if err != nil && !errors.Is(err, ErrGone) {
		return false, err
	}
	if e.keep != nil && e.keep(h, sum) {
		return false, nil
	}
	lived, err = k.alive(ctx, h)
	if err != nil {
		return false, err
	}
	if err := k.endHandle(ctx, h, sum); err != nil {
		return false, err
	}
	if err := k.store.Remove(ctx, e.set, string(h)); err != nil {
		return false, k.storeError(ctx, err)
	}
	if lived {
		k.tell(Event{
			Type: event.SessionRevoked, Reason: e.reason, Handle: h,
			Provider: sum.Provider, Issuer: sum.Issuer, Subject: sum.Subject,
		})
	}
	return lived, nil
}

// alive reports whether a session's identity is still there: an idle session is over before its
// index entry is.
func (k *Keeper) alive(ctx context.Context, h Handle) (bool, error) {
	_, err := k.store.Get(ctx, identityPrefix+string(h))
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, k.storeError(ctx, err)
}

// EndUser ends all sessions of a user, and those logins under way whose ID Token is not later than
// at. It returns how many sessions it ended.
func (k *Keeper) EndUser(
	ctx context.Context, u User, at time.Time, reason event.Reason,
) (int, error) {
	return k.end(ctx, ending{
		tombstone: k.nameKey(userTombstone, u.Issuer, u.Subject), at: at,
		set: k.userSet(u), reason: reason,
	})
}

// EndUserBefore is EndUser without the sessions whose ID Token is later than at: a logout that
// arrives late does not mean them. Both times are the provider's.
func (k *Keeper) EndUserBefore(
	ctx context.Context, u User, at time.Time, reason event.Reason,
) (int, error) {
	return k.end(ctx, ending{
		tombstone: k.nameKey(userTombstone, u.Issuer, u.Subject), at: at,
		set: k.userSet(u), reason: reason,
		keep: func(_ Handle, s summary) bool { return s.Issued.After(at) },
	})
}

// EndProviderSession ends the sessions out of the provider's session sid, and every login out of it
// that is under way.
func (k *Keeper) EndProviderSession(
	ctx context.Context, issuer, sid string, reason event.Reason,
) (int, error) {
	return k.end(ctx, ending{
		tombstone: k.nameKey(sidTombstone, issuer, sid), at: time.Now(),
		set: k.sidSet(issuer, sid), reason: reason,
	})
}

// EndBySID ends the sessions out of the provider's session sid. Logins out of it are let in, also
// those that are under way: who asks may not be the provider.
func (k *Keeper) EndBySID(
	ctx context.Context, issuer, sid string, reason event.Reason,
) (int, error) {
	return k.end(ctx, ending{set: k.sidSet(issuer, sid), reason: reason})
}

// EndOthers ends the sessions of the user of s, except s.
func (k *Keeper) EndOthers(ctx context.Context, s *Session, reason event.Reason) (int, error) {
	own := k.Handle(s.ID)
	return k.end(ctx, ending{
		set: k.userSet(s.Identity.summary().User), reason: reason,
		keep: func(h Handle, _ summary) bool { return h == own },
	})
}

// EndOne ends one session of the user of s. The error is ErrGone when h is not one of them.
func (k *Keeper) EndOne(ctx context.Context, s *Session, h Handle, reason event.Reason) error {
	handles, err := k.store.Members(ctx, k.userSet(s.Identity.summary().User))
	if err != nil {
		return k.storeError(ctx, err)
	}
	if !slices.Contains(handles, string(h)) {
		return ErrGone
	}
	if err := k.endUnread(ctx, h); err != nil {
		return err
	}
	k.tell(Event{Type: event.SessionRevoked, Reason: reason, Identity: &s.Identity, Handle: h})
	return nil
}

// Listed is a session in a list of a user's sessions.
type Listed struct {
	Handle          Handle
	Provider, Label string
	Created         time.Time
}

// List returns the living sessions of a user, the newest first.
func (k *Keeper) List(ctx context.Context, u User) ([]Listed, error) {
	handles, err := k.store.Members(ctx, k.userSet(u))
	if err != nil {
		return nil, k.storeError(ctx, err)
	}
	var list []Listed
	for _, member := range handles {
		h := Handle(member)
		sum, err := k.readSummary(ctx, h)
		if errors.Is(err, ErrGone) {
			continue // over; the set forgets it in time
		}
		if err != nil {
			return nil, err
		}
		alive, err := k.alive(ctx, h)
		if err != nil {
			return nil, err
		}
		if alive {
			list = append(list, Listed{h, sum.Provider, sum.Label, sum.Created})
		}
	}
	slices.SortFunc(list, func(a, b Listed) int { return b.Created.Compare(a.Created) })
	return list, nil
}
