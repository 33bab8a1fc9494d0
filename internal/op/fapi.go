package op

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"slices"

	"github.com/go-jose/go-jose/v4"

	"github.com/oidcgate/oidcgate/internal/check"
	"github.com/oidcgate/oidcgate/internal/event"
)

// Profile is a set of rules that a provider and its clients have agreed on.
type Profile int

// The profiles.
const (
	NoProfile           Profile = iota
	FAPI2Security               // FAPI 2.0 Security Profile
	FAPI2MessageSigning         // and FAPI 2.0 Message Signing: signed requests and responses
)

// fapiAlgs are the signing algorithms of FAPI 2.0 Security Profile, 5.4.1.
var fapiAlgs = []string{"PS256", "ES256", "EdDSA"}

// applyProfile fills in what the profile sets where the configuration leaves it open.
func (cfg *Config) applyProfile() {
	if cfg.Profile == NoProfile {
		return
	}
	if len(cfg.SigningAlgs) == 0 {
		cfg.SigningAlgs = slices.Clone(fapiAlgs)
	}
	if cfg.Pushed == PushedIfAnnounced {
		cfg.Pushed = PushedRequired
	}
	if cfg.Profile == FAPI2MessageSigning {
		if cfg.Object == ObjectOff {
			cfg.Object = ObjectSigned
		}
		if cfg.ResponseMode == "" {
			cfg.ResponseMode = "jwt"
		}
	}
}

// checkProfile says what contradicts the profile (FAPI 2.0 Security Profile, 5.3.3, 5.4).
func (cfg *Config) checkProfile(f *check.List) {
	if cfg.Profile == NoProfile {
		return
	}
	refuse := func(contradicts bool, field, text string) {
		if contradicts {
			f.Add(field, "%s", text+" (Provider.Profile, FAPI 2.0)")
		}
	}
	method := cfg.Auth.Method
	refuse(method != AuthKeyJWT && method != AuthTLS && method != AuthSelfSigned, "Auth",
		"must be PrivateKeyJWT, ClientAssertion, TLSClientAuth or SelfSignedTLSClientAuth")
	refuse(cfg.AssertionAudience != "", "TokenRequest.AssertionAudience",
		"must be empty: the audience is the issuer")
	refuse(cfg.JSONTokenRequests, "TokenRequest.JSON", "must be false")
	refuse(!cfg.DPoP && cfg.Certificate == nil, "TokenRequest.Binding", "must be DPoP or MutualTLS")
	refuse(cfg.Pushed == PushedOff, "Request.Pushed", "must be PushedRequired or zero")
	refuse(cfg.ResponseType != TypeCode, "Request.ResponseType", "must be \"code\" or empty")
	refuse(cfg.responseChannel() != Query, "Request.ResponseMode",
		"must be \"query\", \"query.jwt\", \"jwt\" or empty")
	refuse(cfg.ResponseIss == IssInCodes || cfg.ResponseIss == IssOptional, "Verification.ResponseIss",
		"must be IssIfAnnounced or IssRequired")
	refuse(cfg.WithoutPKCE, "Request.WithoutPKCE", "must be false")
	refuse(cfg.WithoutNonce, "Verification.WithoutNonce", "must be false")
	refuse(cfg.AnyNonce, "Verification.AnyNonceAtRefresh", "must be false")
	refuse(cfg.isTemplate(), "Issuer", "must be that of one tenant")
	refuse(len(cfg.Issuers) > 0, "Verification.Issuers", "must be empty")
	refuse(cfg.AllowHTTP, "Issuer", "is reached with Config.InsecureAllowHTTP, which must be false")
	refuse(cfg.Endpoints != (Endpoints{}), "Endpoints",
		"must be discovered; leave all of them empty")
	for _, alg := range cfg.SigningAlgs {
		refuse(!slices.Contains(fapiAlgs, alg), "Verification.SigningAlgs",
			"may only have PS256, ES256 and EdDSA")
	}
	if cfg.Profile == FAPI2MessageSigning {
		refuse(!cfg.wantsObject(), "Request.ResponseMode", "must be \"jwt\", \"query.jwt\" or empty")
		refuse(cfg.ClientKeys == nil, "ClientKeys", "must have a key that signs requests")
	}
	refuse(!cfg.mayShow(cfg.Auth.Certificate.unchanging()), "Auth", hintProfileCertificate)
	refuse(!cfg.mayShow(cfg.Certificate.unchanging()), "TokenRequest.Binding", hintProfileCertificate)
	cfg.checkProfileKeys(refuse)
}

func (cfg *Config) checkProfileKeys(refuse func(bool, string, string)) {
	if cfg.ClientKeys == nil || !cfg.FixedKeys {
		return
	}
	keys, _ := cfg.ClientKeys(context.Background()) // fixed ones never fail
	for i := range keys {
		if keys[i].Complete() == nil {
			refuse(!cfg.maySign(&keys[i]), "ClientKeys", hintProfileKeys)
		}
	}
}

const hintProfileKeys = "may only sign by PS256, ES256 and EdDSA; set Algorithm"

// maySign reports whether the profile lets a key of the client sign, if it does.
func (cfg *Config) maySign(k *ClientKey) bool {
	return cfg.Profile == NoProfile || !k.Signs() || slices.Contains(fapiAlgs, k.Algorithm)
}

const hintProfileCertificate = "must have a key of RSA with 2048 bits or more, or of P-256 or a " +
	"larger curve"

// mayShow reports whether the profile lets the client show a certificate, which may be nil (FAPI
// 2.0 Security Profile, 5.4.1).
func (cfg *Config) mayShow(c *tls.Certificate) bool {
	if cfg.Profile == NoProfile || c == nil {
		return true
	}
	public, err := publicOf(c.PrivateKey)
	if err != nil {
		return true // no handshake can be made with it
	}
	curve, ok := public.(*ecdsa.PublicKey)
	return strongEnough(jose.JSONWebKey{Key: public}) && (!ok || curve.Params().BitSize >= 256)
}

// checkProfile checks that the provider announces what the profile demands of it (FAPI 2.0 Security
// Profile, 5.3.2.2).
func (m *Metadata) checkProfile(cfg *Config) error {
	if cfg.Profile == NoProfile || m.IssParameter || cfg.wantsObject() {
		return nil
	}
	e := reject(event.ReasonMetadataInvalid,
		"authorization_response_iss_parameter_supported is not true")
	e.Hint = "the provider does not support FAPI 2.0 for its responses (Provider.Profile)"
	return e
}
