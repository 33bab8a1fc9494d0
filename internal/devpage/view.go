package devpage

import (
	"html/template"
	"log/slog"
	"net/http"
	"time"

	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/front"
)

// view is what the page has. All of it is plain text, which the template escapes.
type view struct {
	Style template.CSS

	Action, Login, Logout, Home string // addresses
	Site, Now                   string
	Done                        string // what came of a button
	Nobody                      string // why there is no session
	Session                     *sessionView
	Providers                   []providerView
	Events                      []eventView
}

// eventView is one event. Do is empty if there is nothing to do.
type eventView struct {
	Time, Level, Type, Reason, Means, Do, Detail string
	Facts                                        []fact
	About                                        string // the visitor's session or the visitor, or ""
}

func (p *Page) view(r *http.Request, v *front.Visit) *view {
	site, now := p.Front.Site, time.Now()
	out := &view{
		Style: template.CSS(style), Action: p.address(), Home: site.Home(),
		Login: site.OwnURL("/login", ""), Logout: site.OwnURL("/logout", ""),
		Site: schemeless(site.URL("")), Now: now.Local().Format("15:04:05 MST"),
		Done:      outcomes[r.URL.Query().Get("done")],
		Session:   p.sessionView(r.Context(), v, now),
		Providers: p.providerViews(r.Context(), now),
	}
	if out.Session == nil {
		out.Nobody = nobody(v)
	}
	for _, e := range p.Recent.all() {
		one := eventOf(e, now)
		one.About = out.Session.concerns(e)
		out.Events = append(out.Events, one)
	}
	return out
}

// nobody says why there is no session.
func nobody(v *front.Visit) string {
	switch {
	case v.LoadErr != nil:
		return "The store does not say who is signed in: " + visible(v.LoadErr.Error())
	case v.Gone != "":
		return "Your browser sent a session cookie that opens no session here: the session has ended, " +
			"or was made with other keys, at another store or at a provider that is not configured."
	}
	return "Nobody is signed in: your browser sent no session cookie."
}

func eventOf(e event.Record, now time.Time) eventView {
	view := eventView{
		Time: clock(e.Time, now), Level: levelOf(e.Level()), Type: string(e.Type),
		Reason: visible(string(e.Reason)), Detail: visible(e.Detail),
	}
	view.Means, view.Do = e.Explain()
	view.Do = visible(view.Do)
	for _, f := range []fact{
		{"provider", e.Provider, true}, {"issuer", e.Issuer, true}, {"reference", e.Reference, true},
		{"user", e.SubjectHash, true}, {"linked to", e.LinkedTo, true}, {"session", e.SessionRef, true},
	} {
		if f.Value != "" {
			f.Value = visible(f.Value)
			view.Facts = append(view.Facts, f)
		}
	}
	return view
}

// levelOf is the level as the style knows it.
func levelOf(l slog.Level) string {
	switch {
	case l >= slog.LevelError:
		return "over"
	case l >= slog.LevelWarn:
		return "soon"
	case l >= slog.LevelInfo:
		return "good"
	}
	return "quiet"
}
