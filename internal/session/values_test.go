package session_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
)

func TestSaveValues(t *testing.T) {
	put := func(current claims.Object) claims.Object { return current.With("a", claims.Text("1")) }

	t.Run("C106 values put when the deadline has just passed leave nothing for ever", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, nil)
			s := w.login(5 * time.Minute)
			v, err := w.ReadValues(t.Context(), s.ID)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Minute)
			_ = w.SaveValues(t.Context(), &s, &v, put)
			for key, ttl := range w.store.keys {
				if ttl <= 0 {
					t.Errorf("%s for %v", key, ttl)
				}
			}
			time.Sleep(time.Second)
			if keys := w.store.living(t.Context()); len(keys) != 0 {
				t.Errorf("records are left: %v", keys)
			}
		})
	})
}
