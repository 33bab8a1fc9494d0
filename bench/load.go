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

// A load holds the samples at one number of connections, one for each subject and round.
type load struct {
	connections int
	samples     map[string][]sample
}

// A sample is one measurement of one server.
type sample struct {
	cpu  time.Duration // processor time of the server per request
	rate float64       // requests per second
	p99  time.Duration // 99 of 100 requests were answered within this time
}

func measureLoad(ctx context.Context, o options, connections int, redisAddr string) (*load, error) {
	servers := make(map[string]*server, len(subjects))
	defer func() {
		for _, s := range servers {
			_ = s.stop()
		}
	}()
	for _, s := range subjects {
		server, err := startServer(ctx, s.name, redisAddr)
		if err != nil {
			return nil, err
		}
		servers[s.name] = server
		if _, err := measure(ctx, server, connections, o.time/4); err != nil { // to warm it
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	l := &load{connections, make(map[string][]sample)}
	for round := range o.rounds {
		if round%5 == 0 {
			progress("%d connections, round %d of %d", connections, round+1, o.rounds)
		}
		for _, s := range inTurn(round) {
			sample, err := measure(ctx, servers[s.name], connections, o.time)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.name, err)
			}
			l.samples[s.name] = append(l.samples[s.name], sample)
		}
	}
	return l, nil
}

// inTurn returns the subjects forwards in one round and backwards in the next, so that no subject
// has an advantage when the machine becomes slower or faster.
func inTurn(round int) []subject {
	order := slices.Clone(subjects)
	if round%2 == 1 {
		slices.Reverse(order)
	}
	return order
}

// measure sends requests for a time. Each connection sends the next request as soon as it has
// received the response to the last one.
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

// browse lets all visitors send requests until end, at least one each, and returns the duration of
// each response.
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

// A visitor is one keep-alive connection of a signed-in browser. It implements HTTP itself, because
// http.Client would use more processor time than the servers.
type visitor struct {
	conn    net.Conn
	reader  *bufio.Reader
	request []byte
}

// dial opens connections and sends one request on each, so that opening them is not measured.
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
