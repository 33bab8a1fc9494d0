package oidcgatetest_test

import (
	"compress/gzip"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oidcgate/oidcgate/oidcgatetest"
)

func decode(t *testing.T, part string) string {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

const jwksURL = "https://id.test/jwks"

// TestAnswers tests the faults that give a complete answer.
func TestAnswers(t *testing.T) {
	teapot := func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	}
	tests := []struct {
		name   string
		faults []oidcgatetest.Fault
		want   string // status, Content-Type, Location, the last bytes of the body
	}{
		{"an HTML page", []oidcgatetest.Fault{oidcgatetest.Answer(502, "text/html", "<p>sorry")}, "502 text/html  <p>sorry"},
		{"no content type", []oidcgatetest.Fault{oidcgatetest.Answer(200, "", "<p>null")}, "200   <p>null"},
		{"no content", []oidcgatetest.Fault{oidcgatetest.Answer(204, "", "")}, "204   "},
		{"a redirect", []oidcgatetest.Fault{oidcgatetest.Redirect(307, "https://evil.example/")}, "307  https://evil.example/ "},
		{"another status", []oidcgatetest.Fault{oidcgatetest.Edit(func(r *oidcgatetest.Response) { r.Status = 201; r.Body = []byte("x") })}, "201 application/json  x"},
		{"no keys", []oidcgatetest.Fault{oidcgatetest.EditJSON(func(m map[string]any) { m["keys"] = nil })}, `200 application/json  {"keys":null}`},
		{"a change to what is no JSON", []oidcgatetest.Fault{
			oidcgatetest.EditJSON(func(m map[string]any) { m["keys"] = nil }), oidcgatetest.Answer(200, "text/plain", "[1]"),
		}, `200 text/plain  [1]`},
		{"a change to what is no redirect", []oidcgatetest.Fault{
			oidcgatetest.EditRedirect(func(v url.Values) { v.Set("a", "b") }), oidcgatetest.Answer(200, "text/plain", "x"),
		}, `200 text/plain  x`},
		{"a fault of one's own", []oidcgatetest.Fault{teapot}, "418   "},
		{"the outermost first", []oidcgatetest.Fault{oidcgatetest.Answer(500, "", "first"), oidcgatetest.Answer(501, "", "second")}, "500   first"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p, rp := newProvider(t)
			p.Inject(oidcgatetest.JWKS, test.faults...)
			a := rp.get(t, jwksURL)
			if got := fmt.Sprint(a.status, " ", a.header.Get("Content-Type"), " ", a.header.Get("Location"), " ", a.body); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if a := rp.get(t, jwksURL); a.status != 200 || len(a.members(t)["keys"].([]any)) != 1 {
				t.Errorf("the next request: status %d, body %s", a.status, a.body)
			}
			if got := p.Count(oidcgatetest.JWKS); got != 2 {
				t.Errorf("%d requests counted, want 2", got)
			}
		})
	}
}

func TestQueue(t *testing.T) {
	p, rp := newProvider(t)
	status := func(code int) oidcgatetest.Fault { return oidcgatetest.Answer(code, "", "") }
	p.Always(oidcgatetest.JWKS, status(503))
	p.Inject(oidcgatetest.JWKS, status(500))
	p.Inject(oidcgatetest.JWKS)
	for i, want := range []int{500, 200, 503, 503} {
		if a := rp.get(t, jwksURL); a.status != want {
			t.Errorf("request %d: status %d, want %d", i+1, a.status, want)
		}
	}
	p.Inject(oidcgatetest.JWKS, status(500))
	p.Clear(oidcgatetest.JWKS)
	if a := rp.get(t, jwksURL); a.status != 200 {
		t.Errorf("after Clear: status %d, want 200", a.status)
	}
	p.Always(oidcgatetest.JWKS, status(503))
	p.Always(oidcgatetest.JWKS)
	if a := rp.get(t, jwksURL); a.status != 200 {
		t.Errorf("after Always without faults: status %d, want 200", a.status)
	}
}

func TestAuthorizationResponseFaults(t *testing.T) {
	tests := []struct {
		name   string
		change func(url.Values)
		want   func(got, sent url.Values) bool
	}{
		{"no state", func(v url.Values) { v.Del("state") }, func(got, _ url.Values) bool { return !got.Has("state") && got.Has("code") }},
		{"another state", func(v url.Values) { v.Set("state", "x") }, func(got, _ url.Values) bool { return got.Get("state") == "x" }},
		{"state twice", func(v url.Values) { v.Add("state", "x") }, func(got, sent url.Values) bool {
			return got["state"][0] == sent.Get("state") && got["state"][1] == "x"
		}},
		{"another iss", func(v url.Values) { v.Set("iss", "https://evil.example") }, func(got, _ url.Values) bool {
			return got.Get("iss") == "https://evil.example"
		}},
		{"an error beside the code", func(v url.Values) { v.Set("error", "server_error") }, func(got, _ url.Values) bool {
			return got.Has("code") && got.Get("error") == "server_error"
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p, rp := newProvider(t)
			p.Inject(oidcgatetest.Authorization, oidcgatetest.EditRedirect(test.change))
			params, _ := rp.authorization()
			if got := rp.authorize(t, params); !test.want(got, params) {
				t.Errorf("response %v", got)
			}
		})
	}
}

func TestTokenResponseFault(t *testing.T) {
	p, rp := newProvider(t)
	p.Inject(oidcgatetest.Token, oidcgatetest.EditJSON(func(m map[string]any) {
		delete(m, "id_token")
		m["token_type"] = "mac"
	}))
	form, _ := rp.code(t)
	got := rp.token(t, form).members(t)
	if got["id_token"] != nil || got["token_type"] != "mac" || got["expires_in"] != 300.0 {
		t.Errorf("token response %v", got)
	}
}

func TestSignedUserinfo(t *testing.T) {
	p, rp := newProvider(t)
	tokens, _ := rp.login(t)
	signed := p.NewJWT(map[string]any{"iss": p.Issuer(), "aud": shop().ID, "sub": "alice"})
	p.Inject(oidcgatetest.Userinfo, oidcgatetest.Answer(200, "application/jwt", signed.Compact()))
	if claims, err := rp.verify(t, rp.userinfo(t, tokens).body); err != nil || claims["sub"] != "alice" {
		t.Errorf("claims %v, %v", claims, err)
	}
}

// everywhere runs a test in memory and over TCP, with and without TLS.
func everywhere(t *testing.T, f func(t *testing.T, p *oidcgatetest.Provider, client *http.Client)) {
	t.Run("in memory", func(t *testing.T) {
		p := oidcgatetest.NewProvider(t)
		f(t, p, &http.Client{Transport: p.Transport()})
	})
	t.Run("over TCP", func(t *testing.T) {
		p := oidcgatetest.NewProvider(t)
		f(t, p, p.Server().Client())
	})
	t.Run("over TLS", func(t *testing.T) {
		p := oidcgatetest.NewProvider(t)
		f(t, p, p.TLSServer().Client())
	})
}

func TestReset(t *testing.T) {
	everywhere(t, func(t *testing.T, p *oidcgatetest.Provider, client *http.Client) {
		p.Inject(oidcgatetest.Token, oidcgatetest.Reset())
		_, err := client.PostForm(p.Issuer()+"/token", url.Values{"code": {"c"}})
		if err == nil {
			t.Fatal("no error")
		}
		if tcp := strings.Contains(p.Issuer(), "127.0.0.1"); errors.Is(err, syscall.ECONNRESET) != tcp {
			t.Errorf("error %v; want a reset: %v", err, tcp)
		}
		if got := p.LastRequest(oidcgatetest.Token); p.Count(oidcgatetest.Token) != 1 || got.Form.Get("code") != "c" {
			t.Errorf("%d requests arrived, the last being %+v; want one, whole", p.Count(oidcgatetest.Token), got)
		}
	})
}

func TestHuge(t *testing.T) {
	const size = 3<<20 + 7
	everywhere(t, func(t *testing.T, p *oidcgatetest.Provider, client *http.Client) {
		p.Inject(oidcgatetest.JWKS, oidcgatetest.Huge(size))
		if spaces, rest := fetchSpaces(t, client, p.Issuer()+"/jwks"); spaces != size || !strings.HasPrefix(rest, `{"keys":`) {
			t.Errorf("%d spaces, then %.20q; want %d", spaces, rest, size)
		}
		p.Inject(oidcgatetest.JWKS, oidcgatetest.GzipBomb(size))
		if spaces, rest := fetchSpaces(t, client, p.Issuer()+"/jwks"); spaces != size || !strings.HasPrefix(rest, `{"keys":`) {
			t.Errorf("decompressed: %d spaces, then %.20q; want %d", spaces, rest, size)
		}
	})
}

func fetchSpaces(t *testing.T, client *http.Client, target string) (spaces int, rest string) {
	t.Helper()
	resp, err := client.Get(target)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	rest = strings.TrimLeft(string(body), " ")
	return len(body) - len(rest), rest
}

func TestGzipBombIsSmallOnTheWire(t *testing.T) {
	p := oidcgatetest.NewProvider(t)
	p.Inject(oidcgatetest.JWKS, oidcgatetest.GzipBomb(10<<20))
	transport := p.Transport()
	transport.DisableCompression = true
	resp, err := (&http.Client{Transport: transport}).Get(jwksURL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	wire := &counter{r: resp.Body}
	z, err := gzip.NewReader(wire)
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, z)
	if err != nil || n < 10<<20 || wire.n > n/500 {
		t.Errorf("%d bytes from %d on the wire, %v", n, wire.n, err)
	}
}

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// TestHugeStops shows that the answer ends when the client closes the connection.
func TestHugeStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := oidcgatetest.NewProvider(t)
		p.Inject(oidcgatetest.JWKS, oidcgatetest.Huge(1<<40))
		resp, err := (&http.Client{Transport: p.Transport()}).Get(jwksURL)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(io.Discard, resp.Body, 1<<20); err != nil {
			t.Error(err)
		}
		resp.Body.Close() // the bubble cannot end while the provider still writes
	})
}

// TestTime tests the faults that take time, in a bubble with its own clock.
func TestTime(t *testing.T) {
	const patience = 5 * time.Second
	tests := []struct {
		name     string
		fault    oidcgatetest.Fault
		want     time.Duration
		wantErr  error
		wantHead bool // an answer began
	}{
		{"F04 a delay within patience", oidcgatetest.Delay(3 * time.Second), 3 * time.Second, nil, true},
		{"F04 a delay beyond patience", oidcgatetest.Delay(time.Hour), patience, context.DeadlineExceeded, false},
		{"F03 no answer", oidcgatetest.Hang(), patience, context.DeadlineExceeded, false},
		{"F03 half an answer", oidcgatetest.HangBody(), patience, context.DeadlineExceeded, true},
		{"F03 an answer byte by byte", oidcgatetest.Trickle(time.Second), patience, context.DeadlineExceeded, true},
		{"an answer byte by byte, but fast", oidcgatetest.Trickle(0), 0, nil, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := oidcgatetest.NewProvider(t)
				p.Inject(oidcgatetest.JWKS, test.fault)
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				start := time.Now()
				head, err := fetch(ctx, &http.Client{Transport: p.Transport()})
				if took := time.Since(start); took != test.want {
					t.Errorf("took %v of the bubble's time, want %v", took, test.want)
				}
				if !errors.Is(err, test.wantErr) || head != test.wantHead {
					t.Errorf("began %v, error %v; want %v, %v", head, err, test.wantHead, test.wantErr)
				}
			})
		})
	}
}

// fetch reads the key set; head reports whether a response header arrived.
func fetch(ctx context.Context, client *http.Client) (head bool, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, jwksURL, nil)
	if err != nil {
		return false, err
	}
	resp, err := client.Do(r)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	_, err = io.ReadAll(resp.Body)
	return true, err
}

func TestCloseEndsWhatHangs(t *testing.T) {
	for name, fault := range map[string]oidcgatetest.Fault{
		"no answer": oidcgatetest.Hang(), "half an answer": oidcgatetest.HangBody(), "a long delay": oidcgatetest.Delay(time.Hour),
	} {
		t.Run(name, func(t *testing.T) {
			p := oidcgatetest.NewProvider(t)
			p.Server()
			arrived := make(chan struct{})
			p.Inject(oidcgatetest.JWKS, fault, func(next http.Handler) http.Handler {
				close(arrived)
				return next
			})
			failed := make(chan error, 1)
			go func() {
				resp, err := http.Get(p.Issuer() + "/jwks")
				if err == nil {
					_, err = io.ReadAll(resp.Body)
					resp.Body.Close()
				}
				failed <- err
			}()
			<-arrived
			p.Close()
			p.Close()
			if err := <-failed; err == nil {
				t.Error("the request succeeded")
			}
		})
	}
}

func TestConcurrentUse(t *testing.T) {
	p, rp := newProvider(t, oidcgatetest.Config{Algorithm: "ES256", RotateRefreshTokens: true})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			checkLogin(t, rp)
			p.NextIDToken(func(j *oidcgatetest.JWT) { j.Claims["x"] = 1 })
			p.Inject(oidcgatetest.Userinfo, oidcgatetest.Delay(0))
			p.RotateKeys()
			p.SetUser(oidcgatetest.User{Subject: "alice", Claims: map[string]any{"email": "alice@example.com", "email_verified": true}})
			p.LastRequest(oidcgatetest.Token)
		})
	}
	wg.Wait()
	if got := p.Count(oidcgatetest.Token); got != 8 {
		t.Errorf("%d token requests, want 8", got)
	}
}

func TestRotatedRefreshTokenWorksOnce(t *testing.T) {
	_, rp := newProvider(t, oidcgatetest.Config{RotateRefreshTokens: true})
	tokens, _ := rp.login(t)
	answers := make(chan int, 10)
	var wg sync.WaitGroup
	for range cap(answers) {
		wg.Go(func() {
			answers <- rp.token(t, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {tokens["refresh_token"].(string)}}).status
		})
	}
	wg.Wait()
	close(answers)
	won := 0
	for status := range answers {
		if status == http.StatusOK {
			won++
		}
	}
	if won != 1 {
		t.Errorf("%d of ten refreshes succeeded, want 1", won)
	}
}

func TestOtherHostsCannotBeReached(t *testing.T) {
	p := oidcgatetest.NewProvider(t)
	client := &http.Client{Transport: p.Transport()}
	for _, target := range []string{"https://evil.example/", "http://id.test/", "https://id.test:8443/"} {
		if _, err := client.Get(target); err == nil || !strings.Contains(err.Error(), "no handler for host") {
			t.Errorf("GET %s: %v", target, err)
		}
	}
}
