// Package blackbox tests oidcgate from outside: the relying party of ../examples/rp as a process of its own,
// before a real provider (the oidc-provider in provider/) and a real Redis, visited over the wire.
package blackbox
