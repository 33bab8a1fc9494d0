package op_test

import (
	"encoding/json"
	"net/url"
	"testing"

	"github.com/oidcgate/oidcgate/internal/op"
)

func TestEssentialACR(t *testing.T) {
	for _, row := range []struct {
		name   string
		on     bool
		acr    []string
		claims string
		want   string
	}{
		{"C025 the classes of a login", true, []string{"gold", `a"b`}, "", `{"id_token":{"acr":{"essential":true,"values":["gold","a\"b"]}}}`},
		{"C025 beside the claims that were chosen", true, []string{"gold"}, `{"userinfo":{"email":null},"id_token":{"acr":{"essential":false},"x":null}}`,
			`{"id_token":{"acr":{"essential":true,"values":["gold"]},"x":null},"userinfo":{"email":null}}`},
		{"C025 beside a member that is no object", true, []string{"gold"}, `{"purpose":"checkout","id_token":null}`,
			`{"id_token":{"acr":{"essential":true,"values":["gold"]}},"purpose":"checkout"}`},
		{"C025 no class", true, nil, "", ""},
		{"C025 off", false, []string{"gold"}, "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := newOP().client(func(cfg *op.Config) { cfg.EssentialACR = row.on })
			options := op.LoginOptions{Claims: row.claims}
			address, err := c.AuthorizationURL(t.Context(), op.AuthorizationRequest{
				State: "s", Nonce: nonce, CodeVerifier: "v", ACRValues: row.acr, Options: options.Encode(),
			})
			wantReason(t, err, "")
			u, err := url.Parse(address)
			if err != nil {
				t.Fatal(err)
			}
			if got := u.Query()["claims"]; row.want == "" && got != nil || row.want != "" && (len(got) != 1 || got[0] != row.want || !json.Valid([]byte(got[0]))) {
				t.Errorf("claims %q, want %s", got, row.want)
			}
		})
	}
}
