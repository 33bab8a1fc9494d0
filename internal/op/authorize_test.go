package op_test

import (
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/internal/op"
)

func TestAuthorizationURL(t *testing.T) {
	sum := sha256.Sum256([]byte("verifier"))
	base := map[string]string{
		"response_type":         "code",
		"client_id":             clientID,
		"redirect_uri":          "https://app.example/auth/callback",
		"scope":                 "openid email",
		"state":                 "st",
		"nonce":                 "no",
		"code_challenge":        base64.RawURLEncoding.EncodeToString(sum[:]),
		"code_challenge_method": "S256",
	}
	extra := func(cfg *op.Config) { cfg.AuthParams = [][2]string{{"kc_idp_hint", "a b&c"}, {"prompt", "none"}} }
	zero, minute := time.Duration(0), 90*time.Second
	tests := []struct {
		name    string
		change  func(*op.Config)
		request op.AuthorizationRequest
		more    map[string]string
	}{
		{"C018 C019 C021 a plain login", nil, op.AuthorizationRequest{}, nil},
		{"C025 max_age 0", nil, op.AuthorizationRequest{MaxAge: &zero}, map[string]string{"max_age": "0"}},
		{"C025 step-up", nil, op.AuthorizationRequest{MaxAge: &minute, ACRValues: []string{"gold", "silver"}},
			map[string]string{"max_age": "90", "acr_values": "gold silver"}},
		{"a response mode", func(cfg *op.Config) { cfg.ResponseMode = "form_post" }, op.AuthorizationRequest{},
			map[string]string{"response_mode": "form_post"}},
		{"C024 extra parameters", extra, op.AuthorizationRequest{},
			map[string]string{"kc_idp_hint": "a b&c", "prompt": "none"}},
		{"C036 a login that may ask the user", extra, op.AuthorizationRequest{Interactive: true},
			map[string]string{"kc_idp_hint": "a b&c"}},
		{"another prompt stays", func(cfg *op.Config) { cfg.AuthParams = [][2]string{{"prompt", "consent"}} },
			op.AuthorizationRequest{Interactive: true}, map[string]string{"prompt": "consent"}},
		{"C036 another prompt of the login stays", nil,
			op.AuthorizationRequest{Interactive: true, Options: op.LoginOptions{Prompt: "select_account"}.Encode()},
			map[string]string{"prompt": "select_account"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := newOP()
			o.set("discovery", answerJSON(metadata(map[string]any{"authorization_endpoint": "https://id.example/authorize?p=b2c"})))
			var changes []func(*op.Config)
			if tt.change != nil {
				changes = append(changes, tt.change)
			}
			tt.request.State, tt.request.Nonce, tt.request.CodeVerifier = "st", "no", "verifier"
			raw, err := o.client(changes...).AuthorizationURL(t.Context(), tt.request)
			wantReason(t, err, "")
			u, err := url.Parse(raw)
			if err != nil {
				t.Fatal(err)
			}
			if got := u.Scheme + "://" + u.Host + u.Path; got != "https://id.example/authorize" {
				t.Errorf("leads to %s", got)
			}
			want := url.Values{"p": {"b2c"}}
			for _, values := range []map[string]string{base, tt.more} {
				for name, value := range values {
					want.Set(name, value)
				}
			}
			if got := u.Query(); !maps.EqualFunc(got, want, slices.Equal) {
				t.Errorf("parameters %v, want %v", got, want)
			}
			if strings.Contains(raw, "verifier") {
				t.Error("C019 the verifier is in the URL")
			}
		})
	}
}

func TestOptionsThatCannotBeRead(t *testing.T) {
	t.Run("C024 no request without the options of the login", func(t *testing.T) {
		r := op.AuthorizationRequest{State: "st", Options: []byte(`{"Prompt":`)}
		if raw, err := newOP().client().AuthorizationURL(t.Context(), r); err == nil || raw != "" {
			t.Errorf("%q, %v", raw, err)
		}
	})
}

func TestOrigins(t *testing.T) {
	for endpoint, want := range map[string]string{
		"https://id.example/authorize":      "https://id.example",
		"https://ID.Example:443/authorize":  "https://id.example",
		"https://id.example:8443/authorize": "https://id.example:8443",
		"http://127.0.0.1:80/authorize":     "http://127.0.0.1",
		"https://[2001:DB8::1]/authorize":   "https://[2001:db8::1]",
	} {
		c := newOP().client(func(cfg *op.Config) {
			cfg.Endpoints = op.Endpoints{Authorization: endpoint, Token: endpoint, JWKS: endpoint}
		})
		if got := c.AuthorizationOrigin(); got != want {
			t.Errorf("the origin of %s is %q, want %q", endpoint, got, want)
		}
	}
}

func TestEndSessionURL(t *testing.T) {
	o := newOP()
	o.set("discovery", answerJSON(metadata(map[string]any{"end_session_endpoint": "https://id.example/logout?tenant=1"})))
	c := o.client()
	if got, ok := c.EndSessionURL("hint", "st", "https://app.example/bye"); ok || o.total() != 0 {
		t.Errorf("C117 got %q after %d calls while nothing was known", got, o.total())
	}
	if c.EndSessionOrigin() != "" || c.AuthorizationOrigin() != "" {
		t.Error("there is an origin while nothing is known")
	}
	_, err := c.Metadata(t.Context())
	wantReason(t, err, "")
	const bye = "&post_logout_redirect_uri=https%3A%2F%2Fapp.example%2Fbye"
	for _, tt := range []struct{ name, hint, state, after, want string }{
		{"C117 everything", "h+1", "st", "https://app.example/bye",
			"?tenant=1&client_id=shop&id_token_hint=h%2B1" + bye + "&state=st"},
		{"nothing", "", "", "", "?tenant=1&client_id=shop"},
		{"C119 a long hint", strings.Repeat("h", 4096), "st", "https://app.example/bye",
			"?tenant=1&client_id=shop" + bye + "&state=st"},
	} {
		got, ok := c.EndSessionURL(tt.hint, tt.state, tt.after)
		if want := "https://id.example/logout" + tt.want; !ok || got != want {
			t.Errorf("%s: got %q, %v, want %q", tt.name, got, ok, want)
		}
	}
	if got, ok := c.EndSessionURL(strings.Repeat("h", 3900), "", ""); !ok || len(got) > 4096 || !strings.Contains(got, "hhhh") {
		t.Errorf("C119 a hint that fits is left out: %d bytes", len(got))
	}
	if c.EndSessionOrigin() != "https://id.example" || c.AuthorizationOrigin() != "https://id.example" {
		t.Errorf("origins %q and %q", c.EndSessionOrigin(), c.AuthorizationOrigin())
	}
}
