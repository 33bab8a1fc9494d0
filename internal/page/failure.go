package page

import (
	"fmt"
	"math/rand/v2"
	"net/http"

	"github.com/oidcgate/oidcgate/internal/event"
)

// LoginFailed tells the visitor in one sentence why a login was refused, and in another what to do.
func LoginFailed(status int, reason event.Reason) (title, text string) {
	switch {
	case reason == event.ReasonStateReplayed:
		return "Already used", "This login was completed earlier, perhaps in this window. " +
			"Go back to the site, or log in again."
	case reason == event.ReasonLinkSession:
		return "Not linked", "You are not signed in as when you began. Log in, then begin again."
	case reason == event.ReasonStateExpired:
		return "That took too long", "The login began too long ago. Please log in again."
	case reason == event.ReasonUnknownState || reason == event.ReasonStateBrowserMismatch:
		return "Login not found", "This login did not begin in this browser, or it is over. " +
			"Please log in again; your browser must accept cookies."
	case reason == event.ReasonStateKeyUnknown:
		return "Login failed", "Your login could not be read where it ended. This is a fault of this " +
			"site; please try again, or tell us the reference."
	case reason == event.ReasonLoopNoCookie:
		return "Your browser keeps no cookie", "You logged in several times, but your browser did not " +
			"keep this site's cookie. Allow cookies for this site, then log in again."
	case reason == event.ReasonLoopKeyUnknown:
		return "You cannot stay signed in", "You logged in several times, and each time your session " +
			"could not be read. This is a fault of this site; please tell us the reference."
	case reason == event.ReasonLoopSessionLost:
		return "You cannot stay signed in", "You logged in several times, and each time your session " +
			"was gone at once. This is a fault of this site; please tell us the reference."
	case reason == event.ReasonAuthTime:
		return "A fresh login is needed", "This page asks for a login just now, and the login service " +
			"did not say that there was one. Log out there first, or tell us the reference."
	case reason == event.ReasonACR:
		return "A stronger login is needed", "This page asks for a stronger login than the login " +
			"service gave. Set up a second factor there, or tell us the reference."
	case reason == event.ReasonProviderError+"access_denied", // "op_error:access_denied"
		reason == event.ReasonProviderError+"consent_required":
		return "Login cancelled", "The login was cancelled, or your account may not use this service."
	case reason == event.ReasonStoreError:
		return "Please try again", "We cannot complete logins at the moment. Try again shortly."
	case isPermanent(reason):
		return "Login failed", "This site and the login service do not fit together. This is no fault " +
			"of yours; please tell us the reference."
	case status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout:
		return "Please try again", "The login service does not answer. Try again shortly."
	case status == http.StatusBadGateway:
		return "Login failed", "The login service gave an answer that we cannot accept. " +
			"If it happens again, tell us the reference."
	}
	return "Login failed", "The login could not be completed. " +
		"Please log in again; if it happens again, tell us the reference."
}

// isPermanent reports whether a login fails until somebody changes the configuration, here or at
// the provider.
func isPermanent(reason event.Reason) bool {
	switch reason {
	case event.ReasonIssuerMismatch, event.ReasonMetadataInvalid, event.ReasonEndpointInvalid,
		event.ReasonPKCEUnsupported, event.ReasonPARMismatch:
		return true
	}
	return false
}

// NewReference returns a short text that a visitor can read out to the support. It protects
// nothing, so it needs no secure randomness: a login that fails because that is missing has a
// reference too.
func NewReference() string { return fmt.Sprintf("%010X", rand.Uint64()>>24) }
