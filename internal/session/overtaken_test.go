package session_test

import (
	"encoding/base64"
	"fmt"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/session"
)

// A version that did not note which claims of the ID Token count no more has read userinfo, and
// kept it with the tokens.
func TestUserinfoThatAnOlderVersionHasRead(t *testing.T) {
	object := func(t *testing.T, members map[string]any) claims.Object {
		v, err := claims.Of(members)
		if err != nil {
			t.Fatal(err)
		}
		o, _ := v.Object()
		return o
	}
	for name, row := range map[string]struct {
		kept, now, want string // groups
	}{
		"the older version has read that the group is gone": {"staff", "staff", "staff"},
		"it is gone now":                {"admin", "staff", "staff"},
		"nothing has happened":          {"admin", "admin", "admin"},
		"claims were never read before": {"", "", ""},
	} {
		inTime(t, "C113 "+name, func(t *testing.T) {
			w := newWorld(t, func(l *session.Limits) { l.Reread = 5 * time.Minute })
			w.provider.userinfo = ""
			if row.now != "" {
				w.provider.userinfo = object(t, map[string]any{"groups": row.now})
			}
			l := w.loginUnderWay()
			l.Identity.IDToken = object(t, map[string]any{"iss": issuer, "sub": "alice", "exp": 1, "groups": "admin", "only": "here"})
			l.Tokens.IDToken = "e30." + base64.RawURLEncoding.EncodeToString(l.Identity.IDToken.AppendJSON(nil)) + ".c2ln"
			l.Tokens.Userinfo, l.Tokens.Overtaken = new(object(t, map[string]any{"groups": row.kept})), nil
			begins := w.Keeper
			if row.kept == "" {
				l.Identity.Userinfo = object(t, map[string]any{"groups": "admin"})
				begins = w.replica(func(c *session.Config) { c.Limits.Reread = 0 })
			}
			w.wantErr(begins.Begin(t.Context(), l), nil)
			for i := range 3 {
				time.Sleep(6 * time.Minute)
				s, err := w.Load(t.Context(), l.ID)
				w.wantErr(err, nil)
				s, err = w.Reread(t.Context(), s)
				w.wantErr(err, nil)
				groups, _ := s.Identity.Claim("groups")
				group, _ := groups.Str()
				only, _ := s.Identity.Claim("only")
				if got, want := fmt.Sprintf("%q %s", group, only.AppendJSON(nil)), fmt.Sprintf("%q %q", row.want, "here"); got != want {
					t.Errorf("re-read %d: %s, want %s", i+1, got, want)
				}
			}
		})
	}
}
