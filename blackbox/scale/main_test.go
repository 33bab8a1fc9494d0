// Package scale tests oidcgate with many replicas, many sessions, many concurrent requests, and
// failovers between Redis servers.
package scale_test

import (
	"os"
	"testing"

	"github.com/oidcgate/oidcgate/blackbox/internal/rp"
)

func TestMain(m *testing.M) { os.Exit(rp.Run(m)) }
