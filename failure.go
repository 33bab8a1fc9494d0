package oidcgate

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/oidcgate/oidcgate/internal/browser"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/op"
	"github.com/oidcgate/oidcgate/internal/page"
)

// fail refuses a login with one event and one page, which have the same reference. No text of the
// page comes from the request or the provider.
func (g *Gate) fail(w http.ResponseWriter, r *http.Request, up *upstream, e *LoginError) {
	e.Reference = page.NewReference()
	g.events.emit(Event{
		Type: EventLoginFailed, Reason: e.Reason, Reference: e.Reference,
		Provider: up.name, Issuer: up.issuer, Status: e.Status, Err: e,
		Detail: errorText(e.Err), Hint: e.Hint,
	})
	if e.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", retryAfter)
	}
	title, text := page.LoginFailed(e.Status, event.Reason(e.Reason))
	if e.text != "" {
		title, text = "No access", e.text
	}
	g.showPage(w, browser.WithoutQuery(r), Page{
		Status: e.Status, Title: title, Text: text, Reason: e.Reason, Reference: e.Reference,
		Links: []Link{{g.LoginURL(e.retry), "Log in again"},
			{g.config.at.Home(), "Back to the site"}},
	})
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
	case e.Code != "" && (e.Stage == op.StageResponse || e.Reason == event.ReasonPARError):
		refused.Err = &ProviderError{Code: e.Code, Description: e.Description}
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

func storeFailure(err error) *LoginError {
	e := failure(http.StatusServiceUnavailable, ReasonStoreError, err)
	e.Hint = hintStore
	return e
}
