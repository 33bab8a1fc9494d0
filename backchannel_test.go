package oidcgate_test

import (
	"crypto/rand"
	"net/http"
	"net/url"
	"time"
)

// logoutClaims are those of a logout token (OpenID Connect Back-Channel Logout, 2.4) with more, given as name
// and value; a nil value takes a claim away.
func (f *fleet) logoutClaims(more ...any) map[string]any {
	claims := map[string]any{
		"iss": f.op.Issuer(), "aud": "shop", "jti": rand.Text(),
		"iat": time.Now().Unix(), "exp": time.Now().Add(2 * time.Minute).Unix(),
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	}
	for i := 0; i < len(more); i += 2 {
		claims[more[i].(string)] = more[i+1]
		if more[i+1] == nil {
			delete(claims, more[i].(string))
		}
	}
	return claims
}

// logoutToken sends a logout token with these claims, as the provider does: without cookies.
func (f *fleet) logoutToken(claims map[string]any) answer {
	f.Helper()
	return f.sendLogout(f.op.NewJWT(claims).Compact())
}

func (f *fleet) sendLogout(token string) answer {
	f.Helper()
	form := url.Values{"logout_token": {token}}
	return f.send(f.newBrowser(), http.MethodPost, "/auth/backchannel-logout", form.Encode())
}
