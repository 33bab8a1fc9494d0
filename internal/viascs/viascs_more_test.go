package viascs_test

import (
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/internal/viascs"
)

func TestMethodsWithoutContext(t *testing.T) {
	var s viascs.WithoutContext
	if _, found, err := s.Find("token"); found || err == nil {
		t.Errorf("Find: found %v, %v", found, err)
	}
	if err := s.Commit("token", nil, time.Time{}); err == nil {
		t.Error("Commit saves")
	}
	if err := s.Delete("token"); err == nil {
		t.Error("Delete deletes")
	}
}
