package attempt_test

import (
	"encoding/json"
	"testing"

	"github.com/oidcgate/oidcgate/internal/attempt"
)

func TestOptionsAreKeptForASilentLogin(t *testing.T) {
	for name, silent := range map[string]bool{"a silent login keeps its options": true, "another does not": false} {
		inTime(t, name, func(p *person) {
			state := p.mustBegin(func(a *attempt.Attempt) {
				a.Silent, a.Options = silent, json.RawMessage(`{"h":"joe"}`)
			})
			a, err := p.Find(p.request(), attempt.At{Provider: "shop"}, state)
			if err != nil || (len(a.Options) > 0) != silent {
				p.Errorf("options %s, %v", a.Options, err)
			}
		})
	}
}
