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

// fail refuses a login with one event and one page, which have the same reference. No text of the
// page comes from the request or the provider.
func (g *Gate) fail(w http.ResponseWriter, r *http.Request, up *upstream, e *LoginError) {
	e.Reference = newReference()
	g.events.emit(Event{
		Type: EventLoginFailed, Reason: e.Reason, Reference: e.Reference,
		Provider: up.name, Issuer: up.issuer, Status: e.Status, Err: e,
		Detail: errorText(e.Err), Hint: e.Hint,
	})
	switch e.Status {
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", retryAfter)
	case http.StatusMethodNotAllowed:
		w.Header().Set("Allow", "GET")
	}
	title, text := failureText(e)
	g.showPage(w, r, Page{
		Status: e.Status, Title: title, Text: text, Reason: e.Reason, Reference: e.Reference,
		Links: []Link{{g.LoginURL(e.retry), "Log in again"},
			{g.config.siteURL(g.config.Site.DefaultPath), "Back to the site"}},
	})
}

// failureText tells the visitor in one sentence what happened, and in another what to do.
func failureText(e *LoginError) (title, text string) {
	switch {
	case e.text != "":
		return "No access", e.text
	case e.Reason == ReasonStateReplayed:
		return "Already used", "This login was completed earlier, perhaps in this window. " +
			"Go back to the site, or log in again."
	case e.Reason == ReasonStateExpired:
		return "That took too long", "The login began too long ago. Please log in again."
	case e.Reason == ReasonUnknownState || e.Reason == ReasonStateBrowserMismatch:
		return "Login not found", "This login did not begin in this browser, or it is over. " +
			"Please log in again; your browser must accept cookies."
	case e.Reason == ReasonProviderError+"access_denied": // "op_error:access_denied"
		return "Login cancelled", "The login was cancelled, or your account may not use this service."
	case e.Reason == ReasonStoreError:
		return "Please try again", "We cannot complete logins at the moment. Try again shortly."
	case e.Status == http.StatusServiceUnavailable || e.Status == http.StatusGatewayTimeout:
		return "Please try again", "The login service does not answer. Try again shortly."
	case e.Status == http.StatusBadGateway:
		return "Login failed", "The login service gave an answer that we cannot accept. " +
			"If it happens again, tell us the reference."
	}
	return "Login failed", "The login could not be completed. " +
		"Please log in again; if it happens again, tell us the reference."
}

// providerFailure turns an error of internal/op into the failure of a login.
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

func failure(status int, reason Reason, err error) *LoginError {
	return &LoginError{Status: status, Reason: reason, Err: err}
}

func badRequest(reason Reason, err error) *LoginError {
	return failure(http.StatusBadRequest, reason, err)
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return strings.ToValidUTF8(err.Error(), "\uFFFD")
}

// newReference returns a short text that a visitor can read out to the support. It protects
// nothing, so it needs no secure randomness: a login that fails because that is missing has a
// reference too.
func newReference() string {
	return fmt.Sprintf("%010X", rand.Uint64()>>24)
}

func storeFailure(err error) *LoginError {
	return failure(http.StatusServiceUnavailable, ReasonStoreError, err)
}
