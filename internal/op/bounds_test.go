package op_test

import (
	"strings"
	"testing"

	"github.com/oidcgate/oidcgate/internal/op"
)

func TestRefusedPushIsSilent(t *testing.T) {
	const hint, user = "aaaa.bbbb.cccc", "alice@corp.example"
	for name, mode := range map[string]op.ObjectMode{
		"C055 a plain request": op.ObjectOff, "C055 a signed request": op.ObjectSigned,
	} {
		t.Run(name, func(t *testing.T) {
			o, _ := pushing(nil)
			o.set("par", answerText(400, "application/json", encode(map[string]any{
				"error": "invalid_request", "error_description": "the hint " + hint + " of " + user + " in hush-state is old",
			})))
			r := aLogin()
			r.IDTokenHint, r.Options = hint, op.LoginOptions{LoginHint: user}.Encode()
			_, err := o.client(signing(mode, clientKey)).AuthorizationURL(t.Context(), r)
			e := wantReason(t, err, "par_error")
			for _, secret := range []string{hint, user, "hush-state"} {
				if strings.Contains(e.Description, secret) {
					t.Errorf("the description has %q: %q", secret, e.Description)
				}
			}
			if !strings.Contains(e.Description, "is old") {
				t.Errorf("the description is %q", e.Description)
			}
		})
	}
}
