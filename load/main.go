// Command load fills one Redis with sessions, each created by a login through the gate. It reports
// how much memory a session takes, and how the cost of a request and of a logout depends on the
// number of sessions.
//
//	go run . -sessions 1000,100000,1000000
//
// A login takes about one millisecond of one core. One million sessions take 3 GB. Nothing is
// written to disk.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/redis/go-redis/v9"
)

type options struct {
	sessions []int
	requests int
	logouts  int
	limit    time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:])
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func readOptions(args []string) (options, error) {
	var o options
	var sizes string
	f := flag.NewFlagSet("load", flag.ContinueOnError)
	f.StringVar(&sizes, "sessions", "1000,100000,1000000", "numbers of sessions to measure at, rising")
	f.IntVar(&o.requests, "requests", 50_000, "requests to measure with, each of another session")
	f.IntVar(&o.logouts, "logouts", 1000, "logouts to measure with")
	f.DurationVar(&o.limit, "limit", time.Hour, "give up after")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	for size := range strings.SplitSeq(sizes, ",") {
		n, err := strconv.Atoi(size)
		if err != nil || n < 1 || len(o.sessions) > 0 && n <= o.sessions[len(o.sessions)-1] {
			return o, fmt.Errorf("load: -sessions %s: want rising numbers, separated by commas", sizes)
		}
		o.sessions = append(o.sessions, n)
	}
	return o, nil
}

func run(ctx context.Context, args []string) error {
	o, err := readOptions(args)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, o.limit)
	defer cancel()
	rdb, stop, err := startRedis(ctx)
	if err != nil {
		return err
	}
	defer stop()
	l, err := newLoad(ctx, rdb)
	if err != nil {
		return err
	}
	var rows []row
	for _, n := range o.sessions {
		r, err := l.measureAt(ctx, n, o)
		if err != nil {
			return err
		}
		rows = append(rows, r)
	}
	if n := l.retries.Load(); n > 0 {
		progress("%d logins had to be tried again\n", n)
	}
	return show(rows)
}

// A load is a shop and the session cookies of its signed-in visitors. Every visitor is a different
// user.
type load struct {
	shop     *shop
	rdb      *redis.Client
	commands *counter

	before  gauge // of an empty Redis
	cookies []string
	begun   int // number of logins so far, used to name the next user
	retries atomic.Int64
}

func newLoad(ctx context.Context, rdb *redis.Client) (*load, error) {
	p, err := newProvider(time.Hour)
	if err != nil {
		return nil, err
	}
	l := &load{rdb: rdb, commands: &counter{}}
	rdb.AddHook(l.commands)
	if l.shop, err = newShop(rdb, p, nil); err != nil {
		return nil, err
	}
	l.before, err = readGauge(ctx, rdb)
	return l, err
}

// A row holds the measurements at one number of sessions.
type row struct {
	sessions        int
	memory          float64 // bytes per session
	request, logout cost
}

// A cost is the average cost of one operation.
type cost struct {
	commands float64       // sent to Redis
	redis    time.Duration // processor time of Redis
	own      time.Duration // processor time of this process: mostly the gate
	took     time.Duration // elapsed time, with one operation at a time per core
}

func (l *load) measureAt(ctx context.Context, n int, o options) (row, error) {
	if err := l.fill(ctx, n); err != nil {
		return row{}, err
	}
	memory, err := l.settledMemory(ctx)
	if err != nil {
		return row{}, err
	}
	r := row{sessions: n, memory: float64(memory-l.before.memory) / float64(n)}
	progress("%d sessions: %d requests", n, o.requests)
	// Consecutive requests should not use sessions that were created together. A stride that has no
	// common factor with n visits all of them.
	r.request, err = l.measure(ctx, o.requests, func(i int) error {
		return wantStatus(l.shop.ask(ctx, "GET", "/me", l.cookies[i*7919%n]), 200)
	})
	if err != nil {
		return r, err
	}
	last := l.cookies[n-min(o.logouts, n/2):]
	progress("%d sessions: %d logouts", n, len(last))
	r.logout, err = l.measure(ctx, len(last), func(i int) error {
		return wantStatus(l.shop.ask(ctx, "POST", "/auth/logout", last[i]), 200)
	})
	l.cookies = l.cookies[:n-len(last)]
	return r, err
}

// fillers is the number of logins at a time. It is high because a login mostly waits for Redis.
const fillers = 48

// fill signs visitors in until there are n.
func (l *load) fill(ctx context.Context, n int) error {
	start, from := time.Now(), len(l.cookies)
	l.cookies = append(l.cookies, make([]string, n-from)...)
	var done atomic.Int64
	stop := make(chan struct{})
	var reporter sync.WaitGroup
	reporter.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Second):
				d := int(done.Load())
				left := time.Duration(float64(time.Since(start)) * float64(n-from-d) / float64(max(d, 1)))
				progress("%d of %d sessions, %v to go", from+d, n, left.Round(time.Second))
			}
		}
	})
	err := inParallel(fillers, n-from, func(i int) error {
		id := strconv.Itoa(l.begun + i)
		cookie, err := l.logIn(ctx, id)
		l.cookies[from+i] = cookie
		done.Add(1)
		return err
	})
	close(stop)
	reporter.Wait()
	l.begun += n - from
	return errors.Join(err, ctx.Err())
}

// logIn tries again if Redis did not answer in time, which can happen on a busy machine.
func (l *load) logIn(ctx context.Context, id string) (string, error) {
	for try := 1; ; try++ {
		cookie, err := l.shop.logIn(ctx, "user-"+id, fmt.Sprint("sid-", id, "-", try))
		if err == nil || try == maxTries || ctx.Err() != nil {
			return cookie, err
		}
		l.retries.Add(1)
		time.Sleep(time.Second)
	}
}

const maxTries = 5

// settledMemory waits until the marks of used login attempts have expired. Then it makes Redis
// delete them: Redis itself may keep a tenth of the expired keys, and SCAN deletes those that it
// finds.
func (l *load) settledMemory(ctx context.Context) (int64, error) {
	progress("waiting for the marks of used logins to expire")
	select {
	case <-time.After(attemptTTL + 2*leeway):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	for all := l.rdb.Scan(ctx, 0, "", 1000).Iterator(); all.Next(ctx); {
	}
	keys, err := l.rdb.DBSize(ctx).Result()
	if err != nil {
		return 0, err
	}
	// A login that was tried again may have left additional keys.
	if want := keysPerSession * int64(len(l.cookies)); keys < want || keys > want+keysPerSession*l.retries.Load() {
		return 0, fmt.Errorf("load: Redis has %d keys, want %d", keys, want)
	}
	g, err := readGauge(ctx, l.rdb)
	return g.memory, err
}

// keysPerSession counts the identity, the tokens, the session's entry in the index, and two sets of
// the index. The sets are not shared, because every visitor is a different user.
const keysPerSession = 5

func (l *load) measure(ctx context.Context, n int, do func(int) error) (cost, error) {
	before, err := readGauge(ctx, l.rdb)
	if err != nil {
		return cost{}, err
	}
	commands, own, start := l.commands.Load(), processorTime(), time.Now()
	if err := inParallel(runtime.GOMAXPROCS(0), n, do); err != nil {
		return cost{}, err
	}
	took := time.Since(start) * time.Duration(runtime.GOMAXPROCS(0))
	own, commands = processorTime()-own, l.commands.Load()-commands
	after, err := readGauge(ctx, l.rdb)
	each := func(d time.Duration) time.Duration { return d / time.Duration(n) }
	return cost{float64(commands) / float64(n), each(after.cpu - before.cpu), each(own), each(took)}, err
}

// inParallel calls do n times, with a limited number of calls at a time, and stops at the first
// error.
func inParallel(workers, n int, do func(int) error) error {
	var next atomic.Int64
	errs := make([]error, workers)
	var running sync.WaitGroup
	for w := range errs {
		running.Go(func() {
			for errs[w] == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if errs[w] = do(i); errs[w] != nil {
					next.Store(int64(n))
				}
			}
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "\r\033[K"+format, args...)
}

func show(rows []row) error {
	fmt.Fprint(os.Stderr, "\r\033[K")
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "sessions\tbytes each\trequest: commands\tRedis CPU\tour CPU\tclock\tlogout: commands\tRedis CPU\tour CPU\tclock\t")
	for _, r := range rows {
		fmt.Fprintf(w, "%d\t%.0f\t", r.sessions, r.memory)
		for _, c := range []cost{r.request, r.logout} {
			fmt.Fprintf(w, "%.2f\t%v\t%v\t%v\t", c.commands, c.redis.Round(100*time.Nanosecond), c.own.Round(100*time.Nanosecond), c.took.Round(time.Microsecond))
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}
