package oidcgate

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/oidcgate/oidcgate/internal/returnto"
)

// returnTo returns the path to go to after the login. The default path replaces a value that is not
// a path of this site; the login goes on.
func (g *Gate) returnTo(value string) string {
	return cmp.Or(g.checkReturnTo(value), g.config.at.DefaultPath)
}

// checkReturnTo returns value when it is a path of this site, and else "". After a logout, "" means
// the page that says "signed out".
func (g *Gate) checkReturnTo(value string) string {
	if value == "" {
		return ""
	}
	path, err := returnto.Check(value, g.config.at.Prefix)
	if err != nil {
		g.rejectReturnTo(value, err)
		return ""
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
