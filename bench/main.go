//go:build unix

// Command bench measures what an authenticated request costs behind a gate, beside what it could cost at
// least and what its peers cost: in one run, because numbers of two runs are not comparable.
//
// Every way of answering GET /me is a server in a process of its own, so that its processor time can be read
// without that of the load or of Redis. The load comes over loopback on keep-alive connections that never
// wait, which keeps the server saturated: with idle time between requests, waking up costs more than
// everything that is to be told apart. The servers are measured in turn, several rounds long, and every ratio
// is the median of the ratios within a round, because a machine is not equally fast for two minutes.
//
//	go run .                            all of it, about two minutes
//	go run . -rounds 5                  shorter, and noisier
//	go test -bench Serve -cpuprofile f  one process, for the profiler
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		stop()
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	rounds      int
	time        time.Duration
	connections []int
	serve       string // the name of a subject: this process is its server
	redis       string // the address of the Redis it is to use
	before      string // this program as another commit builds it
}

func parseOptions() (options, error) {
	var o options
	flag.IntVar(&o.rounds, "rounds", 21, "how often each server is measured")
	flag.DurationVar(&o.time, "time", 300*time.Millisecond, "how long each measurement takes")
	connections := flag.String("connections", "1,16,64", "numbers of connections to measure with")
	flag.StringVar(&o.serve, "serve", "", "be the server of one measurement (used by this program itself)")
	flag.StringVar(&o.redis, "redis", "", "its Redis")
	flag.StringVar(&o.before, "before", "", "this program as another commit built it: its gates stand beside ours")
	flag.Parse()
	for text := range strings.SplitSeq(*connections, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return o, fmt.Errorf("-connections: %q is not a number of connections", text)
		}
		o.connections = append(o.connections, n)
	}
	if o.rounds < 1 || o.time <= 0 {
		return o, errors.New("-rounds and -time must be positive")
	}
	return o, nil
}

func run(ctx context.Context) error {
	o, err := parseOptions()
	if err != nil {
		return err
	}
	if o.serve != "" {
		return serve(ctx, o.serve, o.redis)
	}
	redis, err := startRedis(ctx)
	if err != nil {
		return err
	}
	defer redis.stop()

	r := report{options: o}
	if r.size, err = measureSize(ctx, redis.addr); err != nil {
		return err
	}
	if r.costs, err = measureCosts(ctx, redis.addr); err != nil {
		return err
	}
	if r.logins, err = measureLogins(redis.addr); err != nil {
		return err
	}
	for _, n := range o.connections {
		l, err := measureLoad(ctx, o, n, redis.addr)
		if err != nil {
			return err
		}
		r.loads = append(r.loads, l)
	}
	r.print(os.Stdout)
	return nil
}

// progress says on standard error what is being measured.
func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...)
}
