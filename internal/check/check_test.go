package check_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/internal/check"
)

func TestDuration(t *testing.T) {
	tests := []struct {
		name        string
		given, want time.Duration
		fault       string // a part of its text; "": none
	}{
		{"zero is the default", 0, time.Hour, ""},
		{"given", time.Second, time.Second, ""},
		{"the shortest", time.Millisecond, time.Millisecond, ""},
		{"a number without a unit", 30, 30, "without a unit"},
		{"just too short", time.Millisecond - 1, time.Millisecond - 1, "too short"},
		{"negative", -1, -1, "negative"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var l check.List
			d := tt.given
			l.Duration("Field", &d, time.Hour)
			if d != tt.want || len(l) != min(len(tt.fault), 1) {
				t.Fatalf("%v with the faults %v", d, l)
			}
			if len(l) > 0 && (l[0].Field != "Field" || !strings.Contains(l[0].Text, tt.fault)) {
				t.Errorf("the fault %v", l[0])
			}
		})
	}
}

func TestURL(t *testing.T) {
	for _, tt := range []struct {
		name, address string
		allowHTTP     bool
		fault         string // a part of its text; "": none
	}{
		{"empty is left to others", "", false, ""},
		{"https", "https://id.example", false, ""},
		{"C002 http", "http://id.example", false, `"http://id.example" is http`},
		{"C002 http where it is allowed", "http://id.example", true, ""},
		{"C016 a password is not shown", "https://u:hush@id.example", false, "https://REDACTED@id.example"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var l check.List
			l.URL("Field", tt.address, tt.allowHTTP)
			if len(l) != min(len(tt.fault), 1) {
				t.Fatalf("faults %v", l)
			}
			if len(l) > 0 && (l[0].Field != "Field" || !strings.Contains(l[0].Text, tt.fault) ||
				strings.Contains(l[0].Text, "hush")) {
				t.Errorf("the fault %v", l[0])
			}
		})
	}
}

func TestWithin(t *testing.T) {
	inner := check.List{}
	inner.Add("A", "is %d", 1)
	inner.Add("B", "is %d", 2)
	var l check.List
	l.Add("First", "is wrong")
	l.Within("Provider[x]", inner)
	want := check.List{{"First", "is wrong"}, {"Provider[x].A", "is 1"}, {"Provider[x].B", "is 2"}}
	if !slices.Equal(l, want) {
		t.Errorf("%v, want %v", l, want)
	}
}
