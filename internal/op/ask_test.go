package op_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/internal/op"
)

func TestAsk(t *testing.T) {
	ask := func(t *testing.T, transport http.RoundTripper, address string) (op.Answer, error) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, strings.NewReader("hush"))
		if err != nil {
			t.Fatal(err)
		}
		return op.Ask(transport, r)
	}
	t.Run("the whole answer, of whatever status", func(t *testing.T) {
		a, err := ask(t, transportFunc(func(r *http.Request) (*http.Response, error) {
			return answerOf(r, http.StatusTeapot, "short and stout"), nil
		}), "https://id.example/register?hush")
		if err != nil || a.Status != http.StatusTeapot || string(a.Body) != "short and stout" || a.Header.Get("X-Kind") != "pot" {
			t.Errorf("%+v, %v", a, err)
		}
	})
	t.Run("C015 F08 an answer of 256 KB, and no byte more", func(t *testing.T) {
		for size, want := range map[int]bool{256 << 10: true, 256<<10 + 1: false} {
			a, err := ask(t, transportFunc(func(r *http.Request) (*http.Response, error) {
				return answerOf(r, http.StatusOK, strings.Repeat("x", size)), nil
			}), "https://id.example/register?hush")
			if (err == nil) != want || want && len(a.Body) != size {
				t.Errorf("%d bytes: read %d, %v", size, len(a.Body), err)
			}
		}
	})
	t.Run("C015 a redirect is not followed", func(t *testing.T) {
		n := 0
		a, err := ask(t, transportFunc(func(r *http.Request) (*http.Response, error) {
			n++
			resp := answerOf(r, http.StatusTemporaryRedirect, "")
			resp.Header.Set("Location", "https://evil.example/")
			return resp, nil
		}), "https://id.example/register?hush")
		if err != nil || a.Status != http.StatusTemporaryRedirect || n != 1 {
			t.Errorf("%+v, %v, %d requests", a, err, n)
		}
	})
	for name, row := range map[string]struct {
		transport http.RoundTripper
		want      string
	}{
		"C015 F08 an answer that is too long": {transportFunc(func(r *http.Request) (*http.Response, error) {
			return answerOf(r, http.StatusOK, strings.Repeat("hush", 1<<20)), nil
		}), "longer than"},
		"F11 a connection that breaks": {transportFunc(func(*http.Request) (*http.Response, error) { return nil, errDown }), "connection broke"},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := ask(t, row.transport, "https://id.example/register?hush")
			if err == nil || !strings.Contains(err.Error(), row.want) || a.Status != 0 || a.Body != nil {
				t.Fatalf("%+v, %v, want an error with %q", a, err, row.want)
			}
			checkSilent(t, err)
			if strings.Contains(err.Error(), "id.example") {
				t.Errorf("the error has the address: %v", err)
			}
		})
	}
	inBubble(t, "C015 F03 no answer within ten seconds", func(t *testing.T) {
		began := time.Now()
		_, err := ask(t, transportFunc(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}), "https://id.example/register")
		if d := time.Since(began); err == nil || !strings.Contains(err.Error(), "no answer in time") || d != 10*time.Second {
			t.Errorf("%v after %v", err, d)
		}
	})
	t.Run("over the hardened transport without another", func(t *testing.T) {
		base, requests := wire(t, say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"))
		a, err := ask(t, nil, base)
		if err != nil || a.Status != http.StatusOK || string(a.Body) != "{}" || requests.Load() != 1 {
			t.Errorf("%+v, %v, %d requests", a, err, requests.Load())
		}
	})
}

func answerOf(r *http.Request, status int, body string) *http.Response {
	return &http.Response{
		StatusCode: status, ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"X-Kind": {"pot"}}, Body: io.NopCloser(strings.NewReader(body)),
	}
}
