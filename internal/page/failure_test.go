package page_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/page"
)

// Only what passes by itself is worth another try.
func TestPageAsksToTryAgain(t *testing.T) {
	for reason, again := range map[event.Reason]bool{
		event.ReasonProviderUnreachable: true, event.ReasonProviderBusy: true, event.ReasonTokenEndpointUnreachable: true,
		event.ReasonJWKSUnavailable: true, event.ReasonStoreError: true,
		event.ReasonIssuerMismatch: false, event.ReasonMetadataInvalid: false, event.ReasonEndpointInvalid: false,
		event.ReasonPKCEUnsupported: false, event.ReasonPARMismatch: false,
	} {
		title, text := page.LoginFailed(http.StatusServiceUnavailable, reason)
		if got := strings.Contains(strings.ToLower(title+text), "try again"); got != again {
			t.Errorf("%s: %q, %q: asks to try again: %v, want %v", reason, title, text, got, again)
		}
	}
}
