package op_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestAcquire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newOP().client()
		var releases []func()
		for range 64 {
			release, err := c.Acquire(t.Context())
			wantReason(t, err, "")
			releases = append(releases, release)
		}
		start := time.Now()
		_, err := c.Acquire(t.Context())
		if e := wantReason(t, err, "provider_busy"); e.Status != 503 || time.Since(start) != time.Second {
			t.Errorf("F04 status %d after %v, want 503 after a second", e.Status, time.Since(start))
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = c.Acquire(gone)
		wantReason(t, err, "provider_busy")

		var wg sync.WaitGroup
		wg.Go(func() {
			release, err := c.Acquire(t.Context())
			wantReason(t, err, "")
			release()
		})
		synctest.Wait()
		releases[0]()
		releases[0]() // frees nobody else's place
		wg.Wait()
		release, err := c.Acquire(t.Context())
		wantReason(t, err, "")
		_, err = c.Acquire(t.Context())
		wantReason(t, err, "provider_busy")
		release()
	})
}
