// Package blackbox tests oidcgate from outside. The relying party of ../examples/rp runs as a
// separate process, with a real provider (the oidc-provider in provider/) and a real Redis, and the
// tests send HTTP requests to it.
package blackbox
