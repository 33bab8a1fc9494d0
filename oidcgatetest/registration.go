package oidcgatetest

import (
	"crypto/rand"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// webfingerPath is where WebFinger asks, at the root of the host (RFC 7033, section 10.1).
const webfingerPath = "/.well-known/webfinger"

// registered is a client that registered itself.
type registered struct {
	token    string // that opens its configuration
	metadata map[string]any
}

// registration is what a client sends (RFC 7591, section 2), as far as the provider minds it.
type registration struct {
	RedirectURIs   []string           `json:"redirect_uris"`
	PostLogoutURIs []string           `json:"post_logout_redirect_uris"`
	AuthMethod     AuthMethod         `json:"token_endpoint_auth_method"`
	JWKS           jose.JSONWebKeySet `json:"jwks"`
	ClientID       string             `json:"client_id"`
}

// serveRegistration registers clients (RFC 7591), and lets them read, change and delete what is
// registered (RFC 7592).
func (p *Provider) serveRegistration(w http.ResponseWriter, r *http.Request) {
	noStore(w)
	if r.Method == http.MethodPost {
		if t := p.config.InitialAccessToken; t != "" && r.Header.Get("Authorization") != "Bearer "+t {
			writeJSON(w, http.StatusUnauthorized, map[string]string{"error": "invalid_token"})
			return
		}
		p.register(w, r, rand.Text())
		return
	}
	id := r.URL.Query().Get("client_id")
	p.mu.Lock()
	known, ok := p.registered[id]
	p.mu.Unlock()
	if !ok || r.Header.Get("Authorization") != "Bearer "+known.token {
		writeJSON(w, http.StatusUnauthorized, map[string]string{"error": "invalid_token"})
		return
	}
	switch r.Method {
	case http.MethodGet:
		p.describe(w, http.StatusOK, id)
	case http.MethodPut:
		p.register(w, r, id)
	case http.MethodDelete:
		p.mu.Lock()
		delete(p.clients, id)
		delete(p.registered, id)
		p.mu.Unlock()
		w.WriteHeader(http.StatusNoContent)
	}
}

// register makes or replaces a client.
func (p *Provider) register(w http.ResponseWriter, r *http.Request, id string) {
	var metadata map[string]any
	var want registration
	body := json.NewDecoder(r.Body)
	if body.Decode(&metadata) == nil {
		text, _ := json.Marshal(metadata) // it was JSON
		if json.Unmarshal(text, &want) != nil {
			metadata = nil
		}
	}
	status := http.StatusCreated
	if r.Method == http.MethodPut {
		status = http.StatusOK
	}
	switch {
	case metadata == nil || r.Method == http.MethodPut && want.ClientID != id:
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": "invalid_client_metadata"})
		return
	case len(want.RedirectURIs) == 0:
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": "invalid_redirect_uri"})
		return
	}
	if want.AuthMethod == "" {
		want.AuthMethod = ClientSecretBasic
		metadata["token_endpoint_auth_method"] = want.AuthMethod
	}
	c := Client{
		ID: id, RedirectURLs: want.RedirectURIs, PostLogoutRedirectURLs: want.PostLogoutURIs,
		AuthMethod: want.AuthMethod, Keys: want.JWKS,
	}
	if strings.HasPrefix(string(want.AuthMethod), "client_secret_") {
		c.Secret = rand.Text()
	}
	p.AddClient(c)
	p.mu.Lock()
	p.registered[id] = registered{token: rand.Text(), metadata: metadata}
	p.mu.Unlock()
	p.describe(w, status, id)
}

// describe answers with a client and its secrets (RFC 7591, section 3.2.1).
func (p *Provider) describe(w http.ResponseWriter, status int, id string) {
	address := strings.TrimSuffix(p.Issuer(), "/") + paths[Registration]
	p.mu.Lock()
	c, known := p.clients[id], p.registered[id]
	p.mu.Unlock()
	answer := maps.Clone(known.metadata)
	answer["client_id"], answer["client_id_issued_at"] = id, time.Now().Unix()
	answer["registration_access_token"] = known.token
	answer["registration_client_uri"] = address + "?client_id=" + url.QueryEscape(id)
	delete(answer, "client_secret")
	if c.Secret != "" {
		answer["client_secret"], answer["client_secret_expires_at"] = c.Secret, 0
	}
	writeJSON(w, status, answer)
}

// serveWebFinger names this provider as the issuer of everybody (OpenID Connect Discovery, 2).
func (p *Provider) serveWebFinger(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{
		"subject": r.URL.Query().Get("resource"),
		"links": []map[string]string{
			{"rel": "http://openid.net/specs/connect/1.0/issuer", "href": p.Issuer()},
		},
	})
}
