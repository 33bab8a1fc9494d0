package oidcgate_test

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate"
)

// requestID is the key of the application for the id of a request.
type requestID struct{}

// withRequestID is a handler of log/slog that adds the id of the request to each line.
type withRequestID struct{ slog.Handler }

func (h withRequestID) Handle(ctx context.Context, r slog.Record) error {
	if id, ok := oidcgate.FromContext(ctx); ok {
		r.AddAttrs(slog.String("user", id.Subject()))
	}
	if id, ok := ctx.Value(requestID{}).(string); ok {
		r.AddAttrs(slog.String("request", id))
	}
	return h.Handler.Handle(ctx, r)
}

func TestLogLinesHaveTheContextOfTheRequest(t *testing.T) {
	inBubble(t, "of logins, guards, logouts and refreshes", func(t *testing.T) {
		f := newFleet(t, 1, func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.Logger = slog.New(withRequestID{c.Logger.Handler()})
		})
		inner := f.handler
		f.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx := context.WithValue(r.Context(), requestID{}, r.Method+r.URL.Path)
			inner.ServeHTTP(w, r.WithContext(ctx))
		})
		f.login()
		f.admin()
		time.Sleep(11 * time.Minute)
		f.mustToken()
		f.send(f.browser, http.MethodPost, "/auth/logout", "return_to=/", "Origin: "+shopURL)
		f.get("/auth/callback?state=none")
		f.send(f.newBrowser(), http.MethodPost, "/auth/backchannel-logout/nobody", "logout_token=x")
		for _, gate := range f.gates {
			if err := gate.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for event, request := range map[oidcgate.EventType]string{
			oidcgate.EventLoginStarted:     "GET/auth/login",
			oidcgate.EventSessionCreated:   "GET/auth/callback",
			oidcgate.EventLoginSucceeded:   "GET/auth/callback",
			oidcgate.EventLoginFailed:      "GET/auth/callback",
			oidcgate.EventAccessDenied:     "GET/admin",
			oidcgate.EventRefreshSucceeded: "GET/token",
			oidcgate.EventLogoutStarted:    "POST/auth/logout",
			oidcgate.EventSessionRevoked:   "POST/auth/logout",
		} {
			found := false
			for line := range strings.Lines(f.logged()) {
				found = found || strings.Contains(line, `"oidcgate: `+string(event)+`"`) && strings.Contains(line, `"request":"`+request+`"`)
			}
			if !found {
				t.Errorf("no line of %s has the id of %s", event, request)
			}
		}
		if !strings.Contains(f.logged(), `"request":"POST/auth/backchannel-logout/nobody"`) {
			t.Error("the line about a logout that is sent to no provider has no id")
		}
		if strings.Contains(f.logged(), `"user":`) {
			t.Error("a line has a user by its context, which may still be loading")
		}
		if t.Failed() {
			t.Logf("the log says\n%s", f.logged())
		}
	})
}
