package op

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/oidcgate/oidcgate/internal/apart"
	"github.com/oidcgate/oidcgate/internal/event"
)

// Auth is how the client authenticates at the provider (OpenID Connect Core, 9). It prints as
// its method, never with the secret.
type Auth struct {
	Method string

	// Secret returns the client secret, for the methods that have one. For [AuthKeyJWT] it returns
	// the assertion that somebody else signed; if it is nil, Config.ClientKeys sign one.
	Secret func(context.Context) (string, error)

	Certificate *Certificate // of the client, for the methods with TLS
}

// The methods of client authentication, as the registry of RFC 7591 names them.
const (
	AuthBasic      = "client_secret_basic"
	AuthPost       = "client_secret_post"
	AuthNone       = "none"
	AuthSecretJWT  = "client_secret_jwt"
	AuthKeyJWT     = "private_key_jwt"
	AuthTLS        = "tls_client_auth"
	AuthSelfSigned = "self_signed_tls_client_auth"
)

// secretTimeout bounds the function that gives a secret, where no request does.
const secretTimeout = 10 * time.Second

// secret returns the secret or the assertion as it is now; it may have been replaced.
func (a Auth) secret(ctx context.Context) (string, error) {
	if a.Secret == nil {
		return "", nil
	}
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, secretTimeout)
		defer cancel()
	}
	secret, err := apart.Call(ctx, func() (string, error) { return a.Secret(ctx) })
	if err != nil {
		return "", &Error{
			Reason: event.ReasonClientSecret,
			Status: http.StatusServiceUnavailable,
			Hint:   "the function that gives the client secret or the assertion failed",
			Err:    err,
		}
	}
	return secret, nil
}

// hasSecret reports whether the method needs nothing but a client secret.
func (a Auth) hasSecret() bool {
	return a.Method == AuthBasic || a.Method == AuthPost || a.Method == AuthSecretJWT
}

// String returns the method.
func (a Auth) String() string {
	if a.hasSecret() {
		return a.Method + "(REDACTED)"
	}
	return a.Method
}

// GoString returns the method.
func (a Auth) GoString() string { return a.String() }

// Format prints the method, whatever the verb.
func (a Auth) Format(f fmt.State, _ rune) { io.WriteString(f, a.String()) }

// LogValue returns the method.
func (a Auth) LogValue() slog.Value { return slog.StringValue(a.String()) }

// MarshalJSON returns the method as a JSON string.
func (a Auth) MarshalJSON() ([]byte, error) { return json.Marshal(a.String()) }
