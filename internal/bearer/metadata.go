package bearer

import (
	"cmp"
	"encoding/json"
	"net/http"
	"path"
	"strings"

	"github.com/oidcgate/oidcgate/internal/op"
)

// WellKnown is the path below which the metadata of an API stands (RFC 9728, 3).
const WellKnown = "/.well-known/oauth-protected-resource"

// ServeMetadata tells clients which providers issue access tokens for this API, and how to send
// them (RFC 9728, 2). Every site may read it: it is the same for everybody.
func (g *Guard) ServeMetadata(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	var issuers []string
	providers := g.cfg.Providers()
	for _, p := range providers {
		// Without ID Tokens its access tokens are opaque, and of several providers none is asked.
		if p.Client.HasIDTokens() || len(providers) == 1 {
			issuers = append(issuers, p.Issuer)
		}
	}
	doc := map[string]any{
		"resource":                          g.cfg.Audience[0],
		"bearer_methods_supported":          []string{"header"},
		"dpop_signing_alg_values_supported": op.ProofAlgs,
	}
	if len(issuers) > 0 { // an empty list is left out (RFC 9728, 3.2)
		doc["authorization_servers"] = issuers
	}
	body, _ := json.Marshal(doc) // strings only: cannot fail
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "public, max-age=300")
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusOK)       // that of gin is 404, where it has no route
	_, _ = w.Write(append(body, '\n')) // an error means that the client has left
}

// MetadataPath returns the path of the metadata of an API below base, the address of this service
// without a slash at its end: the well-known path and what follows base in the API's URL. It is ""
// if the API is not at or below base, or its URL has a query.
func MetadataPath(api, base string) string {
	rest, ok := strings.CutPrefix(api, base)
	if !ok || strings.ContainsAny(rest, "?#%") ||
		path.Clean("/"+rest) != cmp.Or(strings.TrimSuffix(rest, "/"), "/") {
		return ""
	}
	return WellKnown + strings.TrimSuffix(rest, "/")
}
