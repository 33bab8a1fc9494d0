package session

import (
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
)

// ProviderTokens are what the token endpoint answered.
type ProviderTokens struct {
	AccessToken  string
	TokenType    string
	RefreshToken string
	IDToken      string
	Expiry       time.Time // of the access token; zero when the provider did not say
	Scope        string
	DPoPKey      string // to which they are bound; empty if they are not

	// AuthorizationDetails are for the application.
	AuthorizationDetails string
}

// Format keeps the tokens out of logs, also where they are part of [Tokens].
func (ProviderTokens) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, redacted) }

// MarshalText returns REDACTED, for encoding/json and log/slog.
func (ProviderTokens) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Tokens are the provider's tokens of a session.
type Tokens struct {
	ProviderTokens
	Issued time.Time // when they were received
	Nonce  string    // of the login: a refreshed ID Token may repeat it

	// Userinfo has the claims of userinfo as the provider gave them last. What the application made of
	// them is not what it decides on again. It is kept with Limits.Reread only; nil: it was not kept.
	Userinfo *claims.Object

	// Overtaken has the names of the claims of the ID Token that count no more: userinfo has said
	// something else of them since that was issued. Older versions did not note it: nil.
	Overtaken *claims.Object

	Refreshed bool // they are not those of the login

	// Refused is when the provider refused for the first time to refresh them. It is noted with
	// Limits.EndWithAccessToken, and where the provider denies the user.
	Refused time.Time

	// Failed counts how often the provider failed to refresh them.
	Failed streak

	record record // in which they lie
}

// NewTokens returns the tokens of a login, with the claims of userinfo.
func NewTokens(t *ProviderTokens, nonce string, userinfo claims.Object) *Tokens {
	return &Tokens{
		ProviderTokens: *t, Issued: time.Now(), Nonce: nonce, Userinfo: &userinfo,
		Overtaken: new(claims.Object),
	}
}

// followedBy returns the tokens after a refresh. What the answer leaves out stays as it was.
func (t *Tokens) followedBy(answer *ProviderTokens) *Tokens {
	fresh := NewTokens(answer, t.Nonce, "")
	fresh.Userinfo, fresh.Refreshed, fresh.record = t.Userinfo, true, t.record
	if fresh.RefreshToken == "" {
		fresh.RefreshToken = t.RefreshToken
	}
	if fresh.Scope == "" {
		fresh.Scope = t.Scope
	}
	if fresh.IDToken == "" {
		fresh.IDToken, fresh.Overtaken = t.IDToken, t.Overtaken
	}
	if fresh.AuthorizationDetails == "" {
		fresh.AuthorizationDetails = t.AuthorizationDetails
	}
	return fresh
}

func (t *Tokens) encode() []byte {
	record := claims.Builder{}.
		Text("access_token", t.AccessToken).
		Text("token_type", t.TokenType).
		Text("refresh_token", t.RefreshToken).
		Text("id_token", t.IDToken).
		Text("scope", t.Scope).
		Text("nonce", t.Nonce).
		Text("dpop_key", t.DPoPKey).
		Add("issued", millis(t.Issued))
	if !t.Expiry.IsZero() {
		record = record.Add("expiry", millis(t.Expiry))
	}
	if t.Refreshed {
		record = record.Text("refreshed", "1")
	}
	if !t.Refused.IsZero() {
		record = record.Add("refused", millis(t.Refused))
	}
	record = t.Failed.add(record, "failed")
	if t.AuthorizationDetails != "" {
		record = record.Text("authorization_details", t.AuthorizationDetails)
	}
	if t.Userinfo != nil {
		record = record.Object("userinfo", *t.Userinfo)
	}
	if t.Overtaken != nil {
		record = record.Object("overtaken", *t.Overtaken)
	}
	return record
}

func decodeTokens(r record) *Tokens {
	o := claims.Object(r.plaintext)
	return &Tokens{
		ProviderTokens: ProviderTokens{
			AccessToken:  textMember(o, "access_token"),
			TokenType:    textMember(o, "token_type"),
			RefreshToken: textMember(o, "refresh_token"),
			IDToken:      textMember(o, "id_token"),
			Scope:        textMember(o, "scope"),
			DPoPKey:      textMember(o, "dpop_key"),
			Expiry:       timeMember(o, "expiry"),

			AuthorizationDetails: textMember(o, "authorization_details"),
		},
		Issued: timeMember(o, "issued"),
		Nonce:  textMember(o, "nonce"),

		Userinfo:  keptObject(o, "userinfo"),
		Overtaken: keptObject(o, "overtaken"),

		Refreshed: textMember(o, "refreshed") != "",
		Refused:   timeMember(o, "refused"),
		Failed:    streakMember(o, "failed"),
		record:    r,
	}
}

// keptObject returns nil where none was kept: without Limits.Reread, or by older versions.
func keptObject(tokens claims.Object, name string) *claims.Object {
	v, _ := tokens.Get(name)
	kept, ok := v.Object()
	if !ok {
		return nil
	}
	return &kept
}

// Tokens returns the tokens of a session as they are. The error is ErrGone when there are none that
// can be read.
func (k *Keeper) Tokens(ctx context.Context, id ID) (*Tokens, error) {
	r, err := k.read(ctx, tokensKind, id)
	if err != nil {
		return nil, err
	}
	return decodeTokens(r), nil
}

// sealTokens returns the record of tokens. An ID Token that is too long to be a hint in a logout
// address is left out, unless its claims may be needed to decide again.
func (k *Keeper) sealTokens(id ID, t *Tokens, deadline int64) (record, error) {
	kept := *t
	if len(kept.IDToken) > k.limits.MaxIDToken && k.limits.Reread == 0 {
		kept.IDToken = ""
	}
	return k.seal(tokensKind, id, Times{Deadline: deadline}, kept.encode())
}

// maxSources is how often Limits.MaxBytes the claims of userinfo and the ID Token may have that are
// kept as they came. The user may write some of them.
const maxSources = 8

// keepUserinfo sets the claims of userinfo that are kept with the tokens, if any are. What is too
// long is an error: of what the application dropped of it it could not decide again.
func (k *Keeper) keepUserinfo(t *Tokens, userinfo claims.Object) error {
	t.Userinfo = nil
	if k.limits.Reread == 0 {
		return nil
	}
	if err := k.checkSources(t, userinfo); err != nil {
		return err
	}
	t.Userinfo = &userinfo
	return nil
}

// checkSources checks the size of what is kept to decide again.
func (k *Keeper) checkSources(t *Tokens, userinfo claims.Object) error {
	bytes, most := len(userinfo)+len(t.IDToken), maxSources*k.limits.MaxBytes
	if k.limits.Reread == 0 || bytes <= most {
		return nil
	}
	return fmt.Errorf("%w: with Tokens.ClaimsMaxAge userinfo and ID Token are kept as they came; "+
		"they have %d bytes, and %d are allowed, eight times Limits.SessionBytes; raise that",
		ErrTooLarge, bytes, most)
}

// minLifetime is how long a refreshed access token is returned at least, and so how often a session
// is refreshed at most. Some providers answer with an expires_in of 0 for a token that lives on.
const minLifetime = 3 * time.Second

// lifetime is how long the access token was said to live. A provider that does not say (expires_in
// is only recommended, RFC 6749, section 5.1) is taken at Limits.TokenLifetime and not at "for
// ever".
func (k *Keeper) lifetime(t *Tokens) time.Duration {
	if t.Expiry.IsZero() {
		return k.limits.TokenLifetime
	}
	said := t.Expiry.Sub(t.Issued)
	if t.Refreshed {
		return max(said, minLifetime)
	}
	return said
}

// Expires returns when the access token ends.
func (k *Keeper) Expires(t *Tokens) time.Time { return t.Issued.Add(k.lifetime(t)) }

// usable reports whether the access token has not ended.
func (k *Keeper) usable(t *Tokens) bool { return time.Now().Before(k.Expires(t)) }

// margin is how long before its end an access token is refreshed at the earliest.
func (k *Keeper) margin(t *Tokens) time.Duration {
	margin := min(k.limits.RefreshMargin, k.lifetime(t)/4)
	if t.Refreshed {
		margin = min(margin, k.lifetime(t)-minLifetime)
	}
	return margin
}

// due reports whether the access token should be refreshed: when it has ended, or a margin before.
// Where there is no access token, none is due.
func (k *Keeper) due(t *Tokens, id ID) bool {
	if t.RefreshToken == "" {
		return t.AccessToken != "" && !k.usable(t)
	}
	return !time.Now().Before(k.dueAt(t, id))
}

// dueAt returns when an access token is to be refreshed. The margin before its end is at most a
// quarter of its life. Half of it differs from session to session, so that those who logged in
// together do not come back together. For one session it is the same on every replica.
func (k *Keeper) dueAt(t *Tokens, id ID) time.Time {
	margin := k.margin(t)
	spread := margin / 2 / (1 << 16) * time.Duration(crc32.ChecksumIEEE([]byte(id))>>16)
	return k.Expires(t).Add(spread - margin)
}

// noteTokenEnd notes in the session's record when the access token ends, with
// Limits.EndWithAccessToken. So no request reads the tokens to know it. It is best effort: where
// the note is old, the next guard has it made again. Only the refresh itself notes an earlier end
// than is noted: whoever has only read the tokens may have read older ones.
func (r *refresh) noteTokenEnd(ctx context.Context) {
	ends, noted := r.k.Expires(r.tokens), r.s.Identity.TokenEnds
	known := !r.exchanged && !noted.Before(ends)
	if known || r.tokens.RefreshToken == "" || !r.k.limits.EndWithAccessToken {
		return
	}
	r.s.Identity.TokenEnds = ends
	_ = r.k.editIdentity(ctx, r.s.ID, func(identity *Identity) bool {
		mine := r.exchanged || identity.TokenEnds.Equal(noted) // else another has noted it
		identity.TokenEnds = ends
		return mine
	})
}
