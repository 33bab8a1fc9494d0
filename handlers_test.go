package oidcgate_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate"
)

// site is a real server on loopback, with the gate in front of the handlers or without.
type site struct {
	*testing.T
	url    string
	client *http.Client
	cookie string
	panics chan any
}

// everySite runs a test of ordinary handlers behind each kind of server, without the gate and with it. put
// stores a value where the gate keeps some, and does nothing elsewhere.
func everySite(t *testing.T, handlers func(put func(*http.Request)) http.Handler, test func(*site)) {
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		for _, gate := range []string{"without the gate", "behind the gate", "behind a gate that keeps values"} {
			t.Run(proto+" "+gate, func(t *testing.T) {
				w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) {
					c.EnableValues = gate == "behind a gate that keeps values"
				})
				w.login()
				h := handlers(func(*http.Request) {})
				switch gate {
				case "behind the gate":
					h = w.gate.Wrap(w.gate.Require()(h))
				case "behind a gate that keeps values":
					h = w.gate.Wrap(w.gate.Require()(handlers(func(r *http.Request) { w.gate.Values().Put(r.Context(), "k", "v") })))
				}
				test(openSite(t, h, proto, sessionCookie+"="+w.cookie(sessionCookie)))
			})
		}
	}
}

func openSite(t *testing.T, h http.Handler, proto, cookie string) *site {
	t.Helper()
	s := &site{T: t, cookie: cookie, panics: make(chan any, 1)}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if v := recover(); v != nil {
				s.panics <- v
				panic(v)
			}
		}()
		if r.Proto != proto {
			t.Errorf("the request came by %s", r.Proto)
		}
		h.ServeHTTP(w, r)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	if proto == "HTTP/2.0" {
		server.EnableHTTP2 = true
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	s.url, s.client = server.URL, server.Client()
	return s
}

func (s *site) request(ctx context.Context, method string, headers ...string) *http.Request {
	s.Helper()
	r, err := http.NewRequestWithContext(ctx, method, s.url+"/", nil)
	if err != nil {
		s.Fatal(err)
	}
	r.Header.Set("Cookie", s.cookie)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	return r
}

// send returns the answer and its body.
func (s *site) send(r *http.Request) answer {
	s.Helper()
	resp, err := s.client.Do(r)
	if err != nil {
		s.Fatalf("%s: %v", r.Method, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.Fatalf("reading the answer: %v", err)
	}
	return answer{resp, string(body)}
}

func TestServerSentEvents(t *testing.T) {
	next := make(chan struct{})
	everySite(t, func(put func(*http.Request)) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			put(r)
			w.Header().Set("Content-Type", "text/event-stream")
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Errorf("the first Flush: %v", err)
			}
			for i := range 3 {
				<-next
				_, _ = fmt.Fprintf(w, "data: %d\n\n", i)
				w.(http.Flusher).Flush()
			}
		})
	}, func(s *site) {
		resp, err := s.client.Do(s.request(s.Context(), http.MethodGet))
		if err != nil {
			s.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
			s.Errorf("F37 the header that was flushed: %d %v", resp.StatusCode, resp.Header)
		}
		lines := bufio.NewReader(resp.Body)
		for i := range 3 {
			next <- struct{}{} // each event is read before the next is made
			line, err := lines.ReadString('\n')
			if want := fmt.Sprintf("data: %d\n", i); line != want || err != nil {
				s.Fatalf("F37 event %q, error %v, want %q", line, err, want)
			}
			_, _ = lines.ReadString('\n')
		}
	})
}

func TestEarlyHints(t *testing.T) {
	everySite(t, func(put func(*http.Request)) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", "</style.css>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			put(r)
			w.Header().Set("X-Later", "1")
			w.WriteHeader(http.StatusAccepted)
			_, _ = io.WriteString(w, "page")
		})
	}, func(s *site) {
		var hints []string
		ctx := httptrace.WithClientTrace(s.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
				hints = append(hints, fmt.Sprint(code, " ", h.Get("Link")))
				return nil
			},
		})
		a := s.send(s.request(ctx, http.MethodGet))
		if len(hints) != 1 || hints[0] != "103 </style.css>; rel=preload" {
			s.Errorf("F37 hints %q", hints)
		}
		if a.StatusCode != http.StatusAccepted || a.body != "page" || a.Header.Get("X-Later") != "1" {
			s.Errorf("F37 the answer after it: %d %q %v", a.StatusCode, a.body, a.Header)
		}
	})
}

func TestHijack(t *testing.T) {
	everySite(t, func(put func(*http.Request)) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			put(r)
			conn, buffer, err := http.NewResponseController(w).Hijack()
			if err != nil {
				http.Error(w, "no hijacking here", http.StatusNotImplemented)
				return
			}
			defer conn.Close()
			_, _ = buffer.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
			_ = buffer.Flush()
			line, _ := buffer.ReadString('\n')
			_, _ = io.WriteString(conn, "echo "+line)
		})
	}, func(s *site) {
		if strings.HasPrefix(s.url, "https") { // HTTP/2 has no connection to hand over, with or without us
			if a := s.send(s.request(s.Context(), http.MethodGet)); a.StatusCode != http.StatusNotImplemented {
				s.Errorf("status %d, want 501", a.StatusCode)
			}
			return
		}
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		if err != nil {
			s.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		_, _ = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: Upgrade\r\nUpgrade: echo\r\nCookie: %s\r\n\r\nhello\n", s.cookie)
		text, err := io.ReadAll(conn)
		if err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 101") || !strings.HasSuffix(string(text), "echo hello\n") {
			s.Errorf("F37 the connection says %q, error %v", text, err)
		}
	})
}

func TestServeContent(t *testing.T) {
	content := strings.Repeat("0123456789", 1000)
	name := filepath.Join(t.TempDir(), "file.txt")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	everySite(t, func(put func(*http.Request)) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			put(r)
			http.ServeFile(w, r, name)
		})
	}, func(s *site) {
		whole := s.send(s.request(s.Context(), http.MethodGet))
		if whole.StatusCode != http.StatusOK || whole.body != content || whole.ContentLength != int64(len(content)) {
			s.Errorf("the whole: status %d, %d bytes of %d", whole.StatusCode, len(whole.body), whole.ContentLength)
		}
		part := s.send(s.request(s.Context(), http.MethodGet, "Range: bytes=10-14"))
		if part.StatusCode != http.StatusPartialContent || part.body != "01234" || part.Header.Get("Content-Range") != "bytes 10-14/10000" {
			s.Errorf("a range: status %d, %q, %v", part.StatusCode, part.body, part.Header)
		}
		same := s.send(s.request(s.Context(), http.MethodGet, "If-Modified-Since: "+whole.Header.Get("Last-Modified")))
		if same.StatusCode != http.StatusNotModified || same.body != "" {
			s.Errorf("not modified: status %d, %q", same.StatusCode, same.body)
		}
		head := s.send(s.request(s.Context(), http.MethodHead))
		if head.StatusCode != http.StatusOK || head.body != "" || head.ContentLength != int64(len(content)) {
			s.Errorf("HEAD: status %d, %q, length %d", head.StatusCode, head.body, head.ContentLength)
		}
	})
}

func TestHandlerPanics(t *testing.T) {
	for _, value := range []any{"a text", http.ErrAbortHandler} {
		t.Run(fmt.Sprintf("F34 %v", value), func(t *testing.T) {
			everySite(t, func(put func(*http.Request)) http.Handler {
				return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					put(r)
					panic(value)
				})
			}, func(s *site) {
				resp, err := s.client.Do(s.request(s.Context(), http.MethodGet))
				if err == nil {
					_ = resp.Body.Close()
					s.Errorf("status %d, want a broken connection", resp.StatusCode)
				}
				if got := <-s.panics; got != value {
					s.Errorf("the server gets the panic %v", got)
				}
			})
		})
	}
}

// abilities tells what a handler can find out about its ResponseWriter.
func abilities(w http.ResponseWriter) string {
	_, flusher := w.(http.Flusher)
	_, hijacker := w.(http.Hijacker)
	_, pusher := w.(http.Pusher)
	_, readerFrom := w.(io.ReaderFrom)
	_, stringWriter := w.(io.StringWriter)
	_, closeNotifier := w.(interface{ CloseNotify() <-chan bool })
	c := http.NewResponseController(w)
	read, write := c.SetReadDeadline(time.Time{}), c.SetWriteDeadline(time.Time{})
	return fmt.Sprint("Flusher ", flusher, ", Hijacker ", hijacker, ", Pusher ", pusher, ", ReaderFrom ", readerFrom,
		", StringWriter ", stringWriter, ", CloseNotifier ", closeNotifier, ", deadlines ", read, " ", write)
}

func TestWriterIsAsWithoutTheGate(t *testing.T) {
	plain := map[string]string{} // by the server's URL scheme
	everySite(t, func(func(*http.Request)) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, abilities(w)) })
	}, func(s *site) {
		got := s.send(s.request(s.Context(), http.MethodGet)).body
		scheme, _, _ := strings.Cut(s.url, ":")
		if plain[scheme] == "" {
			plain[scheme] = got // the first is the one without the gate
			return
		}
		if got != plain[scheme] {
			s.Errorf("the writer has\n%s, without the gate\n%s", got, plain[scheme])
		}
	})

	t.Run("without values it is the very same", func(t *testing.T) {
		w := newWorld(t)
		rec := httptest.NewRecorder()
		w.gate.Wrap(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			if rw != http.ResponseWriter(rec) {
				t.Errorf("the handler gets a %T", rw)
			}
		})).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/", nil))
	})

	t.Run("with values a file reaches the server's own ReadFrom", func(t *testing.T) {
		w := newWorld(t, keepsValues)
		fast := &sendfile{ResponseRecorder: httptest.NewRecorder()}
		w.gate.Wrap(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			http.ServeContent(rw, r, "file.txt", time.Time{}, strings.NewReader("content"))
		})).ServeHTTP(fast, httptest.NewRequest(http.MethodGet, "/", nil))
		if fast.calls != 1 || fast.Body.String() != "content" {
			t.Errorf("ReadFrom was called %d times; the body is %q", fast.calls, fast.Body)
		}
	})
}

// sendfile is an HTTP/1 server's writer that counts the calls of ReadFrom.
type sendfile struct {
	*httptest.ResponseRecorder
	calls int
}

func (s *sendfile) ReadFrom(src io.Reader) (int64, error) {
	s.calls++
	return io.Copy(s.ResponseRecorder, src)
}

func (s *sendfile) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return nil, nil, http.ErrNotSupported
}

// lateStatus is a ResponseWriter as gin's, whose status is 404 where it has no route until something says another.
type lateStatus struct {
	http.ResponseWriter
	said bool
}

func (w *lateStatus) WriteHeader(status int) {
	w.said = true
	w.ResponseWriter.WriteHeader(status)
}

func (w *lateStatus) Write(b []byte) (int, error) {
	if !w.said {
		w.WriteHeader(http.StatusNotFound)
	}
	return w.ResponseWriter.Write(b)
}

func TestOwnRoutesSayTheirStatus(t *testing.T) {
	t.Run("C172 C190 behind a router that would say 404", func(t *testing.T) {
		w := newWorld(t, func(c *oidcgate.Config, p *oidcgate.Provider) {
			c.Site.SessionInfo, c.API.Audience, c.API.Metadata = true, []string{"https://shop.test"}, true
			p.Auth = oidcgate.PrivateKeyJWT()
			p.ClientKeys = oidcgate.NewClientKeys([]oidcgate.ClientKey{{Key: newClientKey(t)}})
		})
		gate := w.handler
		w.handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { gate.ServeHTTP(&lateStatus{ResponseWriter: rw}, r) })
		for _, path := range []string{"/auth/session", "/auth/jwks", "/.well-known/oauth-protected-resource", "/auth/logout"} {
			a := w.get(path, "Sec-Fetch-Site: same-origin")
			if a.StatusCode != http.StatusOK || a.body == "" {
				t.Errorf("%s: %d %s", path, a.StatusCode, a.body)
			}
		}
	})
}
