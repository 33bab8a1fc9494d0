package session

import (
	"context"
	"crypto/sha256"
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
// one that it got before for the same request, while that is good. Calls for the same token share
// one exchange, and its error for five seconds. The tokens lie in a record of their own: a refresh
// that is under way must find the record of the session's tokens as it was. It is deleted with them
// when the session ends. What an exchange that is under way then leaves ends by itself: it can be
// read with the session's tokens only. It fails like [Keeper.Token], and with the error of
// exchange.
func (k *Keeper) Exchanged(
	ctx context.Context, s *Session, request string,
	exchange func(context.Context, *ProviderTokens) (*ProviderTokens, error),
) (*ProviderTokens, error) {
	t, err := k.Token(ctx, s)
	if err != nil {
		return nil, err
	}
	subject := subjectToken{
		ProviderTokens: &t.ProviderTokens, who: asker{s.Identity.User(), s.Identity.Provider},
		deadline: t.record.times.Deadline,
	}
	return k.exchangedFor(ctx, exchangeOf{id: s.ID, request: request}, subject, exchange)
}

// Sent is an access token that a caller sent: of which user and provider.
type Sent struct {
	User
	Provider string
	Token    string
}

// ExchangedSent is [Keeper.Exchanged] for an access token that a caller sent. What it was exchanged
// for stays in this process.
func (k *Keeper) ExchangedSent(
	ctx context.Context, s Sent, request string,
	exchange func(context.Context, *ProviderTokens) (*ProviderTokens, error),
) (*ProviderTokens, error) {
	sum := sha256.Sum256([]byte(s.Token))
	subject := subjectToken{
		ProviderTokens: &ProviderTokens{AccessToken: s.Token}, who: asker{s.User, s.Provider},
	}
	of := exchangeOf{id: ID(sum[:]), request: request, sent: true}
	return k.exchangedFor(ctx, of, subject, exchange)
}

// subjectToken is the token that is exchanged.
type subjectToken struct {
	*ProviderTokens
	who      asker
	deadline int64 // of its session; zero for a caller's token
}

func (k *Keeper) exchangedFor(
	ctx context.Context, of exchangeOf, t subjectToken,
	exchange func(context.Context, *ProviderTokens) (*ProviderTokens, error),
) (*ProviderTokens, error) {
	x, begun := k.exchanges.start(of)
	if begun {
		ctx, cancel := Within(context.WithoutCancel(ctx), k.exchangeTimeout())
		// Like a refresh it ends when its time is over, also while something does not return.
		hung := time.AfterFunc(2*k.exchangeTimeout(), func() {
			k.exchanges.end(of, x, exchangeResult{err: errExchangeHung})
		})
		go func() {
			defer cancel()
			defer hung.Stop()
			got := exchangeResult{err: errExchangePanicked} // if the goroutine ends in between
			defer func() { k.exchanges.end(of, x, got) }()
			defer k.recovered(ctx, "a token exchange", func() { got.err = errExchangePanicked })
			got.token, got.err = k.exchanged(ctx, of, t, func() (*ProviderTokens, error) {
				leave, err := k.takeExchangePlace(ctx, t.who)
				if err != nil {
					return nil, err
				}
				defer leave()
				token, err := exchange(ctx, t.ProviderTokens)
				got.refused = err != nil
				return token, err
			})
		}()
	}
	select {
	case <-x.done:
		return x.token, x.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// exchanged returns a token that is kept, or exchanges one and keeps it.
func (k *Keeper) exchanged(
	ctx context.Context, of exchangeOf, t subjectToken, exchange func() (*ProviderTokens, error),
) (*ProviderTokens, error) {
	if of.sent {
		return exchange()
	}
	r, err := k.read(ctx, exchangedKind, of.id)
	if err != nil && !errors.Is(err, ErrGone) {
		return nil, err
	}
	all := claims.Object(r.plaintext)
	v, _ := all.Get(of.request)
	if kept := decodeExchanged(v); kept.good() { // without an end, none is
		return &kept.ProviderTokens, nil
	}
	fresh, err := exchange()
	if err != nil {
		return nil, err
	}
	if !fresh.Expiry.IsZero() {
		k.keepExchanged(ctx, of, r, fresh, t.deadline)
	}
	return fresh, nil
}

// exchangeTimeout is the time of an exchange with its wait for a place.
func (k *Keeper) exchangeTimeout() time.Duration { return 3 * k.limits.ProviderTimeout }

// takeExchangePlace waits for a place among those who exchange tokens at a provider. The places are
// others than those of refreshes: a provider that is slow at exchanges holds up nothing else.
func (k *Keeper) takeExchangePlace(ctx context.Context, who asker) (leave func(), _ error) {
	leave, err := k.exchanges.places.take(ctx, who, 2*k.exchangeTimeout())
	if err != nil {
		return nil, errExchangesWait
	}
	return leave, nil
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

// keepExchanged adds a token to the record old, which may be none. It becomes the first of them.
// Left out are those that are over, such as an earlier one for the same request, and the oldest of
// too many. It is best effort: whoever fails to keep a token asks again the next time. Others may
// keep theirs at the same moment.
func (k *Keeper) keepExchanged(
	ctx context.Context, of exchangeOf, old record, t *ProviderTokens, deadline int64,
) {
	token := claims.Builder{}.
		Text("access_token", t.AccessToken).
		Text("token_type", t.TokenType).
		Text("scope", t.Scope).
		Text("dpop_key", t.DPoPKey).
		Add("expiry", millis(t.Expiry)).
		Add("issued", millis(time.Now()))
	for range maxExchanged {
		err := k.addExchanged(ctx, of, old, claims.Object(token), t.Expiry, deadline)
		if !errors.Is(err, errChanged) {
			return
		}
		if old, err = k.read(ctx, exchangedKind, of.id); err != nil {
			return
		}
	}
}

// addExchanged is one try of keepExchanged, with a token that ends at end.
func (k *Keeper) addExchanged(
	ctx context.Context, of exchangeOf, old record, token claims.Object, end time.Time, deadline int64,
) error {
	kept := claims.Object("").With(of.request, token.Value())
	n := 1
	for name, v := range claims.Object(old.plaintext).All() {
		if other := decodeExchanged(v); other.good() && n < maxExchanged {
			kept = kept.With(name, v)
			n++
			if other.Expiry.After(end) {
				end = other.Expiry
			}
		}
	}
	times := Times{Deadline: min(end.UnixMilli(), deadline)}
	fresh, err := k.seal(exchangedKind, of.id, times, []byte(kept))
	switch {
	case err != nil:
		return err
	case old.sealed == nil:
		return k.create(ctx, fresh)
	}
	return k.swap(ctx, old, fresh)
}
