package oidcgate

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/oidcgate/oidcgate/internal/check"
	"github.com/oidcgate/oidcgate/internal/op"
)

// ClientAuth is how the application authenticates at a provider's token endpoint, and at its other
// endpoints that want it. A function of this package makes it. [New] refuses the zero value. No
// printed form of it shows the secret.
type ClientAuth struct {
	method      string
	secret      func(context.Context) (string, error)
	fixed       string // the secret, if it is no function's
	certificate *op.Certificate
	empty       bool // the constructor was given nothing
}

// Secret is a client secret, or a function that returns the current one. The function is called for
// every request that authenticates the client, concurrently, within that request's deadline. One
// that does not return by then is given up, and its goroutine stays until it does. [New] refuses a
// string that begins or ends with white space, such as the newline of a file: use
// strings.TrimSpace. What a function returns is used as it is.
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

// ClientSecretJWT sends an assertion that is signed with the secret, of 32 bytes or more, by HS256
// (client_secret_jwt of OpenID Connect Core, section 9).
func ClientSecretJWT[S Secret](secret S) ClientAuth {
	return withSecret(op.AuthSecretJWT, secret)
}

// PrivateKeyJWT sends an assertion that is signed with the first key of Provider.ClientKeys that
// signs (private_key_jwt of OpenID Connect Core, section 9). Each request has an assertion of its
// own, good for a minute, whose audience is the issuer.
func PrivateKeyJWT() ClientAuth {
	return ClientAuth{method: op.AuthKeyJWT}
}

// ClientAssertion sends an assertion that somebody else signs, a cloud's identity service for
// example (RFC 7523, section 2.2). [AssertionFile] reads one from a file.
func ClientAssertion(current func(context.Context) (string, error)) ClientAuth {
	return ClientAuth{method: op.AuthKeyJWT, secret: current, empty: current == nil}
}

// AssertionFile returns a function for [ClientAssertion] that reads the file for every request: the
// token of a Kubernetes service account for example, which is replaced from time to time.
func AssertionFile(name string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) {
		text, err := os.ReadFile(name)
		return string(text), err
	}
}

// Certificate is a client certificate with its private key, or a function that returns the current
// one. The function is called before every request that shows the certificate, concurrently; its
// argument stands for any server and has no context. Each certificate that it returns gets
// connections of its own, so let it return the same one until that is replaced.
type Certificate interface {
	tls.Certificate | func(*tls.CertificateRequestInfo) (*tls.Certificate, error)
}

// TLSClientAuth shows a certificate that an authority issued (tls_client_auth of RFC 8705, section
// 2.1). The provider's mtls_endpoint_aliases are used, if it has some.
func TLSClientAuth[C Certificate](certificate C) ClientAuth {
	return withCertificate(op.AuthTLS, certificate)
}

// SelfSignedTLSClientAuth shows a certificate that is registered at the provider
// (self_signed_tls_client_auth of RFC 8705, section 2.2).
func SelfSignedTLSClientAuth[C Certificate](certificate C) ClientAuth {
	return withCertificate(op.AuthSelfSigned, certificate)
}

func withSecret(method string, secret any) ClientAuth {
	switch secret := secret.(type) {
	case string:
		get := func(context.Context) (string, error) { return secret, nil }
		return ClientAuth{method: method, secret: get, fixed: secret, empty: secret == ""}
	case func(context.Context) (string, error):
		return ClientAuth{method: method, secret: secret, empty: secret == nil}
	}
	return ClientAuth{method: method, empty: true}
}

func withCertificate(method string, certificate any) ClientAuth {
	switch certificate := certificate.(type) {
	case tls.Certificate:
		fixed := op.FixedCertificate(&certificate)
		return ClientAuth{method: method, certificate: fixed, empty: certificate.PrivateKey == nil}
	case func(*tls.CertificateRequestInfo) (*tls.Certificate, error):
		current := &op.Certificate{Current: certificate}
		return ClientAuth{method: method, certificate: current, empty: certificate == nil}
	}
	return ClientAuth{method: method, empty: true}
}

func (a ClientAuth) check(f *check.List) {
	switch {
	case a.method == "":
		f.Add("Auth", "is not set; use ClientSecretBasic, ClientSecretPost, PublicClient or another, "+
			"as registered at the provider")
	case a.empty:
		f.Add("Auth", "%s has an empty secret, function or certificate; give the one registered at the "+
			"provider, or use PublicClient", a.method)
	case a.method == op.AuthSecretJWT && a.fixed != "" && len(a.fixed) < op.MinSecretJWT:
		f.Add("Auth", "has a secret of %d bytes, and HS256 needs %d (RFC 7518, section 3.2); get a "+
			"longer one, or use ClientSecretBasic", len(a.fixed), op.MinSecretJWT)
	}
}

func (a ClientAuth) compiled() op.Auth {
	return op.Auth{Method: a.method, Secret: a.secret, Certificate: a.certificate}
}

// String returns the method without the secret, as Format, MarshalJSON and LogValue do.
func (a ClientAuth) String() string {
	if a.method == "" {
		return "not set"
	}
	return a.compiled().String()
}

// Format keeps %+v and %#v from printing the fields.
func (a ClientAuth) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, a.String()) }

// MarshalJSON implements [json.Marshaler].
func (a ClientAuth) MarshalJSON() ([]byte, error) { return json.Marshal(a.String()) }

// LogValue implements [slog.LogValuer].
func (a ClientAuth) LogValue() slog.Value { return slog.StringValue(a.String()) }
