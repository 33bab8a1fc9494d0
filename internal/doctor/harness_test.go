package doctor_test

import (
	"context"
	"io"
	"log"
	"net/http"

	"github.com/oidcgate/oidcgate/internal/op"
)

// quiet is for servers whose clients break off the handshake on purpose.
func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

func withSecret(secret string) op.Auth {
	return op.Auth{
		Method: op.AuthBasic,
		Secret: func(context.Context) (string, error) { return secret, nil },
	}
}

// roundTrip is a transport.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
