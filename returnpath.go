package oidcgate

import (
	"errors"
	"fmt"

	"github.com/oidcgate/oidcgate/internal/returnto"
)

// returnTo returns the path to go to after the login. A value that is not a path of this site is
// replaced by the default path; the login goes on.
func (g *Gate) returnTo(value string) string {
	if value == "" {
		return g.config.Site.DefaultPath
	}
	path, err := returnto.Check(value, g.config.Site.Prefix)
	if err != nil {
		g.rejectReturnTo(value, err)
		return g.config.Site.DefaultPath
	}
	return path
}

func (g *Gate) rejectReturnTo(value string, err error) {
	var reason returnto.Reason
	errors.As(err, &reason)
	g.events.emit(Event{
		Type: EventReturnToRejected, Reason: Reason(reason), Detail: fmt.Sprintf("%d bytes", len(value)),
	})
}

// afterLogout returns the path to go to after a logout. "" means the page that says "signed out";
// it also replaces a value that is not a path of this site.
func (g *Gate) afterLogout(value string) string {
	if value == "" {
		return ""
	}
	path, err := returnto.Check(value, g.config.Site.Prefix)
	if err != nil {
		g.rejectReturnTo(value, err)
		return ""
	}
	return path
}
