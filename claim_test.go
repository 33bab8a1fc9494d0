package oidcgate_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// identityOf makes an identity of claims in JSON, whose numbers keep their digits.
func identityOf(t *testing.T, text string) *oidcgate.Identity {
	t.Helper()
	var raw map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &raw); err != nil {
		t.Fatal(err)
	}
	members := make(map[string]any)
	for name, value := range raw {
		members[name] = value
	}
	id, err := oidcgate.NewIdentity("https://id.test", "alice", members)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

const manyKinds = `{
	"name": "Alice", "none": "", "groups": ["staff", 1, "admin", null], "numbers": [1, 2],
	"no_groups": [],
	"admin": true, "locked": false, "balance": 12345678901234567890.10, "updated_at": 1311280970,
	"text_true": "true", "text_number": "5", "negative": -1, "gone": null,
	"address": {"locality": "Oslo", "lines": ["a", "b"], "a/b": "slash", "c~d": "tilde"},
	"/path": "slashed", "https://id.test/role": "owner"
}`

func TestClaimOfEachKind(t *testing.T) {
	id := identityOf(t, manyKinds)
	// For each claim what the methods say of it. A method that is not named finds nothing.
	tests := []struct{ claim, want string }{
		{"name", `String "Alice", Strings ["Alice"], JSON "Alice"`},
		{"none", `String "", Strings [""], JSON ""`},
		{"groups", `Strings ["staff" "admin"], JSON ["staff",1,"admin",null]`},
		{"numbers", `Strings [], JSON [1,2]`},
		{"no_groups", `Strings [], JSON []`},
		{"admin", `Bool true, JSON true`},
		{"locked", `Bool false, JSON false`},
		{"balance", `Number 12345678901234567890.10, JSON 12345678901234567890.10`},
		{"updated_at", `Number 1311280970, Time 2011-07-21T20:42:50Z, JSON 1311280970`},
		{"text_true", `String "true", Strings ["true"], JSON "true"`},
		{"text_number", `String "5", Strings ["5"], JSON "5"`},
		{"negative", `Number -1, JSON -1`},
		{"gone", `JSON null`},
		{"iss", `String "https://id.test", Strings ["https://id.test"], JSON "https://id.test"`},
		{"https://id.test/role", `String "owner", Strings ["owner"], JSON "owner"`},
		{"/https:~1~1id.test~1role", `String "owner", Strings ["owner"], JSON "owner"`},
		{"/address/locality", `String "Oslo", Strings ["Oslo"], JSON "Oslo"`},
		{"/address/lines", `Strings ["a" "b"], JSON ["a","b"]`},
		{"/address/lines/1", `String "b", Strings ["b"], JSON "b"`},
		{"/address/a~1b", `String "slash", Strings ["slash"], JSON "slash"`},
		{"/address/c~0d", `String "tilde", Strings ["tilde"], JSON "tilde"`},
		{"/~1path", `String "slashed", Strings ["slashed"], JSON "slashed"`},
		{"/admin", `Bool true, JSON true`},
		{"/groups/1", `Number 1, Time 1970-01-01T00:00:01Z, JSON 1`},
		{"Name", ``}, {"\u017fub", ``}, {"", ``}, {"/", ``}, {"/path", ``},
		{"address/locality", ``}, {"/address/Locality", ``}, {"/address/lines/2", ``}, {"/name/0", ``},
	}
	for _, tt := range tests {
		t.Run("C069 "+tt.claim, func(t *testing.T) {
			if got := saidOf(id, tt.claim); got != tt.want {
				t.Errorf("the methods say of %q\n%s, want\n%s", tt.claim, got, tt.want)
			}
		})
	}
}

// saidOf lists the methods that find the claim, and what. It also requires zero values of others.
func saidOf(id *oidcgate.Identity, claim string) string {
	var said []byte
	add := func(ok, zero bool, format string, value any) {
		switch {
		case ok && len(said) > 0:
			said = fmt.Appendf(said, ", "+format, value)
		case ok:
			said = fmt.Appendf(said, format, value)
		case !zero:
			said = fmt.Appendf(said, "NOT ZERO: "+format, value)
		}
	}
	s, ok := id.ClaimString(claim)
	add(ok, s == "", "String %q", s)
	list, ok := id.ClaimStrings(claim)
	add(ok && list != nil, list == nil, "Strings %q", list)
	b, ok := id.ClaimBool(claim)
	add(ok, !b, "Bool %v", b)
	n, ok := id.ClaimNumber(claim)
	add(ok, n == "", "Number %s", n)
	at, ok := id.ClaimTime(claim)
	add(ok, at.IsZero(), "Time %s", at.Format(time.RFC3339))
	raw, ok := id.ClaimJSON(claim)
	add(ok, raw == nil, "JSON %s", raw)
	return string(said)
}

// TestClaimSources signs in with an ID Token, userinfo and an OnLogin that set something each.
func TestClaimSources(t *testing.T) {
	id := signedIn(t, func(c *oidcgate.Config, p *oidcgate.Provider) {
		p.Userinfo = oidcgate.UserinfoRequired
		c.OnLogin = func(_ context.Context, l *oidcgate.Login) error { return l.Set("plan", "gold") }
	}, func(op *oidcgatetest.Provider) {
		op.SetUser(oidcgatetest.User{
			Subject: "alice",
			Claims:  map[string]any{"groups": []string{"staff"}, "realm": "text", "plan": "free"},
			UserinfoClaims: map[string]any{
				"groups": "admin", "realm": map[string]any{"role": "admin"}, "plan": "none", "city": "Oslo",
			},
		})
	})
	for claim, want := range map[string]string{
		"plan": `"gold"`, "/plan": `"gold"`, "groups": `["staff"]`, "/groups/0": `"staff"`,
		"city": `"Oslo"`, "realm": `"text"`, "/realm/role": "",
	} {
		if got, ok := id.ClaimJSON(claim); string(got) != want || ok != (want != "") {
			t.Errorf("ClaimJSON(%q) = %s, %v, want %s", claim, got, ok, want)
		}
	}
	var all map[string]any
	if err := id.Decode(&all); err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintln(all["plan"], all["groups"], all["realm"], all["city"])
	if want := "gold [staff] text Oslo\n"; got != want {
		t.Errorf("Decode: plan, groups, realm and city are %s", got)
	}
}

// signedIn returns the identity that a handler sees after a login.
func signedIn(
	t *testing.T, change func(*oidcgate.Config, *oidcgate.Provider), edit func(*oidcgatetest.Provider),
) *oidcgate.Identity {
	t.Helper()
	w := newWorld(t, change)
	edit(w.op)
	w.login()
	var id *oidcgate.Identity
	h := w.gate.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		id, _ = oidcgate.FromContext(r.Context())
	}))
	r := httptest.NewRequest(http.MethodGet, shopURL+"/x", nil)
	r.Header.Set("Cookie", "__Host-Http-oidcgate="+w.cookie("__Host-Http-oidcgate"))
	h.ServeHTTP(httptest.NewRecorder(), r)
	if id == nil {
		t.Fatal("nobody is signed in")
	}
	return id
}

// TestDecodeAgreesWithTheRest sends claims whose names fold to those an application reads.
func TestDecodeAgreesWithTheRest(t *testing.T) {
	id := signedIn(t, func(_ *oidcgate.Config, p *oidcgate.Provider) {
		p.Userinfo = oidcgate.UserinfoRequired
	}, func(op *oidcgatetest.Provider) {
		op.Always(oidcgatetest.Userinfo, oidcgatetest.Edit(func(a *oidcgatetest.Response) {
			// Attributes that a user or another application may name at the provider.
			a.Body = []byte(`{"sub":"alice","email":"ceo@shop.example","email_verified":false,
				"groups":["user"],"Groups":["admin"],"EMAIL_VERIFIED":true,
				"realm_access":{"roles":["user"],"Roles":["admin"]}}`)
		}))
		op.NextIDToken(func(j *oidcgatetest.JWT) {
			delete(j.Claims, "email")
			delete(j.Claims, "email_verified")
			j.Claims["\u017fub"] = "victim" // the long s folds to "s"
			j.Claims["Sub"] = "victim"
		})
	})
	var c struct {
		Sub      string   `json:"sub"`
		Email    string   `json:"email"`
		Groups   []string `json:"groups"`
		Verified bool     `json:"email_verified"`
		Realm    struct {
			Roles []string `json:"roles"`
		} `json:"realm_access"`
	}
	if err := id.Decode(&c); err != nil {
		t.Fatal(err)
	}
	t.Run("C069 sub with a long s", func(t *testing.T) {
		if c.Sub != "alice" || c.Sub != id.Subject() {
			t.Errorf("Decode says %q, Subject %q", c.Sub, id.Subject())
		}
	})
	t.Run("C069 EMAIL_VERIFIED", func(t *testing.T) {
		address, verified := id.Email()
		if c.Verified || c.Verified != verified || c.Email != address {
			t.Errorf("Decode says %q, %v; Email %q, %v", c.Email, c.Verified, address, verified)
		}
	})
	t.Run("C069 Groups", func(t *testing.T) {
		groups, _ := id.ClaimStrings("groups")
		if !slices.Equal(c.Groups, []string{"user"}) || !slices.Equal(c.Groups, groups) {
			t.Errorf("Decode says %q, ClaimStrings %q", c.Groups, groups)
		}
	})
	t.Run("C069 Roles in realm_access", func(t *testing.T) {
		roles, _ := id.ClaimStrings("/realm_access/roles")
		if !slices.Equal(c.Realm.Roles, []string{"user"}) || !slices.Equal(c.Realm.Roles, roles) {
			t.Errorf("Decode says %q, ClaimStrings %q", c.Realm.Roles, roles)
		}
	})
}

func TestReadingAClaimAllocatesNothing(t *testing.T) {
	id := identityOf(t, manyKinds)
	for name, read := range map[string]func() bool{
		"ClaimString":            func() bool { _, ok := id.ClaimString("name"); return ok },
		"ClaimString, a pointer": func() bool { _, ok := id.ClaimString("/address/a~1b"); return ok },
		"ClaimBool":              func() bool { _, ok := id.ClaimBool("admin"); return ok },
		"ClaimNumber":            func() bool { _, ok := id.ClaimNumber("balance"); return ok },
		"ClaimTime":              func() bool { _, ok := id.ClaimTime("updated_at"); return ok },
	} {
		if n := testing.AllocsPerRun(100, func() {
			if !read() {
				t.Errorf("%s finds nothing", name)
			}
		}); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

// TestDecodeIsLinear compares the allocations for 500 claims with those for 8,000: sixteen times as
// many in a map, where copying all claims for each claim would allocate 256 times the bytes.
func TestDecodeIsLinear(t *testing.T) {
	few, many := withClaims(t, 500), withClaims(t, 8000)
	t.Run("a map", func(t *testing.T) {
		into := func() any { return new(map[string]string) }
		allocs, size := decodeCosts(t, few, into)
		moreAllocs, moreSize := decodeCosts(t, many, into)
		if moreAllocs > 32*allocs || moreSize > 64*size {
			t.Errorf("500 claims: %v allocations, %v bytes; 8,000 claims: %v allocations, %v bytes",
				allocs, size, moreAllocs, moreSize)
		}
	})
	t.Run("a struct with one of the claims", func(t *testing.T) {
		into := func() any {
			return new(struct {
				Claim7 string `json:"claim7"`
			})
		}
		allocs, _ := decodeCosts(t, few, into)
		if moreAllocs, _ := decodeCosts(t, many, into); moreAllocs != allocs {
			t.Errorf("500 claims: %v allocations; 8,000 claims: %v", allocs, moreAllocs)
		}
	})
}

func withClaims(t *testing.T, n int) *oidcgate.Identity {
	t.Helper()
	members := make(map[string]any, n)
	for i := range n {
		members[fmt.Sprintf("claim%d", i)] = "value"
	}
	id, err := oidcgate.NewIdentity("https://id.test", "alice", members)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// decodeCosts returns the allocations and the allocated bytes of one Decode.
func decodeCosts(t *testing.T, id *oidcgate.Identity, into func() any) (allocs, size float64) {
	t.Helper()
	const runs = 10
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	allocs = testing.AllocsPerRun(runs, func() {
		if err := id.Decode(into()); err != nil {
			t.Error(err)
		}
	})
	runtime.ReadMemStats(&after)
	return allocs, float64(after.TotalAlloc-before.TotalAlloc) / runs
}

func TestIdentityInLogs(t *testing.T) {
	id, err := oidcgate.NewIdentity("https://id.test", "alice", map[string]any{"email": "alice@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("order", "user", id)
	if want := "user.iss=https://id.test user.sub=alice\n"; !strings.HasSuffix(log.String(), want) {
		t.Errorf("got %q, want %q at its end", log.String(), want)
	}
	for _, format := range []string{"%v", "%s", "%+v"} {
		if got := fmt.Sprintf(format, id); got != "https://id.test alice" {
			t.Errorf("%s: %q", format, got)
		}
	}
	encoded, err := json.Marshal([]any{id})
	if err != nil {
		t.Fatal(err)
	}
	value := *id
	wrapped := fmt.Errorf("order of %v", id)
	for name, got := range map[string]string{
		"%#v": fmt.Sprintf("%#v", id), "%+v of the value": fmt.Sprintf("%+v", value), "%#v of the value": fmt.Sprintf("%#v", value),
		"%+v of a struct": fmt.Sprintf("%+v", struct{ User *oidcgate.Identity }{id}),
		"JSON":            string(encoded), "an error": wrapped.Error(),
	} {
		if strings.Contains(got, "alice@example.com") || strings.Contains(got, "email") {
			t.Errorf("%s shows claims: %s", name, got)
		}
	}
}

func TestZeroIdentity(t *testing.T) {
	var id oidcgate.Identity
	address, verified := id.Email()
	if id.Subject() != "" || id.Issuer() != "" || id.Name() != "" || address != "" || verified ||
		!id.AuthTime().IsZero() || id.AMR() != nil || id.ProviderName() != "" {
		t.Errorf("the zero identity says something: %v", &id)
	}
	if _, ok := id.ClaimString("sub"); ok {
		t.Error("the zero identity has a subject")
	}
	var claims map[string]any
	if err := id.Decode(&claims); err != nil || len(claims) != 0 {
		t.Errorf("claims %v, error %v", claims, err)
	}
}

// Claims of other parties are passed on as they came. Nothing is fetched, and what they would say is
// no claim of the user.
func TestClaimsOfOtherParties(t *testing.T) {
	inside := oidcgatetest.NewProvider(t).NewJWT(map[string]any{"iss": "https://bank.test", "admin_of": "everything"}).Compact()
	claims := map[string]any{
		"_claim_names": map[string]any{"admin_of": "bank", "credit": "far"},
		"_claim_sources": map[string]any{
			"bank": map[string]any{"JWT": inside},
			"far":  map[string]any{"endpoint": "https://id.test/evil", "access_token": "at"},
		},
	}
	for name, user := range map[string]oidcgatetest.User{
		"the ID Token": {Subject: "alice", Claims: claims},
		"userinfo":     {Subject: "alice", UserinfoClaims: claims},
	} {
		t.Run("C072 in "+name, func(t *testing.T) {
			var got *oidcgate.Identity
			w := newWorld(t, func(c *oidcgate.Config, p *oidcgate.Provider) {
				p.Userinfo = oidcgate.UserinfoRequired
				c.OnLogin = func(_ context.Context, l *oidcgate.Login) error {
					got = l.Identity()
					return nil
				}
			})
			w.op.SetUser(user)
			w.login()
			if jwt, _ := got.ClaimString("/_claim_sources/bank/JWT"); jwt != inside {
				t.Errorf("the aggregated JWT is %q", jwt)
			}
			if endpoint, _ := got.ClaimString("/_claim_sources/far/endpoint"); endpoint != "https://id.test/evil" {
				t.Errorf("the endpoint is %q", endpoint)
			}
			for _, claim := range []string{"admin_of", "credit"} {
				if v, ok := got.ClaimJSON(claim); ok {
					t.Errorf("the claim %s is %s", claim, v)
				}
			}
			if n := w.op.Count(oidcgatetest.Other); n != 0 {
				t.Errorf("%d requests to addresses of claims", n)
			}
		})
	}
}
