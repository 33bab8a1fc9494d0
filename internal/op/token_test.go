package op_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oidcgate/oidcgate/internal/op"
)

// tokenAnswer is a good answer of the token endpoint with some members changed.
func tokenAnswer(changes map[string]any) map[string]any {
	return changed(map[string]any{
		"access_token":  "at-1",
		"token_type":    "Bearer",
		"expires_in":    3600,
		"refresh_token": "rt-1",
		"id_token":      "e30.e30.e30",
		"scope":         "openid email",
	}, changes)
}

func TestExchangeAnswer(t *testing.T) {
	good := encode(tokenAnswer(nil))
	text := func(status int, contentType, body string) http.HandlerFunc {
		return answerText(status, contentType, body)
	}
	const echo = "code=hush-code&code_verifier=hush-verifier&client_secret=hush-hush"
	huge := strings.Repeat("x", 32<<10+1)
	tests := []struct {
		name   string
		h      http.HandlerFunc
		reason string
		code   string
		status int
	}{
		{"a good answer", text(200, "application/json", good), "", "", 0},
		{"C053 with a charset", text(200, "application/json; charset=utf-8", good), "", "", 0},
		{"C053 token_type in lower case",
			answerJSON(tokenAnswer(map[string]any{"token_type": "bearer"})), "", "", 0},
		{"C053 unknown members", answerJSON(tokenAnswer(map[string]any{"x": []int{1}})), "", "", 0},

		{"C069 members in another case are unknown members",
			answerJSON(tokenAnswer(map[string]any{"ACCESS_TOKEN": 1, "Expires_In": "x"})), "", "", 0},

		{"C053 status 201", text(201, "application/json", good), "token_response_invalid", "", 502},
		{"F10 status 204", text(204, "application/json", ""), "token_response_invalid", "", 502},
		{"C053 a form body",
			text(200, "application/x-www-form-urlencoded", "access_token=at-1&token_type=Bearer&id_token=x"),
			"token_response_invalid", "", 502},
		{"C053 a form body as text",
			text(200, "text/plain", "access_token=at-1&token_type=Bearer&id_token=x"),
			"token_response_invalid", "", 502},
		{"C053 a type with a parameter that is none", text(200, "application/json; =", good),
			"token_response_invalid", "", 502},
		{"C053 JSON as text", text(200, "text/plain", good), "token_response_invalid", "", 502},
		{"C053 no type at all", text(200, "", good), "token_response_invalid", "", 502},
		{"C053 HTML", text(200, "text/html", "<p>"+echo), "token_response_invalid", "", 502},
		{"C055 an answer that echoes the request", text(200, "application/json", echo),
			"token_response_invalid", "", 502},
		{"F10 nothing", text(200, "application/json", ""), "token_response_invalid", "", 502},
		{"F10 null", text(200, "application/json", "null"), "token_response_invalid", "", 502},
		{"F10 a list", text(200, "application/json", "[]"), "token_response_invalid", "", 502},
		{"C069 two objects", text(200, "application/json", good+good), "token_response_invalid", "", 502},
		{"C069 access_token twice", text(200, "application/json", `{"access_token":"x",`+good[1:]),
			"token_response_invalid", "", 502},
		{"F09 deep JSON", text(200, "application/json", strings.Repeat("[", 100_000)),
			"token_response_invalid", "", 502},
		{"F08 a megabyte", text(200, "application/json", good+strings.Repeat(" ", 1<<20)),
			"token_response_invalid", "", 502},
		{"F08 a gzip answer", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			answerText(200, "application/json", good)(w, r)
		}, "token_response_invalid", "", 502},
		{"access_token missing", answerJSON(tokenAnswer(map[string]any{"access_token": nil})),
			"token_response_invalid", "", 502},
		{"access_token empty", answerJSON(tokenAnswer(map[string]any{"access_token": ""})),
			"token_response_invalid", "", 502},
		{"access_token a number", answerJSON(tokenAnswer(map[string]any{"access_token": 1})),
			"token_response_invalid", "", 502},
		{"C069 Access_Token in its place",
			answerJSON(tokenAnswer(map[string]any{"access_token": nil, "Access_Token": "x"})),
			"token_response_invalid", "", 502},
		{"C053 access_token that splits a header",
			answerJSON(tokenAnswer(map[string]any{"access_token": "a\r\nX: y"})), "token_response_invalid",
			"", 502},
		{"C053 access_token with a space",
			answerJSON(tokenAnswer(map[string]any{"access_token": "a b"})), "token_response_invalid", "",
			502},
		{"C053 token_type mac", answerJSON(tokenAnswer(map[string]any{"token_type": "mac"})),
			"token_type", "", 502},
		{"C094 token_type DPoP", answerJSON(tokenAnswer(map[string]any{"token_type": "DPoP"})),
			"token_type", "", 502},
		{"C053 token_type missing", answerJSON(tokenAnswer(map[string]any{"token_type": nil})),
			"token_type", "", 502},
		{"C053 id_token missing", answerJSON(tokenAnswer(map[string]any{"id_token": nil})),
			"id_token_missing", "", 502},
		{"C053 id_token empty", answerJSON(tokenAnswer(map[string]any{"id_token": ""})),
			"id_token_missing", "", 502},
		{"C053 id_token an object", answerJSON(tokenAnswer(map[string]any{"id_token": struct{}{}})),
			"token_response_invalid", "", 502},
		{"refresh_token a number", answerJSON(tokenAnswer(map[string]any{"refresh_token": 1})),
			"token_response_invalid", "", 502},
		{"F08 an access token that fits in no header", answerJSON(tokenAnswer(map[string]any{"access_token": huge})),
			"token_response_invalid", "", 502},
		{"F08 a refresh token as long", answerJSON(tokenAnswer(map[string]any{"refresh_token": huge})),
			"token_response_invalid", "", 502},
		{"F08 a scope as long", answerJSON(tokenAnswer(map[string]any{"scope": huge})),
			"token_response_invalid", "", 502},
		{"F08 details as long", answerJSON(tokenAnswer(map[string]any{"authorization_details": []string{huge}})),
			"token_response_invalid", "", 502},
		{"expires_in negative", answerJSON(tokenAnswer(map[string]any{"expires_in": -1})),
			"token_response_invalid", "", 502},
		{"expires_in a word", answerJSON(tokenAnswer(map[string]any{"expires_in": "soon"})),
			"token_response_invalid", "", 502},
		{"expires_in 1e300", answerJSON(tokenAnswer(map[string]any{"expires_in": 1e300})),
			"token_response_invalid", "", 502},

		{"C054 invalid_client",
			text(401, "application/json", `{"error":"invalid_client","error_description":"`+echo+`"}`),
			"token_endpoint_error", "invalid_client", 502},
		{"C054 invalid_grant", text(400, "application/json", `{"error":"invalid_grant"}`),
			"token_endpoint_error", "invalid_grant", 502},
		{"C054 invalid_scope", text(400, "application/json", `{"error":"invalid_scope"}`),
			"token_endpoint_error", "invalid_scope", 502},
		{"C054 an error with status 200", text(200, "application/json", `{"error":"invalid_grant"}`),
			"token_endpoint_error", "invalid_grant", 502},
		{"C054 an error beside tokens",
			answerJSON(tokenAnswer(map[string]any{"error": "invalid_grant"})), "token_endpoint_error",
			"invalid_grant", 502},
		{"C055 an unregistered code", text(400, "application/json", `{"error":"hush-code"}`),
			"token_endpoint_error", "other", 502},
		{"C054 a code that is a number", text(400, "application/json", `{"error":1}`),
			"token_endpoint_error", "", 502},
		{"C055 HTML with status 400", text(400, "text/html", echo), "token_endpoint_error", "", 502},
		{"F10 status 500", text(500, "text/html", echo), "token_endpoint_error", "", 503},
		{"F10 status 502 in HTML", text(502, "text/html", echo), "token_endpoint_error", "", 503},
		{"F10 status 429", text(429, "application/json", "{}"), "token_endpoint_error", "", 503},
		{"F11 a broken connection", abort, "token_endpoint_unreachable", "", 502},
		{"F03 no answer", hang, "token_endpoint_unreachable", "", 504},
	}
	for _, status := range []int{301, 302, 303, 307, 308} {
		tests = append(tests, struct {
			name   string
			h      http.HandlerFunc
			reason string
			code   string
			status int
		}{fmt.Sprintf("C052 redirect %d", status), func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://evil.example/userinfo", status)
		}, "token_response_invalid", "", 502})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newOP()
				o.set("token", tt.h)
				o.set("userinfo", answerJSON(tokenAnswer(nil))) // where redirects lead
				tokens, err := o.client().Exchange(t.Context(), "hush-code", "hush-verifier")
				if e := wantReason(t, err, tt.reason); e != nil && (e.Status != tt.status || e.Code != tt.code) {
					t.Errorf("status %d and code %q, want %d and %q", e.Status, e.Code, tt.status, tt.code)
				}
				if some := tokens != nil && (tokens.AccessToken != "" || tokens.IDToken != ""); some != (err == nil) {
					t.Errorf("tokens %+v beside error %v", tokens, err)
				}
				if n := o.count("token"); n != 1 {
					t.Errorf("C051 the code was sent %d times", n)
				}
				if o.count("userinfo") != 0 {
					t.Error("C052 the redirect was followed")
				}
			})
		})
	}
}

func TestExchangeHints(t *testing.T) {
	for body, want := range map[string]string{
		`{"error":"invalid_client"}`:      "check client id, secret and authentication method",
		`{"error":"unauthorized_client"}`: "check client id, secret and authentication method",
		`{}`:                              "check client id, secret and authentication method",
		`{"error":"invalid_grant"}`:       "used before",
	} {
		o := newOP()
		o.set("token", answerText(401, "application/json", body))
		_, err := o.client().Exchange(t.Context(), "c", "v")
		if e := wantReason(t, err, "token_endpoint_error"); !strings.Contains(e.Hint, want) {
			t.Errorf("the hint for %s is %q", body, e.Hint)
		}
	}
}

// An endpoint that is not there was mostly configured wrongly. Only its address shows that.
func TestEndpointThatIsNotThere(t *testing.T) {
	for endpoint, ask := range map[string]func(*op.Client) error{
		"token":    func(c *op.Client) error { _, err := c.Refresh(t.Context(), "rt-1", ""); return err },
		"userinfo": func(c *op.Client) error { _, err := c.Userinfo(t.Context(), "at-1", subject); return err },
		"par":      func(c *op.Client) error { _, err := c.AuthorizationURL(t.Context(), aLogin()); return err },
	} {
		for name, row := range map[string]struct {
			status int
			body   string
			want   bool
		}{
			"404": {404, "", true}, "404 of a server's own": {404, `{"error":"Not Found"}`, true},
			"405": {405, "", true}, "410": {410, "", true}, "400": {400, "", false}, "403": {403, "", false},
		} {
			t.Run(endpoint+" "+name, func(t *testing.T) {
				o := newOP()
				if endpoint == "par" {
					o, _ = pushing(nil)
				}
				o.set(endpoint, answerText(row.status, "application/json", row.body))
				err := ask(o.client(asking(op.UserinfoRequired)))
				e, ok := errors.AsType[*op.Error](err)
				if !ok {
					t.Fatalf("error %v", err)
				}
				if got := strings.Contains(e.Error(), ", at https://"); got != row.want {
					t.Errorf("the address is in %q: %v, want %v", e, got, row.want)
				}
				if got := strings.Contains(e.Hint, "no such endpoint"); got != row.want {
					t.Errorf("the hint is %q", e.Hint)
				}
			})
		}
	}
}

func TestExchangeTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		tests := []struct {
			name      string
			expiresIn any
			want      time.Time
		}{
			{"an hour", 3600, now.Add(time.Hour)},
			{"an hour in a string", "3600", now.Add(time.Hour)},
			{"at once", 0, now},
			{"not said", nil, time.Time{}},
			{"null", json.RawMessage("null"), time.Time{}},
			{"more than x/oauth2 can hold", 1 << 40, now.Add((1<<31 - 1) * time.Second)},
		}
		for _, tt := range tests {
			o := newOP()
			o.set("token", answerJSON(tokenAnswer(map[string]any{"expires_in": tt.expiresIn})))
			got, err := o.client().Exchange(t.Context(), "c", "v")
			wantReason(t, err, "")
			want := op.Tokens{
				AccessToken: "at-1", TokenType: "Bearer", RefreshToken: "rt-1", IDToken: "e30.e30.e30",
				Expiry: tt.want, Scope: "openid email",
			}
			if *got != want {
				t.Errorf("%s: got %+v, want %+v", tt.name, *got, want)
			}
		}
	})
}

// tokenRequest is what the token endpoint received.
type tokenRequest struct {
	method, contentType, query string
	form                       url.Values
	user, password             string
	basic                      bool
}

func (o *testOP) recordToken(got *tokenRequest, answer http.HandlerFunc) {
	o.set("token", func(w http.ResponseWriter, r *http.Request) {
		r.ParseForm()
		got.method, got.contentType, got.query, got.form = r.Method, r.Header.Get("Content-Type"), r.URL.RawQuery, r.PostForm
		user, password, ok := r.BasicAuth()
		got.basic = ok
		got.user, _ = url.QueryUnescape(user)
		got.password, _ = url.QueryUnescape(password)
		answer(w, r)
	})
}

func TestExchangeRequest(t *testing.T) {
	const odd = `a:b%+ c/é&="'@?#<>\` // every character that some encoding trips over
	base := url.Values{
		"grant_type":    {"authorization_code"},
		"code":          {"code-1"},
		"code_verifier": {"verifier-1"},
		"redirect_uri":  {"https://app.example/auth/callback"},
	}
	tests := []struct {
		name, method string
		header       bool
		form         url.Values
	}{
		{"C050 client_secret_basic", op.AuthBasic, true, nil},
		{"C049 client_secret_post", op.AuthPost, false,
			url.Values{"client_id": {odd + "id"}, "client_secret": {odd}}},
		{"C049 none", op.AuthNone, false, url.Values{"client_id": {odd + "id"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := newOP()
			var got tokenRequest
			o.recordToken(&got, answerJSON(tokenAnswer(nil)))
			c := o.client(func(cfg *op.Config) {
				cfg.ClientID = odd + "id"
				cfg.Auth = basic(odd)
				cfg.Auth.Method = tt.method
			})
			_, err := c.Exchange(t.Context(), "code-1", "verifier-1")
			wantReason(t, err, "")
			if got.method != "POST" || got.contentType != "application/x-www-form-urlencoded" || got.query != "" {
				t.Errorf("request %s %s ?%s", got.method, got.contentType, got.query)
			}
			if got.basic != tt.header || tt.header && (got.user != odd+"id" || got.password != odd) {
				t.Errorf("basic authentication %v as %q with %q", got.basic, got.user, got.password)
			}
			want := url.Values{}
			for _, values := range []url.Values{base, tt.form} {
				for name := range values {
					want[name] = values[name]
				}
			}
			if got.form.Encode() != want.Encode() {
				t.Errorf("form %v, want %v", got.form, want)
			}
		})
	}
}

func TestExchangeSecretRotates(t *testing.T) {
	o := newOP()
	var got tokenRequest
	o.recordToken(&got, answerJSON(tokenAnswer(nil)))
	secret, failure := "one", error(nil)
	c := o.client(func(cfg *op.Config) {
		cfg.Auth.Secret = func(context.Context) (string, error) { return secret, failure }
	})
	for _, secret = range []string{"one", "two"} {
		_, err := c.Exchange(t.Context(), "c", "v")
		wantReason(t, err, "")
		if got.password != secret {
			t.Errorf("C016 sent %q, want %q", got.password, secret)
		}
	}
	failure = errors.New("vault is sealed")
	_, err := c.Exchange(t.Context(), "c", "v")
	if e := wantReason(t, err, "client_secret"); e.Status != 503 || !errors.Is(err, failure) {
		t.Errorf("status %d, error %v", e.Status, err)
	}
	if n := o.count("token"); n != 2 {
		t.Errorf("C055 %d token calls, one of them without a secret", n)
	}
}

func TestRefresh(t *testing.T) {
	o := newOP()
	var got tokenRequest
	o.recordToken(&got, answerJSON(tokenAnswer(map[string]any{"id_token": nil, "refresh_token": nil})))
	c := o.client()
	tokens, err := c.Refresh(t.Context(), "rt-0", "")
	wantReason(t, err, "")
	if want := (url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"rt-0"}}); got.form.Encode() != want.Encode() {
		t.Errorf("C080 form %v, want %v", got.form, want)
	}
	if tokens.AccessToken != "at-1" || tokens.RefreshToken != "" || tokens.IDToken != "" {
		t.Errorf("C080 tokens %+v", tokens)
	}
	o.set("token", answerText(400, "application/json", `{"error":"invalid_grant"}`))
	_, err = c.Refresh(t.Context(), "rt-0", "")
	if e := wantReason(t, err, "token_endpoint_error"); e.Code != "invalid_grant" {
		t.Errorf("C084 code %q", e.Code)
	}
	if n := o.count("token"); n != 2 {
		t.Errorf("C084 %d token calls, want 2", n)
	}
}

func TestAuthWithoutSecretPrintsItsMethod(t *testing.T) {
	if got := fmt.Sprint(op.Auth{Method: op.AuthNone}); got != "none" {
		t.Errorf("prints %q", got)
	}
}

func TestAuthPrintsNoSecret(t *testing.T) {
	auth := basic("hush-hush")
	cfg := newOP().config()
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "auth", auth)
	text, err := json.Marshal(auth)
	if err != nil {
		t.Fatal(err)
	}
	for _, printed := range []string{
		fmt.Sprint(auth), fmt.Sprintf("%s %q %v %+v %#v %x %d", auth, auth, auth, auth, auth, auth, auth),
		fmt.Sprintf("%v %+v %#v", cfg, cfg, cfg), string(text), log.String(), auth.String(), auth.GoString(),
	} {
		if strings.Contains(printed, "hush-hush") || strings.Contains(printed, "0x") && strings.Contains(printed, "Secret:") {
			t.Errorf("C016 prints %s", printed)
		}
		if !strings.Contains(printed, "client_secret_basic(REDACTED)") {
			t.Errorf("C016 does not print the method: %s", printed)
		}
	}
}

func TestLenientAnswers(t *testing.T) {
	const form = "application/x-www-form-urlencoded"
	// As in OAuth 2.0 without ID Tokens: an answer with one would be JSON.
	plain := func(cfg *op.Config) {
		cfg.SubjectClaim, cfg.Userinfo = "sub", op.UserinfoRequired
	}
	lenient := func(cfg *op.Config) { cfg.LenientAnswers = true }
	for _, tt := range []struct {
		name            string
		h               http.HandlerFunc
		strict, lenient string // the reasons
	}{
		{"a form", answerText(200, form, "access_token=at-1&token_type=bearer&expires_in=60"), "token_response_invalid", ""},
		{"a form with an error and status 200", answerText(200, form, "error=bad_verification_code"), "token_response_invalid", "token_endpoint_error"},
		{"C069 a form with a token twice", answerText(200, form, "access_token=at-1&access_token=at-2&token_type=bearer"), "token_response_invalid", "token_response_invalid"},
		{"a form that is none", answerText(200, form, "%zz"), "token_response_invalid", "token_response_invalid"},
		{"a form that is broken after the token", answerText(200, form, "access_token=at-1&token_type=bearer&scope=%zz"), "token_response_invalid", "token_response_invalid"},
		{"JSON that says it is a page", answerText(200, "text/html", `{"access_token":"at-1","token_type":"bearer"}`), "token_response_invalid", "token_response_invalid"},
		{"no token_type", answerText(200, "application/json", `{"access_token":"at-1"}`), "token_type", ""},
		{"another token_type", answerText(200, "application/json", `{"access_token":"at-1","token_type":"mac"}`), "token_type", "token_type"},
		{"ok: false in place of an error", answerText(200, "application/json", `{"ok":false,"access_token":"at-1","token_type":"bearer"}`), "", "token_endpoint_error"},
		{"ok: false with an error", answerText(200, "application/json", `{"ok":false,"error":"invalid_code"}`), "token_endpoint_error", "token_endpoint_error"},
		{"ok: true", answerText(200, "application/json", `{"ok":true,"access_token":"at-1","token_type":"bearer"}`), "", ""},
		{"scopes as a list", answerText(200, "application/json", `{"access_token":"at-1","token_type":"bearer","scope":["a","b"]}`), "token_response_invalid", ""},
		{"no scopes in a list", answerText(200, "application/json", `{"access_token":"at-1","token_type":"bearer","scope":[]}`), "token_response_invalid", ""},
		{"a scope that is a number", answerText(200, "application/json", `{"access_token":"at-1","token_type":"bearer","scope":1}`), "token_response_invalid", "token_response_invalid"},
		{"HTML", answerText(200, "text/html", "<html>"), "token_response_invalid", "token_response_invalid"},
	} {
		t.Run("C053 "+tt.name, func(t *testing.T) {
			o := newOP()
			o.set("token", tt.h)
			_, err := o.client(plain).Exchange(t.Context(), "c", "v")
			e := wantReason(t, err, tt.strict)
			if isForm := strings.Contains(tt.name, "a form"); isForm != (e != nil && strings.Contains(e.Hint, "LenientAnswers")) {
				t.Errorf("the error is %+v", e)
			}
			tokens, err := o.client(plain, lenient).Exchange(t.Context(), "c", "v")
			if wantReason(t, err, tt.lenient); err == nil && tokens.AccessToken != "at-1" {
				t.Errorf("the access token is %q", tokens.AccessToken)
			}
			if tt.name == "scopes as a list" && (err != nil || tokens.Scope != "a b") {
				t.Errorf("%v, the scope is not a b: %+v", err, tokens)
			}
		})
	}
}

func TestDescriptionQuotesNoSecret(t *testing.T) {
	t.Run("C055 what is long enough to be secret is cut out, and words stay", func(t *testing.T) {
		o := newOP()
		o.set("token", answerText(400, "application/json", `{"error":"invalid_grant","error_description":"a cat: verifier-1 is wrong"}`))
		_, err := o.client().Exchange(t.Context(), "c", "verifier-1")
		e := wantReason(t, err, "token_endpoint_error")
		if want := "a cat: [hidden] is wrong"; e.Description != want {
			t.Errorf("description %q, want %q", e.Description, want)
		}
	})
}

func TestDescriptionQuotesWhatIsNoSecret(t *testing.T) {
	for _, row := range []struct{ name, description, want string }{
		{"it quotes the audience", "the client may not ask for ledger", "the client may not ask for ledger"},
		{"it quotes the resource", "no https://ledger.example here", "no https://ledger.example here"},
		{"it quotes the scopes", "not read:all write:all", "not read:all write:all"},
		{"it quotes the client and the grant type", "shop may not use urn:ietf:params:oauth:grant-type:token-exchange",
			"shop may not use urn:ietf:params:oauth:grant-type:token-exchange"},
		{"C055 it quotes no token", "hush-token is not for ledger", "[hidden] is not for ledger"},
		{"C055 it quotes no secret", "ledger, hush-hush", "ledger, [hidden]"},
	} {
		t.Run(row.name, func(t *testing.T) {
			o := newOP()
			answer := map[string]any{"error": "invalid_target", "error_description": row.description}
			o.set("token", answerText(400, "application/json", encode(answer)))
			_, err := o.client(func(cfg *op.Config) { cfg.Auth.Method = op.AuthPost }).ExchangeToken(t.Context(),
				&op.Tokens{AccessToken: "hush-token"},
				op.TokenExchange{Audience: "ledger", Resource: "https://ledger.example", Scopes: []string{"read:all", "write:all"}})
			if e := wantReason(t, err, "token_endpoint_error"); e.Description != row.want {
				t.Errorf("description %q, want %q", e.Description, row.want)
			}
		})
	}
}

func TestBasicCredentialsInADescription(t *testing.T) {
	t.Run("C055 a provider quotes the Authorization header: the error does not show it", func(t *testing.T) {
		o := newOP()
		var sent string
		o.set("token", func(w http.ResponseWriter, r *http.Request) {
			sent = strings.TrimPrefix(r.Header.Get("Authorization"), "Basic ")
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, encode(map[string]any{"error": "invalid_request", "error_description": fmt.Sprint(r.Header)}))
		})
		c := o.client(func(cfg *op.Config) { cfg.Auth = basic("a secret: with signs") })
		_, err := c.Exchange(t.Context(), "code-1", "verifier-1")
		e := wantReason(t, err, "token_endpoint_error")
		if sent == "" || e == nil || !strings.Contains(e.Description, "Basic [hidden]") || strings.Contains(e.Description, strings.TrimRight(sent, "=")) {
			t.Errorf("sent %q, error %+v", sent, e)
		}
	})
}
