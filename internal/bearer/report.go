package bearer

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/oidcgate/oidcgate/internal/event"
)

// pause is how long nobody is told again of a refusal for the same reason. Anybody can send tokens,
// and would else fill the log. The reasons are few.
const pause = time.Second

// report counts refused tokens.
type report struct {
	mu      sync.Mutex
	reasons map[event.Reason]*count
}

type count struct {
	told   time.Time
	missed int // since then
}

// due reports whether it is time to tell of a refusal for a reason, and of how many others.
func (r *report) due(reason event.Reason) (others int, due bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reasons == nil {
		r.reasons = map[event.Reason]*count{}
	}
	c := r.reasons[reason]
	if c == nil {
		c = &count{}
		r.reasons[reason] = c
	}
	if now := time.Now(); now.Sub(c.told) >= pause {
		others, c.missed, c.told = c.missed, 0, now
		return others, true
	}
	c.missed++
	return 0, false
}

// refuse tells of a refused token. That none was sent is told to nobody.
func (g *Guard) refuse(ctx context.Context, f *Refusal) *Refusal {
	if f.Reason != "" {
		if others, due := g.report.due(f.Reason); due {
			g.cfg.Tell(ctx, f.event(others))
		}
	}
	return f
}

// event is that of a refused token, and of others of the last second.
func (f *Refusal) event(others int) event.Record {
	detail := event.Text(f.Err)
	if others > 0 {
		detail = fmt.Sprintf("%s (and %d others for this reason)", detail, others)
	}
	return event.Record{
		Type: event.TokenRefused, Reason: f.Reason, Status: f.Status,
		Provider: f.Provider, Issuer: f.Issuer, Detail: detail, Hint: f.Hint,
	}
}
