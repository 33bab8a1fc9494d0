package devpage

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/oidcgate/oidcgate/internal/front"
	"github.com/oidcgate/oidcgate/internal/op"
)

// providerView is what the page shows of a provider.
type providerView struct {
	Label, Issuer string
	State         string // "good", "soon" or "over"
	Word          string // State in a word
	Facts         []fact
	Troubles      []trouble
	Endpoints     []fact
	Register      []fact // addresses that the provider needs to know
	Keys          []op.KeyInfo
}

// trouble is what failed last, and what to do.
type trouble struct{ What, Text, Cure string }

// patience is how long the page waits for metadata that is not known yet.
const patience = 3 * time.Second

// providerViews asks each provider that is not known yet, as the next login would.
func (p *Page) providerViews(ctx context.Context, now time.Time) []providerView {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	all := p.Front.Providers.All()
	views := make([]providerView, len(all))
	var asked sync.WaitGroup
	for i, up := range all {
		asked.Go(func() {
			_, _ = up.Client.Metadata(ctx) // what fails stands in its health
			views[i] = p.providerView(up, now)
		})
	}
	asked.Wait()
	return views
}

func (p *Page) providerView(up *front.Provider, now time.Time) providerView {
	h := up.Client.Health()
	view := providerView{
		Label: visible(up.Label), Issuer: visible(up.Issuer), State: "good", Word: "ready", Keys: h.Keys,
		Register: p.addresses(up),
		Facts: []fact{
			{"Client ID", visible(up.ClientID), true},
			{"Metadata", metadataOf(&h, now), false},
			{"Keys", keysOf(&h, up.Client.HasIDTokens(), now), false},
		},
	}
	for i := range view.Keys {
		view.Keys[i].ID = visible(view.Keys[i].ID)
	}
	for _, e := range h.Named() {
		view.Endpoints = append(view.Endpoints, fact{e[0], visible(e[1]), true})
	}
	if t := h.Trouble; t.Text != "" {
		view.add(trouble{"The metadata", visible(t.Text), visible(t.Cure)})
	}
	if t := h.KeysTrouble; t.Text != "" {
		view.add(trouble{"The keys", visible(t.Text), visible(t.Cure)})
	}
	if !h.Known {
		view.State, view.Word = "over", "not known"
	}
	return view
}

func (v *providerView) add(t trouble) {
	v.Troubles = append(v.Troubles, t)
	v.State, v.Word = "soon", "in trouble"
}

func metadataOf(h *op.Health, now time.Time) string {
	switch {
	case h.Static:
		return "from the configuration; nobody is asked"
	case h.Known:
		return "fetched at " + clock(h.Settled, now) + ", " + lasting(now.Sub(h.Settled)) + " ago"
	case h.Retry.After(now):
		return "not known; asked again after " + clock(h.Retry, now)
	}
	return "not known yet"
}

func keysOf(h *op.Health, signs bool, now time.Time) string {
	if !signs {
		return "none: it issues no ID Tokens"
	}
	if h.KeysLoaded.IsZero() {
		return "none yet; the first login loads them"
	}
	return "loaded at " + clock(h.KeysLoaded, now) + "; they count until " + clock(h.KeysEnd, now)
}

// addresses are those that are registered at the provider.
func (p *Page) addresses(up *front.Provider) []fact {
	at := func(route string) string {
		return p.Front.Site.URL(p.Front.Site.ProviderPath(route, up.Name))
	}
	list := []fact{
		{"Redirect URI", at("/callback"), true},
	}
	meta, _ := up.Client.Known()
	if up.Client.HasIDTokens() || meta.EndSession != "" {
		done := p.Front.Site.OwnURL("/logout/done", "")
		list = append(list, fact{"Post-logout redirect URI", done, true})
	}
	if up.Client.HasIDTokens() {
		list = append(list, fact{"Back-channel logout URI", at("/backchannel-logout"), true})
	}
	if up.HasKeys {
		list = append(list, fact{"JWKS URI of the client", at("/jwks"), true})
	}
	return list
}

// schemeless is an address without its scheme, for headings.
func schemeless(address string) string {
	_, rest, _ := strings.Cut(address, "://")
	return rest
}
