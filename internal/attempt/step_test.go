package attempt_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/internal/attempt"
)

func TestStep(t *testing.T) {
	minute, hour, zero := time.Minute, time.Hour, time.Duration(0)
	acr := func(values ...string) attempt.Step { return attempt.Step{ACR: values} }
	age := func(d *time.Duration) attempt.Step { return attempt.Step{MaxAge: d} }
	tests := []struct {
		name          string
		a, b, want    attempt.Step
		zero, without bool // what the result is: zero, impossible
		challenge     string
	}{
		{"nothing", acr(), acr(), acr(), true, false, "Session"},
		{
			"one of them asks", acr(), acr("x"), acr("x"), false, false,
			`Session error="insufficient_user_authentication", acr_values="x"`,
		},
		{
			"the other asks", acr("x", "y"), acr(), acr("x", "y"), false, false,
			`Session error="insufficient_user_authentication", acr_values="x y"`,
		},
		{
			"both ask: what both accept, in the order of the first", acr("x", "y", "z"), acr("z", "y"),
			acr("y", "z"), false, false,
			`Session error="insufficient_user_authentication", acr_values="y z"`,
		},
		{
			"nothing that both accept is impossible", acr("x"), acr("y"),
			attempt.Step{ACR: []string{}}, true, true, "Session",
		},
		{
			"the shorter age counts", age(&hour), age(&minute), age(&minute), false, false,
			`Session error="insufficient_user_authentication", max_age="60"`,
		},
		{
			"the longer age does not", age(&minute), age(&hour), age(&minute), false, false,
			`Session error="insufficient_user_authentication", max_age="60"`,
		},
		{
			"an age beside none", acr(), age(&minute), age(&minute), false, false,
			`Session error="insufficient_user_authentication", max_age="60"`,
		},
		{
			"no age beside an age", age(&zero), acr(), age(&zero), false, false,
			`Session error="insufficient_user_authentication", max_age="0"`,
		},
		{
			"both kinds, with what a quoted string must not hold", age(&hour), acr(`a"b\c`),
			attempt.Step{ACR: []string{`a"b\c`}, MaxAge: &hour}, false, false,
			`Session error="insufficient_user_authentication", acr_values="a\"b\\c", max_age="3600"`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := acr(tt.a.ACR...)
			before.ACR = append([]string(nil), before.ACR...)
			got := tt.a.And(tt.b)
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
			if got.Zero() != tt.zero || got.Impossible() != tt.without {
				t.Errorf("zero %v, impossible %v", got.Zero(), got.Impossible())
			}
			if c := got.Challenge(); c != tt.challenge {
				t.Errorf("challenge %s, want %s", c, tt.challenge)
			}
			if !reflect.DeepEqual(append([]string(nil), tt.a.ACR...), before.ACR) {
				t.Errorf("And changes its receiver to %q", tt.a.ACR)
			}
		})
	}
}

func TestSealedStep(t *testing.T) {
	p := newPerson(t)
	step := attempt.Step{ACR: []string{"x"}}
	sealed := p.SealStep("id", step)
	for _, tt := range []struct {
		name, id, text string
		want           attempt.Step
	}{
		{"the session's own", "id", sealed, step},
		{"C025 of another session", "other", sealed, attempt.Step{}},
		{"C025 without a session", "", p.SealStep("", step), attempt.Step{}},
		{"C025 damaged", "id", sealed[1:], attempt.Step{}},
		{"C025 not sealed", "id", `{"a":["x"]}`, attempt.Step{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := p.OpenStep(tt.id, tt.text); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
		})
	}
}
