package session

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/seal"
	"github.com/oidcgate/oidcgate/store"
)

// The index leads from a user, or from a session of the provider's, to the sessions here.
//
// Stores that are spread over many machines have no transactions. The order of steps takes their
// place. A login adds to the index, creates the session, then reads the tombstones. A logout writes
// the tombstone, then reads the index, then deletes. Whichever way the two interleave, one of them
// sees what the other wrote, and the logout wins.

// User names a user: an issuer and a subject of it.
type User struct{ Issuer, Subject string }

func (k *Keeper) userSet(u User) string { return k.nameKey(userPrefix, u.Issuer, u.Subject) }

func (k *Keeper) sidSet(issuer, sid string) string { return k.nameKey(sidPrefix, issuer, sid) }

// summary says of a session what can be known without its id. It is sealed under the application's
// key alone, for lists of sessions and for logouts that come from elsewhere.
type summary struct {
	User
	SID             string
	Provider, Label string
	Created         time.Time
	Issued          time.Time // "iat" of the ID Token
	AuthTime        time.Time // "auth_time" of it; zero when it has none
	Start           time.Time // when the login began

	Audience claims.Value // "aud" of the ID Token: which client of the provider's it is for

	// LaterSets are those of the sids that refreshed ID Tokens had, the last one last. They are few
	// (see maxLaterSets).
	LaterSets []string
}

// follows reports whether a login is later than a logout by the provider. It is when it began after
// the logout was received, by this service's clock, or when the user authenticated after the
// logout, by the provider's. A code that the browser had before the logout and brings after it is
// no later login, whenever its ID Token is issued.
func (s summary) follows(l logoutTime) bool {
	return s.Issued.After(l.at) && (s.Start.After(l.received) || s.AuthTime.After(l.at))
}

func (id *Identity) summary() summary {
	audience, _ := id.IDToken.Get("aud")
	return summary{
		User:     User{id.Issuer(), id.Subject()},
		SID:      id.ProviderSessionID(),
		Provider: id.Provider, Label: id.Label,
		Created: id.Created, Issued: id.IssuedAt(), AuthTime: id.AuthTime(),
		Audience: audience,
	}
}

// identity returns whose session it is and which client's of which provider, and nothing else.
func (s summary) identity() *Identity {
	idToken := claims.Builder{}.Text("iss", s.Issuer).Text("sub", s.Subject)
	if s.Audience != "" {
		idToken = idToken.Add("aud", s.Audience)
	}
	return &Identity{Provider: s.Provider, IDToken: claims.Object(idToken)}
}

// mayShareGrant is [Identity.mayShareGrant].
func (s summary) mayShareGrant(o summary) bool {
	return s.User == o.User && (s.SID == "" || o.SID == "" || s.SID == o.SID)
}

func (s summary) encode() []byte {
	record := claims.Builder{}.
		Text("iss", s.Issuer).
		Text("sub", s.Subject).
		Text("sid", s.SID).
		Text("provider", s.Provider).
		Text("label", s.Label).
		Add("created", millis(s.Created)).
		Add("issued", millis(s.Issued)).
		Add("auth_time", millis(s.AuthTime)).
		Add("start", millis(s.Start))
	if s.Audience != "" {
		record = record.Add("aud", s.Audience)
	}
	if len(s.LaterSets) > 0 {
		record = record.Text("later_sets", strings.Join(s.LaterSets, " "))
	}
	return record
}

func decodeSummary(plaintext []byte) summary {
	o := claims.Object(plaintext)
	audience, _ := o.Get("aud")
	return summary{
		User:     User{textMember(o, "iss"), textMember(o, "sub")},
		SID:      textMember(o, "sid"),
		Provider: textMember(o, "provider"), Label: textMember(o, "label"),
		Created: timeMember(o, "created"), Issued: timeMember(o, "issued"),
		AuthTime: timeMember(o, "auth_time"), Start: timeMember(o, "start"),
		Audience:  audience,
		LaterSets: strings.Fields(textMember(o, "later_sets")),
	}
}

func summaryKey(h Handle) string { return summaryPrefix + string(h) }

func summaryBinding(h Handle) seal.Binding {
	return seal.Binding{Purpose: "card", Name: summaryKey(h)}
}

// sets are the sets in which a session is listed; none for the zero summary.
func (k *Keeper) sets(s summary) []string {
	if s.User == (User{}) {
		return nil
	}
	sets := []string{k.userSet(s.User)}
	if s.SID != "" {
		sets = append(sets, k.sidSet(s.Issuer, s.SID))
	}
	return append(sets, s.LaterSets...)
}

// addToIndex lists a session that is about to begin. Its summary is written first: a logout that
// finds the session in a set reads there whether the session is of a later login, which stays.
func (k *Keeper) addToIndex(ctx context.Context, l *Login) error {
	handle, sum := k.Handle(l.ID), l.summary()
	sealed, err := k.ring.Seal(summaryBinding(handle), nil, sum.encode())
	if err != nil {
		return err
	}
	lifetime := k.ttl(l.Times.Deadline)
	if err := k.store.Create(ctx, summaryKey(handle), sealed, lifetime); err != nil {
		return k.storeError(ctx, err)
	}
	var adds []func() error
	for _, set := range k.sets(sum) {
		adds = append(adds, func() error {
			return k.store.Add(ctx, set, string(handle), lifetime)
		})
	}
	return k.storeError(ctx, sideBySide(adds...))
}

// readSummary returns what is known of a session: nothing when it is over or its summary cannot be
// opened.
func (k *Keeper) readSummary(ctx context.Context, h Handle) (summary, error) {
	sealed, err := k.store.Get(ctx, summaryKey(h))
	if errors.Is(err, store.ErrNotFound) {
		return summary{}, nil
	}
	if err != nil {
		return summary{}, k.storeError(ctx, err)
	}
	return k.openSummary(h, sealed), nil
}

// laterSets returns the LaterSets of a session, which its identity does not say.
func (k *Keeper) laterSets(ctx context.Context, h Handle) ([]string, error) {
	sum, err := k.readSummary(ctx, h)
	return sum.LaterSets, err
}

// openSummary opens a summary. It returns the zero summary when it cannot.
func (k *Keeper) openSummary(h Handle, sealed []byte) summary {
	_, plaintext, _ := k.ring.Open(summaryBinding(h), 0, sealed) // nil with an error
	return decodeSummary(plaintext)
}

// alive reports whether a session's identity is still there.
func (k *Keeper) alive(ctx context.Context, h Handle) (bool, error) {
	there, err := k.hasIdentity(ctx, h)
	return there, k.storeError(ctx, err)
}

// hasIdentity is alive with the store's own error, of which it does not tell.
func (k *Keeper) hasIdentity(ctx context.Context, h Handle) (bool, error) {
	_, err := k.store.Get(ctx, identityPrefix+string(h))
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Listed is a session in a list of a user's sessions.
type Listed struct {
	Handle          Handle
	Provider, Label string
	Created         time.Time
}

// List returns the living sessions of a user, the newest first.
func (k *Keeper) List(ctx context.Context, u User) ([]Listed, error) {
	if err := u.check(); err != nil {
		return nil, err
	}
	all, err := k.listed(ctx, []string{k.userSet(u)})
	if err != nil {
		return nil, err
	}
	k.describe(ctx, all)
	slices.SortFunc(all, newestFirst)
	var list []Listed
	for _, l := range all {
		switch {
		case l.err != nil:
			return nil, k.storeError(ctx, l.err)
		case l.alive && l.Subject != "": // the set forgets the others in time
			list = append(list, Listed{l.Handle, l.Provider, l.Label, l.Created})
		}
	}
	return list, nil
}
