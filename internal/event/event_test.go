package event_test

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/returnto"
)

var update = flag.Bool("update", false, "write docs/events.md")

const page = "../../docs/events.md"

// TestPage holds that docs/events.md is what the tables say.
func TestPage(t *testing.T) {
	want := markdown()
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("docs/events.md is not what the tables say; run: " +
			"go test ./internal/event -run TestPage -update")
	}
}

func markdown() string {
	var b strings.Builder
	b.WriteString(`# Events and reasons

What the gate tells the log and ` + "`Config.OnEvent`" + `. Names are stable: alerts and dashboards may use
them. This page is made from internal/event; do not edit it.

An event has a type and often a reason. The log line is "oidcgate: " and the type; its attributes
are the fields of ` + "`oidcgate.Event`" + `. Where a visitor sees an error page, the page and the event
have the same reference. The log and OnEvent have a queue each: neither waits for the other. OnEvent
should return soon. A line at level WARN says when it is too slow and misses events.

A line has the context of the request that caused it, so a handler of log/slog adds its id of the
request, or of a trace, as it does to the application's own lines. The middleware that puts the id
into the context stands around the gate. A refresh has the context of the request that began it.
Lines about a provider's documents have none: several requests may have waited for them. A line may
be written when the request has been answered. It has no user by FromContext: its fields say whose
it is.

## Fields

An event has a field when there is something to say in it.

| field | what it says | in which events |
| --- | --- | --- |
`)
	for _, f := range event.Fields {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", codes(f.Names), f.Means, cmp.Or(codes(f.Of), "all"))
	}
	b.WriteString(`
Users and sessions appear as keyed hashes, which are the same on every replica until the first key changes.
` + "`Logout.SessionRef` is the `session_ref`" + ` of a session that ended. A session has it from its beginning, in
` + "`session.created` and `login.succeeded`" + `. Do not wait for an event of its end: only a session that is ended before its
time has one, ` + "`session.revoked`" + `. One without it ended when a login of the same browser took its place, or else
` + "`IdleTimeout` after its last use or `SessionLifetime`" + ` after its beginning.

The level of ` + "`login.failed`" + ` follows the reason. It is WARN, and INFO where nobody has to mend anything:
` + codes(decided()) + `.

## Events

`)
	for _, g := range event.Types {
		fmt.Fprintf(&b, "### %s\n\n| event | level | what it means | what to do |\n| --- | --- | --- | --- |\n",
			g.Heading)
		for _, a := range g.List {
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", a.Name, a.Level, a.Means, a.Do)
		}
		b.WriteString("\n")
	}
	b.WriteString("## Reasons\n\n")
	for _, g := range event.Reasons {
		fmt.Fprintf(&b, "### %s\n\n| reason | what it means | what to do |\n| --- | --- | --- |\n", g.Heading)
		for _, a := range g.List {
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", a.Name, a.Means, a.Do)
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "### %s\n\nIn `token.refused` the sender is to blame most often: anybody can send a token.\n\n"+
		"| reason | what to do |\n| --- | --- |\n", event.OfCallers.Heading)
	for _, a := range event.OfCallers.List {
		fmt.Fprintf(&b, "| `%s` | %s |\n", a.Name, a.Do)
	}
	return b.String()
}

// decided returns the reasons for which a refused login is no warning.
func decided() (reasons []event.Reason) {
	isInfo := func(reason event.Reason) bool {
		return event.Record{Type: event.LoginFailed, Reason: reason}.Level() == slog.LevelInfo
	}
	for _, g := range event.Reasons {
		for _, a := range g.List {
			if isInfo(event.Reason(a.Name)) {
				reasons = append(reasons, event.Reason(a.Name))
			}
		}
	}
	for _, code := range []event.Reason{"access_denied", "consent_required", "login_required"} {
		if reason := event.ReasonProviderError + code; isInfo(reason) {
			reasons = append(reasons, reason)
		}
	}
	return reasons
}

// codes returns names as a list of code.
func codes[N ~string](names []N) string {
	var list []string
	for _, name := range names {
		list = append(list, "`"+string(name)+"`")
	}
	return strings.Join(list, ", ")
}

// TestTables holds that the tables have every constant once, with a meaning and a cure.
func TestTables(t *testing.T) {
	constants := constantsOf(t)
	for kind, groups := range map[string][]event.Group{
		"Type": event.Types, "Reason": event.Reasons,
	} {
		listed := map[string]int{}
		for _, g := range groups {
			for _, a := range g.List {
				listed[a.Name]++
				if a.Means == "" || a.Do == "" {
					t.Errorf("%s lacks a meaning or a cure", a.Name)
				}
			}
		}
		for name, value := range constants[kind] {
			if listed[value] != 1 {
				t.Errorf("%s (%q) is listed %d times", name, value, listed[value])
			}
			delete(listed, value)
		}
		for value := range listed {
			t.Errorf("%q is listed and is no constant", value)
		}
	}
	for _, a := range event.OfCallers.List {
		other, own := event.Cure(event.LoginFailed, event.Reason(a.Name)), event.Cure(event.TokenRefused, event.Reason(a.Name))
		if other == "" || own != a.Do || own == other {
			t.Errorf("%s: got %q for an access token, and %q for others", a.Name, own, other)
		}
	}
}

// constantsOf returns the constants of event.go by their type and name.
func constantsOf(t *testing.T) map[string]map[string]string {
	file, err := parser.ParseFile(token.NewFileSet(), "event.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]map[string]string{"Type": {}, "Reason": {}}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		found[spec.Type.(*ast.Ident).Name][spec.Names[0].Name] = value
		return true
	})
	if len(found["Type"]) < 20 || len(found["Reason"]) < 50 {
		t.Fatalf("only %d events and %d reasons found", len(found["Type"]), len(found["Reason"]))
	}
	return found
}

// TestReturnPathReasons holds that a refused return path has a reason of the table.
func TestReturnPathReasons(t *testing.T) {
	known := map[string]bool{}
	for _, g := range event.Reasons {
		for _, a := range g.List {
			known[a.Name] = true
		}
	}
	for _, r := range []returnto.Reason{
		returnto.Empty, returnto.TooLong, returnto.ForbiddenByte, returnto.NotRooted,
		returnto.NetworkPath, returnto.BadEscape, returnto.InvalidUTF8, returnto.EncodedControl,
		returnto.BidiControl, returnto.EmptySegment, returnto.DotSegment, returnto.OwnRoute,
		returnto.EncodedSlash,
	} {
		if !known[string(r)] {
			t.Errorf("%q is no reason of the table", string(r))
		}
	}
}

func TestLevelOf(t *testing.T) {
	for typ, want := range map[event.Type]string{
		event.LoginFailed: "WARN", event.StoreUnavailable: "ERROR", event.LoginSucceeded: "INFO",
		event.LoginStarted: "DEBUG", "unknown": "DEBUG",
	} {
		if got := event.LevelOf(typ).String(); got != want {
			t.Errorf("LevelOf(%s) = %s, want %s", typ, got, want)
		}
	}
}

// What the visitor or the application decides is no warning.
func TestLevelOfARefusedLogin(t *testing.T) {
	for reason, want := range map[event.Reason]string{
		"op_error:access_denied": "INFO", "op_error:consent_required": "INFO", event.ReasonPolicyDenied: "INFO",
		event.ReasonLinkSession: "INFO", event.ReasonLinkExpired: "INFO", event.ReasonLogoutWon: "INFO", "op_error:login_required": "WARN",
		"op_error:invalid_scope": "WARN", event.ReasonHookError: "WARN", "": "WARN",
	} {
		var log strings.Builder
		sink := event.NewSink(slog.New(slog.NewTextHandler(&log, nil)), nil)
		sink.Emit(t.Context(), event.Record{Type: event.LoginFailed, Reason: reason})
		if err := sink.Wait(t.Context()); err != nil || !strings.Contains(log.String(), "level="+want) {
			t.Errorf("%q: error %v, logged %s", reason, err, log.String())
		}
	}
	var log strings.Builder
	sink := event.NewSink(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})), nil)
	sink.Emit(t.Context(), event.Record{Type: event.SessionCreated, Reason: event.ReasonPolicyDenied})
	if err := sink.Wait(t.Context()); err != nil || !strings.Contains(log.String(), "level=DEBUG") {
		t.Errorf("an event of DEBUG: error %v, logged %s", err, log.String())
	}
}

func TestStoreErrorsAfterTheClockWasSetBack(t *testing.T) {
	told := 0
	sink := event.NewSink(slog.New(slog.DiscardHandler), func(event.Record) { told++ })
	report := func(t *testing.T) {
		sink.StoreUnavailable(t.Context(), errors.New("down"))
		sink.StoreUnavailable(t.Context(), errors.New("down")) // within a second: not told
		if err := sink.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	}
	synctest.Test(t, func(t *testing.T) { // each bubble begins at the same time
		time.Sleep(time.Hour)
		report(t)
	})
	synctest.Test(t, report)
	if told != 2 {
		t.Errorf("F14 told %d times, want once before the clock was set back and once after", told)
	}
}

// A line that is worth an operator's time names the cure, from whoever tells it or else from the table.
func TestHintOfARecord(t *testing.T) {
	for _, row := range []struct {
		record event.Record
		want   string
	}{
		{event.Record{Type: event.LoginFailed, Reason: event.ReasonExpiry}, "Set the clocks of provider and service right."},
		{event.Record{Type: event.LoginFailed, Reason: event.ReasonExpiry, Hint: "its own"}, "its own"},
		{event.Record{Type: event.LoginFailed, Reason: "op_error:invalid_scope"}, event.Cure(event.LoginFailed, event.ReasonProviderError)},
		{event.Record{Type: event.CookieDuplicate}, "Look for another application or host that sets a cookie of this name."},
		{event.Record{Type: event.RefreshReuseSuspected, Reason: event.ReasonInvalidGrant}, event.Cure(event.RefreshReuseSuspected, "")},
		{event.Record{Type: event.ExchangeFailed, Reason: event.ReasonTokenEndpointError}, event.Cure(event.ExchangeFailed, "")},
		{event.Record{Type: event.ExchangeFailed, Reason: event.ReasonTokenEndpointUnreachable}, event.Cure(event.LoginFailed, event.ReasonTokenEndpointUnreachable)},
		{event.Record{Type: event.LoginSucceeded}, ""},
		{event.Record{Type: event.SessionRevoked, Reason: event.ReasonByUser}, ""},
		{event.Record{Type: event.LoginFailed, Reason: event.ReasonLinkSession}, ""},
		{event.Record{Type: event.ReturnToRejected, Reason: event.ReasonPathNetwork}, ""}, // DEBUG
	} {
		var got event.Record
		sink := event.NewSink(slog.New(slog.DiscardHandler), func(r event.Record) { got = r })
		sink.Emit(t.Context(), row.record)
		if err := sink.Wait(t.Context()); err != nil || got.Hint != row.want {
			t.Errorf("%s, %s: hint %q, want %q (error %v)", row.record.Type, row.record.Reason, got.Hint, row.want, err)
		}
	}
}

// Whatever is logged as a warning or as an error has something to do about it.
func TestEveryWarningHasACure(t *testing.T) {
	for _, g := range event.Types {
		for _, a := range g.List {
			if a.Level >= slog.LevelWarn && strings.HasPrefix(a.Do, "Nothing.") {
				t.Errorf("%s is logged at %s, and there is nothing to do", a.Name, a.Level)
			}
		}
	}
}

func TestLevelOfARefusedAccessToken(t *testing.T) {
	for reason, want := range map[event.Reason]string{
		event.ReasonExpiry: "DEBUG", event.ReasonTokenInactive: "DEBUG", event.ReasonAudience: "INFO", event.ReasonType: "INFO",
	} {
		var log strings.Builder
		sink := event.NewSink(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})), nil)
		sink.Emit(t.Context(), event.Record{Type: event.TokenRefused, Reason: reason})
		if err := sink.Wait(t.Context()); err != nil || !strings.Contains(log.String(), "level="+want) {
			t.Errorf("%q: error %v, logged %s", reason, err, log.String())
		}
	}
}

// TestExplain holds that every event says what it means and what to do.
func TestExplain(t *testing.T) {
	for _, of := range event.Types {
		for _, a := range of.List {
			if means, do := (event.Record{Type: event.Type(a.Name)}).Explain(); means != a.Means || do != event.Cure(event.Type(a.Name), "") {
				t.Errorf("%s: got %q and %q", a.Name, means, do)
			}
		}
	}
	for _, why := range event.Reasons {
		for _, a := range why.List {
			r := event.Record{Type: event.LoginFailed, Reason: event.Reason(a.Name)}
			if means, do := r.Explain(); !strings.HasSuffix(means, " "+a.Means) || do != event.Cure(r.Type, r.Reason) {
				t.Errorf("%s: got %q and %q", a.Name, means, do)
			}
			r.Hint = "turn it off and on"
			if _, do := r.Explain(); do != r.Hint {
				t.Errorf("%s with a hint: got %q", a.Name, do)
			}
		}
	}
	r := event.Record{Type: event.LoginFailed, Reason: event.ReasonProviderError + "invalid_scope"}
	if means, do := r.Explain(); !strings.Contains(means, "answered with an error") || !strings.Contains(do, "redirect URI") {
		t.Errorf("an error of the provider: got %q and %q", means, do)
	}
}
