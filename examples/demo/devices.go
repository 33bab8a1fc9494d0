package main

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/oidcgate/oidcgate"
)

// device is a session of the visitor's, as the account page shows it.
type device struct {
	ID, Name, Since string
	This            bool
}

// devices lists the visitor's sessions: this one, then the newest first.
func (s *shop) devices(ctx context.Context) ([]device, error) {
	sessions, err := s.gate.Sessions().List(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]device, 0, len(sessions))
	for _, session := range sessions {
		d := device{session.ID, session.Label, session.Created.Local().Format("2 Jan, 15:04"), session.Current}
		if d.This {
			list = slices.Insert(list, 0, d)
			continue
		}
		list = append(list, d)
	}
	return list, nil
}

// endDevice ends one session of the visitor's. That it was over already, or is somebody else's, leads to the same
// page: the list shows what is left.
func (s *shop) endDevice(w http.ResponseWriter, r *http.Request) {
	err := s.gate.Sessions().End(r.Context(), r.PostFormValue("device"))
	if err != nil && !errors.Is(err, oidcgate.ErrNoSession) {
		s.devicesUnavailable(w, r)
		return
	}
	http.Redirect(w, r, "/account#devices", http.StatusSeeOther)
}

func (s *shop) endOtherDevices(w http.ResponseWriter, r *http.Request) {
	if _, err := s.gate.Sessions().EndOthers(r.Context()); err != nil {
		s.devicesUnavailable(w, r)
		return
	}
	http.Redirect(w, r, "/account#devices", http.StatusSeeOther)
}

// devicesUnavailable is for a store that cannot answer at the moment.
func (s *shop) devicesUnavailable(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Retry-After", "5")
	s.show(w, r, http.StatusServiceUnavailable, "message.html", view{Title: "One moment, please", Body: oidcgate.Page{
		Text:  "We cannot look after your devices right now. Try again in a moment.",
		Links: []oidcgate.Link{{URL: "/account", Text: "To your account"}},
	}})
}

// userAgent is the key under which a request's context has its User-Agent.
type userAgent struct{}

// keepUserAgent goes round the gate: OnLogin sees the context of the callback's request, and not the request.
func keepUserAgent(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), userAgent{}, r.UserAgent())))
	})
}

func nameDevice(ctx context.Context, login *oidcgate.Login) error {
	name, _ := ctx.Value(userAgent{}).(string)
	login.SetLabel(deviceName(name))
	return nil
}

// sign is what a browser or a system is known by in a User-Agent.
type sign struct{ part, name string }

// Most browsers also name those they want to be taken for, so the first sign that is found counts.
var (
	browsers = []sign{
		{"Edg", "Edge"}, {"OPR/", "Opera"}, {"Firefox/", "Firefox"}, {"FxiOS/", "Firefox"},
		{"Chrome/", "Chrome"}, {"CriOS/", "Chrome"}, {"Safari/", "Safari"},
	}
	systems = []sign{
		{"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Android", "Android"}, {"Windows", "Windows"},
		{"Mac OS X", "macOS"}, {"CrOS", "ChromeOS"}, {"Linux", "Linux"},
	}
)

// deviceName says of a User-Agent what its owner recognises: "Firefox on Linux". It is for show alone; anybody
// can send any User-Agent.
func deviceName(userAgent string) string {
	browser := cmp.Or(find(browsers, userAgent), "Unknown browser")
	if system := find(systems, userAgent); system != "" {
		return browser + " on " + system
	}
	return browser
}

func find(signs []sign, userAgent string) string {
	for _, s := range signs {
		if strings.Contains(userAgent, s.part) {
			return s.name
		}
	}
	return ""
}
