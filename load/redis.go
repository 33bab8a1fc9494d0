package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// startRedis starts a redis-server on loopback that keeps everything in memory and writes nothing
// to disk.
func startRedis(ctx context.Context) (_ *redis.Client, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	addr := l.Addr().(*net.TCPAddr)
	_ = l.Close()
	process := exec.CommandContext(ctx, "redis-server", "--bind", "127.0.0.1", "--port", strconv.Itoa(addr.Port),
		"--save", "", "--appendonly", "no", "--dir", os.TempDir())
	if err := process.Start(); err != nil {
		return nil, nil, fmt.Errorf("starting redis-server, which `make setup` installs: %w", err)
	}
	rdb := redis.NewClient(&redis.Options{Addr: addr.String(), ContextTimeoutEnabled: true, PoolSize: 64})
	stop = func() {
		_ = rdb.Close()
		_ = process.Process.Kill()
		_ = process.Wait() // it was killed
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if err = rdb.Ping(ctx).Err(); err == nil {
			return rdb, stop, nil
		}
		if time.Now().After(end) {
			stop()
			return nil, nil, fmt.Errorf("redis-server does not answer: %w", err)
		}
	}
}

// A gauge holds figures that Redis reports about itself.
type gauge struct {
	memory int64         // bytes of memory, without the buffers of its clients
	cpu    time.Duration // of the process
}

func readGauge(ctx context.Context, rdb *redis.Client) (gauge, error) {
	text, err := rdb.Info(ctx, "everything").Result()
	if err != nil {
		return gauge{}, err
	}
	var g gauge
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch name {
		case "used_memory":
			var n int64
			n, err = strconv.ParseInt(value, 10, 64)
			g.memory += n
		case "mem_clients_normal": // not part of the sessions
			var n int64
			n, err = strconv.ParseInt(value, 10, 64)
			g.memory -= n
		case "used_cpu_sys", "used_cpu_user":
			var seconds float64
			seconds, err = strconv.ParseFloat(value, 64)
			g.cpu += time.Duration(seconds * float64(time.Second))
		}
		if err != nil {
			return gauge{}, fmt.Errorf("INFO says %q: %w", line, err)
		}
	}
	return g, nil
}

// A counter counts the commands that a client sends.
type counter struct{ atomic.Int64 }

// DialHook implements [redis.Hook].
func (c *counter) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook implements [redis.Hook].
func (c *counter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.Add(1)
		return next(ctx, cmd)
	}
}

// ProcessPipelineHook implements [redis.Hook].
func (c *counter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.Add(int64(len(cmds)))
		return next(ctx, cmds)
	}
}
