package op

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/oidcgate/oidcgate/internal/check"
	"github.com/oidcgate/oidcgate/internal/event"
)

// ObjectMode says whether authorization requests are signed objects (RFC 9101).
//
// Objects are only passed by value. By reference, the provider would fetch each object from us: we
// would have to keep one for every login that a stranger begins, and to take care that only the
// provider fetches it, once. A pushed request does the same without that, because the reference is
// the provider's own.
type ObjectMode int

// The modes of request objects.
const (
	ObjectOff       ObjectMode = iota
	ObjectSigned               // signed with the first key of ClientKeys that signs
	ObjectEncrypted            // signed, and encrypted with a key of the provider
)

// requestLifetime is how long a signed request counts. The browser brings it at once.
const requestLifetime = 5 * time.Minute

// requestObject returns a request with all its parameters in one signed object (RFC 9101, 4).
// Beside it stands only what has to: client_id (5), and in an address the parameters that OpenID
// Connect Core, 6.1, wants there too. They have the same values.
func (c *Client) requestObject(
	ctx context.Context, meta Metadata, params url.Values,
) (url.Values, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	key, err := c.signingKey(ctx)
	if err != nil {
		return nil, err
	}
	payload, err := json.Marshal(c.objectClaims(params, time.Now()))
	if err != nil {
		return nil, err
	}
	object, err := key.sign("oauth-authz-req+jwt", payload)
	if err == nil && c.cfg.Object == ObjectEncrypted {
		object, err = c.encryptObject(ctx, meta, object)
	}
	if err != nil {
		return nil, err
	}
	outer := url.Values{"client_id": {c.cfg.ClientID}, "request": {object}}
	if meta.PushedAuthorization == "" {
		outer["response_type"], outer["scope"] = params["response_type"], params["scope"]
	}
	return outer, nil
}

// objectClaims returns the payload of a request object. It has no sub, so that it cannot pass as a
// token that authenticates the client (RFC 9101, 10.8).
func (c *Client) objectClaims(params url.Values, now time.Time) map[string]any {
	object := map[string]any{}
	for name, values := range params {
		object[name] = objectMember(name, values)
	}
	object["iss"], object["aud"] = c.cfg.ClientID, c.cfg.Issuer
	object["iat"], object["nbf"] = now.Unix(), now.Unix()
	object["exp"] = now.Add(requestLifetime).Unix()
	object["jti"] = rand.Text()
	return object
}

// objectMember returns a parameter as a member of a request object: those that are JSON or numbers
// stand there as such (RFC 9101, 4; OpenID Connect Core, 6.1).
func objectMember(name string, values []string) any {
	switch {
	case name == "max_age":
		return json.Number(values[0])
	case name == "claims" || name == "authorization_details":
		return json.RawMessage(values[0])
	case len(values) > 1: // resource
		return values
	}
	return values[0]
}

// contentEncryptions are the algorithms that encrypt what is sent and received, the best first (RFC
// 7518, 5.1).
var contentEncryptions = []string{
	"A256GCM", "A128GCM", "A192GCM", "A128CBC-HS256", "A192CBC-HS384", "A256CBC-HS512",
}

// encryptObject encrypts a signed object for the provider (RFC 9101, 6.1), with one of its keys for
// that and with algorithms that it announces.
func (c *Client) encryptObject(ctx context.Context, meta Metadata, signed string) (string, error) {
	set, err := c.currentKeys(ctx, fromAnybody) // anybody can begin a login
	if err != nil {
		return "", err
	}
	recipient, ok := set.recipient(meta.ObjectEncryptionAlgs)
	if !ok {
		return "", noObject("the provider has no key that a request could be encrypted with")
	}
	content := "A128CBC-HS256" // the default of OpenID Connect Dynamic Client Registration, 2
	if meta.ObjectEncryptionEncs != nil {
		i := slices.IndexFunc(contentEncryptions, func(enc string) bool {
			return slices.Contains(meta.ObjectEncryptionEncs, enc)
		})
		if i < 0 {
			return "", noObject("the provider announces no algorithm that we encrypt a request with")
		}
		content = contentEncryptions[i]
	}
	options := (&jose.EncrypterOptions{}).WithContentType("JWT")
	encrypter, err := jose.NewEncrypter(jose.ContentEncryption(content), recipient, options)
	if err != nil {
		return "", noObject("the request cannot be encrypted with the provider's key")
	}
	encrypted, err := encrypter.Encrypt([]byte(signed))
	if err != nil {
		return "", noObject("the request cannot be encrypted with the provider's key")
	}
	return encrypted.CompactSerialize()
}

func noObject(text string) *Error {
	return &Error{
		Reason: event.ReasonRequestObject, Status: http.StatusServiceUnavailable,
		Hint: "compare Request.Object with the provider's metadata and jwks_uri", Err: errors.New(text),
	}
}

// recipient returns the provider's first key for encrypting, and the best algorithm that fits it
// and is announced, if any are.
func (s *keySet) recipient(announced []string) (jose.Recipient, bool) {
	for _, key := range s.encrypting {
		for _, alg := range slices.Backward(encrypts) {
			if (announced == nil || slices.Contains(announced, alg)) && encryptsWith(key, alg) {
				return jose.Recipient{
					Algorithm: jose.KeyAlgorithm(alg), Key: key.Key, KeyID: key.KeyID,
				}, true
			}
		}
	}
	return jose.Recipient{}, false
}

// encryptsWith reports whether alg encrypts for key.
func encryptsWith(key jose.JSONWebKey, alg string) bool {
	if key.Algorithm != "" && key.Algorithm != alg {
		return false
	}
	switch key.Key.(type) {
	case *rsa.PublicKey:
		return strings.HasPrefix(alg, "RSA")
	case *ecdsa.PublicKey:
		return strings.HasPrefix(alg, "ECDH")
	}
	return false
}

// objectAlgs returns the algorithm that signs requests, or nil if none does or it is not known yet.
func (c *Client) objectAlgs() []string {
	if c.cfg.Object == ObjectOff || !c.cfg.FixedKeys {
		return nil
	}
	key, err := c.signingKey(context.Background())
	if err != nil {
		return nil
	}
	return []string{key.Algorithm}
}

// checkObject checks that requests can be signed as configured.
func (cfg *Config) checkObject(f *check.List) {
	if cfg.Object < ObjectOff || cfg.Object > ObjectEncrypted {
		f.Add("Request.Object", "%d is not a mode; use ObjectOff, ObjectSigned or ObjectEncrypted",
			cfg.Object)
	}
	if cfg.Object != ObjectOff && !cfg.hasSigningKey() {
		f.Add("Request.Object", "needs a key to sign with; give ClientKeys one")
	}
}
