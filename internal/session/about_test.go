package session

import (
	"fmt"
	"strings"
	"testing"

	"github.com/oidcgate/oidcgate/internal/claims"
)

func TestAboutAClaim(t *testing.T) {
	parse := func(text string) claims.Object {
		o, err := claims.Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	id := Identity{
		IDToken: parse(`{"iss": "https://id.example", "sub": "ada", "groups": ["staff"], "one": "admin boss",
			"flag": true, "n": 1, "none": null, "nothing": {}, "empty": [], "numbers": [1, 2], "words": "admin",
			"realm_access": {"roles": ["a"], "more/less~": {"deep": ["b"]}}, "ada@shop.example": {"of_ada": 1}, "a": {"b": {"third": 1, "c": {"fourth": 1}}}}`),
		Userinfo: parse(`{"resource_access": {"shop": {"roles": ["b"]}, "x": 1}, "groups": "hidden"}`),
	}
	const top = "groups, one, flag, n, none, nothing, empty, numbers, words, realm_access, a, resource_access"
	for _, tt := range []struct {
		claim   string
		isThere bool
		more    string
	}{
		{"groups", true, ""},
		{"words", true, ""},
		{"one", true, "; it is one string with spaces or commas, and only Match can take it apart"},
		{"flag", true, "; it is a boolean"},
		{"n", true, "; it is a number"},
		{"none", true, "; it is null"},
		{"empty", true, "; it is a list without strings"},
		{"numbers", true, "; it is a list without strings"},
		{"realm_access", true, "; it is an object: name a member of it, as \"/realm_access/roles\" does"},
		{"/realm_access/roles", true, ""},

		{"roles", false, "; found /realm_access/roles, /resource_access/shop/roles"},
		{"Groups", false, "; found /groups"},
		{"realm_access.roles", false, "; found /realm_access/roles, /resource_access/shop/roles"},
		{"/realm_access/groups", false, "; found /groups"},
		{"of_ada", false, "; the claims are " + top},
		{"third", false, "; found /a/b/third"},
		{"fourth", false, "; the claims are " + top},
		{"deep", false, "; found /realm_access/more~1less~0/deep"},
		{"/realm_access/rolls", false, "; the claims are " + top},
		{"/resource_access/shop/rolls/0", false, "; the claims are " + top},
		{"/realm/rolls", false, "; the claims are " + top},
		{"role", false, "; the claims are " + top},
		{"https://shop.example/role", false, "; the claims are " + top},
	} {
		if isThere, more := id.About(tt.claim); isThere != tt.isThere || more != tt.more {
			t.Errorf("%s: %v %q, want %v %q", tt.claim, isThere, more, tt.isThere, tt.more)
		}
	}
	t.Run("there is nothing", func(t *testing.T) {
		id := Identity{IDToken: parse(`{"iss": "https://id.example", "sub": "ada"}`)}
		if _, more := id.About("role"); more != "" {
			t.Errorf("%q", more)
		}
		if _, more := new(Identity).About("/a/b"); more != "" {
			t.Errorf("%q", more)
		}
	})
	t.Run("there is much", func(t *testing.T) {
		var members []string
		for i := range 100 {
			members = append(members, fmt.Sprintf(`"c%d": 1`, i))
		}
		id := Identity{IDToken: parse("{" + strings.Join(members, ", ") + "}")}
		_, more := id.About("role")
		if want := "; the claims are c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, ..."; more != want {
			t.Errorf("%q, want %q", more, want)
		}
	})
}
