package blackbox_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/blackbox/internal/rp"
	"github.com/oidcgate/oidcgate/blackbox/internal/visitor"
	"github.com/oidcgate/oidcgate/blackbox/internal/walk"
)

// plainProvider is a server of OAuth 2.0 (RFC 6749) without discovery and keys. It has a login page
// and a session of its own. Its fields are set before it starts.
type plainProvider struct {
	authorize, token, userinfo, logout string            // paths
	auth                               string            // of the client: "basic" or "post"
	users                              map[string]string // userinfo by login name; the passwords are the names
	answer                             map[string]any    // more members of token answers
	pkce                               bool              // it knows PKCE, with S256
	iss                                string            // in its responses, if it is not empty
	front                              func(http.Handler) http.Handler

	mu      sync.Mutex
	url     string
	codes   map[string]string // the user, by code, redirect_uri and perhaps challenge
	access  map[string]string // the user, by access token
	refresh map[string]string // the user, by refresh token; each is good once
	seen    []*http.Request
}

// start starts the provider on a loopback address until the test ends.
func (p *plainProvider) start(t *testing.T) {
	t.Helper()
	p.codes, p.access, p.refresh = map[string]string{}, map[string]string{}, map[string]string{}
	s := httptest.NewServer(inFront(p.front, p))
	t.Cleanup(s.Close)
	p.url = s.URL
}

// requests returns the requests so far to a path, or all if it is "".
func (p *plainProvider) requests(path string) []*http.Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(p.seen), func(r *http.Request) bool { return path != "" && r.URL.Path != path })
}

func (p *plainProvider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = append(p.seen, r)
	switch r.URL.Path {
	case p.authorize:
		p.serveAuthorize(w, r)
	case p.token:
		p.serveToken(w, r)
	case p.userinfo:
		kind, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		user, known := p.access[token]
		if kind != "Bearer" || !known {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json;charset=UTF-8")
		_, _ = fmt.Fprint(w, p.users[user])
	case p.logout:
		http.SetCookie(w, &http.Cookie{Name: "sso", Path: "/", MaxAge: -1})
		_, _ = fmt.Fprint(w, "bye")
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// serveAuthorize shows a login page to a browser without a session.
func (p *plainProvider) serveAuthorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if q.Get("response_type") != "code" || q.Get("client_id") != "shop" || q.Get("redirect_uri") == "" || q.Get("state") == "" {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	user := ""
	if c, err := r.Cookie("sso"); err == nil {
		user = c.Value
	}
	if r.Method == http.MethodPost && r.PostForm.Get("password") == r.PostForm.Get("username") {
		user = r.PostForm.Get("username")
	}
	if p.users[user] == "" {
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprint(w, `<form method="post"><input name="username"><input name="password"></form>`)
		return
	}
	http.SetCookie(w, &http.Cookie{Name: "sso", Path: "/", Value: user})
	code := rand.Text()
	key := code + q.Get("redirect_uri")
	if p.pkce {
		key += q.Get("code_challenge")
	}
	p.codes[key] = user
	response := url.Values{"code": {code}, "state": {q.Get("state")}}
	if p.iss != "" {
		response.Set("iss", p.iss)
	}
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+response.Encode(), http.StatusFound)
}

func (p *plainProvider) serveToken(w http.ResponseWriter, r *http.Request) {
	id, secret, basic := r.BasicAuth()
	if !basic {
		id, secret = r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	}
	if basic {
		secret, _ = url.QueryUnescape(secret)
	}
	w.Header().Set("Content-Type", "application/json")
	if id != "shop" || secret != clientSecret || basic != (p.auth == "basic") {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = fmt.Fprint(w, `{"error":"invalid_client"}`)
		return
	}
	from, key := p.codes, r.PostForm.Get("code")+r.PostForm.Get("redirect_uri")
	if p.pkce {
		hash := sha256.Sum256([]byte(r.PostForm.Get("code_verifier")))
		key += base64.RawURLEncoding.EncodeToString(hash[:])
	}
	if r.PostForm.Get("grant_type") == "refresh_token" {
		from, key = p.refresh, r.PostForm.Get("refresh_token")
	}
	user, ok := from[key]
	delete(from, key)
	if !ok {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprint(w, `{"error":"invalid_grant"}`)
		return
	}
	access, refresh := rand.Text(), rand.Text()
	p.access[access], p.refresh[refresh] = user, user
	answer := map[string]any{"access_token": access, "refresh_token": refresh}
	for name, value := range p.answer {
		answer[name] = value
	}
	_ = json.NewEncoder(w).Encode(answer)
}

// options returns those of a service whose users log in at the provider.
func (p *plainProvider) options(t *testing.T, subjectClaim string, more ...string) rp.Options {
	t.Helper()
	options, _ := newShop(t)
	options = options.With("OIDC_ISSUER", p.url, "OIDC_USERINFO", "", "OIDC_CLIENT_AUTH", p.auth, "OIDC_SUBJECT_CLAIM", subjectClaim,
		"OIDC_AUTHORIZATION_ENDPOINT", p.url+p.authorize, "OIDC_TOKEN_ENDPOINT", p.url+p.token, "OIDC_USERINFO_ENDPOINT", p.url+p.userinfo)
	if p.logout != "" {
		options = options.With("OIDC_END_SESSION_ENDPOINT", p.url+p.logout)
	}
	return options.With(more...)
}

// checkLife logs a user in, has the tokens refreshed, and logs out. The provider's tokens last two
// seconds.
func (p *plainProvider) checkLife(t *testing.T, shop *rp.Replica, user string, want walk.Identity) {
	t.Helper()
	v := visitor.New()
	page := shop.URL + "/app?color=blue"
	if got := v.LogIn(t, v.Get(t, page), user, user); got.URL.String() != page || got.Status != http.StatusOK {
		t.Fatalf("logging in ends at %s with %d:\n%s\n%s", got.URL, got.Status, got.Body, shop.Stderr())
	}
	want.Issuer = p.url
	if got := walk.Whoami(t, v, shop.URL); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("/whoami answers %+v, want %+v", got, want)
	}
	first := v.Get(t, shop.URL+"/token").Body
	for deadline := time.Now().Add(time.Minute); v.Get(t, shop.URL+"/token").Body == first; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the token is not refreshed\n%s", shop.Stdout())
		}
	}
	if got := walk.Whoami(t, v, shop.URL); got.Subject != want.Subject {
		t.Errorf("after a refresh /whoami answers %+v", got)
	}
	thief := visitor.New()
	thief.SetCookies(shop.URL, v.Cookies(shop.URL))
	p.logOut(t, shop, v)
	walk.Status(t, v, shop.URL+"/whoami", http.StatusUnauthorized)
	walk.Status(t, thief, shop.URL+"/whoami", http.StatusUnauthorized)
	for _, r := range p.requests("") {
		if !slices.Contains([]string{p.authorize, p.token, p.userinfo, p.logout}, r.URL.Path) {
			t.Errorf("the provider was asked for %s", r.URL.Path)
		}
	}
	walk.Status(t, v, shop.URL+"/auth/backchannel-logout", http.StatusNotFound)
}

// logOut logs out here, and at the provider if that has a logout.
func (p *plainProvider) logOut(t *testing.T, shop *rp.Replica, v *visitor.Visitor) {
	t.Helper()
	end := walk.LogOut(t, v, shop.URL)
	if p.logout == "" {
		if end.URL.String() != shop.URL+"/public" {
			t.Errorf("logging out ends at %s", end.URL)
		}
		return
	}
	if !strings.HasPrefix(end.URL.String(), p.url+p.logout+"?") || end.Body != "bye" {
		t.Errorf("logging out ends at %s:\n%s", end.URL, end.Body)
	}
	again := v.Get(t, shop.URL+"/app")
	if several := again.Link("matomo"); several != "" {
		again = v.Get(t, several)
	}
	if again.FormWith("password") == nil {
		t.Errorf("after the logout the provider logs in at once: %s", again.URL)
	}
}

// Matomo's plugin LoginOIDC knows three addresses, an optional one to log out, and the name of the
// member of userinfo that is the user's id. Many small providers describe themselves so: the
// secret goes into the body, there is no nonce, no PKCE and no ID Token. Here the id is nested.
func TestMatomoSetUp(t *testing.T) {
	p := &plainProvider{
		authorize: "/oauth/authorize", token: "/oauth/token", userinfo: "/api/me", logout: "/logout", auth: "post",
		users: map[string]string{
			"alice": `{"status":"ok","userinfo":{"id":90071992547409931,"login":"alice"},"name":"Alice Adams","email":"alice@example.com","email_verified":true,"groups":["admin"],"sub":"a member that means nothing here"}`,
			"bob":   `{"status":"ok","userinfo":{"id":90071992547409932,"login":"alice"},"name":"Bob Brown","email":"bob@example.com"}`,
			"eve":   `{"status":"ok","userinfo":{"id":null,"login":"alice"},"name":"Eve Evans"}`,
		},
		answer: map[string]any{"token_type": "bearer", "expires_in": "2", "id_token": "e30.e30."}, // never verified, and so never read
	}
	p.start(t)
	shop := rp.Start(t, p.options(t, "/userinfo/id", "OIDC_SCOPES", "profile"))
	for user, want := range map[string]walk.Identity{
		"alice": {Subject: "90071992547409931", Name: "Alice Adams", Email: "alice@example.com", EmailVerified: true, Groups: []string{"admin"}},
		"bob":   {Subject: "90071992547409932", Name: "Bob Brown", Email: "bob@example.com"},
	} {
		t.Run("C020 C066 "+user, func(t *testing.T) { p.checkLife(t, shop, user, want) })
	}
	t.Run("C066 a user without an id", func(t *testing.T) {
		v := visitor.New()
		if end := v.LogIn(t, v.Get(t, shop.URL+"/app"), "eve", "eve"); end.Status != http.StatusBadGateway {
			t.Errorf("logging in ends at %s with %d:\n%s", end.URL, end.Status, end.Body)
		}
		walk.Status(t, v, shop.URL+"/whoami", http.StatusUnauthorized)
	})
	t.Run("C025 a page that wants a fresh login", func(t *testing.T) {
		v := visitor.New()
		v.LogIn(t, v.Get(t, shop.URL+"/app"), "alice", "alice")
		if end := v.Get(t, shop.URL+"/fresh"); end.Status != http.StatusForbidden || !strings.HasPrefix(end.URL.String(), shop.URL) {
			t.Errorf("it ends at %s with %d:\n%s", end.URL, end.Status, end.Body)
		}
		walk.Status(t, v, shop.URL+"/app", http.StatusOK)
	})
	t.Run("a signed-in account attaches the identity, and logs in with either", func(t *testing.T) { p.checkLinking(t) })
	if q := p.requests(p.authorize)[0].URL.Query(); q.Get("scope") != "profile" || q.Get("code_challenge_method") != "S256" || q.Has("nonce") {
		t.Errorf("the first request is %v", q)
	}
}

// Unikname Connect with its explicit addresses alone: no discovery, no keys. It runs on Apereo CAS,
// which sends an ID Token with the scope openid; without keys nothing can verify it.
func TestUniknameExplicitEndpoints(t *testing.T) {
	p := &plainProvider{
		authorize: "/oidc/authorize", token: "/oidc/accessToken", userinfo: "/oidc/profile", auth: "basic", pkce: true,
		users: map[string]string{
			"alice": `{"sub":"5f8d-alice","service":"shop","auth_time":1606000000,"id":"5f8d-alice","client_id":"shop","name":"Alice Adams"}`,
		},
		answer: map[string]any{
			"token_type": "Bearer", "expires_in": 2, "scope": "openid email",
			"id_token": "eyJhbGciOiJub25lIn0.eyJzdWIiOiJzb21lYm9keSBlbHNlIn0.",
		},
	}
	p.start(t)
	shop := rp.Start(t, p.options(t, "sub", "OIDC_SCOPES", "openid email"))
	t.Run("C020 C026 log in, refresh, log out", func(t *testing.T) {
		p.checkLife(t, shop, "alice", walk.Identity{Subject: "5f8d-alice", Name: "Alice Adams"})
	})
	t.Run("C021 a callback with no, an empty or an unknown state", func(t *testing.T) {
		for _, state := range []string{"", "&state=", "&state=unknown"} {
			v := visitor.New()
			if end := v.Get(t, shop.URL+"/auth/callback?code=x"+state); end.Status != http.StatusBadRequest {
				t.Errorf("%q ends at %s with %d", state, end.URL, end.Status)
			}
		}
	})
}
