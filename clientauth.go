package oidcgate

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"

	"github.com/oidcgate/oidcgate/internal/provider"
)

// ClientAuth is how the application authenticates at a provider's token endpoint. It is made by
// [ClientSecretBasic], [ClientSecretPost], their Func forms and [NoClientSecret]; the zero value is none of
// them and is refused by [New]. However it is printed, it shows no secret.
type ClientAuth struct {
	method string
	secret func(context.Context) (string, error)
	empty  bool // the constructor was given no secret at all
}

// ClientSecretBasic sends the secret in the Authorization header (client_secret_basic of OpenID Connect
// Core, section 9), id and secret form-encoded first as RFC 6749, section 2.3.1 asks.
func ClientSecretBasic(secret string) ClientAuth {
	return ClientAuth{provider.AuthBasic, fixedSecret(secret), secret == ""}
}

// ClientSecretBasicFunc is [ClientSecretBasic] with a secret that may change while the service runs: secret
// is called for every token request, concurrently, within that request's deadline.
func ClientSecretBasicFunc(secret func(context.Context) (string, error)) ClientAuth {
	return ClientAuth{provider.AuthBasic, secret, secret == nil}
}

// ClientSecretPost sends the secret in the request's body (client_secret_post of OpenID Connect Core,
// section 9).
func ClientSecretPost(secret string) ClientAuth {
	return ClientAuth{provider.AuthPost, fixedSecret(secret), secret == ""}
}

// ClientSecretPostFunc is [ClientSecretPost] with a secret that may change while the service runs, as in
// [ClientSecretBasicFunc].
func ClientSecretPostFunc(secret func(context.Context) (string, error)) ClientAuth {
	return ClientAuth{provider.AuthPost, secret, secret == nil}
}

// NoClientSecret is for a public client: the code is protected by PKCE alone (client_authentication "none"
// of OpenID Connect Core, section 9).
func NoClientSecret() ClientAuth {
	return ClientAuth{method: provider.AuthNone}
}

func fixedSecret(secret string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return secret, nil }
}

func (a ClientAuth) check(f *faults) {
	switch {
	case a.method == "":
		f.add("Auth", "is not set; use ClientSecretBasic, ClientSecretPost or NoClientSecret, as registered at the provider")
	case a.empty:
		f.add("Auth", "has an empty secret; give the one registered at the provider, or use NoClientSecret")
	}
}

func (a ClientAuth) compiled() provider.Auth {
	return provider.Auth{Method: a.method, Secret: a.secret}
}

// String names the method and hides the secret, and so do the other forms below.
func (a ClientAuth) String() string {
	switch a.method {
	case "":
		return "not set"
	case provider.AuthNone:
		return a.method
	}
	return a.method + " " + redacted
}

// Format keeps %+v and %#v from printing fields.
func (a ClientAuth) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, a.String()) }

// MarshalJSON implements [json.Marshaler].
func (a ClientAuth) MarshalJSON() ([]byte, error) { return json.Marshal(a.String()) }

// LogValue implements [slog.LogValuer].
func (a ClientAuth) LogValue() slog.Value { return slog.StringValue(a.String()) }
