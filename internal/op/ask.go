package op

import (
	"context"
	"net/http"
	"time"
)

// Answer is what came for a request of [Ask], read to its end.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// askTimeout bounds a request of Ask.
const askTimeout = 10 * time.Second

// Ask makes a request that belongs to no Client, under the same rules: a limit on its time and on
// its answer, no redirects, no cookies. With a transport that is nil, it is made over a new
// connection of the hardened transport. An error quotes nothing of the request or the answer.
func Ask(transport http.RoundTripper, req *http.Request) (Answer, error) {
	ctx, cancel := context.WithTimeout(req.Context(), askTimeout)
	defer cancel()
	if transport == nil {
		own := newTransport(askTimeout, nil)
		defer own.CloseIdleConnections()
		transport = own
	}
	a, err := do(transport, req.WithContext(ctx), metadataLimit)
	if err != nil {
		return Answer{}, networkFault(err)
	}
	return Answer{Status: a.status, Header: a.header, Body: a.body}, nil
}
