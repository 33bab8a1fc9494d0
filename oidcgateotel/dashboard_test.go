package oidcgateotel_test

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/otlptranslator"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgateotel"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// busy is a shop in which everything was measured that can be: logins and refreshes that succeed and
// fail, sessions that end, an ill store, and an OnEvent that is too slow.
func busy(t *testing.T) *world {
	t.Helper()
	slow := make(chan bool)
	w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider, _ *oidcgateotel.Options) {
		c.OnEvent = func(oidcgate.Event) { <-slow }
	})
	due := oidcgatetest.EditJSON(func(m map[string]any) { m["expires_in"] = 0 }) // for a refresh
	w.op.Inject(oidcgatetest.Token, due)
	w.login()
	w.get("/token")
	w.do(http.MethodPost, "/auth/logout")
	w.op.Inject(oidcgatetest.Token, due)
	w.login()
	w.op.Inject(oidcgatetest.Token, oidcgatetest.Answer(400, "application/json", `{"error":"invalid_grant"}`))
	w.get("/token")
	for range 300 { // more than the queue of events has room for
		w.get("/auth/callback/main?state=x&code=y")
	}
	w.login()
	w.store.broken.Store(true)
	w.get("/app")
	w.store.broken.Store(false)
	if status, _ := w.do(http.MethodPost, "/auth/logout"); status != http.StatusOK {
		t.Errorf("logout: %d", status)
	}
	close(slow)
	if err := w.gate.Wait(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	w.get("/auth/login?return_to=/") // an event that tells of the lost ones
	return w
}

// inPrometheus returns the metrics of w as Prometheus names them, each with its labels.
func (w *world) inPrometheus() map[string]map[string]bool {
	w.Helper()
	w.metrics() // waits
	namer := otlptranslator.NewMetricNamer("", otlptranslator.UnderscoreEscapingWithSuffixes)
	labelNamer := otlptranslator.LabelNamer{}
	series := map[string]map[string]bool{}
	add := func(name string, labels ...string) {
		if series[name] == nil {
			series[name] = map[string]bool{"job": true}
		}
		for _, l := range labels {
			series[name][l] = true
		}
	}
	for _, m := range w.collected() {
		kind := otlptranslator.MetricType(otlptranslator.MetricTypeMonotonicCounter)
		if _, ok := m.Data.(metricdata.Histogram[float64]); ok {
			kind = otlptranslator.MetricTypeHistogram
		}
		name, err := namer.Build(otlptranslator.Metric{Name: m.Name, Unit: m.Unit, Type: kind})
		if err != nil {
			w.Fatal(err)
		}
		for _, attr := range attributesOf(m) {
			label, err := labelNamer.Build(attr)
			if err != nil {
				w.Fatal(err)
			}
			if kind == otlptranslator.MetricTypeHistogram {
				add(name+"_bucket", label, "le")
				add(name+"_count", label)
				add(name+"_sum", label)
			} else {
				add(name, label)
			}
		}
	}
	return series
}

// attributesOf returns the names of the attributes of a metric, after "job", which Prometheus adds.
func attributesOf(m metricdata.Metrics) []string {
	all := []string{"job"}
	switch data := m.Data.(type) {
	case metricdata.Sum[int64]:
		for _, p := range data.DataPoints {
			for _, a := range p.Attributes.ToSlice() {
				all = append(all, string(a.Key))
			}
		}
	case metricdata.Histogram[float64]:
		for _, p := range data.DataPoints {
			for _, a := range p.Attributes.ToSlice() {
				all = append(all, string(a.Key))
			}
		}
	}
	return all
}

var (
	seriesOf  = regexp.MustCompile(`(\w+)\{([^}]*)\}`)
	matcher   = regexp.MustCompile(`(\w+)\s*(?:=~|!~|!=|=)\s*"`)
	groupedBy = regexp.MustCompile(`by \(([^)]*)\)`)
	legend    = regexp.MustCompile(`\{\{(\w+)\}\}`)
	anyName   = regexp.MustCompile(`oidcgate_\w+`)
)

func TestDashboard(t *testing.T) {
	file, err := os.ReadFile("dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr, LegendFormat string }
		}
		Templating struct {
			List []struct{ Name, Type, Definition string }
		}
	}
	if err := json.Unmarshal(file, &dashboard); err != nil {
		t.Fatal(err)
	}
	exists := busy(t).inPrometheus()
	shown := map[string]bool{}
	for _, panel := range dashboard.Panels {
		if len(panel.Targets) == 0 {
			t.Errorf("%s: no query", panel.Title)
		}
		for _, target := range panel.Targets {
			found := seriesOf.FindAllStringSubmatch(target.Expr, -1)
			if len(found) == 0 || len(found) < strings.Count(target.Expr, "rate(") {
				t.Errorf("%s: no metric in %s", panel.Title, target.Expr)
			}
			for _, m := range found {
				labels := exists[m[1]]
				if labels == nil {
					t.Errorf("%s: there is no %s", panel.Title, m[1])
					continue
				}
				shown[base(m[1])] = true
				var used []string
				for _, l := range matcher.FindAllStringSubmatch(m[2], -1) {
					used = append(used, l[1])
				}
				for _, by := range groupedBy.FindAllStringSubmatch(target.Expr, -1) {
					used = append(used, strings.Split(by[1], ", ")...)
				}
				for _, l := range legend.FindAllStringSubmatch(target.LegendFormat, -1) {
					used = append(used, l[1])
				}
				for _, l := range used {
					if !labels[l] {
						t.Errorf("%s: %s has no %s", panel.Title, m[1], l)
					}
				}
			}
		}
	}
	for name := range exists {
		if !shown[base(name)] {
			t.Errorf("no panel shows %s", name)
		}
	}
	for _, v := range dashboard.Templating.List {
		if v.Type == "query" && (exists[anyName.FindString(v.Definition)] == nil || !exists[anyName.FindString(v.Definition)][labelOf(v.Definition)]) {
			t.Errorf("the variable %s asks for %s", v.Name, v.Definition)
		}
	}
}

// base returns the name of a histogram without what Prometheus puts at the end of its series.
func base(name string) string {
	for _, end := range []string{"_bucket", "_count", "_sum"} {
		name = strings.TrimSuffix(name, end)
	}
	return name
}

// labelOf returns the label of label_values(metric, label).
func labelOf(definition string) string {
	_, label, _ := strings.Cut(strings.TrimSuffix(definition, ")"), ", ")
	return label
}

// TestMetricsPage holds that docs/metrics.md lists all metrics and spans with their attributes, and
// no others.
func TestMetricsPage(t *testing.T) {
	page, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string][]string{}
	row := regexp.MustCompile("(?m)^\\| `(oidcgate\\.[a-z./]+)` \\|([^|]*)\\|([^|]*)\\|([^|]*)\\|")
	for _, m := range row.FindAllStringSubmatch(string(page), -1) {
		for _, a := range regexp.MustCompile("`([a-z_.]+)`").FindAllStringSubmatch(m[4], -1) {
			listed[m[1]] = append(listed[m[1]], a[1])
		}
		if listed[m[1]] == nil {
			listed[m[1]] = []string{}
		}
	}
	w := busy(t)
	all := w.collected()
	for _, m := range all {
		attrs := listed[m.Name]
		if attrs == nil {
			t.Errorf("the page lacks %s", m.Name)
		}
		seen := attributesOf(m)[1:]
		for _, a := range seen {
			if !slices.Contains(attrs, a) {
				t.Errorf("the page does not say that %s has %s", m.Name, a)
			}
		}
		for _, a := range attrs {
			if !slices.Contains(seen, a) {
				t.Errorf("the page says that %s has %s, which was not seen", m.Name, a)
			}
		}
		if m.Description == "" {
			t.Errorf("%s has no description", m.Name)
		}
		delete(listed, m.Name)
	}
	for name := range listed {
		t.Errorf("there is no metric %s", name)
	}
}
