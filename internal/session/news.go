package session

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
)

// news is what the provider says of the user now.
type news struct {
	idToken    claims.Object  // "" when there are no claims of an ID Token
	userinfo   *claims.Object // nil: the old claims of userinfo stay
	none       bool           // there is no new ID Token, and no answer of userinfo
	newer      bool           // userinfo was asked after the ID Token was issued
	incomplete bool           // an endpoint was asked in vain, and is to be asked again soon
	unreadable bool           // userinfo was answered with something else
	dropped    bool           // userinfo has no answer: its claims count no more
	alone      bool           // userinfo failed, and perhaps for this session alone
	before     []byte         // the identity when the provider was asked
}

// saveClaims asks the application about the claims and saves what it makes of them. Without news of
// userinfo the application decides on what userinfo said last.
func (r *refresh) saveClaims(ctx context.Context, n news) error {
	for {
		old, err := r.k.read(ctx, identityKind, r.s.ID)
		if err != nil {
			return err
		}
		identity := decodeIdentity(old.plaintext)
		if !bytes.Equal(old.plaintext, n.before) {
			if err := r.lock.lost(ctx); err != nil {
				return err
			}
		}
		if r.dropsUserinfo(n, &identity) {
			n.userinfo, n.dropped = new(claims.Object), true
		}
		if err := r.saveUserinfo(ctx, n); err != nil {
			return err
		}
		renewed := Session{r.s.ID, r.renew(identity, n), old.times}
		r.deciding.Store(true)
		decided, err := r.k.provider.Decide(ctx, renewed, r.tokens.AuthorizationDetails)
		r.deciding.Store(false)
		if err != nil {
			r.noteUndecided(ctx, old, identity)
			return &undecided{err}
		}
		err = r.saveIdentity(ctx, old, &decided)
		if !errors.Is(err, errChanged) {
			return err
		}
		if ctx.Err() != nil {
			return &undecided{errSlowDecision}
		}
	}
}

// dropsUserinfo reports whether the claims of userinfo, which failed, are to be dropped. It counts
// with the identity how often that was for this user alone.
func (r *refresh) dropsUserinfo(n news, identity *Identity) bool {
	at := &r.k.served.userinfo
	if n.alone && !n.unreadable && !r.k.limits.KeepRefused {
		identity.NoUserinfo = r.k.next(identity.NoUserinfo, at, r.asker())
		return identity.NoUserinfo.isLong()
	}
	// What nobody can read is an outage.
	return n.unreadable && at.failsNotAll(r.asker(), identity.Unreadable, r.k.memory()) &&
		r.k.doubted(identity)
}

// errSlowDecision says nothing of the store, and nothing of the user.
var errSlowDecision = errors.New("OnLogin took so long that the session has changed meanwhile")

// noteUndecided notes when the application could not decide first, and that it could not again. It
// is best effort: the next try notes it.
func (r *refresh) noteUndecided(ctx context.Context, old record, id Identity) {
	switch {
	case id.Undecided.IsZero():
		id.Undecided = time.Now()
	case id.UndecidedAgain.IsZero() && time.Since(id.Undecided) >= r.k.limits.Reread:
		id.UndecidedAgain = time.Now()
	default:
		return
	}
	_ = r.swapIdentity(ctx, old, id.encode()) // however large: users choose how long a name is
}

// noteHung is noteUndecided for an application that does not return.
func (r *refresh) noteHung(ctx context.Context) {
	if !r.deciding.Load() {
		return
	}
	ctx, cancel := Detached(ctx)
	defer cancel()
	if old, err := r.k.read(ctx, identityKind, r.s.ID); err == nil {
		r.noteUndecided(ctx, old, decodeIdentity(old.plaintext))
	}
}

// renew returns the identity with what is new, on which the application decides.
func (r *refresh) renew(id Identity, n news) Identity {
	renewed := id.renewed(r.tokens.stillSaid(n.idToken), n.userinfo)
	switch {
	case n.incomplete:
		renewed.Checked = id.Checked
	case r.recent:
		renewed.Checked = r.tokens.Issued // so old is what the ID Token says
	}
	if n.unreadable && renewed.Unreadable.IsZero() {
		renewed.Unreadable = time.Now()
	}
	renewed.Untaken = renewed.Untaken || id.Untaken && n.dropped
	if n.userinfo == nil && r.tokens.Userinfo != nil {
		renewed.Userinfo = *r.tokens.Userinfo
	}
	return renewed
}

// saveUserinfo saves with the tokens what userinfo says, if it is new.
func (r *refresh) saveUserinfo(ctx context.Context, n news) error {
	old, noted := r.tokens.Userinfo, r.tokens.Overtaken != nil || !n.newer
	if n.userinfo == nil || old != nil && *n.userinfo == *old && noted {
		return nil
	}
	kept := *r.tokens
	if n.newer {
		if old == nil { // Limits.Reread was zero until now
			old = &r.s.Identity.Userinfo
		}
		kept.Overtaken = new(r.tokens.overtakenBy(*old, *n.userinfo, n.idToken))
	}
	if err := r.k.keepUserinfo(&kept, *n.userinfo); err != nil {
		return err
	}
	return r.save(ctx, &kept)
}

// overtakenBy returns the names of the claims of the ID Token that count no more, now that userinfo
// says something else than before: it may have had a group taken away that the ID Token still has.
// Where an older version has read userinfo meanwhile, all that differs from the ID Token is new.
func (t *Tokens) overtakenBy(old, userinfo, idToken claims.Object) claims.Object {
	known := map[string]claims.Value{}
	if t.Overtaken != nil {
		known = maps.Collect(t.Overtaken.All())
	}
	said := maps.Collect(idToken.All())
	before, now := maps.Collect(old.All()), maps.Collect(userinfo.All())
	isNew := func(name string) bool {
		was, had := before[name]
		is, has := now[name]
		_, overtaken := known[name]
		differs := t.Overtaken == nil && has && is != said[name]
		return overtaken || differs || was != is || had != has
	}
	var names claims.Builder
	for name := range idToken.All() {
		other := partner[name] // "" is new for nobody
		if (isNew(name) || other != "" && isNew(other)) && !claims.IsProtocol(name) {
			names = names.Add(name, claims.Int(1))
		}
	}
	return claims.Object(names)
}

// partner has the claims of which one says something of the other (OpenID Connect Core, 5.1): both
// must have one source.
var partner = map[string]string{
	"email": "email_verified", "email_verified": "email",
	"phone_number": "phone_number_verified", "phone_number_verified": "phone_number",
}

// stillSaid returns the claims of the ID Token without those that count no more.
func (t *Tokens) stillSaid(idToken claims.Object) claims.Object {
	if t.Overtaken == nil || *t.Overtaken == "" {
		return idToken
	}
	overtaken := maps.Collect(t.Overtaken.All())
	return idToken.Filter(func(name string) bool { _, ok := overtaken[name]; return !ok })
}

// doubted reports whether userinfo that cannot be read now could not be read Limits.Reread ago
// either. Its claims are dropped then. Users can make their userinfo unreadable, by a name or a
// picture for example, and would otherwise keep the claims that they are about to lose.
func (k *Keeper) doubted(id *Identity) bool {
	since := time.Since(id.Unreadable)
	return !id.Unreadable.IsZero() && since >= k.limits.Reread && !k.limits.KeepRefused
}

// undecided is the error with which the application answers. It is not unwrapped: it may wrap
// [ErrGone] or [ErrStore] of another gate, which say nothing about this session.
type undecided struct{ cause error }

func (u *undecided) Error() string { return u.cause.Error() }

// saveIdentity replaces the session's identity. The session's times stay. It has a time of its own:
// the application may have taken all of ctx to decide. The error is errChanged when the identity is
// not that of old any more.
func (r *refresh) saveIdentity(ctx context.Context, old record, id *Identity) error {
	plaintext := id.encode()
	if err := id.fits(plaintext, r.k.limits.MaxBytes); err != nil {
		return err
	}
	return r.swapIdentity(ctx, old, plaintext)
}

// swapIdentity is saveIdentity for an identity that was encoded, without a bound on its size.
func (r *refresh) swapIdentity(ctx context.Context, old record, plaintext []byte) error {
	ctx, cancel := Detached(ctx)
	defer cancel()
	for {
		fresh, err := r.k.seal(identityKind, r.s.ID, old.times, plaintext)
		if err != nil {
			return err
		}
		if err := r.k.swap(ctx, old, fresh); !errors.Is(err, errChanged) {
			return err
		}
		now, err := r.k.read(ctx, identityKind, r.s.ID)
		switch {
		case err != nil:
			return err
		case !bytes.Equal(now.plaintext, old.plaintext):
			return errChanged
		}
		old = now // a request has noted its use of the session, and no more
	}
}
