package interleave_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/internal/interleave"
	"github.com/oidcgate/oidcgate/oidcgatetest"
	"github.com/oidcgate/oidcgate/store"
)

const (
	shopURL = "https://shop.test"
	issuer  = "https://id.test"
	cookie  = "__Host-oidcgate"
	subject = "alice"
	sid     = "the provider's session"

	tokenLife = time.Minute
	lockLease = 150 * time.Millisecond // less than interleave.Pause, and more than two of interleave.Tick: one renewal may fail
)

// signer signs for the provider. One key serves all executions.
var signer = sync.OnceValues(func() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) })

// shop is a service with several replicas, its provider, and a visitor.
type shop struct {
	*testing.T
	run    *interleave.Run
	config func(*oidcgate.Config)
	bend   bend
	keys   oidcgate.Keys
	key    *ecdsa.PrivateKey
	probe  http.Handler // a replica on which nothing else happens

	session *http.Cookie // of a visitor who is signed in from the start
	idToken string       // what the provider answers to the next code

	// What follows is the provider's.
	mu        sync.Mutex
	refreshes int             // how often it has rotated the refresh token
	asking    map[string]bool // replicas whose refresh is under way there
	reused    bool            // a spent refresh token was presented
	unheard   bool            // an answer of its was lost
}

// bend changes what one replica does to the store. It is how a fault of the code is made.
type bend func(replica string, s store.Store) store.Store

func newShop(t *testing.T, r *interleave.Run, config func(*oidcgate.Config), b bend) *shop {
	t.Helper()
	w := &shop{T: t, run: r, config: config, bend: b, asking: map[string]bool{}}
	var err error
	if w.keys, err = oidcgate.ParseKeys("cKDdY1k9L3Gd0W0gKHCSFGJQnQxaBYVtLUgZAv2m3vY="); err != nil {
		t.Fatal(err)
	}
	if w.key, err = signer(); err != nil {
		t.Fatal(err)
	}
	w.probe = w.replica("probe")
	return w
}

// replica returns the service with a store and a provider of which the explorer decides.
func (w *shop) replica(name string) http.Handler {
	records := w.run.Store(name)
	if w.bend != nil {
		records = w.bend(name, records)
	}
	config := oidcgate.Config{
		BaseURL: shopURL, Store: records, Keys: w.keys, LockLease: lockLease, Values: true,
		Logger: slog.New(slog.DiscardHandler), Transport: upstream{w, name},
	}
	if w.config != nil {
		w.config(&config)
	}
	gate, err := oidcgate.New(config, oidcgate.Provider{
		Issuer: issuer, ClientID: "shop", Auth: oidcgate.ClientSecretBasic("secret"), SigningAlgs: []string{"ES256"},
		AuthorizationEndpoint: issuer + "/authorize", TokenEndpoint: issuer + "/token", JWKSURI: issuer + "/keys",
		UserinfoEndpoint: issuer + "/userinfo", EndSessionEndpoint: issuer + "/logout",
	})
	if err != nil {
		w.Fatal(err)
	}
	return gate.Wrap(pages(gate))
}

// pages is the application.
func pages(gate *oidcgate.Gate) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /whoami", gate.Require()(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(rw, "signed in")
	})))
	mux.HandleFunc("GET /token", func(rw http.ResponseWriter, r *http.Request) {
		t, err := gate.Token(r.Context())
		if errors.Is(err, oidcgate.ErrNoSession) {
			http.Error(rw, err.Error(), http.StatusUnauthorized)
			return
		}
		if err != nil {
			http.Error(rw, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(rw, t.AccessToken)
	})
	mux.Handle("GET /put", gate.Require()(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		gate.Values().Put(r.Context(), r.FormValue("key"), "value")
	})))
	mux.HandleFunc("GET /values", func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(rw, strings.Join(gate.Values().Keys(r.Context()), " "))
	})
	mux.HandleFunc("POST /end-user", func(rw http.ResponseWriter, r *http.Request) {
		if _, err := gate.Sessions().EndUser(r.Context(), issuer, subject); err != nil {
			rw.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("POST /end-others", func(rw http.ResponseWriter, r *http.Request) {
		if _, err := gate.Sessions().EndOthers(r.Context()); err != nil {
			rw.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	return mux
}

// send makes a request at a replica, with the cookies that are not nil.
func send(h http.Handler, method, target, form string, cookies ...*http.Cookie) *http.Response {
	r := httptest.NewRequest(method, shopURL+target, strings.NewReader(form))
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if form != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, c := range cookies {
		if c != nil {
			r.AddCookie(c)
		}
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	return rec.Result()
}

func text(resp *http.Response) string {
	b, _ := io.ReadAll(resp.Body)
	return string(b)
}

// find returns the cookie that an answer sets to a value, or nil.
func find(resp *http.Response, prefix string) *http.Cookie {
	for _, c := range resp.Cookies() {
		if strings.HasPrefix(c.Name, prefix) && c.MaxAge >= 0 && c.Value != "" {
			return c
		}
	}
	return nil
}

// attempt is a login that only lacks its way back.
type attempt struct {
	cookie *http.Cookie
	path   string
}

// attempt begins a login, and has the provider answer its code.
func (w *shop) attempt() attempt {
	w.Helper()
	resp := send(w.probe, http.MethodGet, "/auth/login", "")
	to, err := url.Parse(resp.Header.Get("Location"))
	c := find(resp, cookie)
	if err != nil || c == nil {
		w.Fatalf("login: status %d to %v, %v", resp.StatusCode, to, err)
	}
	now := time.Now().Unix()
	w.idToken = w.sign(map[string]any{
		"iss": issuer, "aud": "shop", "sub": subject, "sid": sid, "nonce": to.Query().Get("nonce"), "iat": now, "exp": now + 300,
	})
	return attempt{c, "/auth/callback?" + url.Values{"code": {"code"}, "state": {to.Query().Get("state")}}.Encode()}
}

func (w *shop) sign(claims map[string]any) string {
	jwt := oidcgatetest.JWT{Header: map[string]any{"alg": "ES256", "kid": "1"}, Claims: claims, Key: w.key}
	return jwt.Compact()
}

// logoutToken is the form of a back-channel logout, with sid or sub.
func (w *shop) logoutToken(name, value string) string {
	now := time.Now().Unix()
	return url.Values{"logout_token": {w.sign(map[string]any{
		"iss": issuer, "aud": "shop", "iat": now, "exp": now + 120, "jti": "1", name: value,
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	})}}.Encode()
}

// signIn gives the shop a visitor who is signed in, and whose session is as old as age when the actors start.
func (w *shop) signIn(age time.Duration) {
	w.Helper()
	a := w.attempt()
	w.session = find(send(w.probe, http.MethodGet, a.path, "", a.cookie), cookie)
	if w.session == nil {
		w.Fatal("the login of the setup failed")
	}
	time.Sleep(age)
}

// does adds a replica that serves one request. Its outcome is the status, and the body where that is short.
func (w *shop) does(name, method, target, form string, cookies ...*http.Cookie) {
	h := w.replica(name)
	w.run.Go(name, func() string {
		resp := send(h, method, target, form, cookies...)
		outcome := fmt.Sprint(resp.StatusCode)
		if body := text(resp); len(body) < 10 {
			outcome += " " + body
		}
		return strings.TrimSpace(outcome)
	})
}

// logsIn adds a replica that serves the callback of an attempt. When it has signed the visitor in, that is
// the shop's session.
func (w *shop) logsIn(name string, a attempt) {
	h := w.replica(name)
	w.run.Go(name, func() string {
		resp := send(h, http.MethodGet, a.path, "", a.cookie)
		if c := find(resp, cookie); c != nil {
			w.session = c
		}
		return fmt.Sprint(resp.StatusCode)
	})
}

// upstream is the way from a replica to the provider.
type upstream struct {
	shop *shop
	name string
}

// RoundTrip implements [http.RoundTripper].
func (u upstream) RoundTrip(r *http.Request) (*http.Response, error) {
	switch r.URL.Path {
	case "/keys":
		return answer(http.StatusOK, u.shop.publicKeys()), nil
	case "/token":
		if err := r.ParseForm(); err != nil {
			return nil, err
		}
		if r.PostForm.Get("grant_type") == "refresh_token" {
			return u.shop.refresh(u.name, r.PostForm.Get("refresh_token"))
		}
		return answer(http.StatusOK, u.shop.issue(u.shop.idToken)), nil
	case "/userinfo":
		return answer(http.StatusOK, map[string]any{"sub": subject}), nil
	}
	return answer(http.StatusNotFound, nil), nil
}

func answer(status int, body any) *http.Response {
	b, _ := json.Marshal(body) // maps of strings and numbers: cannot fail
	return &http.Response{
		StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}, "Cache-Control": {"no-store"}},
		Body: io.NopCloser(strings.NewReader(string(b))), ContentLength: int64(len(b)),
	}
}

func (w *shop) publicKeys() any {
	point, err := w.key.PublicKey.Bytes() // 4, x, y
	if err != nil {
		w.Error(err)
		return nil
	}
	x, y := base64.RawURLEncoding.EncodeToString(point[1:33]), base64.RawURLEncoding.EncodeToString(point[33:])
	return map[string]any{"keys": []any{map[string]any{"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "1", "x": x, "y": y}}}
}

// issue is a token response with the tokens that are good now.
func (w *shop) issue(idToken string) map[string]any {
	tokens := map[string]any{
		"access_token": fmt.Sprint("access-", w.refreshes), "refresh_token": fmt.Sprint("refresh-", w.refreshes),
		"token_type": "Bearer", "expires_in": int(tokenLife.Seconds()),
	}
	if idToken != "" {
		tokens["id_token"] = idToken
	}
	return tokens
}

// refresh rotates the refresh token, and detects when a spent one is presented. It is two steps: what the
// provider does, and the arrival of its answer.
func (w *shop) refresh(name, presented string) (*http.Response, error) {
	var resp *http.Response
	err := w.run.Step(name, "asks for a refresh", func() { resp = w.rotate(name, presented) })
	if err == nil {
		err = w.run.Step(name, "gets the answer to it", func() {})
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.asking, name)
	if err != nil {
		w.unheard = true
		return nil, err
	}
	return resp, nil
}

func (w *shop) rotate(name, presented string) *http.Response {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asking[name] = true
	if len(w.asking) > 1 && !w.run.Happened(interleave.Stall, interleave.Failover) {
		w.run.Fail("two refreshes of one session are under way at the same time")
	}
	if presented != fmt.Sprint("refresh-", w.refreshes) {
		w.reused = true
		return answer(http.StatusBadRequest, map[string]any{"error": "invalid_grant"})
	}
	w.refreshes++
	return answer(http.StatusOK, w.issue(""))
}

// state names what the provider knows, for the explorer.
func (w *shop) state() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return fmt.Sprint(w.refreshes, w.asking, w.reused, w.unheard)
}
