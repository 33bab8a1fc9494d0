// Package browser reads what kind of request a browser makes, and reads and writes cookies. It
// knows neither the gate nor sessions.
//
//	request.go  what kind of request this is: a person who navigates, a form, a script
//	cookie.go   cookies
package browser

import (
	"net/http"
	"strings"
	"time"
)

// IsNavigation reports whether a person opens a page in a browser tab. Browsers say so in
// Sec-Fetch-Mode and Sec-Fetch-Dest (W3C Fetch Metadata). Without them it is a GET that accepts
// HTML and was not made by a script. A request with an access token is none.
func IsNavigation(r *http.Request) bool {
	h := r.Header
	if r.Method != http.MethodGet || h.Get("Upgrade") != "" || isPrefetch(h) || isAPICall(h) {
		return false
	}
	if mode := h.Get("Sec-Fetch-Mode"); mode != "" {
		dest := h.Get("Sec-Fetch-Dest")
		return mode == "navigate" && (dest == "document" || dest == "")
	}
	return takesHTML(h)
}

// AsScript returns r as a script would have sent it: it is neither a navigation nor a form.
func AsScript(r *http.Request) *http.Request {
	r = r.WithContext(r.Context()) // a copy
	r.Header = r.Header.Clone()
	r.Header.Set("Sec-Fetch-Mode", "cors")
	return r
}

// isAPICall reports whether a header says what only a program says: an access token, a body that is
// JSON, or that a script sends it. Browsers send the credentials of HTTP authentication with
// navigations, too, when a proxy in front has asked for them.
func isAPICall(h http.Header) bool {
	if h.Get("X-Requested-With") != "" && h.Get("Sec-Fetch-Mode") == "" {
		return true
	}
	media, _, _ := strings.Cut(strings.ToLower(h.Get("Content-Type")), ";")
	media = strings.TrimSpace(media)
	if media == "application/json" || strings.HasSuffix(media, "+json") {
		return true
	}
	scheme, _, _ := strings.Cut(strings.ToLower(h.Get("Authorization")), " ")
	switch scheme {
	case "":
		return false
	case "basic", "digest", "negotiate", "ntlm":
		return h.Get("Sec-Fetch-Mode") == ""
	}
	return true
}

// WithoutQuery returns r as it would be without a query and without a form.
func WithoutQuery(r *http.Request) *http.Request {
	r = r.WithContext(r.Context()) // a copy
	u := *r.URL
	u.RawQuery, u.ForceQuery = "", false
	r.URL, r.RequestURI, r.Form, r.PostForm = &u, u.RequestURI(), nil, nil
	return r
}

// IsOwn reports whether a page of this origin caused the request, or the visitor alone: by the
// address bar, for example (W3C Fetch Metadata). That a navigation came from a page of this origin
// says little: the page that posts a login's response again is one, and another site may have begun
// the login and chosen where it leads. No script of a page navigates.
//
// A client that says nothing of that must send the header X-Requested-With, with any value: a page
// of another origin can add it only if this one allows that (CORS). Chromium says of a WebSocket
// the page's origin alone.
func IsOwn(r *http.Request, origin string) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "none":
		return true
	case "same-origin":
		return r.Header.Get("Sec-Fetch-Mode") != "navigate" || r.Method == http.MethodPost
	case "":
		webSocket := strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
		return webSocket && r.Header.Get("Origin") == origin || r.Header.Get("X-Requested-With") != ""
	}
	return false
}

// SaysNothing reports whether the client does not say from where the request comes: it is no
// browser, or an old one.
func SaysNothing(r *http.Request) bool { return r.Header.Get("Sec-Fetch-Site") == "" }

// IsCrossSite reports whether a page of another site caused the request (W3C Fetch Metadata).
// Browsers that are older than that never say so.
func IsCrossSite(r *http.Request) bool { return r.Header.Get("Sec-Fetch-Site") == "cross-site" }

func isPrefetch(h http.Header) bool {
	return strings.Contains(h.Get("Sec-Purpose"), "prefetch") ||
		strings.EqualFold(h.Get("Purpose"), "prefetch")
}

// takesHTML reports whether the client may want HTML. A request without an Accept header accepts
// everything (RFC 9110, section 12.5.1), and so does "*/*" alone. "*/*" beside types other than
// HTML comes from a script, or from a browser that loads an image or a stylesheet.
func takesHTML(h http.Header) bool {
	accept := strings.ToLower(strings.Join(h["Accept"], ","))
	media, _, _ := strings.Cut(accept, ";")
	return strings.Contains(accept, "text/html") || strings.Contains(accept, "application/xhtml") ||
		!strings.Contains(accept, ",") && (accept == "" || strings.TrimSpace(media) == "*/*")
}

// IsFormPost reports whether a person submitted a form.
func IsFormPost(r *http.Request) bool {
	if r.Method != http.MethodPost || r.Header.Get("X-Requested-With") != "" {
		return false
	}
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		return mode == "navigate"
	}
	form := strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") ||
		strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/form-data")
	return form && strings.Contains(r.Header.Get("Accept"), "text/html")
}

// IsScript reports whether the client would not show a page to anybody.
func IsScript(r *http.Request) bool {
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		return mode != "navigate"
	}
	return isAPICall(r.Header) || !takesHTML(r.Header)
}

// IsFrame reports whether the browser loads the answer into a frame. Browsers that do not say what
// they load are believed.
func IsFrame(r *http.Request) bool {
	dest := r.Header.Get("Sec-Fetch-Dest")
	return dest == "" || dest == "iframe" || dest == "frame"
}

// formTime is the time in which a form must arrive.
const formTime = 5 * time.Second

// ReadForm reads a form of up to limit bytes that arrives within formTime. A client that sends a
// byte a second cannot hold a connection.
func ReadForm(w http.ResponseWriter, r *http.Request, limit int64) error {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(formTime)) // not every server supports it
	r.Body = http.MaxBytesReader(w, r.Body, limit)
	if err := r.ParseForm(); err != nil {
		return err
	}
	// At a deadline that is still set, the server would cancel the request's context.
	_ = control.SetReadDeadline(time.Time{})
	return nil
}
