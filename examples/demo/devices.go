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

// device is a session of the user on the account page.
type device struct {
	ID, Name, Since string
	This            bool
}

// devices lists the user's sessions: first the current one, then the others, the newest first.
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

// endDevice ends one session of the user. If the session has already ended or belongs to another
// user, nothing happens and the browser gets the same redirect to the list.
func (s *shop) endDevice(w http.ResponseWriter, r *http.Request) {
	err := s.gate.Sessions().End(r.Context(), r.PostFormValue("device"))
	if err != nil && !errors.Is(err, oidcgate.ErrNoSession) {
		s.devicesUnavailable(w, r)
		return
	}
	http.Redirect(w, r, "/account?done=device#devices", http.StatusSeeOther)
}

func (s *shop) endOtherDevices(w http.ResponseWriter, r *http.Request) {
	if _, err := s.gate.Sessions().EndOthers(r.Context()); err != nil {
		s.devicesUnavailable(w, r)
		return
	}
	http.Redirect(w, r, "/account?done=devices#devices", http.StatusSeeOther)
}

// devicesUnavailable answers 503, because the store cannot answer at the moment.
func (s *shop) devicesUnavailable(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Retry-After", "5")
	s.show(w, r, http.StatusServiceUnavailable, "message.html", view{Title: "One moment, please", Body: oidcgate.Page{
		Text:  "We cannot read or change your list of devices right now. Try again in a moment.",
		Links: []oidcgate.Link{{URL: "/account", Text: "To your account"}},
	}})
}

func nameDevice(_ context.Context, login *oidcgate.Login) error {
	if r := login.Request(); r != nil { // there is none when claims are read again
		login.SetLabel(deviceName(r.UserAgent()))
	}
	return nil
}

// sign is a part of a User-Agent that identifies a browser or an operating system.
type sign struct{ part, name string }

// Most User-Agents also contain the names of other browsers, so the first sign that is found
// counts.
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

// deviceName returns a name that the user recognises, such as "Firefox on Linux". It is for display
// only, because a client can send any User-Agent.
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
