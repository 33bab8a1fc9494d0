package session

import (
	"fmt"
	"strings"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
)

// Identity is who is signed in, as the session's record says it. It is not changed once it is
// made; the With methods return another.
type Identity struct {
	Provider string // its name in the configuration
	Attempt  string // reference of the login attempt that began the session
	Label    string // what the application calls the session

	Created time.Time // when the user logged in
	Checked time.Time // when the claims were read last

	// TokenEnds is when the access token ends, with Limits.EndWithAccessToken and a refresh token. It
	// is zero otherwise.
	TokenEnds time.Time

	// Unreadable is when userinfo could not be read for the first time since it could be read. It is
	// zero when it can be read.
	Unreadable time.Time

	// Untaken is true when userinfo has not taken the access token of the login, which the
	// configuration allows, nor one since then. It may take none of this client: when it refuses one,
	// that says nothing of this session.
	Untaken bool

	// NoUserinfo counts how often userinfo failed for this user, while it answered others.
	NoUserinfo streak

	// Undecided is when the application could not decide on claims that were read again for the first
	// time since it could, and UndecidedAgain when it could not either, Limits.Reread later. They are
	// zero when it can.
	Undecided, UndecidedAgain time.Time

	// HasValues is true when the application has values in the session, which may restrict the
	// visitor: without them nobody is let in.
	HasValues bool

	IDToken     claims.Object // verified, from the ID Token
	Userinfo    claims.Object // from the userinfo endpoint, without the claims of the protocol
	Application claims.Object // set by the application
}

// Issuer returns "iss".
func (id *Identity) Issuer() string { return textMember(id.IDToken, "iss") }

// Subject returns "sub".
func (id *Identity) Subject() string { return textMember(id.IDToken, "sub") }

// User returns whose identity it is.
func (id *Identity) User() User { return User{Issuer: id.Issuer(), Subject: id.Subject()} }

// ProviderSessionID returns "sid", or "" where there is none.
func (id *Identity) ProviderSessionID() string { return textMember(id.IDToken, "sid") }

// HasIDToken reports whether an ID Token, which the provider signed and which always expires, says
// who it is.
func (id *Identity) HasIDToken() bool {
	_, expires := id.IDToken.Get("exp")
	return expires
}

// HasAudience reports whether the ID Token is for that client, by "aud".
func (id *Identity) HasAudience(clientID string) bool {
	aud, _ := id.IDToken.Get("aud")
	if one, ok := aud.Str(); ok {
		return one == clientID
	}
	for e := range aud.Elements() {
		if one, ok := e.Str(); ok && one == clientID {
			return true
		}
	}
	return false
}

// AuthTime returns "auth_time", or the zero time.
func (id *Identity) AuthTime() time.Time { return dateMember(id.IDToken, "auth_time") }

// IssuedAt returns "iat".
func (id *Identity) IssuedAt() time.Time { return dateMember(id.IDToken, "iat") }

// SessionExpiry returns when the provider wants the session to end ("session_expiry"), or the zero
// time.
func (id *Identity) SessionExpiry() time.Time { return dateMember(id.IDToken, "session_expiry") }

// mayShareGrant reports whether the refresh tokens of two logins may belong to one grant. Providers
// may end the whole grant when one of its tokens is revoked (RFC 7009, section 2.1), and so a login
// that lives on. Only another user, or another session of the provider's, is surely another grant.
func (id *Identity) mayShareGrant(o *Identity) bool {
	return id.summary().mayShareGrant(o.summary())
}

func dateMember(o claims.Object, name string) time.Time {
	v, _ := o.Get(name)
	t, _ := v.Time()
	return t
}

// renewed returns the identity with claims that were read again. What the application made of the
// old claims is dropped, so that nothing of it outlives its reason. What the protocol says of the
// login, such as when and how the user authenticated, stays. Without an ID Token the other claims
// of the old one stay too, and without userinfo those of the old userinfo.
func (id Identity) renewed(idToken claims.Object, userinfo *claims.Object) Identity {
	id.Checked = time.Now()
	id.Application, id.Undecided, id.UndecidedAgain = "", time.Time{}, time.Time{}
	if userinfo != nil {
		id.Userinfo, id.Unreadable, id.NoUserinfo = *userinfo, time.Time{}, streak{}
		id.Untaken = false
	}
	if idToken == "" {
		return id
	}
	old := id.IDToken.Filter(claims.IsProtocol)
	id.IDToken = old + idToken.Filter(func(name string) bool { return !claims.IsProtocol(name) })
	return id
}

// encode frames the identity for its record, without the times that stand in the header.
func (id *Identity) encode() []byte {
	record := claims.Builder{}.
		Text("provider", id.Provider).
		Text("attempt", id.Attempt).
		Text("label", id.Label).
		Add("created", millis(id.Created)).
		Add("checked", millis(id.Checked)).
		Object("id_token", id.IDToken).
		Object("userinfo", id.Userinfo).
		Object("application", id.Application)
	if !id.TokenEnds.IsZero() {
		record = record.Add("token_ends", millis(id.TokenEnds))
	}
	if !id.Unreadable.IsZero() {
		record = record.Add("unreadable", millis(id.Unreadable))
	}
	if id.Untaken {
		record = record.Text("untaken", "1")
	}
	record = id.NoUserinfo.add(record, "no_userinfo")
	if !id.Undecided.IsZero() {
		record = record.Add("undecided", millis(id.Undecided))
	}
	if !id.UndecidedAgain.IsZero() {
		record = record.Add("undecided_again", millis(id.UndecidedAgain))
	}
	if id.HasValues {
		record = record.Text("values", "1")
	}
	return record
}

// fits returns an error if a record of the identity has too many bytes. What the gate notes in it
// during the session does not count: it says nothing of the user.
func (id *Identity) fits(record []byte, allowed int) error {
	if len(record) <= allowed {
		return nil
	}
	plain := *id
	plain.TokenEnds, plain.Unreadable, plain.HasValues = time.Time{}, time.Time{}, false
	plain.NoUserinfo, plain.Untaken = streak{}, false
	plain.Undecided, plain.UndecidedAgain = time.Time{}, time.Time{}
	if n := len(plain.encode()); n > allowed {
		return id.tooLarge(n, allowed)
	}
	return nil
}

// tooLarge is the error for an identity whose record has too many bytes. It names the claim that
// the application would drop first.
func (id *Identity) tooLarge(bytes, allowed int) error {
	largest, size := "", 0
	for _, source := range id.Sources() {
		for name, v := range source.All() {
			if len(v) > size && !claims.IsProtocol(name) {
				largest, size = name, len(v)
			}
		}
	}
	return fmt.Errorf("%w: %d bytes, and %d are allowed; the largest claim is %.100q",
		ErrTooLarge, bytes, allowed, largest)
}

// decodeIdentity is the reverse of encode. Nothing is parsed: the claims are pieces of the record.
func decodeIdentity(plaintext []byte) Identity {
	o := claims.Object(plaintext)
	return Identity{
		Provider:       textMember(o, "provider"),
		Attempt:        textMember(o, "attempt"),
		Label:          textMember(o, "label"),
		Created:        timeMember(o, "created"),
		Checked:        timeMember(o, "checked"),
		TokenEnds:      timeMember(o, "token_ends"),
		Unreadable:     timeMember(o, "unreadable"),
		Untaken:        textMember(o, "untaken") != "",
		NoUserinfo:     streakMember(o, "no_userinfo"),
		Undecided:      timeMember(o, "undecided"),
		UndecidedAgain: timeMember(o, "undecided_again"),
		HasValues:      textMember(o, "values") != "",
		IDToken:        objectMember(o, "id_token"),
		Userinfo:       objectMember(o, "userinfo"),
		Application:    objectMember(o, "application"),
	}
}

// Claim returns a claim by its name, compared byte for byte, or by a JSON Pointer (RFC 6901) when
// it begins with "/". What the application set comes first, then the ID Token, then userinfo, which
// can therefore never replace what the ID Token says (OpenID Connect Core, section 5.3.2); but see
// [Tokens.Overtaken]. The first of them that has the claim decides, also for a pointer: userinfo
// adds no members to a claim of the ID Token.
func (id *Identity) Claim(claim string) (claims.Value, bool) {
	if strings.HasPrefix(claim, "/") {
		return id.pointer(claim)
	}
	for _, o := range id.Sources() {
		if v, ok := o.Get(claim); ok {
			return v, true
		}
	}
	return "", false
}

// Name returns a name to show for the user: the first of some claims, or else the subject.
func (id *Identity) Name() string {
	for _, claim := range [...]string{"name", "preferred_username", "nickname", "given_name"} {
		v, _ := id.Claim(claim)
		if s, _ := v.Str(); s != "" {
			return s
		}
	}
	return id.Subject()
}

func (id *Identity) pointer(p string) (claims.Value, bool) {
	top := p
	if i := strings.IndexByte(p[1:], '/'); i >= 0 {
		top = p[:1+i]
	}
	for _, o := range id.Sources() {
		if _, ok := o.Pointer(top); ok {
			return o.Pointer(p)
		}
	}
	return "", false
}

// Sources returns the claims in their order of precedence.
func (id *Identity) Sources() [3]claims.Object {
	return [...]claims.Object{id.Application, id.IDToken, id.Userinfo}
}
