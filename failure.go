package oidcgate

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"

	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/op"
)

// fail refuses a login: one event, one page, one reference for both. The page has only the gate's own words.
func (g *Gate) fail(w http.ResponseWriter, r *http.Request, up *upstream, e *LoginError) {
	e.Reference = newReference()
	g.events.emit(Event{
		Type: EventLoginFailed, Reason: e.Reason, Reference: e.Reference, Provider: up.name, Issuer: up.issuer,
		Status: e.Status, Err: e, Detail: errorText(e.Err), Hint: e.Hint,
	})
	if e.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", retryAfter)
	}
	if e.Status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", "GET")
	}
	title, text := failureText(e)
	g.showPage(w, r, Page{
		Status: e.Status, Title: title, Text: text, Reason: e.Reason, Reference: e.Reference,
		Links: []Link{{g.LoginURL(e.retry), "Log in again"}, {g.siteURL(g.config.Site.DefaultPath), "Back to the site"}},
	})
}

// failureText says to the visitor what happened, in one sentence, and what to do, in another.
func failureText(e *LoginError) (title, text string) {
	switch {
	case e.text != "":
		return "No access", e.text
	case e.Reason == ReasonStateReplayed:
		return "Already used", "This login was finished before, perhaps in this very window. Go back to the site, or log in again."
	case e.Reason == ReasonStateExpired:
		return "That took too long", "The login was begun too long ago. Please log in again."
	case e.Reason == ReasonUnknownState || e.Reason == ReasonStateBrowserMismatch:
		return "Login not found", "This login was not begun in this browser, or it is over. Please log in again; your browser must accept cookies."
	case e.Reason == ReasonProviderError+"access_denied":
		return "Login cancelled", "The login was cancelled, or your account may not use this service."
	case e.Reason == ReasonStoreError:
		return "Please try again", "We cannot complete logins at the moment. Try again shortly."
	case e.Status == http.StatusServiceUnavailable || e.Status == http.StatusGatewayTimeout:
		return "Please try again", "The login service does not answer at the moment. Try again shortly."
	case e.Status == http.StatusBadGateway:
		return "Login failed", "The login service gave an answer that we cannot accept. If it happens again, tell us the reference."
	}
	return "Login failed", "The login could not be completed. Please log in again; if it happens again, tell us the reference."
}

// providerFailure turns what internal/op found wrong into what is answered and logged.
func providerFailure(err error) *LoginError {
	if refused, ok := errors.AsType[*LoginError](err); ok {
		return refused
	}
	e, ok := errors.AsType[*op.Error](err)
	if !ok {
		e = &op.Error{
			Reason: event.ReasonProviderUnreachable, Status: http.StatusServiceUnavailable, Err: err,
		}
		if errors.Is(err, context.DeadlineExceeded) {
			e.Status = http.StatusGatewayTimeout
		}
	}
	refused := &LoginError{Status: e.Status, Reason: Reason(e.Reason), Hint: e.Hint, Err: e}
	switch {
	case e.Stage == op.StageResponse && e.Code != "":
		refused.Err = &ProviderError{Code: e.Code}
	case e.Stage == op.StageResponse && e.Err != nil:
		refused.Err = e.Err
	}
	return refused
}

// badRequest is the failure of a login by what the browser brought.
func badRequest(reason Reason, err error) *LoginError {
	return &LoginError{Status: http.StatusBadRequest, Reason: reason, Err: err}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return strings.ToValidUTF8(err.Error(), "\uFFFD")
}

// newReference is a short text a visitor can read out to the support. It guards nothing, and a login that fails
// for want of good randomness has one too.
func newReference() string {
	return fmt.Sprintf("%010X", rand.Uint64()>>24)
}

// storeFailure is the failure of a login for want of the store.
func storeFailure(err error) *LoginError {
	return &LoginError{Status: http.StatusServiceUnavailable, Reason: ReasonStoreError, Err: err}
}
