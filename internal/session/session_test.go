package session_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/interleave"
	"github.com/oidcgate/oidcgate/internal/seal"
	"github.com/oidcgate/oidcgate/internal/session"
	"github.com/oidcgate/oidcgate/store"
)

const (
	issuer    = "https://id.test"
	tokenLife = 10 * time.Minute
	lifetime  = 8 * time.Hour // of a session
	sid       = "alice's session at the provider"
)

var alice = session.User{Issuer: issuer, Subject: "alice"}

// world is a keeper with a store in memory and a provider that does what the test says.
type world struct {
	*testing.T
	*session.Keeper
	config   session.Config
	provider *provider
	memory   store.Memory

	mu      sync.Mutex
	events  []session.Event
	written map[string]time.Duration // the time to live of every key, as it was written first
	asked   map[string]bool          // every key of every call

	broken  func(interleave.Call) error // fails calls of the store; nil: none
	forever bool                        // the store does not end records by itself
}

func newWorld(t *testing.T, change func(*session.Limits)) *world {
	t.Helper()
	w := &world{
		T: t, provider: &provider{}, written: map[string]time.Duration{}, asked: map[string]bool{},
	}
	limits := session.Limits{
		Lifetime: lifetime, Idle: time.Hour, Touch: 3 * time.Minute, Attempt: 10 * time.Minute, Leeway: time.Minute,
		TokenLifetime: time.Hour, RefreshMargin: time.Minute, LockLease: 15 * time.Second,
		ProviderTimeout: 10 * time.Second, MaxBytes: 16 << 10, MaxIDToken: 4 << 10, Values: true,
	}
	if change != nil {
		change(&limits)
	}
	w.config = session.Config{
		Store: interleave.Func(w.call), Ring: newRing(t, 0), Limits: limits,
		Provider: w.provider, Tell: w.tell, Panicked: func(context.Context, string, any) {},
	}
	w.Keeper = session.New(w.config)
	t.Cleanup(func() { w.wantErr(w.Wait(context.Background()), nil) })
	return w
}

// inTime runs a test in a bubble, where time passes when everybody waits.
func inTime(t *testing.T, name string, test func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
}

func newRing(t *testing.T, first byte) *seal.Ring {
	t.Helper()
	key := make([]byte, seal.KeyLen)
	key[0] = first
	ring, err := seal.NewRing([][]byte{key}, "gate")
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// replica returns another keeper of the same sessions, with a change to its configuration.
func (w *world) replica(change func(*session.Config)) *session.Keeper {
	c := w.config
	if change != nil {
		change(&c)
	}
	return session.New(c)
}

// identity returns who logs in: alice, in the provider's session sid.
func (w *world) identity() session.Identity { return w.identityOf(time.Now()) }

// identityOf is identity of an ID Token that was issued at a time, by the provider's clock.
func (w *world) identityOf(issued time.Time) session.Identity {
	w.Helper()
	now := time.Now()
	idToken, err := claims.Of(map[string]any{
		"iss": issuer, "sub": "alice", "sid": sid, "iat": issued.Unix(),
	})
	if err != nil {
		w.Fatal(err)
	}
	id := session.Identity{Created: now, Checked: now}
	id.IDToken, _ = idToken.Object()
	return id
}

// login begins a session of alice that ends after a time. Its tokens are at-0 and rt-0.
func (w *world) login(lifetime time.Duration) *session.Session {
	w.Helper()
	l := w.loginUnderWay()
	l.Times.Deadline = time.Now().Add(lifetime).UnixMilli()
	if err := w.Begin(w.Context(), l); err != nil {
		w.Fatal(err)
	}
	return &l.Session
}

// loginUnderWay returns a login of alice that began just now.
func (w *world) loginUnderWay() *session.Login {
	w.Helper()
	now := time.Now()
	l := &session.Login{Start: now, Tokens: session.NewTokens(tokens(0), "nonce", "")}
	l.ID, l.Identity = newID(), w.identity()
	l.Times.Deadline = now.Add(lifetime).UnixMilli()
	return l
}

// tokens returns the provider's tokens with a number.
func tokens(n int) *session.ProviderTokens {
	return &session.ProviderTokens{
		AccessToken: fmt.Sprint("at-", n), RefreshToken: fmt.Sprint("rt-", n),
		Expiry: time.Now().Add(tokenLife),
	}
}

func newID() session.ID {
	return session.ID((rand.Text() + rand.Text())[:session.IDSize])
}

// call is the store: the one in memory, where it is not broken.
func (w *world) call(ctx context.Context, c interleave.Call) interleave.Reply {
	w.mu.Lock()
	w.asked[c.Key] = true
	if _, ok := w.written[c.Key]; c.TTL != 0 && !ok {
		w.written[c.Key] = c.TTL
	}
	broken := w.broken
	w.mu.Unlock()
	if broken != nil {
		if err := broken(c); err != nil {
			return interleave.Reply{Err: err}
		}
	}
	if w.forever && c.TTL > 0 {
		c.TTL = 1000 * time.Hour
	}
	return c.On(ctx, &w.memory)
}

func (w *world) tell(_ context.Context, e session.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
}

// told returns the reasons of the events of a type.
func (w *world) told(t event.Type) []event.Reason {
	w.mu.Lock()
	defer w.mu.Unlock()
	var reasons []event.Reason
	for _, e := range w.events {
		if e.Type == t {
			reasons = append(reasons, e.Reason)
		}
	}
	return reasons
}

// wantTold checks the reasons of the events of a type.
func (w *world) wantTold(t event.Type, want ...event.Reason) {
	w.Helper()
	if got := w.told(t); !slices.Equal(got, want) {
		w.Errorf("events %s with the reasons %q, want %q", t, got, want)
	}
}

// wantErr checks an error.
func (w *world) wantErr(got, want error) {
	w.Helper()
	if !errors.Is(got, want) {
		w.Errorf("error %v, want %v", got, want)
	}
}

// living returns the keys and sets of the store that hold something, without those that begin with
// one of the prefixes.
func (w *world) living(except ...string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var keys []string
	for key := range w.asked {
		_, err := w.memory.Get(w.Context(), key)
		in, _ := w.memory.Members(w.Context(), key)
		excepted := func(prefix string) bool { return strings.HasPrefix(key, prefix) }
		if (err == nil || len(in) > 0) && !slices.ContainsFunc(except, excepted) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// key returns the one key with a prefix that was ever asked for.
func (w *world) key(prefix string) string {
	w.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	var keys []string
	for key := range w.asked {
		if strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	if len(keys) != 1 {
		w.Fatalf("keys %q with the prefix %s", keys, prefix)
	}
	return keys[0]
}

// change overwrites the one record with a prefix.
func (w *world) change(prefix string, f func(sealed []byte) []byte) {
	w.Helper()
	key := w.key(prefix)
	old, err := w.memory.Get(w.Context(), key)
	if err != nil {
		w.Fatal(err)
	}
	if err := w.memory.Swap(w.Context(), key, old, f(slices.Clone(old)), time.Hour); err != nil {
		w.Fatal(err)
	}
}

// provider does what its fields say. It counts refreshes and remembers what was spent and revoked.
type provider struct {
	reach    func() error
	refresh  func(n int) (*session.ProviderTokens, error) // nil: rotates
	verify   func() error                                 // nil: accepts
	claims   claims.Object                                // of the ID Token of a refresh
	userinfo claims.Object
	decide   func() error

	userinfoOff bool   // userinfo is not asked for
	noUserinfo  error  // in place of userinfo
	onUserinfo  func() // called before it is answered; nil: nothing

	onRevoke func(*session.Identity) // nil: nothing

	mu      sync.Mutex
	spent   []string
	revoked []string
}

var _ session.Provider = (*provider)(nil)

// Reach implements [session.Provider].
func (p *provider) Reach(context.Context, *session.Identity) error {
	if p.reach == nil {
		return nil
	}
	return p.reach()
}

// Refresh implements [session.Provider].
func (p *provider) Refresh(
	_ context.Context, _ *session.Identity, t *session.ProviderTokens,
) (*session.ProviderTokens, error) {
	p.mu.Lock()
	p.spent = append(p.spent, t.RefreshToken)
	n := len(p.spent)
	p.mu.Unlock()
	if p.refresh == nil {
		return tokens(n), nil
	}
	return p.refresh(n)
}

// Verify implements [session.Provider].
func (p *provider) Verify(
	context.Context, *session.Identity, *session.Tokens,
) (claims.Object, error) {
	if p.verify == nil {
		return p.claims, nil
	}
	return "", p.verify()
}

// Shape implements [session.Provider].
func (p *provider) Shape(_ *session.Identity, idToken claims.Object) claims.Object { return idToken }

// AsksUserinfo implements [session.Provider].
func (p *provider) AsksUserinfo(*session.Identity) bool { return !p.userinfoOff }

// Userinfo implements [session.Provider].
func (p *provider) Userinfo(
	context.Context, *session.Identity, *session.Tokens,
) (claims.Object, error) {
	if p.onUserinfo != nil {
		p.onUserinfo()
	}
	return p.userinfo, p.noUserinfo
}

// Decide implements [session.Provider].
func (p *provider) Decide(_ context.Context, s session.Session, _ string) (session.Identity, error) {
	if p.decide == nil {
		return s.Identity, nil
	}
	return s.Identity, p.decide()
}

// Revoke implements [session.Provider].
func (p *provider) Revoke(_ context.Context, id *session.Identity, refreshToken string) {
	if p.onRevoke != nil {
		p.onRevoke(id)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.revoked = append(p.revoked, refreshToken)
}

// failure is why the provider gives no good answer.
func failure(k session.FailureKind, r event.Reason) error {
	return &session.Failure{Kind: k, Reason: cmp.Or(r, "reason"), Err: errors.New("the cause")}
}

func TestTokensShowNothing(t *testing.T) {
	tokens := session.NewTokens(&session.ProviderTokens{AccessToken: "s3cret-a", RefreshToken: "s3cret-r", IDToken: "s3cret-i"}, "s3cret-n", "")
	for _, value := range []any{tokens, *tokens, tokens.ProviderTokens, &tokens.ProviderTokens, []any{tokens}} {
		t.Run(fmt.Sprintf("C016 C055 a %T", value), func(t *testing.T) {
			var text, jsonLog bytes.Buffer
			slog.New(slog.NewTextHandler(&text, nil)).Info("m", "value", value)
			slog.New(slog.NewJSONHandler(&jsonLog, nil)).Info("m", "value", value)
			shown := text.String() + jsonLog.String()
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
				shown += fmt.Sprintf(verb, value)
			}
			if strings.Contains(shown, "s3cret") {
				t.Error(shown)
			}
		})
	}
}
