package front

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/oidcgate/oidcgate/internal/browser"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/op"
	"github.com/oidcgate/oidcgate/internal/page"
	"github.com/oidcgate/oidcgate/internal/session"
)

// Failure says why a login is refused. It is the Err of the event.
type Failure struct {
	Status    int // the HTTP status answered
	Reason    event.Reason
	Reference string // stands on the page, in the log and in the event
	Hint      string // what an operator can do about it; may be empty
	Err       error  // the cause; may be nil
	Text      string // shown on the page instead of the sentence for Reason; may be empty

	code  string       // the provider's error code; empty if there is none
	user  session.User // who logs in; zero while the provider has not said so
	retry string       // path to which the page leads; empty: the default path
	again string       // address of the same login; empty: it is not known

	signedIn bool // a login would replace the session of the visitor, or may do so

	linking    bool         // it is the failure of a linking
	linkedTo   session.User // who is signed in; zero: nobody
	sessionRef string       // of the session that wants the linking
}

func (f *Failure) Error() string {
	if f.Err == nil {
		return "oidcgate: login refused: " + string(f.Reason)
	}
	return "oidcgate: login refused: " + string(f.Reason) + ": " + f.Err.Error()
}

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

// ProviderError is an error that the provider sent instead of a code or a token.
type ProviderError struct {
	Code        string // a registered code, or "other"
	Description string // for the log alone: anybody who sends visitors a link can write it
}

func (e *ProviderError) Error() string {
	text := "the provider answered with the error " + e.Code
	if e.Description != "" {
		text += ": " + strconv.Quote(e.Description)
	}
	return text
}

// fail refuses a login with one event and one page, which have the same reference. No text of the
// page comes from the request or the provider.
func (f *Front) fail(w http.ResponseWriter, r *http.Request, up *Provider, e *Failure) {
	e.Reference = page.NewReference()
	e.Hint = cmp.Or(e.Hint, event.Cure(event.LoginFailed, e.Reason))
	record := event.Record{
		Type: event.LoginFailed, Reason: e.Reason, Reference: e.Reference,
		Provider: up.Name, Issuer: up.Issuer, Status: e.Status, Err: e,
		Detail: event.Text(e.Err), Hint: e.Hint, SessionRef: e.sessionRef,
	}
	if e.user.Subject != "" {
		record.SubjectHash = f.Keeper.UserRef(e.user)
	}
	if e.linkedTo.Subject != "" {
		record.LinkedTo = f.Keeper.UserRef(e.linkedTo)
	}
	f.Tell(r.Context(), record)
	if e.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", retryAfter)
	}
	say := e.says()
	f.Show(w, browser.WithoutQuery(r), page.Page{
		Kind: page.KindFailed, Status: e.Status, Reason: string(e.Reason), Reference: e.Reference,
		Say: say, Text: e.Text, Links: f.linksAfter(e, say),
	})
}

// says returns what the page says. Of the message that goes with a text of the application, it
// shows the title.
func (e *Failure) says() page.Message {
	say := page.LoginFailed(e.Status, e.Reason, e.code)
	switch {
	case e.linking && !e.signedIn:
		return page.NotLinkedSession
	case e.linking:
		return page.LinkingFailed(say)
	case e.Text != "":
		return page.NoAccess
	case e.signedIn && (say == page.Failed || say == page.FailedUnknown):
		return page.FailedStay
	}
	return say
}

// linksAfter returns where a visitor can go whose login was refused. The first is the best.
func (f *Front) linksAfter(e *Failure, say page.Message) []page.Link {
	plain := f.Site.OwnURL("/login", e.retry)
	back := page.Link{URL: f.backURL(e), Say: page.Back}
	links := []page.Link{{URL: cmp.Or(e.again, plain), Say: page.LogInAgain}, back}
	another := page.Link{URL: f.anotherAccountURL(e.retry, nil), Say: page.AnotherAccount}
	switch {
	case e.linking:
		return f.linksAfterLinking(e, another)
	case e.signedIn:
		return []page.Link{back}
	case say == page.FailedSite:
		links[0].URL = plain // the same login hardly helps
		slices.Reverse(links)
	case say == page.FailedCancelled: // by mistake, or the account may not
		links = slices.Insert(links, 1, another)
	case e.Reason == event.ReasonLogoutWon: // the same account is right
	case e.Status == http.StatusForbidden, e.Reason == event.ReasonClaimRequired:
		// Whoever is logged in at the provider would come back as the same user at once.
		links[0] = another
	}
	return links
}

// backURL returns the address of the site to which a visitor goes back whose login was refused: the
// application's page with other ways to log in, if it has one and the visitor is not signed in.
func (f *Front) backURL(e *Failure) string {
	if f.Site.LoginPage == "" || e.signedIn {
		return f.Site.Home()
	}
	query := url.Values{}
	if e.retry != "" {
		query.Set("return_to", e.retry)
	}
	return f.loginPageURL(query)
}

// linksAfterLinking is linksAfter for a linking.
func (f *Front) linksAfterLinking(e *Failure, another page.Link) []page.Link {
	back := page.Link{URL: f.Site.URL(e.retry), Say: page.Back}
	switch {
	case !e.signedIn:
		return []page.Link{{URL: f.Site.OwnURL("/login", e.retry), Say: page.LogIn}}
	case e.Reason == event.ReasonLinkSession:
		return []page.Link{back, another}
	}
	return []page.Link{back}
}

// providerFailure turns an error of internal/op into the failure of a login.
func providerFailure(err error) *Failure {
	if refused, ok := errors.AsType[*Failure](err); ok {
		return refused
	}
	e, ok := errors.AsType[*op.Error](err)
	if !ok {
		return internalFailure(err)
	}
	refused := &Failure{
		Status: e.Status, Reason: e.Reason, Hint: e.Hint, Err: e, code: e.Code,
		user: session.User{Issuer: e.Issuer, Subject: e.Subject},
	}
	switch {
	case e.Code != "" && (e.Stage == op.StageResponse || e.Reason == event.ReasonPARError):
		refused.Err = &ProviderError{Code: e.Code, Description: e.Description}
	case e.Stage == op.StageResponse && e.Err != nil:
		refused.Err = e.Err
	}
	return refused
}

func badRequest(reason event.Reason, err error) *Failure {
	return &Failure{Status: http.StatusBadRequest, Reason: reason, Err: err}
}

func internalFailure(err error) *Failure {
	return &Failure{Status: http.StatusInternalServerError, Reason: event.ReasonInternal, Err: err}
}

func storeFailure(err error) *Failure {
	return &Failure{Status: http.StatusServiceUnavailable, Reason: event.ReasonStoreError, Err: err}
}
