package redisstore

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// dials is a hook that keeps the error of the last connection that failed. go-redis tries to
// connect until the time of a call is over, and then says only that it is over.
type dials struct {
	failed atomic.Pointer[failedDial]

	// reload has a client of a Cluster load its map anew. By itself it does so once a minute, or when
	// a machine says that a slot has moved: one that is dead says nothing. If nil, there is no map.
	reload   func()
	reloaded atomic.Int64 // when, in unix nanoseconds
}

type failedDial struct {
	err error
	at  time.Time
}

// recentDial is how long a failed connection may explain that a call had no answer.
const recentDial = 5 * time.Second

// watch adds the hook to a client, or to its nodes.
func (d *dials) watch(rdb redis.UniversalClient) {
	switch rdb := rdb.(type) {
	case *redis.Client:
		rdb.AddHook(d)
	case *redis.ClusterClient:
		rdb.OnNewNode(func(node *redis.Client) { node.AddHook(d) })
		d.reload = func() { rdb.ReloadState(context.Background()) }
	case *redis.Ring: // which has its nodes from the start
		rdb.OnNewNode(func(node *redis.Client) { node.AddHook(d) })
		_ = rdb.ForEachShard(context.Background(), func(_ context.Context, node *redis.Client) error {
			node.AddHook(d)
			return nil
		})
	}
}

// explain adds to an error that says that the time is over why there was no connection. If a
// machine of a Cluster did not answer, another may have taken its place.
func (d *dials) explain(err error) error {
	if d.reload != nil && isSilence(err) {
		now, before := time.Now().UnixNano(), d.reloaded.Load()
		if now-before >= int64(reloadAfter) && d.reloaded.CompareAndSwap(before, now) {
			d.reload()
		}
	}
	if err == nil || !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if f := d.failed.Load(); f != nil && time.Since(f.at) < recentDial {
		return &noConnection{f.err, err}
	}
	return err
}

// reloadAfter is the least time between two loads of a Cluster's map.
const reloadAfter = time.Second

// isSilence reports whether err says that there was no answer, though the caller still waited.
func isSilence(err error) bool {
	var answer redis.Error
	return err != nil && !errors.Is(err, context.Canceled) && !errors.As(err, &answer)
}

// noConnection is the error of a call whose time was over before there was a connection.
type noConnection struct{ dial, over error }

func (e *noConnection) Error() string { return e.dial.Error() }

// Unwrap finds both: that a caller's own time is over must still be seen. It comes first, so that
// whoever looks for a timeout finds that one.
func (e *noConnection) Unwrap() []error { return []error{e.over, e.dial} }

// DialHook implements [redis.Hook].
func (d *dials) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := next(ctx, network, addr)
		switch {
		case err == nil:
			d.failed.Store(nil)
		case !errors.Is(err, context.Canceled):
			d.failed.Store(&failedDial{err, time.Now()})
		}
		return conn, err
	}
}

// ProcessHook implements [redis.Hook].
func (d *dials) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

// ProcessPipelineHook implements [redis.Hook].
func (d *dials) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
