package devpage

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/front"
	"github.com/oidcgate/oidcgate/internal/session"
)

// sessionView is what the page shows of the visitor's session.
type sessionView struct {
	Name    string
	Facts   []fact
	Bars    []bar
	Claims  []claim
	IDToken idToken
	Renew   string // the label of the button; "" if there is nothing to renew
	Notes   []string

	Ref, User string // the session and the user, as in events
}

// concerns says which of the two an event is about, or "". Without a session it is none.
func (s *sessionView) concerns(e event.Record) string {
	switch {
	case s == nil:
		return ""
	case e.SessionRef == s.Ref:
		return "this session"
	case e.SubjectHash == s.User && e.SessionRef == "":
		return "this user"
	}
	return ""
}

// fact is a line with a name. Code is true for what is written as it is.
type fact struct {
	Name, Value string
	Code        bool
}

// bar is a time from a begin to an end, of which a part is left.
type bar struct {
	Name, From, To, Left, Note string
	Share                      int    // that is left, in thousandths
	State                      string // "", "soon" or "over"
}

// claim is one claim about the user, and the sources that have it: the first counts. Differs names
// those with another value.
type claim struct {
	Name, Value, Time string
	From, Differs     []string
	Protocol          bool // it is about the login, not about the user
}

// idToken is the ID Token without its signature. Why says why there is none.
type idToken struct{ Header, Claims, Why string }

// sessionView returns nil without a session.
func (p *Page) sessionView(ctx context.Context, v *front.Visit, now time.Time) *sessionView {
	s := v.Session
	if s == nil {
		return nil
	}
	id, k := &s.Identity, p.Front.Keeper
	t, err := k.Tokens(ctx, s.ID)
	if err != nil {
		t = &session.Tokens{}
	}
	view := &sessionView{
		Name: visible(id.Name()), Ref: k.SessionRef(k.Handle(s.ID)), User: k.UserRef(id.User()),
		Claims: claimsOf(id, now), IDToken: idTokenOf(t, err), Bars: p.bars(s, t, now),
	}
	view.Facts = []fact{
		{"Subject", visible(id.Subject()), true},
		{"Issuer", visible(id.Issuer()), true},
		{"User in events", view.User, true},
		{"Session in events", view.Ref, true},
		{"Scopes", scopesOf(t), t.Scope != ""},
		{"Access token", kindOf(t), false},
		{"Refresh token", refreshOf(t), false},
	}
	p.describeRenewal(view, t)
	return view
}

func scopesOf(t *session.Tokens) string {
	if t.Scope == "" {
		return "those that were asked for"
	}
	return visible(t.Scope)
}

// kindOf says what the access token is, and nothing of what it is made of.
func kindOf(t *session.Tokens) string {
	switch {
	case t.AccessToken == "":
		return "none"
	case t.DPoPKey != "":
		return "bound to a key of this session (DPoP)"
	}
	return "of type " + visible(t.TokenType)
}

func refreshOf(t *session.Tokens) string {
	if t.RefreshToken == "" {
		return "none; many providers give one for the scope offline_access"
	}
	return "yes"
}

// describeRenewal says what the button to renew does for this session: what the gate does when it
// is due.
func (p *Page) describeRenewal(view *sessionView, t *session.Tokens) {
	refreshes, rereads := t.RefreshToken != "", p.ClaimsMaxAge > 0
	switch {
	case refreshes && rereads:
		view.Renew = "Refresh tokens and re-read claims"
	case refreshes:
		view.Renew = "Refresh tokens"
	case rereads:
		view.Renew = "Re-read claims"
	}
	if !refreshes {
		view.Notes = append(view.Notes, "Without a refresh token, tokens are not refreshed.")
	}
	if !rereads {
		view.Notes = append(view.Notes,
			"Tokens.ClaimsMaxAge is zero: claims stay as they were at the login.")
	}
}

// bars returns when what ends.
func (p *Page) bars(s *session.Session, t *session.Tokens, now time.Time) []bar {
	id := &s.Identity
	list := []bar{
		newBar("Session", id.Created, time.UnixMilli(s.Times.Deadline), now),
		newBar("Idle time", time.UnixMilli(s.Times.Seen), time.UnixMilli(s.Times.Ends(p.Idle)), now),
	}
	list[0].Note = "It ends at the latest then, even if it is used."
	list[1].Note = "It begins again when the session is used, which is noted from time to time. " +
		"Opening this page is no use."
	if t.AccessToken != "" {
		b := newBar("Access token", t.Issued, p.Front.Keeper.Expires(t), now)
		b.Note = accessNote(t)
		list = append(list, b)
	}
	if p.ClaimsMaxAge > 0 {
		b := newBar("Claims", id.Checked, id.Checked.Add(p.ClaimsMaxAge), now)
		b.Note = "The next guard or FromContext after it reads them again."
		list = append(list, b)
	}
	return list
}

func accessNote(t *session.Tokens) string {
	switch {
	case t.RefreshToken == "":
		return "There is no refresh token for the time after."
	case t.Expiry.IsZero():
		return "The provider did not say when it ends: Tokens.Lifetime counts."
	}
	return "It is refreshed shortly before, when a handler asks for it."
}

func newBar(name string, from, to, now time.Time) bar {
	b := bar{Name: name, From: clock(from, now), To: clock(to, now)}
	left, whole := to.Sub(now), to.Sub(from)
	if left <= 0 || whole <= 0 {
		b.State, b.Left = "over", "over since "+lasting(-left)
		return b
	}
	b.Left = lasting(left) + " left"
	b.Share = int(1000 * min(left, whole) / whole)
	if b.Share < 200 {
		b.State = "soon"
	}
	return b
}

// claimsOf lists the claims by name, those about the user first.
func claimsOf(id *session.Identity, now time.Time) []claim {
	names := [...]string{"OnLogin", "ID Token", "userinfo"} // as in Sources
	if !id.HasIDToken() {
		names[1] = "the gate" // who it is, as userinfo said at the login
	}
	byName := map[string]*claim{}
	for i, source := range id.Sources() {
		for name, v := range source.All() {
			text := shown(name, pretty(v.AppendJSON(nil), 60))
			known := byName[name]
			switch {
			case known == nil:
				byName[name] = &claim{
					visible(name), text, inTime(name, v, now), names[i : i+1], nil, claims.IsProtocol(name),
				}
			case known.Value == text:
				known.From = append(slices.Clip(known.From), names[i])
			default:
				known.Differs = append(known.Differs, names[i])
			}
		}
	}
	list := make([]claim, 0, len(byName))
	for _, c := range byName {
		list = append(list, *c)
	}
	slices.SortFunc(list, func(a, b claim) int {
		if a.Protocol != b.Protocol {
			return map[bool]int{true: 1, false: -1}[a.Protocol]
		}
		return strings.Compare(a.Name, b.Name)
	})
	return list
}

// shown hides a claim that is itself a secret.
func shown(name, text string) string {
	if slices.Contains(secretMembers, strings.ToLower(name)) {
		return "(not shown)"
	}
	return text
}

// inTime returns a claim that is a time in seconds as a time of day, or "".
func inTime(name string, v claims.Value, now time.Time) string {
	text, isNumber := v.Number()
	named := strings.HasSuffix(name, "_at") || strings.HasSuffix(name, "_time") ||
		slices.Contains([]string{"iat", "exp", "nbf", "session_expiry"}, name)
	seconds, err := strconv.ParseInt(text, 10, 64)
	if !isNumber || !named || err != nil || seconds < 0 || seconds > 1<<35 {
		return ""
	}
	return clock(time.Unix(seconds, 0), now)
}

// idTokenOf decodes the ID Token, which was verified when it came. Without its signature it is no
// token.
func idTokenOf(t *session.Tokens, err error) idToken {
	switch parts := strings.Split(t.IDToken, "."); {
	case err != nil:
		return idToken{Why: "The tokens of this session cannot be read: " + err.Error()}
	case t.IDToken == "" && t.AccessToken != "":
		return idToken{Why: "None is kept: the provider issues none, or it is too long to be kept. The " +
			"claims are those above."}
	case len(parts) != 3:
		return idToken{Why: "None is kept."}
	default:
		return idToken{Header: decoded(parts[0]), Claims: decoded(parts[1])}
	}
}

func decoded(part string) string {
	text, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return fmt.Sprintf("(%v)", err)
	}
	return pretty(text, 0)
}
