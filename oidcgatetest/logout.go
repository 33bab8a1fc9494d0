package oidcgatetest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
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
	err := p.logOut(subject, func(address string, form io.Reader) (int, error) {
		r := httptest.NewRequest(http.MethodPost, address, form)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, r)
		return rec.Code, nil
	})
	if err != nil {
		t.Fatalf("%v", err)
	}
}

// SendLogout is [Provider.LogOut] for a service that runs, in this process or in another: each
// logout token is posted to the service's route for it, which is beside the redirect URL of the
// login. The logins are over at the provider also when that fails.
//
//	err := p.SendLogout(ctx, http.DefaultClient, "bob")
func (p *Provider) SendLogout(ctx context.Context, client *http.Client, subject string) error {
	once := *client
	once.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return p.logOut(subject, func(address string, form io.Reader) (int, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, form)
		if err != nil {
			return 0, err
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := once.Do(r)
		if err != nil {
			return 0, err
		}
		return resp.StatusCode, resp.Body.Close()
	})
}

// logOut ends the logins of a user and has a logout token posted for each.
func (p *Provider) logOut(
	subject string, post func(address string, form io.Reader) (status int, _ error),
) error {
	if p.config.WithoutIDTokens {
		return errors.New("oidcgatetest: a provider WithoutIDTokens tells nobody of a logout")
	}
	ended := p.endLogins(subject)
	if len(ended) == 0 {
		return fmt.Errorf("oidcgatetest: logging out: %q has not logged in", subject)
	}
	var errs []error
	for _, g := range ended {
		form := url.Values{"logout_token": {p.logoutToken(g)}}
		address := strings.Replace(g.redirectURL, "/callback", "/backchannel-logout", 1)
		status, err := post(address, strings.NewReader(form.Encode()))
		errs = append(errs, logoutFailure(address, status, err))
	}
	return errors.Join(errs...)
}

// logoutFailure returns why a logout token was not taken, or nil.
func logoutFailure(address string, status int, err error) error {
	switch {
	case err != nil:
		return fmt.Errorf("oidcgatetest: logging out: %w", err)
	case status == http.StatusNotFound:
		return fmt.Errorf("oidcgatetest: logging out: %s answers 404: the gate does not serve that "+
			"path; is the handler gate.Wrap(...), behind http.StripPrefix where BaseURL has a path?",
			address)
	case status != http.StatusOK:
		return fmt.Errorf("oidcgatetest: logging out: %s answers %d; the gate's log says why",
			address, status)
	}
	return nil
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
