package oidcgate

import (
	"errors"
	"net/http"

	"github.com/oidcgate/oidcgate/internal/browser"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/op"
	"github.com/oidcgate/oidcgate/internal/page"
)

// receive returns the authorization response, read from the channel that was agreed and from no
// other. If ok is false, the response is refused, or the browser got a page that posts it here
// again.
//
// That page is for a response in the fragment, which browsers do not send to servers, and for one
// that was posted from the provider's site: with such a post browsers send no cookie that is Lax,
// so neither that of the login under way nor that of the session. When our own page posts the same
// response once more, they send both.
func (g *Gate) receive(
	w http.ResponseWriter, r *http.Request, up *upstream,
) (form string, ok bool, refused *LoginError) {
	method, channel := r.Method, up.client.Channel()
	switch {
	case channel == op.Query && method == http.MethodGet:
		return r.URL.RawQuery, true, nil
	case channel == op.Query:
		return "", false, otherChannel(w, r, "GET", "if the provider posts its responses, set "+
			"Request.ResponseMode to \"form_post\"")
	case r.URL.RawQuery != "":
		return "", false, otherChannel(w, r, "", "the response, or a part of it, came in the query; is "+
			"Request.ResponseMode what the provider supports for this client?")
	case channel == op.Fragment && method == http.MethodGet:
		g.relay(w, r, page.Relay{FromFragment: true})
		return "", false, nil
	case method != http.MethodPost:
		return "", false, otherChannel(w, r, "POST", "")
	case channel == op.Fragment && browser.IsCrossSite(r):
		return "", false, otherChannel(w, r, "", "if the provider posts its responses, set "+
			"Request.ResponseMode to \"form_post\"")
	}
	return g.receivePost(w, r, up)
}

func (g *Gate) receivePost(
	w http.ResponseWriter, r *http.Request, up *upstream,
) (form string, ok bool, refused *LoginError) {
	if !op.HasMediaType(r.Header, "application/x-www-form-urlencoded") {
		return "", false, otherChannel(w, r, "", "the body is no form")
	}
	if err := parseForm(w, r, int64(up.client.MaxResponse())); err != nil {
		return "", false, badRequest(Reason(event.ReasonResponseInvalid), err)
	}
	fields := r.PostForm
	if !g.attempts.Any(r) && !fields.Has(page.Relayed) {
		g.relay(w, r, page.Relay{Fields: op.ResponseParameters(fields)})
		return "", false, nil
	}
	return fields.Encode(), true, nil
}

// relay answers with the page that posts the response.
func (g *Gate) relay(w http.ResponseWriter, r *http.Request, p page.Relay) {
	p.Action = r.URL.Path
	p.Login = g.LoginURL("")
	g.written(page.ShowRelay(w, p))
}

// otherChannel is the refusal of a response that came by another channel than the agreed one.
// allow is the method that the address takes, if this was another one.
func otherChannel(w http.ResponseWriter, r *http.Request, allow, hint string) *LoginError {
	refused := &LoginError{
		Status: http.StatusBadRequest, Reason: Reason(event.ReasonWrongResponseMode), Hint: hint,
		Err: errors.New("the response did not come by the agreed way"),
	}
	if allow != "" {
		w.Header().Set("Allow", allow)
		refused.Status = http.StatusMethodNotAllowed
		refused.Err = errors.New(r.Method + " in place of " + allow)
	}
	return refused
}
