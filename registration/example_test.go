package registration_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/http/cookiejar"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
	"github.com/oidcgate/oidcgate/registration"
)

// A shop registers itself, keeps what came back, and later makes its gate of it.
func Example() {
	ctx := context.Background()
	p, err := oidcgatetest.New(oidcgatetest.Config{Registration: true})
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()
	toProvider := &http.Client{Transport: p.Transport()} // nil for a real one

	// Once, in a command.
	issuer, err := registration.FindIssuer(ctx, toProvider, "joe@id.test")
	if err != nil {
		log.Fatal(err)
	}
	endpoint, err := registration.Endpoint(ctx, toProvider, issuer)
	if err != nil {
		log.Fatal(err)
	}
	client, err := registration.Register(ctx, toProvider, endpoint, registration.Metadata{
		ClientName:             "Shop",
		RedirectURIs:           []string{"http://localhost/auth/callback"},
		PostLogoutRedirectURIs: []string{"http://localhost/auth/logout/done"},
	}, "")
	if err != nil {
		log.Fatal(err)
	}
	kept, err := client.Encode() // to where secrets are kept
	if err != nil {
		log.Fatal(err)
	}

	// Whenever the service starts.
	client, err = registration.Decode(kept)
	if err != nil {
		log.Fatal(err)
	}
	auth, err := client.Auth()
	if err != nil {
		log.Fatal(err)
	}
	gate, err := oidcgate.New(oidcgate.Config{
		BaseURL: "http://localhost",
		HTTP:    oidcgate.HTTPOptions{Transport: p.Transport()},
		Logger:  slog.New(slog.DiscardHandler),
	}, oidcgate.Provider{Issuer: issuer, ClientID: client.ID, Auth: auth})
	if err != nil {
		log.Fatal(err)
	}

	shop := gate.Wrap(gate.Require()(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := oidcgate.FromContext(r.Context())
		fmt.Println("signed in:", id.Subject())
	})))
	jar, _ := cookiejar.New(nil)
	browser := &http.Client{Jar: jar, Transport: oidcgatetest.NewTransport(map[string]http.Handler{
		"localhost": shop, "id.test": p,
	})}
	resp, err := browser.Get("http://localhost/account")
	if err != nil {
		log.Fatal(err)
	}
	_ = resp.Body.Close()
	fmt.Println(issuer, auth)
	// Output:
	// signed in: alice
	// https://id.test client_secret_basic(REDACTED)
}
