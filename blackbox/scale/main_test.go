// Package scale tests oidcgate where there are many: replicas, sessions, requests at a time, and Redis servers
// that take one another's place.
package scale_test

import (
	"os"
	"testing"

	"github.com/oidcgate/oidcgate/blackbox/internal/rp"
)

func TestMain(m *testing.M) { os.Exit(rp.Run(m)) }
