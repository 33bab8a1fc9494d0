// Package interop has tests at real providers that are fetched for them; see scripts/interop.
package interop
