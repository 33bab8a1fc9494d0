package oidcgateotel

import (
	"context"
	"errors"
	"net"
	"net/http"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/oidcgate/oidcgate"
)

// Options say where metrics and spans go. The zero value uses the global providers of package otel,
// also those that are set later.
type Options struct {
	MeterProvider  metric.MeterProvider // if nil, otel.GetMeterProvider()
	TracerProvider trace.TracerProvider // if nil, otel.GetTracerProvider()

	// OmitProvider leaves the attribute oidcgate.provider out of metrics. Set it for a gate with
	// hundreds of providers, such as one for each customer: each has time series of its own. Spans
	// keep it.
	OmitProvider bool
}

func (o Options) tracer() trace.Tracer {
	if o.TracerProvider == nil {
		return otel.GetTracerProvider().Tracer(scope)
	}
	return o.TracerProvider.Tracer(scope)
}

func (o Options) meter() metric.Meter {
	if o.MeterProvider == nil {
		return otel.GetMeterProvider().Meter(scope)
	}
	return o.MeterProvider.Meter(scope)
}

// Instrument returns a configuration whose gate is measured and traced. It puts functions of its
// own around OnEvent, Page, Store and HTTP.Wrap, which go on to work as they did: the store's
// errors and its [store.Batcher] are kept. A Store that is nil, in whose place the gate makes one
// in memory, is not measured.
//
// Call it once for a gate. What cannot be measured is told to otel.Handle and changes nothing else.
func Instrument(config oidcgate.Config, opts Options) oidcgate.Config {
	tracer, meter := opts.tracer(), opts.meter()
	config.OnEvent = newEvents(meter, opts.OmitProvider).around(config.OnEvent)
	config.Page = notePages(config.Page)
	config.HTTP.Wrap = newRequests(tracer, meter, opts.OmitProvider).around(config.HTTP.Wrap)
	if config.Store != nil {
		config.Store = wrapStore(config.Store, tracer, meter)
	}
	return config
}

// counter returns a counter, or one that counts nothing.
func counter(meter metric.Meter, name, unit, what string) metric.Int64Counter {
	c, err := meter.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(what))
	if err != nil {
		otel.Handle(err)
	}
	return c
}

// duration returns a histogram of seconds, or one that counts nothing. bounds are those that the
// semantic conventions give for such calls.
func duration(meter metric.Meter, name, what string, bounds ...float64) metric.Float64Histogram {
	h, err := meter.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(what),
		metric.WithExplicitBucketBoundaries(bounds...))
	if err != nil {
		otel.Handle(err)
	}
	return h
}

// errorType returns the kind of an error as one of a few words, or "" without an error.
func errorType(err error) string {
	if err == nil {
		return ""
	}
	if errors.Is(err, context.Canceled) {
		return "canceled"
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() ||
		errors.Is(err, context.DeadlineExceeded) {
		return "timeout"
	}
	return "_OTHER"
}

// statusText returns the error type of an HTTP status, or "" if it is none.
func statusText(status int) string {
	if status < http.StatusBadRequest || status > 599 {
		return ""
	}
	return string([]byte{byte('0' + status/100), byte('0' + status/10%10), byte('0' + status%10)})
}
