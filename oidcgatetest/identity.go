package oidcgatetest

import (
	"context"
	"net/http"

	"github.com/oidcgate/oidcgate"
)

// WithIdentity returns r with the user signed in at gate, for tests of handlers: the handler finds the user
// by oidcgate.FromContext, and guards made by gate let the user through as far as their rules allow. The
// request need not pass through gate.Wrap; if it does, Wrap keeps the user.
//
// The identity's issuer is "https://id.test". Claims and UserinfoClaims of the user are taken as they are. A
// user without a Subject is signed in as "alice".
//
//	r := httptest.NewRequest("GET", "/admin", nil)
//	r = oidcgatetest.WithIdentity(r, gate, oidcgatetest.User{Claims: map[string]any{"groups": []string{"admin"}}})
//	router.ServeHTTP(w, r)
func WithIdentity(r *http.Request, gate *oidcgate.Gate, u User) *http.Request {
	return r.WithContext(NewContext(r.Context(), gate, u))
}

// NewContext is [WithIdentity] for a context.
func NewContext(ctx context.Context, gate *oidcgate.Gate, u User) context.Context {
	subject := u.Subject
	if subject == "" {
		subject = "alice"
	}
	claims := map[string]any{}
	for _, m := range []map[string]any{u.UserinfoClaims, u.Claims} {
		for name, value := range m {
			claims[name] = value
		}
	}
	id, err := oidcgate.NewIdentity(defaultIssuer, subject, claims)
	if err != nil {
		panic("oidcgatetest: " + err.Error()) // a claim that JSON cannot hold: a fault of the test
	}
	return gate.NewContext(ctx, id)
}

// defaultIssuer is where a provider is that was not told, and whose users WithIdentity makes.
const defaultIssuer = "https://id.test"
