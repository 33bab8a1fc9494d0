package redisstore

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/oidcgate/oidcgate/store"
)

var _ store.Batcher = (*Store)(nil)

// Batch implements [store.Batcher] with one pipeline. On Cluster it is one for each machine, at the
// same time: one that hangs must not fail the operations of the others. go-redis would give every
// command of a pipeline that it divides the error of the one machine.
func (s *Store) Batch(ctx context.Context, ops []store.Op) []store.Result {
	cluster, ok := s.rdb.(*redis.ClusterClient)
	if !ok {
		return s.batch(ctx, ops)
	}
	ctx, cancel := context.WithTimeout(ctx, s.deadline.timeout) // for the map and for the operations
	defer cancel()
	parts := s.byMachine(ctx, cluster, ops)
	if len(parts) == 1 {
		return s.batch(ctx, ops)
	}
	results := make([]store.Result, len(ops))
	var running sync.WaitGroup
	for _, part := range parts {
		running.Go(func() { s.batchPart(ctx, ops, part, results) })
	}
	running.Wait()
	return results
}

// byMachine divides ops, given by their indices, by the machine of a Cluster that holds their keys.
// It returns one part if the client cannot load the map.
func (s *Store) byMachine(
	ctx context.Context, cluster *redis.ClusterClient, ops []store.Op,
) [][]int {
	var parts map[*redis.Client][]int
	err := s.bound(ctx, func(ctx context.Context) error {
		divided := map[*redis.Client][]int{}
		for i, op := range ops {
			machine, err := cluster.MasterForKey(ctx, s.prefix+op.Key)
			if err != nil {
				return err
			}
			divided[machine] = append(divided[machine], i)
		}
		parts = divided
		return nil
	})
	if err != nil { // parts may still be written to
		return make([][]int, 1)
	}
	return slices.Collect(maps.Values(parts))
}

// batchPart sets the results of those operations that part names.
func (s *Store) batchPart(
	ctx context.Context, ops []store.Op, part []int, results []store.Result,
) {
	own := make([]store.Op, len(part))
	for i, at := range part {
		own[i] = ops[at]
	}
	var err error
	defer func() {
		for _, at := range part {
			if err != nil {
				results[at] = store.Result{Err: err}
			}
		}
	}()
	defer recovered(&err)
	for i, r := range s.batch(ctx, own) {
		results[part[i]] = r
	}
}

// batch carries out ops with one pipeline.
func (s *Store) batch(ctx context.Context, ops []store.Op) []store.Result {
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
	err := exec(ctx, pipe)
	results := make([]store.Result, len(ops))
	for i, cmd := range cmds {
		if err != nil {
			cmd.SetErr(err)
		}
		results[i] = result(cmd)
		results[i].Err = s.dials.explain(results[i].Err)
	}
	return results
}

// exec sends a pipeline. It returns an error where go-redis has one and its commands have none:
// Redis has refused the connection (a wrong password, too many clients), and no command was sent.
// Otherwise every command has its own error.
func exec(ctx context.Context, pipe redis.Pipeliner) error {
	cmds, err := pipe.Exec(ctx)
	if slices.ContainsFunc(cmds, func(c redis.Cmder) bool { return c.Err() != nil }) {
		return nil
	}
	return err
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
