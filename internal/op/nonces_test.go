package op

import (
	"fmt"
	"net/http"
	"net/url"
	"testing"
)

func TestNonces(t *testing.T) {
	t.Run("C092 a full table of nonces loses one for each new origin, and none for a known one", func(t *testing.T) {
		var n nonces
		origin := func(i int) *url.URL {
			return &url.URL{Scheme: "https", Host: fmt.Sprintf("api-%d.example", i)}
		}
		kept := func() (kept int) {
			for i := range maxOrigins + 1 {
				if n.of(origin(i)) != "" {
					kept++
				}
			}
			return kept
		}
		header := http.Header{"Dpop-Nonce": {"nonce"}}
		for i := range maxOrigins {
			n.keep(origin(i), header)
		}
		n.keep(origin(0), header)
		if kept() != maxOrigins {
			t.Errorf("a known origin: %d nonces of %d are kept", kept(), maxOrigins)
		}
		n.keep(origin(maxOrigins), header)
		if kept() != maxOrigins || n.of(origin(maxOrigins)) == "" {
			t.Errorf("a new origin: %d nonces of %d are kept", kept(), maxOrigins)
		}
	})
}
