package registration

import (
	"encoding/json"
	"maps"
	"reflect"
	"strings"
)

// Metadata says what a client is (RFC 7591, section 2; OpenID Connect Dynamic Client Registration
// 1.0, section 2). What is zero is not sent, and the provider chooses. RedirectURIs are required
// for logins. For a gate they are BaseURL + "/auth/callback", with "/NAME" behind it if the
// Provider has a Name; the other addresses have the same form.
type Metadata struct {
	RedirectURIs  []string `json:"redirect_uris,omitempty"`
	ClientName    string   `json:"client_name,omitempty"`
	ClientURI     string   `json:"client_uri,omitempty"`
	LogoURI       string   `json:"logo_uri,omitempty"`
	PolicyURI     string   `json:"policy_uri,omitempty"`
	TermsURI      string   `json:"tos_uri,omitempty"`
	Contacts      []string `json:"contacts,omitempty"`
	Scope         string   `json:"scope,omitempty"` // separated by spaces
	ResponseTypes []string `json:"response_types,omitempty"`
	GrantTypes    []string `json:"grant_types,omitempty"`

	ApplicationType string `json:"application_type,omitempty"` // "web" or "native"
	SubjectType     string `json:"subject_type,omitempty"`     // "public" or "pairwise"

	// SectorIdentifierURI lists all redirect URIs of clients that share pairwise subjects.
	SectorIdentifierURI string `json:"sector_identifier_uri,omitempty"`

	// TokenEndpointAuthMethod is how the client authenticates: "client_secret_basic",
	// "client_secret_post", "client_secret_jwt", "private_key_jwt", "tls_client_auth",
	// "self_signed_tls_client_auth" or "none". If empty, providers take "client_secret_basic".
	TokenEndpointAuthMethod string `json:"token_endpoint_auth_method,omitempty"`

	// JWKSURI is where the client's public keys are (a gate has them at BaseURL + "/auth/jwks"), or
	// JWKS has them; not both.
	JWKSURI string          `json:"jwks_uri,omitempty"`
	JWKS    json.RawMessage `json:"jwks,omitempty"`

	// The algorithms of tokens, such as "ES256".
	IDTokenSigningAlg        string `json:"id_token_signed_response_alg,omitempty"`
	IDTokenEncryptionAlg     string `json:"id_token_encrypted_response_alg,omitempty"`
	UserinfoSigningAlg       string `json:"userinfo_signed_response_alg,omitempty"`
	RequestObjectSigningAlg  string `json:"request_object_signing_alg,omitempty"`
	TokenEndpointSigningAlg  string `json:"token_endpoint_auth_signing_alg,omitempty"`
	AuthorizationSigningAlg  string `json:"authorization_signed_response_alg,omitempty"` // JARM
	RequirePushedRequests    bool   `json:"require_pushed_authorization_requests,omitempty"`
	DPoPBoundAccessTokens    bool   `json:"dpop_bound_access_tokens,omitempty"`
	CertificateBoundTokens   bool   `json:"tls_client_certificate_bound_access_tokens,omitempty"`
	InitiateLoginURI         string `json:"initiate_login_uri,omitempty"`
	BackchannelLogoutURI     string `json:"backchannel_logout_uri,omitempty"`
	BackchannelLogoutSession bool   `json:"backchannel_logout_session_required,omitempty"`

	FrontchannelLogoutURI     string `json:"frontchannel_logout_uri,omitempty"`
	FrontchannelLogoutSession bool   `json:"frontchannel_logout_session_required,omitempty"`

	PostLogoutRedirectURIs []string `json:"post_logout_redirect_uris,omitempty"`

	// SoftwareStatement is a JWT that vouches for these values (RFC 7591, section 2.3).
	SoftwareID        string `json:"software_id,omitempty"`
	SoftwareVersion   string `json:"software_version,omitempty"`
	SoftwareStatement string `json:"software_statement,omitempty"`

	// Extra are members that have no field here, such as "client_name#fr". Of an answer it also has
	// those that are of another type than their field. A field wins over a member of the same name.
	Extra map[string]json.RawMessage `json:"-"`
}

// plain is Metadata without its methods.
type plain Metadata

// MarshalJSON returns the members of the fields that are not zero, and those of Extra.
func (m Metadata) MarshalJSON() ([]byte, error) {
	fields, err := json.Marshal(plain(m))
	if err != nil || len(m.Extra) == 0 {
		return fields, err
	}
	all := maps.Clone(m.Extra)
	if err := json.Unmarshal(fields, &all); err != nil {
		return nil, err
	}
	return json.Marshal(all)
}

// UnmarshalJSON reads members by their exact names. It fails only if the text is no object.
func (m *Metadata) UnmarshalJSON(text []byte) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return err
	}
	*m = Metadata{}
	m.read(members)
	return nil
}

// read fills the fields from members and puts the rest into Extra.
func (m *Metadata) read(members map[string]json.RawMessage) {
	rest := maps.Clone(members)
	v := reflect.ValueOf(m).Elem()
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		text, ok := members[name]
		if !ok || name == "-" {
			continue
		}
		value := reflect.New(v.Field(i).Type())
		if json.Unmarshal(text, value.Interface()) == nil {
			v.Field(i).Set(value.Elem())
			delete(rest, name)
		}
	}
	if len(rest) > 0 {
		m.Extra = rest
	}
}
