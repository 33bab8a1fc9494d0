package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/oidcgate/oidcgate/internal/event"
)

// How many requests one process has under way at one endpoint for sessions that are refreshed: of
// one provider, and for one user. Each provider has places of its own, so that one that hangs holds
// up no tokens of another, and each endpoint, so that one that hangs does not hold up the other. A
// user has a few of them, so that an account with many sessions holds up nobody else.
const (
	providerPlaces = 32
	userPlaces     = 4
)

// endpointPlaces are those at the endpoints that a refresh asks.
type endpointPlaces struct{ token, userinfo places }

func newEndpointPlaces() endpointPlaces { return endpointPlaces{newPlaces(), newPlaces()} }

// places are for those who ask the providers at one endpoint.
type places struct {
	mu     sync.Mutex
	asking map[asker]*queue
}

func newPlaces() places { return places{asking: map[asker]*queue{}} }

// asker is a user of a provider, or all users of it when User is zero.
type asker struct {
	User
	provider string
}

// queue are the places of an asker.
type queue struct {
	taken chan struct{}
	users int // how many have or want a place; guarded by places.mu
}

// errOwnPlaces is the error of who waited in vain for a place of the user.
var errOwnPlaces = errors.New("other sessions of this user have all the places of one user")

// take waits for a place of the user, and then for one at the provider. A place is given back after
// most, also when the caller does not leave it: a function of the application, or a transport, may
// never return.
func (p *places) take(
	ctx context.Context, a asker, most time.Duration,
) (leave func(), _ error) {
	leaveUser, err := p.enter(ctx, a, userPlaces)
	if err != nil {
		return nil, errOwnPlaces
	}
	leaveProvider, err := p.enter(ctx, asker{provider: a.provider}, providerPlaces)
	if err != nil {
		leaveUser()
		return nil, err
	}
	both := sync.OnceFunc(func() { leaveProvider(); leaveUser() })
	hung := time.AfterFunc(most, both)
	return func() { hung.Stop(); both() }, nil
}

// enter waits for one of n places.
func (p *places) enter(ctx context.Context, a asker, n int) (leave func(), _ error) {
	q := p.queue(a, n)
	select {
	case q.taken <- struct{}{}:
		return func() { <-q.taken; p.release(a, q) }, nil
	case <-ctx.Done():
		p.release(a, q)
		return nil, ctx.Err()
	}
}

// queue returns the places of an asker. They are forgotten when nobody has or wants one.
func (p *places) queue(a asker, n int) *queue {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := p.asking[a]
	if q == nil {
		q = &queue{taken: make(chan struct{}, n)}
		p.asking[a] = q
	}
	q.users++
	return q
}

func (p *places) release(a asker, q *queue) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if q.users--; q.users == 0 {
		delete(p.asking, a)
	}
}

// placeAtUserinfo waits for a place among those who ask for userinfo, as long as for an answer.
// Where the user's own sessions have the places of one user, the provider is not to blame: a user
// who keeps them full would keep the old claims of one session.
func (r *refresh) placeAtUserinfo(ctx context.Context) (leave func(), _ error) {
	ctx, cancel := Within(ctx, r.k.limits.ProviderTimeout)
	defer cancel()
	leave, err := r.takePlace(ctx, &r.k.places.userinfo)
	if err != nil {
		f := busy(err)
		f.Alone = err == errOwnPlaces
		return nil, f
	}
	return leave, nil
}

// takePlace waits for a place among those who ask the provider at an endpoint.
func (r *refresh) takePlace(ctx context.Context, at *places) (leave func(), _ error) {
	return at.take(ctx, r.asker(), r.timeout())
}

// busy is the failure of who found no place in time.
func busy(err error) *Failure {
	return &Failure{
		Reason: event.ReasonProviderBusy, Err: fmt.Errorf("no place was free in time: %w", err),
	}
}

func (r *refresh) asker() asker {
	id := &r.s.Identity
	return asker{id.User(), id.Provider}
}
