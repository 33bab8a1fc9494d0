//go:build unix

package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
	"github.com/oidcgate/oidcgate/store"
)

// The session used in all measurements: 15 claims in an ID Token of about 1200 bytes, and tokens of
// the size that large providers issue.
const (
	userSubject = "248289761001"
	userEmail   = "jane.doe@shop.example"
	userGroup   = "staff"

	sessionIdle = time.Hour

	idTokenSize = 1200
	shopURL     = "https://shop.test"
	cookieName  = "__Host-Http-oidcgate"
)

var (
	accessToken  = strings.Repeat("a", 1100)
	refreshToken = strings.Repeat("r", 700)
)

// A shop is an application with a gate, and its provider in the same process.
type shop struct {
	handler  http.Handler
	gate     *oidcgate.Gate
	provider *oidcgatetest.Provider
}

func newShop(s store.Store) (*shop, error) {
	op, err := newProvider()
	if err != nil {
		return nil, err
	}
	keys, err := oidcgate.ParseKeys(base64.StdEncoding.EncodeToString([]byte("a key for nothing but benchmarks")))
	if err != nil {
		return nil, err
	}
	gate, err := oidcgate.New(oidcgate.Config{
		Limits:      oidcgate.Limits{UserSessions: 1 << 20}, // one user logs in again and again
		BaseURL:     shopURL,
		Store:       s,
		Keys:        keys,
		IdleTimeout: sessionIdle,
		Logger:      slog.New(slog.DiscardHandler),
		HTTP:        oidcgate.HTTPOptions{Transport: op.Transport()},
	}, oidcgate.Provider{
		Issuer:   op.Issuer(),
		ClientID: "shop",
		Auth:     oidcgate.ClientSecretBasic("secret"),
		Scopes:   []string{"profile", "email"},
	})
	if err != nil {
		return nil, err
	}
	guarded := gate.Require(oidcgate.Claim("groups", userGroup))(http.HandlerFunc(me))
	return &shop{gate.Wrap(guarded), gate, op}, nil
}

func newProvider() (*oidcgatetest.Provider, error) {
	op, err := oidcgatetest.New(oidcgatetest.Config{})
	if err != nil {
		return nil, err
	}
	op.AddClient(oidcgatetest.Client{ID: "shop", Secret: "secret", RedirectURLs: []string{shopURL + "/auth/callback"}})
	op.SetUser(oidcgatetest.User{Subject: userSubject, Claims: map[string]any{
		"name":               "Jane Doe",
		"preferred_username": "jane.doe",
		"email":              userEmail,
		"email_verified":     true,
		"groups": []string{
			"/customers/europe/germany", "/newsletter/weekly", "/newsletter/new-arrivals", userGroup,
			"/warehouse/north/early-shift", "/warehouse/south/late-shift", "/warehouse/returns-desk",
		},
		"locale": "en-GB",
	}})
	op.Always(oidcgatetest.Token, oidcgatetest.EditJSON(func(members map[string]any) {
		members["access_token"], members["refresh_token"] = accessToken, refreshToken
	}))
	sum := sha256.Sum256([]byte(accessToken))
	op.EveryIDToken(func(t *oidcgatetest.JWT) {
		t.Claims["at_hash"] = base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
	})
	return op, nil
}

// login signs a visitor in with a new browser, from the guarded page back to it, and returns the
// session cookie.
func (s *shop) login(ctx context.Context) (cookie string, err error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return "", err
	}
	browser := &http.Client{Jar: jar, Transport: oidcgatetest.NewTransport(map[string]http.Handler{
		"shop.test": s.handler, "id.test": s.provider,
	})}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, shopURL+"/me", nil)
	if err != nil {
		return "", err
	}
	r.Header.Set("Accept", "text/html") // a navigation, which is redirected to the login
	resp, err := browser.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("logging in: status %s", resp.Status)
	}
	for _, c := range jar.Cookies(&url.URL{Scheme: "https", Host: "shop.test"}) {
		if c.Name == cookieName {
			return c.Name + "=" + c.Value, nil
		}
	}
	return "", errors.New("logging in: no session cookie")
}

// sessionClaims returns the claims of a signed-in visitor.
func sessionClaims(ctx context.Context) (map[string]any, error) {
	shop, err := newShop(&store.Memory{})
	if err != nil {
		return nil, err
	}
	defer shop.provider.Close()
	cookie, err := shop.login(ctx)
	if err != nil {
		return nil, err
	}
	var claims map[string]any
	read := shop.gate.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if id, ok := oidcgate.FromContext(r.Context()); ok {
			err = id.Decode(&claims)
		}
	}))
	read.ServeHTTP(discard{make(http.Header)}, newRequest(ctx, cookie))
	if err == nil && claims == nil {
		err = errors.New("nobody is signed in after a login")
	}
	return claims, err
}
