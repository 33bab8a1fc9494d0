package oidcgateotel

import (
	"net/http"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/oidcgate/oidcgate"
)

// Handler returns a handler that makes a span of every request to the gate's own routes, such as
// "oidcgate.callback", and passes all requests on to next: gate.Wrap(router). Requests to the
// application pass as they are, and so do their ResponseWriters; otelhttp is for those. Where
// otelhttp is used too, put it outside.
//
// The span of a refused login has the reason and the reference that the visitor sees on the page.
func Handler(gate *oidcgate.Gate, next http.Handler, opts Options) http.Handler {
	tracer := opts.tracer()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		route, provider := gate.Route(r)
		if route == "" {
			next.ServeHTTP(w, r)
			return
		}
		ctx, span := tracer.Start(r.Context(), "oidcgate."+route)
		defer span.End()
		if provider != "" {
			span.SetAttributes(keyProvider.String(provider))
		}
		seen := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(seen, r.WithContext(ctx))
		span.SetAttributes(keyStatus.Int(seen.status))
		if seen.status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, "")
		}
	})
}

// statusWriter notes the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements [http.ResponseWriter].
func (w *statusWriter) WriteHeader(status int) {
	if status >= http.StatusOK { // others come before the answer
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for [http.ResponseController].
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

type writesPages = func(w http.ResponseWriter, r *http.Request, p oidcgate.Page) bool

// notePages returns a function for Config.Page that puts the reason of a refused login on the span
// of its request, and then has next, which may be nil, write the page.
func notePages(next writesPages) writesPages {
	return func(w http.ResponseWriter, r *http.Request, p oidcgate.Page) bool {
		if p.Kind == oidcgate.PageLoginFailed {
			trace.SpanFromContext(r.Context()).SetAttributes(
				keyReason.String(string(p.Reason)), keyReference.String(p.Reference))
		}
		return next != nil && next(w, r, p)
	}
}
