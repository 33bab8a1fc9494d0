package event_test

import (
	"context"
	"log/slog"
	"testing"

	"github.com/oidcgate/oidcgate/internal/event"
)

// panics is a log whose handler panics for each line.
type panics struct{ slog.Handler }

func (panics) Enabled(context.Context, slog.Level) bool { return true }

func (panics) Handle(context.Context, slog.Record) error { panic("a fault") }

func TestLinesOfTheLogAmongEvents(t *testing.T) {
	t.Run("F45 what was dropped before a line is counted in the next event", func(t *testing.T) {
		opened := make(chan struct{})
		var arrived, dropped uint64
		s := event.NewSink(slog.New(slog.DiscardHandler), func(r event.Record) {
			<-opened
			arrived++
			dropped += r.Dropped
		})
		const emitted = 1000
		s.Emit(t.Context(), event.Record{Type: event.LoginStarted})
		s.Log(t.Context(), slog.LevelInfo, "a line")
		for range emitted - 1 {
			s.Emit(t.Context(), event.Record{Type: event.LoginStarted})
		}
		close(opened)
		if err := s.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if dropped == 0 || arrived+dropped != emitted {
			t.Errorf("%d events arrived and %d were counted as dropped, of %d", arrived, dropped, emitted)
		}
	})
	t.Run("F34 a log that panics ends no process", func(t *testing.T) {
		s := event.NewSink(slog.New(panics{slog.DiscardHandler}), nil)
		s.Log(t.Context(), slog.LevelInfo, "a line")
		s.Panicked(t.Context(), "a function", "a fault")
		_ = s.Wait(t.Context())
	})
}
