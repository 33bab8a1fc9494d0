package front

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/returnto"
)

// returnTo returns the path to go to after the login. The default path replaces a value that is not
// a path of this site; the login goes on.
func (f *Front) returnTo(ctx context.Context, value string) string {
	return cmp.Or(f.checkReturnTo(ctx, value), f.Site.DefaultPath)
}

// ReturnPath returns where a login that a request asks for leads to.
func (f *Front) ReturnPath(r *http.Request) string {
	return f.returnTo(r.Context(), r.URL.Query().Get("return_to"))
}

// checkReturnTo returns value when it is a path of this site, and else "". After a logout, "" means
// the page that says "signed out".
func (f *Front) checkReturnTo(ctx context.Context, value string) string {
	if value == "" {
		return ""
	}
	path, err := returnto.Check(value, f.Site.Prefix)
	if err != nil {
		f.Tell(ctx, RejectedPath(value, err))
		return ""
	}
	f.noteBasePath(path)
	return path
}

// RejectedPath is the event that tells of a return path that was refused.
func RejectedPath(value string, err error) event.Record {
	var reason returnto.Reason
	errors.As(err, &reason)
	return event.Record{
		Type: event.ReturnToRejected, Reason: event.Reason(reason),
		Detail: fmt.Sprintf("%d bytes", len(value)),
	}
}
