package op

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
)

// Metadata is what we know of the provider (OpenID Connect Discovery, 3): from its document, from
// the configuration, or from both.
type Metadata struct {
	Issuer string
	Endpoints

	// IssParameter says that every authorization response carries iss (RFC 9207, 3).
	IssParameter bool

	// PushedRequired says that the provider takes only pushed authorization requests (RFC 9126, 5).
	PushedRequired bool

	// SignedRequired says that the provider takes only requests in a signed object (RFC 9101, 10.5).
	SignedRequired bool

	// What the provider lists, nil when it does not list it.
	CodeChallengeMethods []string
	SigningAlgs          []string
	TokenAuthMethods     []string
	DPoPAlgs             []string
	PromptValues         []string // Initiating User Registration via OpenID Connect 1.0, 4.1
	ObjectSigningAlgs    []string
	ObjectEncryptionAlgs []string
	ObjectEncryptionEncs []string
}

// reject is the Error for a document that is refused. The browser gets 503, because for a visitor a
// provider that we may not use is down.
func reject(reason event.Reason, text string) *Error {
	e := invalid(reason, text)
	e.Status = http.StatusServiceUnavailable
	e.Hint = "the provider's metadata is not what the configuration expects; " +
		"compare its discovery document"
	return e
}

// otherIssuer is the Error for metadata of an issuer that is not the configured one. The two are
// compared byte for byte (RFC 8414, 3.3). A slash at the end is the commonest difference.
func otherIssuer(announced, configured string) *Error {
	shown, _, _ := strings.Cut(announced, "?") // an issuer has no query, and no log may have one
	shown = shown[:min(len(shown), 200)]
	e := reject(event.ReasonIssuerMismatch,
		fmt.Sprintf("the metadata says issuer %+q, Issuer is %q", shown, configured))
	switch {
	case announced == configured+"/":
		e.Hint = "set Issuer with a slash at its end, as the provider writes it"
	case announced+"/" == configured:
		e.Hint = "set Issuer without the slash at its end, as the provider writes it"
	case strings.Contains(announced, tenantMark):
		e.Hint = "the provider has many tenants here: set Issuer to the address of one tenant, or to " +
			"the issuer with " + tenantMark + ", and Verification.Tenants"
	case announced != "" && announced == shown:
		e.Hint = fmt.Sprintf("if that is your provider, set Issuer to %+q, as it writes it", shown)
	}
	return e
}

// newMetadata checks a discovery document against the configuration.
func newMetadata(doc claims.Object, cfg *Config) (*Metadata, error) {
	m, discovered, err := readMetadata(doc, cfg)
	if err != nil {
		return nil, err
	}
	if m.Issuer != cfg.Issuer {
		return nil, otherIssuer(m.Issuer, cfg.Issuer)
	}
	// Without S256 the provider would accept any verifier for any code. A provider that lists
	// nothing is sent the challenge too, because a server that does not know a parameter ignores
	// it (RFC 6749, 3.1).
	methods := m.CodeChallengeMethods
	if methods != nil && !slices.Contains(methods, "S256") && !cfg.WithoutPKCE {
		return nil, reject(event.ReasonPKCEUnsupported,
			"code_challenge_methods_supported does not list S256")
	}
	if m.Endpoints, err = chooseEndpoints(discovered, cfg); err != nil {
		return nil, err
	}
	if err := m.checkPushed(cfg.Pushed); err != nil {
		return nil, err
	}
	return m, m.checkProfile(cfg)
}

// readMetadata reads a discovery document. Members that security depends on must have their exact
// type: "true" is not true, and a string is not a list of one.
func readMetadata(doc claims.Object, cfg *Config) (*Metadata, Endpoints, error) {
	r := memberReader{doc: doc}
	m := &Metadata{
		Issuer:               r.text("issuer"),
		IssParameter:         r.flag("authorization_response_iss_parameter_supported"),
		PushedRequired:       r.flag("require_pushed_authorization_requests"),
		CodeChallengeMethods: r.list("code_challenge_methods_supported"),
		SigningAlgs:          r.list("id_token_signing_alg_values_supported"),
		TokenAuthMethods:     r.list("token_endpoint_auth_methods_supported"),
		DPoPAlgs:             r.list("dpop_signing_alg_values_supported"),
		PromptValues:         r.list("prompt_values_supported"),
		SignedRequired:       r.flag("require_signed_request_object"),
		ObjectSigningAlgs:    r.list("request_object_signing_alg_values_supported"),
		ObjectEncryptionAlgs: r.list("request_object_encryption_alg_values_supported"),
		ObjectEncryptionEncs: r.list("request_object_encryption_enc_values_supported"),
	}
	discovered := Endpoints{
		Authorization: r.text("authorization_endpoint"),
		Token:         r.text("token_endpoint"),
		Userinfo:      r.text("userinfo_endpoint"),
		JWKS:          r.text("jwks_uri"),
		EndSession:    r.text("end_session_endpoint"),
		Revocation:    r.text("revocation_endpoint"),
		Introspection: r.text("introspection_endpoint"),

		PushedAuthorization: r.text("pushed_authorization_request_endpoint"),
	}
	if cfg.usesCertificate() && r.wrong == "" {
		r.wrong = discovered.aliases(doc)
	}
	if r.wrong != "" {
		return nil, discovered, reject(event.ReasonMetadataInvalid, r.wrong+" has the wrong type")
	}
	return m, discovered, nil
}
