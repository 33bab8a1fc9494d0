package session

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/store"
)

// LogOut ends a session that was loaded, for its visitor, and revokes its refresh token. It returns
// the tokens: the ID Token names the session to the provider. While they cannot be read they stay,
// so that the next logout can revoke the refresh token; the error wraps ErrLeftovers then.
func (k *Keeper) LogOut(ctx context.Context, s *Session) (*Tokens, error) {
	l := &leaving{Handle: k.Handle(s.ID), summary: s.Identity.summary()}
	var read *Tokens
	notRead := sideBySide(
		func() error { k.deleteIdentity(ctx, l); return nil },
		func() (err error) { read, err = k.Tokens(ctx, s.ID); return unlessGone(err) },
		func() (err error) { l.LaterSets, err = k.laterSets(ctx, l.Handle); return err },
	)
	if l.err != nil {
		return nil, k.notEnded(ctx, l)
	}
	k.tell(ctx, Event{
		Type: event.SessionRevoked, Reason: event.ReasonByUser, Identity: &s.Identity,
		Handle: l.Handle,
	})
	if notRead != nil {
		return nil, leftovers(l, notRead)
	}
	taken := k.clearWithHint(ctx, l, s.ID, read)
	last := k.revokeAll(ctx, &s.Identity, taken)
	if len(taken) == 0 {
		_, last = k.readHint(ctx, s.ID) // of another click, which was faster
	}
	return last, k.notEnded(ctx, l)
}

// LogOutUnread is LogOut for a session that could not be loaded. Another replica may be able to
// read it, or a logout that failed has left something of it. What lets the visitor in goes first,
// whether or not the rest can be read. A session that was over already is told of no more. It
// returns whose session it was, as far as its summary or a logout just before says, and its last
// tokens; nil, and none, where that is not known.
func (k *Keeper) LogOutUnread(ctx context.Context, id ID) (*Identity, *Tokens, error) {
	l := &leaving{Handle: k.Handle(id)}
	var read, before *Tokens
	var whose *Identity
	notRead := sideBySide(
		func() error { whose, before = k.readHint(ctx, id); return nil },
		func() (err error) { l.summary, err = k.readSummary(ctx, l.Handle); return err },
		func() (err error) { read, err = k.Tokens(ctx, id); return unlessGone(err) },
		func() error {
			if l.alive = !k.hasNoIdentity(ctx, l.Handle); l.alive {
				k.deleteIdentity(ctx, l)
			} else {
				k.markOver(l)
			}
			return nil
		},
	)
	known := l.User != (User{})
	if l.over && l.alive && known {
		k.tell(ctx, l.revoked(l.User, event.ReasonByUser))
	}
	if notRead != nil || l.err != nil {
		return nil, nil, cmp.Or(k.notEnded(ctx, l), leftovers(l, notRead))
	}
	taken := k.clearWithHint(ctx, l, id, read)
	if !known {
		return whose, before, k.notEnded(ctx, l)
	}
	whose = l.identity()
	last := k.revokeAll(ctx, whose, taken)
	if len(taken) == 0 {
		last = before
	}
	return whose, last, k.notEnded(ctx, l)
}

// unlessGone returns err, or nil for what is not there.
func unlessGone(err error) error {
	if errors.Is(err, ErrGone) {
		return nil
	}
	return err
}

// deleteIdentity deletes what lets the visitor in. Where the store fails it looks whether that is
// gone all the same: the answer may be lost, and nobody else would tell of the end.
func (k *Keeper) deleteIdentity(ctx context.Context, l *leaving) {
	l.err = k.store.Delete(ctx, identityPrefix+string(l.Handle), nil)
	if l.err != nil && k.hasNoIdentity(ctx, l.Handle) {
		l.err = nil
	}
	if l.err == nil {
		k.markOver(l)
	}
}

// hasNoIdentity returns false also where the store does not say.
func (k *Keeper) hasNoIdentity(ctx context.Context, h Handle) bool {
	there, err := k.hasIdentity(ctx, h)
	return err == nil && !there
}

// clear deletes what is left of a session when its identity is deleted, and returns the tokens that
// it deleted. read are those that were found before, or nil.
func (k *Keeper) clear(ctx context.Context, l *leaving, id ID, read *Tokens) (taken []*Tokens) {
	one := []*leaving{l}
	notTaken := sideBySide(
		func() (err error) { taken, err = k.takeTokens(ctx, id, read); return err },
		func() error {
			k.step(ctx, one, func(*leaving) []store.Op {
				return append(k.deletions(l.Handle, exchangedPrefix, valuesPrefix), looksFor(l))
			})
			return nil
		},
	)
	l.err = cmp.Or(l.err, notTaken)
	k.step(ctx, one, func(*leaving) []store.Op {
		return append(k.otherSets(l), k.deletions(l.Handle, summaryPrefix)...)
	})
	return taken
}

// clearWithHint is clear for the visitor's own logout.
func (k *Keeper) clearWithHint(
	ctx context.Context, l *leaving, id ID, read *Tokens,
) (taken []*Tokens) {
	_ = sideBySide(
		func() error { taken = k.clear(ctx, l, id, read); return nil },
		func() error { k.keepHint(ctx, l.summary, id, read); return nil },
	)
	return taken
}

// takeTokens deletes the tokens of a session that has ended, and returns them in the order in which
// they lay there. read are those that were found before, or nil. A refresh under way may have
// saved others since. It knows nothing of the logout, which must revoke those: while they cannot be
// read, they stay.
func (k *Keeper) takeTokens(ctx context.Context, id ID, read *Tokens) (taken []*Tokens, _ error) {
	for read != nil {
		taken = append(taken, read)
		err := k.store.Delete(ctx, read.record.key, read.record.sealed)
		if !errors.Is(err, store.ErrConflict) {
			return taken, err
		}
		if read, err = k.Tokens(ctx, id); unlessGone(err) != nil {
			return taken, err
		}
	}
	return taken, k.store.Delete(ctx, k.idKey(tokensPrefix, id), nil)
}

// revokeAll revokes the refresh tokens of a session that has ended, and returns its last tokens.
func (k *Keeper) revokeAll(ctx context.Context, id *Identity, taken []*Tokens) *Tokens {
	for i, t := range taken {
		again := i+1 < len(taken) && taken[i+1].RefreshToken == t.RefreshToken
		if !again {
			k.provider.Revoke(ctx, id, t.RefreshToken)
		}
	}
	if len(taken) == 0 {
		return &Tokens{}
	}
	return taken[len(taken)-1]
}

// hintTime is how long a logout is remembered by the cookie of its session. A second click on "log
// out" makes the browser drop the answer to the first. Its answer must lead to the provider too, or
// the session there goes on.
const hintTime = time.Minute

// KeepHint keeps an ID Token that is newer than that of the session's tokens, for the next logout
// of a session that is about to end.
func (k *Keeper) KeepHint(ctx context.Context, s *Session, idToken string) {
	newer := &Tokens{ProviderTokens: ProviderTokens{IDToken: idToken}}
	k.keepHint(ctx, s.Identity.summary(), s.ID, newer)
}

// keepHint keeps what leads the next logout of the same session to the provider, unless something
// is kept. It is best effort.
func (k *Keeper) keepHint(ctx context.Context, of summary, id ID, read *Tokens) {
	if of.User == (User{}) || read == nil {
		return
	}
	kept := claims.Builder{}.
		Object("summary", claims.Object(of.encode())).
		Text("id_token", read.IDToken)
	r, err := k.seal(hintKind, id, Times{Deadline: time.Now().Add(hintTime).UnixMilli()}, kept)
	if err == nil {
		_ = k.create(ctx, r)
	}
}

// readHint returns what a logout of the session kept just before; nil, and no tokens, if there was
// none.
func (k *Keeper) readHint(ctx context.Context, id ID) (*Identity, *Tokens) {
	r, err := k.read(ctx, hintKind, id)
	if err != nil {
		return nil, &Tokens{}
	}
	kept := claims.Object(r.plaintext)
	whose := decodeSummary([]byte(objectMember(kept, "summary"))).identity()
	return whose, &Tokens{ProviderTokens: ProviderTokens{IDToken: textMember(kept, "id_token")}}
}
