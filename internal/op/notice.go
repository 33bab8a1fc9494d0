package op

import "github.com/oidcgate/oidcgate/internal/event"

// Notice is something that happened between us and the provider.
type Notice struct {
	Event  event.Type
	Reason event.Reason // when something went wrong
	Err    error        // the cause, when something went wrong
	Hint   string       // what an operator can do; may be empty
}
