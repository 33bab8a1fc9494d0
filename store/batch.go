package store

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// Action is what an [Op] does.
type Action int

// The actions of a batch.
const (
	OpGet    Action = iota // read a value
	OpExists               // look whether there is a value
	OpDelete               // remove whatever value is there
	OpRemove               // take a member out of a set
)

// Op is one operation of a batch.
type Op struct {
	Action Action
	Key    string // or the name of the set
	Member string // of OpRemove
}

// Result is what an [Op] came to. An absent value is no error.
type Result struct {
	Value []byte // of OpGet
	Found bool   // there is a value; of OpGet and OpExists
	Err   error  // the store failed, and the operation may or may not have happened
}

// Batcher is a [Store] that carries out many operations in one round trip. It is optional: [Do]
// works with every Store.
type Batcher interface {
	Store

	// Batch carries out ops and returns their results, in the order of ops. Each operation is
	// atomic, the batch is not: the operations happen in any order, and some may fail while others
	// succeed. The rules of Store hold for each operation.
	Batch(ctx context.Context, ops []Op) []Result
}

const (
	// maxBatch is how many operations go in one round trip. It bounds the time for which other
	// clients of the store wait.
	maxBatch = 2000

	// maxParallel is how many operations run at a time in a store that is no Batcher.
	maxParallel = 16
)

// Do carries out ops and returns their results, in the order of ops. A [Batcher] does 2,000 of them
// in a round trip. Any other store does 16 at a time.
func Do(ctx context.Context, s Store, ops []Op) []Result {
	b, ok := s.(Batcher)
	if !ok {
		return doParallel(ctx, s, ops)
	}
	results := make([]Result, 0, len(ops))
	for batch := range slices.Chunk(ops, maxBatch) {
		results = append(results, b.Batch(ctx, batch)...)
	}
	return results
}

// errNotDone is the error of an operation that ended its goroutine instead of returning.
var errNotDone = errors.New("the store did not return")

// doParallel panics when s does, so that the caller can recover.
func doParallel(ctx context.Context, s Store, ops []Op) []Result {
	results := make([]Result, len(ops))
	if len(ops) == 1 {
		results[0] = doOne(ctx, s, ops[0])
		return results
	}
	free, panicked := make(chan struct{}, maxParallel), make(chan any, len(ops))
	var running sync.WaitGroup
	for i, op := range ops {
		free <- struct{}{}
		running.Go(func() {
			defer func() { panicked <- recover(); <-free }()
			results[i].Err = errNotDone
			results[i] = doOne(ctx, s, op)
		})
	}
	running.Wait()
	for range ops {
		if v := <-panicked; v != nil {
			panic(v)
		}
	}
	return results
}

// doOne carries out op by the methods of s.
func doOne(ctx context.Context, s Store, op Op) Result {
	switch op.Action {
	case OpGet:
		value, err := s.Get(ctx, op.Key)
		return found(value, err)
	case OpExists:
		_, err := s.Get(ctx, op.Key)
		return found(nil, err)
	case OpDelete:
		return Result{Err: s.Delete(ctx, op.Key, nil)}
	case OpRemove:
		return Result{Err: s.Remove(ctx, op.Key, op.Member)}
	}
	return Result{Err: errors.ErrUnsupported}
}

func found(value []byte, err error) Result {
	if errors.Is(err, ErrNotFound) {
		return Result{}
	}
	return Result{Value: value, Found: err == nil, Err: err}
}
