// Package session keeps sessions in a store: who is signed in, the provider's tokens, the
// application's values, the lists of a user's sessions, and the logouts that must win against all
// of them. It knows neither HTTP nor the provider's protocol.
//
//	session.go    Keeper, and what it needs: the limits, who is asked, who is told
//	keys.go       the table of everything that lies in the store, and the names of it
//	record.go     one way to read, write and time a sealed record
//	identity.go   who is signed in, as the record says it
//	load.go       the session of a request: one read; and its beginning and end
//	index.go      from a user to the user's sessions
//	tombstone.go  logouts that logins under way must see
//	end.go        the end of one session or of many: erase.go deletes what is left of them
//	logout.go     the end of a session by its visitor, and of its refresh token
//	logouttoken.go  a logout by the provider
//	tokens.go     the provider's tokens and when they are due
//	token.go      who wants a token that is live waits for a refresh
//	refresh.go    one refresh of a session at a time: flight.go in the process, lock.go everywhere
//	refused.go    a refresh that brings nothing: try again later, go on without, or end the session
//	pause.go      a provider that fails is left alone for a while
//	places.go     how many ask a provider at a time
//	follow.go     what a refreshed ID Token changes: where the session is listed, and when it ends
//	unsaved.go    what a refresh brought, while the store cannot save it
//	reread.go     claims that are read again: news.go saves what they came to
//	values.go     the application's values
//	exchange.go   tokens for other services: exchanges.go has those under way in the process
//	once.go       an attempt's callback happens once
//	ping.go       whether the store can keep a login
//	watch.go      what ends with a session: long answers of this process
package session

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"sync"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/seal"
	"github.com/oidcgate/oidcgate/store"
)

// The errors that callers tell apart.
var (
	// ErrGone means that there is no such session: it never was, it is over, or it cannot be read.
	ErrGone = errors.New("oidcgate: no session")

	// ErrStore is wrapped by every error of the store, except where the caller's context has ended.
	ErrStore = errors.New("oidcgate: the session store is unavailable")

	// ErrTokenExpired means that the access token is over and there is no refresh token.
	ErrTokenExpired = errors.New("oidcgate: the access token has expired")

	// ErrNotAllowed means that a rule does not allow what a session is watched for any more.
	ErrNotAllowed = errors.New("oidcgate: a rule does not allow it any more")

	// ErrProvider means that the access token is over and the provider gives no new one now.
	ErrProvider = errors.New("oidcgate: the provider gives no new access token at the moment")

	// ErrLoggedOut means that the user was logged out while the login was under way.
	ErrLoggedOut = errors.New(
		"the user was logged out while the login was under way, or in the same second")

	// ErrTooLate means that a login took so long that nobody knows any more whether the user was
	// logged out meanwhile.
	ErrTooLate = errors.New("the login took too long")

	// ErrLeftovers is wrapped where a session has ended, and not everything of it could be deleted.
	ErrLeftovers = errors.New("the session has ended, and not everything of it could be deleted")

	// ErrTooLarge is wrapped where a record would be larger than [Limits.MaxBytes].
	ErrTooLarge = errors.New("the session is larger than Limits.SessionBytes")
)

// Limits are the times and sizes a [Keeper] works by. The caller has checked them.
type Limits struct {
	Lifetime time.Duration // of a session
	Idle     time.Duration // a session that is not used for so long is over
	Touch    time.Duration // the use of a session is noted when the last note is so old
	Attempt  time.Duration // the longest a login may take
	Leeway   time.Duration // how far the clocks of this service and of the provider may differ

	TokenLifetime   time.Duration // of an access token whose provider does not say
	RefreshMargin   time.Duration // how long before its end an access token is refreshed
	Reread          time.Duration // the age at which claims are read again; zero: never
	KeepRefused     bool          // userinfo that is refused or unreadable takes nothing away
	LockLease       time.Duration // of a refresh
	Watch           time.Duration // how often watched sessions are read
	ProviderTimeout time.Duration // of one request to the provider

	MaxBytes   int  // of an identity, and of the values
	MaxIDToken int  // the longest ID Token that is kept, when claims are not read again
	Values     bool // sessions may have values

	// EndWithAccessToken ends a session whose access token is over and whose refresh the provider
	// refuses, for whatever reason, again and again. [Keeper.Stale] has a refresh begun.
	EndWithAccessToken bool

	UserSessions int // how many sessions a user may have; zero: any number
}

// Provider is what a refresh asks of a session's provider and of the application. The identity
// says whose session it is and which provider. An error is a *[Failure], or it is taken for one of
// kind [NoAnswer].
type Provider interface {
	// Reach returns nil when the provider can be asked for tokens. It spends nothing.
	Reach(ctx context.Context, id *Identity) error

	// Refresh spends the refresh token of t. Empty fields of its answer mean that the old values
	// stay. With an error there may be an answer that has only a refresh token, in the place of the
	// one that is spent.
	Refresh(ctx context.Context, id *Identity, t *ProviderTokens) (*ProviderTokens, error)

	// Verify returns the claims of the ID Token that a refresh brought. Where the provider issues
	// none, it asks whose the new access token is, and returns "".
	Verify(ctx context.Context, id *Identity, t *Tokens) (claims.Object, error)

	// Shape returns the claims of an ID Token that was verified earlier, in the form in which Verify
	// returns them, or "" when the provider is not known.
	Shape(id *Identity, idToken claims.Object) claims.Object

	// AsksUserinfo reports whether claims of userinfo are asked for, as far as that is known.
	AsksUserinfo(id *Identity) bool

	// Userinfo returns the user's claims as they are now.
	Userinfo(ctx context.Context, id *Identity, t *Tokens) (claims.Object, error)

	// Decide asks the application about a session whose claims were read again. It returns the
	// identity as the application wants it. A Failure of kind Rejected ends the session; any other
	// error means that the application could not decide. details are those that the provider granted
	// last with an access token (RFC 9396).
	Decide(ctx context.Context, s Session, details string) (Identity, error)

	// Revoke tells the provider that a refresh token is not used any more. It is best effort, and does
	// nothing with "".
	Revoke(ctx context.Context, id *Identity, refreshToken string)
}

// Failure is why the provider or the application gave no good answer.
type Failure struct {
	Kind   FailureKind
	Reason event.Reason
	Err    error
	Hint   string // what an operator can do; may be empty

	// Unread is true when the kind is NotVerifiable because userinfo, which says whose the tokens
	// are, cannot be read.
	Unread bool

	// Limited is true when the kind is NotVerifiable because userinfo failed in a way that may be for
	// the user's sake.
	Limited bool

	// Own is true when the fault may be this replica's alone: it reaches no provider, or has an old
	// client secret.
	Own bool

	// Alone is true when the provider has answered, and others may get a better answer; see [streak].
	Alone bool
}

// FailureKind says what a [Failure] means for the session.
type FailureKind int

// The kinds of failures.
const (
	NoAnswer      FailureKind = iota // nothing is known: the session stays as it is
	NotRotated                       // nothing was sent or issued: the refresh token is still good
	ClientRefused                    // the provider refused the refresh, and not for the user's sake
	Refused                          // the provider refused the refresh without saying why
	UserRefused                      // the provider refuses the user
	UserDenied                       // it may refuse the user, or be broken
	InvalidGrant                     // the refresh token is good no more
	NotVerifiable                    // nothing says now whose tokens they are, as without keys
	Rejected                         // the answer is about somebody else, or the application refuses
	TokenRefused                     // userinfo does not take the access token
	Unusable                         // userinfo's answer is no userinfo
	Unreadable                       // nor is it an error: it has status 200
	TokenDoubted                     // it may refuse the access token, or be that of a proxy
)

// Error returns the cause's text. The cause is not unwrapped: it may come from the application and
// wrap [ErrGone] or [ErrStore] of another gate, which say nothing about this session.
func (f *Failure) Error() string { return f.Err.Error() }

// unreadable reports whether userinfo's answer says nothing, perhaps for this user or this access
// token alone.
func (f *Failure) unreadable() bool { return f.Kind == Unreadable || f.Kind == TokenDoubted }

// refuses reports whether the provider has refused the refresh.
func (f *Failure) refuses() bool {
	return f.Kind == ClientRefused || f.Kind == Refused || f.Kind == UserDenied
}

// spentNothing reports whether the refresh token is as good as before it was to be sent.
func (f *Failure) spentNothing() bool {
	return f.Kind == NotRotated || f.Kind == ClientRefused || f.Kind == UserDenied
}

// failureOf returns the failure that err is.
func failureOf(err error) *Failure {
	if f, ok := errors.AsType[*Failure](err); ok {
		return f
	}
	return &Failure{Kind: NoAnswer, Reason: event.ReasonProviderUnreachable, Err: err}
}

// Event is something that happened to a session or to the store. StoreAvailable comes each time the
// store has taken writes.
type Event struct {
	Type     event.Type
	Reason   event.Reason
	Identity *Identity // whose session it is; nil when that is not known
	Issuer   string    // in place of Identity, where only the index entry was read
	Subject  string
	Provider string
	Handle   Handle // of the session; "" when there is none
	Err      error  // the cause; may be nil
	Hint     string // what an operator can do; may be empty
}

// Config is what a [Keeper] is made of. Every field but Jitter is needed.
type Config struct {
	Store    store.Store
	Ring     *seal.Ring
	Gate     [sha256.Size]byte // tells apart gates that share a store
	Limits   Limits
	Provider Provider

	// Panicked is called where a panic was recovered, and must not block.
	Panicked func(ctx context.Context, what string, v any)

	// Tell is called with every event, from any goroutine, and must not block.
	Tell func(context.Context, Event)

	// Jitter returns by how much to lengthen a pause, less than the argument, so that not all
	// replicas and sessions come at once; nil: at random.
	Jitter func(time.Duration) time.Duration
}

// Keeper keeps the sessions of one gate. It may be used concurrently. Everything that must outlive
// a call lies in the store, so that all replicas are one keeper.
type Keeper struct {
	store     store.Store
	ring      *seal.Ring
	gate      [sha256.Size]byte
	limits    Limits
	provider  Provider
	panicked  func(ctx context.Context, what string, v any)
	replica   string // stands for this keeper among those of all replicas
	tell      func(context.Context, Event)
	jitter    func(time.Duration) time.Duration
	flights   flights
	places    endpointPlaces
	served    endpointsServed
	exchanges exchanges
	watches   watches
	pings     pings
}

// New returns a Keeper. It asks nobody and starts no goroutine.
func New(c Config) *Keeper {
	if c.Jitter == nil {
		c.Jitter = mathrand.N[time.Duration]
	}
	return &Keeper{
		store: c.Store, ring: c.Ring, gate: c.Gate, limits: c.Limits,
		provider: c.Provider, panicked: c.Panicked, tell: c.Tell, jitter: c.Jitter,
		replica: rand.Text(),
		flights: newFlights(), places: newEndpointPlaces(), served: newEndpointsServed(),
		exchanges: newExchanges(),
		watches:   watches{sessions: map[Handle]*watched{}, judges: make(chan struct{}, readAtOnce)},
	}
}

// Wait returns when no refresh is under way in this process, or with the context's error.
func (k *Keeper) Wait(ctx context.Context) error { return k.flights.wait(ctx) }

// storeError wraps an error of the store, and tells of it. When the caller gave up, or the caller's
// time is over, the error is that of ctx, and nothing is told: it says nothing about the store. A
// store may be cancelled from within, too; that is told.
func (k *Keeper) storeError(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case callerGaveUp(ctx) && isEnd(err):
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	k.tell(ctx, Event{Type: event.StoreUnavailable, Err: err})
	return &storeError{err}
}

// callerGaveUp reports whether ctx has ended, and not because the time of this package is over. A
// connection with the deadline of ctx may end a moment before ctx.
func callerGaveUp(ctx context.Context) bool {
	if end, ok := ctx.Deadline(); ok && !time.Now().Before(end) {
		_ = sleep(ctx, 10*time.Millisecond)
	}
	return ctx.Err() != nil && context.Cause(ctx) != errTooSlow
}

// isEnd reports whether err may come from the end of a context: clients of a store make the
// deadline of a connection of it, too.
func isEnd(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.Is(err, context.Canceled) || errors.As(err, &timeout) && timeout.Timeout()
}

// storeError is an error of the store. Its text begins with that of ErrStore.
type storeError struct{ err error }

func (e *storeError) Error() string { return ErrStore.Error() + ": " + e.err.Error() }

// Unwrap finds ErrStore and the store's own error.
func (e *storeError) Unwrap() []error { return []error{ErrStore, e.err} }

// writeTimeout bounds writes that do not end with the request that caused them.
const writeTimeout = 3 * time.Second

// Detached returns a context for writing to the store that does not end when the browser leaves.
// It ends after three seconds.
func Detached(ctx context.Context) (context.Context, context.CancelFunc) {
	return Within(context.WithoutCancel(ctx), writeTimeout)
}

// errTooSlow is the cause with which a context of [Within] ends.
var errTooSlow = errors.New("the time of this step is over")

// Within is context.WithTimeout for a time that is not the caller's: a store that does not answer
// within it is ill.
func Within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d, errTooSlow)
}

// sideBySide runs steps at the same time, and returns their errors when all are done.
func sideBySide(steps ...func() error) error {
	if len(steps) == 1 {
		return steps[0]()
	}
	errs, panicked := make([]error, len(steps)), make([]any, len(steps))
	var running sync.WaitGroup
	for i, step := range steps {
		running.Go(func() {
			defer func() { panicked[i] = recover() }()
			errs[i] = fmt.Errorf("%w: it did not return", ErrStore)
			errs[i] = step()
		})
	}
	running.Wait()
	for _, v := range panicked {
		if v != nil {
			panic(v) // where the caller of this package can recover
		}
	}
	return errors.Join(errs...)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// UserRef and SessionRef stand for a user and a session in events. They are keyed hashes, so that
// whoever reads them cannot try out names. They are the same on every replica with the same first
// key.
func (k *Keeper) UserRef(u User) string { return k.ref("subject", u.Issuer+"\x00"+u.Subject) }

// SessionRef is like UserRef.
func (k *Keeper) SessionRef(h Handle) string { return k.ref("session", string(h)) }

func (k *Keeper) ref(purpose, value string) string {
	return base64.RawURLEncoding.EncodeToString(k.ring.Fingerprint(purpose, value)[:9])
}
