// Package troubles_test makes troubles that operators have, each for real, and holds that
// docs/troubleshooting.md quotes what the program says about them.
package troubles_test

import (
	"flag"
	"os"
	"testing"

	"github.com/oidcgate/oidcgate/blackbox/internal/rp"
)

var update = flag.Bool("update", false, "write the quotations of docs/troubleshooting.md")

func TestMain(m *testing.M) { os.Exit(rp.Run(m)) }
