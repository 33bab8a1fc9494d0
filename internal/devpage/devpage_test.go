package devpage

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/internal/event"
)

func TestRecent(t *testing.T) {
	var r Recent
	if got := r.all(); len(got) != 0 {
		t.Fatalf("the zero value has %d events", len(got))
	}
	for i := range 3 * kept / 2 {
		r.Add(event.Record{Type: event.LoginStarted, Detail: fmt.Sprint(i)})
		got := r.all()
		if want := min(i+1, kept); len(got) != want || got[0].Detail != fmt.Sprint(i) || got[len(got)-1].Detail != fmt.Sprint(i+1-want) {
			t.Fatalf("after event %d: %d events, from %s to %s", i, len(got), got[0].Detail, got[len(got)-1].Detail)
		}
	}
}

func TestRecentIsUsedConcurrently(t *testing.T) {
	var r Recent
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				r.Add(event.Record{Type: event.LoginStarted})
				r.all()
			}
		})
	}
	all.Wait()
	if n := len(r.all()); n != kept {
		t.Errorf("%d events, want %d", n, kept)
	}
}

func TestPretty(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"a number keeps its digits", `12345678901234567890.10`, `12345678901234567890.10`},
		{"a text keeps its signs", `"<a> & b"`, `"<a> & b"`},
		{"a short list is one line", `[ "a", "b" ]`, `["a","b"]`},
		{"a long list has lines", `["aaaaaaaaaaaaaaaaaaaa","b"]`, "[\n  \"aaaaaaaaaaaaaaaaaaaa\",\n  \"b\"\n]"},
		{"what changes the direction of text is written as a number", "\"a\u202eb\u200f\"", `"a\u{202E}b\u{200F}"`},
		{"C190 a token in it is hidden, however its name is written", `{"s":[{"Access_Token":"x"}]}`, `{"s":[{"Access_Token":"(not shown)"}]}`},
		{"what is no JSON is nothing", `{`, ``},
	} {
		t.Run(tt.name, func(t *testing.T) {
			line := 60
			if strings.Contains(tt.want, "\n") {
				line = 20
			}
			if got := pretty([]byte(tt.text), line); got != tt.want {
				t.Errorf("%s: got %q, want %q", tt.text, got, tt.want)
			}
		})
	}
	if got := pretty([]byte(`"`+strings.Repeat("é", maxValue)+`"`), 60); len(got) > maxValue+10 || !strings.HasSuffix(got, "…") {
		t.Errorf("a long value has %d bytes and ends in %q", len(got), got[len(got)-5:])
	}
}

func TestBars(t *testing.T) {
	now := time.Now()
	for _, tt := range []struct {
		name     string
		from, to time.Duration
		want     bar
	}{
		{"at the begin", 0, time.Hour, bar{Share: 1000, Left: "1 h 00 min left"}},
		{"in the middle", -time.Hour, time.Hour, bar{Share: 500, Left: "1 h 00 min left"}},
		{"near the end", -9 * time.Minute, time.Minute, bar{Share: 100, Left: "60 s left", State: "soon"}},
		{"past", -time.Hour, -5 * time.Minute, bar{Left: "over since 5 min", State: "over"}},
		{"without a length", 0, 0, bar{Left: "over since 0 s", State: "over"}},
		{"a begin in the future", time.Minute, time.Hour, bar{Share: 1000, Left: "1 h 00 min left"}},
		{"days", 0, 240 * time.Hour, bar{Share: 1000, Left: "10 days left"}},
	} {
		got := newBar("", now.Add(tt.from), now.Add(tt.to), now)
		if got.Share != tt.want.Share || got.Left != tt.want.Left || got.State != tt.want.State {
			t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
		}
	}
}
