package interleave_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/interleave"
	"github.com/oidcgate/oidcgate/internal/seal"
	"github.com/oidcgate/oidcgate/internal/session"
	"github.com/oidcgate/oidcgate/store"
)

const (
	issuer  = "https://id.test"
	subject = "alice"
	sid     = "the provider's session"

	tokenLife       = time.Minute
	sessionLifetime = 8 * time.Hour

	// lockLease is less than interleave.Pause, and more than two of interleave.Tick: one renewal
	// may fail.
	lockLease = 150 * time.Millisecond
)

// keys seal the records. One ring serves all executions.
var keys = sync.OnceValues(func() (*seal.Ring, error) {
	return seal.NewRing([][]byte{make([]byte, seal.KeyLen)}, "gate")
})

// service is an application with several replicas, and its provider.
type service struct {
	*testing.T
	run    *interleave.Run
	limits session.Limits
	bend   bend
	probe  *replica // on which nothing else happens

	refuses  bool // the application refuses claims that are read again
	idTokens bool // a refresh brings an ID Token
	sidless  bool // ID Tokens have no sid
	keysLost bool // the ID Token of a refresh cannot be verified for want of keys

	authenticated time.Time // "auth_time" of ID Tokens; zero if they have none

	logouts map[string]func(*replica) string // by actor: what it does, to be done again

	mu       sync.Mutex
	sessions map[string]session.ID // by actor: what its login gave to a browser
	grants   []*grant              // what the provider knows of its logins
	unheard  bool                  // an answer of the provider about a refresh was lost
}

// bend changes what one replica does to the store. A fault of the code is made by it.
type bend func(replica string, s store.Store) store.Store

func newService(t *testing.T, r *interleave.Run, p protocol, b bend) *service {
	t.Helper()
	w := &service{
		T: t, run: r, bend: b,
		limits: session.Limits{
			Lifetime: sessionLifetime, Idle: time.Hour, Touch: 3 * time.Minute, Attempt: 10 * time.Minute, Leeway: time.Minute,
			TokenLifetime: time.Hour, RefreshMargin: time.Minute, LockLease: lockLease,
			ProviderTimeout: 10 * time.Second, MaxBytes: 16 << 10, MaxIDToken: 4 << 10,
		},
		logouts:  map[string]func(*replica) string{},
		sessions: map[string]session.ID{},
	}
	if p.change != nil {
		p.change(w)
	}
	w.probe = w.replica("probe")
	return w
}

// replica is a process of the service. The explorer decides about its store and its provider.
type replica struct {
	*session.Keeper
	service *service
	name    string
}

func (w *service) replica(name string) *replica {
	w.Helper()
	ring, err := keys()
	if err != nil {
		w.Fatal(err)
	}
	records := w.run.Store(name)
	if w.bend != nil {
		records = w.bend(name, records)
	}
	r := &replica{service: w, name: name}
	r.Keeper = session.New(session.Config{
		Store: withoutExchanged(records), Ring: ring, Limits: w.limits, Provider: r,
		Tell: w.told, Panicked: func(_ context.Context, _ string, v any) { panic(v) },
		Jitter: func(time.Duration) time.Duration { return 0 }, // the same pauses in every execution
	})
	return r
}

// withoutExchanged leaves the deletion of exchanged tokens out. No replica exchanges any, so that it
// meets nothing, and would only add orders.
func withoutExchanged(s store.Store) store.Store {
	return interleave.Func(func(ctx context.Context, c interleave.Call) interleave.Reply {
		if c.Is(interleave.Delete, "x:") {
			return interleave.Reply{}
		}
		return c.On(ctx, s)
	})
}

// told checks the reason of a refusal. The provider of this file refuses a refresh token only after
// its answer was lost, or after a logout, of which nothing is told.
func (w *service) told(_ context.Context, e session.Event) {
	if e.Type == event.RefreshFailed && e.Reason == event.ReasonInvalidGrant &&
		!w.run.Happened(interleave.Stall, interleave.Failover) {
		w.run.Fail("a refresh was refused, and the reason is not said to be a lost answer")
	}
}

// The outcomes of requests.
const (
	done      = "done"
	over      = "no session"
	used      = "used"
	second    = "done, and another was first"
	overtaken = "logged out meanwhile"
	failed    = "failed"
)

func outcome(err error) string {
	switch {
	case err == nil:
		return done
	case errors.Is(err, session.ErrGone):
		return over
	case errors.Is(err, session.ErrUsed):
		return used
	case errors.Is(err, session.ErrLoggedOut):
		return overtaken
	}
	return failed
}

// What follows are requests: each calls the keeper in the order in which the gate does.

// attempt is a login that only lacks its way back.
type attempt struct {
	grant  int // which login it is, to the provider
	start  time.Time
	before session.ID // the session of the browser; "" if there is none
}

// logIn is the callback of an attempt.
func (r *replica) logIn(ctx context.Context, a attempt) string {
	before := session.Session{ID: a.before}
	if a.before != "" {
		s, err := r.Load(ctx, a.before)
		if err == nil {
			before = *s
		} else if !errors.Is(err, session.ErrGone) {
			return outcome(err)
		}
	}
	if err := r.ClaimAttempt(ctx, fmt.Sprint(a.grant)); err != nil {
		return outcome(err)
	}
	l, err := r.exchange(a)
	if err != nil {
		return outcome(err)
	}
	l.Before = before
	ctx, cancel := session.Detached(ctx)
	defer cancel()
	if err := r.Begin(ctx, l); err != nil {
		return outcome(err)
	}
	r.service.gave(r.name, l.ID)
	return done
}

func (w *service) gave(name string, id session.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sessions[name] = id
}

// load is how a request to the application begins.
func (r *replica) load(ctx context.Context, id session.ID) (*session.Session, error) {
	s, err := r.Load(ctx, id)
	if err != nil || !r.Stale(s) {
		return s, err
	}
	return r.Reread(ctx, s)
}

// read is a request that only needs to know who is signed in.
func (r *replica) read(ctx context.Context, id session.ID) string {
	_, err := r.load(ctx, id)
	return outcome(err)
}

// token is a request that needs an access token.
func (r *replica) token(ctx context.Context, id session.ID) string {
	s, err := r.load(ctx, id)
	if err != nil {
		return outcome(err)
	}
	t, err := r.Token(ctx, s)
	if err != nil {
		return outcome(err)
	}
	return t.AccessToken
}

// save is a request that puts a value of the replica's name.
func (r *replica) save(ctx context.Context, id session.ID) string {
	s, err := r.load(ctx, id)
	if err != nil {
		return outcome(err)
	}
	v, err := r.ReadValues(ctx, s)
	if err != nil {
		return outcome(err)
	}
	ctx, cancel := session.Detached(ctx)
	defer cancel()
	return outcome(r.SaveValues(ctx, s, &v, func(current claims.Object) claims.Object {
		return current.With(r.name, claims.Text("value"))
	}))
}

// logOut is a logout by the visitor.
func (r *replica) logOut(ctx context.Context, id session.ID) string {
	s, err := r.Load(ctx, id)
	detached, cancel := session.Detached(ctx)
	defer cancel()
	if errors.Is(err, session.ErrGone) {
		return outcome(r.End(detached, id))
	}
	if err != nil {
		return outcome(err)
	}
	_, err = r.LogOut(detached, s)
	return outcome(err)
}

// backchannel is a back-channel logout.
func (r *replica) backchannel(ctx context.Context, t session.LogoutToken) string {
	done, err := r.UseLogoutToken(ctx, t)
	if err == nil && !done.First {
		return second
	}
	return outcome(err)
}

var user = session.User{Issuer: issuer, Subject: subject}

// endUser ends all sessions of the user, as an administrator does.
func (r *replica) endUser(ctx context.Context) string {
	_, err := r.EndUser(ctx, user, event.ReasonByAdmin)
	return outcome(err)
}

// endInFrame ends the sessions of a sid, as a frame in the visitor's browser does.
func (r *replica) endInFrame(ctx context.Context) string {
	_, err := r.EndBySID(ctx, "", issuer, sid, event.ReasonFrontchannel)
	return outcome(err)
}

// What follows are actors.

// signIn begins a session whose age is as given when the actors start.
func (w *service) signIn(age time.Duration) {
	w.Helper()
	setup := w.replica("setup")
	if got := setup.logIn(w.Context(), w.attempt()); got != done {
		w.Fatalf("the login of the setup: %s", got)
	}
	time.Sleep(age)
}

// visitor is the session that [service.signIn] began.
func (w *service) visitor() session.ID { return w.sessions["setup"] }

// attemptAgain begins a login in the browser that is signed in.
func (w *service) attemptAgain() attempt {
	a := w.attempt()
	a.before = w.visitor()
	return a
}

// does adds a replica that serves one request.
func (w *service) does(name string, request func(r *replica) string) {
	r := w.replica(name)
	w.run.Go(name, func() string {
		got := request(r)
		_ = r.Wait(w.Context()) // a refresh may outlive its request
		return got
	})
}

func (w *service) logsIn(name string, a attempt) {
	w.does(name, func(r *replica) string { return r.logIn(w.Context(), a) })
}

func (w *service) asksToken(name string) {
	id := w.visitor()
	w.does(name, func(r *replica) string { return r.token(w.Context(), id) })
}

func (w *service) reads(name string) {
	id := w.visitor()
	w.does(name, func(r *replica) string { return r.read(w.Context(), id) })
}

// visits is a request of which nobody asks who is signed in.
func (w *service) visits(name string) {
	id := w.visitor()
	w.does(name, func(r *replica) string {
		_, err := r.Load(w.Context(), id)
		return outcome(err)
	})
}

func (w *service) saves(name string) {
	id := w.visitor()
	w.does(name, func(r *replica) string { return r.save(w.Context(), id) })
}

// logout adds a replica that serves a logout.
func (w *service) logout(name string, request func(r *replica) string) {
	w.logouts[name] = request
	w.does(name, request)
}

func (w *service) logsOut(name string) {
	id := w.visitor()
	w.logout(name, func(r *replica) string { return r.logOut(w.Context(), id) })
}

func (w *service) endsSid(name string) {
	w.backchannel(name, w.logoutToken(name, "", sid))
}

func (w *service) endsSub(name string) {
	w.backchannel(name, w.logoutToken(name, subject, ""))
}

// logoutToken is what the provider sends to log a user out.
func (w *service) logoutToken(id, subject, sid string) session.LogoutToken {
	now := time.Now()
	return session.LogoutToken{
		Issuer: issuer, ID: id, Subject: subject, SessionID: sid,
		IssuedAt: now, Expires: now.Add(2 * time.Minute),
	}
}

func (w *service) backchannel(name string, t session.LogoutToken) {
	w.logout(name, func(r *replica) string { return r.backchannel(w.Context(), t) })
}

func (w *service) endsUser(name string) {
	w.logout(name, func(r *replica) string { return r.endUser(w.Context()) })
}

func (w *service) endsInFrame(name string) {
	w.does(name, func(r *replica) string { return r.endInFrame(w.Context()) })
}

// What follows is the provider, and the way of a replica to it.

// grant is what the provider knows of a login.
type grant struct {
	exchanged bool            // the code was presented
	rotations int             // how often the refresh token was rotated
	asking    map[string]bool // replicas whose refresh is under way
	revoked   bool
	newest    bool // the newest refresh token is one of those that were revoked
}

// attempt begins a login and returns its way back.
func (w *service) attempt() attempt {
	w.grants = append(w.grants, &grant{asking: map[string]bool{}})
	return attempt{grant: len(w.grants) - 1, start: time.Now()}
}

// exchange presents the code of an attempt. It returns the login that may begin a session.
func (r *replica) exchange(a attempt) (*session.Login, error) {
	var t *session.ProviderTokens
	err := r.service.run.Step(r.name, "presents the code", func() { t = r.service.issue(a) })
	if err != nil {
		return nil, err
	}
	now := time.Now()
	about := map[string]any{"iss": issuer, "sub": subject, "sid": sid, "iat": now.Unix()}
	if r.service.sidless {
		delete(about, "sid")
	}
	if at := r.service.authenticated; !at.IsZero() {
		about["auth_time"] = at.Unix()
	}
	idToken, err := claims.Of(about)
	if err != nil {
		return nil, err
	}
	l := &session.Login{Start: a.start, Tokens: session.NewTokens(t, "nonce", "")}
	l.ID = session.ID((rand.Text() + rand.Text())[:session.IDSize])
	created := now.Add(time.Duration(a.grant) * time.Millisecond) // no two at the same time
	l.Identity = session.Identity{Created: created, Checked: now}
	l.Identity.IDToken, _ = idToken.Object()
	l.Times.Deadline = now.Add(sessionLifetime).UnixMilli()
	return l, nil
}

func (w *service) issue(a attempt) *session.ProviderTokens {
	w.mu.Lock()
	defer w.mu.Unlock()
	g := w.grants[a.grant]
	if g.exchanged {
		w.run.Fail("a code was presented twice")
	}
	g.exchanged = true
	return w.tokens(a.grant)
}

// tokens are those of a grant that are good now.
func (w *service) tokens(number int) *session.ProviderTokens {
	now := fmt.Sprint(number, ".", w.grants[number].rotations)
	return &session.ProviderTokens{
		AccessToken: "access-" + now, RefreshToken: "refresh-" + now, TokenType: "Bearer",
		Expiry: time.Now().Add(tokenLife),
	}
}

// Reach implements [session.Provider].
func (r *replica) Reach(context.Context, *session.Identity) error { return nil }

// Refresh implements [session.Provider]. It is two steps: what the provider does, and the arrival
// of its answer.
func (r *replica) Refresh(
	_ context.Context, _ *session.Identity, spent *session.ProviderTokens,
) (*session.ProviderTokens, error) {
	w := r.service
	var t *session.ProviderTokens
	var refused error
	err := w.run.Step(r.name, "asks for a refresh", func() {
		t, refused = w.rotate(r.name, spent.RefreshToken)
	})
	if err == nil {
		err = w.run.Step(r.name, "gets the answer to it", func() {})
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.grants[numberOf(spent.RefreshToken)].asking, r.name)
	if err != nil {
		w.unheard = true
		return nil, err
	}
	return t, refused
}

// numberOf returns the number of the grant that a refresh token belongs to.
func numberOf(refreshToken string) (number int) {
	_, _ = fmt.Sscanf(refreshToken, "refresh-%d.", &number)
	return number
}

// rotate rotates the refresh token, and detects when a spent one is presented.
func (w *service) rotate(name, refreshToken string) (*session.ProviderTokens, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	number := numberOf(refreshToken)
	g := w.grants[number]
	g.asking[name] = true
	if len(g.asking) > 1 && !w.run.Happened(interleave.Stall, interleave.Failover) {
		w.run.Fail("two refreshes of one session are under way at the same time")
	}
	if g.revoked || refreshToken != w.tokens(number).RefreshToken {
		return nil, &session.Failure{
			Kind: session.InvalidGrant, Reason: event.ReasonInvalidGrant,
			Err: errors.New("the refresh token is spent or revoked"),
		}
	}
	g.rotations++
	g.newest = false
	t := w.tokens(number)
	if w.idTokens {
		t.IDToken = "ID Token"
	}
	return t, nil
}

// Verify implements [session.Provider].
func (r *replica) Verify(
	_ context.Context, id *session.Identity, _ *session.Tokens,
) (claims.Object, error) {
	if r.service.keysLost {
		return "", &session.Failure{
			Kind: session.NotVerifiable, Reason: event.ReasonJWKSUnavailable,
			Err: errors.New("no keys"),
		}
	}
	return id.IDToken, nil
}

// Shape implements [session.Provider].
func (r *replica) Shape(_ *session.Identity, idToken claims.Object) claims.Object { return idToken }

// AsksUserinfo implements [session.Provider].
func (r *replica) AsksUserinfo(*session.Identity) bool { return true }

// Userinfo implements [session.Provider].
func (r *replica) Userinfo(
	context.Context, *session.Identity, *session.Tokens,
) (claims.Object, error) {
	err := r.service.run.Step(r.name, "asks for userinfo", func() {})
	return claims.Object("").With("group", claims.Text("readers")), err
}

// Decide implements [session.Provider].
func (r *replica) Decide(_ context.Context, s session.Session, _ string) (session.Identity, error) {
	if r.service.refuses {
		return s.Identity, &session.Failure{
			Kind: session.Rejected, Reason: event.ReasonPolicyDenied, Err: errors.New("refused"),
		}
	}
	return s.Identity, nil
}

// Revoke implements [session.Provider]. A token that was rotated stands for the newest too.
func (r *replica) Revoke(_ context.Context, _ *session.Identity, refreshToken string) {
	w := r.service
	_ = w.run.Step(r.name, "revokes the refresh token", func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		number := numberOf(refreshToken)
		w.grants[number].revoked = true
		if refreshToken == w.tokens(number).RefreshToken {
			w.grants[number].newest = true
		}
	})
}

// state names what the provider knows, for the explorer.
func (w *service) state() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all strings.Builder
	for _, g := range w.grants {
		fmt.Fprintf(&all, "%+v ", *g)
	}
	return fmt.Sprint(all.String(), w.unheard)
}
