package front

import (
	"net/http"

	"github.com/oidcgate/oidcgate/internal/browser"
	"github.com/oidcgate/oidcgate/internal/page"
)

// retryAfter is the number of seconds after which a client may try again after a 503.
const retryAfter = "5"

// maxForm is how many bytes a form may have.
const maxForm = 32 << 10

// Show answers with a page, or with problem+json (RFC 9457) if the client is a script.
func (f *Front) Show(w http.ResponseWriter, r *http.Request, p page.Page) {
	page.Headers(w)
	p = f.Pages.Speak(w, r, p)
	if browser.IsScript(r) {
		f.written(page.Problem(w, p))
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	if p.Form != nil {
		// With no-referrer, browsers post "Origin: null", which the check of the origin refuses.
		h.Set("Referrer-Policy", "same-origin")
	}
	if f.ShowPage != nil && f.ShowPage(w, r, p) {
		return // it has set a Content-Security-Policy that fits its own styles
	}
	f.written(f.Pages.Show(w, p))
}

// written logs that an answer could not be sent. Most often the browser has left.
func (f *Front) written(err error) {
	if err != nil {
		f.Logger.Debug("oidcgate: writing an answer", "err", err)
	}
}

func (f *Front) methodNotAllowed(w http.ResponseWriter, r *http.Request, allow string) {
	w.Header().Set("Allow", allow)
	f.Show(w, r, page.Page{
		Kind: page.KindRefused, Status: http.StatusMethodNotAllowed, Say: page.WrongMethod,
	})
}

// tryLater answers a provider's request that cannot be served now.
func tryLater(w http.ResponseWriter) {
	w.Header().Set("Retry-After", retryAfter)
	w.WriteHeader(http.StatusServiceUnavailable)
}
