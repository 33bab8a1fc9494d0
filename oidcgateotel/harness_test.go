package oidcgateotel_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgateotel"
	"github.com/oidcgate/oidcgate/oidcgatetest"
	"github.com/oidcgate/oidcgate/store"
)

const shopURL = "http://localhost"

// world is a shop whose gate is measured, its provider, and a browser.
type world struct {
	*testing.T
	op      *oidcgatetest.Provider
	gate    *oidcgate.Gate
	store   *brittle
	browser *http.Client
	reader  *metric.ManualReader
	spans   *tracetest.InMemoryExporter
}

type change = func(*oidcgate.Config, *oidcgate.Provider, *oidcgateotel.Options)

func newWorld(t *testing.T, changes ...change) *world {
	t.Helper()
	w := &world{
		T: t, op: oidcgatetest.NewProvider(t), store: &brittle{Memory: &store.Memory{}},
		reader: metric.NewManualReader(), spans: tracetest.NewInMemoryExporter(),
	}
	w.op.AddClient(oidcgatetest.Client{
		ID: "shop", Secret: "a secret", RedirectURLs: []string{shopURL + "/auth/callback/main"},
		PostLogoutRedirectURLs: []string{shopURL + "/auth/logout/done"},
	})
	opts := oidcgateotel.Options{
		MeterProvider:  metric.NewMeterProvider(metric.WithReader(w.reader)),
		TracerProvider: trace.NewTracerProvider(trace.WithSyncer(w.spans)),
	}
	config := oidcgate.Config{
		BaseURL: shopURL, Store: w.store, HTTP: oidcgate.HTTPOptions{Transport: w.op.Transport()},
		Logger: slog.New(slog.DiscardHandler),
	}
	provider := oidcgate.Provider{
		Name: "main", Issuer: w.op.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic("a secret"),
		Userinfo: oidcgate.UserinfoRequired,
	}
	for _, change := range changes {
		change(&config, &provider, &opts)
	}
	gate, err := oidcgate.New(oidcgateotel.Instrument(config, opts), provider)
	if err != nil {
		t.Fatal(err)
	}
	w.gate = gate
	mux := http.NewServeMux()
	mux.Handle("/app", gate.Require()(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		id, _ := oidcgate.FromContext(r.Context())
		_, _ = io.WriteString(rw, id.Subject())
	})))
	mux.HandleFunc("/token", func(rw http.ResponseWriter, r *http.Request) {
		_, err := gate.Token(r.Context())
		_, _ = fmt.Fprint(rw, err)
	})
	jar, _ := cookiejar.New(nil)
	w.browser = &http.Client{Jar: jar, Transport: oidcgatetest.NewTransport(map[string]http.Handler{
		"localhost": oidcgateotel.Handler(gate, gate.Wrap(mux), opts), "id.test": w.op,
	})}
	return w
}

// brittle is a store in memory that can break.
type brittle struct {
	*store.Memory
	broken atomic.Bool
}

var errBroken = fmt.Errorf("a broken store with key material: %s", canary)

func (b *brittle) Get(ctx context.Context, key string) ([]byte, error) {
	if b.broken.Load() {
		return nil, errBroken
	}
	return b.Memory.Get(ctx, key)
}

// get navigates to a path of the shop, and follows redirects.
func (w *world) get(path string) (status int, body string) {
	w.Helper()
	return w.do(http.MethodGet, path)
}

func (w *world) do(method, path string) (status int, body string) {
	w.Helper()
	r, _ := http.NewRequest(method, shopURL+path, nil)
	r.Header.Set("Accept", "text/html")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	resp, err := w.browser.Do(r)
	if err != nil {
		w.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func (w *world) login() {
	w.Helper()
	if status, body := w.get("/app"); status != http.StatusOK || body != "alice" {
		w.Fatalf("login: %d %s", status, body)
	}
}

// metrics returns what was measured: how often, by "name{attribute=value,...}". Of histograms it is
// the number of measurements.
func (w *world) metrics() map[string]int64 {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
	defer cancel()
	if err := w.gate.Wait(ctx); err != nil {
		w.Fatal(err)
	}
	found := map[string]int64{}
	for _, m := range w.collected() {
		switch data := m.Data.(type) {
		case metricdata.Sum[int64]:
			if !data.IsMonotonic {
				w.Errorf("%s is no counter", m.Name)
			}
			for _, p := range data.DataPoints {
				found[m.Name+text(p.Attributes.ToSlice())] += p.Value
			}
		case metricdata.Histogram[float64]:
			for _, p := range data.DataPoints {
				if p.Sum < 0 || m.Unit != "s" {
					w.Errorf("%s took %v %s", m.Name, p.Sum, m.Unit)
				}
				found[m.Name+text(p.Attributes.ToSlice())] += int64(p.Count)
			}
		default:
			w.Errorf("%s is a %T", m.Name, m.Data)
		}
	}
	return found
}

func (w *world) collected() []metricdata.Metrics {
	w.Helper()
	var all metricdata.ResourceMetrics
	if err := w.reader.Collect(w.Context(), &all); err != nil {
		w.Fatal(err)
	}
	if len(all.ScopeMetrics) != 1 {
		w.Fatalf("%d scopes", len(all.ScopeMetrics))
	}
	return all.ScopeMetrics[0].Metrics
}

func text(attrs []attribute.KeyValue) string {
	var parts []string
	for _, a := range attrs {
		parts = append(parts, string(a.Key)+"="+a.Value.String())
	}
	slices.Sort(parts)
	return "{" + strings.Join(parts, ",") + "}"
}

// want checks that a metric was counted so often; negative: at least once.
func (w *world) want(metric string, times int64) {
	w.Helper()
	found := w.metrics()
	if got := found[metric]; got != times && (times >= 0 || got == 0) {
		w.Errorf("%s is %d, want %d, among\n%s", metric, got, times, list(found))
	}
}

func list(found map[string]int64) string {
	var lines []string
	for name, n := range found {
		lines = append(lines, fmt.Sprintf("\t%s %d", name, n))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// span returns the last span of a name.
func (w *world) span(name string) tracetest.SpanStub {
	w.Helper()
	all := w.spans.GetSpans()
	for _, s := range slices.Backward(all) {
		if s.Name == name {
			return s
		}
	}
	var names []string
	for _, s := range all {
		names = append(names, s.Name)
	}
	w.Fatalf("no span %s among %s", name, names)
	return tracetest.SpanStub{}
}

// below checks that a span stands below another, directly or not.
func (w *world) below(child, parent string) tracetest.SpanStub {
	w.Helper()
	c := w.span(child)
	at := c
	for at.Parent.IsValid() {
		i := slices.IndexFunc(w.spans.GetSpans(), func(s tracetest.SpanStub) bool { return s.SpanContext.SpanID() == at.Parent.SpanID() })
		if i < 0 {
			break
		}
		if at = w.spans.GetSpans()[i]; at.Name == parent {
			return c
		}
	}
	w.Errorf("%s does not stand below %s", child, parent)
	return c
}
