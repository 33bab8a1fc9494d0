package op_test

import (
	"testing"

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

		"typed logout token": signed(`{"alg":"RS256","kid":"k1","typ":"logout+jwt"}`, encode(logout(nil))),
		"access token":       signed(`{"alg":"RS256","kid":"k1","typ":"at+jwt"}`, more(map[string]any{"client_id": clientID, "jti": "j", "scope": "openid"})),
		"application/at+jwt": signed(`{"alg":"RS256","kid":"k1","typ":"application/at+jwt"}`, more(nil)),
		"request object":     signed(`{"alg":"RS256","kid":"k1","typ":"oauth-authz-req+jwt"}`, more(nil)),
		"security event":     signed(`{"alg":"RS256","kid":"k1","typ":"secevent+jwt"}`, encode(logout(nil))),
	}
}

// tokenEndpoints are the places where tokens of each kind are taken.
func tokenEndpoints() map[string]func(t *testing.T, o *testOP, raw string) error {
	return map[string]func(t *testing.T, o *testOP, raw string) error{
		"ID Token": func(t *testing.T, o *testOP, raw string) error {
			o.set("token", answerJSON(tokenAnswer(map[string]any{"id_token": raw})))
			_, err := (&login{op: o, query: goodResponse(nil)}).finish(t, o.client())
			return err
		},
		"ID Token of a refresh": func(t *testing.T, o *testOP, raw string) error {
			_, err := o.client().VerifyRefreshed(t.Context(), raw, "at-1", op.Original{Subject: subject, Nonce: "that of this session"})
			return err
		},
		"userinfo response": func(t *testing.T, o *testOP, raw string) error {
			o.set("userinfo", answerJWT(raw))
			_, err := o.client(func(cfg *op.Config) { cfg.Userinfo = op.UserinfoRequired }).Userinfo(t.Context(), "at-1", subject)
			return err
		},
		"logout token": func(t *testing.T, o *testOP, raw string) error {
			_, err := o.client().VerifyLogoutToken(t.Context(), raw)
			return err
		},
	}
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
	fits := func(sample, endpoint string) bool {
		return sample == endpoint || sample == "typed logout token" && endpoint == "logout token"
	}
	for sample, raw := range samples {
		for endpoint, take := range endpoints {
			verb := "is no "
			if fits(sample, endpoint) {
				verb = "is taken as "
			}
			t.Run("C068 C123 "+sample+" "+verb+endpoint, func(t *testing.T) {
				err := take(t, newOP(), raw)
				if taken := err == nil; taken != fits(sample, endpoint) {
					t.Errorf("taken: %v, error %v", taken, err)
				}
			})
		}
	}
}
