package op_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/op"
)

func TestShapeOfUserinfo(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*op.Config)
		info   map[string]any
		want   string
	}{
		"a member without a name is not lifted unless it is asked for": {
			func(*op.Config) {}, map[string]any{"": map[string]any{"team": "north"}}, `{"":{"team":"north"},"name":"Jane Doe"}`,
		},
		"a member to lift that is no object stays": {
			func(cfg *op.Config) { cfg.Unwrap = "data" }, map[string]any{"data": "north"}, `{"data":"north","name":"Jane Doe"}`,
		},
		"what is lifted replaces nothing": {
			func(cfg *op.Config) { cfg.Unwrap = "data" }, map[string]any{"data": map[string]any{"name": "Mallory", "team": "north"}},
			`{"name":"Jane Doe","team":"north"}`,
		},
		"nothing is said of an address that is not there": {
			func(cfg *op.Config) { cfg.EmailVerifiedText = true }, nil, `{"name":"Jane Doe"}`,
		},
		"a string of another name does not count unless strings do": {
			func(cfg *op.Config) { cfg.EmailVerified = "checked" }, map[string]any{"email": "jane@example.org", "checked": "true"},
			`{"checked":"true","email":"jane@example.org","name":"Jane Doe","email_verified":false}`,
		},
	} {
		t.Run("C079 "+name, func(t *testing.T) {
			o := newOP()
			o.set("userinfo", answerJSON(userinfo(tt.info)))
			info, err := o.client(asking(op.UserinfoRequired), tt.change).Userinfo(t.Context(), "at-1", subject)
			wantReason(t, err, "")
			if got := string(info.AppendJSON(nil)); got != tt.want {
				t.Errorf("claims %s, want %s", got, tt.want)
			}
		})
	}
}

func TestFurtherClaims(t *testing.T) {
	// ask reads userinfo and these further claims.
	ask := func(t *testing.T, info map[string]any, more claims.Object) func() string {
		o := newOP()
		o.set("userinfo", answerJSON(userinfo(info)))
		c := o.client(asking(op.UserinfoRequired), func(cfg *op.Config) {
			cfg.Further = func(context.Context, claims.Object, claims.Object, op.Send) (claims.Object, error) {
				return more, nil
			}
		})
		id := claims.Object("").With("sub", claims.Text(subject))
		return func() string {
			got, err := c.RereadUserinfo(t.Context(), &op.Tokens{AccessToken: "at-1"}, id, false)
			if err != nil {
				t.Fatal(err)
			}
			return string(got.AppendJSON(nil))
		}
	}
	t.Run("C075 they replace others where they stand, and none of the protocol's", func(t *testing.T) {
		more := claims.Object(claims.Builder{}.Text("team", "south").Text("sub", "mallory").Text("name", "Joe").Text("iss", "x"))
		want := `{"name":"Joe","role":"cook","team":"south"}`
		if got := ask(t, map[string]any{"team": "north", "role": "cook"}, more)(); got != want {
			t.Errorf("claims %s, want %s", got, want)
		}
	})
	t.Run("C075 with another address, whether the first was verified is left out, and nothing else", func(t *testing.T) {
		info := map[string]any{"team": "north", "email": "jane@example.org", "email_verified": true}
		more := claims.Object("").With("email", claims.Text("joe@example.org"))
		want := `{"email":"joe@example.org","name":"Jane Doe","team":"north"}`
		if got := ask(t, info, more)(); got != want {
			t.Errorf("claims %s, want %s", got, want)
		}
	})
	t.Run("F34 thousands of them are added in one pass", func(t *testing.T) {
		const many = 4000
		var b claims.Builder
		for i := range many {
			b = b.Text(fmt.Sprint("claim ", i), "x")
		}
		read := ask(t, nil, claims.Object(b))
		if n := testing.AllocsPerRun(1, func() { read() }); n > many {
			t.Errorf("%.0f allocations", n)
		}
	})
}
