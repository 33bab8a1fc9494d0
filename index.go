package oidcgate

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strconv"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/seal"
	"github.com/oidcgate/oidcgate/store"
)

// The index leads from a person, or from a session of the provider's, to the sessions here. It holds handles:
// the hashes that name a session's records, by which a session can be ended and not be used.
//
// The order of steps makes up for transactions, which stores spread over many machines do not have. A login
// adds to the index, creates the session, then reads the tombstones; a logout writes the tombstone, then
// reads the index, then deletes. Whichever way the two interleave, one of them sees the other, and the
// logout wins.

// subjectSet and sidSet are the sets of handles of a user and of a session of the provider's. Both are named
// with the issuer: one provider cannot end the sessions of another.
func (g *Gate) subjectSet(issuer, subject string) string { return "u:" + g.name(issuer, subject) }
func (g *Gate) sidSet(issuer, sid string) string         { return "i:" + g.name(issuer, sid) }

// The tombstones say that a user, or a session of the provider's, was logged out a moment ago. A login that
// was under way then does not begin a session.
func (g *Gate) subjectTombstone(issuer, subject string) string { return "U:" + g.name(issuer, subject) }
func (g *Gate) sidTombstone(issuer, sid string) string         { return "I:" + g.name(issuer, sid) }

func (g *Gate) name(parts ...string) string {
	h := sha256.New()
	h.Write(g.fingerprint[:])
	for _, p := range parts {
		h.Write([]byte(strconv.Itoa(len(p)) + ":" + p))
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// setsOf are the sets a session stands in.
func (g *Gate) setsOf(issuer, subject, sid string) []string {
	sets := []string{g.subjectSet(issuer, subject)}
	if sid != "" {
		sets = append(sets, g.sidSet(issuer, sid))
	}
	return sets
}

// summary says of a session what can be known without its cookie: sealed under the application's key alone, for
// lists of devices and for logouts that come from elsewhere.
type summary struct {
	Issuer, Subject, SessionID string
	Provider, Label            string
	Created                    time.Time
	Issued                     time.Time // iat of the ID Token
}

const summaryPrefix = "d:"

func summaryBinding(handle string) seal.Binding {
	return seal.Binding{Purpose: "card", Name: summaryPrefix + handle}
}

func (c summary) encode() []byte {
	created, _ := claims.Of(c.Created.UnixMilli()) // numbers: cannot fail
	issued, _ := claims.Of(c.Issued.UnixMilli())
	return []byte(claims.Object("").
		With("iss", claims.Text(c.Issuer)).
		With("sub", claims.Text(c.Subject)).
		With("sid", claims.Text(c.SessionID)).
		With("provider", claims.Text(c.Provider)).
		With("label", claims.Text(c.Label)).
		With("created", created).
		With("issued", issued))
}

func decodeSummary(b []byte) summary {
	o := claims.Object(b)
	return summary{
		Issuer: member(o, "iss"), Subject: member(o, "sub"), SessionID: member(o, "sid"),
		Provider: member(o, "provider"), Label: member(o, "label"),
		Created: moment(o, "created"), Issued: moment(o, "issued"),
	}
}

// addToIndex puts a session that is about to begin into the index. Its summary comes first: a logout of the user that
// finds the session in a set reads there whether the session is a later login, which it does not mean.
func (g *Gate) addToIndex(ctx context.Context, handle string, id *Identity, deadline time.Time) error {
	sealed, err := g.ring.Seal(summaryBinding(handle), nil, id.summary().encode())
	if err != nil {
		return err
	}
	ttl := ttlUntil(deadline.UnixMilli(), time.Now())
	if err := g.config.Store.Create(ctx, summaryPrefix+handle, sealed, ttl); err != nil {
		return err
	}
	for _, set := range g.setsOf(id.Issuer(), id.Subject(), id.SessionID()) {
		if err := g.config.Store.Add(ctx, set, handle, ttl); err != nil {
			return err
		}
	}
	return nil
}

// readSummary returns what is known of a session; store.ErrNotFound when it is over or cannot be read.
func (g *Gate) readSummary(ctx context.Context, handle string) (summary, error) {
	sealed, err := g.config.Store.Get(ctx, summaryPrefix+handle)
	if err != nil {
		return summary{}, err
	}
	_, plaintext, err := g.ring.Open(summaryBinding(handle), 0, sealed)
	if err != nil {
		return summary{}, store.ErrNotFound
	}
	return decodeSummary(plaintext), nil
}

// errLoggedOut is a login that a logout overtook.
var errLoggedOut = errors.New("the user was logged out while the login was under way")

// checkTombstones reads the tombstones after the session was created. A tombstone of a user ends only
// sessions whose ID Token is not later than the logout: whoever logs in again afterwards is let in.
func (g *Gate) checkTombstones(ctx context.Context, id *Identity) error {
	iss, sub, sid := id.Issuer(), id.Subject(), id.SessionID()
	if sid != "" {
		_, err := g.config.Store.Get(ctx, g.sidTombstone(iss, sid))
		if err == nil {
			return errLoggedOut
		}
		if !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	stone, err := g.config.Store.Get(ctx, g.subjectTombstone(iss, sub))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if !id.issued().After(parseMillis(string(stone))) {
		return errLoggedOut
	}
	return nil
}

// writeTombstone writes a tombstone that outlives every login under way now. One that is there already stays or
// becomes later, never earlier.
func (g *Gate) writeTombstone(ctx context.Context, key string, at time.Time) error {
	ttl := g.config.AttemptTTL + 2*g.config.Leeway
	value := []byte(strconv.FormatInt(at.UnixMilli(), 10))
	for {
		err := g.config.Store.Create(ctx, key, value, ttl)
		if !errors.Is(err, store.ErrExists) {
			return err
		}
		old, err := g.config.Store.Get(ctx, key)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if parseMillis(string(old)).After(at) {
			value = old
		}
		if err := g.config.Store.Swap(ctx, key, old, value, ttl); !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
}

// endHandle ends a session: the identity first, which is what lets anybody in, then what nobody can read
// without it, then its place in the index.
func (g *Gate) endHandle(ctx context.Context, handle string, c summary) error {
	kinds := []recordKind{identityRecord, tokensRecord}
	if g.config.Values {
		kinds = append(kinds, valuesRecord)
	}
	for _, kind := range kinds {
		if err := g.config.Store.Delete(ctx, kind.prefix+handle, nil); err != nil {
			return err
		}
	}
	for _, set := range g.setsOf(c.Issuer, c.Subject, c.SessionID) {
		if err := g.config.Store.Remove(ctx, set, handle); err != nil {
			return err
		}
	}
	return g.config.Store.Delete(ctx, summaryPrefix+handle, nil)
}

// endCookie is endHandle for a session id of which no more is known.
func (g *Gate) endCookie(ctx context.Context, token string) error {
	handle := g.handle(token)
	c, err := g.readSummary(ctx, handle)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return g.endHandle(ctx, handle, c)
}

// endSet ends the sessions of a set except those for which keep returns true, and returns their number. Entries whose session
// is over already are taken out and not counted.
func (g *Gate) endSet(ctx context.Context, set string, keep func(handle string, c summary) bool, reason Reason) (int, error) {
	handles, err := g.config.Store.Members(ctx, set)
	if err != nil {
		return 0, err
	}
	ended := 0
	for _, handle := range handles {
		c, err := g.readSummary(ctx, handle)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return ended, err
		}
		if keep(handle, c) {
			continue
		}
		alive, err := g.alive(ctx, handle)
		if err != nil {
			return ended, err
		}
		if err := g.endHandle(ctx, handle, c); err != nil {
			return ended, err
		}
		if err := g.config.Store.Remove(ctx, set, handle); err != nil {
			return ended, err
		}
		if !alive {
			continue
		}
		ended++
		g.events.emit(Event{Type: EventSessionRevoked, Reason: reason, Provider: c.Provider, Issuer: c.Issuer, SessionRef: g.handleRef(handle)})
	}
	return ended, nil
}

// alive reports whether a session's identity is still there: an idle one is over before its entry is.
func (g *Gate) alive(ctx context.Context, handle string) (bool, error) {
	_, err := g.config.Store.Get(ctx, identityRecord.prefix+handle)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// endUser ends the sessions of a user except those for which keep returns true, and the logins under way whose ID Token is not
// later than at.
func (g *Gate) endUser(ctx context.Context, issuer, subject string, at time.Time, keep func(string, summary) bool, reason Reason) (int, error) {
	if err := g.writeTombstone(ctx, g.subjectTombstone(issuer, subject), at); err != nil {
		return 0, err
	}
	return g.endSet(ctx, g.subjectSet(issuer, subject), keep, reason)
}

// issuedAfter spares the sessions of a new login, which a logout that arrives late does not mean. Both times are
// the provider's.
func issuedAfter(at time.Time) func(string, summary) bool {
	return func(_ string, c summary) bool { return c.Issued.After(at) }
}

// nobody spares nobody.
func nobody(string, summary) bool { return false }

func (g *Gate) endProviderSession(ctx context.Context, issuer, sid string, reason Reason) (int, error) {
	if err := g.writeTombstone(ctx, g.sidTombstone(issuer, sid), time.Now()); err != nil {
		return 0, err
	}
	return g.endSet(ctx, g.sidSet(issuer, sid), nobody, reason)
}
