package op_test

import (
	"bufio"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/internal/op"
)

// These tests use the hardened transport and real sockets, for what only those
// can show.

// at points a Config to a provider at base, all of whose endpoints are known, over the hardened
// transport. Its timeout is so long that no busy machine reaches it: what a test sees is the fault
// that it made. A test in which nobody answers adds within.
func at(base string) func(*op.Config) {
	return func(cfg *op.Config) {
		cfg.Issuer = base
		cfg.Endpoints = op.Endpoints{
			Authorization: base + "/authorize", Token: base + "/token", JWKS: base + "/jwks", Userinfo: base + "/userinfo",
		}
		cfg.Userinfo = op.UserinfoRequired
		cfg.Transport = nil
		cfg.Timeout = time.Minute
	}
}

func within(timeout time.Duration) func(*op.Config) {
	return func(cfg *op.Config) { cfg.Timeout = timeout }
}

func discoveredAt(base string) func(*op.Config) {
	return func(cfg *op.Config) {
		at(base)(cfg)
		cfg.Endpoints = op.Endpoints{}
	}
}

// wire serves raw connections: it reads one request and lets answer do the
// rest. It counts the requests.
func wire(t *testing.T, answer func(net.Conn)) (base string, requests *atomic.Int32) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	requests = &atomic.Int32{}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				r, err := http.ReadRequest(bufio.NewReader(conn))
				if err != nil {
					return
				}
				io.Copy(io.Discard, r.Body)
				requests.Add(1)
				answer(conn)
			}()
		}
	}()
	return "http://" + listener.Addr().String(), requests
}

// meet makes a call to a provider that does not answer well, and returns how often the provider got
// the request. When status is that of a timeout, the call has little time. On a busy machine that
// may be too little for the request to arrive; then meet makes the call again, to a new provider
// and with more time.
func meet(
	t *testing.T, answer func(net.Conn), status int, call func(*op.Client) error,
) (requests int32, err error) {
	t.Helper()
	timeout := time.Minute
	if status == http.StatusGatewayTimeout {
		timeout = 300 * time.Millisecond
	}
	for {
		base, received := wire(t, answer)
		err := call(newOP().client(at(base), within(timeout)))
		requests := received.Load()
		if requests > 0 || timeout >= time.Minute {
			return requests, err
		}
		timeout *= 4
	}
}

func TestFaultsOnTheWire(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	silent := func(conn net.Conn) { io.Copy(io.Discard, conn) }
	faults := []struct {
		name   string
		answer func(net.Conn)
		status int
	}{
		{"F03 nothing after accept", silent, 504},
		{"F03 nothing after half the headers",
			func(conn net.Conn) { io.WriteString(conn, head); silent(conn) }, 504},
		{"F03 nothing after the headers",
			func(conn net.Conn) { io.WriteString(conn, head+"Content-Length: 9\r\n\r\n"); silent(conn) },
			504},
		{"F03 a byte now and then", func(conn net.Conn) {
			io.WriteString(conn, head+"\r\n{")
			for {
				if _, err := io.WriteString(conn, " "); err != nil {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		}, 504},
		{"F11 a reset after the request", func(conn net.Conn) { conn.(*net.TCPConn).SetLinger(0) }, 502},
		{"F11 the end after the request", func(net.Conn) {}, 502},
		{"F11 the end within the body",
			func(conn net.Conn) { io.WriteString(conn, head+"Content-Length: 9\r\n\r\n{") }, 502},
		{"C055 no HTTP, with the request in it",
			func(conn net.Conn) { io.WriteString(conn, "code=hush-code hush-verifier\r\n\r\n") }, 502},
		{"F08 endless chunks", func(conn net.Conn) {
			io.WriteString(conn, head+"Transfer-Encoding: chunked\r\n\r\n")
			for chunk := "10000\r\n" + strings.Repeat(" ", 0x10000) + "\r\n"; ; {
				if _, err := io.WriteString(conn, chunk); err != nil {
					return
				}
			}
		}, 502},
		{"F08 headers without end", func(conn net.Conn) {
			io.WriteString(conn, head)
			for line := "X: " + strings.Repeat("x", 1000) + "\r\n"; ; {
				if _, err := io.WriteString(conn, line); err != nil {
					return
				}
			}
		}, 502},
	}
	calls := []struct {
		name string
		call func(*op.Client) error
	}{
		{"token", func(c *op.Client) error {
			_, err := c.Exchange(t.Context(), "hush-code", "hush-verifier")
			return err
		}},
		{"userinfo", func(c *op.Client) error {
			_, err := c.Userinfo(t.Context(), "hush-token", subject)
			return err
		}},
		{"jwks", func(c *op.Client) error {
			_, err := c.VerifyIDToken(t.Context(), goodToken(), "", op.Expectation{Nonce: nonce})
			return err
		}},
	}
	reasons := map[string]string{"userinfo": "userinfo_error", "jwks": "jwks_unavailable"}
	for _, fault := range faults {
		for _, call := range calls {
			t.Run(fault.name+", "+call.name, func(t *testing.T) {
				t.Parallel()
				requests, err := meet(t, fault.answer, fault.status, call.call)
				reason := reasons[call.name]
				if reason == "" {
					reason = "token_endpoint_unreachable"
					if strings.HasPrefix(fault.name, "F08 endless") {
						reason = "token_response_invalid"
					}
				}
				if e := wantReason(t, err, reason); e.Status != fault.status {
					t.Errorf("status %d (%v), want %d", e.Status, err, fault.status)
				}
				if call.name == "token" && requests != 1 {
					t.Errorf("C056 the code was sent %d times", requests)
				}
			})
		}
		t.Run(fault.name+", discovery", func(t *testing.T) {
			t.Parallel()
			base, _ := wire(t, fault.answer)
			timeout := time.Minute
			if fault.status == http.StatusGatewayTimeout {
				timeout = 300 * time.Millisecond
			}
			_, err := newOP().client(discoveredAt(base), within(timeout)).Metadata(t.Context())
			reason := "provider_unreachable"
			if strings.HasPrefix(fault.name, "F08 endless") {
				reason = "metadata_invalid"
			}
			wantReason(t, err, reason)
		})
	}
}

func TestNobodyListens(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	base := "http://" + listener.Addr().String()
	listener.Close()
	_, err = newOP().client(at(base)).Exchange(t.Context(), "hush-code", "hush-verifier")
	if e := wantReason(t, err, "token_endpoint_unreachable"); e.Status != 503 {
		t.Errorf("F01 status %d, want 503", e.Status)
	}
}

// A token call over a kept-alive connection that breaks is not made again, as
// net/http would with a GET.
func TestCodeIsNotSentAgainOverANewConnection(t *testing.T) {
	var tokenCalls atomic.Int32
	o := newOP()
	o.set("token", func(w http.ResponseWriter, r *http.Request) {
		tokenCalls.Add(1)
		r.ParseForm()
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			conn.Close()
		}
	})
	o.set("userinfo", answerJSON(userinfo(nil)))
	server := httptest.NewServer(o)
	defer server.Close()
	c := o.client(at(server.URL))
	_, err := c.Userinfo(t.Context(), "at-1", subject) // leaves a connection to reuse
	wantReason(t, err, "")
	_, err = c.Exchange(t.Context(), "hush-code", "hush-verifier")
	wantReason(t, err, "token_endpoint_unreachable")
	if n := tokenCalls.Load(); n != 1 {
		t.Errorf("F44 C056 the code was sent %d times", n)
	}
}

// forgetful passes connections on to a server. They can go silent, as behind a firewall that forgot
// them, while new ones work.
type forgetful struct {
	net.Listener
	silent []*atomic.Bool
	mu     sync.Mutex
}

func newForgetful(t *testing.T, server string) *forgetful {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &forgetful{Listener: listener}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			inner, err := listener.Accept()
			if err != nil {
				return
			}
			outer, err := net.Dial("tcp", server)
			if err != nil {
				_ = inner.Close()
				continue
			}
			silent := new(atomic.Bool)
			w.mu.Lock()
			w.silent = append(w.silent, silent)
			w.mu.Unlock()
			pass := func(to, from net.Conn) {
				defer func() { _ = to.Close() }()
				buffer := make([]byte, 32<<10)
				for {
					n, err := from.Read(buffer)
					if err != nil {
						return
					}
					if !silent.Load() {
						_, _ = to.Write(buffer[:n])
					}
				}
			}
			go pass(inner, outer)
			go pass(outer, inner)
		}
	}()
	return w
}

func (w *forgetful) silence() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, silent := range w.silent {
		silent.Store(true)
	}
}

func TestSilentConnection(t *testing.T) {
	for name, http2 := range map[string]bool{"HTTP/2": true, "HTTP/1.1": false} {
		t.Run("F01 a connection over "+name+" that dies without a word is replaced", func(t *testing.T) {
			o := newOP()
			o.set("token", answerJSON(tokenAnswer(nil)))
			server := httptest.NewUnstartedServer(o)
			server.EnableHTTP2 = http2
			server.StartTLS()
			defer server.Close()
			w := newForgetful(t, server.Listener.Addr().String())
			roots := x509.NewCertPool()
			roots.AddCert(server.Certificate())
			c := o.client(at("https://"+w.Addr().String()), func(cfg *op.Config) {
				cfg.Transport, cfg.RootCAs, cfg.Timeout = nil, roots, time.Second
			})
			_, err := c.Exchange(t.Context(), "c", "v")
			wantReason(t, err, "")
			w.silence()
			for end := time.Now().Add(time.Minute); err != nil || time.Now().Before(end); {
				if _, err = c.Exchange(t.Context(), "c", "v"); err == nil {
					return
				}
				if time.Now().After(end) {
					t.Fatalf("after a minute: %v", err)
				}
			}
		})
	}
}

func TestGzipBomb(t *testing.T) {
	bomb := func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			t.Errorf("F08 asks for %s", r.Header.Get("Accept-Encoding"))
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Encoding", "gzip")
		zip := gzip.NewWriter(w)
		spaces := make([]byte, 1<<20)
		for range 100 {
			zip.Write(spaces)
		}
		zip.Close()
	}
	o := newOP()
	for endpoint := range paths {
		o.set(endpoint, bomb)
	}
	server := httptest.NewServer(o)
	defer server.Close()
	for name, transport := range map[string]http.RoundTripper{"ours": nil, "net/http's own": &http.Transport{}} {
		c := o.client(at(server.URL), func(cfg *op.Config) {
			cfg.Transport = transport
		})
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := c.Exchange(t.Context(), "c", "v")
		runtime.ReadMemStats(&after)
		wantReason(t, err, "token_response_invalid")
		_, err = c.Userinfo(t.Context(), "at-1", subject)
		wantReason(t, err, "userinfo_error")
		if used := after.TotalAlloc - before.TotalAlloc; used > 20<<20 {
			t.Errorf("F08 a bomb of 100 MB took %d bytes through the transport that is %s", used, name)
		}
	}
}

func TestTLS(t *testing.T) {
	tests := []struct {
		name   string
		config func(*tls.Config)
		host   string
		trust  bool
		status int // of the failure, 0 for none
	}{
		{"C004 a trusted certificate", nil, "example.com", true, 0},
		{"C004 a certificate nobody vouches for", nil, "example.com", false, 502},
		{"C004 a certificate for another host", nil, "evil.test", true, 502},
		{"C004 TLS 1.1",
			func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 },
			"example.com", true, 502},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := newOP()
			o.set("token", answerJSON(tokenAnswer(nil)))
			server := httptest.NewUnstartedServer(o)
			server.Config.ErrorLog = log.New(io.Discard, "", 0)
			server.TLS = &tls.Config{}
			if tt.config != nil {
				tt.config(server.TLS)
			}
			server.StartTLS()
			defer server.Close()
			roots := x509.NewCertPool()
			if tt.trust {
				roots.AddCert(server.Certificate())
			}
			c := o.client(at("https://"+tt.host), func(cfg *op.Config) {
				cfg.Transport = &http.Transport{
					TLSClientConfig: &tls.Config{RootCAs: roots},
					DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
						return new(net.Dialer).DialContext(ctx, "tcp", server.Listener.Addr().String())
					},
				}
			})
			_, err := c.Exchange(t.Context(), "c", "v")
			if tt.status == 0 {
				wantReason(t, err, "")
			} else if e := wantReason(t, err, "token_endpoint_unreachable"); e.Status != tt.status {
				t.Errorf("status %d (%v), want %d", e.Status, err, tt.status)
			}
		})
	}
	t.Run("C004 the hardened transport trusts no test certificate", func(t *testing.T) {
		server := httptest.NewUnstartedServer(newOP())
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.StartTLS()
		defer server.Close()
		_, err := newOP().client(at(server.URL)).Exchange(t.Context(), "c", "v")
		if e := wantReason(t, err, "token_endpoint_unreachable"); e.Status != 502 || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("status %d, %v", e.Status, err)
		}
	})
}

// say says something in place of an answer and then reads on.
func say(text string) func(net.Conn) {
	return func(conn net.Conn) {
		io.WriteString(conn, text)
		io.Copy(io.Discard, conn)
	}
}

func TestTLSFaultsAreNamed(t *testing.T) {
	for name, tt := range map[string]struct {
		answer  func(net.Conn)
		text    string
		timeout time.Duration
	}{
		"C004 an alert": {
			say("\x15\x03\x01\x00\x02\x02\x28"), "TLS: tls: handshake failure", time.Minute,
		},
		"C004 not TLS":    {say("SSH-2.0-hush\r\n"), "does not speak TLS", time.Minute},
		"F03 no hello":    {say(""), "no answer in time", 300 * time.Millisecond},
		"F11 a hasty end": {func(net.Conn) {}, "the connection broke", time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			go func() {
				if conn, err := listener.Accept(); err == nil {
					defer conn.Close()
					conn.Read(make([]byte, 1<<16))
					tt.answer(conn)
				}
			}()
			base := "https://" + listener.Addr().String()
			c := newOP().client(at(base), within(tt.timeout))
			_, err = c.Exchange(t.Context(), "hush-code", "hush-verifier")
			wantReason(t, err, "token_endpoint_unreachable")
			if !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %v, want %q in it", err, tt.text)
			}
		})
	}
}

func TestForbiddenAddresses(t *testing.T) {
	for _, host := range []string{
		"169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", // link-local, where clouds keep credentials
		"100.100.100.200", "168.63.129.16", "192.0.0.192", "[fd00:ec2::254]", "[fd20:ce::254]", "[::ffff:168.63.129.16]",
		"224.0.0.1", "[ff02::1]", "255.255.255.255", "0.0.0.0", "[::]",
		// IPv6 addresses that stand for 169.254.169.254 and 168.63.129.16.
		"[64:ff9b::a9fe:a9fe]", "[64:ff9b::168.63.129.16]", // NAT64
		"[64:ff9b:1:a9fe:a9:fe00::]", "[64:ff9b:1:a9:fe:a9fe::]", "[64:ff9b:1:0:a9:fea9:fe00::]", "[64:ff9b:1::a9fe:a9fe]",
		"[2002:a9fe:a9fe::1]", "[2002:a83f:8110::1]", // 6to4
		"[::ffff:0:169.254.169.254]", // SIIT
		"[::169.254.169.254]", "[::168.63.129.16]",
	} {
		t.Run("F43 "+host, func(t *testing.T) {
			c := newOP().client(at("http://"+host), func(cfg *op.Config) { cfg.AllowHTTP = true })
			_, err := c.Exchange(t.Context(), "c", "v")
			wantReason(t, err, "token_endpoint_unreachable")
			if !strings.Contains(err.Error(), "metadata service") {
				t.Errorf("refused with %v, not for its address", err)
			}
		})
	}
}

func TestAddressesThatMayBeDialled(t *testing.T) {
	for _, ip := range []string{
		"127.0.0.1", "::1", "10.0.0.1", "192.168.1.1", "203.0.113.7", "2001:db8::1", "fd12::1", "::ffff:10.0.0.1",
		"64:ff9b::10.0.0.1", "64:ff9b:1::10.0.0.1", "64:ff9b:1:a00:0:100::", "2002:a00:1::1", "::ffff:0:10.0.0.1", "::10.0.0.1",
	} {
		if op.ForbiddenAddress(netip.MustParseAddr(ip)) {
			t.Errorf("F43 %s is refused", ip)
		}
	}
}

// Over HTTP/1.1 each request has a connection of its own.
func TestRefreshBesideSlowLogins(t *testing.T) {
	t.Run("F04 sixty-four logins that take long leave connections for a refresh", refreshBesideSlowLogins)
}

func refreshBesideSlowLogins(t *testing.T) {
	o := newOP()
	tokens := answerJSON(tokenAnswer(nil))
	var slow atomic.Int64
	released := make(chan struct{})
	o.set("token", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("grant_type") == "authorization_code" {
			slow.Add(1)
			<-released
		}
		tokens(w, r)
	})
	server := httptest.NewServer(o)
	defer server.Close()
	defer close(released)
	c := o.client(at(server.URL))
	for range 64 {
		go c.Exchange(t.Context(), "code", "verifier")
	}
	for slow.Load() < 64 {
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second) // half as long as the logins may take
	defer cancel()
	_, err := c.Refresh(ctx, "rt", "")
	wantReason(t, err, "")
}

func TestNoCookies(t *testing.T) {
	o := newOP()
	h := answerJSON(userinfo(nil))
	o.set("userinfo", func(w http.ResponseWriter, r *http.Request) {
		if c := r.Header.Get("Cookie"); c != "" {
			t.Errorf("C015 sends %q", c)
		}
		http.SetCookie(w, &http.Cookie{Name: "tracking", Value: "1"})
		h(w, r)
	})
	server := httptest.NewServer(o)
	defer server.Close()
	c := o.client(at(server.URL))
	for range 2 {
		_, err := c.Userinfo(t.Context(), "at-1", subject)
		wantReason(t, err, "")
	}
	if o.count("userinfo") != 2 {
		t.Errorf("%d calls", o.count("userinfo"))
	}
}

// C053 a whole login over real sockets: discovery, keys, tokens and userinfo.
func TestLoginOverHTTP(t *testing.T) {
	o := newOP()
	server := httptest.NewServer(o)
	defer server.Close()
	o.mu.Lock()
	o.handlers["/.well-known/openid-configuration"] = answerJSON(metadata(map[string]any{
		"issuer":                 server.URL,
		"authorization_endpoint": server.URL + "/authorize",
		"token_endpoint":         server.URL + "/token",
		"jwks_uri":               server.URL + "/jwks",
		"userinfo_endpoint":      server.URL + "/userinfo",
	}))
	o.mu.Unlock()
	raw := signed(goodHeader, encode(identity(map[string]any{"iss": server.URL, "at_hash": halfHash("at-1")})))
	o.set("token", answerJSON(tokenAnswer(map[string]any{"id_token": raw})))
	o.set("userinfo", answerJSON(userinfo(nil)))
	c := o.client(discoveredAt(server.URL))

	tokens, err := c.Exchange(t.Context(), "code", "verifier")
	wantReason(t, err, "")
	id, err := c.VerifyIDToken(t.Context(), tokens.IDToken, tokens.AccessToken, op.Expectation{Nonce: nonce})
	wantReason(t, err, "")
	if v, _ := id.Get("email"); string(v.AppendJSON(nil)) != `"jane@example.org"` {
		t.Errorf("email is %s", v.AppendJSON(nil))
	}
	info, err := c.Userinfo(t.Context(), tokens.AccessToken, subject)
	wantReason(t, err, "")
	if got := string(info.AppendJSON(nil)); got != `{"name":"Jane Doe"}` {
		t.Errorf("userinfo is %s", got)
	}
}
