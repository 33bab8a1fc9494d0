package blackbox_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"sync"
	"testing"

	"github.com/oidcgate/oidcgate/blackbox/internal/idp"
	"github.com/oidcgate/oidcgate/blackbox/internal/process"
)

// spy stands in front of a provider. It notes the codes that the provider issues and what the token
// endpoint gets.
type spy struct {
	token string // path of the token endpoint
	next  http.Handler

	mu     sync.Mutex
	issued []string
	seen   []seenRequest
}

// in puts the spy in front of a provider.
func (s *spy) in(next http.Handler) http.Handler {
	s.next = next
	return s
}

var codes = []*regexp.Regexp{regexp.MustCompile(`[?&]code=([^&"]+)`), regexp.MustCompile(`name="code" value="([^"]+)"`)}

func (s *spy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	path := r.URL.Path
	if path == s.token {
		s.mu.Lock()
		s.seen = append(s.seen, seenRequest{path, r.Header.Clone(), r.URL.Query(), string(body)})
		s.mu.Unlock()
	}
	answer := &copied{ResponseWriter: w}
	s.next.ServeHTTP(answer, r)
	if path == s.token {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, code := range codes {
		for _, found := range code.FindAllStringSubmatch(w.Header().Get("Location")+" "+answer.body.String(), -1) {
			s.issued = append(s.issued, found[1])
		}
	}
}

// copied keeps a copy of the body.
type copied struct {
	http.ResponseWriter
	body bytes.Buffer
}

func (c *copied) Write(b []byte) (int, error) {
	c.body.Write(b)
	return c.ResponseWriter.Write(b)
}

// tokenRequests returns the token requests so far with a grant type, or all if it is "".
func (s *spy) tokenRequests(t testing.TB, grant string) []seenRequest {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.seen), func(r seenRequest) bool {
		return grant != "" && parseForm(t, r.body).Get("grant_type") != grant
	})
}

// wantOwnCodes checks that the token endpoint got codes of its own provider only, each once, and
// returns how many.
func (s *spy) wantOwnCodes(t testing.TB) int {
	t.Helper()
	got := s.tokenRequests(t, "authorization_code")
	s.mu.Lock()
	defer s.mu.Unlock()
	sent := map[string]bool{}
	for _, r := range got {
		code := parseForm(t, r.body).Get("code")
		if !slices.Contains(s.issued, code) || sent[code] {
			t.Errorf("the token endpoint got the code %q, of another provider or for the second time", code)
		}
		sent[code] = true
	}
	return len(got)
}

// startBehindSpy starts the npm provider with a spy in front of it.
func startBehindSpy(t *testing.T, c idp.Config) (*idp.Provider, *spy) {
	t.Helper()
	c.Port = process.FreePort(t)
	behind, _ := url.Parse(fmt.Sprintf("http://127.0.0.1:%d", c.Port)) // cannot fail
	s := &spy{token: "/token"}
	server := httptest.NewServer(s.in(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(behind)
		r.Out.Host = r.In.Host
		r.Out.Header.Del("Accept-Encoding") // so that the spy can read the answers
	}}))
	t.Cleanup(server.Close)
	c.Issuer = server.URL
	return idp.Start(t, c), s
}
