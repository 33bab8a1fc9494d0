package op_test

import (
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/internal/op"
)

func TestInspect(t *testing.T) {
	t.Run("it leaves the client as it is, and tells nobody", func(t *testing.T) {
		o := newOP()
		c := o.client()
		o.set("discovery", http.NotFound)
		if i := c.Inspect(t.Context()); i.Refused == nil || i.Discovery.Status != http.StatusNotFound {
			t.Errorf("it says %v, %+v", i.Refused, i.Discovery)
		}
		o.set("discovery", answerJSON(metadata(nil)))
		if _, err := c.Metadata(t.Context()); err != nil { // a failure of its own would make it wait
			t.Errorf("Metadata: %v", err)
		}
		o.set("discovery", http.NotFound)
		before := len(o.events())
		c.Inspect(t.Context())
		if _, known := c.Known(); !known || len(o.events()) != before {
			t.Errorf("known %t, events %v", known, o.events())
		}
	})
	t.Run("its requests pass through what wraps the transport", func(t *testing.T) {
		o, asked := newOP(), 0
		c := o.client(func(cfg *op.Config) {
			cfg.Wrap = func(next http.RoundTripper) http.RoundTripper {
				return transportFunc(func(r *http.Request) (*http.Response, error) { asked++; return next.RoundTrip(r) })
			}
		})
		if i := c.Inspect(t.Context()); i.Refused != nil || i.Keys.Status != http.StatusOK || asked != 2 {
			t.Errorf("%v, %+v, asked %d times", i.Refused, i.Keys, asked)
		}
	})
	t.Run("it tells nobody of keys that a signed request needs", func(t *testing.T) {
		o := newOP()
		encrypts := changed(jwk(otherRSA().Public(), "e1"), map[string]any{"use": "enc"})
		o.set("jwks", answerJSON(keySet(jwk(rsaKey().Public(), "k1"), encrypts)))
		c := o.client(signing(op.ObjectEncrypted, clientKey))
		if _, err := c.Inspect(t.Context()).TryLogin(t.Context(), true); err != nil || len(o.events()) != 0 {
			t.Errorf("%v, events %v", err, o.events())
		}
	})
	t.Run("the keys of metadata that are refused", func(t *testing.T) {
		o := newOP()
		o.set("discovery", answerJSON(metadata(map[string]any{"issuer": "https://other.example"})))
		i := o.client().Inspect(t.Context())
		if i.Refused == nil || i.KeysRefused != nil || i.Keys.Status != http.StatusOK || o.count("jwks") != 1 {
			t.Errorf("%v, %v, %+v", i.Refused, i.KeysRefused, i.Keys)
		}
		_, err := i.TryLogin(t.Context(), true)
		wantReason(t, err, "issuer_mismatch")
	})
	t.Run("the configured keys, and not those of metadata that are refused", func(t *testing.T) {
		o := newOP()
		o.set("discovery", answerJSON(metadata(map[string]any{
			"issuer": "https://other.example", "jwks_uri": "https://other.example/keys",
		})))
		i := o.client(func(cfg *op.Config) { cfg.Endpoints.JWKS = "https://id.example/jwks" }).Inspect(t.Context())
		if i.Refused == nil || i.Keys.Address != "https://id.example/jwks" || i.Keys.Status != http.StatusOK {
			t.Errorf("%v, %+v", i.Refused, i.Keys)
		}
	})
	t.Run("an address of keys that may not be used", func(t *testing.T) {
		o := newOP()
		o.set("discovery", answerJSON(metadata(map[string]any{"jwks_uri": "http://id.example/jwks"})))
		if i := o.client().Inspect(t.Context()); i.Refused == nil || o.count("jwks") != 0 {
			t.Errorf("%v, asked %d times", i.Refused, o.count("jwks"))
		}
	})
	t.Run("an answer that is too long is read up to its limit", func(t *testing.T) {
		o := newOP()
		o.set("discovery", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 1<<20)) })
		if i := o.client().Inspect(t.Context()); i.Refused == nil || len(i.Discovery.Body) > 300<<10 {
			t.Errorf("%v, %d bytes", i.Refused, len(i.Discovery.Body))
		}
	})
}

func TestClockOfTheProvider(t *testing.T) {
	date := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, row := range map[string]struct {
		date, age string
		want      time.Time
	}{
		"the time of the answer":                  {date.Format(http.TimeFormat), "", date},
		"the time of an answer that a cache held": {date.Format(http.TimeFormat), "90", date.Add(90 * time.Second)},
		"an age that is none does not count":      {date.Format(http.TimeFormat), "-1", date},
		"an age that is too high does not count":  {date.Format(http.TimeFormat), "99999999999", date},
		"an answer that does not say the time":    {"", "90", time.Time{}},
		"an answer whose time cannot be read":     {"yesterday", "90", time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOP()
			o.set("discovery", func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Date", row.date)
				w.Header().Set("Age", row.age)
				answerJSON(metadata(nil))(w, r)
			})
			if got := o.client().Inspect(t.Context()).Discovery.Date; !got.Equal(row.want) {
				t.Errorf("%v, want %v", got, row.want)
			}
		})
	}
}

func TestInspectOverTLS(t *testing.T) {
	server := httptest.NewUnstartedServer(nil)
	closes := []bool{}
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		closes = append(closes, r.Close)
		answerJSON(map[string]any{"issuer": "https://" + r.Host})(w, r)
	})
	server.StartTLS()
	defer server.Close()
	trusting := func(cfg *op.Config) {
		cfg.Issuer, cfg.Transport, cfg.Timeout = server.URL, nil, time.Minute
		cfg.RootCAs = x509.NewCertPool()
		cfg.RootCAs.AddCert(server.Certificate())
	}
	t.Run("it tells until when the certificate is valid, and leaves no connection", func(t *testing.T) {
		heard := newOP().client(trusting).Inspect(t.Context()).Discovery
		if !heard.ValidUntil.Equal(server.Certificate().NotAfter) || heard.Status != http.StatusOK {
			t.Errorf("valid until %v, status %d", heard.ValidUntil, heard.Status)
		}
		if len(closes) != 1 || !closes[0] {
			t.Errorf("requests that end their connection: %v", closes)
		}
	})
	t.Run("the application's transport stays as it is", func(t *testing.T) {
		own := server.Client().Transport.(*http.Transport)
		heard := newOP().client(trusting, func(cfg *op.Config) { cfg.Transport = own }).Inspect(t.Context()).Discovery
		if own.DisableKeepAlives || heard.Status != http.StatusOK {
			t.Errorf("keep-alives are disabled: %v, status %d", own.DisableKeepAlives, heard.Status)
		}
	})
	t.Run("without TLS no certificate is valid", func(t *testing.T) {
		if heard := newOP().client().Inspect(t.Context()).Discovery; !heard.ValidUntil.IsZero() {
			t.Errorf("valid until %v", heard.ValidUntil)
		}
	})
}

func TestInspectWithoutAnAnswer(t *testing.T) {
	t.Run("F01 the connection broke", func(t *testing.T) {
		o := newOP()
		o.set("discovery", abort)
		i := o.client().Inspect(t.Context())
		wantReason(t, i.Refused, "provider_unreachable")
		if heard := i.Discovery; heard.Err == nil || heard.Status != 0 || heard.Came.Before(heard.Asked) || heard.Asked.IsZero() {
			t.Errorf("heard %+v", heard)
		}
	})
}

func TestUsable(t *testing.T) {
	for endpoint, want := range map[string]bool{
		"https://id.example/token": true, "http://id.example/token": false, "/token": false, "": false,
	} {
		t.Run("C003 an endpoint at "+endpoint, func(t *testing.T) {
			cfg := newOP().config()
			if got := cfg.Usable(endpoint); got != want {
				t.Errorf("%v, want %v", got, want)
			}
		})
	}
}

func TestTryLogin(t *testing.T) {
	// trying returns a provider that takes pushed requests, and what browsers asked it for.
	trying := func(answer http.HandlerFunc) (*testOP, *[]*http.Request) {
		o, _ := pushing(nil)
		seen := new([]*http.Request)
		o.handlers["/authorize"] = func(w http.ResponseWriter, r *http.Request) {
			*seen = append(*seen, r)
			answer(w, r)
		}
		return o, seen
	}
	back := func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://app.example/auth/callback?error=login_required", http.StatusFound)
	}
	for name, push := range map[string]bool{"C096 pushed": true, "not pushed": false} {
		t.Run("a login like that of a browser, "+name, func(t *testing.T) {
			o, seen := trying(back)
			i := o.client().Inspect(t.Context())
			heard, err := i.TryLogin(t.Context(), push)
			wantReason(t, err, "")
			if heard.Status != http.StatusFound || heard.Location != "https://app.example/auth/callback?error=login_required" {
				t.Errorf("heard %+v", heard)
			}
			if len(*seen) != 1 || (o.count("par") == 1) != push {
				t.Fatalf("%d requests of a browser, %d pushed", len(*seen), o.count("par"))
			}
			r := (*seen)[0]
			q := r.URL.Query()
			if q.Has("request_uri") != push || !push && q.Get("prompt") != "none" || r.Header.Get("Accept") != "text/html" {
				t.Errorf("query %v, Accept %q", q, r.Header.Get("Accept"))
			}
			if heard.Address != "https://id.example/authorize" {
				t.Errorf("address %q", heard.Address)
			}
			if i.Metadata.PushedAuthorization == "" {
				t.Error("the metadata do not say any more that requests can be pushed")
			}
		})
	}
	t.Run("F08 a page that is too long is an answer", func(t *testing.T) {
		o, _ := trying(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 2<<20)) })
		heard, err := o.client().Inspect(t.Context()).TryLogin(t.Context(), false)
		if err != nil || heard.Status != http.StatusOK {
			t.Errorf("status %d, %v", heard.Status, err)
		}
	})
	t.Run("F01 no answer", func(t *testing.T) {
		o, _ := trying(abort)
		heard, err := o.client().Inspect(t.Context()).TryLogin(t.Context(), false)
		wantReason(t, err, "provider_unreachable")
		if heard.Address != "" || heard.Err != nil {
			t.Errorf("heard %+v", heard)
		}
	})
	t.Run("C099 a request that cannot be signed", func(t *testing.T) {
		o, seen := trying(back)
		failing := func(cfg *op.Config) {
			cfg.Object = op.ObjectSigned
			cfg.ClientKeys = func(context.Context) ([]op.ClientKey, error) { return nil, errors.New("no such key") }
		}
		_, err := o.client(failing).Inspect(t.Context()).TryLogin(t.Context(), false)
		wantReason(t, err, "client_secret")
		if len(*seen) != 0 {
			t.Errorf("%d requests of a browser", len(*seen))
		}
	})
}
