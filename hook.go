package oidcgate

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/session"
)

// Login is a login that passed every check, as [Config.OnLogin] gets it before the session exists.
// Do not keep it after OnLogin returns, and do not use it concurrently.
type Login struct {
	identity *Identity
	returnTo string
	again    bool
	details  string
	request  *http.Request
}

// NewLogin returns a login for tests of an OnLogin function.
func NewLogin(id *Identity, returnTo string) *Login {
	return &Login{identity: id, returnTo: returnTo}
}

// Identity returns the identity that logs in, with the changes made by Drop, Set and SetLabel.
func (l *Login) Identity() *Identity { return l.identity }

// ReturnTo returns the path the visitor goes back to. It is empty when IsReread is true.
func (l *Login) ReturnTo() string { return l.returnTo }

// IsReread reports that OnLogin is called not for a login, but because the claims of a session were
// read again ([TokenOptions.ClaimsMaxAge]). An error made by [Deny] then ends the session. Any
// other error keeps the session and its old claims, and OnLogin is asked again, within 40 seconds
// if the session is used. Where it has failed twice, ClaimsMaxAge apart, guards answer 503 until it
// decides, except with KeepRefused: what the visitor chose, such as a name, may be what makes it
// fail.
func (l *Login) IsReread() bool { return l.again }

// AuthorizationDetails returns the details that the provider granted with the access token, a JSON
// array (RFC 9396, section 7), or "". When IsReread is true, they are those that it named last.
// They are no claims of the session; see Set.
func (l *Login) AuthorizationDetails() string { return l.details }

// Request returns the request that brought the browser back from the provider, for its address, its
// User-Agent and the application's cookies. It has no query and no form, which had the code. It is
// nil when IsReread is true, and for [NewLogin].
func (l *Login) Request() *http.Request { return l.request }

// Drop removes claims that the application does not use, so that they take no room in the session.
// Claims that the protocol needs are kept.
func (l *Login) Drop(names ...string) {
	dropped := make(map[string]bool, len(names))
	for _, name := range names {
		dropped[name] = true
	}
	keep := func(name string) bool { return !dropped[name] || claims.IsProtocol(name) }
	l.change(func(r *session.Identity) {
		r.IDToken, r.Userinfo = r.IDToken.Filter(keep), r.Userinfo.Filter(keep)
		r.Application = r.Application.Filter(keep)
	})
}

// SetLabel sets the name of the session in the user's list of sessions, such as "Firefox on Linux",
// for which Request has the User-Agent. The first 200 bytes are kept. The label of the login stays:
// one that is set when claims are read again has no effect.
func (l *Login) SetLabel(label string) {
	label = strings.ToValidUTF8(label[:min(len(label), 200)], "")
	l.change(func(r *session.Identity) { r.Label = label })
}

// Set gives the identity a claim of the application, until claims are read again: then OnLogin sets
// it anew, or it is gone. It replaces a claim of that name from the provider: for example three
// thousand groups by the few that the application uses. Set fails for claims of the protocol and
// for values that encoding/json cannot write.
func (l *Login) Set(name string, value any) error {
	if claims.IsProtocol(name) {
		return fmt.Errorf("oidcgate: claim %q is the protocol's and cannot be set", name)
	}
	v, err := claims.Of(value)
	if err != nil {
		return fmt.Errorf("oidcgate: claim %q: %w", name, err)
	}
	l.Drop(name)
	l.change(func(r *session.Identity) { r.Application = r.Application.With(name, v) })
	return nil
}

// change replaces the identity by a changed copy: identities are immutable.
func (l *Login) change(edit func(*session.Identity)) {
	id, record := *l.identity, *l.identity.record()
	edit(&record)
	id.rec, l.identity = &record, &id
}

// Logout is the end of a session, as [Config.OnLogout] gets it. Over all replicas there is one for
// each session that ended before its time: the visitor logged out ([ReasonByUser]), [Sessions] or
// [Sessions.EndUser] ended it ([ReasonByUser], [ReasonByAdmin]), the provider did
// ([ReasonBackchannel], [ReasonFrontchannel]), tokens or claims could not be renewed, or the user
// had too many. There is none for a session that expires, or in whose place a login of the same
// browser begins another. There may be two for a session that two requests end at the same moment;
// one for a session that had just expired, or whose login a logout overtook; and none for one whose
// user the store cannot tell when it ends, or about whose end the store did not answer at all.
type Logout struct {
	Issuer, Subject string // the user
	SubjectHash     string // as in [Event] and in the log: another with another first key
	SessionID       string // as in [SessionInfo]
	SessionRef      string // as in [Event] and in the log: another with another first key
	Reason          Reason
}

// Deny returns an error with which [Config.OnLogin] refuses a visitor, or [Config.OnLink] a second
// identity: the browser gets status 403 and the text, which should say what to do ("Ask the office
// for an account"). An error that wraps it says more to the log.
func Deny(text string) error { return &denial{text} }

type denial struct{ text string }

func (d *denial) Error() string { return "denied: " + d.text }
