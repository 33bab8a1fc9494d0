package oidcgatetest

import (
	"context"
	"net/http"

	"github.com/oidcgate/oidcgate"
)

// WithIdentity returns r with the user signed in at gate, for tests of handlers. The handler gets
// the user from oidcgate.FromContext, and guards made by gate apply their rules to the user. The
// request need not pass through gate.Wrap; if it does, Wrap keeps this user.
//
// The identity's issuer is "https://id.test", and its ProviderName is ""; for another, log in with
// [Provider.SignIn]. All Claims and UserinfoClaims of the user are
// included, whatever their scope. A claim that is in both has the value from Claims. There is no
// session: Token, Client, Values and Sessions work for a visitor of [Provider.SignIn] only. The
// request says that it comes from a page of the site (Sec-Fetch-Site), unless r says something
// else.
//
// Behind RequireToken and RequireEither, a request that passes through gate.Wrap needs a token of
// [Provider.NewAccessToken]. One that does not is for tests of one handler: behind RequireToken the
// identity counts as that of an access token, whose scopes are the claim "scope", and behind
// RequireEither as a session, unless r has a header Authorization with an access token, which is
// not verified.
//
//	r := httptest.NewRequest("GET", "/admin", nil)
//	admin := oidcgatetest.User{Claims: map[string]any{"groups": []string{"admin"}}}
//	r = oidcgatetest.WithIdentity(r, gate, admin)
//	router.ServeHTTP(w, r)
func WithIdentity(r *http.Request, gate *oidcgate.Gate, u User) *http.Request {
	r = r.WithContext(NewContext(r.Context(), gate, u))
	if r.Header.Get("Sec-Fetch-Site") == "" {
		r.Header = r.Header.Clone()
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	return r
}

// NewContext is like [WithIdentity] for a context.
func NewContext(ctx context.Context, gate *oidcgate.Gate, u User) context.Context {
	claims := map[string]any{}
	for _, m := range []map[string]any{u.UserinfoClaims, u.Claims} {
		for name, value := range m {
			claims[name] = value
		}
	}
	id, err := oidcgate.NewIdentity(defaultIssuer, u.named().Subject, claims)
	if err != nil {
		// A claim that cannot be encoded as JSON is an error in the test.
		panic("oidcgatetest: " + err.Error())
	}
	return gate.NewContext(ctx, id)
}

// defaultIssuer is the issuer of a Provider whose Config names none, and of identities made by
// WithIdentity.
const defaultIssuer = "https://id.test"
