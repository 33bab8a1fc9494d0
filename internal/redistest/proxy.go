package redistest

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// A Proxy stands between a client and a server and spoils the answers. Its methods
// may be called concurrently.
type Proxy struct {
	Addr string // host:port, for the client

	target string

	mu    sync.Mutex
	delay time.Duration
	cut   []byte // the command whose answer is lost, or nil
	cuts  int
	conns map[net.Conn]bool
	gone  bool
}

// NewProxy starts a proxy to the server at target. It ends with the test.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("starting a proxy: %v", err)
	}
	p := &Proxy{Addr: l.Addr().String(), target: target, conns: make(map[net.Conn]bool)}
	var running sync.WaitGroup
	running.Go(func() { p.accept(l, &running) })
	t.Cleanup(func() {
		_ = l.Close()
		p.closeAll()
		running.Wait()
	})
	return p
}

// SetDelay makes every answer come so much later, until it is set anew.
func (p *Proxy) SetDelay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// CutReply closes the connection in place of the next answer to a command that
// contains text. The server has carried the command out.
func (p *Proxy) CutReply(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = []byte(text)
}

// Cuts returns how many answers were cut.
func (p *Proxy) Cuts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cuts
}

func (p *Proxy) accept(l net.Listener, running *sync.WaitGroup) {
	for {
		client, err := l.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		if !p.keep(client, server) {
			return
		}
		lost := make(chan struct{}, 1) // the next answer is to be lost
		running.Go(func() { p.forward(server, client, func(b []byte) bool { p.mark(b, lost); return true }) })
		running.Go(func() { p.forward(client, server, func([]byte) bool { return p.answer(lost) }) })
	}
}

// forward copies from one end to the other until either closes or pass says no,
// and closes both.
func (p *Proxy) forward(to io.WriteCloser, from io.ReadCloser, pass func([]byte) bool) {
	defer func() { _, _ = to.Close(), from.Close() }()
	buffer := make([]byte, 256<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 && !pass(buffer[:n]) {
			return
		}
		if _, werr := to.Write(buffer[:n]); err != nil || werr != nil {
			return
		}
	}
}

// mark looks for the command whose answer is to be lost.
func (p *Proxy) mark(command []byte, lost chan<- struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut == nil || !bytes.Contains(command, p.cut) {
		return
	}
	p.cut = nil
	p.cuts++
	lost <- struct{}{}
}

// answer reports whether an answer may pass, when its time has come.
func (p *Proxy) answer(lost <-chan struct{}) bool {
	p.mu.Lock()
	delay := p.delay
	p.mu.Unlock()
	time.Sleep(delay)
	select {
	case <-lost:
		return false
	default:
		return true
	}
}

// keep remembers both ends, to close them with the proxy. It closes them at once
// and returns false if that has ended.
func (p *Proxy) keep(ends ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, end := range ends {
		if p.gone {
			_ = end.Close()
		}
		p.conns[end] = true
	}
	return !p.gone
}

func (p *Proxy) closeAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone = true
	for end := range p.conns {
		_ = end.Close()
	}
}
