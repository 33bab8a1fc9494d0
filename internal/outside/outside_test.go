package outside_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/op"
	"github.com/oidcgate/oidcgate/internal/outside"
	"github.com/oidcgate/oidcgate/internal/session"
)

const issuer = "https://id.test"

// key is the provider's key; otherKey is nobody's.
var (
	key      = ed25519.NewKeyFromSeed(make([]byte, 32))
	otherKey = ed25519.NewKeyFromSeed([]byte(strings.Repeat("x", 32)))
)

// provider answers each path with a status and a body. A path that it does not have breaks the
// connection.
type provider map[string]answer

// unreached is the status of a path to which no connection is made.
const unreached = -1

type answer struct {
	status int
	body   any // text, or written as JSON
}

// RoundTrip implements [http.RoundTripper].
func (p provider) RoundTrip(r *http.Request) (*http.Response, error) {
	a, ok := p[r.URL.Path]
	if !ok {
		return nil, errors.New("the connection broke")
	}
	if a.status == unreached {
		httptrace.ContextClientTrace(r.Context()).GetConn(r.URL.Host)
		return nil, errors.New("cannot connect")
	}
	w := httptest.NewRecorder()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(a.status)
	text, ok := a.body.(string)
	if !ok {
		text = jsonOf(a.body)
	}
	_, _ = w.WriteString(text)
	return w.Result(), nil
}

func jsonOf(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func base64url(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// well returns a provider that works.
func well() provider {
	return provider{
		"/.well-known/openid-configuration": {200, map[string]any{
			"issuer": issuer, "authorization_endpoint": issuer + "/authorize",
			"token_endpoint": issuer + "/token", "jwks_uri": issuer + "/jwks",
			"userinfo_endpoint": issuer + "/userinfo", "revocation_endpoint": issuer + "/revoke",
		}},
		"/jwks": {200, map[string]any{"keys": []any{map[string]any{
			"kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": base64url(key.Public().(ed25519.PublicKey)),
		}}}},
		"/token": {200, map[string]any{
			"access_token": "at-1", "token_type": "Bearer", "refresh_token": "rt-1",
		}},
		"/userinfo": {200, map[string]any{"sub": "alice", "group": "readers"}},
		"/revoke":   {200, ""},
	}
}

// with returns a provider that works but for one path. A status of 0 breaks the connection there.
func with(path string, status int, body any) provider {
	p := well()
	p[path] = answer{status, body}
	if status == 0 {
		delete(p, path)
	}
	return p
}

// asking returns what asks that provider, with the errors of revocations that failed.
func asking(p provider, mode op.UserinfoMode) (outside.Providers, *[]error) {
	return askingAs(p, op.Config{Userinfo: mode})
}

// askingAs is asking with the mode, the endpoints and the secret of a configuration.
func askingAs(p provider, cfg op.Config) (outside.Providers, *[]error) {
	auth := cfg.Auth
	if auth.Method == "" {
		auth.Method = op.AuthPost
		auth.Secret = func(context.Context) (string, error) { return "hush", nil }
	}
	c := op.New(op.Config{
		Issuer: issuer, ClientID: "shop", Auth: auth,
		ResponseType: op.TypeCode, SigningAlgs: []string{"EdDSA"}, Userinfo: cfg.Userinfo,
		SubjectClaim: cfg.SubjectClaim, Endpoints: cfg.Endpoints,
		Leeway: time.Minute, DiscoveryRefresh: time.Hour, JWKSRefresh: time.Hour, Timeout: time.Minute,
		Transport: p, Notify: func(op.Notice) {},
	})
	var errs []error
	return outside.Providers{
		Find: func(id *session.Identity) *op.Client {
			if id.Provider == "here" {
				return c
			}
			return nil
		},
		NotRevoked: func(_ context.Context, err error) { errs = append(errs, err) },
	}, &errs
}

// alice is whose session it is.
func alice(t *testing.T) *session.Identity {
	t.Helper()
	v, err := claims.Of(map[string]any{"iss": issuer, "sub": "alice", "iat": time.Now().Unix() - 60})
	if err != nil {
		t.Fatal(err)
	}
	id := &session.Identity{Provider: "here"}
	id.IDToken, _ = v.Object()
	return id
}

// idToken returns an ID Token of a user, signed with a key.
func idToken(signer ed25519.PrivateKey, kid, subject string) string {
	now := time.Now().Unix()
	input := base64url([]byte(`{"alg":"EdDSA","kid":"`+kid+`"}`)) + "." + base64url([]byte(jsonOf(map[string]any{
		"iss": issuer, "sub": subject, "aud": "shop", "iat": now, "exp": now + 60, "group": "readers",
	})))
	return input + "." + base64url(ed25519.Sign(signer, []byte(input)))
}

// wantFailure checks what an error means for a session. Without a reason there must be none.
func wantFailure(t *testing.T, err error, kind session.FailureKind, reason event.Reason) {
	t.Helper()
	f, ok := errors.AsType[*session.Failure](err)
	switch {
	case reason == "":
		if err != nil {
			t.Errorf("the error %v", err)
		}
	case !ok:
		t.Errorf("the error %v is no failure", err)
	case f.Kind != kind || f.Reason != reason || f.Err == nil:
		t.Errorf("kind %d and reason %s (%v), want %d and %s", f.Kind, f.Reason, f.Err, kind, reason)
	}
}

func TestReach(t *testing.T) {
	for _, tt := range []struct {
		name     string
		provider provider
		reason   event.Reason
	}{
		{"it works", well(), ""},
		{"C084 no metadata", with("/.well-known/openid-configuration", 0, nil), event.ReasonProviderUnreachable},
		{"C084 other metadata", with("/.well-known/openid-configuration", 200, `{"issuer":"x"}`), event.ReasonIssuerMismatch},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, _ := asking(tt.provider, op.UserinfoOff)
			wantFailure(t, p.Reach(t.Context(), alice(t)), session.NoAnswer, tt.reason)
		})
	}
}

func TestRefresh(t *testing.T) {
	refuses := func(status int, code string) provider {
		return with("/token", status, map[string]any{"error": code})
	}
	for _, tt := range []struct {
		name     string
		provider provider
		kind     session.FailureKind
		reason   event.Reason
	}{
		{"it works", well(), 0, ""},
		{"C084 invalid_grant", refuses(400, "invalid_grant"), session.InvalidGrant, event.ReasonTokenEndpointError},
		{"C084 invalid_grant with status 200", refuses(200, "invalid_grant"), session.InvalidGrant, event.ReasonTokenEndpointError},
		{"C084 invalid_grant of one that is broken", refuses(500, "invalid_grant"), session.NotRotated, event.ReasonTokenEndpointError},
		{"C084 invalid_grant of one that is busy", refuses(429, "invalid_grant"), session.NotRotated, event.ReasonTokenEndpointError},
		{"C084 the client is refused", refuses(401, "invalid_client"), session.ClientRefused, event.ReasonTokenEndpointError},
		{"C084 an error that nobody registered", refuses(400, "x"), session.ClientRefused, event.ReasonTokenEndpointError},
		{"C084 the user is refused", refuses(400, "login_required"), session.UserRefused, event.ReasonTokenEndpointError},
		{"C084 it is broken, and says so", refuses(500, "server_error"), session.NotRotated, event.ReasonTokenEndpointError},
		{"C085 refused without an error", with("/token", 400, "no"), session.Refused, event.ReasonTokenEndpointError},
		{"C085 refused by another status", with("/token", 403, "no"), session.Refused, event.ReasonTokenEndpointError},
		{"C084 it is broken", with("/token", 500, "no"), session.NoAnswer, event.ReasonTokenEndpointError},
		{"C084 no tokens", with("/token", 200, "{}"), session.NoAnswer, event.ReasonTokenResponseInvalid},
		{"C113 F38 too long an answer", with("/token", 200, strings.Repeat(" ", 2<<20)), session.Rejected, event.ReasonTokenResponseInvalid},
		{"C084 too long a document", with("/.well-known/openid-configuration", 200, strings.Repeat(" ", 2<<20)), session.Unreadable, event.ReasonMetadataInvalid},
		{"C084 no answer", with("/token", 0, nil), session.NoAnswer, event.ReasonTokenEndpointUnreachable},
		{"C084 no connection", with("/token", unreached, nil), session.NotRotated, event.ReasonTokenEndpointUnreachable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, _ := asking(tt.provider, op.UserinfoOff)
			got, err := p.Refresh(t.Context(), alice(t), &session.ProviderTokens{RefreshToken: "rt-0"})
			wantFailure(t, err, tt.kind, tt.reason)
			if (got != nil) != (err == nil) || got != nil && (got.AccessToken != "at-1" || got.RefreshToken != "rt-1") {
				t.Errorf("the tokens are %v", got)
			}
		})
	}
}

func TestRefreshWithoutASecret(t *testing.T) {
	t.Run("C084 a refresh for which there is no client secret is not sent", func(t *testing.T) {
		p, _ := askingAs(well(), op.Config{Auth: op.Auth{
			Method: op.AuthPost, Secret: func(context.Context) (string, error) { return "", errors.New("no vault") },
		}})
		_, err := p.Refresh(t.Context(), alice(t), &session.ProviderTokens{RefreshToken: "rt-0"})
		wantFailure(t, err, session.NotRotated, event.ReasonClientSecret)
	})
}

func TestRefreshKeepsTheRefreshToken(t *testing.T) {
	t.Run("C084 of an answer that cannot be used there is the refresh token, and nothing else", func(t *testing.T) {
		p, _ := asking(with("/token", 200, map[string]any{
			"access_token": "at-1", "token_type": "Bearer", "refresh_token": "rt-1", "expires_in": -1,
		}), op.UserinfoOff)
		got, err := p.Refresh(t.Context(), alice(t), &session.ProviderTokens{RefreshToken: "rt-0"})
		wantFailure(t, err, session.NoAnswer, event.ReasonTokenResponseInvalid)
		if got == nil || *got != (session.ProviderTokens{RefreshToken: "rt-1"}) {
			t.Errorf("the tokens %#v", got)
		}
	})
}

func TestVerify(t *testing.T) {
	for _, tt := range []struct {
		name     string
		provider provider
		token    string
		kind     session.FailureKind
		reason   event.Reason
	}{
		{"the user's", well(), idToken(key, "k1", "alice"), 0, ""},
		{"C081 another user's", well(), idToken(key, "k1", "bob"), session.Rejected, event.ReasonSubject},
		{"C081 signed by another", well(), idToken(otherKey, "k1", "alice"), session.Rejected, event.ReasonSignature},
		{"C081 no token", well(), "x", session.Rejected, event.ReasonIDTokenMalformed},
		{"C084 no keys", with("/jwks", 0, nil), idToken(key, "k1", "alice"), session.NotVerifiable, event.ReasonJWKSUnavailable},
		{
			"C084 keys that are too long say nothing of what users write", with("/jwks", 200, strings.Repeat(" ", 2<<20)),
			idToken(key, "k1", "alice"), session.NotVerifiable, event.ReasonJWKSUnavailable,
		},
		{"C084 an unknown key", well(), idToken(key, "k2", "alice"), session.NotVerifiable, event.ReasonKeyUnknown},
		{
			"C084 no metadata", with("/.well-known/openid-configuration", 0, nil), idToken(key, "k1", "alice"),
			session.NotVerifiable, event.ReasonProviderUnreachable,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, _ := asking(tt.provider, op.UserinfoOff)
			tokens := session.NewTokens(&session.ProviderTokens{AccessToken: "at-1", IDToken: tt.token}, "nonce", "")
			got, err := p.Verify(t.Context(), alice(t), tokens)
			wantFailure(t, err, tt.kind, tt.reason)
			if _, ok := got.Get("group"); ok != (err == nil) {
				t.Errorf("the claims are %s", got.AppendJSON(nil))
			}
		})
	}
}

// Where no ID Token says whose the refreshed tokens are, userinfo does.
func TestVerifyWithoutIDTokens(t *testing.T) {
	for _, tt := range []struct {
		name     string
		provider provider
		kind     session.FailureKind
		reason   event.Reason
	}{
		{"the user's", with("/userinfo", 200, `{"id":"alice"}`), 0, ""},
		{"C081 another user's", with("/userinfo", 200, `{"id":"bob","sub":"alice"}`), session.Rejected, event.ReasonUserinfoSubject},
		{"C081 nobody's", with("/userinfo", 200, `{"sub":"alice"}`), session.Rejected, event.ReasonUserinfoSubject},
		{
			"C081 userinfo refuses it", with("/userinfo", 401, `{"error":"invalid_token"}`),
			session.TokenRefused, event.ReasonUserinfoRefused,
		},
		{"C084 401 of a proxy", with("/userinfo", 401, "{}"), session.NotVerifiable, event.ReasonUserinfoError},
		{"C084 no answer", with("/userinfo", 0, nil), session.NotVerifiable, event.ReasonUserinfoError},
	} {
		t.Run(tt.name, func(t *testing.T) {
			delete(tt.provider, "/.well-known/openid-configuration")
			p, _ := askingAs(tt.provider, op.Config{
				Userinfo: op.UserinfoRequired, SubjectClaim: "id", Endpoints: op.Endpoints{
					Authorization: issuer + "/authorize", Token: issuer + "/token", Userinfo: issuer + "/userinfo",
				},
			})
			tokens := session.NewTokens(&session.ProviderTokens{AccessToken: "at-1", IDToken: idToken(key, "k1", "alice")}, "nonce", "")
			got, err := p.Verify(t.Context(), alice(t), tokens)
			wantFailure(t, err, tt.kind, tt.reason)
			if got != "" {
				t.Errorf("the claims are %s", got.AppendJSON(nil))
			}
		})
	}
}

func TestUserinfo(t *testing.T) {
	for _, tt := range []struct {
		name     string
		provider provider
		kind     session.FailureKind
		reason   event.Reason
	}{
		{"it works", well(), 0, ""},
		{"C075 another user's", with("/userinfo", 200, `{"sub":"bob"}`), session.Rejected, event.ReasonUserinfoSubject},
		{
			"C113 the access token is refused", with("/userinfo", 401, `{"error":"invalid_token"}`),
			session.TokenRefused, event.ReasonUserinfoRefused,
		},
		{"C113 401 of a proxy, or of a provider that does not say more", with("/userinfo", 401, "{}"), session.TokenDoubted, event.ReasonUserinfoError},
		{"C113 403 of one of both", with("/userinfo", 403, "{}"), session.TokenDoubted, event.ReasonUserinfoError},
		{"C113 C075 an error with status 200", with("/userinfo", 200, `{"ok":false,"error":"internal_error"}`), session.Unreadable, event.ReasonUserinfoError},
		{"C113 C075 a refusal with status 200", with("/userinfo", 200, `{"ok":false,"error":"account_inactive"}`), session.TokenRefused, event.ReasonUserinfoRefused},
		{"C113 C075 no user, and nothing that says why", with("/userinfo", 200, `{"ok":true}`), session.Unreadable, event.ReasonUserinfoSubject},
		{"C113 no answer", with("/userinfo", 0, nil), session.NoAnswer, event.ReasonUserinfoError},
		{"C113 no connection", with("/userinfo", unreached, nil), session.NoAnswer, event.ReasonUserinfoError},
		{"C113 no object", with("/userinfo", 200, "null"), session.Unreadable, event.ReasonUserinfoError},
		{"C113 another status", with("/userinfo", 404, "null"), session.Unusable, event.ReasonUserinfoError},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, _ := asking(tt.provider, op.UserinfoOptional)
			got, err := p.Userinfo(t.Context(), alice(t), session.NewTokens(&session.ProviderTokens{AccessToken: "at-1"}, "", ""))
			wantFailure(t, err, tt.kind, tt.reason)
			if _, ok := got.Get("group"); ok != (err == nil) {
				t.Errorf("the claims are %s", got.AppendJSON(nil))
			}
		})
	}
	t.Run("nobody is asked", func(t *testing.T) {
		p, _ := asking(provider{}, op.UserinfoOff)
		if p.AsksUserinfo(alice(t)) {
			t.Error("userinfo would be asked")
		}
	})
}

func TestRevoke(t *testing.T) {
	for _, tt := range []struct {
		name     string
		provider provider
		failures int
	}{
		{"it works", well(), 0},
		{"C087 it is broken", with("/revoke", 503, ""), 1},
		{"C087 no answer", with("/revoke", 0, nil), 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, errs := asking(tt.provider, op.UserinfoOff)
			wantFailure(t, p.Reach(t.Context(), alice(t)), 0, "") // nothing is discovered for a revocation
			ctx, leave := context.WithCancel(t.Context())
			leave() // the browser may be gone
			p.Revoke(ctx, alice(t), "rt-0")
			if len(*errs) != tt.failures {
				t.Errorf("told of %v", *errs)
			}
		})
	}
}

func TestAProviderThatIsNotConfiguredAnyMore(t *testing.T) {
	p, errs := asking(well(), op.UserinfoOptional)
	id := alice(t)
	id.Provider = "gone"
	tokens := session.NewTokens(&session.ProviderTokens{AccessToken: "at-0", RefreshToken: "rt-0"}, "", "")
	_, refreshed := p.Refresh(t.Context(), id, &tokens.ProviderTokens)
	_, verified := p.Verify(t.Context(), id, tokens)
	_, info := p.Userinfo(t.Context(), id, tokens)
	if got := p.Shape(id, id.IDToken); got != "" {
		t.Errorf("the claims are %s", got.AppendJSON(nil))
	}
	wantFailure(t, verified, session.NotVerifiable, event.ReasonProviderUnreachable) // it may come back
	for _, err := range []error{p.Reach(t.Context(), id), refreshed, info} {
		wantFailure(t, err, session.NoAnswer, event.ReasonProviderUnreachable)
		if err != nil && !strings.Contains(err.Error(), `"gone" is not configured`) {
			t.Errorf("the error %v", err)
		}
	}
	p.Revoke(t.Context(), id, "rt-0")
	if !slices.Equal(*errs, nil) {
		t.Errorf("told of %v", *errs)
	}
}
