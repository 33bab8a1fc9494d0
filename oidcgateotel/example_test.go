package oidcgateotel_test

import (
	"log"
	"net/http"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgateotel"
	"github.com/oidcgate/oidcgate/store"
)

// A program sets the global providers of OpenTelemetry up as ever, and then makes its gate so.
func Example() {
	opts := oidcgateotel.Options{}
	config := oidcgate.Config{BaseURL: "http://localhost:8080", Store: &store.Memory{}}
	gate, err := oidcgate.New(oidcgateotel.Instrument(config, opts), oidcgate.Provider{
		Issuer: "https://id.example", ClientID: "shop", Auth: oidcgate.ClientSecretBasic("a secret"),
	})
	if err != nil {
		log.Fatal(err)
	}
	router := http.NewServeMux()
	handler := oidcgateotel.Handler(gate, gate.Wrap(router), opts)
	_ = handler // http.ListenAndServe("localhost:8080", handler)
	// Output:
}
