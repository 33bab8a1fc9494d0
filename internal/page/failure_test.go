package page

import (
	"net/http"
	"slices"
	"testing"

	"github.com/oidcgate/oidcgate/internal/event"
)

// TestFaultsThatStay holds that a visitor is not told to try again soon where that does not help,
// whatever the status is.
func TestFaultsThatStay(t *testing.T) {
	waits := []Message{failedDown, failedStore}
	for _, row := range []struct {
		reason event.Reason
		passes bool // by itself
	}{
		{event.ReasonProviderUnreachable, true},
		{event.ReasonProviderBusy, true},
		{event.ReasonTokenEndpointUnreachable, true},
		{event.ReasonJWKSUnavailable, true},
		{event.ReasonPARUnreachable, true},
		{event.ReasonStoreError, true},
		{event.ReasonProviderError + "temporarily_unavailable", true},
		{event.ReasonClientSecret, false},
		{event.ReasonRequestObject, false},
		{event.ReasonMetadataInvalid, false},
		{event.ReasonIssuerMismatch, false},
		{event.ReasonEndpointInvalid, false},
		{event.ReasonPKCEUnsupported, false},
		{event.ReasonPARMismatch, false},
		{event.ReasonPromptUnsupported, false},
		{event.ReasonSessionTooLarge, false},
		{event.ReasonClaimRequired, false},
		{event.ReasonProviderError + "invalid_scope", false},
		{event.ReasonProviderError + "unauthorized_client", false},
	} {
		if got := LoginFailed(http.StatusServiceUnavailable, row.reason, ""); slices.Contains(waits, got) != row.passes {
			t.Errorf("%s: %s, passes by itself: %v", row.reason, got, row.passes)
		}
	}
}

func TestNoAnswerIsNoBadAnswer(t *testing.T) {
	for _, reason := range []event.Reason{
		event.ReasonTokenEndpointUnreachable, event.ReasonPARUnreachable,
	} {
		for _, status := range []int{http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout} {
			if got := LoginFailed(status, reason, ""); got != failedDown {
				t.Errorf("F11 %s with status %d: %s, want %s", reason, status, got, failedDown)
			}
		}
	}
}
