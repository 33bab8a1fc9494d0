package page_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/oidcgate/oidcgate/internal/page"
)

// late is a ResponseWriter that sends the status with the first write, as gin's does.
type late struct {
	*httptest.ResponseRecorder
	status int
}

func (l *late) WriteHeader(status int) { l.status = status }

func (l *late) Write(b []byte) (int, error) {
	l.ResponseRecorder.WriteHeader(l.status)
	return l.ResponseRecorder.Write(b)
}

func TestRedirectIsSentAtOnce(t *testing.T) {
	t.Run("C110 a handler that goes on after a redirect does not make it a page", func(t *testing.T) {
		w := &late{httptest.NewRecorder(), http.StatusOK}
		page.Redirect(w, "https://shop.example/auth/login")
		w.WriteHeader(http.StatusOK)
		_, _ = w.Write([]byte("the page"))
		if w.Code != http.StatusSeeOther {
			t.Errorf("status %d", w.Code)
		}
	})
}
