package op

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/oidcgate/oidcgate/internal/event"
)

// bulkhead is how many logins may talk to the provider, or wait for its metadata, at once.
const bulkhead = 64

// patience is how long a login waits for one of the others to finish.
const patience = time.Second

// decryptions is how many tokens that strangers can send are decrypted at once: encrypted
// responses, the ID Tokens in responses, and logout tokens. Whoever floods a service with them
// keeps so many processors busy at most, and does not delay the tokens that come from the provider
// itself.
const decryptions = 4

// introspections is how many access tokens the provider is asked about at once. Anybody can send
// tokens that it does not know, so those that it issued have as many places of their own.
const introspections = 64

// acquire waits until a login may talk to the provider.
func (c *Client) acquire(ctx context.Context) (release func(), err error) {
	return take(ctx, c.slots)
}

// take waits until one of the slots is free. The caller calls release when done. When no slot
// becomes free in time it fails with an *Error of status 503.
//
// Who has a slot goes on without the caller's context: a request that was sent is not cancelled
// when the browser leaves. Over HTTP/2 a provider closes a connection on which too many requests
// are cancelled (CVE-2023-44487), and with it those of other visitors. And a request that the
// provider still works on keeps its slot.
func take(ctx context.Context, slots chan struct{}) (release func(), err error) {
	release = sync.OnceFunc(func() { <-slots })
	select {
	case slots <- struct{}{}:
		return release, nil
	default:
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case slots <- struct{}{}:
		return release, nil
	case <-timer.C:
		return nil, busy(&fault{text: "too many logins wait for the provider"})
	case <-ctx.Done():
		return nil, busy(networkFault(ctx.Err()))
	}
}

func busy(err error) *Error {
	return &Error{
		Reason: event.ReasonProviderBusy,
		Status: http.StatusServiceUnavailable,
		Hint:   "the provider answers too slowly for the number of logins",
		Err:    err,
	}
}
