package session_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oidcgate/oidcgate/internal/interleave"
	"github.com/oidcgate/oidcgate/internal/session"
)

func TestPing(t *testing.T) {
	inTime(t, "F16 while the store refuses writes, everybody who asks is told", func(t *testing.T) {
		w := newWorld(t, nil)
		w.broken = func(c interleave.Call) error {
			if c.Op == interleave.Create {
				time.Sleep(time.Second)
				return errors.New("read only")
			}
			return nil
		}
		for range 3 {
			go func() { w.wantErr(w.Ping(t.Context()), session.ErrStore) }()
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
	})
	inTime(t, "F16 a write that fails is not deleted", func(t *testing.T) {
		w := newWorld(t, nil)
		w.broken = func(c interleave.Call) error {
			switch c.Op {
			case interleave.Create:
				return errors.New("read only")
			case interleave.Delete:
				t.Errorf("%s is deleted", c.Key)
			}
			return nil
		}
		w.wantErr(w.Ping(t.Context()), session.ErrStore)
	})
}
