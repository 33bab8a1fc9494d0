package op_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oidcgate/oidcgate/internal/op"
)

// logout is the payload of a good logout token with some claims changed; a nil
// one is left out.
func logout(changes map[string]any) map[string]any {
	now := time.Now().Unix()
	return changed(map[string]any{
		"iss":    issuer,
		"aud":    clientID,
		"iat":    now,
		"exp":    now + 120,
		"jti":    "bWJq",
		"sub":    subject,
		"sid":    "08a5019c",
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	}, changes)
}

func logoutToken(header string, changes map[string]any) string {
	return signed(header, encode(logout(changes)))
}

func TestLogoutToken(t *testing.T) {
	tests := []struct {
		name   string
		token  string
		reason string
	}{
		{"C122 a good token", logoutToken(goodHeader, nil), ""},
		{"C123 of its own type", logoutToken(`{"alg":"RS256","kid":"k1","typ":"logout+jwt"}`, nil), ""},
		{"C122 without sub", logoutToken(goodHeader, map[string]any{"sub": nil}), ""},
		{"C122 without sid", logoutToken(goodHeader, map[string]any{"sid": nil}), ""},
		{"C123 of sixteen minutes", logoutToken(goodHeader, map[string]any{"exp": time.Now().Unix() + 960}),
			""},

		{"C123 of an hour", logoutToken(goodHeader, map[string]any{"exp": time.Now().Unix() + 3600}),
			"exp"},
		{"C123 typ JWT", logoutToken(`{"alg":"RS256","kid":"k1","typ":"JWT"}`, nil), "typ"},
		{"C123 an empty typ", logoutToken(`{"alg":"RS256","kid":"k1","typ":""}`, nil), "typ"},
		{"C122 without exp", logoutToken(goodHeader, map[string]any{"exp": nil}), "exp"},
		{"C122 exp null", logoutToken(goodHeader, map[string]any{"exp": null}), "exp"},
		{"C122 without sub and sid", logoutToken(goodHeader, map[string]any{"sub": nil, "sid": nil}),
			"sub"},
		{"C122 sid null", logoutToken(goodHeader, map[string]any{"sid": null}), "sid"},
		{"C122 sid an object", logoutToken(goodHeader, map[string]any{"sid": map[string]any{}}), "sid"},
		{"C122 sub null", logoutToken(goodHeader, map[string]any{"sub": null}), "sub"},
		{"C122 sub with a line break", logoutToken(goodHeader, map[string]any{"sub": "a\nb"}), "sub"},
		{"C122 events null", logoutToken(goodHeader, map[string]any{"events": null}), "events"},
		{"C122 nonce null", logoutToken(goodHeader, map[string]any{"nonce": null}), "typ"},
		{"C122 jti null", logoutToken(goodHeader, map[string]any{"jti": null}), "jti"},
		{"C122 alg none", b64(`{"alg":"none"}`) + "." + b64(encode(logout(nil))) + ".", "alg"},
		{"C122 an alg that was not agreed on", joseToken(t, "ES256", ecKey(), "k1", logout(nil)), "alg"},
		{"C122 signed by another", signedBy(otherRSA(), goodHeader, encode(logout(nil))), "sig"},
		{"C129 longer than any is",
			logoutToken(goodHeader, map[string]any{"x": strings.Repeat("x", 16<<10)}), "id_token_malformed"},
		{"C122 an ID Token", goodToken(), "events"},
		{"C122 no JSON", signed(goodHeader, "logout"), "id_token_malformed"},
		{"C122 a member twice", signed(goodHeader, `{"iss":"x",`+encode(logout(nil))[1:]),
			"id_token_malformed"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := newOP().client().VerifyLogoutToken(t.Context(), test.token)
			if e := wantReason(t, err, test.reason); e != nil {
				if got != nil || e.Status != http.StatusBadRequest {
					t.Errorf("%+v with status %d, want nothing with 400", got, e.Status)
				}
				return
			}
			if got.ID != "bWJq" || got.Subject == "" && got.SessionID == "" || got.IssuedAt.IsZero() || !got.Expires.After(got.IssuedAt) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// null is a claim whose value is the JSON null; nil leaves the claim out.
var null = (*int)(nil)

func TestLogoutTokenIsNoIDToken(t *testing.T) {
	raw := logoutToken(goodHeader, map[string]any{"nonce": nonce})
	_, err := newOP().client().VerifyIDToken(t.Context(), raw, "", op.Expectation{Nonce: nonce})
	wantReason(t, err, "typ")
}

func TestLogoutTokenCannotBeJudged(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"C129 the keys answer 500":    answerText(500, "", ""),
		"C129 the keys are reset":     abort,
		"C129 the keys never come":    hang,
		"C129 the keys are no keys":   answerJSON(keySet()),
		"C129 the keys are elsewhere": answerText(404, "", ""),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newOP()
				o.set("jwks", h)
				_, err := o.client().VerifyLogoutToken(t.Context(), logoutToken(goodHeader, nil))
				if e := wantReason(t, err, "jwks_unavailable"); e.Status == http.StatusBadRequest {
					t.Error("the token was blamed for it: the provider would not try again")
				}
			})
		})
	}
}

func TestCheapChecksComeFirst(t *testing.T) {
	o := newOP()
	client := o.client()
	for _, token := range []string{
		"", "a.b.c", strings.Repeat("x", 1<<20), goodToken() + ".x",
		b64(`{"alg":"none"}`) + "." + b64("{}") + ".",
		logoutToken(`{"alg":"HS256","kid":"k1"}`, nil),
		logoutToken(`{"alg":"RS256","kid":"k1","typ":"at+jwt"}`, nil),
		logoutToken(`{"alg":"RS256","kid":"k1","crit":["x"]}`, nil),
	} {
		if _, err := client.VerifyLogoutToken(t.Context(), token); err == nil {
			t.Errorf("%.40q was accepted", token)
		}
	}
	if n := o.total(); n != 0 {
		t.Errorf("C129 junk led to %d requests to the provider", n)
	}
}

func TestLogoutTokenTolerances(t *testing.T) {
	typJWT := func(cfg *op.Config) { cfg.LogoutTypeJWT = true }
	noExp := func(cfg *op.Config) { cfg.LogoutWithoutExp = true }
	const jwtHeader = `{"alg":"RS256","kid":"k1","typ":"JWT"}`
	now := time.Now().Unix()
	issued := func(age int64) map[string]any { return map[string]any{"exp": nil, "iat": now - age} }
	for _, row := range []struct {
		name   string
		header string
		claims map[string]any
		set    func(*op.Config)
		reason string
		hint   string
	}{
		{"C123 typ JWT where that is configured", jwtHeader, nil, typJWT, "", ""},
		{"C123 typ jwt in small letters", `{"alg":"RS256","kid":"k1","typ":"jwt"}`, nil, typJWT, "", ""},
		{"C123 another typ all the same", `{"alg":"RS256","kid":"k1","typ":"at+jwt"}`, nil, typJWT, "typ", ""},
		{"C123 a refusal of typ JWT names the field", jwtHeader, nil, noExp, "typ", "Verification.LogoutTypeJWT"},
		{"C122 no exp where that is configured", goodHeader, issued(0), noExp, "", ""},
		{"C122 no exp, two minutes and a little skew", goodHeader, issued(150), noExp, "", ""},
		{"C122 no exp, two minutes and more than the skew", goodHeader, issued(181), noExp, "iat", ""},
		{"C122 no exp, issued in the future", goodHeader, issued(-120), noExp, "iat", "NTP"},
		{"C122 exp past", goodHeader, map[string]any{"exp": now - 90}, noExp, "exp", "NTP"},
		{"C122 exp null is no missing exp", goodHeader, map[string]any{"exp": null}, noExp, "exp", ""},
		{"C122 a refusal without exp names the field", goodHeader, issued(0), typJWT, "exp", "Verification.LogoutWithoutExp"},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := newOP().client(row.set).VerifyLogoutToken(t.Context(), logoutToken(row.header, row.claims))
			if e := wantReason(t, err, row.reason); e != nil {
				if e.Status != http.StatusBadRequest || !strings.Contains(e.Hint, row.hint) || row.hint == "" && e.Hint != "" {
					t.Errorf("status %d, hint %q", e.Status, e.Hint)
				}
				return
			}
			// The caller remembers the jti until then, and for two skews more.
			if want := got.IssuedAt.Add(2 * time.Minute); !got.Expires.Equal(want) {
				t.Errorf("it expires at %v, want %v", got.Expires, want)
			}
		})
	}
}
