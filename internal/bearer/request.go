package bearer

import (
	"errors"
	"net/http"
	"strings"

	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/op"
)

const (
	schemeBearer = "Bearer"
	schemeDPoP   = "DPoP"
)

// credentials are what a request shows.
type credentials struct {
	scheme string
	token  string
	proof  string // with DPoP
}

// Presented reports whether a request brings an access token in its Authorization header, good or
// not. Credentials of other schemes, such as those that a proxy asked for, are none.
func Presented(r *http.Request) bool {
	for _, header := range r.Header["Authorization"] {
		if scheme, _ := cut(header); scheme != "" {
			return true
		}
	}
	return false
}

// cut splits an Authorization header. scheme is "" if it is not one of access tokens.
func cut(header string) (scheme, token string) {
	name, token, _ := strings.Cut(header, " ")
	for _, scheme := range []string{schemeBearer, schemeDPoP} {
		if strings.EqualFold(name, scheme) {
			return scheme, strings.TrimLeft(token, " ")
		}
	}
	return "", ""
}

// read returns the access token of a request. It is taken from the Authorization header alone: an
// address stands in logs, and a form can be posted by any site (RFC 6750, 2; RFC 9700, 4.3.2). Two
// tokens are refused, because the next reader may take the other one.
func read(r *http.Request) (credentials, *Refusal) {
	headers := r.Header["Authorization"]
	switch {
	case r.URL.Query().Has("access_token"):
		return credentials{}, invalidRequest("the access token stands in the query")
	case r.PostForm.Has("access_token"):
		return credentials{}, invalidRequest("the access token stands in the form")
	case len(headers) == 0:
		return credentials{}, noToken()
	case len(headers) > 1:
		return credentials{}, invalidRequest("there are several Authorization headers")
	}
	scheme, token := cut(headers[0])
	if scheme == "" {
		return credentials{}, noToken()
	}
	shown := credentials{scheme: scheme, token: token}
	var refusal *Refusal
	switch {
	case len(token) > op.MaxAccessToken:
		refusal = invalidToken(event.ReasonRequest, "the access token is too long")
	case !isB64Token(token):
		refusal = invalidRequest("the Authorization header has no access token, or a malformed one")
	case scheme == schemeDPoP:
		proofs := r.Header["Dpop"]
		if len(proofs) != 1 {
			refusal = badProof(event.ReasonProof, errors.New("there is not exactly one DPoP header"))
			break
		}
		shown.proof = proofs[0]
	}
	if refusal != nil {
		refusal.Scheme = scheme
	}
	return shown, refusal
}

// isB64Token reports whether s has the syntax of a token (RFC 6750, 2.1).
func isB64Token(s string) bool {
	s = strings.TrimRight(s, "=")
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && !('0' <= c && c <= '9') && strings.IndexByte("-._~+/", c) < 0 {
			return false
		}
	}
	return s != ""
}
