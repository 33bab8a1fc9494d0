package op

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
)

// keySet is one loaded set of keys. It never changes.
type keySet struct {
	keys       []verifyingKey
	encrypting []jose.JSONWebKey // what is encrypted with them, only the provider reads
	load       int               // the number of the load that brought them
	loaded     time.Time         // when it was
	expires    time.Time         // they are loaded again then
	unusable   time.Time         // if they could not be loaded again until then, they do not count
}

// verifyingKey is a key that verifies signatures.
type verifyingKey struct {
	jose.JSONWebKey
	issuer string // for whose tokens it is, perhaps a template; "" if the set does not say
}

// verifiedPayload is the payload of a token whose signature is verified, and nothing else of it.
type verifiedPayload struct {
	payload    []byte
	keyIssuers []string // for whose tokens the key is; none if the key set does not say
}

// maxKeys is how many keys a set may have, because a token without kid is tried with every key of
// its type.
const maxKeys = 100

// parseKeys reads a JWK Set (RFC 7517, 5) and keeps the keys that we can use. A key that we cannot
// read is skipped. A set without any key that we can use is an error.
func (c *Client) parseKeys(body []byte) (*keySet, error) {
	doc, err := claims.Parse(body)
	if err != nil {
		return nil, refused("the key set is not a JSON object")
	}
	list, ok := doc.Get("keys")
	if !ok || list.Kind() != claims.Array {
		return nil, refused("the key set has no array of keys")
	}
	set := &keySet{}
	count := 0
	for element := range list.Elements() {
		if count++; count > maxKeys {
			return nil, refused("the key set has too many keys")
		}
		key, ok := parseKey(element, forVerifying)
		if issuer, isText := keyIssuer(element); ok && (isText || !c.cfg.isTemplate()) {
			set.keys = append(set.keys, verifyingKey{key, issuer})
		}
		if key, ok := parseKey(element, forEncrypting); ok {
			set.encrypting = append(set.encrypting, key)
		}
	}
	if !c.cfg.signedWithSecret() && !slices.ContainsFunc(set.keys, c.fitsAny) {
		return nil, refused("the key set has no key that could be used")
	}
	return set, nil
}

func (c *Client) fitsAny(key verifyingKey) bool {
	return slices.ContainsFunc(c.cfg.SigningAlgs, func(alg string) bool {
		return fits(key.JSONWebKey, alg)
	})
}

// keyIssuer returns for whose tokens a key is. This member is none of RFC 7517; Microsoft Entra has
// it. ok is false if it is no text.
func keyIssuer(v claims.Value) (issuer string, ok bool) {
	members, _ := v.Object()
	member, there := members.Get("issuer")
	if !there {
		return "", true
	}
	issuer, _ = member.Str()
	return issuer, issuer != ""
}

// parseKey reads one key, if it may be used for a purpose. Symmetric keys are not read, and
// neither are private ones, because everybody who reads this set could sign with them. Certificates
// are left out, because nothing here depends on them.
func parseKey(
	v claims.Value, forPurpose func(members claims.Object) bool,
) (jose.JSONWebKey, bool) {
	members, _ := v.Object() // none makes no key
	if hasPrivatePart(members) || !forPurpose(members) {
		return jose.JSONWebKey{}, false
	}
	public := members.Filter(func(name string) bool {
		switch name {
		case "kty", "kid", "alg", "n", "e", "crv", "x", "y":
			return true
		}
		return false
	})
	var key jose.JSONWebKey
	if err := key.UnmarshalJSON(public.AppendJSON(nil)); err != nil {
		return jose.JSONWebKey{}, false
	}
	return key, key.Valid() && strongEnough(key)
}

func hasPrivatePart(members claims.Object) bool {
	for _, name := range []string{"k", "d", "p", "q", "dp", "dq", "qi", "oth", "priv"} {
		if _, ok := members.Get(name); ok {
			return true
		}
	}
	return false
}

// forVerifying reports whether the key's use and key_ops, if it has them, allow to verify
// signatures with it (RFC 7517, 4.2, 4.3).
func forVerifying(members claims.Object) bool {
	if v, ok := members.Get("use"); ok {
		if use, _ := v.Str(); use != "sig" {
			return false
		}
	}
	if v, ok := members.Get("key_ops"); ok {
		ops, _ := textList(v)
		return slices.Contains(ops, "verify")
	}
	return true
}

// forEncrypting reports whether the key's use says that it is for encrypting. A key without use is
// taken for one that verifies signatures.
func forEncrypting(members claims.Object) bool { return text(members, "use") == "enc" }

// strongEnough refuses RSA keys so short that they can be factored. Keys so long that verifying a
// signature takes us much time are not read by go-jose: those longer than its MaxRSAModulusBits,
// which is 4096.
func strongEnough(key jose.JSONWebKey) bool {
	public, ok := key.Key.(*rsa.PublicKey)
	return !ok || public.N.BitLen() >= 2048
}

// fits reports whether key can make a signature of alg (RFC 7518, 3.1; RFC 8037, 3.1). An EC curve
// belongs to one alg.
func fits(key jose.JSONWebKey, alg string) bool {
	if key.Algorithm != "" && key.Algorithm != alg {
		return false
	}
	switch public := key.Key.(type) {
	case *rsa.PublicKey:
		return strings.HasPrefix(alg, "RS") || strings.HasPrefix(alg, "PS")
	case *ecdsa.PublicKey:
		curves := map[string]int{"ES256": 256, "ES384": 384, "ES512": 521}
		return curves[alg] == public.Params().BitSize
	case ed25519.PublicKey:
		return alg == "EdDSA"
	default:
		return false
	}
}

// verify tries the keys that fit the token's alg and have its kid. If the token has no kid, it
// tries all that fit, and that none of them signed it proves nothing: the set may lack a new key.
func (s *keySet) verify(t *compactToken) (verifiedPayload, error) {
	known := false
	for _, key := range s.keys {
		if t.hasKeyID && key.KeyID != t.keyID || !fits(key.JSONWebKey, t.alg) {
			continue
		}
		known = true
		if payload, err := t.jws.Verify(key.Key); err == nil {
			return verifiedPayload{payload, s.issuersOf(key)}, nil
		}
	}
	if !known {
		return verifiedPayload{}, invalid(event.ReasonKeyUnknown,
			"the provider has no key for this token")
	}
	e := invalid(event.ReasonSignature, "the signature is not the provider's")
	e.Unproven = !t.hasKeyID
	return verifiedPayload{}, e
}

// issuersOf returns for whose tokens a key is. The set may have it once for each issuer. If it says
// so nowhere, or not everywhere, the key is for all, and there are none.
func (s *keySet) issuersOf(key verifyingKey) (issuers []string) {
	public, _ := key.Key.(interface{ Equal(crypto.PublicKey) bool })
	for _, other := range s.keys {
		if !public.Equal(other.Key) {
			continue
		}
		if other.issuer == "" {
			return nil
		}
		issuers = append(issuers, other.issuer)
	}
	return issuers
}
