package front

import (
	"net/http"

	"github.com/oidcgate/oidcgate/internal/page"
)

// serveClientKeys serves the public halves of a client's keys (RFC 7517, section 5).
func (f *Front) serveClientKeys(w http.ResponseWriter, r *http.Request, up *Provider) {
	page.Headers(w)
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		f.methodNotAllowed(w, r, "GET, HEAD")
		return
	}
	keys, err := up.Client.PublicKeys(r.Context())
	if err != nil {
		f.Logger.WarnContext(r.Context(), "oidcgate: serving the client's keys", "err", err)
		http.Error(w, "the keys are not available", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/jwk-set+json")
	w.Header().Set("Cache-Control", "public, max-age=300")
	w.WriteHeader(http.StatusOK) // that of gin is 404, where it has no route
	_, err = w.Write(keys)
	f.written(err)
}
