// Package arrive reads authorization responses from requests to the callback.
package arrive

import (
	"errors"
	"net/http"

	"github.com/oidcgate/oidcgate/internal/browser"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/op"
	"github.com/oidcgate/oidcgate/internal/page"
)

// Callback is the callback of a provider. Every field is needed.
type Callback struct {
	Channel  op.Channel                 // by which responses come
	MaxBytes int                        // that one may have
	Address  string                     // its own, as the browser sees it
	Back     string                     // the address of the site's default path
	UnderWay func(r *http.Request) bool // whether the browser sent the cookie of any login
	Pages    *page.Pages                // that write a page that posts
}

// Receive returns the authorization response, read from the channel that was agreed and from no
// other. If ok is false, the response is refused with an *[op.Error], or the browser got a page
// that posts it here again.
//
// That page is for a response in the fragment, which browsers do not send to servers, and for one
// that was posted from the provider's site: with such a post browsers send no cookie that is Lax,
// so neither that of the login under way nor that of the session. When our own page posts the same
// response once more, they send both.
func (c Callback) Receive(
	w http.ResponseWriter, r *http.Request,
) (form string, ok bool, err error) {
	switch {
	case c.Channel == op.Query && r.Method == http.MethodGet:
		return r.URL.RawQuery, true, nil
	case c.Channel == op.Query:
		return "", false, otherChannel(w, r, "GET", "if the provider posts its responses, set "+
			"Request.ResponseMode to \"form_post\"")
	case r.URL.RawQuery != "":
		return "", false, otherChannel(w, r, "", "the response, or a part of it, came in the query; is "+
			"Request.ResponseMode what the provider supports for this client?")
	case c.Channel == op.Fragment && r.Method == http.MethodGet:
		c.relay(w, r, page.Relay{FromFragment: true})
		return "", false, nil
	case r.Method != http.MethodPost:
		return "", false, otherChannel(w, r, "POST", "")
	case c.Channel == op.Fragment && browser.IsCrossSite(r):
		return "", false, otherChannel(w, r, "", "if the provider posts its responses, set "+
			"Request.ResponseMode to \"form_post\"")
	}
	return c.receivePost(w, r)
}

func (c Callback) receivePost(
	w http.ResponseWriter, r *http.Request,
) (form string, ok bool, err error) {
	if !op.HasMediaType(r.Header, "application/x-www-form-urlencoded") {
		return "", false, otherChannel(w, r, "", "the body is no form")
	}
	if err := browser.ReadForm(w, r, int64(c.MaxBytes)); err != nil {
		return "", false, &op.Error{
			Reason: event.ReasonResponseInvalid, Status: http.StatusBadRequest, Err: err,
		}
	}
	if !c.UnderWay(r) && !r.PostForm.Has(page.Relayed) {
		c.relay(w, r, page.Relay{Fields: op.ResponseParameters(r.PostForm)})
		return "", false, nil
	}
	return r.PostForm.Encode(), true, nil
}

// relay answers with the page that posts the response.
func (c Callback) relay(w http.ResponseWriter, r *http.Request, p page.Relay) {
	p.Action, p.Back = c.Address, c.Back
	_ = c.Pages.ShowRelay(w, r, p) // fails when the browser has left
}

// otherChannel is the refusal of a response that came by another channel than the agreed one.
// allow is the method that the address takes, if this was another one.
func otherChannel(w http.ResponseWriter, r *http.Request, allow, hint string) *op.Error {
	refused := &op.Error{
		Status: http.StatusBadRequest, Reason: event.ReasonWrongResponseMode, Hint: hint,
		Err: errors.New("the response did not come by the agreed way"),
	}
	if allow != "" {
		w.Header().Set("Allow", allow)
		refused.Status = http.StatusMethodNotAllowed
		refused.Err = errors.New(r.Method + " in place of " + allow)
	}
	return refused
}
