package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	issuer   = "https://id.test"
	clientID = "shop"
	keyID    = "the key"
)

// A provider answers the gate's requests in this process. It stores nothing, so that a million
// logins need no memory: the code and the refresh token contain all its data.
type provider struct {
	tokenLife time.Duration
	fault     atomic.Pointer[fault] // nil: it answers correctly

	signer jose.Signer
	keys   []byte
}

// A fault answers instead of the provider.
type fault func(*http.Request) (*http.Response, error)

// A grant says who logged in. Codes and refresh tokens contain it.
type grant struct {
	Subject   string `json:"sub"`
	SessionID string `json:"sid"`
	Nonce     string `json:"nonce,omitempty"`
}

func newProvider(tokenLife time.Duration) (*provider, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	private := jose.JSONWebKey{Key: key, KeyID: keyID, Algorithm: "ES256", Use: "sig"}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: private}, nil)
	if err != nil {
		return nil, err
	}
	keys, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{private.Public()}})
	return &provider{tokenLife: tokenLife, signer: signer, keys: keys}, err
}

// RoundTrip implements [http.RoundTripper].
func (p *provider) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer func() { _ = r.Body.Close() }()
	}
	if f := p.fault.Load(); f != nil {
		return (*f)(r)
	}
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		return answer(r, http.StatusOK, metadata), nil
	case "/keys":
		return answer(r, http.StatusOK, p.keys), nil
	case "/token":
		return p.token(r)
	case "/revoke":
		return answer(r, http.StatusOK, nil), nil
	}
	return answer(r, http.StatusNotFound, nil), nil
}

var metadata = fmt.Appendf(nil, `{"issuer":%[1]q,"authorization_endpoint":"%[2]s/authorize","token_endpoint":"%[2]s/token",
"jwks_uri":"%[2]s/keys","revocation_endpoint":"%[2]s/revoke","response_types_supported":["code"],"subject_types_supported":["public"],
"id_token_signing_alg_values_supported":["ES256"],"code_challenge_methods_supported":["S256"],
"token_endpoint_auth_methods_supported":["none"]}`, issuer, issuer)

func answer(r *http.Request, status int, body []byte) *http.Response {
	return &http.Response{
		Status: http.StatusText(status), StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        http.Header{"Content-Type": {"application/json"}},
		Body:          io.NopCloser(bytes.NewReader(body)),
		ContentLength: int64(len(body)),
		Request:       r,
	}
}

// token exchanges a code or a refresh token for new tokens.
func (p *provider) token(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return answer(r, http.StatusBadRequest, []byte(`{"error":"invalid_request"}`)), nil
	}
	var g grant
	if err := json.Unmarshal([]byte(form.Get("code")+form.Get("refresh_token")), &g); err != nil {
		return answer(r, http.StatusBadRequest, []byte(`{"error":"invalid_grant"}`)), nil
	}
	text, err := p.tokens(g)
	return answer(r, http.StatusOK, text), err
}

// tokens returns tokens of a realistic size: about fifteen claims, and an access token of 600
// bytes.
func (p *provider) tokens(g grant) ([]byte, error) {
	now := time.Now()
	claims := map[string]any{
		"iss": issuer, "aud": clientID, "sub": g.Subject, "sid": g.SessionID, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"auth_time": now.Unix(), "acr": "1", "amr": []string{"pwd", "otp"}, "name": "User " + g.Subject, "preferred_username": g.Subject,
		"email": g.Subject + "@example.com", "email_verified": true, "groups": []string{"staff", "shop", "support"}, "locale": "en-GB",
	}
	if g.Nonce != "" {
		claims["nonce"] = g.Nonce
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return nil, err
	}
	signed, err := p.signer.Sign(payload)
	if err != nil {
		return nil, err
	}
	idToken, err := signed.CompactSerialize()
	if err != nil {
		return nil, err
	}
	refresh, err := json.Marshal(grant{Subject: g.Subject, SessionID: g.SessionID})
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{
		"access_token": strings.Repeat("a", 574) + rand.Text(), "token_type": "Bearer", "expires_in": int(p.tokenLife.Seconds()),
		"id_token": idToken, "refresh_token": string(refresh),
	})
}
