package oidcgate_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// TestUserinfoIsNewerThanTheIDToken has a provider with the same claims in ID Token and userinfo,
// whose refreshes bring no ID Token, or that gives no refresh token.
func TestUserinfoIsNewerThanTheIDToken(t *testing.T) {
	// userinfo sets the groups that userinfo has; nil: none at all.
	userinfo := func(f *fleet, groups []string) {
		f.op.Clear(oidcgatetest.Userinfo)
		f.op.Always(oidcgatetest.Userinfo, oidcgatetest.EditJSON(func(m map[string]any) {
			delete(m, "only") // which the ID Token alone has
			if m["groups"] = groups; groups == nil {
				delete(m, "groups")
			}
		}))
	}
	var seen []string
	start := func(t *testing.T, idToken, groups []string) *fleet {
		seen = nil
		op := oidcgatetest.NewProvider(t, oidcgatetest.Config{AccessTokenLifetime: 24 * time.Hour})
		f := newFleetOf(t, op, 2, rereads, decides(func(l *oidcgate.Login) error {
			all, _ := l.Identity().ClaimStrings("groups")
			_, only := l.Identity().ClaimJSON("only")
			seen = append(seen, fmt.Sprint(all, only))
			l.Drop("groups") // the next decision sees it all the same
			return nil
		}), func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Userinfo = oidcgate.UserinfoRequired })
		op.SetUser(oidcgatetest.User{Subject: "alice", Claims: map[string]any{"groups": idToken, "only": 1}})
		userinfo(f, groups)
		return f
	}
	reread := func(f *fleet) {
		time.Sleep(6 * time.Minute)
		f.get("/app")
	}
	admin, staff := []string{"admin"}, []string{"staff"}
	for _, row := range []struct {
		name     string
		userinfo [][]string // at the login, and at each re-read
		want     []string   // what OnLogin sees then
	}{
		{"a group is taken away", [][]string{admin, staff}, []string{"[staff] true"}},
		{"all are taken away, and stay away", [][]string{admin, nil, nil}, []string{"[] true", "[] true"}},
		{"they come back", [][]string{admin, nil, staff, admin}, []string{"[] true", "[staff] true", "[admin] true"}},
		{"userinfo says what it said at the login", [][]string{staff, staff}, []string{"[admin] true"}},
		{"userinfo says it at last", [][]string{nil, nil, staff}, []string{"[admin] true", "[staff] true"}},
	} {
		for _, without := range []string{"id_token", "refresh_token"} {
			inBubble(t, "C113 no new "+without+": "+row.name, func(t *testing.T) {
				f := start(t, admin, row.userinfo[0])
				if without == "refresh_token" {
					f.op.Inject(oidcgatetest.Token, withoutMember(without))
				}
				f.login()
				f.op.Always(oidcgatetest.Token, withoutMember(without))
				for _, groups := range row.userinfo[1:] {
					userinfo(f, groups)
					reread(f)
				}
				if !slices.Equal(seen, row.want) {
					t.Errorf("OnLogin saw %q, want %q", seen, row.want)
				}
			})
		}
	}
	inBubble(t, "C113 a new ID Token counts before userinfo again", func(t *testing.T) {
		f := start(t, admin, admin)
		f.login()
		f.op.Always(oidcgatetest.Token, withoutMember("id_token"))
		userinfo(f, staff)
		reread(f)
		f.op.Clear(oidcgatetest.Token)
		reread(f)
		if want := []string{"[staff] true", "[admin] true"}; !slices.Equal(seen, want) {
			t.Errorf("OnLogin saw %q, want %q", seen, want)
		}
	})
	inBubble(t, "C113 F16 userinfo is down after it has said something new", func(t *testing.T) {
		f := start(t, admin, admin)
		f.login()
		f.op.Always(oidcgatetest.Token, withoutMember("id_token"))
		userinfo(f, staff)
		reread(f)
		f.op.Always(oidcgatetest.Userinfo, oidcgatetest.Answer(500, "", ""))
		reread(f)
		if want := []string{"[staff] true", "[staff] true"}; !slices.Equal(seen, want) {
			t.Errorf("OnLogin saw %q, want %q", seen, want)
		}
	})
	for _, row := range []struct {
		name   string
		repair []string // what userinfo says when it is well again
		want   string
	}{
		{"the group is gone", nil, "[] true"}, {"another group", staff, "[staff] true"}, {"the same group", admin, "[admin] true"},
	} {
		inBubble(t, "C113 userinfo cannot be read for long, and then: "+row.name, func(t *testing.T) {
			f := start(t, admin, admin)
			time.Sleep(time.Hour) // so long has the process heard of nobody else
			f.login()
			f.op.Always(oidcgatetest.Token, withoutMember("id_token"))
			f.op.Always(oidcgatetest.Userinfo, oidcgatetest.Answer(200, "text/html", "<p>A proxy"))
			for range 4 {
				reread(f)
			}
			if got := seen[len(seen)-1]; got != "[] true" {
				t.Errorf("it cannot be read: OnLogin saw %q", seen)
			}
			f.op.Clear(oidcgatetest.Userinfo)
			userinfo(f, row.repair)
			reread(f)
			reread(f)
			if got := seen[len(seen)-1]; got != row.want {
				t.Errorf("OnLogin saw %q, want %s", seen, row.want)
			}
		})
	}
	inBubble(t, "C113 userinfo is switched off: the ID Token counts", func(t *testing.T) {
		f := start(t, admin, admin)
		f.login()
		f.op.Always(oidcgatetest.Token, withoutMember("id_token"))
		if err := f.gates[0].SetProviders(oidcgate.Provider{Issuer: f.op.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)}); err != nil {
			t.Fatal(err)
		}
		_ = f.gates[1].SetProviders(oidcgate.Provider{Issuer: f.op.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)})
		reread(f)
		if got := seen[len(seen)-1]; got != "[admin] true" {
			t.Errorf("OnLogin saw %q", seen)
		}
	})
	inBubble(t, "C073 C113 news of another claim: the address and its flag stay the ID Token's", func(t *testing.T) {
		var email string
		f := newFleet(t, 1, rereads, decides(func(l *oidcgate.Login) error {
			email, _ = l.Identity().ClaimString("email")
			return nil
		}), func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Userinfo = oidcgate.UserinfoRequired })
		f.op.SetUser(oidcgatetest.User{Subject: "alice", Claims: map[string]any{"email": "a@id.test", "email_verified": true}})
		said := map[string]any{"email": "other@id.test", "email_verified": false, "groups": "admin"}
		f.op.Always(oidcgatetest.Userinfo, oidcgatetest.EditJSON(func(m map[string]any) { maps.Copy(m, said) }))
		f.login()
		f.op.Always(oidcgatetest.Token, withoutMember("id_token"))
		said["groups"] = "staff"
		reread(f)
		if email != "a@id.test" {
			t.Errorf("OnLogin saw %s", email)
		}
	})
	for _, claim := range []string{"email", "phone_number"} {
		for name, userinfo := range map[string]map[string]any{
			"userinfo has no flag":      {claim: "new"},
			"userinfo has the flag too": {claim: "new", claim + "_verified": false},
			"userinfo has the flag":     {claim + "_verified": false},
		} {
			inBubble(t, "C073 "+claim+" has its flag from the same source: "+name, func(t *testing.T) {
				var flag bool
				f := newFleet(t, 1, rereads, decides(func(l *oidcgate.Login) error {
					flag, _ = l.Identity().ClaimBool(claim + "_verified")
					return nil
				}), func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Userinfo = oidcgate.UserinfoRequired })
				f.op.SetUser(oidcgatetest.User{Subject: "alice", Claims: map[string]any{claim: "old", claim + "_verified": true}})
				f.op.Always(oidcgatetest.Userinfo, oidcgatetest.EditJSON(func(m map[string]any) {
					delete(m, claim+"_verified")
				}))
				f.login()
				f.op.Clear(oidcgatetest.Userinfo)
				f.op.Always(oidcgatetest.Token, withoutMember("id_token"))
				f.op.Always(oidcgatetest.Userinfo, oidcgatetest.EditJSON(func(m map[string]any) {
					delete(m, claim)
					delete(m, claim+"_verified")
					maps.Copy(m, userinfo)
				}))
				flag = true
				reread(f)
				if flag {
					t.Error("it is verified")
				}
			})
		}
	}
}
