package browser_test

import (
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
)

// listen records the events of a tab that the tests need.
func (v *tab) listen(event any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		if e.Type == network.ResourceTypeDocument {
			v.requests[e.RequestID] = e.Request.URL
			v.visited = append(v.visited, e.Request.URL)
		}
	case *network.EventResponseReceivedExtraInfo:
		for _, c := range e.BlockedCookies {
			v.complain("cookie not taken, %v: %s", c.BlockedReasons, c.CookieLine)
		}
	case *network.EventLoadingFailed:
		if address, ok := v.requests[e.RequestID]; ok && e.BlockedReason != "" {
			v.refused = append(v.refused, address)
		}
	case *runtime.EventExceptionThrown:
		v.complain("exception: %s", e.ExceptionDetails.Text)
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError {
			v.complain("console.error at %v", e.StackTrace)
		}
	case *log.EventEntryAdded:
		v.listenLog(e.Entry)
	}
}

// listenLog records errors of the browser's log, except those for responses with an error status,
// which the tests check themselves.
func (v *tab) listenLog(e *log.Entry) {
	if e.Level == log.EntryLevelError && e.Source != log.EntrySourceNetwork {
		v.complain("%s: %s (%s)", e.Source, e.Text, e.URL)
	}
}
