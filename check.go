package oidcgate

import (
	"context"

	"github.com/oidcgate/oidcgate/internal/doctor"
)

// Finding is one result of [Gate.Check].
type Finding struct {
	// Provider is the Name of the provider. It is empty for the store.
	Provider string `json:"provider,omitempty"`

	// Name says what was looked at: "store", "clock", "keys", "redirect" and so on.
	Name string `json:"name"`

	Level FindingLevel `json:"level"`
	Text  string       `json:"text"`

	// Cure is what to do. It is empty if there is nothing to do.
	Cure string `json:"cure,omitempty"`
}

// FindingLevel says how bad a finding is.
type FindingLevel string

// The levels of findings.
const (
	FindingOK    FindingLevel = FindingLevel(doctor.OK)
	FindingWarn  FindingLevel = FindingLevel(doctor.Warn)  // somebody should look at it
	FindingFault FindingLevel = FindingLevel(doctor.Fault) // logins fail
	FindingSkip  FindingLevel = FindingLevel(doctor.Skip)  // not looked at; Text says why
)

// Check looks at the store and at every provider, and returns what is as it should be, what is not
// and what could not be tried. To the store it writes a few keys, each time, and deletes them. It
// asks each provider for its metadata and its keys, and sends it one authorization request with
// prompt=none, without cookies, which tells whether the redirect URI is registered; that request is
// pushed first where logins are. Its token endpoint gets one code that nobody has, and its answer
// tells whether it takes the client's secret or key. Nothing of the gate changes.
//
// It takes as long as the providers do; ctx bounds it. Call it when a service is deployed, or from
// a page for operators: never for requests that anybody can make. The findings may show what a
// provider sent.
func (g *Gate) Check(ctx context.Context) []Finding {
	all := findings("", []doctor.Finding{doctor.Store(g.keeper.TryWrites(ctx))})
	o := doctor.Options{Reread: g.config.Tokens.ClaimsMaxAge > 0}
	for _, up := range g.providers.All() {
		all = append(all, findings(up.Name, doctor.Examine(ctx, up.Client, o))...)
	}
	return all
}

func findings(provider string, found []doctor.Finding) (all []Finding) {
	for _, f := range found {
		all = append(all, Finding{provider, f.Name, FindingLevel(f.Level), f.Text, f.Cure})
	}
	return all
}
