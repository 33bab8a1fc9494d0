package op_test

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/internal/op"
)

// tokenSamples are good tokens of each kind, and of kinds that are taken nowhere.
func tokenSamples() map[string]string {
	more := func(changes map[string]any) string { return encode(identity(changes)) }
	return map[string]string{
		// That of another login than the one that is refreshed.
		"ID Token":              signed(goodHeader, more(nil)),
		"ID Token of a refresh": signed(goodHeader, more(map[string]any{"nonce": nil, "at_hash": halfHash("at-1")})),
		"userinfo response":     signed(goodHeader, encode(map[string]any{"iss": issuer, "aud": clientID, "sub": subject, "name": "Jane"})),
		"logout token":          signed(goodHeader, encode(logout(nil))),

		"ID Token of an authorization response": signed(goodHeader, more(map[string]any{"c_hash": halfHash("hush-code")})),
		"authorization response": signed(goodHeader, encode(map[string]any{
			"iss": issuer, "aud": clientID, "exp": time.Now().Add(time.Minute).Unix(), "state": "st", "code": "hush-code",
		})),

		"typed logout token": signed(`{"alg":"RS256","kid":"k1","typ":"logout+jwt"}`, encode(logout(nil))),
		"access token":       accessToken(nil),
		"application/at+jwt": signed(`{"alg":"RS256","kid":"k1","typ":"application/at+jwt"}`, encode(access(nil))),
		"untyped access":     signed(goodHeader, encode(access(nil))),
		"access of typ JWT":  signed(`{"alg":"RS256","kid":"k1","typ":"JWT"}`, encode(access(nil))),
		"at+jwt with nonce":  accessToken(map[string]any{"nonce": nonce}),
		"request object":     signed(`{"alg":"RS256","kid":"k1","typ":"oauth-authz-req+jwt"}`, more(nil)),
		"security event":     signed(`{"alg":"RS256","kid":"k1","typ":"secevent+jwt"}`, encode(logout(nil))),
	}
}

// tokenEndpoints are the places where tokens of each kind are taken, by clients with these changes.
func tokenEndpoints(changes ...func(*op.Config)) map[string]func(t *testing.T, o *testOP, raw string) error {
	and := func(change func(*op.Config)) []func(*op.Config) { return append(slices.Clone(changes), change) }
	return map[string]func(t *testing.T, o *testOP, raw string) error{
		"ID Token": func(t *testing.T, o *testOP, raw string) error {
			o.set("token", answerJSON(tokenAnswer(map[string]any{"id_token": raw})))
			_, err := (&login{op: o, query: goodResponse(nil)}).finish(t, o.client(changes...))
			return err
		},
		// That of a hybrid flow: for the type id_token alone it is the ID Token of the same login, with
		// the same nonce, whatever way it took.
		"ID Token of an authorization response": func(t *testing.T, o *testOP, raw string) error {
			o.answerLoginOf(t, changes)
			l := &login{op: o, query: goodResponse(map[string]string{"id_token": raw})}
			_, err := l.finish(t, o.client(and(func(cfg *op.Config) { cfg.ResponseType = op.TypeHybrid })...))
			return err
		},
		"authorization response": func(t *testing.T, o *testOP, raw string) error {
			o.answerLoginOf(t, changes)
			l := &login{op: o, query: url.Values{"response": {raw}}.Encode()}
			_, err := l.finish(t, o.client(and(func(cfg *op.Config) { cfg.ResponseMode = "query.jwt" })...))
			return err
		},
		"ID Token of a refresh": func(t *testing.T, o *testOP, raw string) error {
			_, _, err := o.client(changes...).VerifyRefreshed(t.Context(), raw, "at-1", op.Original{Subject: subject, Nonce: "that of this session"})
			return err
		},
		"userinfo response": func(t *testing.T, o *testOP, raw string) error {
			o.set("userinfo", answerJWT(raw))
			_, err := o.client(and(asking(op.UserinfoRequired))...).Userinfo(t.Context(), "at-1", subject)
			return err
		},
		"logout token": func(t *testing.T, o *testOP, raw string) error {
			_, err := o.client(changes...).VerifyLogoutToken(t.Context(), raw)
			return err
		},
		// The client's id stands among the audiences, so that not aud alone tells an ID Token from an
		// access token.
		"access token": func(t *testing.T, o *testOP, raw string) error {
			_, err := o.client(and(forAPI(apiURL, clientID))...).VerifyAccessToken(t.Context(), raw)
			return err
		},
	}
}

// answerLoginOf makes the provider answer a login of a client with these changes in order: with an
// encrypted ID Token, if that was agreed on.
func (o *testOP) answerLoginOf(t *testing.T, changes []func(*op.Config)) {
	o.answerLogin()
	if slices.Equal(o.config(changes...).SigningAlgs, []string{"HS256"}) {
		o.set("token", answerJSON(tokenAnswer(map[string]any{"id_token": withSecret(goodToken(), "HS256", macSecret)})))
	}
	if o.config(changes...).IDTokenEncrypted {
		o.set("token", answerJSON(tokenAnswer(map[string]any{"id_token": encryptedFor(t, ecKey(), "ECDH-ES", goodToken())})))
	}
}

// fitsKind reports whether the sample is a token of the kind that the endpoint takes.
func fitsKind(sample, endpoint string) bool {
	switch sample {
	case "application/at+jwt":
		return endpoint == "access token"
	case "typed logout token":
		return endpoint == "logout token"
	case "ID Token of an authorization response":
		// A token endpoint may repeat the hash of the code (OpenID Connect Core, 3.3.3.6).
		return endpoint == sample || endpoint == "ID Token"
	}
	return sample == endpoint
}

func TestTokenKinds(t *testing.T) {
	samples, endpoints := tokenSamples(), tokenEndpoints()
	for _, kind := range op.TokenKinds() {
		if samples[kind] == "" || endpoints[kind] == nil {
			t.Errorf("the kind %q has no sample or no endpoint in this test", kind)
		}
	}
	if len(endpoints) != len(op.TokenKinds()) {
		t.Errorf("%d endpoints for the kinds %q", len(endpoints), op.TokenKinds())
	}
	for sample, raw := range samples {
		for endpoint, take := range endpoints {
			verb := "is no "
			if fitsKind(sample, endpoint) {
				verb = "is taken as "
			}
			t.Run("C068 C123 "+sample+" "+verb+endpoint, func(t *testing.T) {
				err := take(t, newOP(), raw)
				if taken := err == nil; taken != fitsKind(sample, endpoint) {
					t.Errorf("taken: %v, error %v", taken, err)
				}
			})
		}
	}
}

// Access tokens that do not follow RFC 9068 count for nothing else, and nothing else as one.
func TestTokenKindsWithPlainAccessTokens(t *testing.T) {
	plain := func(cfg *op.Config) { cfg.PlainAccessTokens = true }
	for sample, raw := range tokenSamples() {
		for endpoint, take := range tokenEndpoints(plain) {
			isPlain := sample == "untyped access" || sample == "access of typ JWT"
			want := fitsKind(sample, endpoint) || isPlain && endpoint == "access token"
			t.Run("C171 C068 "+sample+" at "+endpoint, func(t *testing.T) {
				err := take(t, newOP(), raw)
				if taken := err == nil; taken != want {
					t.Errorf("taken: %v, want %v, error %v", taken, want, err)
				}
			})
		}
	}
}

// A token counts for the same inside an encrypted one, whatever the outer header says. One that is
// not encrypted counts as before, unless encryption was agreed on.
func TestEncryptedTokenKinds(t *testing.T) {
	keys := decrypting(op.ClientKey{Private: ecKey(), ID: "e1", Algorithm: "ECDH-ES"})
	agreed := func(cfg *op.Config) {
		cfg.IDTokenEncrypted, cfg.UserinfoEncrypted, cfg.ResponseEncrypted = true, true, true
	}
	places := map[string]map[string]func(*testing.T, *testOP, string) error{
		"with a key":       tokenEndpoints(keys),
		"as was agreed":    tokenEndpoints(keys, agreed),
		"without any keys": tokenEndpoints(),
	}
	for sample, raw := range tokenSamples() {
		forms := map[string]string{"encrypted": encryptedFor(t, ecKey(), "ECDH-ES", raw, "logout+jwt"), "plain": raw}
		for form, raw := range forms {
			for place, endpoints := range places {
				for endpoint, take := range endpoints {
					agreed := place == "as was agreed" && endpoint != "access token" // there is nothing to agree on
					want := fitsKind(sample, endpoint) && !(form == "plain" && agreed) &&
						!(form == "encrypted" && (place == "without any keys" || endpoint == "access token"))
					t.Run("C071 C068 "+form+" "+sample+" at "+endpoint+" "+place, func(t *testing.T) {
						err := take(t, newOP(), raw)
						if taken := err == nil; taken != want {
							t.Errorf("taken: %v, error %v", taken, err)
						}
						if e, ok := errors.AsType[*op.Error](err); ok && form == "plain" && agreed && !strings.Contains(e.Hint, "Verification.Encrypted") {
							t.Errorf("the hint is %q, of %v", e.Hint, err)
						}
					})
				}
			}
		}
	}
}

// refreshedIdentity is the payload of an ID Token that a refresh brings: it needs no nonce (OpenID
// Connect Core, 12.2).
func refreshedIdentity(changes map[string]any) map[string]any {
	return changed(identity(map[string]any{"nonce": nil, "at_hash": halfHash("at-1")}), changes)
}

func signedUserinfo(changes map[string]any) map[string]any {
	return changed(userinfo(map[string]any{"iss": issuer, "aud": clientID}), changes)
}

// A token from which a claim was taken that its kind must have, or to which one was added that it
// must not have, is taken nowhere.
func TestClaimsOfKinds(t *testing.T) {
	add := func(name string, value any) map[string]any { return map[string]any{name: value} }
	drop := func(name string) map[string]any { return map[string]any{name: nil} }
	for _, row := range []struct {
		name, place, reason string
		claims              map[string]any
	}{
		{"C066 an ID Token without sub", "ID Token", "sub", identity(drop("sub"))},
		{"C058 an ID Token without iss", "ID Token", "iss_claim", identity(drop("iss"))},
		{"C059 an ID Token without aud", "ID Token", "aud", identity(drop("aud"))},
		{"C062 an ID Token without exp", "ID Token", "exp", identity(drop("exp"))},
		{"C063 an ID Token without iat", "ID Token", "iat", identity(drop("iat"))},
		{"C065 an ID Token without nonce", "ID Token", "nonce", identity(drop("nonce"))},
		{"C068 an ID Token with events", "ID Token", "typ", identity(add("events", map[string]any{}))},
		{"C068 an ID Token with events null", "ID Token", "typ", identity(add("events", null))},
		{"C081 a refreshed ID Token without sub", "ID Token of a refresh", "sub", refreshedIdentity(drop("sub"))},
		{"C081 a refreshed ID Token without exp", "ID Token of a refresh", "exp", refreshedIdentity(drop("exp"))},
		{"C081 a refreshed ID Token without iat", "ID Token of a refresh", "iat", refreshedIdentity(drop("iat"))},
		{"C081 a refreshed ID Token with events", "ID Token of a refresh", "typ", refreshedIdentity(add("events", map[string]any{}))},
		{"C077 userinfo with a nonce", "userinfo response", "userinfo_error", signedUserinfo(add("nonce", nonce))},
		{"C077 userinfo with at_hash", "userinfo response", "userinfo_error", signedUserinfo(add("at_hash", "x"))},
		{"C077 userinfo with c_hash", "userinfo response", "userinfo_error", signedUserinfo(add("c_hash", "x"))},
		{"C077 userinfo with events", "userinfo response", "userinfo_error", signedUserinfo(add("events", map[string]any{}))},
		{"C077 userinfo whose exp is past", "userinfo response", "userinfo_error", signedUserinfo(add("exp", 1))},
		{"C077 userinfo whose exp is no number", "userinfo response", "userinfo_error", signedUserinfo(add("exp", "x"))},
		{"C077 userinfo that is not valid yet", "userinfo response", "userinfo_error",
			signedUserinfo(add("nbf", time.Now().Add(time.Hour).Unix()))},
		{"C122 a logout token with a nonce", "logout token", "typ", logout(add("nonce", nonce))},
		{"C122 a logout token without events", "logout token", "events", logout(drop("events"))},
		{"C122 a logout token without jti", "logout token", "jti", logout(drop("jti"))},
		{"C122 a logout token without iat", "logout token", "iat", logout(drop("iat"))},
		{"C122 a logout token without exp", "logout token", "exp", logout(drop("exp"))},
	} {
		t.Run(row.name, func(t *testing.T) {
			wantReason(t, tokenEndpoints()[row.place](t, newOP(), signed(goodHeader, encode(row.claims))), row.reason)
		})
	}
	t.Run("C077 userinfo with times, as some providers have them", func(t *testing.T) {
		now := time.Now().Unix()
		raw := signed(goodHeader, encode(signedUserinfo(map[string]any{"iat": now, "exp": now + 300, "auth_time": now})))
		wantReason(t, tokenEndpoints()["userinfo response"](t, newOP(), raw), "")
	})
}
