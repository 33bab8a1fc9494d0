package oidcgateotel

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/oidcgate/oidcgate"
)

// events counts events.
type events struct {
	all, dropped metric.Int64Counter
	of           map[oidcgate.EventType]counted
	omitProvider bool
}

// counted is the counter of an event, and whether it has the event's reason.
type counted struct {
	counter metric.Int64Counter
	reason  bool
}

func newEvents(m metric.Meter, omitProvider bool) *events {
	ended := counted{counter(m, sessionEnded, "{session}", "Sessions that ended, by reason."), true}
	failed := counted{
		counter(m, refreshFailed, "{refresh}", "Refreshes that failed, by reason."), true}
	plain := func(name, unit, what string) counted {
		return counted{counter: counter(m, name, unit, what)}
	}
	return &events{
		all:     counter(m, eventDelivered, "{event}", "Events, by type and reason."),
		dropped: counter(m, eventDropped, "{event}", "Events lost because OnEvent was too slow."),
		of: map[oidcgate.EventType]counted{
			oidcgate.EventLoginStarted: plain(
				loginStarted, "{login}", "Visitors who were sent to the provider."),
			oidcgate.EventLoginSucceeded: plain(
				loginSucceeded, "{login}", "Logins that succeeded."),
			oidcgate.EventLoginFailed: {
				counter(m, loginRefused, "{login}", "Logins that were refused, by reason."), true},
			oidcgate.EventRefreshSucceeded: plain(
				refreshSucceeded, "{refresh}", "Tokens that were refreshed."),
			oidcgate.EventRefreshFailed:         failed,
			oidcgate.EventRefreshReuseSuspected: failed,
			oidcgate.EventSessionCreated: plain(
				sessionBegun, "{session}", "Sessions that began."),
			oidcgate.EventSessionExpired: ended,
			oidcgate.EventSessionRevoked: ended,
		},
		omitProvider: omitProvider,
	}
}

// around returns a function that counts an event and passes it on to next, which may be nil.
func (e *events) around(next func(oidcgate.Event)) func(oidcgate.Event) {
	return func(event oidcgate.Event) {
		e.count(event)
		if next != nil {
			next(event)
		}
	}
}

func (e *events) count(event oidcgate.Event) {
	ctx := context.Background()
	var who, why []attribute.KeyValue
	if event.Provider != "" && !e.omitProvider {
		who = append(who, keyProvider.String(event.Provider))
	}
	if event.Reason != "" {
		why = append(why, keyReason.String(string(event.Reason)))
	}
	kind := keyEvent.String(string(event.Type))
	e.all.Add(ctx, 1, metric.WithAttributes(who...), metric.WithAttributes(why...),
		metric.WithAttributes(kind))
	if event.Dropped > 0 {
		e.dropped.Add(ctx, int64(event.Dropped))
	}
	c, ok := e.of[event.Type]
	switch {
	case ok && c.reason:
		c.counter.Add(ctx, 1, metric.WithAttributes(who...), metric.WithAttributes(why...))
	case ok:
		c.counter.Add(ctx, 1, metric.WithAttributes(who...))
	}
}
