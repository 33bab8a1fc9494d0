// Package keycloak tests oidcgate with Keycloak. Its tests have the build tag interop, and `make
// interop` runs them: the server is large, and not every machine can download it.
package keycloak
