package registration

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/weburl"
)

// Client is a registered client (RFC 7591, section 3.2.1). Printed, logged or encoded by package
// json it shows its ID alone; [Client.Encode] has its secrets, to be kept.
type Client struct {
	ID     string
	Secret string // empty for a client that authenticates without one

	IssuedAt        time.Time // zero if the provider does not say
	SecretExpiresAt time.Time // zero: never

	// ConfigurationURL and AccessToken are for [Read], [Update] and [Delete]: its address and the
	// token that opens it (RFC 7592, section 3). They are empty at a provider without it.
	ConfigurationURL string
	AccessToken      string

	// Endpoint is where the client was registered.
	Endpoint string

	// Metadata is what the provider registered. It may differ from what was asked for. What the
	// provider did not repeat is as it was asked for.
	Metadata Metadata
}

// Auth returns how the client authenticates, for Provider.Auth. It fails for a method that needs a
// certificate (use oidcgate.TLSClientAuth), and one that is not known. With private_key_jwt,
// Provider.ClientKeys must have the keys.
func (c *Client) Auth() (oidcgate.ClientAuth, error) {
	method := c.Metadata.TokenEndpointAuthMethod
	if method == "" {
		method = "client_secret_basic" // RFC 7591, section 2
	}
	needsSecret := method != "none" && method != "private_key_jwt"
	if needsSecret && c.Secret == "" {
		return oidcgate.ClientAuth{}, fmt.Errorf("registration: the client has no secret for %q", method)
	}
	switch method {
	case "client_secret_basic":
		return oidcgate.ClientSecretBasic(c.Secret), nil
	case "client_secret_post":
		return oidcgate.ClientSecretPost(c.Secret), nil
	case "client_secret_jwt":
		return oidcgate.ClientSecretJWT(c.Secret), nil
	case "private_key_jwt":
		return oidcgate.PrivateKeyJWT(), nil
	case "none":
		return oidcgate.PublicClient(), nil
	}
	return oidcgate.ClientAuth{}, fmt.Errorf("registration: set Provider.Auth by hand: "+
		"the client authenticates by %q", method)
}

// kept is the form in which a Client is kept.
type kept struct {
	ID               string    `json:"client_id"`
	Secret           string    `json:"client_secret,omitempty"`
	IssuedAt         time.Time `json:"issued_at,omitzero"`
	SecretExpiresAt  time.Time `json:"secret_expires_at,omitzero"`
	ConfigurationURL string    `json:"registration_client_uri,omitempty"`
	AccessToken      string    `json:"registration_access_token,omitempty"`
	Endpoint         string    `json:"endpoint,omitempty"`
	Metadata         Metadata  `json:"metadata"`
}

// Encode returns the client as JSON, with its secrets. Keep it where secrets are kept. [Decode]
// reads it.
func (c *Client) Encode() ([]byte, error) { return json.Marshal(kept(*c)) }

// Decode returns the client that Encode wrote.
func Decode(text []byte) (*Client, error) {
	var k kept
	if err := json.Unmarshal(text, &k); err != nil || k.ID == "" {
		return nil, errors.New("registration: this is no client that Encode wrote")
	}
	c := Client(k)
	return &c, nil
}

// String returns the client's ID, and nothing secret.
func (c Client) String() string { return "registration.Client(" + c.ID + ")" }

// Format prints String for every verb.
func (c Client) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, c.String()) }

// LogValue returns String.
func (c Client) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalJSON returns String: package json also encodes logs. Use [Client.Encode] to keep a client.
func (c Client) MarshalJSON() ([]byte, error) { return json.Marshal(c.String()) }

// UnmarshalJSON fails: use [Decode].
func (c *Client) UnmarshalJSON([]byte) error {
	return errors.New("registration: keep a Client by Encode and Decode, not by package json")
}

// read takes over what an answer says (RFC 7591, section 3.2.1; RFC 7592, section 3). Secrets and
// addresses that it does not have stay as they are.
func (c *Client) read(body []byte) error {
	doc, err := claims.Parse(body)
	if err != nil {
		return errors.New("the answer is no JSON object in strict form")
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return errors.New("the answer is no JSON object")
	}
	id, ok := text(doc, "client_id")
	if !ok || id == "" || c.ID != "" && id != c.ID {
		return errors.New("the client_id of the answer is missing, or is another one")
	}
	next := *c
	next.ID = id
	for name, to := range map[string]*string{
		"client_secret": &next.Secret, "registration_client_uri": &next.ConfigurationURL,
		"registration_access_token": &next.AccessToken,
	} {
		switch v, ok := text(doc, name); {
		case !ok:
			return errors.New(name + " is not a string")
		case v != "":
			*to = v
		}
	}
	for name, to := range map[string]*time.Time{
		"client_id_issued_at": &next.IssuedAt, "client_secret_expires_at": &next.SecretExpiresAt,
	} {
		v, _ := doc.Get(name)
		at, ok := v.Time()
		if !ok {
			continue // it stays visible in Extra: for this alone no client is given up
		}
		delete(members, name)
		if *to = at; at.Unix() == 0 {
			*to = time.Time{} // never
		}
	}
	for _, name := range own {
		delete(members, name)
	}
	next.Metadata.read(members)
	*c = next
	return nil
}

// own are the members of an answer that are not metadata, beside the times.
var own = []string{
	"client_id", "client_secret", "registration_client_uri", "registration_access_token",
}

var times = []string{"client_id_issued_at", "client_secret_expires_at"}

// text returns a string of an answer, "" if it is missing. ok is false if it is of another type.
func text(doc claims.Object, name string) (s string, ok bool) {
	v, found := doc.Get(name)
	if !found || v.Kind() == claims.Null {
		return "", true
	}
	return v.Str()
}

// configuration returns the address at which the client is managed. An answer named it: it must be
// on the server that registered the client, or the token would go elsewhere, and this server would
// make requests to whatever an answer names.
func (c *Client) configuration() (string, error) {
	if c.ConfigurationURL == "" || c.AccessToken == "" {
		return "", errors.New("the provider gave no address or no token to manage the client")
	}
	at, err := weburl.Check(c.ConfigurationURL, false)
	if err != nil {
		return "", errors.New("registration_client_uri is no https URL that may be used")
	}
	registered, err := url.Parse(c.Endpoint)
	if err != nil || weburl.Origin(at) != weburl.Origin(registered) {
		return "", errors.New("registration_client_uri is on another server than the endpoint at " +
			"which the client was registered")
	}
	return c.ConfigurationURL, nil
}
