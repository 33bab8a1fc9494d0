package provider

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"

	"golang.org/x/oauth2"
)

// Auth is how the client authenticates at the token endpoint (OpenID Connect
// Core, 9). It prints as its method, never with the secret.
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

// style is the method in the words of x/oauth2. Its third style, guessing, sends
// a refused code a second time, which a provider must take for a replay
// (RFC 6749, 4.1.2). A public client names itself in the body: in the header it
// would send an empty password.
func (a Auth) style() oauth2.AuthStyle {
	if a.Method == AuthBasic {
		return oauth2.AuthStyleInHeader
	}
	return oauth2.AuthStyleInParams
}

// secret returns the secret as it is now; it may have been rotated.
func (a Auth) secret(ctx context.Context) (string, error) {
	if a.Method == AuthNone {
		return "", nil
	}
	secret, err := a.Secret(ctx)
	if err != nil {
		return "", &Error{
			Reason: ReasonClientSecret,
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
