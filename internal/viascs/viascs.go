// Package viascs keeps the sessions of internal/session through scs, which makes the ids, loads,
// commits, and writes the cookie.
//
// It calls Load, Commit and WriteSessionCookie of scs itself. IdleTimeout of scs stays zero,
// because scs would rewrite every session after every request and so restore one that ended in the
// meantime. RenewToken is not called: it deletes the old session before the new one is saved.
package viascs

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/oidcgate/oidcgate/internal/session"
)

// Sessions are the sessions of a keeper.
type Sessions struct{ scs *scs.SessionManager }

// Config says how new sessions are.
type Config struct {
	Lifetime time.Duration
	Cookie   scs.SessionCookie
	Mark     string // ends the ids of new sessions, and so the values of their cookies; may be empty
}

// New returns the sessions of a keeper. Their manager is not made by scs.New, which starts a
// goroutine for an unused memory store and otherwise only gives each manager its own context key.
// Sessions need none: a [call] as the context hides the data of other managers from scs.
func New(k *session.Keeper, c Config) *Sessions {
	return &Sessions{&scs.SessionManager{
		Store: sessionStore{keeper: k, mark: c.Mark}, Codec: codec{},
		Lifetime: c.Lifetime, Cookie: c.Cookie,
	}}
}

// call is the context of a call of scs. scs passes it on to the store, so that sessions need not
// pass through scs as bytes.
type call struct {
	context.Context // of the request, for the store

	isUse   bool             // for Load: note that the session is used
	session *session.Session // found by Load
	err     error            // why Load found none
	login   *session.Login   // for Commit
}

type callKey struct{}

// Value implements [context.Context]. It hides all other values: scs must not take data of another
// manager, such as an outer gate's, for its own.
func (c *call) Value(key any) any {
	if key == (callKey{}) {
		return c
	}
	return nil
}

// Format keeps the session and its tokens out of logs.
func (c *call) Format(s fmt.State, _ rune) { _, _ = fmt.Fprintf(s, "%v", c.Context) }

// Load returns the session of an id, and notes that it is used. The error is session.ErrGone or
// wraps session.ErrStore.
func (s *Sessions) Load(ctx context.Context, id session.ID) (*session.Session, error) {
	return s.load(&call{Context: ctx, isUse: true}, id)
}

// Peek is Load for a request that is no use of the session, such as a logout.
func (s *Sessions) Peek(ctx context.Context, id session.ID) (*session.Session, error) {
	return s.load(&call{Context: ctx}, id)
}

func (s *Sessions) load(c *call, id session.ID) (*session.Session, error) {
	if _, err := s.scs.Load(c, string(id)); err != nil {
		return nil, err
	}
	return c.session, c.err
}

// Begin saves the session of a login and writes its cookie. It ends at latest, if that is not zero,
// and otherwise after the lifetime of all sessions. Begin returns when everything is in the store:
// no answer promises a session that does not exist. What is left of a session that could not be
// saved is removed.
func (s *Sessions) Begin(
	ctx context.Context, w http.ResponseWriter, l *session.Login, latest time.Time,
) error {
	ctx, err := s.scs.Load(&call{Context: ctx, login: l}, "")
	if err != nil {
		return err
	}
	if !latest.IsZero() && latest.Before(s.scs.Deadline(ctx)) {
		s.scs.SetDeadline(ctx, latest)
	}
	_, deadline, err := s.scs.Commit(ctx)
	if err != nil {
		return err
	}
	s.scs.WriteSessionCookie(ctx, w, string(l.ID), deadline)
	w.Header().Set("Cache-Control", "no-store") // scs adds a value of its own
	return nil
}

// sessionStore is the store of scs.
type sessionStore struct {
	WithoutContext
	keeper *session.Keeper
	mark   string
}

// FindCtx loads the session into the call.
func (s sessionStore) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	c := ctx.Value(callKey{}).(*call)
	if c.isUse {
		c.session, c.err = s.keeper.Load(c.Context, session.ID(token))
	} else {
		c.session, c.err = s.keeper.Peek(c.Context, session.ID(token))
	}
	return nil, c.err == nil, nil
}

// CommitCtx begins the call's session. Later changes of a session are not written through scs.
func (s sessionStore) CommitCtx(
	ctx context.Context, token string, _ []byte, deadline time.Time,
) error {
	c := ctx.Value(callKey{}).(*call)
	c.login.ID = session.ID(token + s.mark)
	c.login.Times.Deadline = deadline.UnixMilli()
	return s.keeper.Begin(c.Context, c.login)
}

// DeleteCtx is for Destroy and RenewToken of scs, which are not called.
func (sessionStore) DeleteCtx(context.Context, string) error { return errNoContext }

// codec does nothing: sessions do not pass through scs as bytes.
type codec struct{}

// Encode implements scs.Codec.
func (codec) Encode(time.Time, map[string]any) ([]byte, error) { return nil, nil }

// Decode implements scs.Codec.
func (codec) Decode([]byte) (time.Time, map[string]any, error) {
	return time.Time{}, nil, nil
}

// WithoutContext completes scs.CtxStore. scs calls the methods with a context in place of these.
type WithoutContext struct{}

var errNoContext = errors.New("oidcgate: scs must not call this method")

// Find implements scs.Store.
func (WithoutContext) Find(string) ([]byte, bool, error) { return nil, false, errNoContext }

// Commit implements scs.Store.
func (WithoutContext) Commit(string, []byte, time.Time) error { return errNoContext }

// Delete implements scs.Store.
func (WithoutContext) Delete(string) error { return errNoContext }
