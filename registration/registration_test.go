package registration_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/oidcgate/oidcgate/oidcgatetest"
	"github.com/oidcgate/oidcgate/registration"
)

const (
	endpoint = "https://id.example/register"
	token    = "initial-token-canary"
	secret   = "secret-canary"
	manage   = "manage-canary"
)

// server is a provider that answers as the test says. Every request must be expected.
type server struct {
	*testing.T
	status int
	kind   string // Content-Type
	answer string
	header http.Header

	requests []string // "METHOD url"
	tokens   []string
	bodies   []string
}

func newServer(t *testing.T, answer string) *server {
	return &server{T: t, status: http.StatusCreated, kind: "application/json", answer: answer, header: http.Header{}}
}

func (s *server) client() *http.Client { return &http.Client{Transport: s} }

func (s *server) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
	}
	s.requests = append(s.requests, r.Method+" "+r.URL.String())
	s.tokens = append(s.tokens, r.Header.Get("Authorization"))
	s.bodies = append(s.bodies, string(body))
	if len(body) > 0 && r.Header.Get("Content-Type") != "application/json" {
		s.Errorf("Content-Type %q", r.Header.Get("Content-Type"))
	}
	w := httptest.NewRecorder()
	maps.Copy(w.Header(), s.header)
	w.Header().Set("Content-Type", s.kind)
	w.WriteHeader(s.status)
	_, _ = w.WriteString(s.answer)
	return w.Result(), nil
}

// registered is a usual answer.
const registered = `{"client_id":"c1","client_secret":"secret-canary","client_id_issued_at":1700000000,"client_secret_expires_at":1800000000,
	"registration_client_uri":"https://id.example/register/c1","registration_access_token":"manage-canary",
	"redirect_uris":["https://shop.example/auth/callback"],"token_endpoint_auth_method":"client_secret_post","client_name":"Shop","client_name#fr":"Boutique"}`

func (s *server) register() *registration.Client {
	s.Helper()
	c, err := registration.Register(s.Context(), s.client(), endpoint, registration.Metadata{RedirectURIs: []string{"https://shop.example/auth/callback"}}, token)
	if err != nil {
		s.Fatal(err)
	}
	return c
}

func TestRegister(t *testing.T) {
	t.Run("C180 what is sent, once, and what comes back", func(t *testing.T) {
		s := newServer(t, registered)
		c, err := registration.Register(t.Context(), s.client(), endpoint, registration.Metadata{
			RedirectURIs: []string{"https://shop.example/auth/callback"}, GrantTypes: []string{"authorization_code"},
			JWKS: json.RawMessage(`{"keys":[]}`), Extra: map[string]json.RawMessage{"client_name#fr": json.RawMessage(`"Boutique"`), "redirect_uris": json.RawMessage(`"x"`)},
		}, token)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(s.requests, ", "); got != "POST "+endpoint || s.tokens[0] != "Bearer "+token {
			t.Errorf("%s with %q", got, s.tokens)
		}
		want := `{"client_name#fr":"Boutique","grant_types":["authorization_code"],"jwks":{"keys":[]},"redirect_uris":["https://shop.example/auth/callback"]}`
		if s.bodies[0] != want {
			t.Errorf("sent %s", s.bodies[0])
		}
		if c.ID != "c1" || c.Secret != secret || c.AccessToken != manage || c.ConfigurationURL != endpoint+"/c1" || c.Endpoint != endpoint ||
			c.IssuedAt.Unix() != 1700000000 || c.SecretExpiresAt.Unix() != 1800000000 {
			t.Errorf("%+q", []any{c.ID, c.Secret, c.AccessToken, c.ConfigurationURL, c.Endpoint, c.IssuedAt, c.SecretExpiresAt})
		}
		m := c.Metadata
		if m.ClientName != "Shop" || m.TokenEndpointAuthMethod != "client_secret_post" || string(m.Extra["client_name#fr"]) != `"Boutique"` || len(m.Extra) != 1 {
			t.Errorf("%+v", m)
		}
		if !slices.Equal(m.GrantTypes, []string{"authorization_code"}) {
			t.Errorf("what the answer does not repeat is lost: %+v", m)
		}
	})
	t.Run("C180 without a token none is sent", func(t *testing.T) {
		s := newServer(t, registered)
		if _, err := registration.Register(t.Context(), s.client(), endpoint, registration.Metadata{}, ""); err != nil || s.tokens[0] != "" {
			t.Errorf("%v, sent %q", err, s.tokens)
		}
	})
	t.Run("C181 status 200, a secret for ever, and members of odd types", func(t *testing.T) {
		s := newServer(t, `{"client_id":"c1","client_secret":"s","client_secret_expires_at":0,"client_id_issued_at":"now","contacts":"me","logo_uri":null}`)
		s.status = http.StatusOK
		c := s.register()
		if !c.SecretExpiresAt.IsZero() || !c.IssuedAt.IsZero() || string(c.Metadata.Extra["contacts"]) != `"me"` || c.Metadata.Contacts != nil ||
			string(c.Metadata.Extra["client_id_issued_at"]) != `"now"` {
			t.Errorf("%v, %v, %v", c.SecretExpiresAt, c.IssuedAt, c.Metadata)
		}
	})
	for _, row := range []struct {
		name, answer, kind string
		status             int
		want               string
	}{
		{"C181 no client_id", `{"client_secret":"secret-canary"}`, "", 201, "client_id"},
		{"C181 an empty client_id", `{"client_id":""}`, "", 201, "client_id"},
		{"C181 a client_id that is a number", `{"client_id":7}`, "", 201, "client_id"},
		{"C181 a client_id under another name", `{"CLIENT_ID":"c1"}`, "", 201, "client_id"},
		{"C181 two client_ids", `{"client_id":"c1","client_id":"c2"}`, "", 201, "strict form"},
		{"C181 a secret that is a list", `{"client_id":"c1","client_secret":["secret-canary"]}`, "", 201, "client_secret is not a string"},
		{"C181 no JSON", `<html>secret-canary`, "", 201, "strict form"},
		{"C181 another media type", registered, "text/html", 201, "application/json"},
		{"C180 a redirect", ``, "", 307, "status 307"},
		{"C180 an endless answer", `{"client_id":"c1","x":"` + strings.Repeat("x", 300<<10) + `"}`, "", 201, "longer than"},
		{"C183 an error", `{"error":"invalid_redirect_uri","error_description":"not https"}`, "", 400, `status 400 and the error invalid_redirect_uri: "not https"`},
		{"C183 an error of no list", `{"error":"secret-canary","error_description":"line\nbreak"}`, "", 400, `the error other: "line\nbreak"`},
		{"C183 an error that quotes the token", `{"error":"invalid_token","error_description":"unknown ` + token + `"}`, "", 401, "status 401 and the error invalid_token"},
		{"C183 a long error", `{"error_description":"x` + strings.Repeat("ö", 500) + `"}`, "", 500, "status 500"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newServer(t, row.answer)
			s.status, s.kind = row.status, cmpOr(row.kind, "application/json")
			s.header.Set("Location", "https://elsewhere.example/")
			_, err := registration.Register(t.Context(), s.client(), endpoint, registration.Metadata{}, token)
			if err == nil || !strings.Contains(err.Error(), row.want) || len(s.requests) != 1 {
				t.Fatalf("got %v after %q, want %q", err, s.requests, row.want)
			}
			if strings.Contains(err.Error(), "canary") || len(err.Error()) > 1400 {
				t.Errorf("the error says too much: %v", err)
			}
			refusal, is := errors.AsType[*registration.Error](err)
			if is != (row.status != 201) || is && (refusal.Status != row.status || !utf8.ValidString(refusal.Description)) {
				t.Errorf("%t, %+v", is, refusal)
			}
		})
	}
	for _, address := range []string{"http://id.example/register", "ftp://id.example", "", "https://user:pw@id.example/register", "https://id.example/#x"} {
		t.Run("C180 no request to "+address, func(t *testing.T) {
			s := newServer(t, registered)
			_, err := registration.Register(t.Context(), s.client(), address, registration.Metadata{}, token)
			if err == nil || len(s.requests) != 0 || strings.Contains(err.Error(), "pw") {
				t.Errorf("%v, %q", err, s.requests)
			}
		})
	}
	t.Run("F43 C180 no connection to a metadata service of a cloud", func(t *testing.T) {
		_, err := registration.Register(t.Context(), nil, "https://169.254.169.254/register", registration.Metadata{}, token)
		if err == nil || !strings.Contains(err.Error(), "link-local") || strings.Contains(err.Error(), "169.254") {
			t.Errorf("%v", err)
		}
	})
	t.Run("C004 C180 a certificate of nobody", func(t *testing.T) {
		s := httptest.NewUnstartedServer(http.NotFoundHandler())
		s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
		s.StartTLS()
		defer s.Close()
		_, err := registration.Register(t.Context(), &http.Client{}, s.URL+"/register", registration.Metadata{}, token)
		if err == nil || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("%v", err)
		}
	})
	t.Run("the Timeout of the client counts", func(t *testing.T) {
		hang := roundTripper(func(r *http.Request) (*http.Response, error) {
			if deadline, ok := r.Context().Deadline(); !ok || time.Until(deadline) > time.Second {
				t.Errorf("the request may last until %v", deadline)
			}
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		c := &http.Client{Transport: hang, Timeout: 10 * time.Millisecond}
		if _, err := registration.Register(t.Context(), c, endpoint, registration.Metadata{}, token); err == nil || !strings.Contains(err.Error(), "no answer in time") {
			t.Errorf("%v", err)
		}
	})
	t.Run("the context counts", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		hang := roundTripper(func(r *http.Request) (*http.Response, error) { <-r.Context().Done(); return nil, r.Context().Err() })
		if _, err := registration.Register(ctx, &http.Client{Transport: hang}, endpoint, registration.Metadata{}, token); err == nil || !strings.Contains(err.Error(), "gave up") {
			t.Errorf("%v", err)
		}
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func TestManage(t *testing.T) {
	t.Run("C181 a read takes new secrets over and keeps the others", func(t *testing.T) {
		s := newServer(t, registered)
		c := s.register()
		s.status, s.answer = http.StatusOK, `{"client_id":"c1","registration_access_token":"manage-2","client_name":"Shop 2"}`
		next, err := registration.Read(t.Context(), s.client(), c)
		if err != nil || s.requests[1] != "GET "+endpoint+"/c1" || s.tokens[1] != "Bearer "+manage || s.bodies[1] != "" {
			t.Fatalf("%v, %q, %q", err, s.requests, s.tokens)
		}
		if next.AccessToken != "manage-2" || next.Secret != secret || next.Metadata.ClientName != "Shop 2" || c.AccessToken != manage || c.Metadata.ClientName != "Shop" {
			t.Errorf("%v %v", next, c)
		}
	})
	t.Run("an update replaces the metadata, and sends what RFC 7592 wants", func(t *testing.T) {
		s := newServer(t, registered)
		c := s.register()
		s.status = http.StatusOK
		m := c.Metadata
		m.RedirectURIs = []string{"https://shop.example/auth/callback/main"}
		m.Extra = map[string]json.RawMessage{"registration_access_token": json.RawMessage(`"x"`), "client_secret_expires_at": json.RawMessage(`1`), "x": json.RawMessage(`1`)}
		if _, err := registration.Update(t.Context(), s.client(), c, m); err != nil || s.requests[1] != "PUT "+endpoint+"/c1" || s.tokens[1] != "Bearer "+manage {
			t.Fatalf("%v, %q, %q", err, s.requests, s.tokens)
		}
		want := `{"client_id":"c1","client_name":"Shop","client_secret":"` + secret + `","redirect_uris":["https://shop.example/auth/callback/main"],` +
			`"token_endpoint_auth_method":"client_secret_post","x":1}`
		if s.bodies[1] != want {
			t.Errorf("sent %s", s.bodies[1])
		}
	})
	t.Run("a deletion", func(t *testing.T) {
		s := newServer(t, registered)
		c := s.register()
		s.status, s.answer = http.StatusNoContent, ""
		if err := registration.Delete(t.Context(), s.client(), c); err != nil || s.requests[1] != "DELETE "+endpoint+"/c1" || s.tokens[1] != "Bearer "+manage {
			t.Errorf("%v, %q, %q", err, s.requests, s.tokens)
		}
		s.status, s.answer = http.StatusUnauthorized, `{"error":"invalid_token","error_description":"`+manage+`"}`
		err := registration.Delete(t.Context(), s.client(), c)
		if refusal, is := errors.AsType[*registration.Error](err); !is || refusal.Code != "invalid_token" || strings.Contains(err.Error(), "canary") {
			t.Errorf("C183 %v", err)
		}
	})
	t.Run("C181 another client", func(t *testing.T) {
		s := newServer(t, registered)
		c := s.register()
		s.status, s.answer = http.StatusOK, `{"client_id":"c2","client_secret":"other"}`
		if _, err := registration.Read(t.Context(), s.client(), c); err == nil || !strings.Contains(err.Error(), "client_id") || c.Secret != secret {
			t.Errorf("%v", err)
		}
	})
	for _, address := range []string{
		"https://elsewhere.example/register/c1", "http://id.example/register/c1", "https://id.example:8443/register/c1", "http://localhost/c1",
		"https://id.example@elsewhere.example/", "", "/register/c1",
	} {
		t.Run("C182 the token does not go to "+address, func(t *testing.T) {
			s := newServer(t, strings.Replace(registered, "https://id.example/register/c1", address, 1))
			c := s.register()
			if c.ID != "c1" || c.Secret != secret {
				t.Errorf("the client is lost: %v", c)
			}
			s.status = http.StatusOK
			_, read := registration.Read(t.Context(), s.client(), c)
			_, update := registration.Update(t.Context(), s.client(), c, c.Metadata)
			remove := registration.Delete(t.Context(), s.client(), c)
			if read == nil || update == nil || remove == nil || len(s.requests) != 1 {
				t.Errorf("%v, %v, %v, %q", read, update, remove, s.requests)
			}
		})
	}
	t.Run("C182 without a token nothing is asked", func(t *testing.T) {
		s := newServer(t, strings.Replace(registered, manage, "", 1))
		if _, err := registration.Read(t.Context(), s.client(), s.register()); err == nil || len(s.requests) != 1 {
			t.Errorf("%v, %q", err, s.requests)
		}
	})
	t.Run("C182 nor after a read that names another server", func(t *testing.T) {
		s := newServer(t, registered)
		c := s.register()
		s.status, s.answer = http.StatusOK, `{"client_id":"c1","registration_client_uri":"https://elsewhere.example/"}`
		next, err := registration.Read(t.Context(), s.client(), c)
		if err != nil {
			t.Fatal(err)
		}
		if err := registration.Delete(t.Context(), s.client(), next); err == nil || len(s.requests) != 2 {
			t.Errorf("%v, %q", err, s.requests)
		}
	})
}

func TestClient(t *testing.T) {
	s := newServer(t, registered)
	c := s.register()
	t.Run("C183 no way to print it shows a secret", func(t *testing.T) {
		var log bytes.Buffer
		holder := struct {
			C  registration.Client
			P  *registration.Client
			In []any
		}{*c, c, []any{*c, c}}
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "c", c, "v", *c, "h", holder)
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "c", c, "v", *c, "h", holder)
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
			fmt.Fprintf(&log, verb+" "+verb+" "+verb, c, *c, holder)
		}
		text, err := json.Marshal(holder)
		log.Write(text)
		if err != nil || strings.Contains(log.String(), "canary") || strings.Contains(log.String(), "63616e617279") || !strings.Contains(log.String(), "registration.Client(c1)") {
			t.Errorf("%v: %s", err, log.String())
		}
	})
	t.Run("it is kept by Encode and Decode", func(t *testing.T) {
		text, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := registration.Decode(text)
		if err != nil || !strings.Contains(string(text), secret) {
			t.Fatalf("%v: %s", err, text)
		}
		twice, _ := again.Encode()
		if !bytes.Equal(text, twice) || again.Secret != secret || again.AccessToken != manage || !again.SecretExpiresAt.Equal(c.SecretExpiresAt) ||
			string(again.Metadata.Extra["client_name#fr"]) != `"Boutique"` || again.Endpoint != endpoint {
			t.Errorf("%s\n%s", text, twice)
		}
	})
	t.Run("package json does not lose its secrets in silence", func(t *testing.T) {
		text, _ := json.Marshal(c)
		if err := json.Unmarshal(text, new(registration.Client)); err == nil || !strings.Contains(err.Error(), "Encode") {
			t.Errorf("%v", err)
		}
	})
	for _, text := range []string{"", "{}", "null", `"registration.Client(c1)"`, `{"client_id":7}`} {
		if _, err := registration.Decode([]byte(text)); err == nil {
			t.Errorf("%q is a client", text)
		}
	}
	t.Run("how it authenticates", func(t *testing.T) {
		for method, want := range map[string]string{
			"": "client_secret_basic", "client_secret_basic": "client_secret_basic", "client_secret_post": "client_secret_post", "client_secret_jwt": "client_secret_jwt",
			"private_key_jwt": "private_key_jwt", "none": "none", "tls_client_auth": "by hand", "self_signed_tls_client_auth": "by hand", "new": "by hand",
		} {
			c := &registration.Client{ID: "c1", Secret: secret, Metadata: registration.Metadata{TokenEndpointAuthMethod: method}}
			auth, err := c.Auth()
			if got := fmt.Sprint(auth, err); !strings.Contains(got, want) || strings.Contains(got, "canary") || (err == nil) == (want == "by hand") {
				t.Errorf("%q: %s, want %s", method, got, want)
			}
		}
		for _, method := range []string{"", "client_secret_post", "client_secret_jwt"} {
			if _, err := (&registration.Client{ID: "c1", Metadata: registration.Metadata{TokenEndpointAuthMethod: method}}).Auth(); err == nil || !strings.Contains(err.Error(), "no secret") {
				t.Errorf("%q without a secret: %v", method, err)
			}
		}
	})
}

func TestEndpoint(t *testing.T) {
	const issuer = "https://id.example/realms/shop"
	document := func(changes ...string) string {
		m := map[string]any{"issuer": issuer, "registration_endpoint": endpoint}
		for i := 0; i < len(changes); i += 2 {
			m[changes[i]] = changes[i+1]
		}
		text, _ := json.Marshal(m)
		return string(text)
	}
	for _, row := range []struct{ name, issuer, answer, want string }{
		{"C180 it stands in the document", issuer, document(), endpoint},
		{"C180 an issuer with a slash at its end", issuer + "/", document("issuer", issuer+"/"), endpoint},
		{"C180 another issuer", issuer, document("issuer", "https://id.example"), "error: another issuer"},
		{"C180 an issuer in other letters", issuer, document("issuer", strings.ToUpper(issuer)), "error: another issuer"},
		{"C180 none", issuer, document("registration_endpoint", ""), "error: does not register"},
		{"C180 an endpoint on http", issuer, document("registration_endpoint", "http://id.example/register"), "error: no https URL"},
		{"C180 an endpoint on this machine", issuer, document("registration_endpoint", "http://localhost/register"), "error: no https URL"},
		{"C180 an endpoint with a user", issuer, document("registration_endpoint", "https://a:b@id.example/register"), "error: no https URL"},
		{"C180 http on this machine", "http://localhost:8080", document("issuer", "http://localhost:8080", "registration_endpoint", "http://localhost:8080/r"), "http://localhost:8080/r"},
		{"C180 an issuer on http", "http://id.example", document("issuer", "http://id.example"), "error: no https URL"},
		{"C180 an issuer with a query", issuer + "?x=1", document("issuer", issuer+"?x=1"), "error: without a query"},
		{"C180 no JSON", issuer, "<html>", "error: strict form"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newServer(t, row.answer)
			s.status = http.StatusOK
			got, err := registration.Endpoint(t.Context(), s.client(), row.issuer)
			if want, fails := strings.CutPrefix(row.want, "error: "); fails {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, %v, want %q", got, err, want)
				}
			} else if err != nil || got != want || s.requests[0] != "GET "+strings.TrimSuffix(row.issuer, "/")+"/.well-known/openid-configuration" {
				t.Errorf("got %q, %v, want %q; %q", got, err, want, s.requests)
			}
		})
	}
	t.Run("C180 a status that is not 200", func(t *testing.T) {
		s := newServer(t, document())
		s.status = http.StatusNotFound
		if _, err := registration.Endpoint(t.Context(), s.client(), issuer); err == nil || !strings.Contains(err.Error(), "404") {
			t.Errorf("%v", err)
		}
	})
}

func TestAtTheFakeProvider(t *testing.T) {
	p := oidcgatetest.NewProvider(t, oidcgatetest.Config{Registration: true, InitialAccessToken: token})
	client := &http.Client{Transport: p.Transport()}
	issuer, err := registration.FindIssuer(t.Context(), client, "joe@id.test")
	if err != nil || issuer != p.Issuer() {
		t.Fatalf("%q, %v", issuer, err)
	}
	at, err := registration.Endpoint(t.Context(), client, issuer)
	if err != nil {
		t.Fatal(err)
	}
	m := registration.Metadata{RedirectURIs: []string{"http://localhost/auth/callback"}, ClientName: "Shop"}
	if _, err := registration.Register(t.Context(), client, at, m, "wrong"); err == nil || !strings.Contains(err.Error(), "invalid_token") {
		t.Errorf("%v", err)
	}
	c, err := registration.Register(t.Context(), client, at, m, token)
	if err != nil {
		t.Fatal(err)
	}
	m = c.Metadata
	m.RedirectURIs = append(m.RedirectURIs, "http://localhost/auth/callback/second")
	next, err := registration.Update(t.Context(), client, c, m)
	if err != nil || next.AccessToken == c.AccessToken || next.ID != c.ID {
		t.Fatalf("%v, %v", next, err)
	}
	if _, err := registration.Read(t.Context(), client, c); err == nil {
		t.Error("the token of before the update still counts")
	}
	next, err = registration.Read(t.Context(), client, next)
	if err != nil || len(next.Metadata.RedirectURIs) != 2 || next.Metadata.ClientName != "Shop" {
		t.Fatalf("%v, %v", next, err)
	}
	m.RedirectURIs = nil
	if _, err := registration.Update(t.Context(), client, next, m); err == nil || !strings.Contains(err.Error(), "invalid_redirect_uri") {
		t.Errorf("%v", err)
	}
	if err := registration.Delete(t.Context(), client, next); err != nil {
		t.Fatal(err)
	}
	if _, err := registration.Read(t.Context(), client, next); err == nil {
		t.Error("it is still there")
	}
	if n := p.Count(oidcgatetest.Registration); n != 8 {
		t.Errorf("%d requests", n)
	}
}

func TestFindIssuer(t *testing.T) {
	const relation = "http://openid.net/specs/connect/1.0/issuer"
	links := func(pairs ...string) string {
		all := []map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			all = append(all, map[string]string{"rel": pairs[i], "href": pairs[i+1]})
		}
		text, _ := json.Marshal(map[string]any{"subject": "acct:joe@shop.example", "links": all})
		return string(text)
	}
	const issuer = "https://id.example/shop"
	good := links("http://webfinger.net/rel/avatar", "https://x.example/a.png", relation, issuer)
	for _, row := range []struct{ name, identifier, host, resource string }{
		{"C184 an e-mail address", "joe@shop.example", "shop.example", "acct:joe@shop.example"},
		{"C184 spaces round it", " joe@shop.example ", "shop.example", "acct:joe@shop.example"},
		{"C184 an acct URI", "acct:joe@shop.example", "shop.example", "acct:joe@shop.example"},
		{"C184 an acct URI with a port", "acct:joe@shop.example:8443", "shop.example:8443", "acct:joe@shop.example:8443"},
		{"C184 a name with the dot of the root", "joe@shop.example.", "shop.example.", "acct:joe@shop.example."},
		{"C184 a host", "shop.example", "shop.example", "https://shop.example"},
		{"C184 a host with a port", "shop.example:8080", "shop.example:8080", "https://shop.example:8080"},
		{"C184 a URL", "https://shop.example/joe#x", "shop.example", "https://shop.example/joe"},
		{"C184 an address with parameters in it", "a&rel=x@shop.example", "shop.example", "acct:a&rel=x@shop.example"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newServer(t, good)
			s.status, s.kind = http.StatusOK, "application/jrd+json"
			got, err := registration.FindIssuer(t.Context(), s.client(), row.identifier)
			if err != nil || got != issuer {
				t.Fatalf("%q, %v", got, err)
			}
			_, address, _ := strings.Cut(s.requests[0], " ")
			u, _ := url.Parse(address)
			if u.Scheme != "https" || u.Host != row.host || u.Path != "/.well-known/webfinger" || u.Query().Get("resource") != row.resource ||
				!slices.Equal(u.Query()["rel"], []string{relation}) {
				t.Errorf("asked %s", address)
			}
		})
	}
	for _, identifier := range []string{
		"", "@", "@shop.example", "acct:shop.example", "acct:@shop.example", "joe@", "joe@localhost", "joe@id.localhost", "joe@localhost.localdomain", "joe@metadata.google.internal", "joe@printer.local.", "joe@nas.home.arpa", "joe@wiki.CORP", "joe@intranet", "joe@127.0.0.1",
		"joe@[::1]", "joe@127.1", "joe@2130706433", "joe@0x7f.0x1", "joe@169.254.169.254", "joe@169.254.169.254.", "joe@shop.example/path", "joe@shop.example?x",
		"joe@shop.example:80@x", "http://shop.example/joe", "ftp://shop.example", "=shop", "+joe", "https://joe@shop.example/", "joe@sh op.example", "joe@shop%2eexample", "https://localhost/",
		"joe@evil.example@shop.example", "acct:joe@evil.example@shop.example", "https://127.0.0.1/", "joe:pw@shop.example", "acct:joe@shop.example/path", "acct:joe@shop.example?x", "acct:joe@shop.example:80/",
	} {
		t.Run("C184 nobody is asked about "+identifier, func(t *testing.T) {
			s := newServer(t, good)
			s.status = http.StatusOK
			if got, err := registration.FindIssuer(t.Context(), s.client(), identifier); err == nil || len(s.requests) != 0 {
				t.Errorf("%q, %v after %q", got, err, s.requests)
			}
		})
	}
	for _, row := range []struct {
		name, answer, kind string
		status             int
		want               string
	}{
		{"C184 no link", links(), "", 200, "no issuer"},
		{"C184 no links at all", `{}`, "", 200, "no issuer"},
		{"C184 links that are no list", `{"links":{"rel":"` + relation + `","href":"` + issuer + `"}}`, "", 200, "no issuer"},
		{"C184 links that are no objects", `{"links":[1,null,["x"]]}`, "", 200, "no issuer"},
		{"C184 two issuers", links(relation, issuer, relation, "https://evil.example"), "", 200, "several"},
		{"C184 an issuer on http", links(relation, "http://id.example"), "", 200, "https URL"},
		{"C184 an issuer on this machine", links(relation, "http://localhost"), "", 200, "https URL"},
		{"C184 an issuer with a query", links(relation, issuer+"?x=1"), "", 200, "https URL"},
		{"C184 an issuer with a user", links(relation, "https://a@id.example"), "", 200, "https URL"},
		{"C184 an empty issuer", links(relation, ""), "", 200, "https URL"},
		{"C184 no JSON", "<html>", "", 200, "strict form"},
		{"C184 two lists", `{"links":[],"links":[]}`, "", 200, "strict form"},
		{"C184 another media type", good, "text/html", 200, "jrd+json"},
		{"C184 a redirect", good, "", 302, "status 302"},
		{"C184 nobody of that name", good, "", 404, "status 404"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newServer(t, row.answer)
			s.status, s.kind = row.status, cmpOr(row.kind, "application/json")
			s.header.Set("Location", "https://elsewhere.example/")
			got, err := registration.FindIssuer(t.Context(), s.client(), "joe@shop.example")
			if err == nil || !strings.Contains(err.Error(), row.want) || len(s.requests) != 1 {
				t.Errorf("%q, %v after %q, want %q", got, err, s.requests, row.want)
			}
		})
	}
	t.Run("C184 the same issuer twice is one", func(t *testing.T) {
		s := newServer(t, links(relation, issuer, relation, issuer))
		s.status = http.StatusOK
		if got, err := registration.FindIssuer(t.Context(), s.client(), "joe@shop.example"); err != nil || got != issuer {
			t.Errorf("%q, %v", got, err)
		}
	})
}
