package oidcgate

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/session"
)

// Login is a login that passed every check, as [Config.OnLogin] sees it before the session exists. It must
// not be kept after OnLogin returns, nor used concurrently.
type Login struct {
	identity *Identity
	returnTo string
	again    bool
}

// NewLogin returns a login for tests of an OnLogin function.
func NewLogin(id *Identity, returnTo string) *Login { return &Login{identity: id, returnTo: returnTo} }

// Identity returns who logs in, as the session will show it: after Drop and Set another than before.
func (l *Login) Identity() *Identity { return l.identity }

// ReturnTo returns the path the visitor goes back to. It is empty when IsReread is true.
func (l *Login) ReturnTo() string { return l.returnTo }

// IsReread reports that nobody logs in: the claims of a session were read again ([TokenOptions.ClaimsMaxAge]). An error
// ends the session.
func (l *Login) IsReread() bool { return l.again }

// Drop removes claims the application has no use for, so that they take no room in the session. Those the
// protocol needs stay.
func (l *Login) Drop(names ...string) {
	dropped := make(map[string]bool, len(names))
	for _, name := range names {
		dropped[name] = true
	}
	keep := func(name string) bool { return !dropped[name] || session.IsProtocolClaim(name) }
	id := *l.identity
	r := &id.record
	r.IDToken, r.Userinfo = r.IDToken.Filter(keep), r.Userinfo.Filter(keep)
	r.Application = r.Application.Filter(keep)
	l.identity = &id
}

// SetLabel says what the session is called in the user's list of sessions: "Firefox on Linux", say, made from the
// request that the application keeps in the context. Up to 200 bytes of it are kept.
func (l *Login) SetLabel(label string) {
	id := *l.identity
	id.record.Label = strings.ToValidUTF8(label[:min(len(label), 200)], "")
	l.identity = &id
}

// Set gives the identity a claim of the application's own, or its own value of a provider's claim: the
// groups that matter out of three thousand, say. The provider's value is dropped. Set fails for claims of
// the protocol and for values that encoding/json cannot write.
func (l *Login) Set(name string, value any) error {
	if session.IsProtocolClaim(name) {
		return fmt.Errorf("oidcgate: claim %q is the protocol's and cannot be set", name)
	}
	v, err := claims.Of(value)
	if err != nil {
		return fmt.Errorf("oidcgate: claim %q: %w", name, err)
	}
	l.Drop(name)
	id := *l.identity
	id.record.Application = id.record.Application.With(name, v)
	l.identity = &id
	return nil
}

// Deny returns an error by which [Config.OnLogin] refuses a visitor: the browser gets status 403 and the
// text, which should say what to do ("Ask the office for an account").
func Deny(text string) error { return &denial{text} }

type denial struct{ text string }

func (d *denial) Error() string { return "denied by OnLogin: " + d.text }

// askApplication runs OnLogin. What it refuses has no session, and a panic of it is an error of this login
// and not the end of the process.
func (g *Gate) askApplication(ctx context.Context, login *Login) (refused *LoginError) {
	if g.config.OnLogin == nil {
		return nil
	}
	defer func() {
		if v := recover(); v != nil {
			g.config.Logger.Error("oidcgate: OnLogin panicked", "panic", v, "stack", string(debug.Stack()))
			refused = &LoginError{Status: http.StatusInternalServerError, Reason: ReasonHookError, Err: errors.New("OnLogin panicked")}
		}
	}()
	err := g.config.OnLogin(ctx, login)
	var denied *denial
	switch {
	case err == nil:
		return nil
	case errors.As(err, &denied):
		return &LoginError{Status: http.StatusForbidden, Reason: ReasonPolicyDenied, Err: err, text: denied.text}
	}
	return &LoginError{Status: http.StatusInternalServerError, Reason: ReasonHookError, Err: err}
}
