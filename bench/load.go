//go:build unix

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// A load is what the servers did with a number of connections: a sample for each subject and round.
type load struct {
	connections int
	subjects    []subject
	samples     map[string][]sample
}

// A sample is one measurement of one server.
type sample struct {
	cpu  time.Duration // processor time of the server per request
	rate float64       // requests per second
	p99  time.Duration // within which 99 of 100 requests were answered
}

func measureLoad(ctx context.Context, o options, connections int, redisAddr string) (*load, error) {
	servers := make(map[string]*server, len(subjects))
	defer func() {
		for _, s := range servers {
			_ = s.stop()
		}
	}()
	var all []subject
	for _, s := range o.all() {
		server, err := startServer(ctx, s, redisAddr)
		if err != nil && s.program != "" { // another commit may not have it
			progress("left out: %s: %v", s.title(), err)
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, s)
		servers[s.title()] = server
		if _, err := measure(ctx, server, connections, o.time/4); err != nil { // to warm it
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	l := &load{connections, all, make(map[string][]sample)}
	for round := range o.rounds {
		if round%5 == 0 {
			progress("%d connections, round %d of %d", connections, round+1, o.rounds)
		}
		for _, s := range inTurn(all, round) {
			sample, err := measure(ctx, servers[s.title()], connections, o.time)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.name, err)
			}
			l.samples[s.title()] = append(l.samples[s.title()], sample)
		}
	}
	return l, nil
}

// inTurn returns the subjects forwards and backwards by turns, so that a machine which becomes slower or faster
// favours none.
func inTurn(all []subject, round int) []subject {
	order := slices.Clone(all)
	if round%2 == 1 {
		slices.Reverse(order)
	}
	return order
}

// measure sends requests for a time, each connection the next as soon as it has the answer to the last.
func measure(ctx context.Context, s *server, connections int, d time.Duration) (sample, error) {
	visitors, err := dial(s, connections)
	defer closeAll(visitors)
	if err != nil {
		return sample{}, err
	}
	before, err := s.used()
	if err != nil {
		return sample{}, err
	}
	start := time.Now()
	waits, err := browse(ctx, visitors, start.Add(d))
	took := time.Since(start)
	if err != nil {
		return sample{}, err
	}
	after, err := s.used()
	if err != nil {
		return sample{}, err
	}
	slices.Sort(waits)
	return sample{
		cpu:  (after - before) / time.Duration(len(waits)),
		rate: float64(len(waits)) / took.Seconds(),
		p99:  waits[(len(waits)-1)*99/100],
	}, nil
}

// browse lets all visitors ask until the end, once at least, and returns how long each answer took.
func browse(ctx context.Context, visitors []*visitor, end time.Time) ([]time.Duration, error) {
	var (
		wait  sync.WaitGroup
		errs  = make([]error, len(visitors))
		waits = make([][]time.Duration, len(visitors))
	)
	for i, v := range visitors {
		wait.Go(func() {
			for start := time.Now(); errs[i] == nil && ctx.Err() == nil; {
				errs[i] = v.get()
				now := time.Now()
				waits[i] = append(waits[i], now.Sub(start))
				if start = now; now.After(end) {
					return
				}
			}
		})
	}
	wait.Wait()
	return slices.Concat(waits...), errors.Join(append(errs, ctx.Err())...)
}

// A visitor is one keep-alive connection of a signed-in browser. It speaks HTTP itself, because http.Client
// would take more of the machine than the servers do.
type visitor struct {
	conn    net.Conn
	reader  *bufio.Reader
	request []byte
}

// dial opens connections and sends one request on each: the opening is not measured.
func dial(s *server, connections int) ([]*visitor, error) {
	request := "GET /me HTTP/1.1\r\nHost: shop.test\r\nUser-Agent: bench\r\nAccept: application/json\r\nCookie: " + s.Cookie + "\r\n\r\n"
	var visitors []*visitor
	for range connections {
		conn, err := net.Dial("tcp", s.Addr)
		if err != nil {
			return visitors, err
		}
		v := &visitor{conn, bufio.NewReader(conn), []byte(request)}
		visitors = append(visitors, v)
		if err := v.get(); err != nil {
			return visitors, err
		}
	}
	return visitors, nil
}

func closeAll(visitors []*visitor) {
	for _, v := range visitors {
		_ = v.conn.Close()
	}
}

func (v *visitor) get() error {
	if _, err := v.conn.Write(v.request); err != nil {
		return err
	}
	resp, err := http.ReadResponse(v.reader, nil)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s", resp.Status)
	}
	return nil
}
