package front

import (
	"context"
	"log/slog"
	"time"

	"github.com/oidcgate/oidcgate/internal/apart"
)

// ruleTime is how long a rule may take that is asked again: far longer than one that asks a
// database for many streams at once.
const ruleTime = time.Minute

// Allowed returns what a rule of the application says. One that panics, or does not return within
// ruleTime, allows nothing.
func (f *Front) Allowed(ctx context.Context, rule func() bool) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ruleTime)
	defer cancel()
	allowed, err := apart.Call(ctx, func() (bool, error) { return rule(), nil })
	if err != nil {
		f.Log(ctx, slog.LevelError, "a rule of Gate.Watch failed, and allows nothing",
			slog.Any("err", err))
	}
	return allowed
}
