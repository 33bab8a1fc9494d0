package browser_test

import (
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
)

// listen keeps what the tests ask for of a tab's events.
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

// listenLog keeps errors of the browser's log. An answer with an error status is one there, too, and is the
// test's own to judge.
func (v *tab) listenLog(e *log.Entry) {
	if e.Level == log.EntryLevelError && e.Source != log.EntrySourceNetwork {
		v.complain("%s: %s (%s)", e.Source, e.Text, e.URL)
	}
}
