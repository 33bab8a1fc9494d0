package event_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oidcgate/oidcgate/internal/event"
)

// panics is a log whose handler panics for each line.
type panics struct{ slog.Handler }

func (panics) Enabled(context.Context, slog.Level) bool { return true }

func (panics) Handle(context.Context, slog.Record) error { panic("a fault") }

// linesTo is a log that gives each line to a function.
type linesTo func(slog.Record)

func (f linesTo) Enabled(context.Context, slog.Level) bool      { return true }
func (f linesTo) Handle(_ context.Context, r slog.Record) error { f(r); return nil }
func (f linesTo) WithAttrs([]slog.Attr) slog.Handler            { return f }
func (f linesTo) WithGroup(string) slog.Handler                 { return f }

func TestLogAndReceiverApart(t *testing.T) {
	emit := func(s *event.Sink) { // more than wait in a queue, and as many at a time as do
		for range 15 {
			for range 200 {
				s.Emit(t.Context(), event.Record{Type: event.LoginFailed})
			}
			synctest.Wait()
		}
	}
	t.Run("F45 a receiver that blocks: the log has every event, and says once that the receiver misses some", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			opened := make(chan struct{})
			var events, lost uint64
			lines := map[string]int{}
			s := event.NewSink(slog.New(linesTo(func(r slog.Record) { lines[r.Message]++ })), func(r event.Record) {
				<-opened
				events++
				lost += r.Dropped
			})
			emit(s)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := s.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "OnEvent") {
				t.Errorf("Wait: %v, want the context's error, which names OnEvent", err)
			}
			if lines["oidcgate: login.failed"] != 3000 {
				t.Errorf("lines %v, want 3000 of login.failed", lines)
			}
			tells := "oidcgate: OnEvent is too slow for the events that come, and misses some; have it hand its work to a goroutine of its own"
			if lines[tells] != 1 {
				t.Errorf("lines %v, want one that OnEvent is too slow", lines)
			}
			close(opened)
			if err := s.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			s.Emit(t.Context(), event.Record{Type: event.LoginFailed})
			if err := s.Wait(t.Context()); err != nil || events+lost != 3001 || lost == 0 {
				t.Errorf("%d events received, %d counted as dropped, of 3001; %v", events, lost, err)
			}
			time.Sleep(time.Hour)
			opened = make(chan struct{})
			emit(s)
			if lines[tells] != 2 {
				t.Errorf("an hour later: lines %v, want two that OnEvent is too slow", lines)
			}
			close(opened)
		})
	})
	t.Run("F45 a log that blocks: the receiver has every event", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			opened := make(chan struct{})
			var events, lost, lostLines uint64
			s := event.NewSink(slog.New(linesTo(func(r slog.Record) {
				<-opened
				r.Attrs(func(a slog.Attr) bool {
					if a.Key == "dropped" {
						lostLines += a.Value.Uint64()
					}
					return true
				})
			})), func(r event.Record) {
				events++
				lost += r.Dropped
			})
			emit(s)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := s.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "Logger") {
				t.Errorf("Wait: %v, want the context's error, which names the Logger", err)
			}
			if events != 3000 || lost != 0 {
				t.Errorf("%d events received, %d counted as dropped, of 3000", events, lost)
			}
			close(opened)
			if err := s.Wait(t.Context()); err != nil || lostLines == 0 {
				t.Errorf("%d lines counted as dropped, %v", lostLines, err)
			}
		})
	})
}

func TestLinesOfTheLogAmongEvents(t *testing.T) {
	t.Run("F45 what was dropped before a line is counted in the next event", func(t *testing.T) {
		opened := make(chan struct{})
		var arrived, dropped uint64
		s := event.NewSink(slog.New(linesTo(func(r slog.Record) {
			<-opened
			if !strings.Contains(r.Message, "login.started") {
				return
			}
			arrived++
			r.Attrs(func(a slog.Attr) bool {
				if a.Key == "dropped" {
					dropped += a.Value.Uint64()
				}
				return true
			})
		})), nil)
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
