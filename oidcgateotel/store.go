package oidcgateotel

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/oidcgate/oidcgate/store"
)

// wrapStore returns a store that measures s. It is a [store.Batcher] if s is one.
func wrapStore(s store.Store, t trace.Tracer, m metric.Meter) store.Store {
	measured := &measuredStore{
		next: s, tracer: t,
		duration: duration(m, storeDuration, "How long calls of the store took, by operation.",
			0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10),
	}
	if b, ok := s.(store.Batcher); ok {
		return &measuredBatcher{measured, b}
	}
	return measured
}

// measuredStore measures and traces the calls of another store.
type measuredStore struct {
	next     store.Store
	tracer   trace.Tracer
	duration metric.Float64Histogram
}

// measure runs one operation. A span is made below the span of a request, and none without one: a
// trace of a single GET says nothing.
func (s *measuredStore) measure(
	ctx context.Context, operation string, run func(context.Context) error,
) {
	var span trace.Span
	if trace.SpanContextFromContext(ctx).IsValid() {
		ctx, span = s.tracer.Start(ctx, "oidcgate.store."+operation)
	}
	begun, kind := time.Now(), "panic"
	defer func() {
		attrs := []attribute.KeyValue{keyOperation.String(operation)}
		if kind != "" {
			attrs = append(attrs, keyErrorType.String(kind))
		}
		s.duration.Record(ctx, time.Since(begun).Seconds(), metric.WithAttributes(attrs...))
		if span == nil {
			return
		}
		if kind != "" {
			span.SetStatus(codes.Error, "")
		}
		span.SetAttributes(attrs...)
		span.End()
	}()
	kind = failure(run(ctx))
}

// failure returns the kind of an error of a store, or "" if the store works: that a value is not
// there, or is another one, is an answer.
func failure(err error) string {
	switch {
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrExists),
		errors.Is(err, store.ErrConflict):
		return ""
	case errors.Is(err, store.ErrFull):
		return "full"
	}
	return errorType(err)
}

// Get implements [store.Store].
func (s *measuredStore) Get(ctx context.Context, key string) (value []byte, err error) {
	s.measure(ctx, "get", func(ctx context.Context) error {
		value, err = s.next.Get(ctx, key)
		return err
	})
	return value, err
}

// Create implements [store.Store].
func (s *measuredStore) Create(
	ctx context.Context, key string, value []byte, ttl time.Duration,
) (err error) {
	s.measure(ctx, "create", func(ctx context.Context) error {
		err = s.next.Create(ctx, key, value, ttl)
		return err
	})
	return err
}

// Swap implements [store.Store].
func (s *measuredStore) Swap(
	ctx context.Context, key string, old, value []byte, ttl time.Duration,
) (err error) {
	s.measure(ctx, "swap", func(ctx context.Context) error {
		err = s.next.Swap(ctx, key, old, value, ttl)
		return err
	})
	return err
}

// Delete implements [store.Store].
func (s *measuredStore) Delete(ctx context.Context, key string, old []byte) (err error) {
	s.measure(ctx, "delete", func(ctx context.Context) error {
		err = s.next.Delete(ctx, key, old)
		return err
	})
	return err
}

// Add implements [store.Store].
func (s *measuredStore) Add(
	ctx context.Context, set, member string, ttl time.Duration,
) (err error) {
	s.measure(ctx, "add", func(ctx context.Context) error {
		err = s.next.Add(ctx, set, member, ttl)
		return err
	})
	return err
}

// Members implements [store.Store].
func (s *measuredStore) Members(
	ctx context.Context, set string,
) (members []string, err error) {
	s.measure(ctx, "members", func(ctx context.Context) error {
		members, err = s.next.Members(ctx, set)
		return err
	})
	return members, err
}

// Remove implements [store.Store].
func (s *measuredStore) Remove(ctx context.Context, set, member string) (err error) {
	s.measure(ctx, "remove", func(ctx context.Context) error {
		err = s.next.Remove(ctx, set, member)
		return err
	})
	return err
}

// measuredBatcher is a measuredStore that carries out batches.
type measuredBatcher struct {
	*measuredStore
	batcher store.Batcher
}

// Batch implements [store.Batcher]. It has failed if one of its operations has.
func (s *measuredBatcher) Batch(ctx context.Context, ops []store.Op) (results []store.Result) {
	s.measure(ctx, "batch", func(ctx context.Context) error {
		trace.SpanFromContext(ctx).SetAttributes(keyBatchSize.Int(len(ops)))
		results = s.batcher.Batch(ctx, ops)
		for _, r := range results {
			if r.Err != nil {
				return r.Err
			}
		}
		return nil
	})
	return results
}
