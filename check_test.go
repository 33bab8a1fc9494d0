package oidcgate_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
	"github.com/oidcgate/oidcgate/store"
)

func faultsOf(found []oidcgate.Finding) (names []string) {
	for _, f := range found {
		if f.Level == oidcgate.FindingFault {
			names = append(names, f.Provider+" "+f.Name)
		}
	}
	return names
}

func TestCheck(t *testing.T) {
	t.Run("a healthy gate", func(t *testing.T) {
		w := newWorld(t)
		found := w.gate.Check(t.Context())
		if faults := faultsOf(found); faults != nil {
			t.Errorf("faults: %v in %+v", faults, found)
		}
		var names []string
		for _, f := range found {
			names = append(names, f.Name)
		}
		for _, want := range []string{"store", "discovery", "issuer", "keys", "redirect"} {
			if !slices.Contains(names, want) {
				t.Errorf("nothing about %s in %v", want, names)
			}
		}
		if n := w.op.Count(oidcgatetest.Authorization); n != 1 {
			t.Errorf("%d authorization requests", n)
		}
		r := w.op.LastRequest(oidcgatetest.Authorization)
		if r.Form.Get("prompt") != "none" || r.Form.Get("redirect_uri") != shopURL+"/auth/callback" {
			t.Errorf("it asked for %v", r.Form)
		}
	})

	t.Run("two providers, one with faults", func(t *testing.T) {
		w := newWorld(t)
		good := oidcgate.Provider{Issuer: w.op.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)}
		bad := good
		bad.Name, bad.Issuer = "staff", w.op.Issuer()+"/"
		w.open(good, bad)
		found := w.gate.Check(t.Context())
		if faults := faultsOf(found); !slices.Equal(faults, []string{"staff issuer"}) {
			t.Errorf("faults: %q", faults)
		}
		for _, f := range found {
			if f.Level == oidcgate.FindingFault && !strings.Contains(f.Cure, `set Issuer to "`+w.op.Issuer()+`"`) {
				t.Errorf("the cure is %q", f.Cure)
			}
		}
	})

	t.Run("the redirect URI is not registered", func(t *testing.T) {
		w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.BaseURL = "https://other.test" })
		if faults := faultsOf(w.gate.Check(t.Context())); !slices.Equal(faults, []string{" redirect"}) {
			t.Errorf("faults: %q", faults)
		}
	})

	t.Run("a provider without ID Tokens", func(t *testing.T) {
		p := gitHubLike()
		w := newPlain(t, p, "/id")
		found := w.gate.Check(t.Context())
		if faults := faultsOf(found); faults != nil {
			t.Errorf("faults: %q in %+v", faults, found)
		}
		for _, f := range found {
			if f.Name == "keys" || f.Name == "algorithms" || f.Name == "issuer" {
				t.Errorf("it has none: %+v", f)
			}
		}
		if r := p.request(p.authorize); r == nil || r.Form.Get("redirect_uri") != shopURL+"/auth/callback" {
			t.Errorf("it asked for %v", r)
		}
	})

	t.Run("the store is down", func(t *testing.T) {
		down := &failingStore{Store: &store.Memory{}}
		w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Store = down })
		found := w.gate.Check(t.Context())
		if faults := faultsOf(found); !slices.Equal(faults, []string{" store"}) || found[0].Cure == "" {
			t.Errorf("faults: %q", faults)
		}
	})

	t.Run("F19 the store takes no writes any more, since a moment ago", func(t *testing.T) {
		w, records := newTapped(t)
		for _, full := range []bool{false, true, true, false} {
			records.refuse(func(c storeCall) error {
				if full && c.op == "create" {
					return errors.New("OOM command not allowed")
				}
				return nil
			})
			if f := w.gate.Check(t.Context())[0]; f.Name != "store" || (f.Level == oidcgate.FindingFault) != full {
				t.Errorf("full %v: %+v", full, f)
			}
		}
	})

	t.Run("it changes nothing of the gate", func(t *testing.T) {
		w := newWorld(t)
		w.op.Always(oidcgatetest.Discovery, oidcgatetest.Answer(404, "", ""))
		found := w.gate.Check(t.Context())
		if faults := faultsOf(found); !slices.Equal(faults, []string{" discovery"}) {
			t.Errorf("faults: %q", faults)
		}
		if last := found[len(found)-1]; last.Name != "redirect" || last.Level != oidcgate.FindingSkip {
			t.Errorf("no login was tried: %+v", last)
		}
		w.op.Clear(oidcgatetest.Discovery)
		if err := w.gate.Ready(t.Context()); err != nil { // a failure of its own would make it wait
			t.Errorf("Ready: %v", err)
		}
	})
}

// failingStore takes no writes.
type failingStore struct{ store.Store }

func (failingStore) Create(context.Context, string, []byte, time.Duration) error {
	return errors.New("READONLY")
}
