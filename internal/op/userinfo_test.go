package op_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/op"
)

func userinfo(changes map[string]any) map[string]any {
	return changed(map[string]any{"sub": subject, "name": "Jane Doe"}, changes)
}

// asking sets the mode of userinfo.
func asking(mode op.UserinfoMode) func(*op.Config) {
	return func(cfg *op.Config) { cfg.Userinfo = mode }
}

func answerJWT(raw string) http.HandlerFunc { return answerText(200, "application/jwt", raw) }

func TestUserinfo(t *testing.T) {
	signedInfo := func(changes map[string]any) http.HandlerFunc {
		return answerJWT(signed(goodHeader, encode(userinfo(changed(map[string]any{"iss": issuer, "aud": clientID}, changes)))))
	}
	const lenient = "" // mode On logs in without userinfo
	tests := []struct {
		name         string
		h            http.HandlerFunc
		required, on string // the reasons in the two modes
		claims       string
	}{
		{"a good answer", answerJSON(userinfo(nil)), "", "", `{"name":"Jane Doe"}`},
		{"C077 a signed answer", signedInfo(nil), "", "", `{"name":"Jane Doe"}`},
		{"C072 claim sources are not followed", answerJSON(userinfo(map[string]any{
			"_claim_sources": map[string]any{"src": map[string]any{"endpoint": "https://id.example/token"}},
		})), "", "", `{"_claim_sources":{"src":{"endpoint":"https://id.example/token"}},"name":"Jane Doe"}`},
		{"C079 claims of the ID Token", answerJSON(userinfo(map[string]any{
			"iss": "x", "aud": "x", "sid": "x", "nonce": "x", "auth_time": 1, "acr": "x", "amr": []string{"x"}, "azp": "x",
			"exp": 1, "iat": 1, "nbf": 1, "jti": "x", "at_hash": "x", "c_hash": "x", "events": struct{}{},
		})), "", "", `{"name":"Jane Doe"}`},

		{"C075 another sub", answerJSON(userinfo(map[string]any{"sub": subject + "1"})), "userinfo_sub",
			"userinfo_sub", ""},
		{"C075 sub in another case", answerJSON(userinfo(map[string]any{"sub": "A", "SUB": subject})),
			"userinfo_sub", "userinfo_sub", ""},
		{"C075 sub missing", answerJSON(userinfo(map[string]any{"sub": nil})), "userinfo_sub",
			"userinfo_sub", ""},
		{"C075 sub a number", answerJSON(userinfo(map[string]any{"sub": 248289761001})), "userinfo_sub",
			"userinfo_sub", ""},
		{"C075 an empty object", answerText(200, "application/json", "{}"), "userinfo_sub",
			"userinfo_sub", ""},
		{"C069 sub twice", answerText(200, "application/json", `{"sub":"x","sub":"`+subject+`"}`),
			"userinfo_error", "userinfo_error", ""},
		{"no object", answerText(200, "application/json", "null"), "userinfo_error", "userinfo_error", ""},
		{"C075 a signed answer about another", signedInfo(map[string]any{"sub": "x"}), "userinfo_sub",
			"userinfo_sub", ""},
		{"C077 a signed answer for another client", signedInfo(map[string]any{"aud": "other"}),
			"userinfo_error", "userinfo_error", ""},
		{"C077 a signed answer without aud", signedInfo(map[string]any{"aud": nil}), "userinfo_error",
			"userinfo_error", ""},
		{"C077 a signed answer of another issuer", signedInfo(map[string]any{"iss": "x"}),
			"userinfo_error", "userinfo_error", ""},
		{"C077 a signed answer without iss", signedInfo(map[string]any{"iss": nil}), "userinfo_error",
			"userinfo_error", ""},
		{"C077 an answer signed by another",
			answerJWT(signedBy(otherRSA(), goodHeader, encode(identity(nil)))), "userinfo_error",
			"userinfo_error", ""},
		{"C077 an answer signed with none",
			answerJWT(b64(`{"alg":"none"}`) + "." + b64(encode(identity(nil))) + "."), "userinfo_error",
			"userinfo_error", ""},
		{"C077 an answer that is no token", answerJWT("hush"), "userinfo_error", "userinfo_error", ""},

		{"C076 HTML", answerText(200, "text/html", "hush"), "userinfo_error", lenient, "{}"},
		{"C076 status 401", answerText(401, "application/json", encode(userinfo(nil))), "userinfo_error",
			lenient, "{}"},
		{"C076 status 203", answerText(203, "application/json", encode(userinfo(nil))), "userinfo_error",
			lenient, "{}"},
		{"C052 a redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/token", http.StatusTemporaryRedirect)
		}, "userinfo_error", lenient, "{}"},
		{"F03 no answer", hang, "userinfo_error", lenient, "{}"},
		{"F11 a broken connection", abort, "userinfo_error", lenient, "{}"},
	}
	for _, tt := range tests {
		for _, in := range []struct {
			name, reason string
			mode         op.UserinfoMode
		}{
			{", required", tt.required, op.UserinfoRequired},
			{", on", tt.on, op.UserinfoOptional},
		} {
			t.Run(tt.name+in.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					o := newOP()
					o.set("userinfo", tt.h)
					o.set("token", answerJSON(userinfo(nil))) // where redirects and sources lead
					info, err := o.client(asking(in.mode)).Userinfo(t.Context(), "at-1", subject)
					wantReason(t, err, in.reason)
					if err == nil && string(info.AppendJSON(nil)) != tt.claims {
						t.Errorf("claims %s, want %s", info.AppendJSON(nil), tt.claims)
					}
					if err != nil && info != "" {
						t.Errorf("claims %s beside an error", info.AppendJSON(nil))
					}
					told := slices.Contains(o.events(), "userinfo.failed "+tt.required)
					if want := err == nil && tt.required != ""; told != want {
						t.Errorf("events %q", o.events())
					}
					if o.count("userinfo") != 1 || o.count("token") != 0 {
						t.Errorf("%d userinfo calls and %d elsewhere", o.count("userinfo"), o.count("token"))
					}
				})
			})
		}
	}
}

func TestUserinfoWithoutSubject(t *testing.T) {
	o := newOP()
	o.set("userinfo", answerJSON(userinfo(map[string]any{"sub": nil})))
	_, err := o.client(asking(op.UserinfoOptional)).Userinfo(t.Context(), "at-1", "")
	wantReason(t, err, "userinfo_sub") // C075 nobody is not the same as nobody
}

func TestAsksUserinfo(t *testing.T) {
	further := func(context.Context, claims.Object, claims.Object, op.Send) (claims.Object, error) {
		return "", nil
	}
	for name, tt := range map[string]struct {
		change func(*op.Config)
		want   bool
	}{
		"off":                   {func(*op.Config) {}, false},
		"optional":              {asking(op.UserinfoOptional), true},
		"other addresses alone": {func(cfg *op.Config) { cfg.Further = further }, true},
	} {
		if got := newOP().client(tt.change).AsksUserinfo(); got != tt.want {
			t.Errorf("C076 %s: %v, want %v", name, got, tt.want)
		}
	}
}

func TestUserinfoAsJWTWithoutIDTokens(t *testing.T) {
	t.Run("C077 a provider without ID Tokens has no signed userinfo: its answer is JSON, whatever its type", func(t *testing.T) {
		o := newOP()
		o.set("userinfo", answerText(200, "application/jwt", encode(userinfo(nil))))
		c := o.client(asking(op.UserinfoRequired), func(cfg *op.Config) { cfg.SubjectClaim = "sub" })
		_, err := c.Userinfo(t.Context(), "at-1", subject)
		wantReason(t, err, "")
	})
}

func TestUserinfoOff(t *testing.T) {
	o := newOP()
	info, err := o.client().Userinfo(t.Context(), "at-1", subject)
	if info != "" || err != nil || o.total() != 0 {
		t.Errorf("got %q, %v after %d calls", info, err, o.total())
	}
}

func TestUserinfoSignedAsAgreed(t *testing.T) {
	for name, tt := range map[string]struct {
		h      http.HandlerFunc
		reason string
	}{
		"C078 plain JSON is refused":    {answerJSON(userinfo(nil)), "userinfo_error"},
		"C078 a signed answer is taken": {answerJWT(signed(goodHeader, encode(map[string]any{"iss": issuer, "aud": clientID, "sub": subject}))), ""},
		"C078 a signed answer with wrong type": {
			answerText(200, "application/json", goodToken()), "userinfo_error",
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOP()
			o.set("userinfo", tt.h)
			_, err := o.client(func(cfg *op.Config) {
				cfg.Userinfo = op.UserinfoOptional
				cfg.UserinfoSigned = true
			}).Userinfo(t.Context(), "at-1", subject)
			wantReason(t, err, tt.reason)
		})
	}
}

func TestSignedUserinfo(t *testing.T) {
	es256 := joseToken(t, "ES256", ecKey(), "k2", signedUserinfo(nil))
	byPublicKey := joseToken(t, "HS256", []byte(encode(jwk(rsaKey().Public(), "k1"))), "k1", signedUserinfo(nil))
	info := func(changes map[string]any) string { return signed(goodHeader, encode(signedUserinfo(changes))) }
	for _, row := range []struct{ name, token, reason string }{
		{"C077 aud an array of this client", info(map[string]any{"aud": []string{clientID}}), ""},
		{"C077 aud an array with another client", info(map[string]any{"aud": []string{clientID, "other"}}), "userinfo_error"},
		{"C077 aud an array with another client, azp this one", info(map[string]any{"aud": []string{clientID, "other"}, "azp": clientID}), "userinfo_error"},
		{"C077 aud an array without this client", info(map[string]any{"aud": []string{"other"}}), "userinfo_error"},
		{"C077 aud an empty array", info(map[string]any{"aud": []string{}}), "userinfo_error"},
		{"C077 aud an object", info(map[string]any{"aud": map[string]any{clientID: 1}}), "userinfo_error"},
		{"C077 azp of another client", info(map[string]any{"azp": "other"}), "userinfo_error"},
		{"C075 sub a number", info(map[string]any{"sub": 248289761001}), "userinfo_sub"},
		{"C075 sub null", info(map[string]any{"sub": null}), "userinfo_sub"},
		{"C075 without sub", info(map[string]any{"sub": nil}), "userinfo_error"},
		{"C077 an algorithm that was not agreed on", es256, "userinfo_error"},
		{"C077 signed with the public key as a secret", byPublicKey, "userinfo_error"},
		{"C077 signed by a key that is not the provider's", signedBy(otherRSA(), `{"alg":"RS256","kid":"k2"}`, encode(signedUserinfo(nil))), "userinfo_error"},
	} {
		t.Run(row.name, func(t *testing.T) {
			o := newOP()
			o.set("jwks", answerJSON(keySet(jwk(rsaKey().Public(), "k1"), jwk(ecKey().Public(), "k2"))))
			o.set("userinfo", answerJWT(row.token))
			_, err := o.client(asking(op.UserinfoOptional)).Userinfo(t.Context(), "at-1", subject)
			wantReason(t, err, row.reason)
		})
	}
	inBubble(t, "C077 C008 a new key of the provider is fetched", func(t *testing.T) {
		o := newOP()
		c := o.client(asking(op.UserinfoRequired))
		o.set("userinfo", answerJWT(info(nil)))
		_, err := c.Userinfo(t.Context(), "at-1", subject)
		wantReason(t, err, "")
		o.set("jwks", answerJSON(keySet(jwk(otherRSA().Public(), "k2"))))
		o.set("userinfo", answerJWT(signedBy(otherRSA(), `{"alg":"RS256","kid":"k2"}`, encode(signedUserinfo(nil)))))
		for range 2 {
			_, err = c.Userinfo(t.Context(), "at-1", subject)
			wantReason(t, err, "")
		}
		if n := o.count("jwks"); n != 2 {
			t.Errorf("the keys were fetched %d times, want twice", n)
		}
	})
}

func TestUnreadableUserinfo(t *testing.T) {
	unknownKey := signedBy(otherRSA(), `{"alg":"RS256","kid":"nowhere"}`, encode(signedUserinfo(nil)))
	for _, row := range []struct {
		name   string
		answer http.HandlerFunc
		want   bool
	}{
		{"C113 no JSON", answerText(200, "application/json", "{"), true},
		{"C113 a page", answerText(200, "text/html", "{}"), true},
		{"C113 a signed answer without sub", answerJWT(signed(goodHeader, encode(signedUserinfo(map[string]any{"sub": nil})))), true},
		{"C113 signed by a key that is not known", answerJWT(unknownKey), false},
		{"C113 another status", answerText(404, "application/json", "{"), false},
		{"C113 no answer", answerText(503, "application/json", "{"), false},
	} {
		t.Run(row.name, func(t *testing.T) {
			o := newOP()
			o.set("userinfo", row.answer)
			_, err := o.client(asking(op.UserinfoRequired)).Userinfo(t.Context(), "at-1", subject)
			e, ok := errors.AsType[*op.Error](err)
			if !ok || e.Unreadable != row.want {
				t.Errorf("error %+v, want one that is unreadable: %v", err, row.want)
			}
		})
	}
}

func TestUserinfoRequest(t *testing.T) {
	o := newOP()
	var method, query, authorization string
	o.set("userinfo", func(w http.ResponseWriter, r *http.Request) {
		method, query, authorization = r.Method, r.URL.RawQuery, r.Header.Get("Authorization")
		answerJSON(userinfo(nil))(w, r)
	})
	_, err := o.client(asking(op.UserinfoOptional)).Userinfo(t.Context(), "at-1", subject)
	wantReason(t, err, "")
	if method != "GET" || query != "" || authorization != "Bearer at-1" {
		t.Errorf("C074 %s ?%s with %q", method, query, authorization)
	}
}

func TestUserinfoWithoutEndpoint(t *testing.T) {
	o := newOP()
	o.set("discovery", answerJSON(metadata(map[string]any{"userinfo_endpoint": nil})))
	_, err := o.client(asking(op.UserinfoOptional)).Userinfo(t.Context(), "at-1", subject)
	wantReason(t, err, "")
	if want := []string{"provider.ready", "userinfo.failed userinfo_error"}; !slices.Equal(o.events(), want) {
		t.Errorf("events %q, want %q", o.events(), want)
	}
	_, err = o.client(asking(op.UserinfoRequired)).Userinfo(t.Context(), "at-1", subject)
	wantReason(t, err, "endpoint_invalid")
}

func TestUserinfoHoldsUpNoLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOP()
		o.set("userinfo", hang)
		c := o.client(func(cfg *op.Config) { cfg.Userinfo = op.UserinfoOptional })
		start := time.Now()
		_, err := c.Userinfo(t.Context(), "at-1", subject)
		wantReason(t, err, "")
		if waited := time.Since(start); waited != 10*time.Second {
			t.Errorf("F03 waited %v by the bubble's clock, want Config.Timeout", waited)
		}
	})
}
