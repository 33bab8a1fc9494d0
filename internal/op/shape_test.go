package op_test

import (
	"testing"

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
