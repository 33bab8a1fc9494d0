package oidcgate_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// plainServer is a provider that speaks OAuth 2.0 and issues no ID Tokens.
type plainServer struct {
	authorize, token, userinfo string            // its paths
	user                       string            // the answer of userinfo, JSON
	answer                     string            // of the token endpoint, without the tokens
	more                       map[string]string // further answers in JSON, by path

	challenge string
	requests  []*http.Request
	issued    int
}

func (p *plainServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	p.requests = append(p.requests, r)
	switch r.URL.Path {
	case p.authorize:
		p.challenge = r.Form.Get("code_challenge")
		q := url.Values{"code": {"a-code"}, "state": {r.Form.Get("state")}}
		w.Header().Set("Location", r.Form.Get("redirect_uri")+"?"+q.Encode())
		w.WriteHeader(http.StatusFound)
	case p.token:
		hash := sha256.Sum256([]byte(r.Form.Get("code_verifier")))
		isCode := r.Form.Get("grant_type") == "authorization_code"
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		if isCode && (r.Form.Get("code") != "a-code" || base64.RawURLEncoding.EncodeToString(hash[:]) != p.challenge) ||
			!isCode && r.Form.Get("refresh_token") != fmt.Sprint("refresh-", p.issued) {
			_, _ = fmt.Fprint(w, `{"error":"invalid_grant"}`) // with status 200, as some do
			return
		}
		p.issued++
		_, _ = fmt.Fprintf(w, `{"access_token":"access-%d","refresh_token":"refresh-%d",%s}`, p.issued, p.issued, p.answer)
	case p.userinfo:
		if r.Header.Get("Authorization") != fmt.Sprint("Bearer access-", p.issued) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprint(w, p.user)
	default:
		if text, ok := p.more[r.URL.Path]; ok {
			_, _ = fmt.Fprint(w, text)
			return
		}
		w.WriteHeader(http.StatusNotFound)
	}
}

// request returns the last request to a path.
func (p *plainServer) request(path string) *http.Request {
	for i := len(p.requests) - 1; i >= 0; i-- {
		if p.requests[i].URL.Path == path {
			return p.requests[i]
		}
	}
	return nil
}

// newPlain opens a shop whose users log in at an OAuth 2.0 server.
func newPlain(t *testing.T, p *plainServer, subject string, changes ...func(*oidcgate.Config, *oidcgate.Provider)) *world {
	t.Helper()
	const origin = "https://plain.test"
	transport := func(w *world) http.RoundTripper {
		return oidcgatetest.NewTransport(map[string]http.Handler{
			"plain.test": p, "shop.test": http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.handler.ServeHTTP(rw, r) }),
		})
	}
	w := newWorld(t)
	w.config.HTTP.Transport = transport(w)
	provider := oidcgate.OAuth2(oidcgate.OAuth2Options{
		Issuer: origin, ClientID: "shop", Auth: oidcgate.ClientSecretPost(secret), Scopes: []string{"read:user"},
		Authorization: origin + p.authorize, Token: origin + p.token, Userinfo: origin + p.userinfo, SubjectClaim: subject,
	})
	for _, change := range changes {
		change(&w.config, &provider)
	}
	w.open(provider)
	w.browser.Transport = transport(w)
	return w
}

func gitHubLike() *plainServer {
	return &plainServer{
		authorize: "/login/oauth/authorize", token: "/login/oauth/access_token", userinfo: "/user",
		user:   `{"login":"octocat","id":9007199254740993,"name":"The Octocat","email":"o@example.com","sub":"mallory","iss":"https://evil.example"}`,
		answer: `"token_type":"bearer","scope":"read:user"`,
	}
}

func TestOAuth2(t *testing.T) {
	for name, row := range map[string]struct {
		server           *plainServer
		subject          string
		wantSub, wantWho string
	}{
		"a server like GitHub's: a numeric id, bearer in small letters": {gitHubLike(), "id", "9007199254740993", "The Octocat"},
		"three addresses and a nested id, as Matomo is set up": {&plainServer{
			authorize: "/oauth/authorize", token: "/oauth/token", userinfo: "/oauth/userinfo",
			user: `{"status":"ok","data":{"user":{"id":"u-17"}},"name":"Jane"}`, answer: `"token_type":"Bearer","expires_in":"600"`,
		}, "/data/user/id", "u-17", "Jane"},
		"Unikname Connect's addresses, without discovery": {&plainServer{
			authorize: "/oidc/authorize", token: "/oidc/accessToken", userinfo: "/oidc/profile",
			user: `{"sub":"bob@unikname","service":"shop","auth_time":1,"attributes":{"name":"Bob"},"id":"bob@unikname"}`, answer: `"token_type":"Bearer","expires_in":28800`,
		}, "", "bob@unikname", "bob@unikname"},
	} {
		t.Run("C020 C026 "+name, func(t *testing.T) {
			w := newPlain(t, row.server, row.subject)
			a := w.get(w.get("/app").location())
			q := mustQuery(t, a.location())
			if q.Get("scope") != "read:user" || q.Has("nonce") || q.Get("code_challenge_method") != "S256" || q.Get("state") == "" {
				t.Errorf("the authorization request is %v", q)
			}
			if end := w.get(w.get(a.location()).location()); end.location() != shopURL+"/app" {
				t.Fatalf("the login ends with %d at %q\n%s\n%s", end.StatusCode, end.location(), end.body, w.logged())
			}
			var who struct{ Iss, Sub, Name string }
			if err := json.Unmarshal([]byte(w.get("/app").body), &who); err != nil || who.Iss != "https://plain.test" || who.Sub != row.wantSub || who.Name != row.wantWho {
				t.Errorf("signed in is %+v (%v)", who, err)
			}
			if r := row.server.request(row.server.token); r.Form.Get("client_secret") != secret || r.Form.Get("code_verifier") == "" {
				t.Errorf("the token request is %v", r.Form)
			}
		})
	}
	for name, user := range map[string]string{
		"no id": `{"name":"x"}`, "null": `{"id":null}`, "empty": `{"id":""}`, "a boolean": `{"id":true}`, "a fraction": `{"id":1.5}`,
		"an exponent": `{"id":1e3}`, "negative": `{"id":-1}`, "an object": `{"id":{}}`, "a list": `{"id":["x"]}`, "with a line break": `{"id":"a\nb"}`,
	} {
		t.Run("C066 an id that is none: "+name, func(t *testing.T) {
			p := gitHubLike()
			p.user = user
			w := newPlain(t, p, "id")
			w.denied(w.get(w.get(w.get("/auth/login").location()).location()), http.StatusBadGateway, "sub")
			if !strings.Contains(w.failedLogin().Hint, "SubjectClaim") {
				t.Errorf("hint %q", w.failedLogin().Hint)
			}
		})
	}
	for answer, reason := range map[string]oidcgate.Reason{
		`{"ok":false,"error":"internal_error"}`: "userinfo_error", `{"ok":false,"error":"token_revoked"}`: "userinfo_refused",
	} {
		t.Run("C066 an error with status 200 is no want of an id: "+answer, func(t *testing.T) {
			p := gitHubLike()
			p.user = answer
			w := newPlain(t, p, "id")
			w.denied(w.get(w.get(w.get("/auth/login").location()).location()), http.StatusBadGateway, reason)
			if strings.Contains(w.failedLogin().Hint, "SubjectClaim") {
				t.Errorf("hint %q", w.failedLogin().Hint)
			}
		})
	}
	t.Run("C066 an id of the wrong JSON: twice", func(t *testing.T) {
		p := gitHubLike()
		p.user = `{"id":"1","id":"2"}`
		w := newPlain(t, p, "id")
		w.denied(w.get(w.get(w.get("/auth/login").location()).location()), http.StatusBadGateway, "userinfo_error")
	})
	t.Run("C021 a response for another state", func(t *testing.T) {
		w := newPlain(t, gitHubLike(), "id")
		w.get(w.get("/auth/login").location())
		w.denied(w.get("/auth/callback?code=a-code&state=x"), http.StatusBadRequest, oidcgate.ReasonUnknownState)
	})
	t.Run("an ID Token that comes all the same is not read", func(t *testing.T) {
		p := gitHubLike()
		p.answer += `,"id_token":"eyJhbGciOiJub25lIn0.eyJzdWIiOiJtYWxsb3J5In0."`
		w := newPlain(t, p, "id")
		w.get(w.get(w.get("/auth/login").location()).location())
		if got := w.subject(); got != "9007199254740993" {
			t.Errorf("signed in: %q", got)
		}
	})
	t.Run("the identity says that no ID Token vouches for it", func(t *testing.T) {
		var plain, signed *oidcgate.Identity
		w := newPlain(t, gitHubLike(), "id")
		w.handler = w.gate.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { plain, _ = oidcgate.FromContext(r.Context()) }))
		w.get(w.get(w.get("/auth/login").location()).location())
		w.get("/")
		other := newWorld(t)
		other.login()
		other.handler = other.gate.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { signed, _ = oidcgate.FromContext(r.Context()) }))
		other.get("/")
		if plain == nil || signed == nil || plain.HasIDToken() || !signed.HasIDToken() {
			t.Errorf("HasIDToken: %v and %v", plain, signed)
		}
		if !plain.AuthTime().IsZero() || plain.ACR() != "" {
			t.Error("it has claims that nobody vouches for")
		}
	})
	for name, rule := range map[string]oidcgate.Rule{"auth_time": oidcgate.MaxAge(time.Minute), "acr": oidcgate.ACR("gold")} {
		t.Run("C025 a rule that nobody can meet ends in a page: "+name, func(t *testing.T) {
			w := newPlain(t, gitHubLike(), "id")
			w.handler = w.gate.Wrap(w.gate.Require(rule)(http.HandlerFunc(w.whoami)))
			w.get(w.get(w.get("/auth/login").location()).location())
			w.denied(w.get(w.get("/vault").location()), http.StatusForbidden, oidcgate.Reason(name))
		})
	}
	inBubble(t, "C113 userinfo of another user in a re-read ends the session", func(t *testing.T) {
		p := gitHubLike()
		w := newPlain(t, p, "id", func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Tokens.ClaimsMaxAge = time.Minute })
		w.get(w.get(w.get("/auth/login").location()).location())
		time.Sleep(2 * time.Minute)
		if got := w.subject(); got != "9007199254740993" {
			t.Fatalf("after a re-read of the same user: %q\n%s", got, w.logged())
		}
		p.user = `{"id":2}`
		time.Sleep(2 * time.Minute)
		if got := w.subject(); got != "" {
			t.Errorf("after a re-read of another user: %q", got)
		}
	})
	for name, row := range map[string]struct {
		user      string // the answer of userinfo after the first access token
		wantToken string
		wantUser  string
	}{
		"the same user":           {`{"id":9007199254740993}`, "access-2", "9007199254740993"},
		"another user":            {`{"id":2}`, "", ""},
		"nobody":                  {`{}`, "", ""},
		"no answer that is JSON":  {`<html>`, "access-1", "9007199254740993"},
		"the same user as a text": {`{"id":"9007199254740993"}`, "access-2", "9007199254740993"},
	} {
		inBubble(t, "C081 a refreshed access token of "+name, func(t *testing.T) {
			p := gitHubLike()
			p.answer += `,"expires_in":600`
			w := newPlain(t, p, "id")
			w.handler = w.gate.Wrap(w.tokenShop(w.gate))
			w.get(w.get(w.get("/auth/login").location()).location())
			p.user = row.user
			time.Sleep(9*time.Minute + 30*time.Second) // the token is due, and serves
			token := w.get("/token")
			if got := w.subject(); got != row.wantUser || row.wantUser != "" && token.body != row.wantToken {
				t.Errorf("signed in is %q with %q, want %q with %q\n%s", got, token.body, row.wantUser, row.wantToken, w.logged())
			}
			synctest.Wait()
			if failed := len(w.eventsOf(oidcgate.EventRefreshFailed)) > 0; failed != (row.wantToken != "access-2") {
				t.Errorf("the events are %v", w.eventsOf(oidcgate.EventRefreshFailed))
			}
		})
	}
	inBubble(t, "C081 C113 a refresh with a re-read asks userinfo whose the token is, then for claims", func(t *testing.T) {
		p := gitHubLike()
		p.answer += `,"expires_in":600`
		w := newPlain(t, p, "id", func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Tokens.ClaimsMaxAge = 9 * time.Minute })
		w.get(w.get(w.get("/auth/login").location()).location())
		before := len(p.requests)
		time.Sleep(9*time.Minute + 30*time.Second)
		if got := w.subject(); got != "9007199254740993" || len(p.requests) != before+3 {
			t.Errorf("signed in is %q after %d requests more, want 3", got, len(p.requests)-before)
		}
	})
	t.Run("C129 there is no back channel", func(t *testing.T) {
		w := newPlain(t, gitHubLike(), "id")
		if a := w.send(w.browser, http.MethodPost, "/auth/backchannel-logout", "logout_token=x"); a.body != "home" {
			t.Errorf("%d %s", a.StatusCode, a.body)
		}
	})
	t.Run("faults of the configuration", func(t *testing.T) {
		_, err := oidcgate.New(oidcgate.Config{BaseURL: "http://localhost:8080"}, func() oidcgate.Provider {
			p := oidcgate.OAuth2(oidcgate.OAuth2Options{Issuer: "https://plain.test", ClientID: "shop", Auth: oidcgate.PublicClient()})
			p.Userinfo = oidcgate.UserinfoOff
			p.Request.ResponseType = "code id_token"
			p.Profile = oidcgate.FAPI2Security
			p.Verification.SignedUserinfo = true
			return p
		}())
		for _, field := range []string{"Endpoints.Authorization", "Endpoints.Token", "Endpoints.Userinfo", "Provider.Userinfo", "Request.ResponseType", "Profile", "Verification"} {
			if err == nil || !strings.Contains(err.Error(), field) {
				t.Errorf("%s is not named in %v", field, err)
			}
		}
	})
}

func mustQuery(t *testing.T, address string) url.Values {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query()
}

func TestOAuth2WithoutPKCEIsLogged(t *testing.T) {
	for without, want := range map[bool]bool{true: true, false: false} {
		var log strings.Builder
		p := oidcgate.OAuth2(oidcgate.OAuth2Options{
			Issuer: "https://id.test", ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret),
			Authorization: "https://id.test/a", Token: "https://id.test/t", Userinfo: "https://id.test/u",
		})
		p.Request.WithoutPKCE = without
		if _, err := oidcgate.New(oidcgate.Config{BaseURL: "http://localhost", Logger: slog.New(slog.NewTextHandler(&log, nil))}, p); err != nil {
			t.Fatal(err)
		}
		if said := strings.Contains(log.String(), "level=WARN msg=\"oidcgate: Request.WithoutPKCE is true at a provider without ID Tokens"); said != want {
			t.Errorf("C019 without PKCE %v: the log is\n%s", without, log.String())
		}
	}
	var log strings.Builder
	p := oidcgate.Provider{Issuer: "https://id.test", ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)}
	p.Request.WithoutPKCE = true
	if _, err := oidcgate.New(oidcgate.Config{BaseURL: "http://localhost", Logger: slog.New(slog.NewTextHandler(&log, nil))}, p); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(log.String(), "WithoutPKCE") {
		t.Errorf("C019 a provider with ID Tokens, whose nonce does the same: the log is\n%s", log.String())
	}
}

// With claims that are read again, a new access token counts only when userinfo has said whose it is.
func TestRefreshWithRereadWithoutIDTokens(t *testing.T) {
	for name, row := range map[string]struct{ user, want string }{
		"no answer that is JSON": {`<html>`, "access-1"},
		"nothing":                {`[]`, "access-1"},
	} {
		inBubble(t, "C081 C113 userinfo does not say whose the token is: "+name, func(t *testing.T) {
			p := gitHubLike()
			p.answer += `,"expires_in":600`
			w := newPlain(t, p, "id", func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Tokens.ClaimsMaxAge = 8 * time.Minute })
			w.handler = w.gate.Wrap(w.tokenShop(w.gate))
			w.get(w.get(w.get("/auth/login").location()).location())
			p.user = row.user
			time.Sleep(9*time.Minute + 30*time.Second)
			a := w.get("/token").body
			b := w.get("/token").body
			if a != row.want || b != row.want {
				t.Errorf("tokens %q, %q: userinfo has not said whose they are; want %q", a, b, row.want)
			}
		})
	}
	// While userinfo is asked, which takes three seconds, another request gets the token of somebody else.
	inBubble(t, "C081 C113 while userinfo is asked, nobody gets the token of another user", func(t *testing.T) {
		p := gitHubLike()
		p.answer += `,"expires_in":600`
		w := newPlain(t, p, "id", func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.Tokens.ClaimsMaxAge = 8 * time.Minute
			inner := c.HTTP.Transport
			c.HTTP.Transport = slowUserinfo{inner, p.userinfo}
		})
		w.handler = w.gate.Wrap(w.tokenShop(w.gate))
		w.get(w.get(w.get("/auth/login").location()).location())
		p.user = `{"id":2}`
		time.Sleep(9*time.Minute + 30*time.Second)
		first := make(chan string)
		go func() { first <- w.get("/token").body }()
		time.Sleep(time.Second)
		second := w.get("/token").body
		if got := <-first; got == "access-2" || second == "access-2" {
			t.Errorf("the requests got %q and %q, and access-2 is of user 2", got, second)
		}
	})
}

type slowUserinfo struct {
	http.RoundTripper
	path string
}

func (s slowUserinfo) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path == s.path {
		time.Sleep(3 * time.Second)
	}
	return s.RoundTripper.RoundTrip(r)
}

// A provider like GitHub gives tokens without expires_in, which live on, and no refresh token.
func TestRereadOfTokensWithoutAnEnd(t *testing.T) {
	inBubble(t, "C113 userinfo is asked for as long as the session lives", func(t *testing.T) {
		p := gitHubLike()
		w := newPlain(t, p, "id", func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.Tokens.ClaimsMaxAge = 10 * time.Minute
			c.HTTP.Transport = noRefreshToken{c.HTTP.Transport}
		})
		w.get(w.get(w.get("/auth/login").location()).location())
		for i := range 12 {
			time.Sleep(12 * time.Minute)
			name := fmt.Sprintf("name %d", i)
			p.user = fmt.Sprintf(`{"id":9007199254740993,"name":%q}`, name)
			time.Sleep(time.Minute)
			if body := w.get("/whoami").body; !strings.Contains(body, `"`+name+`"`) {
				t.Fatalf("after %d minutes: %s, want %s", 13*(i+1), body, name)
			}
			time.Sleep(10 * time.Minute)
		}
		p.user = `{"id":2}`
		time.Sleep(12 * time.Minute)
		if got := w.subject(); got != "" {
			t.Errorf("userinfo speaks of another user: signed in as %q", got)
		}
	})
}

type noRefreshToken struct{ http.RoundTripper }

var refreshMember = regexp.MustCompile(`"refresh_token":"[^"]*",`)

func (n noRefreshToken) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := n.RoundTripper.RoundTrip(r)
	if err == nil {
		body, _ := io.ReadAll(resp.Body)
		resp.Body = io.NopCloser(bytes.NewReader(refreshMember.ReplaceAll(body, nil)))
		resp.ContentLength = -1
	}
	return resp, err
}

// withdrawn are answers of userinfo to a token that the user has withdrawn.
var withdrawn = map[string]struct {
	status    int
	challenge string
	body      string
	want      int // of a page for the group
}{
	"as RFC 6750 has it":          {401, `Bearer error="invalid_token"`, "", http.StatusSeeOther},
	"GitHub's":                    {401, "", `{"message":"Bad credentials","status":"401"}`, http.StatusForbidden},
	"Discord's":                   {401, "", `{"message":"401: Unauthorized","code":0}`, http.StatusForbidden},
	"GitHub's, of a lost account": {403, "", `{"message":"Sorry. Your account was suspended","status":"403"}`, http.StatusForbidden},
}

// refusing is a way to a provider whose userinfo refuses tokens.
type refusing struct {
	http.RoundTripper
	status    *int
	challenge string
	body      string
}

func (u refusing) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := u.RoundTripper.RoundTrip(r)
	if err == nil && r.URL.Path == gitHubLike().userinfo && *u.status != 0 {
		resp.StatusCode, resp.Header = *u.status, http.Header{"Content-Type": {"application/json"}}
		if u.challenge != "" {
			resp.Header.Set("WWW-Authenticate", u.challenge)
		}
		resp.Body, resp.ContentLength = io.NopCloser(strings.NewReader(u.body)), int64(len(u.body))
	}
	return resp, err
}

func TestWithdrawnTokenWithoutIDTokens(t *testing.T) {
	for name, row := range withdrawn {
		for _, after := range []time.Duration{time.Minute, 3 * time.Hour} {
			for _, keep := range []bool{false, true} {
				inBubble(t, fmt.Sprintf("C113 userinfo answers %s, %v after the login: nobody keeps a group by it, KeepRefused %v", name, after, keep), func(t *testing.T) {
					p := gitHubLike()
					p.user = `{"id":1,"name":"x","groups":["admin"]}`
					status := 0
					w := newPlain(t, p, "id", rereads, func(c *oidcgate.Config, _ *oidcgate.Provider) {
						c.Tokens.KeepRefused = keep
						c.HTTP.Transport = refusing{noRefreshToken{c.HTTP.Transport}, &status, row.challenge, row.body}
					})
					time.Sleep(time.Hour) // so long has the process heard of nobody else
					w.get(w.get(w.get("/auth/login").location()).location())
					for range int(after / time.Minute) {
						time.Sleep(time.Minute)
						w.get("/admin")
					}
					status = row.status
					time.Sleep(6 * time.Minute)
					w.get("/admin")
					time.Sleep(6 * time.Minute)
					want := row.want
					if keep {
						want = http.StatusOK
					}
					if a := w.get("/admin"); a.StatusCode != want {
						t.Errorf("status %d, want %d", a.StatusCode, want)
					}
				})
			}
		}
	}
}

func TestUserinfoWithoutIDTokensThatCannotBeRead(t *testing.T) {
	for _, expires := range []int{240, 3600} {
		inBubble(t, fmt.Sprintf("C113 access tokens of %d seconds: nobody keeps a group by what cannot be read", expires), func(t *testing.T) {
			p := gitHubLike()
			p.answer += fmt.Sprintf(`,"expires_in":%d`, expires)
			p.user = `{"id":1,"name":"x","groups":["admin"]}`
			w := newPlain(t, p, "id", rereads)
			w.handler = w.gate.Wrap(w.tokenShop(w.gate))
			w.get(w.get(w.get("/auth/login").location()).location())
			if a := w.get("/admin"); a.StatusCode != http.StatusOK {
				t.Fatal(a.StatusCode)
			}
			p.user = `<html>`
			for range 30 {
				time.Sleep(time.Minute)
				w.get("/admin")
			}
			if a := w.get("/admin"); a.StatusCode != http.StatusForbidden {
				t.Errorf("status %d", a.StatusCode)
			}
		})
	}
}

// TestUserinfoLimitsOneUserWhoseTokensAreShort has userinfo fail one user each time that her tokens are refreshed.
func TestUserinfoLimitsOneUserWhoseTokensAreShort(t *testing.T) {
	for name, answer := range map[string]oidcgatetest.Fault{"429": oidcgatetest.Answer(429, "", ""), "no answer": oidcgatetest.Reset()} {
		inBubble(t, "C081 C113 she keeps no group by that: "+name, func(t *testing.T) {
			op := oidcgatetest.NewProvider(t, oidcgatetest.Config{WithoutIDTokens: true, RotateRefreshTokens: true, AccessTokenLifetime: 10 * time.Minute})
			f := newFleetOf(t, op, 1, rereads, func(_ *oidcgate.Config, p *oidcgate.Provider) {
				*p = oidcgate.OAuth2(oidcgate.OAuth2Options{
					Issuer: op.Issuer(), ClientID: p.ClientID, Auth: p.Auth,
					Authorization: op.URL(oidcgatetest.Authorization), Token: op.URL(oidcgatetest.Token), Userinfo: op.URL(oidcgatetest.Userinfo),
				})
			})
			other := f.signInAs("bob")
			f.op.SetUser(inUserinfoGroups("admin"))
			f.browser = f.newBrowser()
			f.login()
			f.op.SetUser(inUserinfoGroups("staff"))
			var hers atomic.Bool
			f.op.Always(oidcgatetest.Userinfo, whileHers(&hers, answer))
			status := 0
			for range 30 {
				time.Sleep(2 * time.Minute)
				f.who(other)
				hers.Store(true)
				status = f.admin()
				time.Sleep(15 * time.Second)
				hers.Store(false)
			}
			if status == http.StatusOK || f.who(other) == "" {
				t.Errorf("an hour after the group was taken away: status %d; the other is signed in as %q", status, f.who(other))
			}
		})
	}
}
