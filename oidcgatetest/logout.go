package oidcgatetest

import (
	"crypto/rand"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"time"
)

// LogOut logs a user out at the provider, which tells handler so over the back channel (OpenID
// Connect Back-Channel Logout, 2.5): it sends one logout token for each login of the user, with sub
// and sid. handler must be gate.Wrap(...). The tokens of these logins end. The test fails if the
// user has not logged in, or a logout token is refused.
//
//	browser := p.SignIn(t, gate, handler, oidcgatetest.User{Subject: "bob"})
//	p.LogOut(t, handler, "bob")
//
// The browser follows redirects, and so a Get of a guarded page logs the user in again. To see that
// the session has ended, ask a route of RequireAPI, which answers 401.
//
// For a logout token of another kind, post a [Provider.NewJWT] that has events.
func (p *Provider) LogOut(t TB, handler http.Handler, subject string) {
	t.Helper()
	ended := p.endLogins(subject)
	if len(ended) == 0 {
		t.Fatalf("oidcgatetest: logging out: %q has not logged in", subject)
	}
	for _, g := range ended {
		form := url.Values{"logout_token": {p.logoutToken(g)}}
		path := strings.Replace(g.redirectURL, "/callback", "/backchannel-logout", 1)
		r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, r)
		if rec.Code == http.StatusNotFound {
			t.Fatalf("oidcgatetest: logging out: %s answers 404: the gate does not serve that path; is "+
				"the handler gate.Wrap(...)?", path)
		}
		if rec.Code != http.StatusOK {
			t.Fatalf("oidcgatetest: logging out: %s answers %d; the gate's log says why", path, rec.Code)
		}
	}
}

// endLogins ends the grants of a user and returns them.
func (p *Provider) endLogins(subject string) (ended []*grant) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, g := range p.refreshTokens {
		if g.subject == subject && !g.ended {
			p.endGrants(g.sessionID)
			ended = append(ended, g)
		}
	}
	return ended
}

// logoutToken returns the token that logs out of the session of a grant.
func (p *Provider) logoutToken(g *grant) string {
	claims, now := p.idTokenClaims(g, ""), time.Now()
	return p.NewJWT(map[string]any{
		"iss": claims["iss"], "aud": g.clientID, "sub": g.subject, "sid": g.sessionID,
		"iat": now.Unix(), "exp": now.Add(2 * time.Minute).Unix(), "jti": rand.Text(),
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": struct{}{}},
	}).Compact()
}
