package saver_test

import (
	"bufio"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/oidcgate/oidcgate/internal/saver"
)

// wrapper is a writer as middleware makes it: what the writer below can do, it has by Unwrap.
type wrapper struct{ http.ResponseWriter }

func (w wrapper) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// server is a writer that can be taken over.
type server struct{ *httptest.ResponseRecorder }

func (server) Hijack() (net.Conn, *bufio.ReadWriter, error) { return nil, nil, nil }

func TestWriterThatUnwraps(t *testing.T) {
	for name, below := range map[string]func(http.ResponseWriter) http.ResponseWriter{
		"a writer of net/http":               func(w http.ResponseWriter) http.ResponseWriter { return w },
		"one of middleware":                  func(w http.ResponseWriter) http.ResponseWriter { return wrapper{w} },
		"one of middleware around another's": func(w http.ResponseWriter) http.ResponseWriter { return wrapper{wrapper{w}} },
	} {
		for method, begin := range map[string]func(*http.ResponseController) error{
			"Flush":  (*http.ResponseController).Flush,
			"Hijack": func(c *http.ResponseController) error { _, _, err := c.Hijack(); return err },
		} {
			for _, failing := range []error{nil, errors.New("the store is down")} {
				t.Run("F37 values are saved before "+method+" on "+name, func(t *testing.T) {
					recorder, saved, failed := httptest.NewRecorder(), 0, 0
					s := saver.New(below(server{recorder}), func() error {
						if saved++; saved == 1 && recorder.Flushed {
							t.Error("the answer began before")
						}
						return failing
					}, func(http.ResponseWriter) { failed++ })
					err := begin(http.NewResponseController(s.Wrap()))
					if (err != nil) != (failing != nil) || saved != 1 || recorder.Flushed != (method == "Flush" && failing == nil) {
						t.Errorf("error %v, saved %d times, flushed %v", err, saved, recorder.Flushed)
					}
					s.Finish()
					if failing == nil && (saved != 2 || failed != 0) || failing != nil && (saved != 1 || failed != 1) {
						t.Errorf("saved %d times, failed %d times", saved, failed)
					}
				})
			}
		}
	}
	t.Run("F37 what no writer below can do is said to be unsupported, and begins no answer", func(t *testing.T) {
		saved := 0
		s := saver.New(struct{ http.ResponseWriter }{httptest.NewRecorder()}, func() error { saved++; return nil }, nil)
		if err := http.NewResponseController(s.Wrap()).Flush(); !errors.Is(err, http.ErrNotSupported) {
			t.Errorf("error %v", err)
		}
		if _, flushes := s.Wrap().(http.Flusher); flushes {
			t.Error("it seems to be one that sends at once")
		}
		s.WriteHeader(http.StatusOK)
		if saved != 2 {
			t.Errorf("saved %d times before the first byte", saved)
		}
	})
}
