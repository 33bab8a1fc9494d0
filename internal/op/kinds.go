package op

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
)

// kindID names a kind of signed token.
type kindID int

// The kinds of signed tokens that we take.
const (
	idToken kindID = iota
	browserIDToken
	refreshedIDToken
	userinfoResponse
	logoutToken
	responseObject
	accessToken
)

// tokenKind is what a signed token must be to count as one of its kind. A provider signs all kinds
// with the same keys, so a token of one kind must not pass where another is expected (RFC 8725,
// 3.11, 3.12). Each kind differs from each other in its type, or in a claim that one requires and
// the other forbids. What the claims say is checked afterwards, by the rules of the kind.
//
// The access tokens of our own sessions are in no row: we never look into one. accessToken is one
// that a caller shows to this service as an API.
type tokenKind struct {
	name      string
	endpoint  string   // where we take it
	types     []string // what typ may be, in lower case; "" stands for no typ
	hasTenant bool     // where the issuer is a template, tid must name the tenant
	sender    source   // the keys are those at the jwks_uri; sender limits how often they are loaded
	maxSize   int      // in bytes
	required  []string // claims that are there
	forbidden []string // claims that are not there, whatever their value
	tolerated []tolerance

	encrypted agreement // if it was made, a token that is not encrypted is refused
	strangers bool      // anybody can send one here, because anybody can begin a login
	repeats   bool      // a member may stand there again with an equal value: Keycloak repeats iss
	forAPI    bool      // aud names this service as an API, and not the client
}

// agreement is what a client may be registered for at its provider.
type agreement struct {
	field string // of oidcgate.Provider
	made  func(*Config) bool
}

var (
	encryptedIDTokens = agreement{
		"Verification.EncryptedIDTokens", func(cfg *Config) bool { return cfg.IDTokenEncrypted },
	}
	encryptedUserinfo = agreement{
		"Verification.EncryptedUserinfo", func(cfg *Config) bool { return cfg.UserinfoEncrypted },
	}
	encryptedResponses = agreement{
		"Verification.EncryptedResponses", func(cfg *Config) bool { return cfg.ResponseEncrypted },
	}
)

// tolerance is a deviation from a kind that the configuration can allow: either types or that a
// claim is missing.
type tolerance struct {
	types   []string
	missing string
	field   string // of oidcgate.Provider
	allowed func(*Config) bool
}

const fieldPlainAccessTokens = "Verification.PlainAccessTokens"

func takesPlainAccessTokens(cfg *Config) bool { return cfg.PlainAccessTokens }

// maxTokenSize is the longest signed token that is read. It has room for a user in thousands of
// groups. Whether that fits into a session is decided later, when the application has dropped the
// claims that it does not need.
const maxTokenSize = 256 << 10

var tokenKinds = [...]tokenKind{
	idToken: {
		name:      "ID Token", // OpenID Connect Core, 2
		hasTenant: true,
		endpoint:  "token endpoint, for a code",
		types:     []string{"", "jwt"},
		sender:    fromProvider,
		maxSize:   maxTokenSize,
		required:  []string{"iss", "sub", "aud", "exp", "iat", "nonce"},
		forbidden: []string{"events"},
		encrypted: encryptedIDTokens,
		tolerated: []tolerance{{
			missing: "nonce", field: "Verification.WithoutNonce",
			allowed: func(cfg *Config) bool { return cfg.WithoutNonce },
		}},
	},
	browserIDToken: {
		name:      "ID Token of an authorization response", // OpenID Connect Core, 3.3.2.11
		hasTenant: true,
		endpoint:  "callback",
		types:     []string{"", "jwt"},
		sender:    fromBrowser,
		maxSize:   maxTokens,
		required:  []string{"iss", "sub", "aud", "exp", "iat", "nonce"},
		forbidden: []string{"events"},
		encrypted: encryptedIDTokens,
		strangers: true,
	},
	refreshedIDToken: {
		name:      "ID Token of a refresh", // OpenID Connect Core, 12.2
		hasTenant: true,
		endpoint:  "token endpoint, for a refresh token",
		types:     []string{"", "jwt"},
		sender:    fromProvider,
		maxSize:   maxTokenSize,
		required:  []string{"iss", "sub", "aud", "exp", "iat"},
		forbidden: []string{"events"},
		encrypted: encryptedIDTokens,
	},
	userinfoResponse: {
		name:     "userinfo response", // OpenID Connect Core, 5.3.2
		endpoint: "userinfo endpoint",
		types:    []string{"", "jwt"},
		sender:   fromProvider,
		maxSize:  maxTokenSize,
		required: []string{"iss", "sub", "aud"},
		// Some providers add exp and iat, so what tells an ID Token are the claims that bind it to
		// a login: every ID Token of a login has a nonce. One of a refresh that has neither nonce
		// nor hash looks like a response with times. It is about the same user, and of now.
		forbidden: []string{"nonce", "at_hash", "c_hash", "s_hash", "events"},
		encrypted: encryptedUserinfo,
	},
	logoutToken: {
		name:     "logout token", // OpenID Connect Back-Channel Logout, 2.4
		endpoint: "back-channel logout",
		// The type is only recommended there, and many providers give none, among them that of the
		// conformance tests.
		types:     []string{"", "logout+jwt"},
		sender:    fromAnybody,
		maxSize:   16 << 10, // it names only a user or a session
		required:  []string{"events", "iss", "aud", "iat", "exp", "jti"},
		forbidden: []string{"nonce"},
		// They are encrypted when ID Tokens are (Back-Channel Logout, 2.6, step 1).
		encrypted: encryptedIDTokens,
		strangers: true,
		tolerated: []tolerance{
			{
				types: []string{"jwt"}, field: "Verification.LogoutTypeJWT",
				allowed: func(cfg *Config) bool { return cfg.LogoutTypeJWT },
			},
			{
				missing: "exp", field: "Verification.LogoutWithoutExp",
				allowed: func(cfg *Config) bool { return cfg.LogoutWithoutExp },
			},
		},
	},
	responseObject: {
		name:     "authorization response", // JARM, 2.1
		endpoint: "callback",
		types:    []string{"", "jwt", "oauth-authz-resp+jwt"},
		sender:   fromBrowser,
		maxSize:  maxTokens,
		required: []string{"iss", "aud", "exp"},
		repeats:  true,
		// What tells an ID Token: every one has a subject.
		forbidden: []string{"sub", "nonce", "events"},
		encrypted: encryptedResponses,
		strangers: true, // its state, which says whose login it answers, is read first
	},
	accessToken: {
		name:     "access token", // RFC 9068, 2
		endpoint: "API",
		// The type alone tells it from an ID Token, so it must be there (RFC 9068, 4). Where it may
		// be missing, checkPlainAccessToken looks for what else tells it.
		types:     []string{"at+jwt", "application/at+jwt"},
		sender:    fromCaller,
		maxSize:   MaxAccessToken,
		required:  []string{"iss", "sub", "aud", "exp", "iat", "jti", "client_id"},
		forbidden: []string{"nonce", "events"},
		strangers: true,
		forAPI:    true,
		tolerated: []tolerance{
			{
				types: []string{"", "jwt"}, field: fieldPlainAccessTokens,
				allowed: takesPlainAccessTokens,
			},
			{missing: "jti", field: fieldPlainAccessTokens, allowed: takesPlainAccessTokens},
			{missing: "client_id", field: fieldPlainAccessTokens, allowed: takesPlainAccessTokens},
		},
	},
}

// openedToken is a token that the provider signed for us, and whose kind is known.
type openedToken struct {
	signed  string        // the token itself; if it came encrypted, the one inside
	issuer  string        // as it stands in the token
	claims  claims.Object // with the configured issuer in place of one that is accepted beside it
	payload []byte
	alg     string
}

// open returns a token of this kind, which may be encrypted. Nothing of the payload is looked at
// before the signature is verified. Every failure is an *Error.
func (c *Client) open(ctx context.Context, id kindID, raw string) (*openedToken, error) {
	signed, err := c.decrypt(ctx, &tokenKinds[id], raw)
	if err != nil {
		return nil, err
	}
	return c.openSigned(ctx, id, signed)
}

// openSigned is open for a token that is decrypted already.
func (c *Client) openSigned(ctx context.Context, id kindID, raw string) (*openedToken, error) {
	kind := &tokenKinds[id]
	token, err := c.parseCompact(kind, raw)
	if err != nil {
		return nil, err
	}
	verified, err := c.verifySignature(ctx, token, kind.sender)
	if err != nil {
		return nil, err
	}
	doc, err := kind.parse(verified.payload)
	if err != nil {
		return nil, &Error{
			Reason: event.ReasonIDTokenMalformed, Status: http.StatusBadGateway, Err: err,
		}
	}
	if err := kind.checkClaims(doc, &c.cfg); err != nil {
		return nil, err
	}
	if err := c.checkIssuer(kind, doc); err != nil {
		return nil, err
	}
	issuer := text(doc, "iss")
	if err := c.checkKeyIssuer(verified.keyIssuers, issuer); err != nil {
		return nil, err
	}
	if err := c.checkAudience(kind, doc); err != nil {
		return nil, err
	}
	return &openedToken{raw, issuer, c.withOneIssuer(doc), verified.payload, token.alg}, nil
}

// parse reads the payload.
func (k *tokenKind) parse(payload []byte) (claims.Object, error) {
	if k.repeats {
		return claims.ParseRepeated(payload)
	}
	return claims.Parse(payload)
}

// checkType checks the header's typ, which is "" if there is none.
func (k *tokenKind) checkType(typ string, cfg *Config) error {
	typ = strings.ToLower(typ)
	if slices.Contains(k.types, typ) {
		return nil
	}
	e := invalid(event.ReasonType, "the header says that the token is no "+k.name)
	return k.unless(e, cfg, func(t tolerance) bool { return slices.Contains(t.types, typ) })
}

// checkClaims checks that the claims are there that tell the kind, and those of no other.
func (k *tokenKind) checkClaims(doc claims.Object, cfg *Config) error {
	for _, name := range k.required {
		if _, ok := doc.Get(name); ok {
			continue
		}
		e := invalid(missingReasons[name], "the "+k.name+" has no "+name)
		switch {
		case name == "nonce":
			e.Hint = hintNonce
		case name == "aud" && k.forAPI:
			e.Hint = hintAPIAudience
		}
		if err := k.unless(e, cfg, func(t tolerance) bool { return t.missing == name }); err != nil {
			return err
		}
	}
	for _, name := range k.forbidden {
		if _, ok := doc.Get(name); ok {
			return invalid(event.ReasonType, "the token has the claim "+name+": it is no "+k.name)
		}
	}
	return nil
}

// unless returns e, unless the configuration allows one of the tolerances that match. If it could
// allow one, e names the field.
func (k *tokenKind) unless(e *Error, cfg *Config, matches func(tolerance) bool) error {
	i := slices.IndexFunc(k.tolerated, matches)
	if i < 0 {
		return e
	}
	if k.tolerated[i].allowed(cfg) {
		return nil
	}
	e.Hint = "if all of the provider's tokens of this kind are like that, set " + k.tolerated[i].field
	return e
}

// missingReasons are the reasons for claims that are missing.
var missingReasons = map[string]event.Reason{
	"iss":    event.ReasonIssuer,
	"sub":    event.ReasonSubject,
	"aud":    event.ReasonAudience,
	"exp":    event.ReasonExpiry,
	"iat":    event.ReasonIssuedAt,
	"jti":    event.ReasonTokenID,
	"nonce":  event.ReasonNonce,
	"events": event.ReasonLogoutEvent,

	"client_id": event.ReasonClientID,
}
