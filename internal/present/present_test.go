package present_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/oidcgate/oidcgate/internal/present"
)

func TestOrigins(t *testing.T) {
	got := present.Origins([]string{"https://API.example:443/v1", "http://[::1", "http://127.0.0.1:80", "/v1"})
	if want := []string{"https://api.example", "http://[::1", "http://127.0.0.1", "/v1"}; !slices.Equal(got, want) {
		t.Errorf("origins: got %q, want %q", got, want)
	}
}

func TestFormatShowsNothing(t *testing.T) {
	transport := &present.Transport{Context: context.WithValue(t.Context(), body{}, "secret"), Origins: []string{"secret"}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(verb, transport); got != "oidcgate.Client" {
			t.Errorf("%s shows %s", verb, got)
		}
	}
}

// body counts how often it is closed.
type body struct {
	io.Reader
	closed *int
}

func (b body) Close() error { *b.closed++; return nil }

var errNoToken = errors.New("nobody is signed in")

func TestRoundTrip(t *testing.T) {
	for _, tt := range []struct {
		name, address string
		origins       []string
		allowHTTP     bool
		send          error
		want          string // the error; "" if there is none
	}{
		{"an origin that gets the token", "https://api.example/v1", []string{"https://api.example"}, false, nil, ""},
		{"the second of two origins", "https://b.example/", []string{"https://a.example", "https://b.example"}, false, nil, ""},
		{"this machine over http", "http://127.0.0.1:8080/", []string{"http://127.0.0.1:8080"}, false, nil, ""},
		{"http where it is allowed", "http://api.example/", []string{"http://api.example"}, true, nil, ""},
		{"http", "http://api.example/", []string{"http://api.example"}, false, nil, "to api.example over http; use https"},
		{"another host", "https://b.example/", []string{"https://a.example"}, false, nil, `to https://b.example; the origins that Client was given are "https://a.example"`},
		{"another scheme", "http://a.example/", []string{"https://a.example"}, true, nil, "to http://a.example"},
		{"another port", "https://a.example:8443/", []string{"https://a.example"}, false, nil, "to https://a.example:8443"},
		{"no origins", "https://a.example/", nil, false, nil, "to https://a.example"},
		{"no host", "/v1", []string{"https://a.example"}, false, nil, "without a host"},
		{"no host, and an empty origin", "/v1", []string{""}, false, nil, "without a host"},
		{"no scheme", "localhost:8080/v1", []string{"localhost:8080"}, false, nil, "without a host"},
		{"an origin without a scheme", "http://localhost:8080/v1", []string{"http://127.0.0.1", "localhost:8080"}, false, nil, `"localhost:8080" is none: it must look like "https://api.example"`},
		{"an empty origin", "https://a.example/v1", []string{""}, false, nil, `"" is none`},
		{"no token", "https://a.example/", []string{"https://a.example"}, false, errNoToken, errNoToken.Error()},
	} {
		for _, hasBody := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, with a body: %t", tt.name, hasBody), func(t *testing.T) {
				sent, closed := 0, 0
				var ctx context.Context
				transport := &present.Transport{
					Elsewhere: http.DefaultTransport,
					Context:   t.Context(), Origins: tt.origins, AllowHTTP: tt.allowHTTP,
					Send: func(_ context.Context, r *http.Request) (*http.Response, error) {
						sent++
						ctx = r.Context()
						return &http.Response{Body: http.NoBody}, tt.send
					},
				}
				r, err := http.NewRequest(http.MethodPost, tt.address, nil)
				if err != nil {
					t.Fatal(err)
				}
				if hasBody {
					r.Body = body{strings.NewReader("x"), &closed}
				}
				_, err = transport.RoundTrip(r)
				switch {
				case tt.want == "" && err != nil, tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
					t.Errorf("error %v, want %q", err, tt.want)
				}
				if ctx != nil && (ctx.Err() != nil) != (tt.send != nil) {
					t.Errorf("the context of the request: %v", ctx.Err())
				}
				if asked := tt.want == "" || tt.send != nil; asked != (sent == 1) {
					t.Errorf("a token was asked for %d times", sent)
				}
				if kept := tt.want == "" || !hasBody; kept != (closed == 0) {
					t.Errorf("the body was closed %d times", closed)
				}
			})
		}
	}
}

// cut is the body of an answer whose connection breaks as it is closed.
type cut struct{ io.Reader }

func (cut) Close() error { return io.ErrUnexpectedEOF }

func TestAnswerThatCannotBeClosed(t *testing.T) {
	transport := &present.Transport{
		Context: t.Context(), Origins: []string{"https://api.example"},
		Send: func(context.Context, *http.Request) (*http.Response, error) {
			return &http.Response{Body: cut{strings.NewReader("")}}, nil
		},
	}
	r, err := http.NewRequest(http.MethodGet, "https://api.example/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error %v", err)
	}
}

// TestRedirects has requests to which the redirects of other addresses led.
func TestRedirects(t *testing.T) {
	arrived := 0
	here := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		arrived++
		if r.Header.Get("Authorization") != "" {
			t.Error("a token arrived")
		}
	}))
	defer here.Close()
	const api, other = "https://api.example/", "https://other.example/"
	for _, tt := range []struct {
		name  string
		via   []string // the first is where it began
		at    string
		token bool
	}{
		{"from an origin to itself", []string{api}, api, true},
		{"twice from an origin to itself", []string{api, api}, api, true},
		{"from an origin to elsewhere", []string{api}, here.URL, false},
		{"by elsewhere back to an origin", []string{api, other}, here.URL, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			arrived = 0
			token := false
			transport := &present.Transport{
				Elsewhere: http.DefaultTransport,
				Context:   t.Context(), Origins: present.Origins([]string{api}),
				Send: func(context.Context, *http.Request) (*http.Response, error) {
					token = true
					return &http.Response{Body: http.NoBody}, nil
				},
			}
			if tt.name == "by elsewhere back to an origin" {
				transport.Origins = append(transport.Origins, here.URL)
			}
			var from *http.Response
			for _, address := range append(tt.via, tt.at) {
				r, err := http.NewRequest(http.MethodGet, address, nil)
				if err != nil {
					t.Fatal(err)
				}
				r.Response = from
				from = &http.Response{Request: r}
			}
			resp, err := transport.RoundTrip(from.Request)
			if err != nil {
				t.Fatal(err)
			}
			if resp.Body != nil {
				resp.Body.Close()
			}
			if token != tt.token || arrived == 1 == tt.token {
				t.Errorf("sent with the token: %t; requests without: %d", token, arrived)
			}
		})
	}
	t.Run("an answer that names no request is no redirect of another address", func(t *testing.T) {
		r, _ := http.NewRequest(http.MethodGet, api, nil)
		r.Response = &http.Response{}
		token := false
		_, err := (&present.Transport{
			Elsewhere: http.DefaultTransport,
			Context:   t.Context(), Origins: present.Origins([]string{api}),
			Send: func(context.Context, *http.Request) (*http.Response, error) {
				token = true
				return &http.Response{Body: http.NoBody}, nil
			},
		}).RoundTrip(r)
		if !token || err != nil {
			t.Errorf("sent with the token: %t, error %v", token, err)
		}
	})
}

// TestContexts: a token is asked for as long as both the visitor's request and this one last.
func TestContexts(t *testing.T) {
	for _, tt := range []struct {
		name string
		ends func(visitor, own context.CancelFunc)
	}{
		{"the visitor leaves", func(visitor, _ context.CancelFunc) { visitor() }},
		{"the request is given up", func(_, own context.CancelFunc) { own() }},
	} {
		t.Run("F18 "+tt.name+" while a resource hangs", func(t *testing.T) {
			hangs := make(chan struct{}, 1)
			resource := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/body" {
					_ = http.NewResponseController(w).Flush()
				}
				hangs <- struct{}{}
				<-r.Context().Done()
			}))
			defer resource.Close()
			for _, path := range []string{"/", "/body"} {
				visitor, leave := context.WithCancel(t.Context())
				own, giveUp := context.WithCancel(t.Context())
				r, _ := http.NewRequestWithContext(own, http.MethodGet, resource.URL+path, nil)
				go func() { <-hangs; tt.ends(leave, giveUp) }()
				resp, err := (&present.Transport{
					Context: visitor, Origins: []string{resource.URL},
					Send: func(_ context.Context, r *http.Request) (*http.Response, error) {
						return http.DefaultTransport.RoundTrip(r)
					},
				}).RoundTrip(r)
				if err == nil {
					_, err = io.ReadAll(resp.Body)
					resp.Body.Close()
				}
				if !errors.Is(err, context.Canceled) {
					t.Errorf("%s: error %v", path, err)
				}
				leave()
				giveUp()
			}
		})
		t.Run(tt.name, func(t *testing.T) {
			visitor, leave := context.WithCancel(context.WithValue(t.Context(), body{}, "the visitor's"))
			defer leave()
			own, giveUp := context.WithCancel(t.Context())
			defer giveUp()
			r, _ := http.NewRequestWithContext(own, http.MethodGet, "https://api.example/", nil)
			_, err := (&present.Transport{
				Elsewhere: http.DefaultTransport,
				Context:   visitor, Origins: []string{"https://api.example"},
				Send: func(ctx context.Context, _ *http.Request) (*http.Response, error) {
					if ctx.Err() != nil || ctx.Value(body{}) != "the visitor's" {
						t.Errorf("the token is asked for with the context %v, error %v", ctx, ctx.Err())
					}
					tt.ends(leave, giveUp)
					<-ctx.Done()
					return nil, ctx.Err()
				},
			}).RoundTrip(r)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("error %v", err)
			}
		})
	}
	t.Run("F18 what a redirect led elsewhere, or became another protocol, ends with the visitor's request", func(t *testing.T) {
		var other *httptest.Server
		resource := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/elsewhere":
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
			case "/redirect":
				http.Redirect(w, r, other.URL+"/elsewhere", http.StatusFound)
			case "/upgrade":
				conn, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
				_, _ = io.ReadAll(conn) // until the other end closes it
			}
		}))
		defer resource.Close()
		other = httptest.NewServer(resource.Config.Handler)
		defer other.Close()
		for _, path := range []string{"/redirect", "/upgrade"} {
			visitor, leave := context.WithCancel(t.Context())
			client := &http.Client{Transport: &present.Transport{
				Context: visitor, Origins: []string{resource.URL}, Elsewhere: http.DefaultTransport,
				Send: func(_ context.Context, r *http.Request) (*http.Response, error) {
					return http.DefaultTransport.RoundTrip(r)
				},
			}}
			r, _ := http.NewRequest(http.MethodGet, resource.URL+path, nil)
			r.Header.Set("Connection", "Upgrade")
			r.Header.Set("Upgrade", "x")
			resp, err := client.Do(r)
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			leave()
			if _, err = io.ReadAll(resp.Body); err == nil {
				t.Errorf("%s: the answer ended by itself", path)
			}
			resp.Body.Close()
		}
	})
	t.Run("nothing is left of a request that was answered", func(t *testing.T) {
		r, _ := http.NewRequest(http.MethodGet, "https://api.example/", nil)
		var asked, sent context.Context
		resp, _ := (&present.Transport{
			Elsewhere: http.DefaultTransport,
			Context:   context.Background(), Origins: []string{"https://api.example"},
			Send: func(ctx context.Context, r *http.Request) (*http.Response, error) {
				asked, sent = ctx, r.Context()
				return &http.Response{Body: http.NoBody}, nil
			},
		}).RoundTrip(r)
		if asked.Err() == nil {
			t.Error("the context of the token has not ended")
		}
		if sent.Err() != nil {
			t.Error("the answer cannot be read")
		}
		if resp.Body.Close(); sent.Err() == nil {
			t.Error("the context of the request has not ended")
		}
	})
}
