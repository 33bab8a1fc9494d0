package redistest

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// A Proxy forwards between a client and a server. It can delay answers and lose them. Its methods
// may be called concurrently.
type Proxy struct {
	Addr string // host:port, for the client

	target string

	mu    sync.Mutex
	delay time.Duration
	cut   []byte // a part of the command whose answer is to be lost, or nil
	cuts  int
	conns map[net.Conn]bool
	gone  bool // the test has ended
}

// NewProxy starts a proxy to the server at target. It stops when the test ends.
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

// SetDelay delays every answer by d until it is called again.
func (p *Proxy) SetDelay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// CutReply makes the proxy close the connection in place of the answer to the next command that
// contains text. The server has executed the command by then.
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
		request := func(b []byte) bool { p.mark(b, lost); return true }
		answer := func([]byte) bool { return p.answer(lost) }
		running.Go(func() { p.forward(server, client, request) })
		running.Go(func() { p.forward(client, server, answer) })
	}
}

// forward copies from one end to the other until either is closed or pass returns false. Then it
// closes both.
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

// mark sends to lost if the command is the one whose answer is to be lost.
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

// answer waits for the delay and then reports whether the answer may pass.
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

// keep remembers both ends, so that they are closed with the proxy. If the proxy has stopped, it
// closes them at once and returns false.
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
