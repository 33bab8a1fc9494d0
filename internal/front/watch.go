package front

import (
	"context"
	"log/slog"

	"github.com/oidcgate/oidcgate/internal/apart"
)

// Allowed returns what a rule of the application says. One that panics or does not return allows
// nothing.
func (f *Front) Allowed(ctx context.Context, rule func() bool) bool {
	allowed, err := apart.Call(ctx, func() (bool, error) { return rule(), nil })
	if err != nil {
		f.Log(ctx, slog.LevelError, "a rule of Gate.Watch failed, and allows nothing",
			slog.Any("err", err))
	}
	return allowed
}
