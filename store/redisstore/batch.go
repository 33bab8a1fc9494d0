package redisstore

import (
	"context"

	"github.com/redis/go-redis/v9"

	"github.com/oidcgate/oidcgate/store"
)

var _ store.Batcher = (*Store)(nil)

// Batch implements [store.Batcher] with one pipeline. On Cluster it is one for each machine, at the
// same time.
func (s *Store) Batch(ctx context.Context, ops []store.Op) []store.Result {
	var results []store.Result
	err := s.bound(ctx, func(ctx context.Context) error {
		results = s.pipeline(ctx, ops)
		return nil
	})
	if err == nil {
		return results
	}
	// The pipeline may still run. It writes to results, which must not be read any more.
	failed := make([]store.Result, len(ops))
	for i := range failed {
		failed[i].Err = wrap("batch", err)
	}
	return failed
}

func (s *Store) pipeline(ctx context.Context, ops []store.Op) []store.Result {
	pipe := s.rdb.Pipeline()
	cmds := make([]redis.Cmder, len(ops))
	for i, op := range ops {
		cmds[i] = s.command(ctx, op)
		_ = pipe.Process(ctx, cmds[i]) // puts it in line
	}
	_, _ = pipe.Exec(ctx) // every command has its own error
	results := make([]store.Result, len(ops))
	for i, cmd := range cmds {
		results[i] = result(cmd)
	}
	return results
}

func (s *Store) command(ctx context.Context, op store.Op) redis.Cmder {
	key := s.prefix + op.Key
	switch op.Action {
	case store.OpGet:
		return redis.NewStringCmd(ctx, "get", key)
	case store.OpExists:
		return redis.NewBoolCmd(ctx, "exists", key)
	case store.OpDelete:
		return redis.NewIntCmd(ctx, "del", key)
	default:
		return redis.NewIntCmd(ctx, "zrem", key, op.Member)
	}
}

// result returns the result of a finished command.
func result(cmd redis.Cmder) store.Result {
	switch cmd := cmd.(type) {
	case *redis.StringCmd:
		value, err := found(cmd)
		if err == store.ErrNotFound {
			return store.Result{}
		}
		return store.Result{Value: value, Found: err == nil, Err: err}
	case *redis.BoolCmd:
		return store.Result{Found: cmd.Val(), Err: wrap("exists", cmd.Err())}
	}
	return store.Result{Err: wrap("batch", cmd.Err())}
}
