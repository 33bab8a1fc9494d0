package session

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"strconv"
)

// Everything that lies in the store has a key of this table. A key is a prefix and a hash, so that
// a copy of the store names no user and opens no session. Who guesses a user's issuer and subject
// can see whether that user is signed in: the names of sets are hashed without a key, because they
// must stay the same when the application's keys change. No prefix is the beginning of another.
//
//	prefix  what lies there         who writes it        how long
//	s:      who is signed in        login, touch, reread idle time or deadline
//	t:      the provider's tokens   login, refresh       deadline
//	v:      application's values    the application      deadline
//	x:      exchanged tokens        token exchange       the longest token
//	d:      summary of a session    login, refresh       deadline
//	u:      set: a user's sessions  login, logouts       the longest deadline
//	i:      set: sessions of a sid  login, refresh       the longest deadline
//	E:      sessions were ended     EndUser, EndOthers   login timeout, two skews
//	U:      user was logged out     logout elsewhere     login timeout, two skews
//	I:      sid was logged out      logout elsewhere     login timeout, two skews
//	a:      attempt is used         callback             login timeout, two skews
//	j:      logout token is used    back-channel logout  the token's, two skews
//	p:      DPoP proof is used      a route for tokens   minutes, by two clocks
//	l:      who refreshes           refresh              the lease, renewed; see lock.go
//	h:      who logged out          logout               a minute
//	m:      the provider was asked  refresh              an hour
//	r:      whether it can be done  logins that begin    a second
//
// What the loss of a key means:
//
//	s:      The visitor is signed out.
//	t:      There are no tokens: Token says that there is no session. The rest goes on.
//	v:      The values are empty.
//	x:      Tokens are exchanged once more.
//	d:      The session is missing in lists. A logout by user or sid ends it all the same.
//	u: i:   The session is missing in lists, and a logout by user or by sid does not end it.
//	E: U: I: A login that was under way at the logout begins a session.
//	a:      A response may be sent a second time. The provider refuses the code.
//	j:      A logout token may be used a second time: with a sid it ends later sessions of it too.
//	p:      A copy of a request with a proof may be sent again while the proof is new.
//	l:      Two replicas may refresh at a time. The provider may take one for a thief.
//	h:      A second click on "log out" does not end the session at the provider.
//	m:      After a lost answer the refused refresh is reported without that explanation.
const (
	identityPrefix     = "s:"
	tokensPrefix       = "t:"
	valuesPrefix       = "v:"
	exchangedPrefix    = "x:"
	summaryPrefix      = "d:"
	userPrefix         = "u:"
	sidPrefix          = "i:"
	endedPrefix        = "E:"
	loggedOutPrefix    = "U:"
	sidLoggedOutPrefix = "I:"
	attemptPrefix      = "a:"
	logoutIDPrefix     = "j:"
	proofPrefix        = "p:"
	lockPrefix         = "l:"
	hintPrefix         = "h:"
	askedPrefix        = "m:"
	readinessPrefix    = "r:"
	maxPrefix          = 2
	encodedHashSize    = 43
)

// ID is a session id: the secret in the browser's cookie. Printed, it shows
// nothing, except in an unexported field, for which fmt calls no method.
type ID string

// IDSize is the length of an ID: 32 random bytes in base64url. A mark of one character may follow,
// which makes it another ID.
const (
	IDSize   = 43
	markSize = 1
)

// IsID reports whether s can be an ID without a mark.
func IsID(s string) bool {
	if len(s) != IDSize {
		return false
	}
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && !('0' <= c && c <= '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

const redacted = "REDACTED"

// Format prints REDACTED, whatever the verb.
func (ID) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, redacted) }

// MarshalText returns REDACTED, for encoding/json and log/slog.
func (ID) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Handle names a session in the store: a hash of its ID. Whoever has it can end the session and
// cannot use it.
type Handle string

// Handle returns the handle of a session. It is hashed with the gate, so that two gates with one
// store do not meet each other's records.
func (k *Keeper) Handle(id ID) Handle { return Handle(k.idKey("", id)) }

// idKey returns prefix and the hash of a session id. It allocates the string and nothing else.
func (k *Keeper) idKey(prefix string, id ID) string {
	var buf [sha256.Size + IDSize + markSize]byte
	n := copy(buf[:], k.gate[:])
	n += copy(buf[n:], id)
	sum := sha256.Sum256(buf[:n])
	var name [maxPrefix + encodedHashSize]byte
	return string(base64.RawURLEncoding.AppendEncode(append(name[:0], prefix...), sum[:]))
}

// nameKey returns prefix and a hash of parts, such as an issuer and a subject. Where a provider
// names them, the issuer is one of them: a provider cannot end the sessions of another.
func (k *Keeper) nameKey(prefix string, parts ...string) string {
	h := sha256.New()
	h.Write(k.gate[:])
	for _, p := range parts {
		h.Write([]byte(strconv.Itoa(len(p)) + ":" + p))
	}
	return prefix + base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}
