// Package oidcgateotel measures and traces a gate of package oidcgate with OpenTelemetry. It is a
// module of its own: who does not use it does not depend on OpenTelemetry.
//
//	opts := oidcgateotel.Options{} // the global providers of package otel
//	gate, err := oidcgate.New(oidcgateotel.Instrument(config, opts), provider)
//	...
//	http.ListenAndServe(addr, oidcgateotel.Handler(gate, gate.Wrap(router), opts))
//
// [Instrument] counts what happens (logins, refusals by reason, refreshes, sessions) and measures
// every request to a provider and every call of the store. [Handler] makes a span of each request
// to the gate's own routes: login, callback, logout. Below it stand the spans of what the gate asks
// the provider and the store. docs/metrics.md lists the metrics and spans; dashboard.json shows the
// metrics in Grafana.
//
// Attributes of metrics have few values: the name of a provider, a reason from the list in
// docs/events.md, the name of an operation, a status. No metric and no span has a user, a session,
// a token, an address with its path, or the text of an error. The gate sends no trace context to
// providers.
//
// The files: instrument.go (Options and Instrument), names.go, events.go (from events to counters),
// provider.go (requests to providers), store.go (calls of the store), handler.go (own routes).
package oidcgateotel
