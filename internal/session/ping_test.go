package session_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oidcgate/oidcgate/internal/interleave"
	"github.com/oidcgate/oidcgate/internal/session"
)

func TestPingAfterTheClockWasSetBack(t *testing.T) {
	w := newWorld(t, nil)
	synctest.Test(t, func(t *testing.T) { // each bubble begins at the same time
		time.Sleep(time.Hour)
		if err := w.Ping(t.Context()); err != nil {
			t.Error(err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		w.broken = func(c interleave.Call) error {
			if c.Op == interleave.Create {
				return errDown
			}
			return nil
		}
		if err := w.Ping(t.Context()); !errors.Is(err, session.ErrStore) {
			t.Errorf("F14 the store takes no writes, and Ping returns %v", err)
		}
	})
}
