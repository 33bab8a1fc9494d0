package bearer

import (
	"errors"
	"net/http"
	"strings"

	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/op"
	"github.com/oidcgate/oidcgate/internal/page"
)

// Refusal is why a request is not let in, and what its sender is told.
type Refusal struct {
	Status int
	Code   string // of RFC 6750, 3.1 and others; "" where no token was sent, and where none would do
	Scheme string // with which the token came, or ""
	Params string // further parameters of the challenge, each with a comma in front

	Reference string // in the answer, as in the log; "" where a token was refused

	// For the log.
	Reason           event.Reason
	Err              error
	Hint             string
	Provider, Issuer string // "" if it is not known
}

// The codes of RFC 6750, 3.1, RFC 9449, 7.1 and RFC 9470, 3.
const (
	codeInvalidRequest = "invalid_request"
	codeInvalidToken   = "invalid_token"
	codeInvalidProof   = "invalid_dpop_proof"
	codeScope          = "insufficient_scope"
	codeAuthentication = "insufficient_user_authentication"
)

func noToken() *Refusal { return &Refusal{Status: http.StatusUnauthorized} }

func invalidRequest(text string) *Refusal {
	return &Refusal{
		Status: http.StatusBadRequest, Code: codeInvalidRequest,
		Reason: event.ReasonRequest, Err: errors.New(text),
	}
}

func invalidToken(reason event.Reason, text string) *Refusal {
	return &Refusal{
		Status: http.StatusUnauthorized, Code: codeInvalidToken,
		Reason: reason, Err: errors.New(text),
	}
}

func badProof(reason event.Reason, err error) *Refusal {
	return &Refusal{
		Status: http.StatusUnauthorized, Code: codeInvalidProof, Reason: reason, Err: err,
	}
}

func unavailable(reason event.Reason, err error) *Refusal {
	return &Refusal{Status: http.StatusServiceUnavailable, Reason: reason, Err: err}
}

// Scopes is the refusal of a token that lacks one of these scopes, which must be scopes.
func Scopes(scopes []string, reference string) *Refusal {
	return &Refusal{
		Status: http.StatusForbidden, Code: codeScope, Reference: reference,
		Params: `, scope="` + strings.Join(scopes, " ") + `"`,
	}
}

// StepUp is the refusal of a token whose user must log in more strongly or more recently. params
// say what is wanted, each with a comma in front (RFC 9470, 3).
func StepUp(params string) *Refusal {
	return &Refusal{Status: http.StatusUnauthorized, Code: codeAuthentication, Params: params}
}

// Forbidden is the refusal of a good token by a rule that no other token of that user satisfies.
func Forbidden(reference string) *Refusal {
	return &Refusal{Status: http.StatusForbidden, Reference: reference}
}

// texts are what the sender is told: fixed texts, because the cause may quote the token.
var texts = map[string]string{
	codeInvalidRequest: "Send the access token once, in the Authorization header.",
	codeInvalidToken: "The access token is not valid here: it has expired, was revoked, is for " +
		"another service, or is bound to a key or certificate that was not shown.",
	codeInvalidProof:   "The DPoP proof is missing, or not valid for this request.",
	codeScope:          "The access token does not have the scope that this needs.",
	codeAuthentication: "This needs a fresh or a stronger login.",
}

// Answer writes the answer to a refused request, as problem+json (RFC 9457). It never redirects.
func (g *Guard) Answer(w http.ResponseWriter, f *Refusal) error {
	page.Headers(w)
	p := page.Page{Status: f.Status, Title: f.Code, Text: texts[f.Code], Reference: f.Reference}
	switch {
	case f.Status == http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "5")
		p.Title = "Please try again"
		p.Text = "The access token cannot be checked at the moment."
	case f.Status == http.StatusForbidden && f.Code == "":
		p.Title, p.Text = "No access", "The access token is valid, but this is not for its user."
	default:
		w.Header()["Www-Authenticate"] = g.challenges(f)
	}
	if p.Title == "" {
		p.Title, p.Text = "Access token required", "Send an access token in the Authorization header."
	}
	return page.Problem(w, p)
}

// Challenges returns what says in WWW-Authenticate that an access token would do.
func (g *Guard) Challenges() []string { return g.challenges(noToken()) }

// challenges returns one challenge for each scheme (RFC 6750, 3; RFC 9449, 7.1). Only that of the
// scheme that was used has an error. Where no token was sent, none has.
func (g *Guard) challenges(f *Refusal) []string {
	common := ` realm="` + quoted.Replace(g.cfg.Realm) + `"`
	if g.cfg.MetadataURL != "" { // RFC 9728, 5.1
		common += `, resource_metadata="` + quoted.Replace(g.cfg.MetadataURL) + `"`
	}
	failed := ""
	if f.Code != "" {
		failed = `, error="` + f.Code + `"` + f.Params
	}
	bearer, dpop := schemeBearer+common, schemeDPoP+common
	if f.Scheme == schemeDPoP {
		dpop += failed
	} else {
		bearer += failed
	}
	return []string{bearer, dpop + `, algs="` + strings.Join(op.ProofAlgs, " ") + `"`}
}

// quoted writes a text so that it can stand in a quoted string (RFC 9110, 5.6.4).
var quoted = strings.NewReplacer(`\`, `\\`, `"`, `\"`)
