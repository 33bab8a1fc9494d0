package session_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/session"
)

// tokenID is the "jti" of a logout token.
const tokenID = "the id of a logout token"

func TestIsID(t *testing.T) {
	tests := []struct {
		name, text string
		ok         bool
	}{
		{"letters, digits and the two signs", "-_09azAZ" + strings.Repeat("x", 35), true},
		{"empty", "", false},
		{"a letter short", strings.Repeat("x", 42), false},
		{"a letter long", strings.Repeat("x", 44), false},
		{"of the other base64", strings.Repeat("x", 42) + "+", false},
		{"padded", strings.Repeat("x", 42) + "=", false},
		{"with a space", strings.Repeat("x", 42) + " ", false},
		{"with a line break", strings.Repeat("x", 42) + "\n", false},
		{"with a letter of two bytes", strings.Repeat("x", 41) + "é", false},
		{"a key of the store", "s:" + strings.Repeat("x", 41), false},
	}
	for _, tt := range tests {
		t.Run("C101 "+tt.name, func(t *testing.T) {
			if ok := session.IsID(tt.text); ok != tt.ok {
				t.Errorf("IsID(%q) = %v", tt.text, ok)
			}
		})
	}
}

func TestAnIDShowsNothing(t *testing.T) {
	id := newID()
	s := &session.Session{ID: id}
	var text, jsonLog bytes.Buffer
	slog.New(slog.NewTextHandler(&text, nil)).Info("m", "id", id, "session", s)
	slog.New(slog.NewJSONHandler(&jsonLog, nil)).Info("m", "id", id, "session", s)
	asJSON, err := json.Marshal(map[string]any{"id": id, "session": s, "ids": []session.ID{id}})
	if err != nil {
		t.Fatal(err)
	}
	printed := map[string]string{
		"slog as text": text.String(), "slog as JSON": jsonLog.String(), "JSON": string(asJSON),
		"Sprint":             fmt.Sprint(id),
		"an error":           fmt.Errorf("session %v", id).Error(),
		"a pointer's target": fmt.Sprintf("%+v", s),
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%10.3s"} {
		printed[verb] = fmt.Sprintf(verb, id)
		printed[verb+" of a session"] = fmt.Sprintf(verb, s)
	}
	for how, got := range printed {
		hex := fmt.Sprintf("%x", string(id))
		leaks := strings.Contains(got, string(id)) || strings.Contains(strings.ToLower(got), hex)
		if leaks || !strings.Contains(got, "REDACTED") {
			t.Errorf("%s: %s", how, got)
		}
	}
}

func TestHandle(t *testing.T) {
	w := newWorld(t, nil)
	other := w.replica(func(c *session.Config) { c.Gate[0] = 1 })
	id := newID()
	if w.Handle(id) == other.Handle(id) {
		t.Error("two gates have the same handle of a session")
	}
	h := w.Handle(id)
	if h != w.replica(nil).Handle(id) || strings.Contains(string(h), string(id)) {
		t.Errorf("the handle of %q is %q", string(id), h)
	}
}

// documentedPrefixes reads the table in keys.go: from prefix to who writes the key.
func documentedPrefixes(t *testing.T) map[string]string {
	t.Helper()
	source, err := os.ReadFile("keys.go")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(source), "//\tprefix")
	table, _, ok := strings.Cut(table, "//\n")
	if !ok {
		t.Fatal("keys.go has no table")
	}
	prefixes := map[string]string{}
	for _, line := range strings.Split(table, "\n")[1:] {
		if prefix, rest, ok := strings.Cut(strings.TrimPrefix(line, "//\t"), " "); ok {
			prefixes[prefix] = rest
		}
	}
	return prefixes
}

// life takes sessions through everything that a keeper does.
func (w *world) life() {
	w.Helper()
	ctx := w.Context()
	s := w.login(lifetime)
	w.wantErr(w.Ping(ctx), nil)
	w.wantErr(w.ClaimAttempt(ctx, "reference"), nil)
	first, err := w.UseProof(ctx, "thumbprint", "proof", time.Minute)
	w.wantErr(err, nil)
	again, err := w.UseProof(ctx, "thumbprint", "proof", time.Minute)
	w.wantErr(err, nil)
	if other, err := w.UseProof(ctx, "another key", "proof", time.Minute); !first || again || !other || err != nil {
		w.Errorf("C165 a proof is new: %v, again: %v, by another key: %v, %v", first, again, other, err)
	}
	v := w.values(s)
	w.wantErr(w.SaveValues(ctx, s, &v, put("a")), nil)
	w.wantErr(w.SaveValues(ctx, s, &v, put("b")), nil)
	time.Sleep(tokenLife)
	s, err = w.Load(ctx, s.ID)
	w.wantErr(err, nil)
	_, err = w.Token(ctx, s)
	w.wantErr(err, nil)
	_, err = w.Exchanged(ctx, s, "ledger", func(context.Context, *session.ProviderTokens) (*session.ProviderTokens, error) {
		return &session.ProviderTokens{AccessToken: "for the ledger", Expiry: time.Now().Add(time.Minute)}, nil
	})
	w.wantErr(err, nil)
	time.Sleep(w.config.Limits.Reread)
	s, err = w.Reread(ctx, s)
	w.wantErr(err, nil)
	_, err = w.LogOut(ctx, s)
	w.wantErr(err, nil)
	w.login(lifetime)
	_, err = w.EndUser(ctx, alice, event.ReasonByAdmin)
	w.wantErr(err, nil)
	_, err = w.EndProviderSession(ctx, issuer, sid, event.ReasonBackchannel)
	w.wantErr(err, nil)
	_, err = w.UseLogoutToken(ctx, session.LogoutToken{
		Issuer: issuer, ID: tokenID, Subject: "alice", IssuedAt: time.Now(),
		Expires: time.Now().Add(2 * time.Minute),
	})
	w.wantErr(err, nil)
}

func TestKeysAreThoseOfTheTable(t *testing.T) {
	reread := func(l *session.Limits) { l.Reread = 20 * time.Minute }
	prefixes := documentedPrefixes(t)

	inTime(t, "every key has a prefix of the table, and every prefix occurs", func(t *testing.T) {
		w := newWorld(t, reread)
		w.provider.userinfo = claims.Object("").With("group", claims.Text("readers"))
		w.life()
		found := map[string]bool{}
		for key := range w.asked {
			prefix := key
			if before, _, ok := strings.Cut(key, ":"); ok {
				prefix = before + ":"
			}
			found[prefix] = true
		}
		got, want := slices.Sorted(maps.Keys(found)), slices.Sorted(maps.Keys(prefixes))
		if !slices.Equal(got, want) {
			t.Errorf("prefixes %q, and in the table %q", got, want)
		}
	})
	t.Run("no prefix is the beginning of another", func(t *testing.T) {
		for a := range prefixes {
			for b := range prefixes {
				if a != b && strings.HasPrefix(b, a) {
					t.Errorf("%q begins with %q", b, a)
				}
			}
		}
	})
	inTime(t, "C102 no key names a user or opens a session", func(t *testing.T) {
		w := newWorld(t, reread)
		s := w.login(lifetime)
		w.life()
		for key := range w.asked {
			for _, text := range []string{string(s.ID), issuer, "alice", sid, tokenID} {
				if strings.Contains(key, text) {
					t.Errorf("the key %s has %q in it", key, text)
				}
			}
		}
	})
	inTime(t, "C106 every key lies as long as the table says", func(t *testing.T) {
		w := newWorld(t, reread)
		w.life()
		attempt := w.config.Limits.Attempt + 2*w.config.Limits.Leeway
		want := map[string]time.Duration{
			"s:": time.Hour, "t:": lifetime, "v:": lifetime, "d:": lifetime,
			"u:": lifetime, "i:": lifetime, "U:": attempt, "E:": attempt, "I:": attempt, "a:": attempt,
			"x:": time.Minute, // what the test's token lives
			"p:": time.Minute, // what the test asks for
			"j:": 2*time.Minute + 2*w.config.Limits.Leeway,
			"h:": time.Minute, "l:": w.config.Limits.LockLease, "m:": time.Hour, "r:": time.Second,
		}
		for key, got := range w.written {
			if prefix := key[:2]; got != want[prefix] {
				t.Errorf("%s for %v, want %v", key, got, want[prefix])
			}
		}
	})
}
