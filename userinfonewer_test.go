package oidcgate_test

import (
	"fmt"
	"maps"
	"runtime"
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
	for _, row := range []struct {
		name    string
		idToken []string // of later refreshes
		want    string
	}{
		{"with other groups counts before userinfo again", []string{"owner"}, "[owner] true"},
		{"that repeats the one before does not", admin, "[staff] true"},
	} {
		inBubble(t, "C113 a new ID Token "+row.name, func(t *testing.T) {
			f := start(t, admin, admin)
			f.login()
			f.op.Always(oidcgatetest.Token, withoutMember("id_token"))
			userinfo(f, staff)
			reread(f)
			f.op.Clear(oidcgatetest.Token)
			f.op.SetUser(oidcgatetest.User{Subject: "alice", Claims: map[string]any{"groups": row.idToken, "only": 1}})
			reread(f)
			reread(f)
			if want := []string{"[staff] true", row.want, row.want}; !slices.Equal(seen, want) {
				t.Errorf("OnLogin saw %q, want %q", seen, want)
			}
		})
	}
	for _, row := range []struct {
		name    string
		login   []string
		idToken []string   // of the refresh with which userinfo changes
		now     [][]string // what userinfo says then, and later
		want    []string
	}{
		{"repeats it in another order", []string{"a", "b"}, []string{"b", "a"}, [][]string{staff, nil}, []string{"[staff] true", "[] true"}},
		{"repeats it", admin, admin, [][]string{staff, staff, nil, admin}, []string{"[staff] true", "[staff] true", "[] true", "[admin] true"}},
		{"says something else", admin, []string{"owner"}, [][]string{staff, staff}, []string{"[owner] true", "[owner] true"}},
	} {
		for _, later := range []string{"repeats itself", "is missing"} {
			inBubble(t, "C113 userinfo takes a group away beside an ID Token that "+row.name+", which then "+later, func(t *testing.T) {
				f := start(t, row.login, row.login)
				f.login()
				f.op.SetUser(oidcgatetest.User{Subject: "alice", Claims: map[string]any{"groups": row.idToken, "only": 1}})
				for _, groups := range row.now {
					userinfo(f, groups)
					reread(f)
					if later == "is missing" {
						f.op.Always(oidcgatetest.Token, withoutMember("id_token"))
					}
				}
				if !slices.Equal(seen, row.want) {
					t.Errorf("OnLogin saw %q, want %q", seen, row.want)
				}
			})
		}
	}
	for _, row := range []struct {
		name   string
		repair []string // what userinfo says when it is well again
		want   string
	}{
		{"the group is gone", nil, "[] true"}, {"another group", staff, "[staff] true"}, {"the same group", admin, "[admin] true"},
	} {
		inBubble(t, "C113 new ID Tokens repeat the groups, and userinfo cannot be read for long, and then: "+row.name, func(t *testing.T) {
			f := start(t, admin, admin)
			f.login()
			f.op.Always(oidcgatetest.Userinfo, oidcgatetest.Answer(200, "text/html", "<p>A proxy"))
			for range 4 {
				reread(f)
				if got := seen[len(seen)-1]; got != "[admin] true" {
					t.Errorf("OnLogin saw %q", seen)
				}
			}
			userinfo(f, row.repair)
			for range 3 {
				reread(f)
				if got := seen[len(seen)-1]; got != row.want {
					t.Errorf("OnLogin saw %q, want %s", seen, row.want)
				}
			}
		})
	}
	for name, fails := range map[string]oidcgatetest.Fault{
		"does not answer": oidcgatetest.Answer(503, "", ""), "cannot be read": oidcgatetest.Answer(200, "text/html", "<p>A proxy"),
	} {
		inBubble(t, "C113 userinfo said something new, and "+name+" since then: new ID Tokens count, until it answers", func(t *testing.T) {
			f := start(t, staff, staff)
			f.login()
			f.op.Always(oidcgatetest.Token, withoutMember("id_token"))
			userinfo(f, admin)
			reread(f)
			f.op.Clear(oidcgatetest.Token)
			f.op.Always(oidcgatetest.Userinfo, fails)
			for range 4 {
				reread(f)
			}
			userinfo(f, admin)
			reread(f)
			reread(f)
			if got, want := seen[len(seen)-2:], []string{"[admin] true", "[admin] true"}; !slices.Equal(got, want) || slices.Contains(seen[1:len(seen)-2], "[admin] true") || seen[1] != "[staff] true" {
				t.Errorf("OnLogin saw %q", seen)
			}
		})
		inBubble(t, "C113 userinfo "+name+", without ID Tokens and then with them: they count", func(t *testing.T) {
			f := start(t, admin, admin)
			f.login()
			f.op.Always(oidcgatetest.Token, withoutMember("id_token"))
			f.op.Always(oidcgatetest.Userinfo, fails)
			for range 4 {
				reread(f)
			}
			f.op.Clear(oidcgatetest.Token)
			for range 3 {
				reread(f)
				if got := seen[len(seen)-1]; got != "[admin] true" {
					t.Errorf("OnLogin saw %q", seen)
				}
			}
		})
	}
	for name, fails := range map[string]func(*fleet){
		"misses the login": func(f *fleet) {
			f.op.Always(oidcgatetest.Userinfo, oidcgatetest.Answer(503, "", ""))
			f.login()
			reread(f)
		},
		"is down for long": func(f *fleet) {
			f.login()
			f.op.Always(oidcgatetest.Userinfo, oidcgatetest.Answer(200, "text/html", "<p>A proxy"))
			for range 4 {
				reread(f)
			}
		},
	} {
		inBubble(t, "C113 userinfo always differs from ID Tokens that repeat themselves, and "+name+": they count", func(t *testing.T) {
			f := start(t, admin, staff)
			for _, g := range f.gates {
				p := oidcgate.Provider{Issuer: f.op.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret), Userinfo: oidcgate.UserinfoOptional}
				if err := g.SetProviders(p); err != nil {
					t.Fatal(err)
				}
			}
			fails(f)
			userinfo(f, staff)
			for range 3 {
				reread(f)
				if got := seen[len(seen)-1]; got != "[admin] true" {
					t.Errorf("OnLogin saw %q", seen)
				}
			}
		})
	}
	inBubble(t, "C113 roles within an object, in another order, are repeated", func(t *testing.T) {
		var got string
		f := newFleet(t, 1, rereads, decides(func(l *oidcgate.Login) error {
			all, _ := l.Identity().ClaimStrings("/realm_access/roles")
			got = fmt.Sprint(all)
			return nil
		}), func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Userinfo = oidcgate.UserinfoRequired })
		roles := func(names ...string) map[string]any {
			return map[string]any{"realm_access": map[string]any{"roles": names}}
		}
		said := roles("admin", "staff")
		f.op.SetUser(oidcgatetest.User{Subject: "alice", Claims: said})
		f.op.Always(oidcgatetest.Userinfo, oidcgatetest.EditJSON(func(m map[string]any) { maps.Copy(m, said) }))
		f.login()
		f.op.SetUser(oidcgatetest.User{Subject: "alice", Claims: roles("staff", "admin")})
		said = roles("staff")
		reread(f)
		reread(f)
		if got != "[staff]" {
			t.Errorf("OnLogin saw %s", got)
		}
	})
	inBubble(t, "C113 userinfo took the group away, and cannot be read; one new ID Token has it, and no other comes", func(t *testing.T) {
		f := start(t, admin, admin)
		f.login()
		userinfo(f, staff)
		reread(f)
		f.op.Always(oidcgatetest.Userinfo, oidcgatetest.Answer(200, "text/html", "<p>A proxy"))
		reread(f)
		f.op.Always(oidcgatetest.Token, withoutMember("id_token"))
		for range 4 {
			reread(f)
		}
		if got := seen[len(seen)-1]; got != "[] true" {
			t.Errorf("OnLogin saw %q", seen)
		}
	})
	inBubble(t, "C113 F38 a claim that is nested deeply costs no more than it has bytes", func(t *testing.T) {
		f := newFleet(t, 1, rereads, func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Userinfo = oidcgate.UserinfoRequired })
		deep := any("a")
		for range 28 {
			deep = []any{deep}
		}
		f.op.SetUser(oidcgatetest.User{Subject: "alice", Claims: map[string]any{"deep": deep}})
		f.login()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		reread(f)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 64<<20 || f.subject() != "alice" {
			t.Errorf("%d bytes, signed in as %q", n, f.subject())
		}
	})
	inBubble(t, "C113 OnLogin drops what userinfo has, which fails once: it goes on to take groups away", func(t *testing.T) {
		f := start(t, admin, admin)
		f.login()
		f.op.Always(oidcgatetest.Userinfo, oidcgatetest.Answer(200, "text/html", "<p>A proxy"))
		reread(f)
		userinfo(f, staff)
		for range 3 {
			reread(f)
			if got := seen[len(seen)-1]; got != "[staff] true" {
				t.Errorf("OnLogin saw %q", seen)
			}
		}
	})
	inBubble(t, "C113 userinfo is switched off after it has said something new: a new ID Token counts", func(t *testing.T) {
		f := start(t, admin, admin)
		f.login()
		userinfo(f, staff)
		reread(f)
		for _, g := range f.gates {
			if err := g.SetProviders(oidcgate.Provider{Issuer: f.op.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)}); err != nil {
				t.Fatal(err)
			}
		}
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
	for _, claim := range []string{"email", "phone_number"} {
		type said = map[string]any
		flag := claim + "_verified"
		for name, row := range map[string]struct{ login, idToken, userinfo, want said }{
			"the address changes, and both say so": {
				said{claim: "old@id.test", flag: true}, said{claim: "new@id.test", flag: true}, said{claim: "new@id.test", flag: true},
				said{claim: "new@id.test", flag: true},
			},
			"the flag changes, and userinfo knows another address already": {
				said{claim: "old@id.test", flag: false}, said{claim: "old@id.test", flag: true}, said{claim: "other@id.test", flag: false},
				said{claim: "old@id.test", flag: true},
			},
			"the ID Token repeats both, and userinfo knows another address": {
				said{claim: "old@id.test", flag: true}, said{claim: "old@id.test", flag: true}, said{claim: "other@id.test", flag: false},
				said{claim: "other@id.test", flag: false},
			},
		} {
			inBubble(t, "C073 C113 "+claim+" beside a new ID Token: "+name, func(t *testing.T) {
				got := said{}
				f := newFleet(t, 1, rereads, decides(func(l *oidcgate.Login) error {
					got[claim], _ = l.Identity().ClaimString(claim)
					got[flag], _ = l.Identity().ClaimBool(flag)
					if address, verified := l.Identity().Email(); claim == "email" && (address != got[claim] || verified != got[flag]) {
						t.Errorf("Email() is %q, %t beside %v", address, verified, got)
					}
					return nil
				}), func(_ *oidcgate.Config, p *oidcgate.Provider) {
					p.Userinfo, p.Scopes = oidcgate.UserinfoRequired, []string{"email", "phone"}
				})
				now := row.login
				f.op.SetUser(oidcgatetest.User{Subject: "alice", Claims: row.login})
				f.op.Always(oidcgatetest.Userinfo, oidcgatetest.EditJSON(func(m map[string]any) { maps.Copy(m, now) }))
				f.login()
				now = row.userinfo
				f.op.SetUser(oidcgatetest.User{Subject: "alice", Claims: row.idToken})
				for range 3 {
					reread(f)
					if !maps.Equal(got, row.want) {
						t.Errorf("OnLogin saw %v, want %v", got, row.want)
					}
				}
			})
		}
	}
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
