package oidcgate

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"

	"github.com/oidcgate/oidcgate/internal/op"
)

// ClientAuth is how the application authenticates at a provider's token endpoint, made by
// [ClientSecretBasic], [ClientSecretPost] or [PublicClient]. [New] refuses the zero value. No
// printed form of it shows the secret.
type ClientAuth struct {
	method string
	secret func(context.Context) (string, error)
	empty  bool // the constructor was given no secret
}

// Secret is a client secret, or a function that returns the current one. The function is called for
// every request that authenticates the client, concurrently, within that request's deadline.
type Secret interface {
	string | func(context.Context) (string, error)
}

// ClientSecretBasic sends the secret in the Authorization header (client_secret_basic of OpenID
// Connect Core, section 9), id and secret form-encoded as in RFC 6749, section 2.3.1.
func ClientSecretBasic[S Secret](secret S) ClientAuth {
	return withSecret(op.AuthBasic, secret)
}

// ClientSecretPost sends the secret in the request's body (client_secret_post of OpenID Connect
// Core, section 9).
func ClientSecretPost[S Secret](secret S) ClientAuth {
	return withSecret(op.AuthPost, secret)
}

// PublicClient is for a client without a secret: PKCE alone protects the code (client
// authentication "none" of OpenID Connect Core, section 9).
func PublicClient() ClientAuth {
	return ClientAuth{method: op.AuthNone}
}

func withSecret(method string, secret any) ClientAuth {
	switch secret := secret.(type) {
	case string:
		fixed := func(context.Context) (string, error) { return secret, nil }
		return ClientAuth{method, fixed, secret == ""}
	case func(context.Context) (string, error):
		return ClientAuth{method, secret, secret == nil}
	}
	return ClientAuth{method: method, empty: true}
}

func (a ClientAuth) check(f *faults) {
	switch {
	case a.method == "":
		f.add("Auth", "is not set; use ClientSecretBasic, ClientSecretPost or PublicClient, "+
			"as registered at the provider")
	case a.empty:
		f.add("Auth", "has an empty secret; give the one registered at the provider, or use PublicClient")
	}
}

func (a ClientAuth) compiled() op.Auth {
	return op.Auth{Method: a.method, Secret: a.secret}
}

// String returns the method without the secret, as the methods below do.
func (a ClientAuth) String() string {
	switch a.method {
	case "":
		return "not set"
	case op.AuthNone:
		return a.method
	}
	return a.method + " " + redacted
}

// Format keeps %+v and %#v from printing the fields.
func (a ClientAuth) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, a.String()) }

// MarshalJSON implements [json.Marshaler].
func (a ClientAuth) MarshalJSON() ([]byte, error) { return json.Marshal(a.String()) }

// LogValue implements [slog.LogValuer].
func (a ClientAuth) LogValue() slog.Value { return slog.StringValue(a.String()) }
