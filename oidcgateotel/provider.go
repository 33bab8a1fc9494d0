package oidcgateotel

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/oidcgate/oidcgate"
)

// requests measures and traces requests to providers.
type requests struct {
	tracer       trace.Tracer
	duration     metric.Float64Histogram
	omitProvider bool
}

func newRequests(t trace.Tracer, m metric.Meter, omitProvider bool) *requests {
	return &requests{
		tracer: t,
		duration: duration(m, providerDuration, "How long requests to providers took, by purpose.",
			0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10),
		omitProvider: omitProvider,
	}
}

// around returns a function for HTTP.Wrap. Requests pass through the transport of inner, which may
// be nil, and are measured outside it.
func (q *requests) around(
	inner func(http.RoundTripper) http.RoundTripper,
) func(http.RoundTripper) http.RoundTripper {
	return func(next http.RoundTripper) http.RoundTripper {
		if inner != nil {
			next = inner(next)
		}
		return &transport{requests: q, next: next}
	}
}

type transport struct {
	*requests
	next http.RoundTripper
}

// RoundTrip implements [http.RoundTripper]. A request lasts until its answer is read.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	what, known := oidcgate.ProviderRequestFromContext(r.Context())
	if !known { // somebody else uses this transport
		what.Purpose = "other"
	}
	ctx, span := t.tracer.Start(r.Context(), "oidcgate."+what.Purpose,
		trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(spanAttributes(r, what)...))
	c := &call{requests: t.requests, ctx: ctx, span: span, what: what, begun: time.Now()}
	resp, err := t.next.RoundTrip(r.WithContext(ctx))
	if err != nil {
		c.end(err)
		return nil, err
	}
	c.status = resp.StatusCode
	if resp.Body == nil {
		c.end(nil)
		return resp, nil
	}
	resp.Body = &body{ReadCloser: resp.Body, call: c}
	return resp, nil
}

func spanAttributes(r *http.Request, what oidcgate.ProviderRequest) []attribute.KeyValue {
	attrs := []attribute.KeyValue{
		keyPurpose.String(what.Purpose), keyMethod.String(r.Method), keyServer.String(r.URL.Hostname()),
	}
	if port, err := strconv.Atoi(r.URL.Port()); err == nil {
		attrs = append(attrs, keyPort.Int(port))
	}
	if what.Provider != "" {
		attrs = append(attrs, keyProvider.String(what.Provider))
	}
	return attrs
}

// call is a request under way.
type call struct {
	*requests
	ctx    context.Context
	span   trace.Span
	what   oidcgate.ProviderRequest
	begun  time.Time
	status int
	once   sync.Once
}

// end notes how a request ended. Only the first call counts.
func (c *call) end(err error) {
	c.once.Do(func() {
		attrs := []attribute.KeyValue{keyPurpose.String(c.what.Purpose)}
		if c.what.Provider != "" && !c.omitProvider {
			attrs = append(attrs, keyProvider.String(c.what.Provider))
		}
		var outcome []attribute.KeyValue
		kind := errorType(err)
		if c.status != 0 {
			outcome = append(outcome, keyStatus.Int(c.status))
			if kind == "" {
				kind = statusText(c.status)
			}
		}
		if kind != "" {
			outcome = append(outcome, keyErrorType.String(kind))
			c.span.SetStatus(codes.Error, "")
		}
		c.duration.Record(c.ctx, time.Since(c.begun).Seconds(),
			metric.WithAttributes(attrs...), metric.WithAttributes(outcome...))
		c.span.SetAttributes(outcome...)
		c.span.End()
	})
}

// body ends a call when it was read to its end or closed.
type body struct {
	io.ReadCloser
	call *call
}

// Read implements [io.Reader].
func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		b.call.end(nil)
	} else if err != nil {
		b.call.end(err)
	}
	return n, err
}

// Close implements [io.Closer].
func (b *body) Close() error {
	err := b.ReadCloser.Close()
	b.call.end(nil)
	return err
}
