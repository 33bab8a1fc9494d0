package op_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/internal/op"
)

func TestFreshHint(t *testing.T) {
	now := time.Now().Unix()
	until := func(exp any) string {
		return signed(goodHeader, encode(identity(map[string]any{"exp": exp, "iat": now - 3600})))
	}
	over, fresh := until(now-60), goodToken()
	answer := func(idToken any) http.HandlerFunc {
		return answerJSON(tokenAnswer(map[string]any{"id_token": idToken, "refresh_token": "rt-2"}))
	}
	for _, row := range []struct {
		name               string
		idToken, refresh   string
		answer             http.HandlerFunc
		hint, refreshToken string
		requests           int
	}{
		{"C117 one that has expired is replaced", over, "rt-1", answer(fresh), fresh, "rt-2", 1},
		{"C117 one that expires within seconds is replaced", until(now + 5), "rt-1", answer(fresh), fresh, "rt-2", 1},
		{"C117 one that is good for longer stays", until(now + 300), "rt-1", answer(fresh), until(now + 300), "", 0},
		{"C117 without a refresh token it stays", over, "", answer(fresh), over, "", 0},
		{"C117 the refresh fails", over, "rt-1", answerText(400, "application/json", `{"error":"invalid_grant"}`), over, "", 1},
		{"C117 the refresh brings no ID Token", over, "rt-1", answer(nil), over, "rt-2", 1},
		{"C117 the refresh brings an ID Token of another user", over, "rt-1",
			answer(signed(goodHeader, encode(identity(map[string]any{"sub": "mallory"})))), over, "rt-2", 1},
		{"C117 the refresh brings a faulty answer", over, "rt-1",
			answerJSON(tokenAnswer(map[string]any{"token_type": "mac", "refresh_token": "rt-2"})), over, "rt-2", 1},
		{"C117 one without exp stays", until(nil), "rt-1", answer(fresh), until(nil), "", 0},
		{"C117 one whose exp is no time stays", until("x"), "rt-1", answer(fresh), until("x"), "", 0},
		{"C117 what is no token stays", "junk", "rt-1", answer(fresh), "junk", "", 0},
		{"C117 what is no base64url stays", "e30." + b64(`{"exp":1}`) + "!!!!.c2ln", "rt-1", answer(fresh), "e30." + b64(`{"exp":1}`) + "!!!!.c2ln", "", 0},
		{"C117 what has exp twice stays", "e30." + b64(`{"exp":1,"exp":1}`) + ".c2ln", "rt-1", answer(fresh), "e30." + b64(`{"exp":1,"exp":1}`) + ".c2ln", "", 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			o := newOP()
			o.set("token", row.answer)
			hint, refreshToken := o.client().FreshHint(t.Context(), &op.Tokens{IDToken: row.idToken, RefreshToken: row.refresh},
				op.Original{Issuer: issuer, Subject: subject, Nonce: nonce})
			if hint != row.hint || refreshToken != row.refreshToken || o.count("token") != row.requests {
				t.Errorf("hint %q, refresh token %q, %d requests; want %q, %q, %d", hint, refreshToken, o.count("token"), row.hint, row.refreshToken, row.requests)
			}
		})
	}
}
