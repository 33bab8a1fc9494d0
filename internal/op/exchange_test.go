package op_test

import (
	"strings"
	"testing"

	"github.com/oidcgate/oidcgate/internal/op"
)

func TestTokenExchangeAnswer(t *testing.T) {
	const types = "urn:ietf:params:oauth:token-type:"
	x := op.TokenExchange{Audience: "ledger"}
	for _, row := range []struct {
		name   string
		issued any
		reason string
	}{
		{"an access token", types + "access_token", ""},
		{"a JWT", types + "jwt", ""},
		{"it is not said", nil, ""},
		{"an ID Token", types + "id_token", "token_response_invalid"},
		{"a refresh token", types + "refresh_token", "token_response_invalid"},
		{"a SAML assertion", types + "saml2", "token_response_invalid"},
		{"a type in another letter case", strings.ToUpper(types + "jwt"), "token_response_invalid"},
		{"nothing that is a type", "N_A", "token_response_invalid"},
		{"a number", 1, "token_response_invalid"},
	} {
		t.Run("C053 RFC 8693 2.2.1 issued_token_type: "+row.name, func(t *testing.T) {
			o := newOP()
			o.set("token", answerJSON(tokenAnswer(map[string]any{"issued_token_type": row.issued})))
			tokens, err := o.client().ExchangeToken(t.Context(), &op.Tokens{AccessToken: "at-0"}, x)
			wantReason(t, err, row.reason)
			if (tokens != nil) != (row.reason == "") {
				t.Errorf("tokens %v with the error %v", tokens != nil, err)
			}
		})
	}
}
