package session

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
)

// With Limits.Reread a session's claims follow the provider's: a group that is taken away there is
// gone here after that time at the latest, as long as the provider answers. Claims are read again
// with every refresh of the tokens, from the new ID Token and from userinfo, and the application
// decides again about the result, even when the provider said nothing new.

// rereadWait is how long a request waits for a re-read, or for a refresh of a token that still
// serves.
const rereadWait = 2 * time.Second

// Stale reports whether a session's claims are due to be read again, or its access token is over
// and the session may have to end with it, or the store refuses what its last refresh brought.
func (k *Keeper) Stale(s *Session) bool {
	id := &s.Identity
	over := !id.TokenEnds.IsZero() && !time.Now().Before(id.TokenEnds)
	return k.claimsStale(id) || over && k.limits.EndWithAccessToken || k.flights.unsettled(s.ID)
}

func (k *Keeper) claimsStale(id *Identity) bool {
	return k.limits.Reread > 0 && time.Since(id.Checked) >= k.limits.Reread
}

// Reread refreshes a session that is stale, reads its claims again if they are due, and returns the
// session as it is then. While the provider does not answer, or when it takes longer than
// rereadWait, it returns the session as it is. In every other case in which that could not be done
// it returns an error, because the old claims may not count any more: ErrGone when the session is
// over then, or when its tokens are lost, for which nobody can be asked; one that wraps ErrStore
// when the store cannot answer or write; one while the application has not decided for too long;
// and the error of ctx when that ends first.
func (k *Keeper) Reread(ctx context.Context, s *Session) (*Session, error) {
	if k.flights.isPaused(s.ID) {
		return k.asItIs(s)
	}
	f := k.join(ctx, s)
	defer k.flights.leave(f)
	enough, stop := alarm(time.Until(f.begun.Add(rereadWait)))
	defer stop()
	select {
	case <-f.done:
		if f.cause == errNotWaited {
			return k.without(f, s)
		}
	case <-enough:
		return k.without(f, s)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if f.cause != nil && (f.cause == errPanicked || !errors.Is(f.cause, ErrProvider)) {
		return nil, f.cause
	}
	if k.flights.unsavedOf(f).matters() {
		return nil, errUnsaved
	}
	r, err := k.read(ctx, identityKind, s.ID)
	if err != nil {
		return nil, err
	}
	return k.asItIs(&Session{s.ID, decodeIdentity(r.plaintext), r.times})
}

// asItIs returns a session whose claims could not be read again, or could. An application that
// could not decide on them twice, Limits.Reread apart, is down, or the user makes it fail, by a
// name for example that its database refuses: nobody is signed out for that, and the old claims
// count no more.
func (k *Keeper) asItIs(s *Session) (*Session, error) {
	if !s.Identity.UndecidedAgain.IsZero() && !k.limits.KeepRefused {
		return nil, errUndecided
	}
	return s, nil
}

var errUndecided = fmt.Errorf("%w: OnLogin has failed on the new claims twice, "+
	"Tokens.ClaimsMaxAge apart, and the old ones count no more", ErrProvider)

// without returns the session as it is, for a request that does not learn the end of the flight.
// While the store refuses what refreshes bring, the old claims do not count.
func (k *Keeper) without(f *flight, s *Session) (*Session, error) {
	if k.flights.unsavedOf(f).what > 0 {
		return nil, errUnsaved
	}
	return k.asItIs(s)
}

// alarm returns a channel that can be received from after d, at once if d is past, and what frees
// it.
func alarm(d time.Duration) (_ <-chan time.Time, stop func()) {
	if d <= 0 {
		now := make(chan time.Time)
		close(now)
		return now, func() {}
	}
	t := time.NewTimer(d)
	return t.C, func() { t.Stop() }
}

// reread asks the provider about the user, has the application decide, and saves what is new.
// idToken has the claims of a new ID Token, if there is one.
func (r *refresh) reread(ctx context.Context, idToken claims.Object) error {
	before, err := r.k.read(ctx, identityKind, r.s.ID)
	if err != nil {
		return r.rereadFailed(ctx, err)
	}
	said, known := r.idTokenNow(idToken)
	if !known {
		return r.rereadLater(ctx, nil)
	}
	userinfo, err := r.askUserinfo(ctx, said)
	r.own = r.own || err != nil && failureOf(err).Own
	kind := NoAnswer
	if err != nil {
		kind = failureOf(err).Kind
	}
	refused := kind == TokenRefused || kind == TokenDoubted
	never := refused && decodeIdentity(before.plaintext).Untaken
	switch {
	case never:
		r.tellUserinfo(ctx, failureOf(err))
		err = nil
	case kind == TokenRefused && r.recent && !r.k.limits.KeepRefused:
		return r.exchangeAndReread(ctx)
	case refused && r.mayBeOver():
		r.unread = r.unread || r.answerLost && !r.isOld()
		err = nil
	}
	// What a new ID Token says counts also when userinfo has taken all the time.
	ctx, cancel := Within(context.WithoutCancel(ctx), r.k.limits.ProviderTimeout+saveTimeout)
	defer cancel()
	if userinfo == nil && r.tokens.Userinfo == nil && r.userinfoIsAway(err) {
		return r.rereadLater(ctx, err)
	}
	n := r.newsOf(said, userinfo, idToken != "")
	n.before, n.none = before.plaintext, n.none && !never
	n.alone = r.limited && userinfo == nil
	n.incomplete = r.unsure || err == nil && userinfo == nil && r.lacksToken()
	return r.decideOn(ctx, n, err)
}

// newsOf returns what the ID Token, which may be a new one, and userinfo say; nil: that said
// nothing.
func (r *refresh) newsOf(idToken claims.Object, userinfo *claims.Object, isNew bool) news {
	n := news{
		idToken: idToken, userinfo: userinfo, none: !isNew && userinfo == nil, newer: !isNew,
		unreadable: r.unread && userinfo == nil,
	}
	if userinfo == nil && !r.k.provider.AsksUserinfo(&r.s.Identity) {
		n.userinfo, n.newer = new(claims.Object), false // what it said while it was asked counts no more
	}
	return n
}

// decideOn has the application decide on the news, and saves what it makes of them. err is that of
// userinfo.
func (r *refresh) decideOn(ctx context.Context, n news, err error) error {
	if err != nil && r.decidesWithout(failureOf(err)) {
		r.tellUserinfo(ctx, failureOf(err))
		n.unreadable = n.unreadable || failureOf(err).unreadable()
		n.alone = failureOf(err).Alone
		n.incomplete, err = true, nil
	}
	if err == nil {
		err = r.saveClaims(ctx, n)
	}
	if err != nil {
		return r.rereadFailed(ctx, err)
	}
	r.settled(0)
	if n.incomplete {
		r.pauseReread(ctx)
		return nil
	}
	if n.none && !r.recent && !r.failed {
		r.tellNoNews(ctx)
	}
	return nil
}

func (r *refresh) tellNoNews(ctx context.Context) {
	e := Event{Type: event.RereadFailed, Reason: event.ReasonNoNews}
	switch {
	case r.k.provider.AsksUserinfo(&r.s.Identity):
		e.Err = errors.New("the access token is over, and there is no refresh token")
		e.Hint = "ask for refresh tokens, mostly by the scope offline_access; " +
			"Tokens.EndWithAccessToken ends such sessions"
	case r.tokens.RefreshToken == "":
		e.Err = errors.New("there is no refresh token, and userinfo is off")
	default:
		e.Err = errors.New("the refresh brought no ID Token, and userinfo is off")
		e.Hint = "set Provider.Userinfo"
	}
	r.tell(ctx, e)
}

// idTokenNow returns the claims of the ID Token that counts: a new one, or else the last, as it was
// issued. known is false where the provider was taken away; it may come back.
func (r *refresh) idTokenNow(fresh claims.Object) (_ claims.Object, known bool) {
	if fresh != "" {
		return fresh, true
	}
	last := r.tokens.idTokenClaims()
	shaped := r.k.provider.Shape(&r.s.Identity, last)
	return shaped, shaped != "" || last == ""
}

// isRecent reports whether claims are due alone, and an earlier try has refreshed the tokens for
// that. Otherwise whoever else is down, be it userinfo, the application's database or the store,
// would have every session ask the token endpoint at every try.
func (r *refresh) isRecent() bool {
	due := r.flight.atOnce || r.k.due(r.tokens, r.s.ID)
	if due || r.tokens.RefreshToken == "" {
		return false
	}
	recent := r.tokens.Refreshed && time.Since(r.tokens.Issued) < r.k.limits.Reread/2
	return recent || r.flight.again && !r.k.claimsStale(&r.s.Identity)
}

// userinfoIsAway reports whether the provider may have news of userinfo and gives no answer. err is
// that of userinfo.
func (r *refresh) userinfoIsAway(err error) bool {
	if err != nil {
		return failureOf(err).Kind == NoAnswer
	}
	return r.unsure && r.k.provider.AsksUserinfo(&r.s.Identity)
}

// rereadLater leaves a session as it is. Its userinfo was not kept as it came, or its provider is
// not known now, so while that is so nobody knows what the application dropped of the claims, and
// on what to decide again.
func (r *refresh) rereadLater(ctx context.Context, err error) error {
	if err != nil {
		r.tellUserinfo(ctx, failureOf(err))
	}
	r.pauseReread(ctx)
	return nil
}

// lacksToken reports whether nothing could be asked for want of a token that a later refresh may
// bring.
func (r *refresh) lacksToken() bool {
	return r.tokens.RefreshToken != "" && !r.exchanged && !r.k.usable(r.tokens)
}

// decidesWithout reports whether the application decides without userinfo that failed: what a new
// ID Token says counts whether or not userinfo can be had.
func (r *refresh) decidesWithout(f *Failure) bool {
	switch f.Kind {
	case NoAnswer, Unusable, Unreadable, TokenDoubted:
		return true
	}
	return f.Kind == TokenRefused && r.k.limits.KeepRefused
}

func (r *refresh) tellUserinfo(ctx context.Context, f *Failure) {
	e := Event{Type: event.UserinfoFailed, Reason: f.Reason, Err: f}
	if f.unreadable() && !r.k.limits.KeepRefused {
		cure := cmp.Or(f.Hint, event.Cure(e.Type, e.Reason))
		e.Hint = strings.TrimSuffix(cure, ".") + ". If this goes on for Tokens.ClaimsMaxAge, the " +
			"session loses its claims of userinfo."
	}
	r.tell(ctx, e)
}

// askUserinfo returns nil when there is nothing to ask or nothing to ask with. idToken are the
// claims of the ID Token that counts now: what is asked may depend on them.
func (r *refresh) askUserinfo(ctx context.Context, idToken claims.Object) (*claims.Object, error) {
	// When a token ends whose provider does not say is not known: its answer tells.
	tries := r.tokens.Expiry.IsZero() && r.tokens.AccessToken != ""
	asks := r.k.provider.AsksUserinfo(&r.s.Identity)
	if !asks || !tries && !r.k.usable(r.tokens) {
		return nil, nil
	}
	leave, err := r.placeAtUserinfo(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	now := r.s.Identity.renewed(idToken, nil)
	userinfo, err := r.k.provider.Userinfo(ctx, &now, r.tokens)
	if err != nil {
		return nil, err
	}
	r.k.served.userinfo.note(r.asker())
	return &userinfo, nil
}

// exchangeAndReread refreshes a token that userinfo refuses before its time, and asks again.
func (r *refresh) exchangeAndReread(ctx context.Context) error {
	idToken, err := r.exchange(ctx)
	if err != nil {
		return err
	}
	return r.reread(ctx, idToken)
}

// mayBeOver reports whether the access token may be over by the provider's clock, or replaced by a
// refresh whose answer was lost. To refuse it is then no refusal of the user.
func (r *refresh) mayBeOver() bool {
	if r.exchanged || r.answerLost {
		return r.answerLost
	}
	return r.isOld()
}

// isOld reports whether the access token may be over by the provider's clock. A token whose
// provider does not say when it ends is taken to live for Limits.TokenLifetime. Without an ID Token
// userinfo is all there is: such a token is not over before it is withdrawn, if no other will take
// its place.
func (r *refresh) isOld() bool {
	if t := r.tokens; t.Expiry.IsZero() && t.RefreshToken == "" && t.IDToken == "" {
		return false
	}
	return time.Until(r.k.Expires(r.tokens)) <= r.k.limits.Leeway
}

// idTokenClaims returns the claims of the ID Token, which was verified when it came, or "".
func (t *Tokens) idTokenClaims() claims.Object {
	_, rest, _ := strings.Cut(t.IDToken, ".")
	payload, _, _ := strings.Cut(rest, ".")
	text, _ := base64.RawURLEncoding.DecodeString(payload)
	o, _ := claims.Parse(text)
	return o
}

// rereadFailed ends the session when the application refuses it, when the answer is about somebody
// else or too long to be kept, or when userinfo refuses the access token. It returns the error when
// the store failed. When there is no time left or the application gives no answer, the session goes
// on with an event and a pause.
func (r *refresh) rereadFailed(ctx context.Context, err error) error {
	var u *undecided
	if errors.As(err, &u) {
		return r.notDecided(ctx, u.cause)
	}
	f := failureOf(err)
	switch {
	case errors.Is(err, ErrStore):
		r.noteUnsaved(unsavedClaims)
		return err
	case errors.Is(err, ErrGone):
		return err
	case f.Kind == Rejected, errors.Is(err, ErrTooLarge):
		return r.reject(ctx, err)
	}
	if f.Kind == TokenRefused {
		return r.tokenRefused(ctx, f)
	}
	r.tellUserinfo(ctx, f)
	r.pauseReread(ctx)
	return nil
}

// tokenRefused ends the session, unless another replica has refreshed meanwhile: a provider may
// withdraw the older access token at a refresh. Userinfo is then asked with the newer one.
func (r *refresh) tokenRefused(ctx context.Context, f *Failure) error {
	overtaken, err := r.overtaken(ctx)
	if err != nil {
		return err
	}
	if overtaken {
		return r.reread(ctx, "")
	}
	r.tellUserinfo(ctx, f)
	return r.endAndRevoke(ctx)
}

// notDecided ends the session when the application refuses it. Any other error of the application
// says nothing about the user: a database that is down must not sign out everybody.
func (r *refresh) notDecided(ctx context.Context, err error) error {
	if failureOf(err).Kind == Rejected {
		return r.reject(ctx, err)
	}
	e := Event{Type: event.RereadFailed, Reason: event.ReasonHookError, Err: err}
	if !r.k.limits.KeepRefused {
		e.Hint = "mend OnLogin, or what it asks: where it fails twice, Tokens.ClaimsMaxAge apart, " +
			"guards answer 503 to that visitor until it decides"
	}
	r.tell(ctx, e)
	r.pauseReread(ctx)
	return nil
}

// reject ends the session of a user who may not go on. The refresh token is revoked: it is still
// good, and nobody has it any more.
func (r *refresh) reject(ctx context.Context, err error) error {
	e := Event{Type: event.RefreshFailed, Reason: event.ReasonClaims, Err: err}
	if f, ok := errors.AsType[*Failure](err); ok && f.Reason == event.ReasonPolicyDenied {
		e.Reason = f.Reason
	}
	r.tell(ctx, e)
	return r.endAndRevoke(ctx)
}
