package oidcgate_test

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
	"github.com/oidcgate/oidcgate/store"
)

const apiURL = shopURL + "/api"

// api is a shop that is an API too.
type api struct{ *world }

// newAPI opens a shop with an API, at a provider that issues JWTs and answers to introspection.
func newAPI(t *testing.T, changes ...change) *api {
	t.Helper()
	return newAPIAt(t, oidcgatetest.Config{}, changes...)
}

func newAPIAt(t *testing.T, c oidcgatetest.Config, changes ...change) *api {
	t.Helper()
	c.JWTAccessTokens, c.AccessTokenAudience, c.Introspection = true, apiURL, true
	forAPI := func(c *oidcgate.Config, _ *oidcgate.Provider) { c.API.Audience = []string{apiURL} }
	a := &api{newWorldOf(t, oidcgatetest.NewProvider(t, c), append([]change{forAPI}, changes...)...)}
	a.serve()
	return a
}

func (a *api) serve() {
	g, who := a.gate, http.HandlerFunc(a.who)
	read, write := oidcgate.Scope("orders:read"), oidcgate.Scope("orders:write")
	mux := http.NewServeMux()
	mux.Handle("/api", g.RequireToken()(who))
	mux.Handle("/api/orders", g.RequireToken(read, write)(who))
	mux.Handle("/api/admin", g.RequireToken(oidcgate.Claim("groups", "admin"))(who))
	mux.Handle("/api/both", g.RequireToken(read, oidcgate.Claim("groups", "admin"))(who))
	mux.Handle("/api/strong", g.RequireToken(oidcgate.ACR("gold"), oidcgate.MaxAge(5*time.Minute))(who))
	mux.Handle("/api/twice", g.RequireToken()(g.RequireToken(read)(g.Require()(who))))
	mux.Handle("/either", g.RequireEither(read)(who))
	mux.Handle("/app", g.Require()(who))
	mux.Handle("/app/scoped", g.Require(read)(who))
	a.handler = g.Wrap(mux)
}

// who tells whose request it is, and what of a session is in reach.
func (a *api) who(rw http.ResponseWriter, r *http.Request) {
	id, _ := oidcgate.FromContext(r.Context())
	client, _ := id.ClaimString("client_id")
	_, tokenErr := a.gate.Token(r.Context())
	_, listErr := a.gate.Sessions().List(r.Context())
	_, clientErr := a.gate.Client(r.Context(), "https://other.test").Get("https://other.test/")
	gone := func(err error) bool { return errors.Is(err, oidcgate.ErrNoSession) }
	_ = json.NewEncoder(rw).Encode(map[string]any{
		"iss": id.Issuer(), "sub": id.Subject(), "client": client, "token": id.FromAccessToken(),
		"id_token": id.HasIDToken(), "no_session": gone(tokenErr) && gone(listErr) && gone(clientErr), "err": fmt.Sprint(a.gate.SessionErr(r.Context())),
	})
}

// call calls the API with a token.
func (a *api) call(path, token string, headers ...string) answer {
	a.Helper()
	return a.send(a.browser, http.MethodGet, path, "", append([]string{"Authorization: Bearer " + token}, headers...)...)
}

// challenges are the challenges of an answer, of each scheme.
func challenges(a answer) (bearer, dpop string) {
	for _, c := range a.Header.Values("WWW-Authenticate") {
		switch scheme, _, _ := strings.Cut(c, " "); scheme {
		case "Bearer":
			bearer = c
		case "DPoP":
			dpop = c
		}
	}
	return bearer, dpop
}

// refused checks an answer that does not let a token in: the status, the code, and that it is a problem
// that stays out of caches, leads nowhere and quotes nothing.
func (a *api) refused(got answer, status int, code string, secrets ...string) {
	a.Helper()
	bearer, dpop := challenges(got)
	if got.StatusCode != status || code != "" && !strings.Contains(bearer+dpop, `error="`+code+`"`) {
		a.Errorf("status %d with %q %q, want %d with %q\n%s\n%s", got.StatusCode, bearer, dpop, status, code, got.body, a.logged())
	}
	if code == "" && strings.Contains(bearer+dpop, "error") {
		a.Errorf("an error that should not be there: %q %q", bearer, dpop)
	}
	if (bearer != "") != (status == 401 || status == 400 || code != "") {
		a.Errorf("status %d with the challenge %q", status, bearer)
	}
	if t := got.Header.Get("Content-Type"); t != "application/problem+json" || got.location() != "" || got.Header.Get("Cache-Control") != "no-store" {
		a.Errorf("Content-Type %q, Location %q, Cache-Control %q", t, got.location(), got.Header.Get("Cache-Control"))
	}
	var problem struct {
		Status int
		Title  string
	}
	if err := json.Unmarshal([]byte(got.body), &problem); err != nil || problem.Status != status {
		a.Errorf("%v of %s", err, got.body)
	}
	if want := cmp.Or(code, map[int]string{401: "Access token required", 403: "No access", 503: "Please try again"}[status]); problem.Title != want {
		a.Errorf("the title is %q, want %q", problem.Title, want)
	}
	log := a.logged()
	for _, secret := range secrets {
		if secret != "" && (strings.Contains(got.body+bearer+dpop, secret) || strings.Contains(log, secret)) {
			a.Errorf("the token is in the answer or in the log:\n%s\n%s", got.body, log)
		}
	}
}

func (a *api) admitted(got answer, subject string) {
	a.Helper()
	var who struct {
		Sub       string
		Token     bool
		NoSession bool `json:"no_session"`
		IDToken   bool `json:"id_token"`
		Err       string
	}
	if err := json.Unmarshal([]byte(got.body), &who); err != nil || got.StatusCode != http.StatusOK || who.Sub != subject ||
		!who.Token || who.IDToken || !who.NoSession || who.Err != "<nil>" {
		a.Errorf("status %d, %+v, %v, want the token of %s\n%s\n%s", got.StatusCode, who, err, subject, got.body, a.logged())
	}
	if c := got.Header.Get("Cache-Control"); c != "private, no-store" {
		a.Errorf("Cache-Control %q", c)
	}
}

func TestAccessTokensAtARoute(t *testing.T) {
	now := time.Now().Unix()
	claim := func(name string, value any) func(*api) string {
		return func(a *api) string { return a.op.NewAccessToken(map[string]any{name: value}).Compact() }
	}
	change := func(f func(*oidcgatetest.JWT)) func(*api) string {
		return func(a *api) string {
			t := a.op.NewAccessToken(nil)
			f(t)
			return t.Compact()
		}
	}
	publicKey := func(a *api) []byte {
		der, err := x509.MarshalPKIXPublicKey(a.op.PublicKeys().Keys[0].Key)
		if err != nil {
			a.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	}
	idToken := map[string]any{"iss": "https://id.test", "sub": "alice", "aud": apiURL, "iat": now, "exp": now + 300, "client_id": "shop", "jti": "j"}
	for _, row := range []struct {
		name   string
		token  func(*api) string
		reason string // "": it is good
	}{
		{"C160 a good one", claim("scope", "x"), ""},
		{"C160 of a client that acts for itself", claim("sub", "app"), ""},
		{"C160 alg none", change((*oidcgatetest.JWT).Unsigned), "alg"},
		{"C160 HS256 with the public key", func(a *api) string {
			t := a.op.NewAccessToken(nil)
			t.SignWith("HS256", publicKey(a))
			return t.Compact()
		}, "alg"},
		{"C160 HS256 with the client's secret", change(func(t *oidcgatetest.JWT) { t.SignWith("HS256", []byte(secret)) }), "alg"},
		{"C160 signed by another", change((*oidcgatetest.JWT).SignForeign), "sig"},
		{"C160 with a changed signature", change((*oidcgatetest.JWT).CorruptSignature), "sig"},
		{"C160 with junk as kid", change(func(t *oidcgatetest.JWT) { t.Header["kid"] = "../../etc/passwd" }), "key_unknown"},
		{"C160 with a number as kid", change(func(t *oidcgatetest.JWT) { t.Header["kid"] = 1 }), "token_malformed"},
		{"C160 three parts that are no JWT", func(*api) string { return "x.y.z" }, "token_malformed"},
		{"C160 that is huge", claim("x", strings.Repeat("x", 64<<10)), "request"},
		{"C160 whose payload is no JSON", change(func(t *oidcgatetest.JWT) { t.Payload = []byte("junk") }), "token_malformed"},
		{"C160 whose payload is a list", change(func(t *oidcgatetest.JWT) { t.Payload = []byte("[]") }), "token_malformed"},
		{"C161 for another service", claim("aud", "https://other.test"), "aud"},
		{"C161 for the client", claim("aud", "shop"), "aud"},
		{"C161 of another issuer", claim("iss", "https://evil.test"), "iss_claim"},
		{"C162 that has expired", claim("exp", now-120), "exp"},
		{"C162 that is not valid yet", claim("nbf", now+600), "nbf"},
		{"C162 without an end", claim("exp", nil), "exp"},
		{"C160 an ID Token", func(a *api) string { return a.op.NewJWT(idToken).Compact() }, "typ"},
		{"C160 a logout token", func(a *api) string {
			return a.op.NewJWT(map[string]any{"iss": "https://id.test", "sub": "alice", "aud": apiURL, "iat": now, "exp": now + 60, "jti": "j",
				"client_id": "shop", "events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}}).Compact()
		}, "typ"},
		{"C163 an opaque one that nobody knows", func(*api) string { return "junk" }, "token_inactive"},
	} {
		t.Run(row.name, func(t *testing.T) {
			a := newAPI(t)
			token := row.token(a)
			got := a.call("/api", token)
			if row.reason == "" {
				a.admitted(got, map[bool]string{true: "app", false: "alice"}[strings.Contains(row.name, "itself")])
				return
			}
			told := a.eventsOf(oidcgate.EventTokenRefused)
			if len(told) != 1 || string(told[0].Reason) != row.reason || told[0].Status != 401 {
				t.Fatalf("events %+v, want one with %q", told, row.reason)
			}
			isOver := row.reason == "exp" || row.reason == "token_inactive" // that is logged at DEBUG
			if hint := told[0].Hint; !isOver && (hint == "" || strings.Contains(hint, "operator") || strings.Contains(hint, "id_token") || strings.Contains(hint, "ClientID")) {
				t.Errorf("the hint is %q, and anybody may have sent the token", hint)
			}
			a.refused(got, 401, "invalid_token", token[:min(40, len(token))])
		})
	}
}

// The tokens of a login: what the client itself uses here is no access token, except the one that is.
func TestTokensOfALoginAtAnAPI(t *testing.T) {
	t.Run("C160 of a login only the access token passes", func(t *testing.T) {
		a := newAPI(t)
		var idToken string
		a.op.EveryIDToken(func(t *oidcgatetest.JWT) {
			t.Finish = func(compact string) string { idToken = compact; return compact }
		})
		a.login()
		code := a.op.LastRequest(oidcgatetest.Token).Form.Get("code")
		for name, token := range map[string]string{"ID Token": idToken, "code": code} {
			if got := a.call("/api", token); got.StatusCode != http.StatusUnauthorized || token == "" {
				t.Errorf("%s %q: status %d", name, token, got.StatusCode)
			}
		}
	})
}

func TestWhereATokenStands(t *testing.T) {
	a := newAPI(t)
	token := a.op.NewAccessToken(nil).Compact()
	for _, row := range []struct {
		name          string
		method, path  string
		form          string
		authorization []string
		status        int
		code          string
	}{
		{"C166 no token", "GET", "/api", "", nil, 401, ""},
		{"C166 a navigation is not redirected", "GET", "/api", "", nil, 401, ""},
		{"C166 credentials of another scheme", "GET", "/api", "", []string{"Basic eDp5"}, 401, ""},
		{"C166 in the query", "GET", "/api?access_token=" + token, "", nil, 400, "invalid_request"},
		{"C166 in the query, encoded", "GET", "/api?access%5Ftoken=" + token, "", []string{"Bearer " + token}, 400, "invalid_request"},
		{"C166 in the query and in the header", "GET", "/api?access_token=" + token, "", []string{"Bearer " + token}, 400, "invalid_request"},
		{"C166 in the form", "POST", "/api", "access_token=" + token, nil, 401, ""},
		{"C166 twice", "GET", "/api", "", []string{"Bearer " + token, "Bearer " + token}, 400, "invalid_request"},
		{"C166 beside other credentials", "GET", "/api", "", []string{"Basic eDp5", "Bearer " + token}, 400, "invalid_request"},
		{"C166 two in one header", "GET", "/api", "", []string{"Bearer " + token + ", Bearer " + token}, 400, "invalid_request"},
		{"C166 the scheme alone", "GET", "/api", "", []string{"Bearer"}, 400, "invalid_request"},
		{"C166 with parameters", "GET", "/api", "", []string{"Bearer token=" + token + ";"}, 400, "invalid_request"},
		{"C166 in the query of another parameter", "GET", "/api?about=access_token", "", []string{"Bearer " + token}, 200, ""},
		{"C166 the scheme in small letters", "GET", "/api", "", []string{"bearer " + token}, 200, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			r, err := http.NewRequest(row.method, shopURL+row.path, strings.NewReader(row.form))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Accept", "text/html")
			if row.form != "" {
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			}
			r.Header["Authorization"] = row.authorization
			resp, err := a.browser.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, _ := io.ReadAll(resp.Body)
			got := answer{resp, string(body)}
			at := &api{&world{T: t}}
			if row.status == 200 {
				at.admitted(got, "alice")
				return
			}
			at.refused(got, row.status, row.code, token[:40])
		})
	}
	t.Run("C166 in a form that was read before", func(t *testing.T) {
		guarded := a.gate.Wrap(a.gate.RequireToken()(http.HandlerFunc(a.who)))
		r := httptest.NewRequest("POST", "/api", strings.NewReader("access_token="+token))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Authorization", "Bearer "+token)
		_ = r.ParseForm()
		w := httptest.NewRecorder()
		guarded.ServeHTTP(w, r)
		if w.Code != http.StatusBadRequest {
			t.Errorf("status %d", w.Code)
		}
	})
}

func TestRulesForTokens(t *testing.T) {
	a := newAPI(t)
	token := func(claims map[string]any) string { return a.op.NewAccessToken(claims).Compact() }
	now := time.Now().Unix()
	for _, row := range []struct {
		name, path string
		claims     map[string]any
		status     int
		challenge  []string // parts of that of Bearer
	}{
		{"C168 all scopes", "/api/orders", map[string]any{"scope": "openid orders:write orders:read"}, 200, nil},
		{"C168 one scope of two", "/api/orders", map[string]any{"scope": "orders:read"}, 403, []string{`error="insufficient_scope"`, `scope="orders:read orders:write"`}},
		{"C168 a scope that begins alike", "/api/orders", map[string]any{"scope": "orders:read orders:writeall"}, 403, []string{`error="insufficient_scope"`}},
		{"C168 no scope", "/api/orders", nil, 403, []string{`error="insufficient_scope"`}},
		{"C168 a scope that is a list", "/api/orders", map[string]any{"scope": []string{"orders:read", "orders:write"}}, 403, []string{`error="insufficient_scope"`}},
		{"C168 a group", "/api/admin", map[string]any{"groups": []string{"admin"}}, 200, nil},
		{"C168 no group", "/api/admin", map[string]any{"groups": []string{"staff"}}, 403, nil},
		{"C168 a scope and no group", "/api/both", map[string]any{"scope": "orders:read"}, 403, nil},
		{"C168 a strong and fresh login", "/api/strong", map[string]any{"acr": "gold", "auth_time": now - 60}, 200, nil},
		{"C168 a weak login", "/api/strong", map[string]any{"acr": "tin", "auth_time": now - 60}, 401,
			[]string{`error="insufficient_user_authentication"`, `acr_values="gold"`, `max_age="300"`}},
		{"C168 an old login", "/api/strong", map[string]any{"acr": "gold", "auth_time": now - 3600}, 401, []string{`error="insufficient_user_authentication"`, `max_age="300"`}},
		{"C168 several guards, the last of them for sessions", "/api/twice", map[string]any{"scope": "orders:read"}, 200, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			raw := token(row.claims)
			got := a.call(row.path, raw)
			at := &api{&world{T: t}}
			if row.status == 200 {
				at.admitted(got, "alice")
				return
			}
			code := ""
			if len(row.challenge) > 0 {
				_, code, _ = strings.Cut(strings.TrimSuffix(row.challenge[0], `"`), `"`)
			}
			at.refused(got, row.status, code, raw[:40])
			bearer, _ := challenges(got)
			for _, part := range row.challenge {
				if !strings.Contains(bearer, part) {
					t.Errorf("the challenge is %q, want %q in it", bearer, part)
				}
			}
		})
	}
	t.Run("C168 what a rule refuses has the same reference in the answer and in the log", func(t *testing.T) {
		a := newAPI(t)
		raw := a.op.NewAccessToken(nil).Compact()
		for i, path := range []string{"/api/orders", "/api/admin", "/either"} {
			var problem struct{ Reference string }
			got := a.call(path, raw)
			denied := a.eventsOf(oidcgate.EventAccessDenied)
			if err := json.Unmarshal([]byte(got.body), &problem); err != nil || len(denied) != i+1 || problem.Reference == "" || denied[i].Reference != problem.Reference {
				t.Errorf("%s: %v, events %+v of %s", path, err, denied, got.body)
			}
		}
	})
	t.Run("C168 the log says which rule refused, and what to do", func(t *testing.T) {
		denied := a.eventsOf(oidcgate.EventAccessDenied)
		if len(denied) != 6 || !strings.Contains(denied[0].Detail, "scope lacks one of [orders:write], client_id app") ||
			!strings.Contains(denied[0].Hint, "have the client ask for the scope") {
			t.Errorf("%+v", denied)
		}
		if group := denied[4]; !strings.Contains(group.Detail, "claim groups") || !strings.Contains(group.Hint, "into its access tokens") {
			t.Errorf("%+v", group)
		}
	})
}

func TestSessionOrToken(t *testing.T) {
	t.Run("C169 a token hides the session of the same request", func(t *testing.T) {
		a := newAPI(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.EnableValues = true })
		mux := http.NewServeMux()
		mux.Handle("/app", a.gate.Require()(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			a.gate.Values().Put(r.Context(), "cart", "apples")
		})))
		mux.Handle("/api", a.gate.RequireToken()(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if cart := a.gate.Values().GetString(r.Context(), "cart"); cart != "" {
				t.Errorf("the cart of the session is in reach of the token: %q", cart)
			}
			a.gate.Values().Put(r.Context(), "cart", "stones")
			a.who(rw, r)
		})))
		mux.HandleFunc("/cart", func(rw http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(rw, a.gate.Values().GetString(r.Context(), "cart"))
		})
		a.handler = a.gate.Wrap(mux)
		a.login()
		a.get("/app")
		a.admitted(a.call("/api", a.op.NewAccessToken(map[string]any{"sub": "bob"}).Compact()), "bob")
		if got := a.get("/cart"); got.body != "apples" {
			t.Errorf("the cart of the session is %q", got.body)
		}
		if lost := a.eventsOf(oidcgate.EventValuesNotSaved); len(lost) != 1 || lost[0].Reason != "no_session" || !strings.Contains(lost[0].Detail, "access token") || lost[0].Hint == "" {
			t.Errorf("%+v, want one that names the access token", lost)
		}
	})
	t.Run("values of a request that an access token admitted are lost with an event, and where none are there is none", func(t *testing.T) {
		a := newAPI(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.EnableValues = true })
		mux := http.NewServeMux()
		put := func(rw http.ResponseWriter, r *http.Request) {
			a.gate.Values().Put(r.Context(), "cart", "stones")
			_, _ = io.WriteString(rw, "done")
		}
		handle := func(path string, h http.HandlerFunc) { mux.Handle(path, a.gate.RequireEither()(h)) }
		handle("/put", put)
		handle("/late", func(rw http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(rw, "first")
			put(rw, r)
			put(rw, r)
		})
		handle("/pop", func(_ http.ResponseWriter, r *http.Request) {
			a.gate.Values().Put(r.Context(), "flash", "hello")
			a.gate.Values().PopString(r.Context(), "flash")
		})
		handle("/read", func(_ http.ResponseWriter, r *http.Request) { a.gate.Values().GetString(r.Context(), "cart") })
		mux.Handle("/app", a.gate.Require()(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
		mux.HandleFunc("/before", func(rw http.ResponseWriter, r *http.Request) {
			a.gate.Values().Put(r.Context(), "seen", true)
			a.gate.RequireToken()(http.HandlerFunc(a.who)).ServeHTTP(rw, r)
		})
		a.handler = a.gate.Wrap(mux)
		a.login()
		if a.get("/put", ownFetch...); len(a.eventsOf(oidcgate.EventValuesNotSaved)) != 0 {
			t.Error("the values of a session are lost")
		}
		token := a.op.NewAccessToken(nil).Compact()
		for path, want := range map[string]int{"/put": 1, "/late": 1, "/pop": 0, "/read": 0, "/before": 1} {
			before := len(a.eventsOf(oidcgate.EventValuesNotSaved))
			if got := a.call(path, token); got.StatusCode != http.StatusOK {
				t.Errorf("%s: status %d", path, got.StatusCode)
			}
			if lost := a.eventsOf(oidcgate.EventValuesNotSaved)[before:]; len(lost) != want || want == 1 && lost[0].Reason != "no_session" {
				t.Errorf("%s: %d events, want %d: %+v", path, len(lost), want, lost)
			}
		}
	})
	t.Run("C169 a bad token is not replaced by the session", func(t *testing.T) {
		a := newAPI(t)
		a.login()
		a.refused(a.call("/either", "junk"), 401, "invalid_token", "")
		a.refused(a.call("/api", "junk"), 401, "invalid_token", "")
	})
	t.Run("C169 a session is no token", func(t *testing.T) {
		a := newAPI(t)
		a.login()
		a.refused(a.get("/api"), 401, "")
	})
	t.Run("C169 C172 without a token it is AdmitAPI", func(t *testing.T) {
		a := newAPI(t)
		a.login()
		for name, row := range map[string]struct {
			headers []string
			status  int
		}{
			"a script of this site":                {ownFetch, 200},
			"the visitor alone":                    {[]string{"Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate"}, 200},
			"an old browser, with the header":      {[]string{"X-Requested-With: shop"}, 200},
			"a client that does not say":           {[]string{"Origin: " + shopURL}, 403},
			"a link on a page of this origin":      {[]string{"Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: navigate"}, 403},
			"another site":                         {[]string{"Sec-Fetch-Site: cross-site", "Origin: https://evil.test"}, 403},
			"a sibling":                            {[]string{"Sec-Fetch-Site: same-site"}, 403},
			"another site in an old browser":       {[]string{"Origin: https://evil.test"}, 403},
			"a navigation that another site began": {[]string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Accept: text/html"}, 403},
		} {
			for _, method := range []string{"GET", "PUT", "DELETE"} {
				got := a.send(a.browser, method, "/either", "", row.headers...)
				if row.status == 403 {
					a.problem(got, row.status)
				} else if got.StatusCode != row.status || !strings.Contains(got.body, `"sub":"alice"`) {
					t.Errorf("%s %s: status %d, want %d\n%s", method, name, got.StatusCode, row.status, got.body)
				}
			}
		}
	})
	navigation := []string{"Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Sec-Fetch-Site: none", "Accept: text/html"}
	t.Run("C169 its 401 names both ways, and nobody is redirected", func(t *testing.T) {
		a := newAPI(t)
		for name, headers := range map[string][]string{"a program": {"Accept: */*"}, "a navigation": navigation, "a script of this site": ownFetch} {
			got := a.send(a.browser, "GET", "/either", "", headers...)
			if p := a.problem(got, 401); !strings.HasPrefix(p.LoginURL, shopURL+"/auth/login") {
				t.Errorf("%s: the login is %q", name, p.LoginURL)
			}
			if all, token := got.Header.Values("WWW-Authenticate"), a.get("/api").Header.Values("WWW-Authenticate"); len(token) == 0 || !slices.Equal(all, append([]string{"Session"}, token...)) {
				t.Errorf("%s: the challenges are %q", name, all)
			}
		}
	})
	t.Run("C169 a session that is too weak gets both challenges too, and a rule that refuses 403 as problem+json", func(t *testing.T) {
		a := newAPI(t)
		a.login()
		a.handler = a.gate.Wrap(a.gate.RequireEither(oidcgate.ACR("gold"))(http.HandlerFunc(a.who)))
		got := a.send(a.browser, "GET", "/strong", "", navigation...)
		a.problem(got, 401)
		bearer, _ := challenges(got)
		if all := got.Header.Values("WWW-Authenticate"); !strings.HasPrefix(all[0], `Session error="insufficient_user_authentication", acr_values="gold"`) || bearer == "" || strings.Contains(bearer, "error") {
			t.Errorf("the challenges are %q", all)
		}
		a.handler = a.gate.Wrap(a.gate.RequireEither(oidcgate.Claim("groups", "admin"))(http.HandlerFunc(a.who)))
		got = a.send(a.browser, "GET", "/admin", "", navigation...)
		if a.problem(got, 403); got.Header.Get("WWW-Authenticate") != "" {
			t.Errorf("the challenge is %q", got.Header.Get("WWW-Authenticate"))
		}
	})
	t.Run("C169 credentials of another scheme are no token", func(t *testing.T) {
		a := newAPI(t)
		a.login()
		for scheme, status := range map[string]int{"Basic eDp5": 200, "DPoP x": 401} {
			if got := a.get("/either", append([]string{"Authorization: " + scheme}, ownFetch...)...); got.StatusCode != status {
				t.Errorf("%s: status %d, want %d", scheme, got.StatusCode, status)
			}
		}
	})
	t.Run("C169 C168 an identity of NewContext counts as a session, and a token that is sent is verified", func(t *testing.T) {
		a := newAPI(t)
		user := oidcgatetest.User{Subject: "carol"}
		seen := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			id, _ := oidcgate.FromContext(r.Context())
			_, _ = io.WriteString(rw, id.Subject())
		})
		read := oidcgate.Scope("orders:read")
		call := func(h http.Handler, change func(*http.Request)) *httptest.ResponseRecorder {
			r, rec := httptest.NewRequest("POST", "/either", nil), httptest.NewRecorder()
			r = oidcgatetest.WithIdentity(r, a.gate, user)
			change(r)
			h.ServeHTTP(rec, r)
			return rec
		}
		for name, row := range map[string]struct {
			rule   oidcgate.Rule
			change func(*http.Request)
			status int
		}{
			"a scope is left out":       {read, func(*http.Request) {}, 200},
			"another rule holds":        {oidcgate.Claim("groups", "admin"), func(*http.Request) {}, 403},
			"a request of another site": {read, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, 403},
			"a token that is not valid": {read, func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") }, 401},
		} {
			rec := call(a.gate.Wrap(a.gate.RequireEither(row.rule)(seen)), row.change)
			if rec.Code != row.status || row.status == 200 && rec.Body.String() != "carol" {
				t.Errorf("%s: status %d, want %d\n%s", name, rec.Code, row.status, rec.Body)
			}
		}
	})
	t.Run("C169 C168 behind Wrap an identity of NewContext is no token's, whichever is outside", func(t *testing.T) {
		a := newAPI(t)
		user, read := oidcgatetest.User{Subject: "carol", Claims: map[string]any{"scope": "orders:read"}}, oidcgate.Scope("orders:read")
		with := func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				next.ServeHTTP(rw, r.WithContext(oidcgatetest.NewContext(r.Context(), a.gate, user)))
			})
		}
		token, either := a.gate.RequireToken(read)(http.HandlerFunc(a.who)), a.gate.RequireEither(read)(http.HandlerFunc(a.who))
		inside := func(guarded http.Handler) http.Handler { return a.gate.Wrap(with(guarded)) }
		outside := func(guarded http.Handler) http.Handler { return with(a.gate.Wrap(guarded)) }
		twice := func(guarded http.Handler) http.Handler { return a.gate.Wrap(with(with(guarded))) }
		good := a.op.NewAccessToken(map[string]any{"scope": "orders:read"}).Compact()
		weak := a.op.NewAccessToken(nil).Compact()
		for name, wrap := range map[string]func(http.Handler) http.Handler{"inside": inside, "outside": outside, "twice": twice} {
			t.Run(name, func(t *testing.T) {
				a.handler = wrap(token)
				a.refused(a.send(a.browser, "POST", "/api", "", "Sec-Fetch-Site: cross-site"), 401, "")
				a.refused(a.get("/api", ownFetch...), 401, "")
				a.refused(a.call("/api", weak), 403, "insufficient_scope")
				a.admitted(a.call("/api", good), "alice")
				a.handler = wrap(either)
				a.problem(a.send(a.browser, "POST", "/either", "", "Sec-Fetch-Site: cross-site"), 403)
				a.refused(a.call("/either", "x"), 401, "invalid_token")
				a.refused(a.call("/either", weak), 403, "insufficient_scope")
				a.admitted(a.call("/either", good), "alice")
				if got := a.get("/either", ownFetch...); got.StatusCode != 200 || !strings.Contains(got.body, "carol") {
					t.Errorf("a request of the site's own page: %d %s", got.StatusCode, got.body)
				}
			})
		}
	})
	t.Run("C169 behind Wrap an identity of NewContext is no token's, also without a session", func(t *testing.T) {
		a := newAPI(t, func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.WithoutSession = func(*http.Request) bool { return true }
		})
		guarded := a.gate.RequireToken()(http.HandlerFunc(a.who))
		a.handler = a.gate.Wrap(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			user := oidcgatetest.User{Subject: "carol"}
			guarded.ServeHTTP(rw, r.WithContext(oidcgatetest.NewContext(r.Context(), a.gate, user)))
		}))
		if got := a.get("/api"); got.StatusCode != http.StatusUnauthorized {
			t.Errorf("%d %q", got.StatusCode, got.body)
		}
	})
	t.Run("C169 a token is one request's, also where many have one context of NewContext", func(t *testing.T) {
		for _, values := range []bool{false, true} {
			a := newAPI(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.EnableValues = values })
			shared := oidcgatetest.NewContext(t.Context(), a.gate, oidcgatetest.User{Subject: "proxy"}) // as of a connection
			handler := a.handler
			a.handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				handler.ServeHTTP(rw, r.WithContext(shared))
			})
			for _, path := range []string{"/api", "/either"} {
				token := a.op.NewAccessToken(map[string]any{"sub": "alice", "scope": "orders:read"}).Compact()
				if got := a.call(path, token); !strings.Contains(got.body, `"sub":"alice"`) {
					t.Errorf("%s: %d %q", path, got.StatusCode, got.body)
				}
				if id, _ := oidcgate.FromContext(shared); id.Subject() != "proxy" {
					t.Errorf("%s: the context of all is that of %q", path, id.Subject())
				}
				if got := a.get("/api"); got.StatusCode != http.StatusUnauthorized {
					t.Errorf("%s, then one without a token: %d %q", path, got.StatusCode, got.body)
				}
			}
		}
	})
	t.Run("C169 a guard leaves the request of a middleware as it is", func(t *testing.T) {
		a := newAPI(t)
		guarded := a.gate.RequireToken()(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			id, _ := oidcgate.FromContext(r.Context())
			_, _ = io.WriteString(rw, id.Subject())
		}))
		a.handler = a.gate.Wrap(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			ctx := oidcgatetest.NewContext(r.Context(), a.gate, oidcgatetest.User{Subject: "proxy"})
			r = r.WithContext(ctx)
			guarded.ServeHTTP(rw, r)
			if r.Context() != ctx {
				t.Error("it has another context")
			}
		}))
		token := a.op.NewAccessToken(map[string]any{"sub": "alice"}).Compact()
		if got := a.call("/", token); got.body != "alice" {
			t.Errorf("%d %q", got.StatusCode, got.body)
		}
	})
	t.Run("C169 C168 outside Wrap an identity of NewContext counts as a token's", func(t *testing.T) {
		a := newAPI(t)
		for claim, want := range map[string]int{"orders:read": 200, "orders:write": 403} {
			user := oidcgatetest.User{Subject: "carol", Claims: map[string]any{"scope": claim}}
			for _, guard := range []func(...oidcgate.Rule) func(http.Handler) http.Handler{a.gate.RequireToken, a.gate.RequireEither} {
				r, rec := oidcgatetest.WithIdentity(httptest.NewRequest("POST", "/", nil), a.gate, user), httptest.NewRecorder()
				r.Header.Set("Authorization", "Bearer x")
				guard(oidcgate.Scope("orders:read"))(http.HandlerFunc(a.who)).ServeHTTP(rec, r)
				if rec.Code != want {
					t.Errorf("%s: status %d, want %d", claim, rec.Code, want)
				}
			}
		}
	})
	t.Run("C169 C168 behind a guard that verified a token, the scope counts, also without its header", func(t *testing.T) {
		a := newAPI(t)
		inner := a.gate.RequireEither(oidcgate.Scope("orders:read"))(http.HandlerFunc(a.who))
		a.handler = a.gate.Wrap(a.gate.RequireToken()(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			r.Header.Del("Authorization")
			id, _ := oidcgate.FromContext(r.Context())
			if r.URL.Path == "/again" {
				r = r.WithContext(a.gate.NewContext(r.Context(), id))
			}
			inner.ServeHTTP(rw, r)
		})))
		good := a.op.NewAccessToken(map[string]any{"scope": "orders:read"}).Compact()
		for _, path := range []string{"/", "/again"} {
			a.admitted(a.call(path, good), "alice")
			a.refused(a.call(path, a.op.NewAccessToken(nil).Compact()), 403, "insufficient_scope")
		}
	})
	t.Run("C112 a request that did not pass through Wrap", func(t *testing.T) {
		a := newAPI(t)
		for name, headers := range map[string]http.Header{"without a token": {}, "with a token": {"Authorization": {"Bearer x"}}} {
			r, rec := httptest.NewRequest("GET", "/either", nil), httptest.NewRecorder()
			r.Header = headers
			a.gate.RequireEither()(http.HandlerFunc(a.who)).ServeHTTP(rec, r)
			if rec.Code != http.StatusInternalServerError {
				t.Errorf("%s: status %d", name, rec.Code)
			}
		}
	})
	t.Run("C169 a token needs no check of the site, and its scope counts", func(t *testing.T) {
		a := newAPI(t)
		good := a.op.NewAccessToken(map[string]any{"scope": "orders:read"}).Compact()
		a.admitted(a.send(a.browser, "POST", "/either", "", "Authorization: Bearer "+good, "Sec-Fetch-Site: cross-site"), "alice")
		a.refused(a.call("/either", a.op.NewAccessToken(nil).Compact()), 403, "insufficient_scope")
	})
	t.Run("C169 a scope refuses a session where no token is taken", func(t *testing.T) {
		a := newAPI(t)
		a.login()
		if got := a.get("/app/scoped"); got.StatusCode != http.StatusForbidden {
			t.Errorf("status %d", got.StatusCode)
		}
	})
	t.Run("C169 a store that is ill stops no token", func(t *testing.T) {
		broken := &failing{}
		a := newAPI(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { broken.Store = c.Store; c.Store = broken })
		a.login()
		broken.down.Store(true)
		a.admitted(a.call("/api", a.op.NewAccessToken(nil).Compact()), "alice")
	})
}

// failing is a store that can be ill.
type failing struct {
	store.Store
	down atomic.Bool
}

func (f *failing) Get(ctx context.Context, key string) ([]byte, error) {
	if f.down.Load() {
		return nil, errors.New("ill")
	}
	return f.Store.Get(ctx, key)
}

func (f *failing) Create(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if f.down.Load() {
		return errors.New("ill")
	}
	return f.Store.Create(ctx, key, value, ttl)
}

func TestOpaqueTokensAtARoute(t *testing.T) {
	inBubble(t, "C163 requests with one token share one question, for half a minute", func(t *testing.T) {
		a := newAPI(t)
		token := a.op.NewOpaqueToken(map[string]any{"exp": time.Now().Add(time.Hour).Unix()})
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() { a.admitted(a.call("/api", token), "alice") })
		}
		all.Wait()
		if n := a.op.Count(oidcgatetest.Introspection); n != 1 {
			t.Errorf("%d questions", n)
		}
		a.op.RevokeAccessToken(token)
		time.Sleep(29 * time.Second)
		a.admitted(a.call("/api", token), "alice")
		time.Sleep(2 * time.Second)
		a.refused(a.call("/api", token), 401, "invalid_token", token)
		a.refused(a.call("/api", token), 401, "invalid_token", token)
		if n := a.op.Count(oidcgatetest.Introspection); n != 2 {
			t.Errorf("%d questions", n)
		}
		time.Sleep(6 * time.Second)
		a.call("/api", token)
		if n := a.op.Count(oidcgatetest.Introspection); n != 3 {
			t.Errorf("%d questions", n)
		}
	})
	inBubble(t, "C163 an answer counts until exp at most", func(t *testing.T) {
		a := newAPI(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Limits.ClockSkew = time.Second })
		token := a.op.NewOpaqueToken(map[string]any{"exp": time.Now().Add(10 * time.Second).Unix()})
		a.admitted(a.call("/api", token), "alice")
		time.Sleep(12 * time.Second)
		a.refused(a.call("/api", token), 401, "invalid_token", token)
	})
	t.Run("C163 with Introspect a JWT that was revoked is refused", func(t *testing.T) {
		a := newAPI(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.API.Introspect = true })
		good, bad := a.op.NewAccessToken(nil).Compact(), a.op.NewAccessToken(nil).Compact()
		a.op.RevokeAccessToken(bad)
		a.admitted(a.call("/api", good), "alice")
		a.refused(a.call("/api", bad), 401, "invalid_token", bad[:40])
		a.call("/api", good)
		if n := a.op.Count(oidcgatetest.Introspection); n != 2 {
			t.Errorf("%d questions", n)
		}
		junk := a.op.NewAccessToken(nil)
		junk.CorruptSignature()
		a.refused(a.call("/api", junk.Compact()), 401, "invalid_token")
		if n := a.op.Count(oidcgatetest.Introspection); n != 2 {
			t.Error("a token with a bad signature was shown to the provider")
		}
	})
	t.Run("C163 without Introspect nobody is asked about a JWT", func(t *testing.T) {
		a := newAPI(t)
		a.admitted(a.call("/api", a.op.NewAccessToken(nil).Compact()), "alice")
		if n := a.op.Count(oidcgatetest.Introspection); n != 0 {
			t.Errorf("%d questions", n)
		}
	})
	t.Run("C163 a provider that is down is 503, and asked again", func(t *testing.T) {
		a := newAPI(t)
		token := a.op.NewOpaqueToken(nil)
		a.op.Inject(oidcgatetest.Introspection, oidcgatetest.Answer(http.StatusInternalServerError, "text/html", "down"))
		got := a.call("/api", token)
		a.refused(got, 503, "", token)
		if got.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		a.admitted(a.call("/api", token), "alice")
	})
	t.Run("C163 a client that the provider refuses is 503, and the log names the cure", func(t *testing.T) {
		a := newAPI(t, func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Auth = oidcgate.ClientSecretBasic("wrong") })
		a.refused(a.call("/api", a.op.NewOpaqueToken(nil)), 503, "")
		told := a.eventsOf(oidcgate.EventTokenRefused)
		if len(told) != 1 || told[0].Reason != "introspection" || !strings.Contains(told[0].Hint, "secret") {
			t.Errorf("%+v", told)
		}
	})
}

// Several providers: the token names its own, and is shown to no other.
func TestTokensOfSeveralProviders(t *testing.T) {
	first := oidcgatetest.NewProvider(t, oidcgatetest.Config{AccessTokenAudience: apiURL, Introspection: true})
	second := oidcgatetest.NewProvider(t, oidcgatetest.Config{Issuer: "https://staff.test", Algorithm: "ES256", AccessTokenAudience: apiURL, Introspection: true})
	w := &world{T: t, op: first, store: &store.Memory{}}
	w.config = oidcgate.Config{
		BaseURL: shopURL, Store: w.store, Keys: mustKeys(t, worldKey), OnEvent: w.collect,
		HTTP: oidcgate.HTTPOptions{Transport: oidcgatetest.NewTransport(map[string]http.Handler{"id.test": first, "staff.test": second})},
		API:  oidcgate.APIOptions{Audience: []string{apiURL}},
	}
	w.open(
		oidcgate.Provider{Issuer: first.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)},
		oidcgate.Provider{Name: "staff", Issuer: second.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret),
			Verification: oidcgate.Verification{SigningAlgs: []string{"ES256"}}},
	)
	w.browser = w.newBrowser()
	a := &api{w}
	a.serve()
	for _, row := range []struct{ name, token, subject string }{
		{"C161 a token of the first", first.NewAccessToken(nil).Compact(), "alice"},
		{"C161 a token of the second", second.NewAccessToken(map[string]any{"sub": "bob"}).Compact(), "bob"},
		{"C161 a token of the first that says that it is of the second", first.NewAccessToken(map[string]any{"iss": second.Issuer()}).Compact(), ""},
		{"C161 a token of nobody", first.NewAccessToken(map[string]any{"iss": "https://evil.test"}).Compact(), ""},
		{"C163 an opaque token of the first", first.NewOpaqueToken(nil), ""},
		{"C163 an opaque token of the second", second.NewOpaqueToken(nil), ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			at := &api{&world{T: t}}
			if got := a.call("/api", row.token); row.subject != "" {
				at.admitted(got, row.subject)
			} else {
				at.refused(got, 401, "invalid_token", row.token[:20])
			}
		})
	}
	t.Run("C161 a provider that is taken away, and one that comes", func(t *testing.T) {
		at := &api{&world{T: t}}
		only := oidcgate.Provider{Name: "staff", Issuer: second.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret),
			Verification: oidcgate.Verification{SigningAlgs: []string{"ES256"}}}
		back := oidcgate.Provider{Issuer: first.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)}
		if err := a.gate.SetProviders(only); err != nil {
			t.Fatal(err)
		}
		at.refused(a.call("/api", first.NewAccessToken(nil).Compact()), 401, "invalid_token")
		at.admitted(a.call("/api", second.NewAccessToken(nil).Compact()), "alice")
		if err := a.gate.SetProviders(only, back); err != nil {
			t.Fatal(err)
		}
		at.admitted(a.call("/api", first.NewAccessToken(nil).Compact()), "alice")
		at.refused(a.call("/api", first.NewOpaqueToken(nil)), 401, "invalid_token")
	})
	if told := a.eventsOf(oidcgate.EventTokenRefused); told[len(told)-1].Reason != "token_opaque" {
		t.Errorf("%+v", told)
	}
	if first.Count(oidcgatetest.Introspection)+second.Count(oidcgatetest.Introspection) != 0 {
		t.Error("an opaque token was shown to a provider that may not be its own")
	}
}

// owner is a client with a key.
type owner struct{ key *ecdsa.PrivateKey }

func newOwner(t *testing.T) owner {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return owner{key}
}

func (o owner) cnf() map[string]any {
	sum, _ := (&jose.JSONWebKey{Key: o.key.Public()}).Thumbprint(crypto.SHA256)
	return map[string]any{"cnf": map[string]any{"jkt": base64.RawURLEncoding.EncodeToString(sum)}}
}

func (o owner) proof(t *testing.T, token string, changes map[string]any) string {
	t.Helper()
	sum := sha256.Sum256([]byte(token))
	claims := map[string]any{
		"htm": "GET", "htu": apiURL, "jti": rand.Text(), "iat": time.Now().Unix(), "ath": base64.RawURLEncoding.EncodeToString(sum[:]),
	}
	for name, value := range changes {
		claims[name] = value
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: o.key}, (&jose.SignerOptions{EmbedJWK: true}).WithType("dpop+jwt"))
	if err != nil {
		t.Fatal(err)
	}
	text, _ := json.Marshal(claims)
	jws, err := signer.Sign(text)
	if err != nil {
		t.Fatal(err)
	}
	compact, _ := jws.CompactSerialize()
	return compact
}

func TestIntrospectedTokenThatEndsEarlier(t *testing.T) {
	inBubble(t, "C163 an answer counts until the end that it says, where that is before the token's own", func(t *testing.T) {
		a := newAPIAt(t, oidcgatetest.Config{AccessTokenLifetime: time.Hour}, func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.API.Introspect, c.API.IntrospectMaxAge = true, 5*time.Minute
		})
		end := time.Now().Add(10 * time.Second)
		a.op.Always(oidcgatetest.Introspection, oidcgatetest.EditJSON(func(m map[string]any) { m["exp"] = end.Unix() }))
		token := a.op.NewAccessToken(nil).Compact()
		if got := a.call("/api", token).StatusCode; got != http.StatusOK {
			t.Errorf("status %d before the end", got)
		}
		time.Sleep(2 * time.Minute)
		if got := a.call("/api", token).StatusCode; got != http.StatusUnauthorized {
			t.Errorf("status %d after the end", got)
		}
	})
}

func TestTokensBoundToAKey(t *testing.T) {
	mine, other := newOwner(t), newOwner(t)
	for _, row := range []struct {
		name    string
		bound   map[string]any
		scheme  string
		proofs  func(t *testing.T, token string) []string
		status  int
		code    string
		reasons string
	}{
		{"C165 with its proof", mine.cnf(), "DPoP", func(t *testing.T, at string) []string { return []string{mine.proof(t, at, nil)} }, 200, "", ""},
		{"C165 as a bearer token", mine.cnf(), "Bearer", nil, 401, "invalid_token", "token_binding"},
		{"C165 as a bearer token with its proof", mine.cnf(), "Bearer", func(t *testing.T, at string) []string { return []string{mine.proof(t, at, nil)} }, 401, "invalid_token", "token_binding"},
		{"C165 without a proof", mine.cnf(), "DPoP", nil, 401, "invalid_dpop_proof", "dpop_proof"},
		{"C165 with two proofs", mine.cnf(), "DPoP", func(t *testing.T, at string) []string {
			return []string{mine.proof(t, at, nil), mine.proof(t, at, nil)}
		}, 401, "invalid_dpop_proof", "dpop_proof"},
		{"C165 with a proof by another key", mine.cnf(), "DPoP", func(t *testing.T, at string) []string { return []string{other.proof(t, at, nil)} }, 401, "invalid_token", "token_binding"},
		{"C165 with a proof for another address", mine.cnf(), "DPoP", func(t *testing.T, at string) []string {
			return []string{mine.proof(t, at, map[string]any{"htu": apiURL + "/admin"})}
		}, 401, "invalid_dpop_proof", "dpop_proof"},
		{"C165 with a proof for another token", mine.cnf(), "DPoP", func(t *testing.T, _ string) []string { return []string{mine.proof(t, "other", nil)} }, 401, "invalid_dpop_proof", "dpop_proof"},
		{"C165 not bound, with the scheme DPoP", nil, "DPoP", func(t *testing.T, at string) []string { return []string{mine.proof(t, at, nil)} }, 401, "invalid_token", "token_binding"},
		{"C165 bound to something else", map[string]any{"cnf": map[string]any{"kid": "k"}}, "Bearer", nil, 401, "invalid_token", "token_binding"},
	} {
		for _, form := range []string{"JWT", "opaque"} {
			t.Run(row.name+", "+form, func(t *testing.T) {
				a := newAPI(t)
				token := a.op.NewAccessToken(row.bound).Compact()
				if form == "opaque" {
					token = a.op.NewOpaqueToken(row.bound)
				}
				r, _ := http.NewRequest("GET", apiURL, nil)
				r.Header.Set("Authorization", row.scheme+" "+token)
				if row.proofs != nil {
					r.Header["Dpop"] = row.proofs(t, token)
				}
				got := a.do(r)
				if row.status == 200 {
					a.admitted(got, "alice")
					a.refused(a.do(r.Clone(t.Context())), 401, "invalid_dpop_proof", token[:20]) // the proof a second time
					if told := a.eventsOf(oidcgate.EventTokenRefused); len(told) != 1 || told[0].Reason != "replayed" {
						t.Errorf("%+v", told)
					}
					return
				}
				a.refused(got, row.status, row.code, token[:20])
				told := a.eventsOf(oidcgate.EventTokenRefused)
				if len(told) != 1 || string(told[0].Reason) != row.reasons {
					t.Fatalf("%+v, want %s", told, row.reasons)
				}
				if strings.Contains(row.name, "not bound") && !strings.Contains(told[0].Detail, "not bound") {
					t.Errorf("the detail is %q", told[0].Detail)
				}
				bearer, dpop := challenges(got)
				if failed := map[string]string{"Bearer": bearer, "DPoP": dpop}[row.scheme]; !strings.Contains(failed, row.code) || !strings.Contains(dpop, `algs="ES256 `) {
					t.Errorf("the challenges are %q and %q", bearer, dpop)
				}
			})
		}
	}
	t.Run("C165 a proof is good once over all replicas, also of many at a time", func(t *testing.T) {
		a := newAPI(t)
		token := a.op.NewAccessToken(mine.cnf()).Compact()
		proof := mine.proof(t, token, nil)
		second, err := oidcgate.New(a.config, oidcgate.Provider{Issuer: a.op.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)})
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var statuses []int
		var all sync.WaitGroup
		for _, gate := range []*oidcgate.Gate{a.gate, second, a.gate, second, a.gate, second} {
			all.Go(func() {
				r := httptest.NewRequest("GET", "/api", nil)
				r.Header.Set("Authorization", "DPoP "+token)
				r.Header.Set("DPoP", proof)
				w := httptest.NewRecorder()
				gate.Wrap(gate.RequireToken()(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))).ServeHTTP(w, r)
				mu.Lock()
				defer mu.Unlock()
				statuses = append(statuses, w.Code)
			})
		}
		all.Wait()
		slices.Sort(statuses)
		if !slices.Equal(statuses, []int{200, 401, 401, 401, 401, 401}) {
			t.Errorf("%v", statuses)
		}
	})
	inBubble(t, "C165 a proof is good once, also at a replica whose clock is behind that of the first", func(t *testing.T) {
		a := newAPI(t)
		claims := mine.cnf()
		claims["exp"] = time.Now().Add(time.Hour).Unix()
		token := a.op.NewAccessToken(claims).Compact()
		// The proof is as old as the clock of the replica that is asked says.
		ask := func(age time.Duration, want int) {
			t.Helper()
			proof := mine.proof(t, token, map[string]any{"jti": "once", "iat": time.Now().Add(-age).Unix()})
			got := a.send(a.browser, "GET", "/api", "", "Authorization: DPoP "+token, "DPoP: "+proof)
			if got.StatusCode != want {
				t.Errorf("status %d, want %d", got.StatusCode, want)
			}
		}
		ask(30*time.Second, http.StatusOK)
		ask(-30*time.Second, http.StatusUnauthorized)
		time.Sleep(95 * time.Second)
		ask(65*time.Second, http.StatusUnauthorized)
	})
	t.Run("C165 several guards of a route use a proof once", func(t *testing.T) {
		a := newAPI(t)
		claims := mine.cnf()
		claims["scope"] = "orders:read"
		token := a.op.NewAccessToken(claims).Compact()
		a.admitted(a.send(a.browser, "GET", "/api/twice", "", "Authorization: DPoP "+token,
			"DPoP: "+mine.proof(t, token, map[string]any{"htu": apiURL + "/twice"})), "alice")
	})
	t.Run("C165 below a path that a router strips the address is the browser's", func(t *testing.T) {
		a := newAPI(t)
		mux := http.NewServeMux()
		mux.Handle("/v1/", http.StripPrefix("/v1", a.gate.RequireToken()(http.HandlerFunc(a.who))))
		a.handler = a.gate.Wrap(mux)
		token := a.op.NewAccessToken(mine.cnf()).Compact()
		a.admitted(a.send(a.browser, "GET", "/v1/x", "", "Authorization: DPoP "+token,
			"DPoP: "+mine.proof(t, token, map[string]any{"htu": shopURL + "/v1/x"})), "alice")
	})
	t.Run("C165 C169 a proof is for the address that came to Wrap, also where NewContext is in between", func(t *testing.T) {
		a := newAPI(t)
		guarded := http.StripPrefix("/v1", a.gate.RequireToken()(http.HandlerFunc(a.who)))
		a.handler = a.gate.Wrap(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			guarded.ServeHTTP(rw, oidcgatetest.WithIdentity(r, a.gate, oidcgatetest.User{Subject: "carol"}))
		}))
		token := a.op.NewAccessToken(mine.cnf()).Compact()
		a.admitted(a.send(a.browser, "GET", "/v1/x", "", "Authorization: DPoP "+token,
			"DPoP: "+mine.proof(t, token, map[string]any{"htu": shopURL + "/v1/x"})), "alice")
	})
	t.Run("C165 when the store cannot remember the proof the answer is 503", func(t *testing.T) {
		broken := &failing{}
		a := newAPI(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { broken.Store = c.Store; c.Store = broken })
		token := a.op.NewAccessToken(mine.cnf()).Compact()
		broken.down.Store(true)
		a.refused(a.send(a.browser, "GET", "/api", "", "Authorization: DPoP "+token, "DPoP: "+mine.proof(t, token, nil)), 503, "")
	})
}

func (a *api) do(r *http.Request) answer {
	a.Helper()
	resp, err := a.browser.Do(r)
	if err != nil {
		a.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return answer{resp, string(body)}
}

// clientCertificate returns a certificate that a client may show.
func clientCertificate(t *testing.T) tls.Certificate {
	t.Helper()
	key := newOwner(t).key
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "app"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestTokensBoundToACertificate(t *testing.T) {
	mine, other := clientCertificate(t), clientCertificate(t)
	sum := sha256.Sum256(mine.Certificate[0])
	bound := map[string]any{"cnf": map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])}}
	a := newAPI(t)
	token := a.op.NewAccessToken(bound).Compact()
	server := httptest.NewUnstartedServer(a.handler)
	server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	server.StartTLS()
	defer server.Close()
	for _, row := range []struct {
		name  string
		token string
		shown []tls.Certificate
		good  bool
	}{
		{"C165 with its certificate", token, []tls.Certificate{mine}, true},
		{"C165 with another certificate", token, []tls.Certificate{other}, false},
		{"C165 without a certificate", token, nil, false},
		{"C165 a token that is not bound, with a certificate", a.op.NewAccessToken(nil).Compact(), []tls.Certificate{mine}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			transport := server.Client().Transport.(*http.Transport).Clone()
			transport.TLSClientConfig.Certificates = row.shown
			defer transport.CloseIdleConnections()
			at := &api{&world{T: t, browser: &http.Client{Transport: transport}}}
			r, _ := http.NewRequest("GET", server.URL+"/api", nil)
			r.Header.Set("Authorization", "Bearer "+row.token)
			r.Header.Set("X-Client-Cert", base64.StdEncoding.EncodeToString(mine.Certificate[0]))
			if got := at.do(r); row.good {
				at.admitted(got, "alice")
			} else {
				at.refused(got, 401, "invalid_token", token[:20])
			}
		})
	}
	t.Run("C165 over a connection without TLS", func(t *testing.T) {
		at := &api{&world{T: t, browser: a.browser}}
		at.refused(at.call("/api", token), 401, "invalid_token", token[:20])
	})
}

func TestFloodOfBadTokens(t *testing.T) {
	inBubble(t, "C167 refusals are told of once a second, with their number", func(t *testing.T) {
		a := newAPI(t)
		expired := a.op.NewAccessToken(map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}).Compact()
		for range 300 {
			a.call("/api", expired)
		}
		a.call("/api", a.op.NewAccessToken(map[string]any{"aud": "x"}).Compact())
		told := a.eventsOf(oidcgate.EventTokenRefused)
		if len(told) != 2 || told[0].Reason != "exp" || told[1].Reason != "aud" {
			t.Fatalf("%+v", told)
		}
		time.Sleep(2 * time.Second)
		a.call("/api", expired)
		told = a.eventsOf(oidcgate.EventTokenRefused)
		if len(told) != 3 || strings.Contains(told[0].Detail, "others") || !strings.Contains(told[2].Detail, "and 299 others") {
			t.Errorf("%+v", told)
		}
	})
	inBubble(t, "C167 a request without a token is told to nobody", func(t *testing.T) {
		a := newAPI(t)
		a.get("/api")
		if told := a.eventsOf(oidcgate.EventTokenRefused); len(told) != 0 {
			t.Errorf("%+v", told)
		}
	})
}

func TestMetadataOfTheAPI(t *testing.T) {
	withMetadata := func(c *oidcgate.Config, _ *oidcgate.Provider) { c.API.Metadata = true }
	const at = "/.well-known/oauth-protected-resource/api"
	t.Run("C170 it is not there unless it is asked for", func(t *testing.T) {
		a := newAPI(t)
		if got := a.get(at); got.StatusCode != http.StatusNotFound {
			t.Errorf("status %d", got.StatusCode)
		}
		if bearer, _ := challenges(a.get("/api")); bearer != `Bearer realm="https://shop.test"` {
			t.Errorf("the challenge is %q", bearer)
		}
	})
	t.Run("C170 it names the API and its issuers, and challenges name it", func(t *testing.T) {
		a := newAPI(t, withMetadata)
		bearer, dpop := challenges(a.get("/api"))
		for _, c := range []string{bearer, dpop} {
			if !strings.Contains(c, `resource_metadata="`+shopURL+at+`"`) {
				t.Errorf("the challenge is %q", c)
			}
		}
		got := a.get(at)
		var doc struct {
			Resource string
			Servers  []string `json:"authorization_servers"`
			Methods  []string `json:"bearer_methods_supported"`
		}
		if err := json.Unmarshal([]byte(got.body), &doc); err != nil || got.StatusCode != 200 || doc.Resource != apiURL ||
			!slices.Equal(doc.Servers, []string{"https://id.test"}) || !slices.Equal(doc.Methods, []string{"header"}) {
			t.Errorf("%v, status %d: %s", err, got.StatusCode, got.body)
		}
		if origin := got.Header.Get("Access-Control-Allow-Origin"); origin != "*" {
			t.Errorf("pages of origin %q may read it, want all", origin)
		}
		if h := got.Header; h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Content-Type") != "application/json" {
			t.Errorf("the headers are %v", h)
		}
		if got := a.send(a.browser, "POST", at, "x=y"); got.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("POST: status %d", got.StatusCode)
		}
		if got := a.send(a.browser, "HEAD", at, ""); got.StatusCode != http.StatusOK || got.body != "" {
			t.Errorf("HEAD: status %d, %q", got.StatusCode, got.body)
		}
	})
	t.Run("C170 it leaves out a provider whose tokens this API never takes", func(t *testing.T) {
		plain := oidcgate.OAuth2(oidcgate.OAuth2Options{
			Issuer: "https://plain.test", ClientID: "shop", Auth: oidcgate.PublicClient(),
			Authorization: "https://plain.test/a", Token: "https://plain.test/t", Userinfo: "https://plain.test/u",
		})
		plain.Name = "plain"
		a := newAPI(t, withMetadata)
		a.open(oidcgate.Provider{Issuer: "https://id.test", ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)}, plain)
		a.serve()
		if got := a.get(at); strings.Contains(got.body, "plain.test") || !strings.Contains(got.body, "https://id.test") {
			t.Errorf("%d: %s", got.StatusCode, got.body)
		}
	})
	for _, row := range []struct{ audience, base, field string }{
		{"orders", shopURL, "API.Audience"},
		{"https://shop.test.evil.example/api", shopURL, "API.Audience"},
		{"https://api.test", shopURL, "API.Audience"},
		{shopURL + "/api?x", shopURL, "API.Audience"},
		{shopURL + "/a/../b", shopURL, "API.Audience"},
		{shopURL, shopURL, ""},
		{shopURL + "/", shopURL, ""},
		{shopURL + "/shop/api", shopURL + "/shop", ""},
	} {
		t.Run("C170 an API called "+row.audience+" at "+row.base, func(t *testing.T) {
			_, err := oidcgate.New(oidcgate.Config{
				BaseURL: row.base, Store: &store.Memory{}, Keys: mustKeys(t, worldKey),
				API: oidcgate.APIOptions{Audience: []string{row.audience}, Metadata: true},
			}, oidcgate.Provider{Issuer: "https://id.test", ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)})
			var fault *oidcgate.ConfigError
			if found := errors.As(err, &fault); found != (row.field != "") || found && fault.Field != row.field {
				t.Errorf("%v, want a fault of %q", err, row.field)
			}
		})
	}
}

func TestAPIConfiguration(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*oidcgate.Config, *oidcgate.Provider)
		field  string
	}{
		{"C161 an empty audience", func(c *oidcgate.Config, _ *oidcgate.Provider) { c.API.Audience = []string{""} }, "API.Audience"},
		{"C161 introspection without an audience", func(c *oidcgate.Config, _ *oidcgate.Provider) { c.API.Introspect = true }, "API.Audience"},
		{"C163 answers that count for long", func(c *oidcgate.Config, _ *oidcgate.Provider) { c.API.IntrospectMaxAge = time.Hour }, "API.IntrospectMaxAge"},
		{"C170 metadata without an audience", func(c *oidcgate.Config, _ *oidcgate.Provider) { c.API.Metadata = true }, "API.Audience"},
		{"C163 introspection by a public client", func(c *oidcgate.Config, p *oidcgate.Provider) {
			c.API.Audience, c.API.Introspect, p.Auth = []string{apiURL}, true, oidcgate.PublicClient()
		}, "Provider.Auth"},
		{"C163 introspection at no endpoint", func(c *oidcgate.Config, p *oidcgate.Provider) {
			c.API.Audience, c.API.Introspect = []string{apiURL}, true
			p.Endpoints = oidcgate.Endpoints{Authorization: "https://id.test/a", Token: "https://id.test/t", JWKS: "https://id.test/k"}
		}, "Provider.Endpoints.Introspection"},
		{"C163 an endpoint over http", func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Endpoints.Introspection = "http://id.test/i" }, "Provider.Endpoints.Introspection"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := oidcgate.Config{BaseURL: shopURL, Store: &store.Memory{}, Keys: mustKeys(t, worldKey)}
			p := oidcgate.Provider{Issuer: "https://id.test", ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)}
			row.change(&c, &p)
			_, err := oidcgate.New(c, p)
			var fault *oidcgate.ConfigError
			if !errors.As(err, &fault) || fault.Field != row.field {
				t.Errorf("%v, want a fault of %s", err, row.field)
			}
		})
	}
	t.Run("C161 guards for tokens panic without an audience", func(t *testing.T) {
		w := newWorld(t)
		for name, build := range map[string]func(){
			"RequireToken":  func() { w.gate.RequireToken() },
			"RequireEither": func() { w.gate.RequireEither() },
			"AdmitToken":    func() { w.gate.AdmitToken(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)) },
			"AdmitEither":   func() { w.gate.AdmitEither(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)) },
			"a bad scope":   func() { oidcgate.Scope("a b") },
			"no scope":      func() { oidcgate.Scope() },
		} {
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("%s does not panic", name)
					}
				}()
				build()
			}()
		}
	})
	t.Run("C111 a request that did not pass through Wrap is 500", func(t *testing.T) {
		a := newAPI(t)
		r := httptest.NewRequest("GET", "/api", nil)
		r.Header.Set("Authorization", "Bearer "+a.op.NewAccessToken(nil).Compact())
		rec := httptest.NewRecorder()
		if a.gate.AdmitToken(rec, r) || rec.Code != http.StatusInternalServerError {
			t.Errorf("status %d", rec.Code)
		}
	})
	t.Run("an identity for tests of one handler counts as that of a token", func(t *testing.T) {
		a := newAPI(t)
		user := oidcgatetest.User{Subject: "carol", Claims: map[string]any{"scope": "orders:read orders:write"}}
		rec := httptest.NewRecorder()
		handler := a.gate.RequireToken(oidcgate.Scope("orders:read"))(http.HandlerFunc(a.who))
		handler.ServeHTTP(rec, oidcgatetest.WithIdentity(httptest.NewRequest("GET", "/api/orders", nil), a.gate, user))
		if rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), `"sub":"carol"`) {
			t.Errorf("status %d: %s", rec.Code, rec.Body)
		}
	})
}

// benchmark calls a guarded route with one token.
func benchmarkToken(b *testing.B, token func(*oidcgatetest.Provider) string) {
	op := oidcgatetest.NewProvider(b, oidcgatetest.Config{AccessTokenAudience: apiURL, Introspection: true})
	op.AddClient(oidcgatetest.Client{ID: "shop", Secret: secret})
	gate, err := oidcgate.New(oidcgate.Config{
		BaseURL: "http://localhost", HTTP: oidcgate.HTTPOptions{Transport: op.Transport()}, API: oidcgate.APIOptions{Audience: []string{apiURL}},
	}, oidcgate.Provider{Issuer: op.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)})
	if err != nil {
		b.Fatal(err)
	}
	h := gate.Wrap(gate.RequireToken()(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })))
	r := httptest.NewRequest("GET", "/api", nil)
	r.Header.Set("Authorization", "Bearer "+token(op))
	b.ReportAllocs()
	for b.Loop() {
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != http.StatusNoContent {
			b.Fatal(w.Code, w.Body)
		}
	}
}

func TestTokenThatTheAnswerBinds(t *testing.T) {
	t.Run("C165 without the key it is no Bearer token", func(t *testing.T) {
		a := newAPI(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.API.Introspect = true })
		a.op.Always(oidcgatetest.Introspection, oidcgatetest.EditJSON(func(m map[string]any) {
			m["cnf"] = map[string]any{"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}
		}))
		if got := a.call("/api", a.op.NewAccessToken(nil).Compact()); got.StatusCode != http.StatusUnauthorized {
			t.Errorf("%d %s", got.StatusCode, got.body)
		}
	})
}

func BenchmarkRequireTokenJWT(b *testing.B) {
	benchmarkToken(b, func(op *oidcgatetest.Provider) string { return op.NewAccessToken(nil).Compact() })
}

func BenchmarkRequireTokenIntrospected(b *testing.B) {
	benchmarkToken(b, func(op *oidcgatetest.Provider) string {
		return op.NewOpaqueToken(map[string]any{"exp": time.Now().Add(time.Hour).Unix()})
	})
}

func TestTokensOfAProviderWithAProfile(t *testing.T) {
	t.Run("C130 C165 a token that is bound to nothing is refused, and a bound one with its proof is not", func(t *testing.T) {
		key := newClientKey(t)
		a := newAPIAt(t, oidcgatetest.Config{Algorithm: "ES256", PushedRequests: true}, func(_ *oidcgate.Config, p *oidcgate.Provider) {
			p.Profile, p.Auth, p.TokenRequest.Binding = oidcgate.FAPI2Security, oidcgate.PrivateKeyJWT(), oidcgate.DPoP()
			p.ClientKeys = oidcgate.NewClientKeys([]oidcgate.ClientKey{{Key: key}})
		})
		a.refused(a.call("/api", a.op.NewAccessToken(nil).Compact()), 401, "invalid_token")
		if told := a.eventsOf(oidcgate.EventTokenRefused); len(told) != 1 || told[0].Reason != "token_binding" {
			t.Errorf("%+v", told)
		}
		mine := newOwner(t)
		token := a.op.NewAccessToken(mine.cnf()).Compact()
		r, _ := http.NewRequest("GET", apiURL, nil)
		r.Header.Set("Authorization", "DPoP "+token)
		r.Header.Set("DPoP", mine.proof(t, token, nil))
		a.admitted(a.do(r), "alice")
	})
}

func TestWatchOfAnAccessToken(t *testing.T) {
	for name, tt := range map[string]struct {
		claims map[string]any
		opaque bool
		ends   bool
	}{
		"a stream ends with its access token":               {map[string]any{}, false, true},
		"one of a token that does not say goes on with ctx": {map[string]any{"exp": nil}, true, false},
	} {
		inBubble(t, "C107 "+name, func(t *testing.T) {
			a := newAPI(t)
			if !tt.opaque {
				tt.claims["exp"] = time.Now().Add(time.Minute).Unix()
			}
			token := a.op.NewAccessToken(tt.claims).Compact()
			if tt.opaque {
				token = a.op.NewOpaqueToken(tt.claims)
			}
			var ctx context.Context
			stop := func() {}
			h := a.gate.Wrap(a.gate.RequireToken()(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { ctx, stop = a.gate.Watch(r.Context()) })))
			defer func() { stop() }()
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, apiURL+"/stream", nil)
			r.Header.Set("Authorization", "Bearer "+token)
			h.ServeHTTP(httptest.NewRecorder(), r)
			if ctx == nil {
				t.Fatal("refused")
			}
			time.Sleep(50 * time.Second)
			if ctx.Err() != nil {
				t.Errorf("over after 50 seconds: %v", context.Cause(ctx))
			}
			time.Sleep(time.Hour)
			if ended := errors.Is(context.Cause(ctx), oidcgate.ErrTokenExpired); ended != tt.ends {
				t.Errorf("the cause is %v", context.Cause(ctx))
			}
		})
	}
}
