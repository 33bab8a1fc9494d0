package op_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/oidcgate/oidcgate/internal/op"
)

const (
	issuer   = "https://id.example/realms/shop"
	clientID = "shop"
	nonce    = "n-0S6_WzA2Mj"
	subject  = "248289761001"
)

var (
	rsaKey   = sync.OnceValue(func() *rsa.PrivateKey { return newRSA(2048) })
	otherRSA = sync.OnceValue(func() *rsa.PrivateKey { return newRSA(2048) })
	smallRSA = sync.OnceValue(func() *rsa.PrivateKey { return newRSA(1024) })
	ecKey    = sync.OnceValue(func() *ecdsa.PrivateKey { return newEC(elliptic.P256()) })
	ec384Key = sync.OnceValue(func() *ecdsa.PrivateKey { return newEC(elliptic.P384()) })
	edKey    = sync.OnceValue(func() ed25519.PrivateKey {
		_, k, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			panic(err)
		}
		return k
	})
)

func newRSA(bits int) *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err)
	}
	return k
}

func newEC(curve elliptic.Curve) *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		panic(err)
	}
	return k
}

// testOP is a provider in the same process. It is an http.RoundTripper, so that a
// test in a synctest bubble can use it, and an http.Handler for a real server.
type testOP struct {
	mu       sync.Mutex
	handlers map[string]http.HandlerFunc // by path
	calls    map[string]int
	notices  []op.Notice
}

func newOP() *testOP {
	o := &testOP{handlers: map[string]http.HandlerFunc{}, calls: map[string]int{}}
	o.set("discovery", answerJSON(metadata(nil)))
	o.set("jwks", answerJSON(keySet(jwk(rsaKey().Public(), "k1"))))
	return o
}

// paths are the names that tests give to endpoints.
var paths = map[string]string{
	"discovery": "/realms/shop/.well-known/openid-configuration",
	"jwks":      "/jwks",
	"token":     "/token",
	"userinfo":  "/userinfo",
	"revoke":    "/revoke",
	"par":       "/par",

	"introspect": "/introspect",
}

func (o *testOP) set(endpoint string, h http.HandlerFunc) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.handlers[paths[endpoint]] = h
}

func (o *testOP) count(endpoint string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.calls[paths[endpoint]]
}

func (o *testOP) total() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for _, calls := range o.calls {
		n += calls
	}
	return n
}

// events returns what was notified, as "event" or "event reason".
func (o *testOP) events() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	events := []string{}
	for _, n := range o.notices {
		events = append(events, strings.TrimSpace(string(n.Event)+" "+string(n.Reason)))
	}
	return events
}

func (o *testOP) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	o.calls[r.URL.Path]++
	h := o.handlers[r.URL.Path]
	o.mu.Unlock()
	if h == nil {
		http.NotFound(w, r)
		return
	}
	h(w, r)
}

func (o *testOP) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer r.Body.Close()
	}
	w := httptest.NewRecorder()
	err := serve(o, w, r)
	if r.Context().Err() != nil {
		return nil, r.Context().Err()
	}
	if err != nil {
		return nil, err
	}
	return w.Result(), nil
}

var errDown = errors.New("connection reset while sending code=hush-code")

// serve makes of a handler's http.ErrAbortHandler what the wire would.
func serve(h http.Handler, w http.ResponseWriter, r *http.Request) (err error) {
	defer func() {
		if v := recover(); v != nil {
			if v != http.ErrAbortHandler {
				panic(v)
			}
			err = errDown
		}
	}()
	h.ServeHTTP(w, r)
	return nil
}

func (o *testOP) config(changes ...func(*op.Config)) op.Config {
	cfg := op.Config{
		Issuer:           issuer,
		ClientID:         clientID,
		RedirectURL:      "https://app.example/auth/callback",
		Auth:             basic("hush-hush"),
		Scopes:           []string{"openid", "email"},
		ResponseType:     op.TypeCode,
		SigningAlgs:      []string{"RS256"},
		Leeway:           time.Minute,
		DiscoveryRefresh: time.Hour,
		JWKSRefresh:      time.Hour,
		Timeout:          10 * time.Second,
		Transport:        o,
		Notify: func(n op.Notice) {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.notices = append(o.notices, n)
		},
	}
	for _, change := range changes {
		change(&cfg)
	}
	return cfg
}

func (o *testOP) client(changes ...func(*op.Config)) *op.Client {
	return op.New(o.config(changes...))
}

func basic(secret string) op.Auth {
	return op.Auth{
		Method: op.AuthBasic,
		Secret: func(context.Context) (string, error) { return secret, nil },
	}
}

// metadata is a good discovery document with some members changed; a nil one is
// left out.
func metadata(changes map[string]any) map[string]any {
	m := map[string]any{
		"issuer":                                issuer,
		"authorization_endpoint":                "https://id.example/authorize",
		"token_endpoint":                        "https://id.example/token",
		"jwks_uri":                              "https://id.example/jwks",
		"userinfo_endpoint":                     "https://id.example/userinfo",
		"end_session_endpoint":                  "https://id.example/logout",
		"id_token_signing_alg_values_supported": []string{"RS256", "none"},
	}
	return changed(m, changes)
}

func changed(m, changes map[string]any) map[string]any {
	m = maps.Clone(m)
	for name, value := range changes {
		if value == nil {
			delete(m, name)
		} else {
			m[name] = value
		}
	}
	return m
}

func answerJSON(v any) http.HandlerFunc {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return answerText(200, "application/json", string(body))
}

func answerText(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// hang never answers.
func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// abort breaks the connection.
func abort(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func jwk(public crypto.PublicKey, kid string) map[string]any {
	text, err := jose.JSONWebKey{Key: public, KeyID: kid, Use: "sig"}.MarshalJSON()
	if err != nil {
		panic(err)
	}
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil {
		panic(err)
	}
	return m
}

func keySet(keys ...any) map[string]any { return map[string]any{"keys": keys} }

// identity is the payload of a good ID Token with some claims changed; a nil
// one is left out.
func identity(changes map[string]any) map[string]any {
	now := time.Now().Unix()
	return changed(map[string]any{
		"iss":   issuer,
		"sub":   subject,
		"aud":   clientID,
		"exp":   now + 300,
		"iat":   now,
		"nonce": nonce,
		"email": "jane@example.org",
	}, changes)
}

func encode(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}

const goodHeader = `{"alg":"RS256","kid":"k1"}`

// signed makes a token of any header and payload, well-formed or not, with a
// good RS256 signature by the provider's key.
func signed(header, payload string) string { return signedBy(rsaKey(), header, payload) }

func signedBy(key *rsa.PrivateKey, header, payload string) string {
	input := b64(header) + "." + b64(payload)
	sum := sha256.Sum256([]byte(input))
	sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		panic(err)
	}
	return input + "." + b64(string(sig))
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// goodToken is an ID Token that everybody accepts.
func goodToken() string { return signed(goodHeader, encode(identity(nil))) }

// joseToken signs with any key and alg.
func joseToken(t testing.TB, alg jose.SignatureAlgorithm, key any, kid string, payload any) string {
	t.Helper()
	options := (&jose.SignerOptions{}).WithType("JWT")
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, options)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign([]byte(encode(payload)))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// wantReason checks that err is an *Error with this reason, or nil if reason is
// empty, and that it prints nothing that is secret.
func wantReason(t *testing.T, err error, reason string) *op.Error {
	t.Helper()
	if reason == "" {
		if err != nil {
			t.Fatalf("got error %v, want none", err)
		}
		return nil
	}
	e, ok := errors.AsType[*op.Error](err)
	if !ok {
		t.Fatalf("got error %v, want reason %s", err, reason)
	}
	if string(e.Reason) != reason {
		t.Fatalf("got reason %s (%v), want %s", e.Reason, err, reason)
	}
	checkSilent(t, err)
	return e
}

// checkSilent follows the causes of err: none may print a secret, a body or a
// URL with a query.
func checkSilent(t *testing.T, err error) {
	t.Helper()
	for ; err != nil; err = errors.Unwrap(err) {
		printed := fmt.Sprintf("%v %+v %#v", err, err, err)
		for _, secret := range []string{"hush", "?", nonce, "eyJ"} {
			if strings.Contains(printed, secret) {
				t.Errorf("the error prints %q: %s", secret, printed)
			}
		}
	}
}

func inBubble(t *testing.T, name string, test func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
}
