package op_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/internal/op"
)

// TestLimits has the last value of each limit that is allowed, and the first that is not.
func TestLimits(t *testing.T) {
	type row struct {
		name   string
		reason string
		err    func(t *testing.T) error
	}
	options := func(o op.LoginOptions) func(*testing.T) error {
		return func(*testing.T) error { _, err := newOP().client().Options(nil, o); return err }
	}
	keys := func(n int) func(*testing.T) error {
		return func(t *testing.T) error {
			list := make([]any, n)
			for i := range n - 1 {
				list[i] = map[string]any{"kty": "unknown"}
			}
			list[n-1] = jwk(rsaKey().Public(), "k1")
			o := newOP()
			o.set("jwks", answerJSON(keySet(list...)))
			_, err := o.client().VerifyIDToken(t.Context(), goodToken(), "", op.Expectation{Nonce: nonce})
			return err
		}
	}
	introspected := func(size int) func(*testing.T) error {
		return func(t *testing.T) error {
			text := encode(introspection(nil))
			o := introspecting(answerText(200, "application/json", text+strings.Repeat(" ", size-len(text))))
			_, err := o.client(forAPI(apiURL)).Introspect(t.Context(), "opaque-1", nil, false)
			return err
		}
	}
	pushed := func(size int) func(*testing.T) error {
		return func(t *testing.T) error {
			o, _ := pushing(nil)
			o.set("par", answerText(http.StatusCreated, "application/json",
				fmt.Sprintf(`{"request_uri":"urn:%s","expires_in":1}`, strings.Repeat("a", size-4))))
			_, err := o.client().AuthorizationURL(t.Context(), aLogin())
			return err
		}
	}
	response := func(size int) func(*testing.T) error {
		return func(t *testing.T) error {
			query := goodResponse(nil) + "&x="
			_, err := newOP().client().ReadResponse(t.Context(), query+strings.Repeat("x", size-len(query)))
			return err
		}
	}
	logoutID := func(size int) func(*testing.T) error {
		return func(t *testing.T) error {
			_, err := newOP().client().VerifyLogoutToken(t.Context(), logoutToken(goodHeader, map[string]any{"jti": strings.Repeat("j", size)}))
			return err
		}
	}
	for _, tt := range []row{
		{"C024 an id_token_hint of 2,048 bytes", "", options(op.LoginOptions{IDTokenHint: strings.Repeat("a", 2048)})},
		{"C024 an id_token_hint of 2,049 bytes", "login_options", options(op.LoginOptions{IDTokenHint: strings.Repeat("a", 2049)})},
		{"C024 a parameter of 8 KB", "", options(op.LoginOptions{Params: map[string]string{"x": strings.Repeat("a", 8<<10)}})},
		{"C024 a parameter of more than 8 KB", "login_options", options(op.LoginOptions{Params: map[string]string{"x": strings.Repeat("a", 8<<10+1)}})},
		{"C024 a max_age of a second", "", options(op.LoginOptions{MaxAge: 1e9})},
		{"C024 a max_age of less than a second", "login_options", options(op.LoginOptions{MaxAge: 1e9 - 1})},
		{"C011 the last of 100 keys", "", keys(100)},
		{"C011 the last of 101 keys", "jwks_unavailable", keys(101)},
		{"C167 an introspection of 64 KB", "", introspected(64 << 10)},
		{"C167 an introspection of more than 64 KB", "introspection", introspected(64<<10 + 1)},
		{"C097 a request_uri of 512 bytes", "", pushed(512)},
		{"C097 a request_uri of 513 bytes", "par_response_invalid", pushed(513)},
		{"C035 a response of 16 KB", "", response(16 << 10)},
		{"C035 a response of more than 16 KB", "response_invalid", response(16<<10 + 1)},
		{"C122 a jti of 255 bytes", "", logoutID(255)},
		{"C122 a jti of 256 bytes", "jti", logoutID(256)},
	} {
		t.Run(tt.name, func(t *testing.T) { wantReason(t, tt.err(t), tt.reason) })
	}
	for size, fault := range map[int]bool{1000: false, 1001: true} {
		t.Run(fmt.Sprintf("C024 %d bytes of configured acr_values", size), func(t *testing.T) {
			cfg := newOP().config(func(cfg *op.Config) {
				cfg.Login.ACRValues = []string{strings.Repeat("a", 500), strings.Repeat("b", size-501)}
			})
			if faults := cfg.Faults(); len(faults) > 0 != fault {
				t.Errorf("faults %v, want some: %v", faults, fault)
			}
		})
	}
	for size, fits := range map[int]bool{4096: true, 4097: false} {
		t.Run(fmt.Sprintf("C119 an address of the logout of %d bytes with its hint", size), func(t *testing.T) {
			c := newOP().client()
			if _, err := c.Metadata(t.Context()); err != nil {
				t.Fatal(err)
			}
			one, _ := c.EndSessionURL("h", "", "")
			got, _ := c.EndSessionURL(strings.Repeat("h", size-len(one)+1), "", "")
			if fits != (len(got) == size) || fits != strings.Contains(got, "id_token_hint") {
				t.Errorf("%d bytes: %.200s", len(got), got)
			}
		})
	}
}

func TestNeedsKeys(t *testing.T) {
	for name, row := range map[string]struct {
		change func(*op.Config)
		want   bool
	}{
		"C014 ID Tokens by RS256":               {func(*op.Config) {}, true},
		"C014 ID Tokens by the client's secret": {func(cfg *op.Config) { cfg.SigningAlgs = []string{"HS256"} }, false},
		"C099 the same, and encrypted requests": {func(cfg *op.Config) { signing(op.ObjectEncrypted, clientKey)(cfg); cfg.SigningAlgs = []string{"HS256"} }, true},
		"C075 no ID Tokens":                     {withoutIDTokens, false},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := newOP().config(row.change)
			if got := cfg.NeedsKeys(); got != row.want {
				t.Errorf("%v, want %v", got, row.want)
			}
		})
	}
}

// TestLimitsOfTimes has the first and the last second of each time that counts, for clocks that may
// differ by a minute.
func TestLimitsOfTimes(t *testing.T) {
	minute := time.Minute
	id := func(name string, want op.Expectation) func(*testing.T, int64) error {
		want.Nonce = nonce
		return func(t *testing.T, at int64) error {
			raw := signed(goodHeader, encode(identity(map[string]any{name: time.Now().Unix() + at})))
			_, err := newOP().client().VerifyIDToken(t.Context(), raw, "", want)
			return err
		}
	}
	logout := func(t *testing.T, at int64) error {
		raw := logoutToken(goodHeader, map[string]any{"exp": time.Now().Unix() + at})
		_, err := newOP().client().VerifyLogoutToken(t.Context(), raw)
		return err
	}
	proof := func(t *testing.T, at int64) error {
		raw := proofOf{claims: map[string]any{"iat": time.Now().Unix() + at}}.make(t)
		_, err := op.VerifyProof(raw, op.Proven{Method: "GET", URL: resource, AccessToken: ownedAT, Leeway: minute})
		return err
	}
	for _, tt := range []struct {
		name   string
		verify func(t *testing.T, at int64) error
		good   int64 // seconds from now
		bad    int64
		reason string
	}{
		{"F14 the end of an ID Token", id("exp", op.Expectation{}), -59, -60, "exp"},
		{"F14 an ID Token from the future", id("iat", op.Expectation{}), 60, 61, "iat"},
		{"F14 an ID Token that is not valid yet", id("nbf", op.Expectation{}), 60, 61, "nbf"},
		{"F14 an ID Token that is ten minutes old", id("iat", op.Expectation{}), -660, -661, "iat"},
		{"C105 the end of the session", id("session_expiry", op.Expectation{}), 1, 0, "session_expiry"},
		{"C025 a login that is as old as was asked for", id("auth_time", op.Expectation{MaxAge: &minute}), -120, -121, "auth_time"},
		{"C025 a login in the future", id("auth_time", op.Expectation{MaxAge: &minute}), 60, 61, "auth_time"},
		{"C123 a logout token of sixteen minutes", logout, 960, 961, "exp"},
		{"C165 a proof from the future", proof, 60, 61, "dpop_proof"},
		{"C165 a proof that is a minute old", proof, -120, -121, "dpop_proof"},
	} {
		inBubble(t, tt.name, func(t *testing.T) {
			wantReason(t, tt.verify(t, tt.good), "")
			wantReason(t, tt.verify(t, tt.bad), tt.reason)
		})
	}
}
