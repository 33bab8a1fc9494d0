package session

import (
	"fmt"
	"sync"
	"time"
)

const (
	// exchangePause is for how long the error of an exchange is the answer to further calls.
	exchangePause = 5 * time.Second

	// maxFailedExchanges is how many errors are remembered, and maxSentExchanges how many tokens that
	// tokens of callers were exchanged for. The store keeps none of these: providers may issue any
	// number, and would fill it.
	maxFailedExchanges = 4096
	maxSentExchanges   = 1024
)

// exchangeOf names an exchange: a session, or a caller's token, and the token that it is to get.
type exchangeOf struct {
	id      ID // of the session, or what stands for the caller's token
	request string
	sent    bool // it is a caller's token
}

// exchanges are the token exchanges under way in this process, those that failed just now, and
// those of tokens that callers sent.
type exchanges struct {
	mu      sync.Mutex
	running map[exchangeOf]*exchangeFlight
	failed  map[exchangeOf]*exchangeFlight
	sent    map[exchangeOf]*exchangeFlight
	places  places // others than those of refreshes
}

// exchangeFlight is one exchange. Its result may be read when done is closed.
type exchangeFlight struct {
	done chan struct{}
	exchangeResult
	ended time.Time
}

// exchangeResult is what came of an exchange.
type exchangeResult struct {
	token   *ProviderTokens
	err     error
	refused bool // err is that of the exchange itself
}

var (
	errExchangePanicked = fmt.Errorf("%w: the token exchange panicked", ErrProvider)
	errExchangeHung     = fmt.Errorf("%w: the token exchange did not end", ErrProvider)
	errExchangesWait    = fmt.Errorf("%w: too many token exchanges wait for it", ErrProvider)
)

func newExchanges() exchanges {
	return exchanges{
		running: map[exchangeOf]*exchangeFlight{}, failed: map[exchangeOf]*exchangeFlight{},
		sent: map[exchangeOf]*exchangeFlight{}, places: newPlaces(),
	}
}

// start makes room for an exchange, or returns the one that is under way or has failed just now, or
// whose token is still good.
func (e *exchanges) start(of exchangeOf) (_ *exchangeFlight, begun bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if x := e.running[of]; x != nil {
		return x, false
	}
	if x := e.failed[of]; x != nil {
		if time.Since(x.ended) < exchangePause {
			return x, false
		}
		delete(e.failed, of)
	}
	if x := e.sent[of]; x != nil {
		if (&exchanged{*x.token, x.ended}).good() {
			return x, false
		}
		delete(e.sent, of)
	}
	x := &exchangeFlight{done: make(chan struct{})}
	e.running[of] = x
	return x, true
}

// end lets those go on who wait for an exchange, with what came of it. Only the first call counts.
func (e *exchanges) end(of exchangeOf, x *exchangeFlight, got exchangeResult) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.running[of] != x {
		return
	}
	delete(e.running, of)
	x.exchangeResult, x.ended = got, time.Now()
	switch {
	case x.refused:
		remember(e.failed, of, x, maxFailedExchanges)
	case of.sent && x.token != nil && !x.token.Expiry.IsZero():
		remember(e.sent, of, x, maxSentExchanges)
	}
	close(x.done)
}

// remember adds an exchange to those of which so many are remembered. Any other gives way: to look
// for one that is over would cost more than it saves.
func remember(all map[exchangeOf]*exchangeFlight, of exchangeOf, x *exchangeFlight, most int) {
	for other := range all {
		if len(all) < most {
			break
		}
		delete(all, other)
	}
	all[of] = x
}
