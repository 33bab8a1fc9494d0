package op

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"

	"github.com/oidcgate/oidcgate/internal/event"
)

// Auth is how the client authenticates at the provider (OpenID Connect Core, 9). It prints as
// its method, never with the secret.
type Auth struct {
	Method string                                // AuthBasic, AuthPost or AuthNone
	Secret func(context.Context) (string, error) // not called for AuthNone
}

// The methods of client authentication, as the registry of RFC 7591 names them.
const (
	AuthBasic = "client_secret_basic"
	AuthPost  = "client_secret_post"
	AuthNone  = "none"
)

// secret returns the secret as it is now; it may have been rotated.
func (a Auth) secret(ctx context.Context) (string, error) {
	if a.Method == AuthNone {
		return "", nil
	}
	secret, err := a.Secret(ctx)
	if err != nil {
		return "", &Error{
			Reason: event.ReasonClientSecret,
			Status: http.StatusServiceUnavailable,
			Hint:   "the function that gives the client secret failed",
			Err:    err,
		}
	}
	return secret, nil
}

// String returns the method.
func (a Auth) String() string {
	if a.Method == AuthNone {
		return a.Method
	}
	return a.Method + "(REDACTED)"
}

// GoString returns the method.
func (a Auth) GoString() string { return a.String() }

// Format prints the method, whatever the verb.
func (a Auth) Format(f fmt.State, _ rune) { io.WriteString(f, a.String()) }

// LogValue returns the method.
func (a Auth) LogValue() slog.Value { return slog.StringValue(a.String()) }

// MarshalJSON returns the method as a JSON string.
func (a Auth) MarshalJSON() ([]byte, error) { return json.Marshal(a.String()) }
