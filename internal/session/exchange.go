package session

import (
	"context"
	"errors"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
)

// maxExchanged is how many exchanged tokens of a session are kept.
const maxExchanged = 8

// exchangeMargin is how long before its end an exchanged token is exchanged again, at most a
// quarter of its life.
const exchangeMargin = 30 * time.Second

// Exchanged returns a token that exchange gets for the session's access token (RFC 8693), or the
// one that it got before for the same request, while that is good. The tokens lie in a record of
// their own: a refresh that is under way must find the record of the session's tokens as it was.
// Nobody deletes it at a logout. It can be read with the session's tokens only, and ends with what
// lies in it. It fails like [Keeper.Token], and with the error of exchange.
func (k *Keeper) Exchanged(
	ctx context.Context, s *Session, request string,
	exchange func(context.Context, *ProviderTokens) (*ProviderTokens, error),
) (*ProviderTokens, error) {
	t, err := k.Token(ctx, s)
	if err != nil {
		return nil, err
	}
	r, err := k.read(ctx, exchangedKind, s.ID)
	if err != nil && !errors.Is(err, ErrGone) {
		return nil, err
	}
	all := claims.Object(r.plaintext)
	if v, ok := all.Get(request); ok && !errors.Is(err, ErrGone) {
		if kept := decodeExchanged(v); kept.good() {
			return &kept.ProviderTokens, nil
		}
	}
	fresh, err := exchange(ctx, &t.ProviderTokens)
	if err != nil {
		return nil, err
	}
	if !fresh.Expiry.IsZero() {
		// Who fails to keep it asks again the next time.
		_ = k.keepExchanged(ctx, s.ID, r, request, fresh, t.record.times.Deadline)
	}
	return fresh, nil
}

// exchanged is an exchanged token with the time at which it was received.
type exchanged struct {
	ProviderTokens
	issued time.Time
}

func (e *exchanged) good() bool {
	margin := min(exchangeMargin, e.Expiry.Sub(e.issued)/4)
	return time.Now().Before(e.Expiry.Add(-margin))
}

func decodeExchanged(v claims.Value) exchanged {
	o, _ := v.Object()
	return exchanged{
		ProviderTokens: ProviderTokens{
			AccessToken: textMember(o, "access_token"),
			TokenType:   textMember(o, "token_type"),
			Scope:       textMember(o, "scope"),
			DPoPKey:     textMember(o, "dpop_key"),
			Expiry:      timeMember(o, "expiry"),
		},
		issued: timeMember(o, "issued"),
	}
}

// keepExchanged adds a token to the record old, which may be none. Others that are over, and the
// first of too many, are left out.
func (k *Keeper) keepExchanged(
	ctx context.Context, id ID, old record, request string, t *ProviderTokens, deadline int64,
) error {
	token := claims.Builder{}.
		Text("access_token", t.AccessToken).
		Text("token_type", t.TokenType).
		Text("scope", t.Scope).
		Text("dpop_key", t.DPoPKey).
		Add("expiry", millis(t.Expiry)).
		Add("issued", millis(time.Now()))
	kept := claims.Object("")
	n := 1
	end := t.Expiry
	for name, v := range claims.Object(old.plaintext).All() {
		if other := decodeExchanged(v); name != request && other.good() && n < maxExchanged {
			kept = kept.With(name, v)
			n++
			if other.Expiry.After(end) {
				end = other.Expiry
			}
		}
	}
	kept = kept.With(request, claims.Object(token).Value())
	times := Times{Deadline: min(end.UnixMilli(), deadline)}
	fresh, err := k.seal(exchangedKind, id, times, []byte(kept))
	if err != nil {
		return err
	}
	if old.sealed == nil {
		return k.create(ctx, fresh)
	}
	return k.swap(ctx, old, fresh)
}
